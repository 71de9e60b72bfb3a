"""PDF files as documents, one a file."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
from pydantic import Field

from pipeline.stage import Context, Outcome, Removal, Source, Split, documents
from stages.extract.pdf import OcrMode, Page, PdfLimits, UnreadablePdf, visible_characters
from stages.extract.pdf_text import text_of
from stages.extract.pdf_worker import PdfWorker
from stages.intake.files import FilesConfig, matching_files, splits_of_size

COLUMNS = (
    pa.field("pdf.pages", pa.int64()),
    pa.field("pdf.ocr_pages", pa.int64()),
    pa.field("pdf.ocr_confidence", pa.float64()),
)


class PdfConfig(FilesConfig):
    """Options of ``pdf``."""

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


class Pdf(Source[PdfConfig]):
    """Read PDF files, by their text layer or by OCR, page by page."""

    name = "pdf"
    config_type = PdfConfig
    provides = ("text", "pdf.pages", "pdf.ocr_pages", "pdf.ocr_confidence")

    def splits(self) -> list[Split]:
        # reading is slow against starting a task, so few files to a task keep all cores busy to the end
        files = matching_files(self.config.files, (".pdf", ".PDF"))
        return splits_of_size(files, max_bytes=32_000_000, max_files=16)

    def read(self, split: Split, source: str, context: Context) -> Iterator[Outcome]:
        limits = PdfLimits(self.config.ocr, self.config.max_pages, self.config.max_page_pixels)
        with PdfWorker(limits, self.config.page_deadline_s) as worker:
            for name, path in zip(split.names, split.paths, strict=True):
                yield self._document(worker, name, path, source)

    def _document(self, worker: PdfWorker, name: str, path: Path, source: str) -> Outcome:
        digest = "unreadable"
        try:
            digest, size = self._identified(path)
            pages = worker.pages(path)
            row = _row(pages, name, source, digest, size)
        except UnreadablePdf as error:
            removed = Removal(
                f"{source}/{name}#{digest[:12]}", source, "failed", error.reason, f"{name}: {error.evidence}"
            )
            return Outcome(documents([], COLUMNS), [removed], {source: 1})
        if visible_characters(row["text"]) == 0:
            removed = Removal(row["id"], source, "dropped", "no_text", f"{name}: {_lane_counts(pages)}")
            return Outcome(documents([], COLUMNS), [removed], {source: 1})
        return Outcome(documents([row], COLUMNS), created={source: 1})

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


def _row(pages: list[Page], name: str, source: str, digest: str, size: int) -> dict[str, Any]:
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
