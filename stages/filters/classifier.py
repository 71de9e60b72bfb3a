"""A quality classifier of one's own: fastText trained on wanted documents against unwanted ones."""

from __future__ import annotations

import hashlib
import heapq
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import pyarrow as pa
from pydantic import Field, model_validator

from pipeline.artifact import Artifact
from pipeline.errors import StageError
from pipeline.stage import (
    Composite,
    Context,
    Expansion,
    Global,
    Map,
    Outcome,
    Result,
    StageConfig,
    Verdict,
    decide,
    with_columns,
)
from stages.filters.classifier_training import BAD, GOOD, prepared, trained, write_examples

MODEL_FILE = "classifier.bin"
MIN_DOCUMENTS = 20
HISTOGRAM_BINS = 20


class TrainQualityConfig(StageConfig):
    """What to train on, and how."""

    positive: tuple[str, ...] = Field(min_length=1)
    """Artifacts whose documents are good."""

    negative: tuple[str, ...] = Field(min_length=1)
    """Artifacts whose documents are bad, or ordinary."""

    max_documents: int = Field(50_000, ge=MIN_DOCUMENTS)
    """Documents of each side to train on, drawn by a hash of their ids."""

    held_out: float = Field(0.1, gt=0, le=0.5)
    """Share of each side on which the classifier is measured instead."""

    epochs: int = Field(5, ge=1)
    """Passes over the documents (DCLM, arXiv:2406.11794, trains 3 on 400,000)."""

    learning_rate: float = Field(0.5, gt=0)
    """Step size at the start; it falls linearly to zero. fastText's own 0.1 hardly moves on a few hundred documents."""

    dimension: int = Field(32, ge=1)
    """Width of the word vectors."""

    word_ngrams: int = Field(2, ge=1)
    """Longest run of words that has a vector of its own (2 in DCLM)."""

    buckets: int = Field(1 << 18, ge=1)
    """Vectors that all longer runs share; the model takes about 4 bytes x buckets x dimension."""

    seed: int = 0
    """Counts beside the run's seed: another one draws other documents."""

    @model_validator(mode="after")
    def _sides_differ(self) -> Self:
        both = sorted(set(self.positive) & set(self.negative))
        if both:
            raise ValueError(f"{', '.join(both)} cannot be positive and negative at once")
        return self


class ScoreQualityConfig(StageConfig):
    """What to do with the scores."""

    min_score: float | None = Field(None, ge=0, le=1)
    """Probability of being good below which a document is dropped; null: score only."""


class QualityConfig(TrainQualityConfig, ScoreQualityConfig):
    """Options of quality."""


class Quality(Composite[QualityConfig]):
    """Train a classifier on documents of your choice, score all documents with it, and drop the low ones."""

    name = "quality"
    config_type = QualityConfig

    def expand(self, inputs: tuple[str, ...]) -> list[Expansion]:
        scoring = set(ScoreQualityConfig.model_fields)
        train = self.config.model_dump(mode="json", exclude=scoring)
        score = self.config.model_dump(mode="json", include=scoring)
        sides = (*self.config.positive, *self.config.negative)
        return [
            Expansion(".classifier", "quality_train", train, inputs=sides),
            Expansion("", "quality_score", score, inputs=inputs, side={"classifier": ".classifier"}),
        ]


