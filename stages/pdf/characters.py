"""The characters of a page's text layer: where they stand, how they are drawn, what lies over them."""

from __future__ import annotations

import ctypes
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stages.pdf.fonts import decode
from stages.pdf.kernels.pdfium import CHARACTER_CALLS, INVISIBLE, OBJECT_CALLS, coverage, read_characters, read_objects

MAX_CHARACTERS = 200_000
"""Of a page; a newspaper's has 20,000."""
MAX_OBJECTS = 100_000
"""Of a page that are looked at; a map has tens of thousands of paths."""
MAX_IMAGES = 4096
GRID = (64, 48)
"""Rows and columns of cells over which the area of pictures is added up: 13 by 13 points each on A4."""
MAX_DEPICTED_UNITS = 1000
"""Steps a point in which PDFium, which maps to whole pixels, is asked where the page's corners are shown."""


MAX_GLYPH_HEIGHT = 1.6
"""Of a font's taller glyphs, by its size, beyond which the size is wrong: brackets in formulas reach 3, letters 1.1."""
LETTER_HEIGHT = 0.7
"""Of a capital, by the font's size."""
TALL_GLYPHS = 0.8
"""The share of a font's glyphs that are lower than its capitals, or about as high."""


class PageTooLargeError(Exception):
    """A page has more characters than people write on one."""


@dataclass(frozen=True)
class Characters:
    """The characters of a page in PDFium's order, the runs in which its text objects draw them, and its pictures.

    Coordinates are points of the page as it is shown, y downwards.
    """

    width: float
    height: float
    codes: NDArray[np.uint32]  # (n,) Unicode; 0 if there is none
    flags: NDArray[np.uint8]  # (n,) GENERATED, HYPHEN, UNMAPPED of kernels.pdfium
    boxes: NDArray[np.float64]  # (n, 4) left, top, right, bottom of the glyph
    origins: NDArray[np.float64]  # (n, 2) where the glyph stands on its baseline
    runs: NDArray[np.int32]  # (n,) number of the run, -1 for what PDFium has inferred
    objects: NDArray[np.int64]  # (runs,) FPDF_PAGEOBJECT of the text
    fonts: NDArray[np.int64]  # (runs,) FPDF_FONT
    sizes: NDArray[np.float64]  # (runs,) of the font, as shown
    directions: NDArray[np.float64]  # (runs, 2) unit vector along which the text goes
    is_hidden: NDArray[np.bool_]  # (runs,) by its render mode or its opacity
    is_outside: NDArray[np.bool_]  # (runs,) of its clip path or of the page
    is_covered: NDArray[np.bool_]  # (runs,) by a picture that is painted later
    is_white: NDArray[np.bool_]  # (runs,) nearly or wholly
    image_coverage: float  # share of the page under pictures, 0 to 1
    outlines: int  # filled paths that may be glyphs

    def __len__(self) -> int:
        return len(self.codes)


MIN_WHITE = 236
"""Of 255 levels of red, green and blue: on white, text lighter than this cannot be read (contrast below 1.2 to 1)."""


def characters_of(page: Any) -> Characters:
    """Read a pypdfium2 page's text layer.

    Raises:
        PageTooLargeError: it has more than MAX_CHARACTERS.
        PdfiumError: PDFium cannot read it.
    """
    text_page = page.get_textpage()
    try:
        return _characters(page, text_page)
    finally:
        text_page.close()


