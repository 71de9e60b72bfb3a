"""Scoring documents with a fastText classifier."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa
from pydantic import Field, ValidationInfo, field_validator

from pipeline.filter import Filter, Rule
from pipeline.stage import Context, RecipePath, StageConfig, with_columns
from stages.filters.quality.classifier import Classifier
from stages.filters.quality.fasttext_process import GOOD
from stages.filters.quality.training import MODEL_FILE
from stages.filters.quality.words import WordsConfig


class ThresholdConfig(StageConfig):
    """From which score on a document is kept."""

    min_score: float | None = Field(None, ge=0, le=1)
    """Probability of being good below which a document is dropped; null: none is for its score."""

    min_words: int | None = Field(1, ge=1)
    """Words that the classifier saw, below which a document is dropped where scores decide: without a word it has no
    score. Null: documents without a score stay."""


class ScoreQualityConfig(ThresholdConfig, WordsConfig):
    """What to score with, and what to do with the scores."""

    model: RecipePath | None = None
    """A trained fastText classifier; in the stage quality, the one trained there if absent."""

    label: str = GOOD
    """Label of the model whose probability is the score (``__label__hq`` in DCLM's)."""

    model_files: ClassVar[frozenset[str]] = frozenset({"model"})

    @field_validator("model")
    @classmethod
    def _model_exists(cls, model: Path | None, info: ValidationInfo) -> Path | None:
        # asked of a recipe only: what a finished run was made with may be gone
        if info.context and model is not None and not model.is_file():
            raise ValueError(f"there is no model {model}")
        return model


class ScoreQuality(Filter[ScoreQualityConfig]):
    """Score documents with a trained fastText classifier and drop the low ones."""

    name = "quality_score"
    version = 2
    config_type = ScoreQualityConfig
    measures: ClassVar[Mapping[str, pa.DataType]] = {"quality.score": pa.float64(), "quality.words": pa.int32()}
    rules = (
        Rule("no_text", "quality.words", "<", "min_words", "words"),
        Rule("low_score", "quality.score", "<", "min_score", "score"),
    )

    def setup(self, context: Context) -> None:
        path = self.config.model or context.side["classifier"] / MODEL_FILE
        self._classifier = Classifier(path, self.config.label)

    def measure(self, batch: pa.Table) -> pa.Table:
        lines = [self.config.words_of(text) for text in batch["text"].to_pylist()]
        scores = np.full(len(lines), np.nan)
        scores[[bool(line) for line in lines]] = self._classifier.scores([line for line in lines if line])
        words = [line.count(" ") + 1 if line else 0 for line in lines]
        columns = {
            "quality.score": pa.array(scores, pa.float64(), from_pandas=True),  # NaN: no score
            "quality.words": pa.array(words, pa.int32()),
        }
        return with_columns(batch, columns)

    def limit(self, rule: Rule, measured: pa.Table) -> Any:
        """As the options say; but as long as no score decides, none is missed."""
        return None if self.config.min_score is None else super().limit(rule, measured)
