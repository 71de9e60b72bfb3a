"""MinHash signatures equal to datatrove's, bit for bit.

As ``MinhashDedupSignature`` of datatrove 0.10.1 with its defaults: words as in ``simplified_words``, the xxh64 of each
run of words with a space between any two (https://github.com/Cyan4973/xxHash/blob/dev/doc/xxhash_spec.md), and
permutations ``(a * h + b modulo 2**64) modulo 2**61 - 1``. A text of fewer words than a shingle has none.
"""

from __future__ import annotations

from functools import cache

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from stages.kernel import kernel
from stages.text.chunk import ROWS
from stages.text.folded_words import Room, find_words, folded_bytes, room_for
from stages.text.instructions import borrowed_arrays, eight_bytes
from stages.text.simplified_words import (
    Simplified,
    contextual_texts,
    contractions,
    simplification,
    simplified_for,
    simplify,
    write_words,
)
from stages.text.words_borrowed import borrowed
from stages.text.words_rules import Rules, english_rules

SEED = 1  # of datatrove's MinhashConfig
COLUMNS_AT_FIRST = 1024  # room for the characters of one chunk
AT_A_TIME = 4  # shingles that a permutation takes in one go
PRIME = (1 << 61) - 1
_PRIME, _EXPONENT = np.uint64(PRIME), np.uint64(61)
_P1, _P2, _P3, _P4, _P5 = (
    np.uint64(p)
    for p in (
        0x9E3779B185EBCA87,
        0xC2B2AE3D27D4EB4F,
        0x165667B19E3779F9,
        0x85EBCA77C2B2AE63,
        0x27D4EB2F165667C5,
    )
)
_NO_SHINGLE = np.uint64(0xFFFFFFFFFFFFFFFF)


def datatrove_signatures(
    column: pa.Array | pa.ChunkedArray, ngram: int, count: int
) -> tuple[NDArray[np.uint64], NDArray[np.uint64], NDArray[np.int64]]:
    """Signatures of a column of strings; null is empty.

    Returns:
        least: (texts, count), the signatures; 2**64 - 1 throughout where a text has no shingle.
        shingles: hashes of the shingles of all texts one after another, in their order.
        offsets: (texts + 1,): ``shingles[offsets[i]:offsets[i + 1]]`` are those of text i.
    """
    content, starts = contextual_texts(column)
    most, total = folded_bytes(content, starts)
    chunk = np.empty((ROWS, COLUMNS_AT_FIRST), np.int64)
    room, simplified = room_for(most), simplified_for(most)
    least = np.full((len(starts) - 1, count), _NO_SHINGLE, np.uint64)
    offsets = np.zeros(len(starts), np.int64)
    shingles = np.empty(total + AT_A_TIME, np.uint64)  # a word has at least one byte
    text = 0
    while text < len(least):
        text, columns = _sign(
            content,
            starts,
            text,
            *simplification(),
            *permutations(count),
            english_rules(),
            contractions(),
            chunk,
            ngram,
            room,
            simplified,
            shingles,
            offsets,
            least,
        )
        if columns:
            chunk = np.empty((len(chunk), 2 * columns), np.int64)
    return least, shingles[: offsets[-1]], offsets


@cache
def permutations(count: int) -> tuple[NDArray[np.uint64], NDArray[np.uint64]]:
    """Multipliers and summands of datatrove's permutations."""
    random = np.random.RandomState(SEED)
    return (
        random.randint(1, PRIME, dtype=np.uint64, size=count),
        random.randint(0, PRIME, dtype=np.uint64, size=count),
    )


@kernel
def _sign(
    content: NDArray[np.uint8],
    starts: NDArray[np.int64],
    text: int,
    table: NDArray[np.int32],
    expansions: NDArray[np.int32],
    a: NDArray[np.uint64],
    b: NDArray[np.uint64],
    rules: Rules,
    contractions_table: NDArray[np.uint64],
    chunk: NDArray[np.int64],
    ngram: int,
    room: Room,
    simplified: Simplified,
    shingles: NDArray[np.uint64],
    offsets: NDArray[np.int64],
    least: NDArray[np.uint64],
) -> tuple[int, int]:
    """Sign texts from ``text`` on; gives the first not done and how many columns ``chunk`` must have for it, or 0."""
    room, simplified, rules = borrowed_arrays(room), borrowed_arrays(simplified), borrowed_arrays(rules)
    content, table, expansions, chunk = borrowed(content), borrowed(table), borrowed(expansions), borrowed(chunk)
    contractions_table = borrowed(contractions_table)
    shingles, least = borrowed(shingles), borrowed(least)
    while text < len(starts) - 1:
        size = simplify(content, starts[text], starts[text + 1], table, expansions, room)
        chunks = find_words(room.marks, size, room.edges)
        words, columns = write_words(room.folded, room.edges, chunks, rules, contractions_table, chunk, simplified)
        if columns:
            return text, columns
        first = offsets[text]
        found = max(0, words - ngram + 1)
        for i in range(found):
            start = simplified.starts[i]
            shingles[first + i] = xxh64(simplified.joined, start, simplified.starts[i + ngram] - 1 - start)
        offsets[text + 1] = first + found
        if found:
            for i in range(first + found, first + found + AT_A_TIME):
                shingles[i] = shingles[first + found - 1]
            _least(shingles[first:], found, a, b, least[text])
        text += 1
    return text, 0


