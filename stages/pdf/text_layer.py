"""The text layer of a page as fragments: runs of text with their boxes, in the order of the file."""

from __future__ import annotations

import re
import unicodedata
from dataclasses import replace
from functools import cache
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from stages.pdf.characters import Characters, characters_of
from stages.pdf.fonts import font_of
from stages.pdf.ink import seen
from stages.pdf.kernels.pdfium import GENERATED, HYPHEN
from stages.pdf.page import LINE_END_HYPHEN, Fragment

MIN_SIZE = 2.0
"""Points: what is smaller is not meant to be read by people."""

ASCENT, DESCENT = 0.75, 0.22
"""Of a fragment's box above and below its baseline, by the font's size: what fonts say of themselves is all sorts."""
SAME_BASELINE = 0.3
"""Distance of the baselines of a line's words, superscripts among them, by the font's size."""

GLYPH, SPACE, LINE_END, NOTHING = 0, 1, 2, 3
"""Kinds of characters, as ``kernels.fragments.cut`` takes them."""


class TextLayer(NamedTuple):
    """What a page's text layer says."""

    fragments: list[Fragment]
    width: float  # points, of the page when its text is upright
    height: float
    turned: int  # degrees clockwise by which the page as shown was turned to that end


def fragments_of(page: Any) -> list[Fragment]:
    """The visible text of a pypdfium2 page, in the order of the file.

    A fragment's text ends in a space where PDFium has seen one between it and the next of its line. A hyphen at the
    end of a line is LINE_END_HYPHEN. If most of a page's text runs up, down or upside down, boxes are those of the page
    when it is turned.
    """
    characters = characters_of(page)
    return text_layer(characters, unseen(page, characters)).fragments


def text_layer(characters: Characters, skipped: NDArray[np.bool_]) -> TextLayer:
    """The fragments of these characters but for the runs that are skipped, (runs,)."""
    from stages.pdf.kernels.fragments import cut, extents

    characters, turned = upright(characters, skipped)
    codes, kinds = _cleaned(characters)
    numbers = np.empty(len(kinds), np.int32)
    count = cut(
        kinds,
        characters.runs,
        characters.boxes,
        characters.origins,
        characters.fonts,
        characters.sizes,
        characters.directions,
        skipped,
        numbers,
    )
    if count == 0:
        return TextLayer([], characters.width, characters.height, turned)
    low, high = np.empty((count, 2)), np.empty((count, 2))
    extents(numbers, kinds, characters.boxes, low, high)

    kept = np.flatnonzero(numbers >= 0)
    text = codes[kept].astype("<u4").tobytes().decode("utf-32-le", "replace")
    starts = np.searchsorted(numbers[kept], np.arange(count))  # numbers ascend
    first = kept[starts]
    runs = characters.runs[first]
    sizes = characters.sizes[runs]
    boxes = _boxes(low, high, characters.origins[first], sizes, characters.directions[runs])
    fonts = {address: font_of(address) for address in set(characters.fonts[runs].tolist())}
    is_plain = not (codes >= FIRST_NORMALISED).any()
    fragments = []
    for start, end, address, (left, top, right, bottom), size in zip(
        starts.tolist(),
        [*starts[1:].tolist(), len(kept)],
        characters.fonts[runs].tolist(),
        boxes.tolist(),
        sizes.tolist(),
        strict=True,
    ):
        piece = text[start:end]
        if _LETTERSPACED.match(piece):
            places = kept[start:end]
            piece = closed_up(piece, characters.boxes[places])
        if not is_plain:
            piece = normalised(piece)
        font = fonts[address]
        piece = _SPACES.sub(" ", piece)
        fragments.append(Fragment(left, top, right, bottom, piece, size, font.name, font.is_bold))
    if turned == 180:
        fragments = _from_left_to_right(fragments)
    return TextLayer(fragments, characters.width, characters.height, turned)


def _from_left_to_right(fragments: list[Fragment]) -> list[Fragment]:
    """Fragments of text that was upside down: PDFium puts the words of its lines in the order of the page as shown."""
    ordered: list[Fragment] = []
    line: list[Fragment] = []
    for fragment in fragments:
        if line and abs(fragment.bottom - line[-1].bottom) > SAME_BASELINE * fragment.size:
            ordered += sorted(line, key=lambda word: word.left)
            line = []
        line.append(fragment)
    return ordered + sorted(line, key=lambda word: word.left)


def unseen(page: Any, characters: Characters) -> NDArray[np.bool_]:
    """(runs,) whether nobody sees what a run draws."""
    hidden = characters.is_hidden | characters.is_outside | (characters.sizes < MIN_SIZE)
    # a picture may be transparent, and white text stand on black: the page's picture tells
    doubted = (characters.is_covered | characters.is_white) & ~hidden
    if not doubted.any():
        return hidden
    return hidden | (doubted & ~seen(page, characters, doubted))


