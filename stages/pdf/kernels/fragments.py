"""Cut the characters of a page into fragments: runs of text in one line and one font."""

from __future__ import annotations

from typing import Any

import numpy as np

from stages.kernel import kernel

MAX_GAP = 1.0
"""Between two characters of a fragment, by the font's size. The spaces of a justified line rarely reach it, the gaps
between a table's columns mostly exceed it."""
MAX_BASELINE_SHIFT = 0.12
"""By the font's size: a superscript is raised by a third, a subscript lowered by a seventh at least."""
MAX_SIZE_CHANGE = 0.04
MIN_SAME_DIRECTION = 0.995
"""Cosine: directions that differ by less than 6 degrees are one."""


@kernel
def cut(
    kinds: Any, runs: Any, boxes: Any, origins: Any, fonts: Any, sizes: Any, directions: Any, skipped: Any, numbers: Any
) -> int:
    """Number the fragments.

    Args:
        kinds: (n,) uint8: 0 a glyph, 1 a space, 2 the end of a line, 3 nothing to be kept.
        runs: (n,) int32, of each character, -1 for what PDFium has inferred.
        boxes, origins: (n, 4), (n, 2) float64, of the page as shown.
        fonts, sizes, directions: (runs,) int64, (runs,) float64, (runs, 2) float64.
        skipped: (runs,) bool, runs that are not to be kept.
        numbers: (n,) int32 to fill: the fragment of each character, -1 if it is in none. Spaces belong to the fragment
            before them.

    Returns:
        The number of fragments.
    """
    count = 0
    previous = -1  # the last glyph of the open fragment
    for i in range(len(kinds)):
        numbers[i] = -1
        kind = kinds[i]
        if kind == 2:
            previous = -1
            continue
        if kind == 1:
            if previous >= 0:
                numbers[i] = count - 1
            continue
        run = runs[i]
        if kind == 3 or run < 0 or skipped[run]:
            continue
        if previous < 0 or not _goes_on(previous, i, runs, boxes, origins, fonts, sizes, directions):
            count += 1
        numbers[i] = count - 1
        previous = i
    return count


@kernel
def _goes_on(
    previous: int, i: int, runs: Any, boxes: Any, origins: Any, fonts: Any, sizes: Any, directions: Any
) -> bool:
    before, run = runs[previous], runs[i]
    size = max(sizes[before], 0.1)
    x, y = directions[before, 0], directions[before, 1]
    if before != run:
        if fonts[before] != fonts[run] or abs(sizes[run] - size) > MAX_SIZE_CHANGE * size:
            return False
        if x * directions[run, 0] + y * directions[run, 1] < MIN_SAME_DIRECTION:
            return False
    shift = (origins[i, 0] - origins[previous, 0]) * y - (origins[i, 1] - origins[previous, 1]) * x
    if abs(shift) > MAX_BASELINE_SHIFT * size:
        return False
    # the distance between the boxes along the line; text from right to left comes in the order in which it is read
    if abs(x) >= abs(y):
        gap = max(boxes[i, 0] - boxes[previous, 2], boxes[previous, 0] - boxes[i, 2])
    else:
        gap = max(boxes[i, 1] - boxes[previous, 3], boxes[previous, 1] - boxes[i, 3])
    return bool(gap <= MAX_GAP * size)


@kernel
def extents(numbers: Any, kinds: Any, boxes: Any, low: Any, high: Any) -> None:
    """The bounds of each fragment's glyphs: ``low`` and ``high`` are (fragments, 2) float64 to fill, x and y."""
    low[:], high[:] = np.inf, -np.inf
    for i in range(len(numbers)):
        number = numbers[i]
        if number >= 0 and kinds[i] == 0:
            low[number, 0] = min(low[number, 0], boxes[i, 0])
            low[number, 1] = min(low[number, 1], boxes[i, 1])
            high[number, 0] = max(high[number, 0], boxes[i, 2])
            high[number, 1] = max(high[number, 1], boxes[i, 3])
