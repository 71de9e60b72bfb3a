"""Last step of dedup_substrings: repeated passages are cut out of the texts."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, ClassVar

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import regex

from pipeline.stage import Context, Map, Outcome, Verdict, decide, with_columns
from stages.dedup.substrings.options import CutConfig
from stages.dedup.substrings.phases import SPANS_FILE

SPANS_COLUMN = "dedup_substrings.spans"
MAX_MARKS = 20  # characters by which a cut grows over punctuation, at each end

_OPENING = regex.compile(r"(?:(?<=^|\s)[^\w\s]+|[\p{Ps}\p{Pi}]+)\Z")  # marks that belong to what follows
_CLOSING = regex.compile(r"(?V1)[^\w\s--[\p{Ps}\p{Pi}]]*")  # marks that belong to what stands before
_BLANK_LINE = regex.compile(r"\n[^\S\n]*\r?\n")


class CutSubstrings(Map[CutConfig]):
    """Cut passages that have a better occurrence elsewhere, or drop the documents that mostly consist of them.

    What was cut, or would have been, stays in a column: places before the cut, and the document that keeps the passage.
    """

    name = "dedup_substrings_cut"
    config_type = CutConfig
    provides = (SPANS_COLUMN,)
    commits_output: ClassVar[bool] = True

    def setup(self, context: Context) -> None:
        self._slice = pq.read_table(context.side["spans"] / SPANS_FILE).combine_chunks()

    def process(self, batch: pa.Table) -> Outcome:
        place = pc.index_in(batch.column("id"), self._slice.column("id")).combine_chunks()
        found = self._slice.take(place)
        batch = with_columns(batch, {SPANS_COLUMN: found.column("spans").combine_chunks()})
        rows = pc.indices_nonzero(place.is_valid()).to_pylist()
        verdicts: list[tuple[Verdict, str, str] | None] = [None] * batch.num_rows
        edited: dict[int, str] = {}
        noted: dict[str, dict[str, int]] = {}
        for row in rows:
            tokens, spans = found.column("tokens")[row].as_py(), found.column("spans")[row].as_py()
            verdicts[row] = self._verdict(tokens, spans)
            if verdicts[row] is None and self.config.action == "cut":
                text = batch.column("text")[row].as_py()
                edited[row] = without(text, [(span["start"], span["end"]) for span in spans])
                counts = noted.setdefault(
                    batch.column("source")[row].as_py(), {"spans_cut": 0, "tokens_cut": 0, "documents_edited": 0}
                )
                counts["spans_cut"] += len(spans)
                counts["tokens_cut"] += sum(span["tokens"] for span in spans)
                counts["documents_edited"] += 1
        outcome = decide(batch, verdicts)
        if not edited:
            return outcome
        texts = [edited.get(row, text) for row, text in enumerate(batch.column("text").to_pylist())]
        kept = [text for text, verdict in zip(texts, verdicts, strict=True) if verdict is None]
        return Outcome(
            with_columns(outcome.kept, {"text": pa.array(kept, pa.large_string())}), outcome.removed, noted=noted
        )

    def _verdict(self, tokens: int, spans: Sequence[Mapping[str, Any]]) -> tuple[Verdict, str, str] | None:
        repeated = sum(span["tokens"] for span in spans)
        most = max(spans, key=lambda span: span["tokens"])
        evidence = f"{repeated} of {tokens} tokens repeated, {most['tokens']} of them in {most['kept']}"
        if self.config.action == "drop" and repeated > self.config.max_share * tokens:
            return "dropped", "mostly_repeated", evidence
        if self.config.action == "cut" and repeated == tokens:
            return "dropped", "nothing_left", evidence
        return None


def without(text: str, passages: Sequence[tuple[int, int]]) -> str:
    """A text without some passages.

    Punctuation that belongs to a passage goes with it. What stood on both sides is joined by the strongest break that
    stood between: a blank line, a line end, a space; or by nothing in scripts without spaces.

    Args:
        passages: first character and the one behind the last; ascending, without overlap.
    """
    pieces: list[str] = []
    at = 0
    for start, end in _gaps(text, passages):
        pieces.append(text[at:start])
        if start > 0 and end < len(text):
            pieces.append(_break(text, start, end))
        at = end
    return "".join([*pieces, text[at:]])


def _gaps(text: str, passages: Sequence[tuple[int, int]]) -> Iterator[tuple[int, int]]:
    """The passages with their punctuation and the whitespace around them; those that then touch as one."""
    gap: tuple[int, int] | None = None
    for start, end in passages:
        if marks := _OPENING.search(text, max(0, start - MAX_MARKS), start):
            start -= len(marks[0])
        end = _CLOSING.match(text, end, min(len(text), end + MAX_MARKS)).end()
        while start > 0 and text[start - 1].isspace():
            start -= 1
        while end < len(text) and text[end].isspace():
            end += 1
        if gap and start <= gap[1]:
            gap = gap[0], max(gap[1], end)
            continue
        if gap:
            yield gap
        gap = start, end
    if gap:
        yield gap


def _break(text: str, start: int, end: int) -> str:
    """What stands in place of a gap."""
    gap = text[start:end]
    if _BLANK_LINE.search(gap):
        return "\n\n"
    if "\n" in gap:
        return "\n"
    is_spaceless = any(unicodedata.east_asian_width(character) in "WF" for character in (text[start - 1], text[end]))
    return " " if gap[0].isspace() or gap[-1].isspace() or not is_spaceless else ""