def _characters(page: Any, text_page: Any) -> Characters:
    count = text_page.count_chars()
    if count > MAX_CHARACTERS:
        raise PageTooLargeError(f"{count} characters > {MAX_CHARACTERS}")
    codes, flags = np.zeros(count, np.uint32), np.zeros(count, np.uint8)
    boxes, origins = np.zeros((count, 4)), np.zeros((count, 2))
    runs = np.zeros(count, np.int32)
    objects, fonts = np.zeros(count, np.int64), np.zeros(count, np.int64)
    sizes, matrices = np.zeros(count, np.float32), np.zeros((count, 6), np.float32)
    modes, colours = np.zeros(count, np.int32), np.zeros((count, 4), np.uint32)
    drawn = read_characters(
        _addresses(CHARACTER_CALLS),
        _address(text_page.raw),
        codes,
        flags,
        boxes,
        origins,
        runs,
        objects,
        fonts,
        sizes,
        matrices,
        modes,
        colours,
    )
    objects, fonts, sizes = objects[:drawn], fonts[:drawn], sizes[:drawn]
    if drawn:
        decode(codes, flags, np.where(runs >= 0, fonts[np.maximum(runs, 0)], 0))
    matrices, modes, colours = matrices[:drawn].astype(np.float64), modes[:drawn], colours[:drawn]

    width, height = page.get_size()
    shown = _shown(page, width, height)
    inverse = np.linalg.inv(shown).astype(np.float64)
    bounds = _boxes(inverse, np.array([[0.0, 0.0, width, height]]))[0]
    painted = _painted(page, bounds)
    is_out, is_covered = _hiding(painted, bounds, boxes, runs, objects)

    linear = matrices[:, :4].reshape(-1, 2, 2) @ shown[:2, :2]
    along = np.hypot(linear[:, 0, 0], linear[:, 0, 1])
    across = np.abs(np.linalg.det(linear)) / np.maximum(along, 1e-9)
    return Characters(
        width=width,
        height=height,
        codes=codes,
        flags=flags,
        boxes=_boxes(shown, boxes),
        origins=origins @ shown[:2, :2] + shown[2, :2],
        runs=runs,
        objects=objects,
        fonts=fonts,
        sizes=_true_sizes(np.abs(sizes) * across, linear[:, 0] @ inverse[:2, :2], boxes, runs, fonts),
        directions=np.sign(sizes)[:, None] * linear[:, 0] / np.maximum(along, 1e-9)[:, None],
        is_hidden=(modes == INVISIBLE) | (colours[:, 3] == 0),
        is_outside=is_out,
        is_covered=is_covered,
        is_white=colours[:, :3].min(axis=1, initial=255) >= MIN_WHITE,
        image_coverage=painted.image_coverage,
        outlines=painted.outlines,
    )


def _true_sizes(
    sizes: NDArray[np.float64],
    along: NDArray[np.float64],
    boxes: NDArray[np.float64],
    runs: NDArray[np.int32],
    fonts: NDArray[np.int64],
) -> NDArray[np.float64]:
    """(runs,) sizes, put right where a font's glyphs show that its unit is its own, as Type 3 fonts may choose."""
    drawn = np.flatnonzero(runs >= 0)
    run = runs[drawn]
    is_level = np.abs(along[run, 0]) >= np.abs(along[run, 1])  # boxes turn by quarters only: level on the page or not
    extents = np.where(is_level, boxes[drawn, 3] - boxes[drawn, 1], boxes[drawn, 2] - boxes[drawn, 0])
    ratios = extents / np.maximum(sizes[run], 1e-6)
    if not (ratios > MAX_GLYPH_HEIGHT).any():
        return sizes
    sizes = sizes.copy()
    for font in np.unique(fonts).tolist():
        tall = np.quantile(ratios[fonts[run] == font], TALL_GLYPHS)
        if tall > MAX_GLYPH_HEIGHT:
            sizes[fonts == font] *= tall / LETTER_HEIGHT
    return sizes


@dataclass(frozen=True)
class _Painted:
    """What a page paints, in its own coordinates."""

    texts: NDArray[np.int64]  # (t, 2) address of a text object, ascending; when it is painted
    clips: NDArray[np.float64]  # (t, 4) left, bottom, right, top of what it may paint
    latest: NDArray[np.int64]  # GRID, from the bottom: when the last picture over a cell is painted, 0 if none is
    image_coverage: float
    outlines: int


def _painted(page: Any, bounds: NDArray[np.float64]) -> _Painted:
    import pypdfium2.raw as pdfium_c

    # forms may hold any number of objects: room for more than most pages have, and again for all if it is full
    room = min(MAX_OBJECTS, 4 * pdfium_c.FPDFPage_CountObjects(page.raw) + 2000)
    counts = np.zeros(4, np.int64)
    while True:
        texts, clips = np.empty((room, 2), np.int64), np.empty((room, 4))
        images, order = np.empty((MAX_IMAGES, 4)), np.empty(MAX_IMAGES, np.int64)
        read_objects(_addresses(OBJECT_CALLS), _address(page.raw), bounds, texts, clips, images, order, counts)
        if counts[3] < room or room == MAX_OBJECTS:
            break
        room = MAX_OBJECTS
    covered, latest = np.zeros(GRID), np.zeros(GRID, np.int64)
    coverage(images[: counts[1]], order[: counts[1]], bounds, covered, latest)
    ascending = np.argsort(texts[: counts[0], 0])
    return _Painted(texts[ascending], clips[ascending], latest, float(covered.mean()), int(counts[2]))