class TrainQuality(Global[TrainQualityConfig]):
    """Train a fastText classifier of good against bad documents and measure it on held-out ones."""

    name = "quality_train"
    config_type = TrainQualityConfig
    produces = "classifier"
    accepts = ("documents",)

    def run(self, inputs: Mapping[str, Sequence[Artifact]], out: Path, context: Context) -> Result:
        """Write ``classifier.bin`` and report how well it tells held-out documents apart.

        Raises:
            StageError: a side has fewer than 20 documents with text.
        """
        training: list[tuple[bytes, str, str]] = []
        held_out: list[tuple[str, str]] = []
        counts: dict[str, dict[str, int]] = {}
        sides = (("positive", GOOD, self.config.positive), ("negative", BAD, self.config.negative))
        for side, label, names in sides:
            artifacts = [artifact for artifact in inputs["documents"] if artifact.name in names]
            sample = self._sample(artifacts, f"{context.seed}:{self.config.seed}")
            if len(sample) < MIN_DOCUMENTS:
                raise StageError(
                    f"quality_train: the {side} side ({', '.join(names)}) has {len(sample)} documents with text; "
                    f"at least {MIN_DOCUMENTS} are needed: name more artifacts"
                )
            cut = max(1, round(len(sample) * self.config.held_out))
            held_out += [(label, text) for _, text in sample[:cut]]
            training += [(order, label, text) for order, text in sample[cut:]]
            counts[side] = {"training": len(sample) - cut, "held_out": cut}
        training.sort()  # by hash: the two sides alternate at random
        examples = context.work / "examples.txt"
        write_examples(examples, ((label, text) for _, label, text in training))
        config = self.config
        settings = {
            "epoch": config.epochs,
            "lr": config.learning_rate,
            "dim": config.dimension,
            "wordNgrams": config.word_ngrams,
            "bucket": config.buckets,
        }
        trained(examples, out / MODEL_FILE, settings)
        scores = _Classifier(out / MODEL_FILE).scores([text for _, text in held_out])
        return Result({"documents": counts} | _quality_of([label == GOOD for label, _ in held_out], scores))

    def _sample(self, artifacts: Sequence[Artifact], seed: str) -> list[tuple[bytes, str]]:
        """Hash and prepared text of the documents with the smallest hashes, by hash: the same in whatever order."""

        def hashes() -> Iterator[bytes]:
            for artifact in artifacts:
                for table in artifact.tables(["id"]):
                    yield from (_order(seed, id_) for id_ in table["id"].to_pylist())

        chosen = set(heapq.nsmallest(self.config.max_documents, hashes()))
        sample: dict[bytes, str] = {}
        for artifact in artifacts:
            for table in artifact.tables(["id", "text"]):
                for id_, text in zip(table["id"].to_pylist(), table["text"].to_pylist(), strict=True):
                    if (order := _order(seed, id_)) in chosen and (words := prepared(text or "")):
                        sample[order] = words
        return sorted(sample.items())


class ScoreQuality(Map[ScoreQualityConfig]):
    """Score documents with a trained classifier and drop the low ones."""

    name = "quality_score"
    config_type = ScoreQualityConfig
    provides = ("quality.score",)

    def setup(self, context: Context) -> None:
        self._classifier = _Classifier(context.side["classifier"] / MODEL_FILE)

    def process(self, batch: pa.Table) -> Outcome:
        scores = self._classifier.scores([prepared(text or "") for text in batch["text"].to_pylist()])
        minimum = self.config.min_score
        verdicts: list[tuple[Verdict, str, str] | None] = [
            ("dropped", "low_score", f"{score:.4g} < {minimum:g}") if minimum is not None and score < minimum else None
            for score in scores
        ]
        return decide(with_columns(batch, {"quality.score": pa.array(scores, pa.float64())}), verdicts)


class _Classifier:
    """A trained model, by its file."""

    def __init__(self, path: Path) -> None:
        import fasttext

        self._model = fasttext.load_model(str(path))

    def scores(self, texts: list[str]) -> list[float]:
        """Probability of being good for each prepared text."""
        labels, probabilities = self._model.predict(texts, k=2)
        return [
            min(1.0, dict(zip(names, map(float, values), strict=True)).get(GOOD, 0.0))
            for names, values in zip(labels, probabilities, strict=True)
        ]


def _order(seed: str, document_id: str) -> bytes:
    return hashlib.blake2b(f"{seed}:{document_id}".encode(), digest_size=16).digest()


def _quality_of(good: Sequence[bool], scores: Sequence[float]) -> dict[str, Any]:
    """Precision and recall at 0.5, area under the ROC curve, and scores by side in 20 equal bins from 0 to 1."""
    from sklearn.metrics import roc_auc_score

    called_good = [score >= 0.5 for score in scores]
    right = sum(truth and called for truth, called in zip(good, called_good, strict=True))
    histogram = {side: [0] * HISTOGRAM_BINS for side in ("positive", "negative")}
    for truth, score in zip(good, scores, strict=True):
        histogram["positive" if truth else "negative"][min(int(score * HISTOGRAM_BINS), HISTOGRAM_BINS - 1)] += 1
    return {
        "precision": right / max(1, sum(called_good)),
        "recall": right / sum(good),
        "auc": float(roc_auc_score(good, scores)),
        "histogram": histogram,
    }
