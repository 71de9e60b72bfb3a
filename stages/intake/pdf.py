"""PDF files as documents, one a file: files as they lie, or the papers of a list."""

from __future__ import annotations

import datetime
import hashlib
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import ClassVar, Self

import pyarrow as pa
from pydantic import Field, field_validator, model_validator

from pipeline.locations.location import RecipeLocation, reason_of
from pipeline.stage import Context, Outcome, Removal, Source, Split, documents
from stages.extract.pdf import OcrMode, Page, PdfLimits, UnreadablePdf, visible_characters
from stages.extract.pdf_text import text_of
from stages.extract.pdf_worker import PdfWorker
from stages.intake.columns import Row
from stages.intake.files import FilesConfig, matching_files, one_split_per_file, splits_of_size
from stages.intake.paper_lists import (
    LIST_SUFFIXES,
    ListRange,
    Paper,
    UnreadableRecord,
    check_template,
    licence_name,
    papers_in,
    ranges,
    refusal,
)

PDF_MAGIC = b"%PDF-"
PDF_HEADER_BYTES = 1024  # readers look for the magic number so far
COLUMNS = (
    pa.field("pdf.pages", pa.int64()),
    pa.field("pdf.ocr_pages", pa.int64()),
    pa.field("pdf.ocr_confidence", pa.float64()),
)