def _hiding(
    painted: _Painted,
    bounds: NDArray[np.float64],
    boxes: NDArray[np.float64],
    runs: NDArray[np.int32],
    objects: NDArray[np.int64],
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """For each run: whether its clip path or the page's edge hides it, and whether a later picture covers it."""
    is_out, is_covered = np.zeros(len(objects), np.bool_), np.zeros(len(objects), np.bool_)
    if not len(objects) or not len(painted.texts):
        return is_out, is_covered
    drawn = np.flatnonzero(runs >= 0)
    first = drawn[np.unique(runs[drawn], return_index=True)[1]]  # of each run, its first character and its last
    last = np.append(first[1:], len(runs)) - 1
    last = drawn[np.searchsorted(drawn, last, side="right") - 1]
    left, bottom = np.minimum(boxes[first, 0], boxes[last, 0]), np.minimum(boxes[first, 1], boxes[last, 1])
    right, top = np.maximum(boxes[first, 2], boxes[last, 2]), np.maximum(boxes[first, 3], boxes[last, 3])
    place = np.minimum(np.searchsorted(painted.texts[:, 0], objects), len(painted.texts) - 1)
    is_known = painted.texts[place, 0] == objects
    clip = painted.clips[place]
    is_apart = (left >= clip[:, 2]) | (right <= clip[:, 0]) | (bottom >= clip[:, 3]) | (top <= clip[:, 1])
    is_out = is_known & is_apart
    rows, columns = painted.latest.shape
    x, y = (left + right) / 2, (bottom + top) / 2
    column = ((x - bounds[0]) / (bounds[2] - bounds[0]) * columns).astype(int).clip(0, columns - 1)
    row = ((y - bounds[1]) / (bounds[3] - bounds[1]) * rows).astype(int).clip(0, rows - 1)
    return is_out, is_known & (painted.latest[row, column] > painted.texts[place, 1])


def _shown(page: Any, width: float, height: float) -> NDArray[np.float64]:
    """(3, 3), for row vectors: from a page's own coordinates to those of the page as shown, y downwards."""
    import pypdfium2.raw as pdfium_c

    # bounded, for PDFium counts pixels in 32 bits, and pages may be as wide as they please
    units = min(float(MAX_DEPICTED_UNITS), 1e9 / max(width, height))
    x, y = ctypes.c_int(), ctypes.c_int()
    corners = []
    for corner in ((0.0, 0.0), (100.0, 0.0), (0.0, 100.0)):
        size = (int(width * units), int(height * units))
        pdfium_c.FPDF_PageToDevice(page.raw, 0, 0, *size, 0, *corner, x, y)
        corners.append((x.value / units, y.value / units))
    origin, right, up = np.array(corners)
    matrix = np.eye(3)
    matrix[0, :2], matrix[1, :2], matrix[2, :2] = (right - origin) / 100, (up - origin) / 100, origin
    return matrix


def _boxes(matrix: NDArray[np.float64], boxes: NDArray[np.float64]) -> NDArray[np.float64]:
    """(n, 4) bounds behind a matrix of quarter turns, shifts and scales: low x, low y, high x, high y."""
    first = boxes[:, :2] @ matrix[:2, :2] + matrix[2, :2]
    second = boxes[:, 2:] @ matrix[:2, :2] + matrix[2, :2]
    return np.concatenate([np.minimum(first, second), np.maximum(first, second)], axis=1)


@cache
def _addresses(names: tuple[str, ...]) -> NDArray[np.int64]:
    import pypdfium2.raw as pdfium_c

    return np.array([_address(getattr(pdfium_c, name)) for name in names], np.int64)


def _address(pointer: Any) -> int:
    return ctypes.cast(pointer, ctypes.c_void_p).value or 0
