"""Training a quality classifier: examples drawn from two sides, settings searched, held-out documents judged."""

from __future__ import annotations

import hashlib
import heapq
import itertools
import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from pipeline.artifact import Artifact
from pipeline.errors import StageError
from pipeline.stage import Context, Global, Result
from stages.filters.quality.classifier import Classifier
from stages.filters.quality.evaluation import brier, quality_of
from stages.filters.quality.fasttext_process import train, write_examples
from stages.filters.quality.words import WordsConfig

MODEL_FILE = "classifier.bin"
MIN_DOCUMENTS = 20

GRID = [
    {"epochs": epochs, "learning_rate": rate, "word_ngrams": ngrams, "dimension": dimension}
    for epochs, rate, ngrams, dimension in itertools.product(
        (3, 5, 10, 25), (0.1, 0.25, 0.5, 1.0), (1, 2, 3), (16, 32, 100)
    )
]
"""Settings that ``trials`` draws from: the ranges in which fastText's own autotune finds most of its winners."""


class TrainQualityConfig(WordsConfig):
    """What to train on, and how."""

    positive: tuple[str, ...] = Field(min_length=1)
    """Artifacts whose documents are good."""

    negative: tuple[str, ...] = Field(min_length=1)
    """Artifacts whose documents are bad, or ordinary."""

    max_documents: int = Field(50_000, ge=MIN_DOCUMENTS)
    """Documents of each side to train on, drawn by a hash of their ids."""

    balance: bool = False
    """Whether the larger side is cut to the size of the smaller. Otherwise scores are probabilities at the two sides'
    own ratio: with 1 good document in 20, few reach 0.5."""

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

    trials: int = Field(0, ge=0, le=len(GRID))
    """Other settings of epochs, learning_rate, word_ngrams and dimension to try, drawn by the seed from a grid of 144;
    the best on a tenth of the training documents trains on all of them. fastText's own autotune stops by the clock, so
    that a faster machine gets another model; this one stops by count, and equal inputs give equal models."""

    seed: int = 0
    """Counts beside the run's seed: another one draws other documents."""

    @model_validator(mode="after")
    def _sides_differ(self) -> Self:
        both = sorted(set(self.positive) & set(self.negative))
        if both:
            raise ValueError(f"{', '.join(both)} cannot be positive and negative at once")
        return self


@dataclass(frozen=True)
class Example:
    """A document to train on or to measure by; ``order`` is a hash of its id, by which it is drawn."""

    order: bytes
    good: bool
    words: str


