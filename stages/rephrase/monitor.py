"""Rephrased documents seen together: do they begin alike, are they near-duplicates, are there too many of a source?

No gate can tell of one document what is wrong with all of them. Common openings are told, for a better prompt or more
templates; near-duplicates and what is over the synthetic share of a source are removed by rephrase_keep.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import regex
from numpy.typing import NDArray

from pipeline.artifact import Artifact, document_parts, read_tables
from pipeline.stage import Context, Global, Result, StageConfig
from stages.dedup.remove import DUPLICATES_FILE
from stages.rephrase.choice import draw_of
from stages.rephrase.plan import PLAN_FILE

MONITOR_FILE = "monitor.json"

OPENING_WORDS = 5
MAX_OPENING_SHARE = 0.02  # of a style's documents that begin alike
LEAST_ALIKE = 5  # documents, for a share to say anything
OPENINGS_COUNTED = 4096  # of a style at once: a count falls short by at most one in so many documents
OPENINGS_TOLD = 5
EXAMPLES = 3
MAX_DUPLICATE_SHARE = 0.05
BINS = 1 << 16  # of the draws of a source: so finely is it cut where it is over its share

_COLUMNS = [
    "id",
    "text",
    "parent",
    "rephrase.style",
    "rephrase.parent_source",
    "rephrase.prompt_tokens",
    "rephrase.completion_tokens",
]
# Of scripts without spaces between words two characters count as a word.
_WORD = regex.compile(
    r"[\p{Han}\p{Hiragana}\p{Katakana}]{1,2}|(?:(?![\p{Han}\p{Hiragana}\p{Katakana}])[\p{L}\p{M}\p{N}])+"
)
_OPENING_CHARACTERS = 200
_LABELS = frozenset({"question", "q"})  # that all documents of a style begin with, by order


class Openings:
    """The commonest openings of many documents, by Misra and Gries (1982): the memory is bounded, and a count is short
    by at most documents / (openings counted + 1)."""

    def __init__(self, most: int = OPENINGS_COUNTED) -> None:
        self._most = most
        self._counts: dict[str, int] = {}
        self._examples: dict[str, list[str]] = {}

    def add(self, opening: str, document_id: str) -> None:
        """Count a document's opening."""
        if opening in self._counts or len(self._counts) < self._most:
            self._counts[opening] = self._counts.get(opening, 0) + 1
            examples = self._examples.setdefault(opening, [])
            if len(examples) < EXAMPLES:
                examples.append(document_id)
            return
        self._counts = {known: count - 1 for known, count in self._counts.items() if count > 1}
        self._examples = {known: self._examples[known] for known in self._counts}

    def commonest(self) -> list[dict[str, Any]]:
        """OPENINGS_TOLD openings with their documents, most common first, and ids of some."""
        order = sorted(self._counts.items(), key=lambda entry: (-entry[1], entry[0]))[:OPENINGS_TOLD]
        return [{"opening": text, "documents": n, "examples": self._examples[text]} for text, n in order]


def opening_of(text: str) -> str:
    """The first words of a text, without case, punctuation and the label of a question."""
    words = [word.casefold() for word in _WORD.findall(text[:_OPENING_CHARACTERS])]
    while words and (words[0] in _LABELS or words[0].isdecimal()):
        words = words[1:]
    return " ".join(words[:OPENING_WORDS])


@dataclass
class StyleCount:
    """Documents of one style."""

    documents: int = 0
    duplicates: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    size_bytes: int = 0
    openings: list[dict[str, Any]] = field(default_factory=list)


@dataclass
class SourceCount:
    """Documents written from those of one source; near-duplicates are not among the bytes."""

    documents: int = 0
    duplicates: int = 0
    completion_tokens: int = 0
    natural_bytes: int = 0  # of the source's own documents
    synthetic_bytes: int = 0
    most_bytes: int = 0  # that the share allows
    kept_bytes: int = 0
    planned_share: float = 1.0  # of its suitable documents that were chosen: those of a lesser draw
    kept_bins: int = BINS  # of BINS, into which the draws below that share fall


def bin_of(draw: float, planned_share: float) -> int:
    """In which of BINS a draw falls that lies below the share of its source."""
    return min(BINS - 1, int(draw / planned_share * BINS)) if planned_share > 0 else 0


