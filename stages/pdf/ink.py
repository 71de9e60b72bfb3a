"""What a page looks like at a low resolution: is anything on it, and does its text show."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from stages.pdf.characters import Characters

INK_DPI = 36
INK_CONTRAST = 32
MIN_INK_SHARE = 0.0002
"""A page is blank if fewer of its pixels at 36 dpi differ from the median by 32 of 255 grey levels. Measured:
a line "Chapter One" in 10 points on A4 0.0006, a page number alone 0.0001, the scan of an empty page 0."""

TEXT_MARGIN = 2.0
"""Points around a glyph's box that its ink may reach at this resolution."""

SEEN_DPI = 72
MIN_SEEN_CHANGE = 8.0
"""Grey levels, averaged over a glyph's box, by which the page must change without its text: black print on white
changes by 60 to 130, text of 93 % white by 5."""

MAX_PIXELS = 1_000_000
"""Of these pictures: larger pages are looked at from farther away."""


def ink_shares(page: Any, boxes: NDArray[np.float64]) -> tuple[float, float]:
    """Share of the page's pixels at INK_DPI that differ from its ground: of all, and of those outside of boxes.

    Args:
        page: a pypdfium2 page.
        boxes: (n, 4) left, top, right, bottom in points of the page as shown.
    """
    grey = _grey(page, INK_DPI)
    ink = np.abs(grey.astype(np.int16) - int(np.median(grey))) > INK_CONTRAST
    share = float(ink.mean())
    width, height = page.get_size()
    scale = np.array([grey.shape[1] / width, grey.shape[0] / height] * 2)
    margins = np.array([-TEXT_MARGIN, -TEXT_MARGIN, TEXT_MARGIN, TEXT_MARGIN])
    for left, top, right, bottom in ((boxes + margins) * scale).clip(0).astype(int).tolist():
        ink[top : bottom + 1, left : right + 1] = False
    return share, float(ink.mean())


def seen(page: Any, characters: Characters, doubted: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """(runs,) which of the runs that are doubted show: without them the page looks different."""
    import pypdfium2.raw as pdfium_c

    with_text = _grey(page, SEEN_DPI).astype(np.int16)
    handles = [_handle(address) for address in np.unique(characters.objects[doubted]).tolist()]
    for handle in handles:
        pdfium_c.FPDFPageObj_SetIsActive(handle, False)
    try:
        without_text = _grey(page, SEEN_DPI).astype(np.int16)
    finally:
        for handle in handles:
            pdfium_c.FPDFPageObj_SetIsActive(handle, True)
    change = np.abs(with_text - without_text)
    sums = np.zeros((change.shape[0] + 1, change.shape[1] + 1))
    sums[1:, 1:] = change.cumsum(0).cumsum(1)
    scale = np.array([change.shape[1] / characters.width, change.shape[0] / characters.height] * 2)
    drawn = characters.runs >= 0
    boxes = (characters.boxes[drawn] * scale).clip(0)
    left, top = np.floor(boxes[:, :2]).astype(int).T
    right, bottom = np.ceil(boxes[:, 2:]).astype(int).T
    left, right = left.clip(0, change.shape[1] - 1), right.clip(1, change.shape[1])
    top, bottom = top.clip(0, change.shape[0] - 1), bottom.clip(1, change.shape[0])
    changes = sums[bottom, right] - sums[top, right] - sums[bottom, left] + sums[top, left]
    areas = np.maximum((right - left) * (bottom - top), 1)
    runs = characters.runs[drawn]
    by_run = np.bincount(runs, changes, len(characters.sizes)) / np.maximum(
        np.bincount(runs, areas, len(characters.sizes)), 1
    )
    return doubted & (by_run >= MIN_SEEN_CHANGE)


def _handle(address: int) -> Any:
    import ctypes

    import pypdfium2.raw as pdfium_c

    return ctypes.cast(address, pdfium_c.FPDF_PAGEOBJECT)


def _grey(page: Any, dpi: int) -> NDArray[np.uint8]:
    """(height, width) grey levels."""
    width, height = page.get_size()
    scale = min(dpi / 72, (MAX_PIXELS / max(width * height, 1)) ** 0.5)
    picture: NDArray[np.uint8] = page.render(scale=scale, grayscale=True, may_draw_forms=False).to_numpy()
    return picture[:, :, 0] if picture.ndim == 3 else picture
