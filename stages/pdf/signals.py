"""What a page's characters, pictures and outlines say about how to read it: one cheap pass."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stages.pdf.characters import Characters
from stages.pdf.fonts import font_of
from stages.pdf.ink import ink_shares
from stages.pdf.kernels.pdfium import HYPHEN, UNMAPPED
from stages.pdf.plausibility import Judgement, code_points, judgement, noise_share
from stages.pdf.text_layer import MIN_SIZE, text_layer

FEW_CHARACTERS = 50
"""Below, a text layer may be a page number over a picture of the text (MinerU's bound)."""

MIN_HIDDEN_COVERAGE = 0.5
"""Of the page under pictures, from which hidden text is what an earlier OCR has read there; elsewhere it is a trick."""

MIN_FONT_SHARE = 0.1
"""Of a page's characters, that a font must draw for its letters to be judged."""

SAMPLE_CHARACTERS = 4000
"""Of a font, kept from page to page, so that pages with a few words each can be judged together."""


@dataclass(frozen=True)
class Signals:
    """Everything by which ``routing.route`` chooses a page's lane. Characters are counted without white space."""

    characters: int = 0  # that show
    hidden: int = 0  # of a hidden layer: they are drawn invisibly or a picture is over them; 0 if there is none
    unmapped_share: float = 0.0  # of the hidden layer's characters, or else of those that show: without Unicode value
    garbage: int = 0  # control, private-use and replacement characters among the same
    image_coverage: float = 0.0  # share of the page under pictures
    outlines: int = 0  # filled paths that may be glyphs
    ink_share: float = 1.0  # of the page's pixels; measured where few characters show
    loose_ink_share: float = 1.0  # the same without what is at these characters
    fonts: Mapping[str, Judgement] = field(default_factory=dict)  # by Font.key, of those that draw much of what shows
    hidden_layer: Judgement | None = None
    hidden_noise_share: float = 0.0
    formula_share: float = 0.0  # of the characters that show: mathematical signs, and what fonts for formulas draw

    @property
    def garbage_share(self) -> float:
        """Of the characters of the layer that would be taken."""
        return self.garbage / max(self.hidden or self.characters, 1)


class FontSamples:
    """What the fonts of a document have drawn on its pages so far."""

    def __init__(self) -> None:
        self._samples: dict[str, NDArray[np.uint32]] = {}

    def judged(self, font: str, codes: NDArray[np.uint32]) -> Judgement:
        """Judge what a font draws on a page; with what it drew before, if that is too little."""
        alone = judgement(codes)
        before = self._samples.get(font)
        if before is None or len(before) < SAMPLE_CHARACTERS:
            self._samples[font] = codes if before is None else np.concatenate([before, codes])
        if alone.is_plausible or alone.is_implausible or before is None:
            return alone
        # running heads come again on every page, so that the letters of a sample are not those of running text
        return judgement(self._samples[font])._replace(lost="")


def signals_of(page: Any, characters: Characters, skipped: NDArray[np.bool_], samples: FontSamples) -> Signals:
    """Measure a pypdfium2 page.

    Args:
        page: of which the characters are.
        characters: of its text layer.
        skipped: (runs,) those that nobody sees.
        samples: of the document; what this page's fonts draw is added.
    """
    is_drawn = (characters.runs >= 0) & ~_is_blank(characters.codes, characters.flags)
    is_hidden = hidden_runs(characters, skipped)
    run = np.maximum(characters.runs, 0)
    shows, hides = (is_drawn & of_run[run] if len(of_run) else is_drawn for of_run in (~skipped, is_hidden))
    count, hidden = int(np.count_nonzero(shows)), int(np.count_nonzero(hides))
    if hidden < max(count, FEW_CHARACTERS) or characters.image_coverage < MIN_HIDDEN_COVERAGE:
        hidden = 0
    is_taken = hides if hidden else shows
    ink, loose_ink = ink_shares(page, characters.boxes[shows]) if count < FEW_CHARACTERS else (1.0, 1.0)
    layer = "\n".join(fragment.text for fragment in text_layer(characters, ~is_hidden).fragments) if hidden else ""
    return Signals(
        characters=count,
        hidden=hidden,
        unmapped_share=_unmapped_share(characters.flags[is_taken]),
        garbage=int(np.count_nonzero(is_garbage(characters.codes[is_taken], characters.flags[is_taken]))),
        image_coverage=characters.image_coverage,
        outlines=characters.outlines,
        ink_share=ink,
        loose_ink_share=loose_ink,
        fonts=_judged_fonts(characters, shows, samples),
        hidden_layer=judgement(code_points(layer)) if layer else None,
        hidden_noise_share=noise_share(layer),
        formula_share=_formula_share(characters, shows),
    )


def hidden_runs(characters: Characters, skipped: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """(runs,) those that nobody sees, but could read if they were drawn."""
    return skipped & ~characters.is_outside & (characters.sizes >= MIN_SIZE)


def is_garbage(codes: NDArray[np.uint32], flags: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Whether characters are control, private-use or replacement characters; line-end hyphens are not."""
    is_control = (codes < 0x20) | ((codes >= 0x7F) & (codes < 0xA0))
    is_private = ((codes >= 0xE000) & (codes < 0xF900)) | (codes >= 0xF0000)
    found: NDArray[np.bool_] = (is_control | is_private | (codes == 0xFFFD)) & ((flags & HYPHEN) == 0)
    return found


def _is_blank(codes: NDArray[np.uint32], flags: NDArray[np.uint8]) -> NDArray[np.bool_]:
    is_space: NDArray[np.bool_] = (
        (codes == 0x20) | (codes == 0xA0) | (codes == 0x3000) | ((codes >= 0x2000) & (codes <= 0x200B))
    )
    # tab and the ends of lines, unless they stand for glyphs that have no Unicode value
    is_space |= (codes >= 9) & (codes <= 13) & ((flags & UNMAPPED) == 0)
    return is_space


def _unmapped_share(flags: NDArray[np.uint8]) -> float:
    return float(np.mean((flags & UNMAPPED) != 0)) if len(flags) else 0.0


def _judged_fonts(characters: Characters, shows: NDArray[np.bool_], samples: FontSamples) -> dict[str, Judgement]:
    fonts = characters.fonts[np.maximum(characters.runs, 0)]
    addresses_by_key: dict[str, list[int]] = {}  # fonts without a name share a key
    for address in np.unique(fonts[shows]).tolist():
        addresses_by_key.setdefault(font_of(address).key, []).append(address)
    judged = {}
    for key, addresses in addresses_by_key.items():
        draws = shows & np.isin(fonts, addresses)
        if np.count_nonzero(draws) >= MIN_FONT_SHARE * np.count_nonzero(shows):
            judged[key] = samples.judged(key, np.where(draws, characters.codes, np.uint32(32)))
    return judged


_FORMULA_FONT = re.compile(
    r"cm(mi|sy|ex|bsy|mib)|ms[ab]m|eu[fs][mb]|rsfs|stmary|wasy|esint|math|mt(mi|sy|ex)|symbol", re.I
)
"""In the names of fonts for formulas: TeX's, MathTime's, OpenType's (Cambria Math, STIX Math) and Symbol."""


def _formula_share(characters: Characters, shows: NDArray[np.bool_]) -> float:
    codes = characters.codes[shows]
    if not len(codes):
        return 0.0
    fonts = characters.fonts[np.maximum(characters.runs[shows], 0)]
    for_formulas = [address for address in np.unique(fonts).tolist() if _FORMULA_FONT.search(font_of(address).name)]
    is_sign = ((codes >= 0x2200) & (codes < 0x2300)) | ((codes >= 0x2A00) & (codes < 0x2B00))
    is_sign |= (codes == 0xD835) | ((codes >= 0x1D400) & (codes < 0x1D800))  # letters of formulas, also in UTF-16
    return float(np.mean(is_sign | np.isin(fonts, for_formulas)))