class RephraseMonitor(Global[StageConfig]):
    """Look at all rephrased documents together: common openings, near-duplicates, the share of each source."""

    name = "rephrase_monitor"
    accepts: ClassVar[tuple[str, ...]] = ("documents", "duplicates")
    produces: ClassVar[str] = "rephrase_monitor"

    def run(self, inputs: Mapping[str, Sequence[Artifact]], out: Path, context: Context) -> Result:
        """Write ``monitor.json``.

        Raises:
            KeyError: a document was written from a source that the plan does not know.
        """
        plan = json.loads((context.side["plan"] / PLAN_FILE).read_bytes())
        styles: dict[str, StyleCount] = defaultdict(StyleCount)
        openings: dict[str, Openings] = defaultdict(Openings)
        sources = {
            name: SourceCount(
                natural_bytes=planned["size_bytes"],
                most_bytes=int(planned["size_bytes"] * planned["synthetic_factor"]),
                planned_share=planned["share"],
            )
            for name, planned in plan["sources"].items()
        }
        bins: dict[str, NDArray[np.int64]] = defaultdict(lambda: np.zeros(BINS, np.int64))
        for batch, is_duplicate in _documents(inputs, context):
            sizes = pc.binary_length(batch["text"]).to_pylist()
            columns = [batch[name].to_pylist() for name in _COLUMNS]
            for size, is_gone, id_, text, parent, style_name, source_name, prompt, completion in zip(
                sizes, is_duplicate, *columns, strict=True
            ):
                style, source = styles[style_name], sources[source_name]
                style.documents, source.documents = style.documents + 1, source.documents + 1
                style.duplicates, source.duplicates = style.duplicates + is_gone, source.duplicates + is_gone
                style.prompt_tokens += prompt
                style.completion_tokens += completion
                source.completion_tokens += completion
                style.size_bytes += size
                openings[style_name].add(opening_of(text), id_)
                if not is_gone:
                    bins[source_name][bin_of(draw_of(parent, context.seed), source.planned_share)] += size
        for name, style in styles.items():
            style.openings = openings[name].commonest()
        for name, source in sources.items():
            _cut(source, bins[name])
        found = {
            "styles": {name: asdict(styles[name]) for name in sorted(styles)},
            "sources": {name: asdict(source) for name, source in sources.items()},
        }
        (out / MONITOR_FILE).write_text(json.dumps(found, indent=1, allow_nan=False))
        return Result({**found, "warnings": [*_style_warnings(styles), *_source_warnings(sources)]})


def _documents(inputs: Mapping[str, Sequence[Artifact]], context: Context) -> Iterator[tuple[pa.Table, list[bool]]]:
    """All rephrased documents, and which of them are near-duplicates of another."""
    (duplicates,) = inputs["duplicates"]
    parts = document_parts(inputs["documents"])
    for done, part in enumerate(parts):
        context.progress(done, len(parts))
        found = duplicates.file_of(duplicates.part_named(part.name), DUPLICATES_FILE)
        gone = pq.read_table(found, columns=["id"])["id"].combine_chunks()
        for batch in read_tables(part.path, _COLUMNS):
            yield batch, pc.is_in(batch["id"], value_set=gone).to_pylist()


def _cut(source: SourceCount, bins: NDArray[np.int64]) -> None:
    """Draw the line below which documents stay: so many bins of draws as the share has room for."""
    reached = np.cumsum(bins)
    source.synthetic_bytes = int(reached[-1])
    source.kept_bins = int(np.searchsorted(reached, source.most_bytes, side="right"))
    source.kept_bytes = int(reached[source.kept_bins - 1]) if source.kept_bins else 0


def _style_warnings(styles: Mapping[str, StyleCount]) -> Iterator[str]:
    for name, style in sorted(styles.items()):
        for opening in style.openings:
            alike = opening["documents"]
            if alike >= LEAST_ALIKE and alike > MAX_OPENING_SHARE * style.documents:
                yield (
                    f"{alike / style.documents:.1%} of the documents in the style {name} begin with "
                    f'"{opening["opening"]}" ({alike:,} of {style.documents:,}; the goal is at most '
                    f"{MAX_OPENING_SHARE:.0%}): more and more different templates, or a higher temperature, help"
                )
        if style.duplicates >= LEAST_ALIKE and style.duplicates > MAX_DUPLICATE_SHARE * style.documents:
            yield (
                f"{style.duplicates / style.documents:.1%} of the documents in the style {name} are near-duplicates of "
                "another rephrased document: see whether their parents are, and remove duplicates before rephrasing"
            )


def _source_warnings(sources: Mapping[str, SourceCount]) -> Iterator[str]:
    for name, source in sources.items():
        if source.kept_bins < BINS:
            lost = source.synthetic_bytes - source.kept_bytes
            yield (
                f"the answers from {name} came out longer than was planned: {lost / source.synthetic_bytes:.1%} of "
                "their bytes are over its max_synthetic_share and are removed"
            )