class PdfConfig(FilesConfig):
    """Options of ``pdf``."""

    files: tuple[RecipeLocation, ...] = ()
    """Files, folders or glob patterns ("**" for any depth), relative to the recipe; or URLs: https://, s3:// and any
    other that fsspec knows."""

    papers: tuple[RecipeLocation, ...] = ()
    """Lists of papers (Semantic Scholar's or arXiv's metadata as JSON Lines, plain or compressed) instead of or beside
    ``files``: every record of a list is in the ledger, and the PDFs of those that are open access are read. Of a
    compressed list each task decompresses what stands before its 100 papers: a long one is better plain."""

    template: RecipeLocation | None = None
    """Where arXiv's PDFs lie, for papers that have an arXiv identifier: a location with {id}, or {archive}, {yymm} and
    {number} ("arxiv", "2101" and "2101.00001"; "hep-th", "9901" and "9901001"), and {version}, the last one."""

    licences: tuple[str, ...] = ()
    """Only papers under one of these: cc-by, cc-by-sa, cc-by-nc, cc0, public-domain, arxiv-nonexclusive-distrib, or as
    the list writes it. None: papers under any licence, stated or not."""

    categories: tuple[str, ...] = ()
    """Only papers in one of these arXiv categories (cs.CL), or in a part of one (cs)."""

    from_date: datetime.date | None = None
    """Only papers of this day or later."""

    ocr: OcrMode = "auto"
    """Pages to read from their picture: "auto" (those without a usable text layer), "off" or "always"."""

    max_file_bytes: int = Field(200_000_000, gt=0)
    """Larger files fail unread."""

    max_pages: int = Field(2_000, gt=0)
    """Files with more pages fail unread."""

    max_page_pixels: int = Field(4_000_000, gt=0)
    """A page that would be larger at 150 dpi is rendered at a lower resolution. The OCR engine itself reduces
    pictures to 2000 pixels a side."""

    page_deadline_s: float = Field(120.0, gt=0)
    """A page that takes longer (a hang of the PDF reader) fails its file. OCR of a page takes 1 to 8 s of a core."""

    not_identity: ClassVar[frozenset[str]] = FilesConfig.not_identity | {"papers"}

    @field_validator("licences")
    @classmethod
    def _one_spelling(cls, licences: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(licence_name(licence) or licence for licence in licences)

    @model_validator(mode="after")
    def _files_or_papers(self) -> Self:
        if not self.files and not self.papers:
            raise ValueError("one of the options 'files' and 'papers' is required")
        if not self.papers and (self.template or self.licences or self.categories or self.from_date):
            raise ValueError("'template', 'licences', 'categories' and 'from_date' choose among 'papers': give a list")
        if self.template is not None:
            check_template(self.template)
        return self


class Pdf(Source[PdfConfig]):
    """Read PDF files, by their text layer or by OCR, page by page."""

    name = "pdf"
    config_type = PdfConfig
    provides = ("text", "pdf.pages", "pdf.ocr_pages", "pdf.ocr_confidence")

    def splits(self) -> list[Split]:
        # reading is slow against starting a task, so few files to a task keep all cores busy to the end
        files = self.config.matching_files((".pdf", ".PDF"))
        lists = matching_files(self.config.papers, LIST_SUFFIXES, self.config.remote)
        parts = [part for file in lists for part in ranges(file, self.config)]
        return splits_of_size(files, max_bytes=32_000_000, max_files=16) + one_split_per_file(parts)

    def read(self, split: Split, source: str, context: Context) -> Iterator[Outcome]:
        limits = PdfLimits(self.config.ocr, self.config.max_pages, self.config.max_page_pixels)
        with PdfWorker(limits, self.config.page_deadline_s) as worker:
            for file in split.files:
                if isinstance(file, ListRange):
                    for row in self._papers(worker, file, source, context):
                        yield _outcome(row, source)
                else:
                    yield _outcome(self._document(worker, file.location, file.name, source, context), source)

    def _papers(self, worker: PdfWorker, part: ListRange, source: str, context: Context) -> Iterator[Row | Removal]:
        """One for each record of a list."""
        config = self.config
        for offset, found in papers_in(part, config, config.template, context):
            identity = f"{source}/{part.list_name}@{offset}"
            if isinstance(found, UnreadableRecord):
                evidence = f"{part.list_name}: byte {offset} of its content: {found.evidence}"
                yield Removal(identity, source, "failed", found.reason, evidence)
            elif refused := refusal(found, config.licences, config.categories, config.from_date):
                yield Removal(identity, source, "dropped", *refused, url=found.url or "")
            else:
                assert found.location is not None  # else it was refused
                row = self._document(worker, found.location, found.location, source, context, is_paper=True)
                yield _of_paper(row, found, identity)

    def _document(
        self, worker: PdfWorker, location: str, name: str, source: str, context: Context, is_paper: bool = False
    ) -> Row | Removal:
        """A PDF read.

        Args:
            is_paper: a list says that this is a PDF, which often is untrue.
        """
        digest = "unread"
        try:
            with self.config.copied(location, context) as path:
                digest, size = self._identified(path)
                if is_paper:
                    _check_is_pdf(path)
                pages = worker.pages(path)
            row = _row(pages, name, source, digest, size)
        except OSError as error:
            evidence = f"{name}: {error.strerror or error}"
            return Removal(f"{source}/{name}#unread", source, "failed", reason_of(error), evidence)
        except UnreadablePdf as error:
            evidence = f"{name}: {error.evidence}"
            return Removal(f"{source}/{name}#{digest[:12]}", source, "failed", error.reason, evidence)
        if visible_characters(row["text"]) == 0:
            return Removal(row["id"], source, "dropped", "no_text", f"{name}: {_lane_counts(pages)}")
        return row

    def _identified(self, path: Path) -> tuple[str, int]:
        """SHA-256 (hex) and size in bytes."""
        try:
            size = path.stat().st_size
            if size > self.config.max_file_bytes:
                raise UnreadablePdf("too_large", f"{size} bytes > {self.config.max_file_bytes}")
            with open(path, "rb") as file:
                return hashlib.file_digest(file, "sha256").hexdigest(), size
        except OSError as error:
            raise UnreadablePdf("unreadable", str(error.strerror)) from error


def _outcome(row: Row | Removal, source: str) -> Outcome:
    if isinstance(row, Removal):
        return Outcome(documents([], COLUMNS), [row], {source: 1})
    return Outcome(documents([row], COLUMNS), created={source: 1})


def _of_paper(row: Row | Removal, paper: Paper, identity: str) -> Row | Removal:
    """With what the list says of it."""
    if isinstance(row, Removal):
        return replace(row, id=identity, url=paper.url or "")
    licence = {"licence": paper.licence} if paper.licence else {}
    meta = {**paper.meta, **licence, **row["meta"]}
    return row | {"id": identity, "url": paper.url, "date": paper.date, "meta": meta}


def _check_is_pdf(path: Path) -> None:
    with open(path, "rb") as file:
        start = file.read(PDF_HEADER_BYTES)
    if PDF_MAGIC not in start:
        raise UnreadablePdf("not_pdf", f"it starts with {start[:40]!r}")


def _row(pages: list[Page], name: str, source: str, digest: str, size: int) -> Row:
    if all(page.lane == "failed" for page in pages):
        raise UnreadablePdf("unreadable", f"none of {len(pages)} pages can be loaded")
    return {
        "id": f"{source}/{name}#{digest[:12]}",
        "text": text_of([page.text for page in pages]),
        "source": source,
        "mime": "application/pdf",
        "origin": {"path": name, "offset": 0, "length": size, "digest": digest},
        "meta": {"lanes": ",".join(page.lane for page in pages)},
        "pdf.pages": len(pages),
        "pdf.ocr_pages": sum(page.lane == "ocr" for page in pages),
        "pdf.ocr_confidence": _confidence(pages),
    }


def _confidence(pages: list[Page]) -> float | None:
    """The OCR pages' confidence, averaged by character."""
    read = [(page.confidence, visible_characters(page.text)) for page in pages if page.confidence is not None]
    if not read:
        return None
    return sum(confidence * weight for confidence, weight in read) / sum(weight for _, weight in read)


def _lane_counts(pages: list[Page]) -> str:
    lanes = Counter(page.lane for page in pages)
    return f"no text on {len(pages)} pages: " + ", ".join(f"{count} {lane}" for lane, count in lanes.items())
