"""Which way a page is read: the rules over what is cheap to know of it, in order, and the reason for each."""

from __future__ import annotations

from typing import Literal, NamedTuple

from stages.pdf.ink import MIN_INK_SHARE
from stages.pdf.signals import FEW_CHARACTERS, Signals

MAX_UNMAPPED_SHARE = 0.04
"""Characters without a Unicode value, above which a text layer is not to be trusted (MinerU's bound)."""

MAX_GARBAGE_SHARE = 0.02
"""Control, private-use and replacement characters, above which it is not either."""

MIN_SCAN_COVERAGE = 0.5
MAX_SCAN_CHARACTERS = 600
"""Pictures over half the page and little text: a scan, or a slide, whose words may be in the pictures."""

MIN_OUTLINES = 200
"""Paths of the size of glyphs, about as many as 40 words need, on a page with less text than outlines."""

MAX_HIDDEN_NOISE = 0.15
"""Tokens of such a layer that are neither words nor numbers. Measured on twelve scans: sound layers of print 0.02 to
0.11; of a newspaper's poor scan 0.18, of handwriting 0.59, of Cyrillic letters read as Latin ones 0.29 to 0.61."""

PageLane = Literal["text", "ocr_layer", "ocr", "blank", "doubt"]
"""``doubt``: OCR of the page is to bear witness for or against the letters of some of its fonts."""


class Route(NamedTuple):
    """The lane of a page, and the rule that chose it."""

    lane: PageLane
    reason: str
    adds: bool = False  # what OCR reads is added to the text layer, which is sound as far as it goes


class FontTrials:
    """Fonts of a document (by key) whose letters have been held to what OCR reads."""

    def __init__(self) -> None:
        self.condemned: set[str] = set()
        self.cleared: set[str] = set()


def route(signals: Signals, trials: FontTrials) -> Route:
    """Apply the rules. Rule 1, that the file opens and is within bounds, has been applied before."""
    if signals.hidden:
        return _hidden_layer(signals)
    letters = _letters(signals, trials)
    is_sound = letters.lane == "text"
    if signals.characters < FEW_CHARACTERS:
        return _little_text(signals, is_sound)
    if letters.lane == "ocr":
        return letters
    if signals.image_coverage >= MIN_SCAN_COVERAGE and signals.characters < MAX_SCAN_CHARACTERS:
        return Route("ocr", "pictures", adds=is_sound)
    if signals.outlines >= max(MIN_OUTLINES, signals.characters):
        return Route("ocr", "outlines", adds=is_sound)
    return letters


def _letters(signals: Signals, trials: FontTrials) -> Route:
    """The lane of a page by whether its fonts say what they show."""
    if signals.garbage_share >= MAX_GARBAGE_SHARE:
        return Route("ocr", "garbage")
    fonts = signals.fonts
    if any(key in trials.condemned and not judged.is_plausible for key, judged in fonts.items()):
        return Route("ocr", "implausible")
    is_cleared = all(key in trials.cleared for key in fonts)
    if signals.unmapped_share >= MAX_UNMAPPED_SHARE:
        # what PDFium gives instead of a Unicode value, the code in the file, is often the right letter
        if not fonts or trials.condemned & fonts.keys() or not all(judged.is_plausible for judged in fonts.values()):
            return Route("ocr", "unmapped")
        return Route("text", "witnessed") if is_cleared else Route("doubt", "unmapped")
    if any(judged.is_implausible and key not in trials.cleared for key, judged in fonts.items()):
        return Route("doubt", "implausible")
    return Route("text", "sound")


def _little_text(signals: Signals, is_sound: bool) -> Route:
    if signals.characters == 0:
        return Route("blank", "no_ink") if signals.ink_share < MIN_INK_SHARE else Route("ocr", "little_text")
    # all that is on a page may be its number, or a title
    if is_sound and signals.loose_ink_share < MIN_INK_SHARE:
        return Route("text", "short")
    return Route("ocr", "little_text", adds=is_sound)


def _hidden_layer(signals: Signals) -> Route:
    if signals.unmapped_share >= MAX_UNMAPPED_SHARE:
        return Route("ocr", "unmapped")
    if signals.garbage_share >= MAX_GARBAGE_SHARE:
        return Route("ocr", "garbage")
    layer = signals.hidden_layer
    is_sound = layer is not None and not layer.is_implausible and signals.hidden_noise_share < MAX_HIDDEN_NOISE
    return Route("ocr_layer", "hidden") if is_sound else Route("ocr", "hidden_implausible")
