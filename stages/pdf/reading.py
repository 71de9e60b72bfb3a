"""The pages of a PDF, each read in the cheapest way that gives good text.

PDFium may crash or hang on a broken file, so this runs in a process that can be killed (stages/pdf/process.py).
"""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from stages.pdf.page import Block, Fragment, Line, Page

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from stages.pdf.characters import Characters
    from stages.pdf.ocr.reader import OcrPage, PageReader
    from stages.pdf.signals import Signals
    from stages.pdf.text_layer import TextLayer

OcrMode = Literal["auto", "off", "always"]
EngineName = Literal["rapidocr", "tesseract"]

LOW_CONFIDENCE = 0.95
"""Of OCR, by letter: print has at least 0.975, handwriting 0.79 to 0.945. (Spaces counted, the bound was 0.92.)"""

MAX_SIDE = 1e6
"""Points: 350 m. Larger pages are errors or attacks, and their coordinates are too coarse to compute with."""

MIN_SIDE = 0.01
"""Points: in a thinner strip PDFium's whole units tell no place from another, and no letter is seen."""

MIN_FORMULA_SHARE = 0.1
"""Of a text layer's characters that fonts for formulas draw, or that are mathematical signs."""

MIN_READ_SHARE = 0.3
"""Of the characters of a text layer that is not to be trusted, below which OCR does not know the page's script."""

MIN_ADDED_CHARACTERS = 10
"""That OCR must find outside of a sound text layer. Fewer are a logo, or what it takes for letters in a picture."""

MIN_HARD_SHARE = 0.5
"""Of a page's characters, in tables or in formulas that are set apart."""


class UnreadablePdf(Exception):  # noqa: N818 (an outcome, reported as a row)
    """The file as a whole cannot be read; ``reason`` is the ledger's: encrypted, unreadable, no_pages."""

    def __init__(self, reason: str, evidence: str) -> None:
        super().__init__(evidence)
        self.reason = reason
        self.evidence = evidence


@dataclass(frozen=True)
class ReadingOptions:
    """How pages are read."""

    ocr: OcrMode = "auto"
    engine: EngineName = "rapidocr"
    max_page_pixels: int = 20_000_000  # a larger picture is rendered at a lower resolution
    languages: Sequence[str] = ("eng",)  # of Tesseract, as its model files are named


@contextmanager
def opened(path: Path) -> Iterator[Any]:
    """A pypdfium2 document, also one that is locked with an empty password.

    Raises:
        UnreadablePdf: encrypted, unreadable, no_pages.
    """
    import pypdfium2 as pdfium
    import pypdfium2.raw as pdfium_c
    from pypdfium2.internal import ErrorToStr

    raw = pdfium_c.FPDF_LoadDocument(os.fsencode(path) + b"\0", b"\0")
    if not raw:  # only then has PDFium set its error: behind a success, the one of an earlier file still stands there
        code = pdfium_c.FPDF_GetLastError()
        locked = code in (pdfium_c.FPDF_ERR_PASSWORD, pdfium_c.FPDF_ERR_SECURITY)
        raise UnreadablePdf("encrypted" if locked else "unreadable", f"PDFium: {ErrorToStr.get(code)}")
    document = pdfium.PdfDocument(raw)
    try:
        if len(document) == 0:
            raise UnreadablePdf("no_pages", "0 pages")
        yield document
    finally:
        document.close()


LEARNED_PAGES = 8
"""Of those before a range, from which its reader learns what the document's fonts draw."""