def upright(characters: Characters, skipped: NDArray[np.bool_]) -> tuple[Characters, int]:
    """The characters as they stand if the page is turned so that most of its text is upright; by how many degrees."""
    if not len(characters.sizes):
        return characters, 0
    lengths = np.bincount(characters.runs[characters.runs >= 0], minlength=len(characters.sizes))
    x, y = characters.directions.T
    quarter = np.where(np.abs(x) >= np.abs(y), np.where(x >= 0, 0, 2), np.where(y >= 0, 1, 3))  # 1: runs down
    by_quarter = np.bincount(quarter, weights=lengths * ~skipped, minlength=4)
    best = int(by_quarter.argmax())
    if best == 0 or by_quarter[best] <= by_quarter.sum() / 2:
        return characters, 0
    width, height = characters.width, characters.height
    turn, shift = {
        1: (np.array([[0.0, -1.0], [1.0, 0.0]]), (0.0, width)),  # the page is turned counter-clockwise
        2: (np.array([[-1.0, 0.0], [0.0, -1.0]]), (width, height)),
        3: (np.array([[0.0, 1.0], [-1.0, 0.0]]), (height, 0.0)),
    }[best]
    one, other = characters.boxes[:, :2] @ turn + shift, characters.boxes[:, 2:] @ turn + shift
    turned = replace(
        characters,
        width=height if best != 2 else width,
        height=width if best != 2 else height,
        boxes=np.concatenate([np.minimum(one, other), np.maximum(one, other)], axis=1),
        origins=characters.origins @ turn + shift,
        directions=characters.directions @ turn,
    )
    return turned, (360 - 90 * best) % 360


def _boxes(
    low: NDArray[np.float64],
    high: NDArray[np.float64],
    origins: NDArray[np.float64],
    sizes: NDArray[np.float64],
    directions: NDArray[np.float64],
) -> NDArray[np.float64]:
    """(fragments, 4) boxes as wide as the glyphs and as high as the font."""
    x, y = directions.T
    # above the baseline is (y, -x) of the direction, as y goes down
    above, below = (
        np.stack([y, -x], axis=1) * ASCENT * sizes[:, None],
        np.stack([-y, x], axis=1) * DESCENT * sizes[:, None],
    )
    edge_low, edge_high = np.minimum(above, below) + origins, np.maximum(above, below) + origins
    boxes = np.concatenate([low, high], axis=1)
    level, plumb = np.abs(x) > 0.99, np.abs(y) > 0.99  # text that is askew keeps the box of its glyphs
    boxes[level, 1], boxes[level, 3] = edge_low[level, 1], edge_high[level, 1]
    boxes[plumb, 0], boxes[plumb, 2] = edge_low[plumb, 0], edge_high[plumb, 0]
    return boxes


FIRST_NORMALISED = 0xA0
_SPACES = re.compile(r"\s{2,}")

LIGATURES = {code: unicodedata.normalize("NFKC", chr(code)) for code in range(0xFB00, 0xFB07)}
"""ff, fi, fl, ffi, ffl, long st, st."""

_FORMS = ((0xFB13, 0xFB18), (0xFB1D, 0xFB50), (0xFB50, 0xFE00), (0xFE70, 0xFEFD), (0x2F00, 0x2FD6))
"""Armenian ligatures, Hebrew and Arabic presentation forms, Kangxi radicals: the shapes of letters, not letters."""


@cache
def _translations() -> dict[int, str]:
    forms: dict[int, str] = dict(LIGATURES)
    for first, end in _FORMS:
        for code in range(first, end):
            plain = unicodedata.normalize("NFKC", chr(code))
            if plain != chr(code):
                forms[code] = plain.strip() or ""  # a mark that is shown alone has a space before it
    return forms


_LETTERSPACED = re.compile(r"(?:[^\W\d_\u0530-\U0010ffff] +){4,}[^\W\d_\u0530-\U0010ffff]\W*$")
"""Five letters or more, each by itself: with fewer they may be variables, or points of a figure."""
WORD_GAP = 1.6
"""Between two words of a letterspaced line, by the usual gap between its letters."""


def closed_up(text: str, boxes: NDArray[np.float64]) -> str:
    """The words of a letterspaced line ("C O N T E N T S"), unless its letters are a list (A B C D E F).

    Args:
        text: letters and spaces.
        boxes: (n, 4) of each of them.
    """
    places = [place for place, letter in enumerate(text) if letter != " "]
    letters = [text[place] for place in places]
    if all(ord(after) - ord(letter) in (0, 1) for letter, after in pairwise(letters)):
        return text
    first, second = boxes[places[:-1]], boxes[places[1:]]
    gaps = np.maximum(second[:, :2] - first[:, 2:], first[:, :2] - second[:, 2:]).max(axis=1)  # along the line
    is_wide = gaps > WORD_GAP * max(float(np.median(gaps)), 1e-6)
    words = [letters[0]]
    for letter, starts_word in zip(letters[1:], is_wide.tolist(), strict=True):
        words.append(" " + letter if starts_word else letter)
    return "".join(words) + (" " if text.endswith(" ") else "")


