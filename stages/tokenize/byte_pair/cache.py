"""Pre-tokens and their ids: open addressing in memory of a fixed size.

A slot is four words of 64 bits, half of a cache line. The first two are the pre-token: of up to 15 bytes, the bytes and
their number; of more, a hash, and where the bytes lie among ``long_bytes``. The others are the number of ids and three
of them; if there are more, where they lie among ``more_ids``.

When an array has no room for the next pre-token, the cache is emptied: what is frequent is back within a few texts.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from stages.kernel import kernel
from stages.text.instructions import eight_bytes
from stages.text.words_borrowed import inlined

IN_SLOT_BYTES = 15
IN_SLOT_IDS = 3
LONGEST_BYTES = 64
"""Longer pre-tokens are merged anew each time: they hardly ever come again."""
LEAST_SLOTS = 128
_PROBES = 64  # slots looked at; more than that are never in a row, unless a text was made for it

_USED_SLOTS, _USED_BYTES, _USED_IDS = 0, 1, 2
_LONG = np.uint64(1 << 63)
_WORDS = 4
_BYTES_A_SLOT = 8 * _WORDS + 8 + 2 * 4  # with its share of long_bytes and more_ids
_ZERO, _ONE, _TWO, _THREE = np.uint64(0), np.uint64(1), np.uint64(2), np.uint64(3)
_LENGTH_SHIFT, _HALF = np.uint64(56), np.uint64(32)
_LOW_HALF = np.uint64(2**32 - 1)
_MULTIPLIER = np.uint64(0x9E3779B97F4A7C15)  # 2**64 divided by the golden ratio
_SECOND_MULTIPLIER = np.uint64(0xC2B2AE3D27D4EB4F)  # a prime of xxHash
_ALL = 2**64 - 1
_FIRST_MASK = np.array([2 ** (8 * n) - 1 if n < 8 else _ALL for n in range(16)], np.uint64)
_SECOND_MASK = np.array([2 ** (8 * (n - 8)) - 1 if n > 8 else 0 for n in range(16)], np.uint64)


class Cache(NamedTuple):
    """Memory of a cache, all zero at first."""

    slots: NDArray[np.uint64]  # four for each of a power of two of slots
    long_bytes: NDArray[np.uint8]
    more_ids: NDArray[np.uint32]
    used: NDArray[np.int64]  # (3,): slots, entries of long_bytes, entries of more_ids


def cache_of(max_bytes: int) -> Cache:
    """A cache that takes at most so much memory, but at least 6 KiB. What is not yet written to takes none."""
    slots = LEAST_SLOTS
    while 2 * slots * _BYTES_A_SLOT <= max_bytes:
        slots *= 2
    return empty_cache(slots, 8 * slots, 2 * slots)


def empty_cache(slots: int, long_bytes: int, more_ids: int) -> Cache:
    """A cache of a power of two of slots, of which half are ever taken."""
    return Cache(
        np.zeros(slots * _WORDS, np.uint64),
        np.zeros(long_bytes, np.uint8),
        np.zeros(more_ids, np.uint32),
        np.zeros(3, np.int64),
    )


@inlined
def key_of(data: NDArray[np.uint8], start: int, length: int) -> tuple[np.uint64, np.uint64]:
    """The first two words of the slot of a pre-token; of a long one, the place of its bytes is missing."""
    if length <= IN_SLOT_BYTES:
        if start + 16 <= len(data):
            first = eight_bytes(data, start) & _FIRST_MASK[length]
            second = eight_bytes(data, start + 8) & _SECOND_MASK[length]
        else:
            first, second = _words_at_the_end(data, start, length)
        return first, second | np.uint64(length) << _LENGTH_SHIFT
    return _hash(data, start, length), _LONG | np.uint64(length) << _HALF


@kernel
def _words_at_the_end(data: NDArray[np.uint8], start: int, length: int) -> tuple[np.uint64, np.uint64]:
    first, second = _ZERO, _ZERO
    for i in range(min(length, 8)):
        first |= np.uint64(data[start + i]) << np.uint64(8 * i)
    for i in range(8, length):
        second |= np.uint64(data[start + i]) << np.uint64(8 * (i - 8))
    return first, second


@kernel
def _hash(data: NDArray[np.uint8], start: int, length: int) -> np.uint64:
    """Of at least eight bytes; the last eight are read whole, whether or not some of them were read before."""
    found: np.uint64 = np.uint64(length)
    at, last = start, start + length - 8
    while at < last:
        found = (found ^ eight_bytes(data, at)) * _MULTIPLIER
        found ^= found >> np.uint64(29)
        at += 8
    found = (found ^ eight_bytes(data, last)) * _MULTIPLIER
    return found ^ (found >> np.uint64(29))


@inlined
def find(
    cache: Cache, data: NDArray[np.uint8], start: int, length: int, first: np.uint64, second: np.uint64
) -> tuple[np.uint64, bool]:
    """Place of a pre-token in ``cache.slots``, or else of the slot for it, and whether it is there.

    The place is ``len(cache.slots)`` if it is not there and there is none for it.
    """
    mask = np.uint64(len(cache.slots) - 1)
    mixed = (first ^ (second * _SECOND_MULTIPLIER)) * _MULTIPLIER
    slot = (mixed ^ (mixed >> _HALF)) << _TWO & mask
    for _ in range(_PROBES):
        known = cache.slots[slot + _ONE]
        if known == second and cache.slots[slot] == first:
            return slot, True
        if known == _ZERO:
            return slot, False
        if cache.slots[slot] == first and second & _LONG and _is_long(cache, known, data, start, length):
            return slot, True
        slot = (slot + np.uint64(_WORDS)) & mask
    return np.uint64(len(cache.slots)), False


@kernel
def _is_long(cache: Cache, known: np.uint64, data: NDArray[np.uint8], start: int, length: int) -> bool:
    if known >> _HALF != (_LONG >> _HALF | np.uint64(length)):
        return False
    place = np.int64(known & _LOW_HALF) - 1
    at = 0
    while at < length and cache.long_bytes[place + at] == data[start + at]:
        at += 1
    return bool(at == length)


@kernel
def remember(
    cache: Cache,
    slot: np.uint64,
    data: NDArray[np.uint8],
    start: int,
    length: int,
    first: np.uint64,
    second: np.uint64,
    ids: NDArray[np.uint32],
    count: int,
) -> None:
    """Keep the ids of a pre-token that is not in the cache in the slot that `find` gave, or empty a full cache."""
    if slot >= np.uint64(len(cache.slots)):
        return
    used = cache.used
    is_full = 2 * _WORDS * used[_USED_SLOTS] >= len(cache.slots)
    lacks_bytes = second & _LONG and used[_USED_BYTES] + length > len(cache.long_bytes)
    lacks_ids = count > IN_SLOT_IDS and used[_USED_IDS] + count > len(cache.more_ids)
    if is_full or lacks_bytes or lacks_ids:
        cache.slots[:] = _ZERO
        used[:] = 0
        return
    used[_USED_SLOTS] += 1
    if second & _LONG:
        place = used[_USED_BYTES]
        for i in range(length):
            cache.long_bytes[place + i] = data[start + i]
        used[_USED_BYTES] += length
        second |= np.uint64(place + 1)  # never 0: what `find` looks for is never equal, and the bytes decide
    cache.slots[slot] = first
    cache.slots[slot + _ONE] = second
    if count <= IN_SLOT_IDS:
        cache.slots[slot + _TWO] = np.uint64(count) | np.uint64(ids[0]) << _HALF
        if count > 1:
            cache.slots[slot + _THREE] = np.uint64(ids[1]) | np.uint64(ids[2] if count > 2 else 0) << _HALF
        return
    place = used[_USED_IDS]
    for i in range(count):
        cache.more_ids[place + i] = ids[i]
    used[_USED_IDS] += count
    cache.slots[slot + _TWO] = np.uint64(count) | np.uint64(place) << _HALF
