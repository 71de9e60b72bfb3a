"""Quality as a recipe names it: train or load a model, score, and keep by threshold or by best share."""

from __future__ import annotations

from typing import Self

from pydantic import model_validator

from pipeline.stage import Composite, Expansion
from stages.filters.quality.cutoffs import TopShareConfig
from stages.filters.quality.keep import QualityKeepConfig, QualityModelKeepConfig
from stages.filters.quality.model_score import QualityModelScoreConfig
from stages.filters.quality.score import ScoreQualityConfig
from stages.filters.quality.training import TrainQualityConfig


class QualityConfig(ScoreQualityConfig, TopShareConfig, TrainQualityConfig):
    """Options of quality: what to train on, or a trained model, and which documents to keep."""

    positive: tuple[str, ...] = ()
    """Artifacts whose documents are good."""

    negative: tuple[str, ...] = ()
    """Artifacts whose documents are bad, or ordinary."""

    @model_validator(mode="after")
    def _trained_or_loaded(self) -> Self:
        if self.model is None and not (self.positive and self.negative):
            raise ValueError("name the artifacts to train on in positive and negative, or a trained model in model")
        if self.model is not None and (self.positive or self.negative):
            raise ValueError("positive and negative are for training; with a trained model leave them out")
        return self


class Quality(Composite[QualityConfig]):
    """Score documents with a fastText classifier, trained on documents of your choice, and keep the good ones."""

    name = "quality"
    config_type = QualityConfig

    def expand(self, inputs: tuple[str, ...]) -> list[Expansion]:
        train = self.config.model_dump(mode="json", include=set(TrainQualityConfig.model_fields))
        score = self.config.model_dump(mode="json", include=set(ScoreQualityConfig.model_fields))
        keep = self.config.model_dump(mode="json", include=set(QualityKeepConfig.model_fields))
        side = {} if self.config.model else {"classifier": ".classifier"}
        sides = (*self.config.positive, *self.config.negative)
        training = [Expansion(".classifier", "quality_train", train, sides)] if sides else []
        if self.config.top_share is None:
            return [*training, Expansion("", "quality_score", score, inputs, side)]
        return [
            *training,
            Expansion(".scores", "quality_score", score | {"min_score": None}, inputs, side),
            *_kept("quality_keep", keep, "quality.score"),
        ]


class QualityModelConfig(QualityModelScoreConfig, TopShareConfig):
    """Options of quality_model: the model, and which documents to keep."""


class QualityModel(Composite[QualityModelConfig]):
    """Score documents with a sequence classifier of Hugging Face, on CPU or GPU, and keep the good ones."""

    name = "quality_model"
    config_type = QualityModelConfig

    def expand(self, inputs: tuple[str, ...]) -> list[Expansion]:
        score = self.config.model_dump(mode="json", include=set(QualityModelScoreConfig.model_fields))
        keep = self.config.model_dump(mode="json", include=set(QualityModelKeepConfig.model_fields))
        if self.config.top_share is None:
            return [Expansion("", "quality_model_score", score, inputs)]
        return [
            Expansion(".scores", "quality_model_score", score | {"min_score": None}, inputs),
            *_kept("quality_model_keep", keep, "quality_model.score"),
        ]


def _kept(stage: str, options: dict[str, object], score: str) -> list[Expansion]:
    """From scored documents to the best share of them."""
    cutoffs = {"score": score, "top_share": options["top_share"], "per": options["per"]}
    return [
        Expansion(".cutoffs", "quality_cutoffs", cutoffs, (".scores",)),
        Expansion("", stage, options, (".scores",), side={"cutoffs": ".cutoffs"}),
    ]