class TrainQuality(Global[TrainQualityConfig]):
    """Train a fastText classifier of good against bad documents and measure it on held-out ones."""

    name = "quality_train"
    version = 3
    config_type = TrainQualityConfig
    produces = "classifier"
    accepts = ("documents",)

    def run(self, inputs: Mapping[str, Sequence[Artifact]], out: Path, context: Context) -> Result:
        """Write ``classifier.bin`` and report how well it tells held-out documents apart.

        Raises:
            StageError: a side has fewer than 20 documents with text.
        """
        seed = f"{context.seed}:{self.config.seed}"
        sides = {side: self._side(side, inputs["documents"], seed) for side in ("positive", "negative")}
        smaller = min(map(len, sides.values()))
        training: list[Example] = []
        held_out: list[Example] = []
        counts: dict[str, dict[str, int]] = {}
        for side, examples in sides.items():
            if self.config.balance:
                examples = examples[:smaller]
            cut = max(1, round(len(examples) * self.config.held_out))
            held_out += examples[:cut]
            training += examples[cut:]
            counts[side] = {"training": len(examples) - cut, "held_out": cut}
        training.sort(key=lambda example: example.order)  # the two sides alternate at random
        settings, trials = self._best_settings(training, context, seed)
        model = self._trained(training, out / MODEL_FILE, settings, context.work)
        good, scores = _judged(model, held_out)
        context.progress(self.config.trials + 1, self.config.trials + 1)
        return Result({"documents": counts, "settings": settings, "trials": trials} | quality_of(good, scores))

    def _side(self, side: str, artifacts: Sequence[Artifact], seed: str) -> list[Example]:
        """The documents of a side with the smallest hashes, by hash: the same in whatever parts and order they come."""
        names: tuple[str, ...] = getattr(self.config, side)
        mine = [artifact for artifact in artifacts if artifact.name in names]

        def hashes() -> Iterator[bytes]:
            for artifact in mine:
                for table in artifact.tables(["id"]):
                    yield from (_order(seed, id_) for id_ in table["id"].to_pylist())

        chosen = set(heapq.nsmallest(self.config.max_documents, hashes()))
        found: dict[bytes, str] = {}
        for artifact in mine:
            for table in artifact.tables(["id", "text"]):
                for id_, text in zip(table["id"].to_pylist(), table["text"].to_pylist(), strict=True):
                    if (order := _order(seed, id_)) in chosen and (words := self.config.words_of(text)):
                        found[order] = words
        unique = {words: order for order, words in sorted(found.items(), reverse=True)}  # or held-out texts have copies
        if len(unique) < MIN_DOCUMENTS:
            raise StageError(
                f"quality_train: the {side} side ({', '.join(names)}) has {len(unique)} different documents with text; "
                f"at least {MIN_DOCUMENTS} are needed: name more artifacts"
            )
        in_order = sorted((order, words) for words, order in unique.items())
        return [Example(order, side == "positive", words) for order, words in in_order]

    def _best_settings(
        self, training: Sequence[Example], context: Context, seed: str
    ) -> tuple[dict[str, float], list[dict[str, float]]]:
        """The settings to train with, and what each trial measured: the configured ones first, then draws from GRID.

        Best is the highest area under the ROC curve on the validation documents, to four digits; of equals, the least
        Brier score; of equals again, the first.
        """
        given = {name: getattr(self.config, name) for name in GRID[0]}
        if not self.config.trials:
            return given, []
        others = [settings for settings in GRID if settings != given]
        drawn = random.Random(seed).sample(others, min(self.config.trials, len(others)))
        validation, rest = tenth_apart(training)
        trials: list[dict[str, float]] = []
        for number, settings in enumerate([given, *drawn]):
            context.progress(number, self.config.trials + 1)
            model = self._trained(rest, context.work / "trial.bin", settings, context.work)
            good, scores = _judged(model, validation)
            measured = quality_of(good, scores)
            trials.append({**settings, "auc": measured["auc"], "brier": brier(good, scores)})
        best = min(trials, key=lambda trial: (-round(trial["auc"], 4), trial["brier"]))
        return {name: best[name] for name in given}, trials

    def _trained(
        self, examples: Sequence[Example], path: Path, settings: Mapping[str, float], work: Path
    ) -> Classifier:
        write_examples(work / "examples.txt", ((example.good, example.words) for example in examples))
        train(work / "examples.txt", path, self._of_fasttext(settings))
        return Classifier(path)

    def _of_fasttext(self, settings: Mapping[str, float]) -> dict[str, Any]:
        return {
            "epoch": settings["epochs"],
            "lr": settings["learning_rate"],
            "dim": settings["dimension"],
            "wordNgrams": settings["word_ngrams"],
            "bucket": self.config.buckets,
        }


def tenth_apart(examples: Sequence[Example]) -> tuple[list[Example], list[Example]]:
    """A tenth of each side, and the rest. Examples come in the order of their hashes, so it is a random tenth."""
    tenth: list[Example] = []
    rest: list[Example] = []
    for side in (True, False):
        for number, example in enumerate(example for example in examples if example.good == side):
            (rest if number % 10 else tenth).append(example)
    return tenth, sorted(rest, key=lambda example: example.order)


def _judged(classifier: Classifier, examples: Sequence[Example]) -> tuple[NDArray[np.bool_], NDArray[np.float64]]:
    return np.array([e.good for e in examples]), classifier.scores([e.words for e in examples])


def _order(seed: str, document_id: str) -> bytes:
    return hashlib.blake2b(f"{seed}:{document_id}".encode(), digest_size=16).digest()