def pages_of(
    path: Path, first: int, last: int | None, options: ReadingOptions, *, learns: bool = False
) -> Iterator[Page]:
    """The pages from ``first`` up to, but not including, ``last`` (None: all), counted from 0.

    A page that PDFium cannot load or draw has the lane ``failed``.

    Args:
        learns: whether to look at some of the pages before ``first``: pages of few words do not tell whether their
            font says what it shows.

    Raises:
        UnreadablePdf: as by ``opened``.
    """
    with opened(path) as document:
        reader = DocumentReader(document, options)
        for number in sorted({i * first // LEARNED_PAGES for i in range(LEARNED_PAGES)}) if learns and first else ():
            reader.learn(number)
        for number in range(first, len(document) if last is None else min(last, len(document))):
            yield reader.page(number)


class DocumentReader:
    """Reads the pages of an open document and keeps what they have taught about its fonts."""

    def __init__(self, document: Any, options: ReadingOptions) -> None:
        from stages.pdf.routing import FontTrials
        from stages.pdf.signals import FontSamples

        self._document, self._options = document, options
        self._samples, self._trials = FontSamples(), FontTrials()

    def learn(self, number: int) -> None:
        """Keep what a page's fonts draw, without reading it."""
        import pypdfium2 as pdfium

        from stages.pdf.characters import PageTooLargeError, characters_of
        from stages.pdf.signals import signals_of
        from stages.pdf.text_layer import unseen

        with suppress(pdfium.PdfiumError, PageTooLargeError):
            page = self._document[number]
            try:
                if _has_sane_size(page):
                    characters = characters_of(page)
                    signals_of(page, characters, unseen(page, characters), self._samples)
            finally:
                page.close()

    def page(self, number: int) -> Page:
        import pypdfium2 as pdfium

        from stages.pdf.characters import PageTooLargeError

        try:
            page = self._document[number]
            try:
                if not _has_sane_size(page):
                    return Page(number, "failed", "page_size")
                return replace(self._read(page), number=number)
            finally:
                page.close()
        except pdfium.PdfiumError:
            return Page(number, "failed", "unreadable")
        except PageTooLargeError:
            return Page(number, "failed", "too_many_characters")

    def _read(self, page: Any) -> Page:
        from stages.pdf.characters import characters_of
        from stages.pdf.routing import route
        from stages.pdf.signals import signals_of
        from stages.pdf.text_layer import unseen

        characters = characters_of(page)
        skipped = unseen(page, characters)
        signals = signals_of(page, characters, skipped, self._samples)
        lane, reason, adds = route(signals, self._trials)
        layer = _Layer(characters, skipped, signals)
        if lane == "blank":
            return Page(0, "blank", reason, *page.get_size())
        if self._options.ocr == "always":
            return _ocr_page(self._ocr(page), "asked")
        if lane == "doubt":
            return self._witnessed(page, layer, reason)
        if lane == "ocr":
            return self._by_both(page, layer, reason) if adds else self._by_ocr(page, reason, signals)
        return layer.page(lane, reason)

    def _witnessed(self, page: Any, layer: _Layer, reason: str) -> Page:
        """A page with fonts whose letters may be wrong: OCR bears witness for or against them."""
        from stages.pdf.plausibility import ON_SUSPICION, ON_TRUST, is_contradicted

        fonts = layer.signals.fonts
        suspects = {key for key, judged in fonts.items() if judged.is_implausible} or set(fonts)
        if self._options.ocr == "off":
            # without a witness, only letters of no language are proof enough
            if any(judged.is_scrambled for judged in fonts.values()):
                return Page(0, "unread", reason, *page.get_size())
            return layer.page("text", reason)
        read = self._by_ocr(page, reason, layer.signals)
        is_scrambled = any(fonts[key].is_scrambled for key in suspects)
        proof = ON_TRUST if reason == "unmapped" else ON_SUSPICION
        # what OCR cannot read either is in a script that the layer's letters are not of
        if is_contradicted(layer.text_in(suspects), read.text, proof) or (is_scrambled and read.hard == "script"):
            self._trials.condemned |= suspects
            return read
        self._trials.cleared |= suspects
        return layer.page("text", "witnessed")

    def _by_both(self, page: Any, layer: _Layer, reason: str) -> Page:
        """A page whose text layer is sound, but may not be all that it says: OCR adds what is elsewhere on it."""
        if self._options.ocr == "off":
            return layer.page("text", reason)
        read, known = self._ocr(page), layer.taken("text")
        # a layer that was turned, or a picture, is of another page as far as places are concerned
        if read.rotation or known.turned:
            found = read.fragments
        else:
            found = elsewhere(read.fragments, known.fragments)
        if _count(found) < MIN_ADDED_CHARACTERS:
            return layer.page("text", "ocr_says_no_more")
        if found is read.fragments:
            return _ocr_page(read, reason)
        return _ocr_page(replace(read, fragments=(*known.fragments, *found)), reason)

    def _by_ocr(self, page: Any, reason: str, signals: Signals) -> Page:
        """A page whose text layer, if it has one, is not to be used."""
        if self._options.ocr == "off":
            return Page(0, "unread", reason, *page.get_size())
        read = _ocr_page(self._ocr(page), reason)
        # lines that OCR reads with a score below a half it drops
        drawn = max(signals.hidden, signals.characters)
        return replace(read, hard="script") if read.characters < MIN_READ_SHARE * drawn else read

    def _ocr(self, page: Any) -> OcrPage:
        options = self._options
        reader = page_reader(options.max_page_pixels, options.engine, tuple(options.languages))
        return reader.read(_renderer(page, options.max_page_pixels), *page.get_size())


def _has_sane_size(page: Any) -> bool:
    return bool(min(page.get_size()) >= MIN_SIDE and max(page.get_size()) <= MAX_SIDE)


def _ocr_page(read: OcrPage, reason: str) -> Page:
    blocks = _blocks(read.fragments, read.width, read.height, is_ocr=True)
    hard = hard_blocks(blocks)
    if read.unknown_script:
        hard = "script"
    elif read.confidence is not None and read.confidence < LOW_CONFIDENCE:
        hard = "low_confidence"
    return Page(
        number=0,
        lane="ocr",
        reason=reason,
        width=read.width,
        height=read.height,
        blocks=blocks,
        confidence=read.confidence,
        hard=hard,
        characters=_character_count(blocks),
    )


def elsewhere(found: Sequence[Fragment], known: Sequence[Fragment]) -> tuple[Fragment, ...]:
    """The fragments that are found where none is known: none of these has its middle on them, nor theirs on it."""
    import numpy as np

    if not known:
        return tuple(found)
    boxes = np.array([(f.left, f.top, f.right, f.bottom) for f in known])
    x, y = boxes[:, [0, 2]].mean(axis=1), boxes[:, [1, 3]].mean(axis=1)

    def is_apart(f: Fragment) -> bool:
        own_x, own_y = (f.left + f.right) / 2, (f.top + f.bottom) / 2
        is_on = (boxes[:, 0] <= own_x) & (own_x <= boxes[:, 2]) & (boxes[:, 1] <= own_y) & (own_y <= boxes[:, 3])
        is_below = (f.left <= x) & (x <= f.right) & (f.top <= y) & (y <= f.bottom)
        return not (is_on | is_below).any()

    return tuple(fragment for fragment in found if is_apart(fragment))


@dataclass(frozen=True)
class _Layer:
    """A page's text layer, and what is known of it."""

    characters: Characters
    skipped: NDArray[np.bool_]  # (runs,) those that nobody sees
    signals: Signals

    def taken(self, lane: Literal["text", "ocr_layer"]) -> TextLayer:
        """What is taken of it in this lane."""
        from stages.pdf.signals import hidden_runs
        from stages.pdf.text_layer import text_layer

        skipped = self.skipped & ~hidden_runs(self.characters, self.skipped) if lane == "ocr_layer" else self.skipped
        return text_layer(self.characters, skipped)

    def page(self, lane: Literal["text", "ocr_layer"], reason: str) -> Page:
        """The page by this layer alone."""
        fragments, width, height, _ = self.taken(lane)
        blocks = _blocks(fragments, width, height, is_ocr=False)
        return Page(
            number=0,
            lane=lane,
            reason=reason,
            width=width,
            height=height,
            blocks=blocks,
            hard="formulas" if self.signals.formula_share >= MIN_FORMULA_SHARE else hard_blocks(blocks),
            garbage=self.signals.garbage,
            characters=_character_count(blocks),
        )

    def text_in(self, fonts: Collection[str]) -> str:
        """The text that these fonts (by key) draw."""
        import numpy as np

        from stages.pdf.fonts import font_of
        from stages.pdf.text_layer import text_layer

        keys = {address: font_of(address).key for address in set(self.characters.fonts.tolist())}
        is_other = np.array([keys[address] not in fonts for address in self.characters.fonts.tolist()], np.bool_)
        fragments = text_layer(self.characters, self.skipped | is_other).fragments
        return "\n".join(fragment.text for fragment in fragments).replace("\x02\n", "")


def _blocks(fragments: Sequence[Fragment], width: float, height: float, is_ocr: bool) -> tuple[Block, ...]:
    from stages.pdf.layout import blocks_of

    return tuple(blocks_of(fragments, width, height, is_ocr))


def _character_count(blocks: Sequence[Block]) -> int:
    return _count([line for block in blocks for line in block.lines])


def _count(texts: Sequence[Line | Fragment]) -> int:
    """Characters without white space."""
    return sum(len("".join(text.text.split())) for text in texts)


def hard_blocks(blocks: Sequence[Block]) -> str:
    """Why a vision-language model should read a page of these blocks: "formulas", "tables", or "" if it need not."""
    total = max(_character_count(blocks), 1)
    for kind, reason in (("formula", "formulas"), ("table", "tables")):
        if _character_count([block for block in blocks if block.kind == kind]) >= MIN_HARD_SHARE * total:
            return reason
    return ""


@cache
def page_reader(max_page_pixels: int, engine: EngineName, languages: tuple[str, ...]) -> PageReader:
    """The OCR engine of this process; loading its models takes seconds."""
    from stages.pdf.ocr.reader import PageReader

    return PageReader(max_page_pixels, engine, languages)


def _renderer(page: Any, max_pixels: int) -> Callable[[float], NDArray[np.uint8]]:
    """From a resolution in dots per inch to the page's picture: (height, width, 3) blue-green-red levels."""

    def render(dpi: float) -> NDArray[np.uint8]:
        width, height = page.get_size()
        scale = min(dpi / 72, (max_pixels / max(width * height, 1)) ** 0.5)
        picture: NDArray[np.uint8] = page.render(scale=scale).to_numpy()
        return picture[:, :, :3]

    return render
