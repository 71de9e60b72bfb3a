"""Scoring documents with a sequence classifier in Hugging Face's format, such as FineWeb-Edu's."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any, ClassVar, Literal, Self

import numpy as np
import pyarrow as pa
from pydantic import Field, ValidationInfo, field_validator, model_validator

from pipeline import storage
from pipeline.errors import StageError
from pipeline.filter import Filter, Rule
from pipeline.stage import Context, StageConfig, with_columns

COMMIT = re.compile(r"[0-9a-f]{40}")
HUB_NAME = re.compile(r"[\w.-]+(/[\w.-]+)?")


class ModelThresholdConfig(StageConfig):
    """From which score on a document is kept."""

    min_score: float | None = None
    """Score below which a document is dropped; null: none is for its score. FineWeb-Edu keeps 2.5 and above: its
    published threshold 3 is of the rounded score (arXiv:2406.17557, section 4)."""

    min_tokens: int | None = Field(1, ge=1)
    """Tokens that the model saw, below which a document is dropped where scores decide: without one it has no score.
    Null: documents without a score stay."""


class QualityModelScoreConfig(ModelThresholdConfig):
    """Which model to score with, and how."""

    model: str
    """A folder with a model and its tokenizer, or a name on the Hugging Face hub, which needs ``revision``."""

    revision: str | None = None
    """Commit of a model on the hub, 40 hexadecimal digits: branches and tags move, and scores with them."""

    label: str | int | None = None
    """The class whose probability is the score, by its name or number in the model's configuration. Needed where there
    are several; a model with one output, as FineWeb-Edu's, has none to choose."""

    activation: Literal["auto", "none", "softmax", "sigmoid"] = "auto"
    """What turns the model's output into the score; auto: none for one output, sigmoid for a model that says its
    classes do not exclude each other, softmax for others."""

    max_tokens: int = Field(512, ge=8)
    """Tokens of a document that the model sees, from its start, the tokenizer's special ones included."""

    dtype: Literal["float32", "bfloat16", "float16"] = "float32"
    """Number format of the model; float16 needs a GPU. In the others scores depend on the batch, in the third digit."""

    batch_tokens: int | None = Field(None, ge=1)
    """Tokens in a batch, padding included; documents of similar length share one. Null: 16,384 on a GPU, 1,024 on a
    CPU."""

    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where the model runs; auto: on a GPU if there is one. ``cuda`` without a GPU is an error."""

    not_identity: ClassVar[frozenset[str]] = frozenset({"batch_tokens", "device"})  # these move scores by rounding only

    @field_validator("model")
    @classmethod
    def _folder_beside_the_recipe(cls, model: str, info: ValidationInfo) -> str:
        folder = Path((info.context or {}).get("base", Path.cwd())) / Path(model).expanduser()
        return str(folder) if folder.is_dir() else model

    @model_validator(mode="after")
    def _model_is_settled(self, info: ValidationInfo) -> Self:
        # asked of a recipe only: what a finished run was made with may be gone
        if info.context and (problem := self._unsettled()):
            raise ValueError(problem)
        return self

    def _unsettled(self) -> str | None:
        """Why it is not certain which model these options mean, now and tomorrow."""
        if self.folder is not None:
            if self.revision is not None:
                return "a model in a folder has no revision: leave the option out"
            return None if (self.folder / "config.json").is_file() else f"{self.folder} holds no config.json of a model"
        if not HUB_NAME.fullmatch(self.model):
            return f"there is no folder {self.model}"
        if self.revision is None or not COMMIT.fullmatch(self.revision):
            return (
                f"there is no folder {self.model}; if it is a name on the Hugging Face hub, set the option revision to "
                "the commit to use (40 hexadecimal digits, under 'Files and versions' there): names, branches and tags "
                "can mean another model tomorrow"
            )
        return None

    @property
    def folder(self) -> Path | None:
        """The model's folder; None for a model of the hub."""
        return Path(self.model) if Path(self.model).is_absolute() and Path(self.model).is_dir() else None

    def identity(self) -> dict[str, Any]:
        """Of a folder the content counts, not the path.

        Raises:
            StageError: it is not certain which model is meant.
        """
        if problem := self._unsettled():
            raise StageError(f"quality_model: {problem}")
        return super().identity() | ({} if self.folder is None else {"model": digests_of(self.folder)})


