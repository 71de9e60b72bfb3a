"""The order in which the blocks of a page are read."""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from typing import Protocol

import numpy as np
import numpy.typing as npt

MAX_SORTED = 600
"""Of more blocks on a page, the file's order is kept: every pair is looked at."""
MAX_JUMPS = 0.12
"""Share of the pairs of blocks, one above the other, that the file may have in the wrong order and still be followed:
captions, running heads and footnotes are often written last."""

Matrix = npt.NDArray[np.bool_]


class Box(Protocol):
    @property
    def left(self) -> float: ...
    @property
    def top(self) -> float: ...
    @property
    def right(self) -> float: ...
    @property
    def bottom(self) -> float: ...
    @property
    def index(self) -> int: ...


def reading_order(boxes: Sequence[Box], by_place: bool) -> list[int]:
    """The boxes' numbers in the order of reading.

    Above comes before below where two boxes overlap in width. Where the file's own order mostly agrees with that, it
    decides the rest; otherwise, and with ``by_place``, what is left comes before what is right unless something that
    spans both lies between them (Breuel, High performance document layout analysis, 2003).
    """
    count = len(boxes)
    in_file = sorted(range(count), key=lambda i: boxes[i].index)
    if count > MAX_SORTED or count < 2:
        return in_file
    left, top, right, bottom = (np.array([getattr(b, n) for b in boxes]) for n in ("left", "top", "right", "bottom"))
    over = np.minimum(right[:, None], right[None]) - np.maximum(left[:, None], left[None])
    narrower = np.minimum(right - left, (right - left)[:, None])
    overlap: Matrix = over > 0.1 * narrower
    middle = (top + bottom) / 2
    above: Matrix = overlap & (middle[:, None] < middle[None])
    above &= (top[:, None] < top[None]) | (bottom[:, None] < bottom[None])
    if not by_place:
        rank = np.empty(count, dtype=np.int64)
        rank[in_file] = np.arange(count)
        wrong = above & (rank[:, None] > rank[None])
        by_place = wrong.sum() > max(1, MAX_JUMPS * above.sum())
    if not by_place:
        return _sorted(above, rank)
    before = above | _left_before(overlap, left, right, middle)
    by_position = np.lexsort((left, top))
    rank = np.empty(count, dtype=np.int64)
    rank[by_position] = np.arange(count)
    return _sorted(before, rank)


def _left_before(
    overlap: Matrix, left: npt.NDArray[np.float64], right: npt.NDArray[np.float64], middle: npt.NDArray[np.float64]
) -> Matrix:
    """Which boxes are left of which, with nothing over both of them between."""
    is_left: Matrix = ((left + right)[:, None] < (left + right)[None]) & ~overlap
    is_parted = np.zeros_like(overlap)
    for c in range(len(left)):
        higher, lower = overlap[c] & (middle < middle[c]), overlap[c] & (middle > middle[c])
        is_parted |= higher[:, None] & lower[None]
    return is_left & ~(is_parted | is_parted.T)


def _sorted(before: Matrix, rank: npt.NDArray[np.int64]) -> list[int]:
    """Topological order; of those that may come next, the one of the lowest rank. A cycle is broken there too."""
    np.fill_diagonal(before, False)
    waits_for = before.sum(axis=0)
    ready = [(int(rank[i]), int(i)) for i in np.flatnonzero(waits_for == 0)]
    heapq.heapify(ready)
    waiting = set(range(len(rank)))
    order: list[int] = []
    while waiting:
        chosen = heapq.heappop(ready)[1] if ready else min(waiting, key=lambda i: (waits_for[i], rank[i]))
        if chosen not in waiting:
            continue
        waiting.discard(chosen)
        order.append(chosen)
        waits_for -= before[chosen]
        for freed in np.flatnonzero(before[chosen] & (waits_for == 0)):
            heapq.heappush(ready, (int(rank[freed]), int(freed)))
    return order
