"""The documents that pages belong to."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby
from typing import Any

import orjson
import pyarrow as pa
from pydantic import Field

from pipeline.artifact import DocumentPart
from pipeline.stage import Context, Gather, Outcome, Removal, StageConfig, documents, removal
from stages.pdf.document import Document, assembled
from stages.pdf.page import Page
from stages.pdf.quality import QUALITY_COLUMNS, quality_of

COLUMNS = (
    pa.field("pdf.pages", pa.int64()),
    pa.field("pdf.ocr_pages", pa.int64()),
    pa.field("pdf.vision_pages", pa.int64()),
    pa.field("pdf.unread_pages", pa.int64()),
    *QUALITY_COLUMNS,
    pa.field("pdf.lost_formulas", pa.int64()),
    pa.field("pdf.lost_tables", pa.int64()),
)
PAGE_COLUMNS = ("id", "source", "url", "date", "language", "mime", "origin", "meta", "pdf.document", "pdf.pages")
MAX_LAYOUT_BYTES = 256 << 20
"""Of the layouts of a document's pages together, which take 3.6 times as much memory. A page of print has 10 to 20 kB;
a file of 100 kB may have 2,000 pages that all show one stream of letters, and 7 GB of layouts."""

_RANGE = re.compile(r"(.*) \(pages \d+ of \d+\)(?: and \d+ more)?", re.DOTALL)
"""How ``files.shares_of`` names the part of a long file that one task reads."""


class PdfDocumentsConfig(StageConfig):
    """How pages become documents."""

    max_failed_share: float = Field(0.2, ge=0, le=1)
    """Share of a document's pages that may fail (PDFium cannot load them, or crashes); with more it fails as a whole.
    The pages that failed are named in its ``meta``."""


class PdfDocuments(Gather[PdfDocumentsConfig]):
    """Put the pages of PDFs together: running heads out, words and paragraphs whole, Markdown where it can be told."""

    name = "pdf_documents"
    config_type = PdfDocumentsConfig
    requires = ("text", "pdf.document", "pdf.page", "pdf.pages", "pdf.layout")
    provides = ("text", *(column.name for column in COLUMNS))

    def groups(self, parts: Sequence[DocumentPart]) -> list[list[DocumentPart]]:
        """Neighbouring parts that hold ranges of one file go to one task."""
        runs = groupby(parts, key=lambda part: _long_file(part.part) or part.name)
        return [list(group) for _, group in runs]

    def gather(self, batches: Iterator[pa.Table], context: Context) -> Iterator[Outcome]:
        for _, rows in groupby(_rows(batches), key=lambda row: row["pdf.document"]):
            taken: list[dict[str, Any]] = []
            count = size = 0
            for row in rows:
                count, size = count + 1, size + len(row["pdf.layout"])
                if not taken or size <= MAX_LAYOUT_BYTES:
                    taken.append(row)
                else:
                    del taken[1:]
            yield self._outcome(taken) if size <= MAX_LAYOUT_BYTES else _too_large(taken[0], count, size)

    def _outcome(self, rows: list[dict[str, Any]]) -> Outcome:
        first = rows[0]
        source, joined = first["source"], {first["source"]: len(rows)}
        pages = [Page.from_json(orjson.loads(row["pdf.layout"])) for row in rows]
        ended = self._failure(first, pages)
        if ended is None:
            document = assembled(pages)
            row = _row(first, pages, document)
            if document.text.strip():
                return Outcome(documents([row], COLUMNS), (), {source: 1}, {source: read_as(pages)}, joined)
            ended = _ended(first, "dropped", "no_text", f"{len(pages)} pages: {lanes_of(pages)}")
        return Outcome(documents([], COLUMNS), [ended], {source: 1}, {source: read_as(pages)}, joined)

    def _failure(self, first: dict[str, Any], pages: Sequence[Page]) -> Removal | None:
        count = first["pdf.pages"]
        missing = sorted(set(range(count)) - {page.number for page in pages})
        if missing:  # a task that reads a range of a long file could not open it
            return _ended(first, "failed", "pages_missing", f"{len(missing)} of {count}, the first is {missing[0] + 1}")
        failed = [page for page in pages if page.lane == "failed"]
        if len(failed) == count:
            return _ended(first, "failed", "unreadable", f"none of {count} pages can be read: {failed[0].reason}")
        if len(failed) > self.config.max_failed_share * count:
            reasons = ", ".join(f"{n} {reason}" for reason, n in Counter(page.reason for page in failed).most_common())
            return _ended(first, "failed", "too_many_failed_pages", f"{len(failed)} of {count}: {reasons}")
        return None


def _long_file(part: str) -> str | None:
    """The file of which a part holds a range of pages."""
    found = _RANGE.fullmatch(part)
    return found[1] if found else None


def _rows(batches: Iterable[pa.Table]) -> Iterator[dict[str, Any]]:
    for batch in batches:
        yield from batch.select([*PAGE_COLUMNS, "pdf.layout"]).to_pylist()


def _too_large(first: dict[str, Any], count: int, size: int) -> Outcome:
    ended = _ended(first, "failed", "too_much_text", f"{count} pages: layouts of {size} bytes > {MAX_LAYOUT_BYTES}")
    return Outcome(documents([], COLUMNS), [ended], {first["source"]: 1}, joined={first["source"]: count})


def _ended(first: dict[str, Any], verdict: Any, reason: str, evidence: str) -> Removal:
    return removal({**first, "id": first["pdf.document"]}, verdict, reason, f"{first['origin']['path']}: {evidence}")


def _row(first: dict[str, Any], pages: Sequence[Page], document: Document) -> dict[str, Any]:
    lanes = Counter(page.lane for page in pages)
    failed = [str(page.number + 1) for page in pages if page.lane == "failed"]
    meta = dict(first["meta"] or ()) | {"lanes": lanes_of(pages)}
    if failed:
        meta["failed_pages"] = ",".join(failed)
    return {
        **{name: first[name] for name in ("source", "url", "date", "language", "mime", "origin")},
        "id": first["pdf.document"],
        "text": document.text,
        "meta": meta,
        "pdf.pages": len(pages),
        "pdf.ocr_pages": lanes["ocr"],
        "pdf.vision_pages": lanes["vision"],
        "pdf.unread_pages": lanes["unread"] + lanes["failed"],
        **quality_of(pages, document.text),
        "pdf.lost_formulas": document.lost_formulas,
        "pdf.lost_tables": document.lost_tables,
    }


def read_as(pages: Sequence[Page]) -> dict[str, int]:
    """For the ledger: pages by lane and the reason for it, and those that a vision-language model should have read."""
    counts = Counter(f"page {page.lane}: {page.reason}" for page in pages)
    counts.update(f"page hard: {page.hard}" for page in pages if page.hard and page.lane != "vision")
    return dict(counts)


def lanes_of(pages: Sequence[Page]) -> str:
    """How the pages were read, in order: "12 text, 1 blank, 3 ocr"."""
    runs = [(lane, len(list(group))) for lane, group in groupby(page.lane for page in pages)]
    return ", ".join(f"{count} {lane}" for lane, count in runs)
