"""FineWeb's measures of lines, for a batch of texts at once.

What a measure is, is said by ``stages.text.reference.web_lines``.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from stages.kernel import kernel
from stages.text.utf8 import (
    NEWLINE,
    characters,
    count_byte,
    duplicates,
    find_newline,
    is_near_space,
    most_newlines,
    skip_space,
    table_bits,
)

RATIOS = ("line_punct_ratio", "short_line_ratio", "char_dup_ratio", "list_ratio")


@dataclass(frozen=True)
class Endings:
    """Strings that a line may end with, by their last byte."""

    suffixes: NDArray[np.uint8]  # UTF-8 bytes of all, joined
    bounds: NDArray[np.int64]  # suffix i is suffixes[bounds[i]:bounds[i + 1]]
    by_last_byte: NDArray[np.int64]  # those that end with byte b are by_last_byte[b] to by_last_byte[b + 1] - 1


def endings(strings: Iterable[str]) -> Endings:
    """Prepare ``strings``, none of them empty, for ``web_lines``."""
    ordered = sorted({string.encode() for string in strings}, key=lambda suffix: (suffix[-1], suffix))
    bounds = np.cumsum([0, *map(len, ordered)])
    last = np.array([suffix[-1] for suffix in ordered], np.int64)
    joined = np.frombuffer(b"".join(ordered), np.uint8)
    return Endings(joined, bounds.astype(np.int64), np.searchsorted(last, np.arange(257)).astype(np.int64))


@kernel
def _ends_with_any(
    data: NDArray[np.uint8],
    start: int,
    end: int,
    suffixes: NDArray[np.uint8],
    bounds: NDArray[np.int64],
    by_last_byte: NDArray[np.int64],
) -> bool:
    last = data[end - 1]
    for i in range(by_last_byte[last], by_last_byte[last + 1]):
        length = bounds[i + 1] - bounds[i]
        k = 1
        if length <= end - start:
            while k <= length and data[end - k] == suffixes[bounds[i + 1] - k]:
                k += 1
        if k > length:
            return True
    return False


@kernel
def _is_short(data: NDArray[np.uint8], start: int, end: int, short_characters: int) -> bool:
    if end - start <= short_characters:
        return True
    if end - start > 4 * short_characters + 3:
        return False
    return characters(data, start, end) <= short_characters


@kernel
def web_lines(
    data: NDArray[np.uint8],
    offsets: NDArray[np.int64],
    word_counts: NDArray[np.int64],
    suffixes: NDArray[np.uint8],
    bounds: NDArray[np.int64],
    by_last_byte: NDArray[np.int64],
    short_characters: int,
) -> tuple[NDArray[np.int32], NDArray[np.float64]]:
    """Lines of each text that are not blank, and its ``RATIOS`` (n x 4; NaN: nothing to divide by).

    ``data`` and ``offsets`` are of ``stages.text.words.Words``, the three after ``word_counts`` of ``Endings``. A line
    is short if it has at most ``short_characters``.
    """
    rows = len(offsets) - 1
    lines, ratios = np.zeros(rows, np.int32), np.full((rows, 4), np.nan)
    most = most_newlines(data, offsets) + 1
    starts, ends = np.empty(most, np.int64), np.empty(most, np.int64)
    hashes, slots = np.empty(most, np.uint64), np.empty(1 << table_bits(most), np.int32)
    for row in range(rows):
        begin, end = offsets[row], offsets[row + 1]
        count, ended, short = 0, 0, 0
        line = begin
        while line <= end:
            line_end = find_newline(data, line, end)
            if line < line_end and (not is_near_space(data[line]) or skip_space(data, line, line_end) < line_end):
                starts[count], ends[count] = line, line_end
                count += 1
                ended += _ends_with_any(data, line, line_end, suffixes, bounds, by_last_byte)
                short += _is_short(data, line, line_end, short_characters)
            line = line_end + 1
        lines[row] = count
        if count:
            newlines = count_byte(data, begin, end, NEWLINE)
            _, repeated = duplicates(data, starts, ends, count, hashes, slots)
            ratios[row, 0], ratios[row, 1] = ended / count, short / count
            ratios[row, 2] = repeated / (characters(data, begin, end) - newlines)
            if word_counts[row]:
                ratios[row, 3] = newlines / word_counts[row]
    return lines, ratios
