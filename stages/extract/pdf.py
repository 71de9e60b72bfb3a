"""The pages of a PDF: which way each is read, and what it says.

Every page takes one of these lanes: ``text`` (its text layer), ``ocr`` (read from its picture), ``blank``,
``unread`` (it needs OCR, which is off) or ``failed`` (PDFium cannot load or draw it). PDFium may crash or hang on a
broken file, so this runs in a process that can be killed: see stages/extract/pdf_worker.py.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from stages.extract.ocr import OcrEngine

OcrMode = Literal["auto", "off", "always"]
Lane = Literal["text", "ocr", "blank", "unread", "failed"]

LINE_END_HYPHENS = "\x02\ufffe"
"""What PDFium writes for a hyphen at the end of a line."""

MIN_TEXT_LAYER_CHARACTERS = 50
"""A page with fewer is taken for a picture of text (MinerU's bound)."""

MAX_UNMAPPED_SHARE = 0.04
"""Characters without a Unicode mapping, above which a text layer is not to be trusted (MinerU's bound)."""

MAX_GARBAGE_SHARE = 0.02
"""Control, private-use and replacement characters, above which a text layer is not to be trusted."""

MIN_SCAN_COVERAGE = 0.5
MAX_SCAN_CHARACTERS = 600
"""Pictures over half the page and little text: a scan, or a slide, whose words are in the pictures."""

OCR_DPI = 150
"""At this resolution PP-OCRv6 read born-digital pages back with a word F1 of 0.965."""

INK_DPI = 36
INK_CONTRAST = 32
MIN_INK_SHARE = 0.0002
"""A page is blank if fewer of its pixels at 36 dpi differ from the median by 32 of 255 grey levels. Measured:
a line "Chapter One" in 10 points on A4 0.0006, a page number alone 0.0001, the scan of an empty page 0."""


class UnreadablePdf(Exception):  # noqa: N818 (an outcome, reported as a row)
    """The file as a whole cannot be read; ``reason`` is the ledger's."""

    def __init__(self, reason: str, evidence: str) -> None:
        super().__init__(evidence)
        self.reason = reason
        self.evidence = evidence


@dataclass(frozen=True)
class PdfLimits:
    """How a file may be read."""

    ocr: OcrMode
    max_pages: int
    max_page_pixels: int  # a larger picture is rendered at a lower resolution


@dataclass(frozen=True)
class Page:
    """What one page says."""

    lane: Lane
    text: str = ""  # lines end in "\n"; PDFium's line-end hyphens are still in it
    confidence: float | None = None  # of the OCR, 0 to 1, averaged by character


def pages_of(path: Path, limits: PdfLimits) -> Iterator[Page]:
    """The pages in order.

    Raises:
        UnreadablePdf: encrypted, unreadable, no_pages or too_many_pages.
    """
    import pypdfium2 as pdfium
    import pypdfium2.raw as pdfium_c

    try:
        document = pdfium.PdfDocument(path)
    except pdfium.PdfiumError as error:
        locked = error.err_code in (pdfium_c.FPDF_ERR_PASSWORD, pdfium_c.FPDF_ERR_SECURITY)
        raise UnreadablePdf("encrypted" if locked else "unreadable", str(error)) from error
    try:
        if len(document) == 0:
            raise UnreadablePdf("no_pages", "0 pages")
        if len(document) > limits.max_pages:
            raise UnreadablePdf("too_many_pages", f"{len(document)} pages > {limits.max_pages}")
        for number in range(len(document)):
            yield _page(document, number, limits)
    finally:
        document.close()


def _page(document: Any, number: int, limits: PdfLimits) -> Page:
    import pypdfium2 as pdfium

    try:
        page = document[number]
        try:
            return _read(page, limits)
        finally:
            page.close()
    except pdfium.PdfiumError:
        return Page("failed")


def _read(page: Any, limits: PdfLimits) -> Page:
    textpage = page.get_textpage()
    try:
        layer = textpage.get_text_range().replace("\r\n", "\n").replace("\r", "\n")
        characters = visible_characters(layer)
        trusted = is_trustworthy(layer, _unmapped_share(textpage))
    finally:
        textpage.close()
    needs_ocr = (
        limits.ocr == "always"
        or not trusted
        or characters < MIN_TEXT_LAYER_CHARACTERS
        or (characters < MAX_SCAN_CHARACTERS and _image_coverage(page) >= MIN_SCAN_COVERAGE)
    )
    if not needs_ocr:
        return Page("text", layer)
    if characters < MIN_TEXT_LAYER_CHARACTERS and is_blank(_rendered(page, INK_DPI, limits, grayscale=True)):
        return Page("blank")
    if limits.ocr == "off":
        return Page("text", layer) if trusted and characters else Page("unread")
    text, confidence = _ocr_engine().read(_rendered(page, OCR_DPI, limits, grayscale=False))
    # a sound text layer has fewer errors than OCR: it stays unless the picture says more
    if limits.ocr == "auto" and trusted and characters >= visible_characters(text) and characters > 0:
        return Page("text", layer)
    return Page("ocr", text, confidence)


def visible_characters(text: str) -> int:
    """Characters other than white space and PDFium's hyphen marks."""
    return sum(1 for character in text if not character.isspace() and character not in LINE_END_HYPHENS)


def is_trustworthy(text: str, unmapped_share: float) -> bool:
    """Whether the characters of a text layer are what its glyphs show, as far as the characters can tell."""
    garbage = sum(map(_is_garbage, text))
    share = garbage / max(visible_characters(text), 1)
    return unmapped_share < MAX_UNMAPPED_SHARE and share < MAX_GARBAGE_SHARE


def _is_garbage(character: str) -> bool:
    if character.isalnum() or character in LINE_END_HYPHENS or character in "\t\n\f":
        return False
    return character == "\ufffd" or unicodedata.category(character) in ("Cc", "Co")


def _unmapped_share(textpage: Any) -> float:
    import pypdfium2.raw as pdfium_c

    count: int = textpage.count_chars()
    unmapped: int = sum(pdfium_c.FPDFText_HasUnicodeMapError(textpage, index) == 1 for index in range(count))
    return unmapped / max(count, 1)


def _image_coverage(page: Any) -> float:
    """Sum of the pictures' areas by the page's: a scan may come as dozens of strips."""
    import pypdfium2.raw as pdfium_c

    width, height = page.get_size()
    area: float = 0.0
    for picture in page.get_objects(filter=[pdfium_c.FPDF_PAGEOBJ_IMAGE]):
        left, bottom, right, top = picture.get_bounds()
        area += (right - left) * (top - bottom)
    return area / max(float(width * height), 1.0)


def _rendered(page: Any, dpi: int, limits: PdfLimits, grayscale: bool) -> Any:
    """The page's picture: (height, width) grey or (height, width, 3) blue-green-red levels, uint8."""
    width, height = page.get_size()
    scale = min(dpi / 72, (limits.max_page_pixels / max(width * height, 1)) ** 0.5)
    return page.render(scale=scale, grayscale=grayscale).to_numpy()


def is_blank(grey: Any) -> bool:
    """Whether a picture of (height, width) grey levels at INK_DPI shows nothing."""
    import numpy as np

    ink = np.abs(grey.astype(np.int16) - int(np.median(grey))) > INK_CONTRAST
    return float(ink.mean()) < MIN_INK_SHARE


@cache
def _ocr_engine() -> OcrEngine:
    from stages.extract.ocr import OcrEngine

    return OcrEngine()
