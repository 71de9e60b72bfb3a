"""Pages of PDFs as rows: of files, archives, lists of URLs or papers, and WARC records."""

from __future__ import annotations

import datetime
from collections.abc import Iterator
from dataclasses import replace
from typing import Any, ClassVar, Literal, Self

import orjson
import pyarrow as pa
from pydantic import Field, field_validator, model_validator

from pipeline.locations.location import InputFile, RecipeLocation
from pipeline.stage import Context, Outcome, Removal, Source, Split, documents
from stages.intake.common_crawl import SUFFIXES as WARC_SUFFIXES
from stages.intake.files import FilesConfig, matching_files, one_split_per_file, splits_of_size
from stages.intake.paper_lists import LIST_SUFFIXES, PaperRange, check_template, licence_name, ranges
from stages.pdf.archives import ARCHIVE_SUFFIXES, MemberRange, is_archive, member_ranges, pdfs_in_archive
from stages.pdf.files import Intake, LocalPdf, page_ranges, pdf_of_file
from stages.pdf.page import Page
from stages.pdf.papers import pdfs_of_papers
from stages.pdf.process import MAX_DEATHS, Limits, shared_process
from stages.pdf.reading import OcrMode, ReadingOptions, UnreadablePdf
from stages.pdf.url_lists import URL_LIST_SUFFIXES, UrlRange, pdfs_of_urls, url_ranges
from stages.pdf.warc_records import WarcFile, pdfs_in_warc

COLUMNS = (
    pa.field("pdf.document", pa.string()),
    pa.field("pdf.page", pa.int32()),  # from 0
    pa.field("pdf.pages", pa.int32()),  # of the document
    pa.field("pdf.lane", pa.string()),
    pa.field("pdf.reason", pa.string()),
    pa.field("pdf.hard", pa.string()),
    pa.field("pdf.confidence", pa.float64()),
    pa.field("pdf.layout", pa.large_binary()),  # Page.to_json()
)
PICTURE = pa.field("pdf.picture", pa.large_binary())
"""PNG of a page that a model is to read; null for others."""

FILES_PER_TASK = 16  # starting a task is fast against reading, so few files to a task keep all cores busy to the end
BATCH_ROWS = 256
BATCH_BYTES = 16 << 20