def normalised(text: str) -> str:
    """Text with the letters that are behind ligatures and presentation forms, composed (NFC)."""
    return unicodedata.normalize("NFC", text.translate(_translations()))


_DROPPED = (
    *range(0x20),
    *range(0x7F, 0xA0),
    0xAD,
    0x200B,
    0x200E,
    0x200F,
    *range(0x202A, 0x202F),
    *range(0x2060, 0x2070),
    0xFEFF,
    0xFFFE,
    0xFFFF,
)
"""Control characters, soft hyphens, marks of width zero or of direction. Joiners stay: Persian and Indic need them."""
_BLANKS = (0x09, 0x20, 0xA0, 0x1680, *range(0x2000, 0x200B), 0x2028, 0x2029, 0x202F, 0x205F, 0x3000)


@cache
def _kinds() -> NDArray[np.uint8]:
    kinds = np.full(0x10000, GLYPH, np.uint8)
    kinds[list(_DROPPED)] = NOTHING
    kinds[list(_BLANKS)] = SPACE
    return kinds


def _cleaned(characters: Characters) -> tuple[NDArray[np.uint32], NDArray[np.uint8]]:
    """Code points of one character each, and their kinds."""
    codes, flags = characters.codes.copy(), characters.flags
    kinds = _kinds()[np.minimum(codes, 0xFFFF)]
    kinds[(codes > 0xFFFF)] = GLYPH
    kinds[((flags & GENERATED) != 0) & ((codes == 10) | (codes == 13))] = LINE_END
    is_hyphen = ((flags & HYPHEN) != 0) | (codes == 0xFFFE)
    kinds[is_hyphen], codes[is_hyphen] = GLYPH, ord(LINE_END_HYPHEN)
    codes[kinds == SPACE] = 32
    _pair_surrogates(codes, kinds)
    _compose_accents(codes, kinds, characters)
    return codes, kinds


def _pair_surrogates(codes: NDArray[np.uint32], kinds: NDArray[np.uint8]) -> None:
    is_surrogate = (codes & 0xFFFFF800) == 0xD800
    if not is_surrogate.any():
        return
    high = np.flatnonzero((codes[:-1] & 0xFFFFFC00) == 0xD800)
    high = high[(codes[high + 1] & 0xFFFFFC00) == 0xDC00]
    codes[high] = 0x10000 + ((codes[high] & 0x3FF) << 10) + (codes[high + 1] & 0x3FF)
    kinds[high + 1] = NOTHING
    alone = (codes & 0xFFFFF800) == 0xD800
    kinds[alone & is_surrogate] = NOTHING


ACCENTS = {
    0x60: 0x300,
    0xB4: 0x301,
    0x2C6: 0x302,
    0x5E: 0x302,
    0x2DC: 0x303,
    0x7E: 0x303,
    0xAF: 0x304,
    0x2C9: 0x304,
    0x2D8: 0x306,
    0x2D9: 0x307,
    0xA8: 0x308,
    0x2DA: 0x30A,
    0x2DD: 0x30B,
    0x2C7: 0x30C,
    0xB8: 0x327,
    0x2DB: 0x328,
}
"""Accents that stand for themselves, and those that are set on a letter: TeX draws both one upon the other."""
_DOTLESS = {0x131: 0x69, 0x237: 0x6A}
MIN_ACCENT_OVERLAP = 0.6
"""Share of the narrower one's width by which an accent must stand above or below the letter."""


def _compose_accents(codes: NDArray[np.uint32], kinds: NDArray[np.uint8], characters: Characters) -> None:
    for i in np.flatnonzero(np.isin(codes, list(ACCENTS))).tolist():
        left, _, right, _ = characters.boxes[i].tolist()
        for letter in (i + 1, i - 1):
            if not 0 <= letter < len(codes) or kinds[letter] != GLYPH or characters.runs[i] < 0:
                continue
            overlap = min(right, characters.boxes[letter, 2]) - max(left, characters.boxes[letter, 0])
            width = min(right - left, characters.boxes[letter, 2] - characters.boxes[letter, 0])  # an "i" is narrower
            if overlap < MIN_ACCENT_OVERLAP * width or right <= left:
                continue
            code = int(codes[letter])
            whole = unicodedata.normalize("NFC", chr(_DOTLESS.get(code, code)) + chr(ACCENTS[int(codes[i])]))
            if len(whole) == 1 and chr(code).isalpha():
                codes[letter], kinds[i] = ord(whole), NOTHING
                break