@kernel
def _least(
    shingles: NDArray[np.uint64], count: int, a: NDArray[np.uint64], b: NDArray[np.uint64], least: NDArray[np.uint64]
) -> None:
    """Lower ``least`` to the least value of each permutation; the shingles must go on with any of them to AT_A_TIME."""
    for i in range(0, count, AT_A_TIME):
        s0, s1, s2, s3 = shingles[i], shingles[i + 1], shingles[i + 2], shingles[i + 3]
        for k in range(len(a)):
            m, n = a[k], b[k]
            first = min(reduced(m * s0 + n), reduced(m * s1 + n))
            last = min(reduced(m * s2 + n), reduced(m * s3 + n))
            least[k] = min(least[k], min(first, last))


@kernel
def reduced(value: np.uint64) -> np.uint64:
    """``value`` modulo PRIME: where the sum of its high and low bits is less, the difference wraps around."""
    total = (value & _PRIME) + (value >> _EXPONENT)
    return min(total, total - _PRIME)


@kernel
def _rotated(value: np.uint64, bits: int) -> np.uint64:
    return value << np.uint64(bits) | value >> np.uint64(64 - bits)


@kernel
def _round(lane: np.uint64, eight: np.uint64) -> np.uint64:
    return _rotated(lane + eight * _P2, 31) * _P1


@kernel
def _merged(found: np.uint64, lane: np.uint64) -> np.uint64:
    return (found ^ _round(np.uint64(0), lane)) * _P1 + _P4


@kernel
def _chosen(old: np.uint64, new: np.uint64, is_new: bool) -> np.uint64:
    """``new`` if so, else ``old``, without a branch: the ends of shingles cannot be predicted."""
    return old ^ ((old ^ new) & (np.uint64(0) - np.uint64(is_new)))


@kernel
def xxh64(content: NDArray[np.uint8], start: int, size: int) -> np.uint64:
    """XXH64 of ``content[start:start + size]`` with seed 0; up to 16 bytes behind it are read."""
    found = _P5
    at = start
    if size >= 32:
        one, two, three, four = _P1 + _P2, _P2, np.uint64(0), np.uint64(0) - _P1
        for _ in range(size >> 5):
            one = _round(one, eight_bytes(content, at))
            two = _round(two, eight_bytes(content, at + 8))
            three = _round(three, eight_bytes(content, at + 16))
            four = _round(four, eight_bytes(content, at + 24))
            at += 32
        found = _rotated(one, 1) + _rotated(two, 7) + _rotated(three, 12) + _rotated(four, 18)
        found = _merged(_merged(_merged(_merged(found, one), two), three), four)
    found += np.uint64(size)
    rest = size & 31
    eights = rest >> 3
    for i in range(3):
        new = _rotated(found ^ _round(np.uint64(0), eight_bytes(content, at + 8 * i)), 27) * _P1 + _P4
        found = _chosen(found, new, i < eights)
    last = eight_bytes(content, at + 8 * eights)  # up to seven bytes of it count
    has_four = rest & 4
    new = _rotated(found ^ (last & np.uint64(0xFFFFFFFF)) * _P1, 23) * _P2 + _P3
    found = _chosen(found, new, has_four != 0)
    last >>= np.uint64(8 * has_four)
    for i in range(3):
        new = _rotated(found ^ (last >> np.uint64(8 * i) & np.uint64(0xFF)) * _P5, 11) * _P1
        found = _chosen(found, new, i < (rest & 3))
    found = (found ^ found >> np.uint64(33)) * _P2
    found = (found ^ found >> np.uint64(29)) * _P3
    return found ^ found >> np.uint64(32)