class PdfReadingConfig(FilesConfig):
    """Which PDFs are read, and how. Give at least one of ``files``, ``papers``, ``urls`` and ``warcs``."""

    files: tuple[RecipeLocation, ...] = ()
    """Files, folders or glob patterns ("**" for any depth), relative to the recipe; or URLs: https://, s3:// and any
    other that fsspec knows. Archives (zip, tar, tar.gz, tar.zst, ...) stand for the PDFs in them."""

    papers: tuple[RecipeLocation, ...] = ()
    """Lists of papers (Semantic Scholar's or arXiv's metadata as JSON Lines, plain or compressed): every record of a
    list is in the ledger, and the PDFs of those that are open access are read. Of a compressed list each task
    decompresses what stands before its 100 papers: a long one is better plain."""

    urls: tuple[RecipeLocation, ...] = ()
    """Lists of URLs: text files, plain or compressed, with one URL a line. What is no PDF fails as not_pdf."""

    warcs: tuple[RecipeLocation, ...] = ()
    """WARC or ARC files, of which the responses and resources that are PDFs are read."""

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

    engine: Literal["rapidocr", "tesseract"] = "rapidocr"
    """What reads pictures: RapidOCR, whose models come with it (Han, kana, Latin, Greek), or an installed Tesseract."""

    languages: tuple[str, ...] = Field(("eng",), min_length=1)
    """Of Tesseract, as its model files are named: eng, deu, ara, ..."""

    max_file_bytes: int = Field(200_000_000, gt=0)
    """Larger PDFs fail unread; of those from servers, no more than this is fetched."""

    max_pages: int = Field(2_000, gt=0)
    """PDFs with more pages fail unread."""

    max_page_pixels: int = Field(20_000_000, gt=0)
    """A page whose picture would be larger is rendered at a lower resolution."""

    page_deadline_s: float = Field(120.0, ge=30)
    """A page that takes longer (a hang of the PDF reader) fails. OCR takes 1 to 15 s of a core a page; the first page
    of a process also loads models, and the first on a machine compiles kernels."""

    file_deadline_s: float = Field(10_800.0, gt=0)
    """Pages of a PDF that are not read by then fail: 2,000 pages of OCR take two hours or less."""

    max_memory_bytes: int = Field(3 << 30, gt=0)
    """A page fails with which the reading process holds more. OCR of a page takes about 1 GB."""

    range_bytes: int = Field(4_000_000, gt=0)
    """Larger PDFs are read by several tasks, each a range of the pages, one for as many bytes. (Of PDFs from servers at
    least 32 MiB, because each task has to fetch the file.)"""

    not_identity: ClassVar[frozenset[str]] = FilesConfig.not_identity | {"papers", "urls", "warcs", "range_bytes"}

    @field_validator("licences")
    @classmethod
    def _one_spelling(cls, licences: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(licence_name(licence) or licence for licence in licences)

    @model_validator(mode="after")
    def _any_input(self) -> Self:
        if not (self.files or self.papers or self.urls or self.warcs):
            raise ValueError("one of the options 'files', 'papers', 'urls' and 'warcs' is required")
        if not self.papers and (self.template or self.licences or self.categories or self.from_date):
            raise ValueError("'template', 'licences', 'categories' and 'from_date' choose among 'papers': give a list")
        if self.template is not None:
            check_template(self.template)
        return self


class PdfPagesConfig(PdfReadingConfig):
    """Options of pdf_pages."""

    pictures: Literal["none", "hard", "ocr", "all"] = "none"
    """Pages of which to keep the picture, for a model that reads them: those that are hard for the CPU or need an OCR
    that is off; all that need OCR as well; or all that are not blank."""

    picture_side: int = Field(1_288, gt=0, le=8_192)
    """Pixels of such a picture's longer side."""


class PdfPages(Source[PdfPagesConfig]):
    """Read the pages of PDFs, by their text layer or by OCR."""

    name = "pdf_pages"
    config_type = PdfPagesConfig
    provides = ("text", *(column.name for column in COLUMNS))

    def __init__(self, config: PdfPagesConfig) -> None:
        super().__init__(config)
        options = ReadingOptions(config.ocr, config.engine, config.max_page_pixels, config.languages)
        limits = Limits(config.page_deadline_s, config.file_deadline_s, config.max_memory_bytes)
        self._process = shared_process(options, limits)
        self._columns = COLUMNS if config.pictures == "none" else (*COLUMNS, PICTURE)
        self.provides = ("text", *(column.name for column in self._columns))

    def setup(self, context: Context) -> None:
        """See that the OCR engine is there: without it each page that needs it would fail.

        Raises:
            MachineError: Tesseract is asked for, and it or one of its languages is not installed.
        """
        if self.config.engine == "tesseract" and self.config.ocr != "off":
            from stages.pdf.ocr.tesseract import Tesseract

            Tesseract(self.config.languages)

    def splits(self) -> list[Split]:
        config = self.config
        files = config.matching_files((".pdf", *ARCHIVE_SUFFIXES)) if config.files else []
        pdfs = [part for file in files if not is_archive(file.name) for part in page_ranges(file, config.range_bytes)]
        splits = splits_of_size(pdfs, max_bytes=config.range_bytes, max_files=FILES_PER_TASK)
        splits += one_split_per_file([part for file in files if is_archive(file.name) for part in member_ranges(file)])
        for file in _listed(config.papers, LIST_SUFFIXES, config):
            splits += one_split_per_file(list(ranges(file, config)))
        for file in _listed(config.urls, URL_LIST_SUFFIXES, config):
            splits += one_split_per_file(list(url_ranges(file, config)))
        warcs = _listed(config.warcs, WARC_SUFFIXES, config)
        return splits + one_split_per_file([WarcFile(f.name, f.location, f.size_bytes, f.version) for f in warcs])

    def read(self, split: Split, source: str, context: Context) -> Iterator[Outcome]:
        batch = _Batch(Intake(self.config, source, context), self._columns)
        for file in split.files:
            for found in _pdfs_of(file, batch.intake):
                rows = iter((found,)) if isinstance(found, Removal) else self._rows(found, source)
                for row in rows:
                    batch.add(row)
                    if batch.is_full():
                        yield batch.outcome()
        yield batch.outcome()
        self._process.rest()

    def _rows(self, pdf: LocalPdf, source: str) -> Iterator[dict[str, Any] | Removal]:
        """One for each page of this task's share; or for the whole document, if it cannot be read."""
        provenance = pdf.provenance
        try:
            count = self._process.page_count(pdf.path)
            if count > self.config.max_pages:
                raise UnreadablePdf("too_many_pages", f"{count} pages > {self.config.max_pages}")
        except UnreadablePdf as error:
            # what depends on the machine may have gone well for the other tasks that share this file: each tells
            if pdf.part == 0 or error.reason in ("crashed", "deadline", "memory"):
                ended = provenance.ended(source, error.reason, error.evidence, pdf.digest)
                suffix = f" (pages {pdf.part + 1} of {pdf.parts})" if pdf.part else ""
                yield replace(ended, id=ended.id + suffix)
            return
        length = pdf.size_bytes if provenance.length is None else provenance.length
        shared = {
            "source": source,
            "url": provenance.url,
            "date": provenance.date,
            "mime": "application/pdf",
            "origin": {
                "path": provenance.name,
                "offset": provenance.offset,
                "length": length,
                "digest": pdf.digest,
            },
            "meta": dict(provenance.meta),
            "pdf.document": pdf.identity,
            "pdf.pages": count,
        }
        failures = 0  # in a row, of pictures: each may take as long as a page
        for page in self._process.pages(pdf.path, *pdf.page_range(count)):
            picture = None
            if failures < MAX_DEATHS and _has_picture(page, self.config.pictures):
                picture = self._picture(page, pdf)
                failures = 0 if picture else failures + 1
            yield shared | _row(page, pdf) | {PICTURE.name: picture}

    def _picture(self, page: Page, pdf: LocalPdf) -> bytes | None:
        try:
            return self._process.render(pdf.path, page.number, self.config.picture_side)
        except UnreadablePdf:
            return None  # the page keeps the text that it has


def _has_picture(page: Page, wanted: str) -> bool:
    if wanted == "none" or page.lane in ("blank", "failed"):
        return False
    return page.hard != "" or page.lane == "unread" or wanted == "all" or (wanted, page.lane) == ("ocr", "ocr")


def _listed(patterns: tuple[str, ...], suffixes: tuple[str, ...], config: PdfPagesConfig) -> list[InputFile]:
    return matching_files(patterns, suffixes, config.remote) if patterns else []


def _row(page: Page, pdf: LocalPdf) -> dict[str, Any]:
    return {
        "id": f"{pdf.identity}@{page.number}",
        "text": page.text,
        "pdf.page": page.number,
        "pdf.lane": page.lane,
        "pdf.reason": page.reason,
        "pdf.hard": page.hard,
        "pdf.confidence": page.confidence,
        "pdf.layout": orjson.dumps(page),
    }


def _pdfs_of(file: InputFile, intake: Intake) -> Iterator[LocalPdf | Removal]:
    """Each PDF of an input file, for as long as it takes to read it, or why there is none."""
    if isinstance(file, PaperRange):
        return pdfs_of_papers(file, intake)
    if isinstance(file, UrlRange):
        return pdfs_of_urls(file, intake)
    if isinstance(file, WarcFile):
        return pdfs_in_warc(file, intake)
    if isinstance(file, MemberRange):
        return pdfs_in_archive(file, intake)
    return pdf_of_file(file, intake)


class _Batch:
    """Pages and removals that wait to be yielded."""

    def __init__(self, intake: Intake, columns: tuple[pa.Field, ...]) -> None:
        self.intake = intake
        self._columns = columns
        self._rows: list[dict[str, Any]] = []
        self._removed: list[Removal] = []
        self._bytes = 0

    def add(self, row: dict[str, Any] | Removal) -> None:
        if isinstance(row, Removal):
            self._removed.append(row)
        else:
            self._rows.append(row)
            self._bytes += len(row["text"]) + len(row["pdf.layout"]) + len(row[PICTURE.name] or b"")

    def is_full(self) -> bool:
        return len(self._rows) + len(self._removed) >= BATCH_ROWS or self._bytes >= BATCH_BYTES

    def outcome(self) -> Outcome:
        """All that waits."""
        source, noted = self.intake.source, dict(self.intake.noted)
        created = {source: len(self._rows) + len(self._removed)}
        outcome = Outcome(
            documents(self._rows, self._columns), self._removed, created, {source: noted} if noted else {}
        )
        self._rows, self._removed, self._bytes = [], [], 0
        self.intake.noted.clear()
        return outcome