class QualityModelScore(Filter[QualityModelScoreConfig]):
    """Score documents with a sequence classifier of Hugging Face, on CPU or GPU, and drop the low ones."""

    name = "quality_model_score"
    config_type = QualityModelScoreConfig
    measures: ClassVar[Mapping[str, pa.DataType]] = {
        "quality_model.score": pa.float64(),
        "quality_model.tokens": pa.int32(),  # that the model saw, without special ones
        "quality_model.seen": pa.float64(),  # share of the text's characters that these tokens cover
    }
    rules = (
        Rule("no_text", "quality_model.tokens", "<", "min_tokens", "tokens"),
        Rule("low_score", "quality_model.score", "<", "min_score", "score"),
    )
    measures_dropped = False
    commits_output = True

    def __init__(self, config: QualityModelScoreConfig) -> None:
        super().__init__(config)
        self.gpus = 0.0 if config.device == "cpu" else 1.0

    def setup(self, context: Context) -> None:
        """Load the model.

        Raises:
            StageError: the model cannot be had, does not fit the options, or there is no GPU.
        """
        try:
            from proxy_models.sequence_classifier import ClassifierError, SequenceClassifier
        except ImportError as error:
            raise StageError(f"quality_model: {error}: run `pip install transformers`") from error
        c = self.config
        try:
            self._classifier = SequenceClassifier(
                c.model,
                revision=c.revision,
                label=c.label,
                activation=c.activation,
                max_tokens=c.max_tokens,
                batch_tokens=c.batch_tokens,
                dtype=c.dtype,
                device=c.device,
                threads=context.cpus,
            )
        except ClassifierError as error:
            raise StageError(f"quality_model: {error}") from error

    def measure(self, batch: pa.Table) -> pa.Table:
        readings = self._classifier.readings([text or "" for text in batch["text"].to_pylist()])
        scores = np.array([reading.score for reading in readings], np.float64)
        tokens = np.array([reading.tokens for reading in readings], np.int32)
        if (wrong := np.flatnonzero((tokens > 0) & ~np.isfinite(scores))).size:
            raise StageError(
                f"quality_model: the model gives no finite score for the document {batch['id'][int(wrong[0])]}: "
                "set dtype to float32, or correct the model"
            )
        columns = {
            "quality_model.score": pa.array(scores, pa.float64(), mask=tokens == 0),
            "quality_model.tokens": pa.array(tokens, pa.int32()),
            "quality_model.seen": pa.array([reading.seen for reading in readings], pa.float64(), mask=tokens == 0),
        }
        return with_columns(batch, columns)

    def limit(self, rule: Rule, measured: pa.Table) -> Any:
        """As the options say; but as long as no score decides, none is missed."""
        return None if self.config.min_score is None else super().limit(rule, measured)


def digests_of(folder: Path) -> dict[str, str]:
    """SHA-256 of each file in a folder, hidden ones left out, by relative path."""
    files = [(path.relative_to(folder), path) for path in sorted(folder.rglob("*")) if path.is_file()]
    return {
        relative.as_posix(): _digest_of(path, path.stat().st_mtime_ns, path.stat().st_size)
        for relative, path in files
        if not any(part.startswith(".") for part in relative.parts)
    }


@cache
def _digest_of(path: Path, mtime_ns: int, size_bytes: int) -> str:
    """Computed once for each state of a file: an identity is asked for often, and a model may have gigabytes."""
    return storage.sha256_of(path)
