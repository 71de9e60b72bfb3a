"""Gopher's measures of quality, for a batch of texts at once.

What a measure is, is said by ``stages.text.reference.quality``.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from stages.kernel import kernel
from stages.text.utf8 import break_at, count_byte, find_break, is_near_space, skip_space, spread, strip_end, table_bits
from stages.text.words import ALPHABETIC, PUNCTUATION
from stages.text.words_hash import hash_of

COUNTS = ("words", "stop_words")
RATIOS = ("mean_word_length", "hash_ratio", "ellipsis_ratio", "bullet_lines", "ellipsis_lines", "alphabetic_words")
_RATIOS = len(RATIOS)


def stop_word_table(words: Iterable[str]) -> NDArray[np.uint64]:
    """Hashes of distinct words in a table so large that no two of them share a slot; 0 where a slot is free."""
    distinct = {word.encode() for word in words if word}
    keys = [hash_of(np.frombuffer(word, np.uint8), 0, len(word)) for word in distinct]
    bits = table_bits(len(keys))
    while len({spread(key, bits) for key in keys}) < len(keys):
        bits += 1
    table = np.zeros(1 << bits, np.uint64)
    for key in keys:
        table[spread(key, bits)] = key
    return table


@kernel
def _is_ellipsis(data: NDArray[np.uint8], at: int, end: int) -> bool:
    """Whether the character U+2026 is at ``at``."""
    return bool(at + 2 < end and data[at] == 0xE2 and data[at + 1] == 0x80 and data[at + 2] == 0xA6)


@kernel
def _starts_with_bullet(data: NDArray[np.uint8], start: int, end: int) -> bool:
    at = start
    if start < end and is_near_space(data[start]):
        at = skip_space(data, start, end)
    if at == end:
        return False
    if data[at] == ord("-"):
        return True
    return bool(at + 2 < end and data[at] == 0xE2 and data[at + 1] == 0x80 and data[at + 2] == 0xA2)  # U+2022


@kernel
def _ends_with_ellipsis(data: NDArray[np.uint8], start: int, end: int) -> bool:
    end = strip_end(data, start, end)
    if end - start < 3:
        return False
    if data[end - 1] == ord("."):
        return bool(data[end - 2] == ord(".") and data[end - 3] == ord("."))
    return _is_ellipsis(data, end - 3, end)


@kernel
def _has_ellipsis(data: NDArray[np.uint8], start: int, end: int) -> bool:
    """Whether there is any ellipsis; three full stops or U+2026."""
    found = False
    for i in range(np.uint64(start), np.uint64(max(start, end - 2))):
        first, second, third = data[i], data[i + np.uint64(1)], data[i + np.uint64(2)]
        found |= (first == 46) & (second == 46) & (third == 46) | (first == 0xE2) & (second == 0x80) & (third == 0xA6)
    return found


@kernel
def _count_ellipses(data: NDArray[np.uint8], start: int, end: int) -> int:
    found, at = 0, start
    while at + 2 < end:
        is_dots = data[at] == ord(".") and data[at + 1] == ord(".") and data[at + 2] == ord(".")
        if is_dots or _is_ellipsis(data, at, end):
            found += 1
            at += 3
        else:
            at += 1
    return found


@kernel
def _scan(data: NDArray[np.uint8], start: int, end: int) -> tuple[int, int, int, int]:
    """Ellipses, lines, lines that start with a bullet, lines that end with an ellipsis."""
    ellipses, lines, bullets, dotted = 0, 0, 0, 0
    has_ellipsis = _has_ellipsis(data, start, end)
    if has_ellipsis:
        ellipses = _count_ellipses(data, start, end)
    line = start
    while line < end:
        line_end = find_break(data, line, end)
        lines += 1
        bullets += _starts_with_bullet(data, line, line_end)
        if has_ellipsis:
            dotted += _ends_with_ellipsis(data, line, line_end)
        line = line_end + break_at(data, line_end, end) if line_end < end else end
    return ellipses, lines, bullets, dotted


@kernel
def quality(
    data: NDArray[np.uint8],
    offsets: NDArray[np.int64],
    lengths: NDArray[np.int32],
    hashes: NDArray[np.uint64],
    flags: NDArray[np.uint8],
    firsts: NDArray[np.int64],
    stop_words: NDArray[np.uint64],
) -> tuple[NDArray[np.int32], NDArray[np.float64]]:
    """``COUNTS`` (n x 2) and ``RATIOS`` (n x 6; NaN: nothing to divide by) of each text.

    ``stop_words`` is a ``stop_word_table``; the other arguments are the arrays of ``stages.text.words.Words``.
    """
    rows = len(offsets) - 1
    counted, ratios = np.zeros((rows, 2), np.int32), np.full((rows, _RATIOS), np.nan)
    seen = np.zeros(len(stop_words), np.int64)  # the last row, from 1, that had the stop word of a slot
    bits = table_bits(len(stop_words) // 2)  # the table has 2**bits slots
    for row in range(rows):
        not_symbols, word_characters, alphabetic, found = 0, 0, 0, 0
        for word in range(firsts[row], firsts[row + 1]):
            if not flags[word] & PUNCTUATION:
                not_symbols += 1
                word_characters += lengths[word]
            alphabetic += (flags[word] & ALPHABETIC) != 0
            slot = spread(hashes[word], bits)
            if stop_words[slot] == hashes[word]:
                found += seen[slot] != row + 1
                seen[slot] = row + 1
        counted[row, 0], counted[row, 1] = not_symbols, found
        number_signs = count_byte(data, offsets[row], offsets[row + 1], np.uint8(ord("#")))
        ellipses, lines, bullets, dotted = _scan(data, offsets[row], offsets[row + 1])
        words = firsts[row + 1] - firsts[row]
        if not_symbols:
            ratios[row, 0] = word_characters / not_symbols
        if words:
            ratios[row, 1], ratios[row, 2] = number_signs / words, ellipses / words
            ratios[row, 5] = alphabetic / words
        if lines:
            ratios[row, 3], ratios[row, 4] = bullets / lines, dotted / lines
    return counted, ratios
