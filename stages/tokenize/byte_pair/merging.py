"""The merges of byte-pair encoding: of a pre-token's neighbouring symbols, the pair that was learned first is joined,
the leftmost of equals, until no pair is known (Sennrich et al., "Neural machine translation of rare words with subword
units", 2016)."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from stages.kernel import kernel
from stages.text.utf8 import code_point, table_bits
from stages.text.words_borrowed import inlined

NO_MERGE = np.uint32(2**32 - 1)
"""The rank of a pair that is never merged: above all others."""
SHORT = 96
"""Up to so many symbols are merged by looking at all pairs for each merge, which is faster than a heap then."""
ID_BITS, RANK_BITS = 22, 20
"""A pair and its rank are one word of 64 bits: four million ids and a million merges are a few times what is in use."""
KNOWN_BITS = 21
"""256 KiB, which a core's own cache holds: the table itself is of up to 2 MiB for 100,000 merges."""

_FIRST_SHIFT, _SECOND_SHIFT = np.uint64(ID_BITS + RANK_BITS), np.uint64(RANK_BITS)
_RANK_MASK = np.uint64(2**RANK_BITS - 1)
_FREE = np.uint64(2**64 - 1)
_PLACE_BITS, _PLACE_MASK = np.uint64(64 - RANK_BITS), np.uint64(2 ** (64 - RANK_BITS) - 1)
_NO_ID = np.uint32(2**32 - 1)
_ONE = np.uint64(1)
_KNOWN_SHIFT, _WORD_SHIFT, _WORD_MASK = np.uint64(64 - KNOWN_BITS), np.uint64(6), np.uint64(63)
_FIRST_BYTE_OF_TWO = np.uint8(0xC2)
_MULTIPLIER = np.uint64(0x9E3779B97F4A7C15)  # 2**64 divided by the golden ratio


class Merges(NamedTuple):
    """What is merged. The rank of a pair is its place in the order of learning, so the least is merged first."""

    byte_ids: NDArray[np.uint32]  # (256,): symbol of each byte
    byte_ranks: NDArray[np.uint32]  # (65536,): of two bytes, the first one times 256 plus the second
    pairs: NDArray[np.uint64]  # open addressing, at most half full: first and second symbol and rank
    known: NDArray[
        np.uint64
    ]  # 2 ** KNOWN_BITS bits: whether a pair of this hash is there; most that are asked for are not
    joined: NDArray[np.uint32]  # symbol that the pair of each rank becomes
    characters: NDArray[np.uint32]  # (65536,): symbol that a character may start as, see _start_symbol; else _NO_ID


def merges_of(byte_ids: NDArray[np.uint32], pairs: NDArray[np.uint32]) -> Merges:
    """Tables of what is merged.

    Args:
        byte_ids: (256,), id of each byte.
        pairs: (merges, 3), ids of the first, the second and the joined symbol, the first merge to make first. Of a
            pair that occurs twice, the last place counts. Ids have at most ID_BITS, places less than RANK_BITS.
    """
    merges = Merges(
        byte_ids,
        byte_ranks=np.empty(65536, np.uint32),
        pairs=np.full(1 << table_bits(len(pairs)), _FREE, np.uint64),
        known=np.zeros(1 << (KNOWN_BITS - 6), np.uint64),
        joined=pairs[:, 2].copy(),
        characters=np.full(65536, _NO_ID, np.uint32),
    )
    _fill_pairs(merges, pairs)
    _fill_byte_ranks(merges)
    _fill_characters(merges, pairs)
    return merges


@kernel
def _fill_pairs(merges: Merges, pairs: NDArray[np.uint32]) -> None:
    for rank in range(len(pairs)):
        key = _key(pairs[rank, 0], pairs[rank, 1])
        hashed = _hash(key)
        merges.pairs[_slot(merges, key, hashed)] = key | np.uint64(rank)
        bit = hashed >> _KNOWN_SHIFT
        merges.known[bit >> _WORD_SHIFT] |= _ONE << (bit & _WORD_MASK)


@kernel
def _fill_byte_ranks(merges: Merges) -> None:
    for first in range(256):
        for second in range(256):
            merges.byte_ranks[first << 8 | second] = _rank(merges, merges.byte_ids[first], merges.byte_ids[second])


@kernel
def _fill_characters(merges: Merges, pairs: NDArray[np.uint32]) -> None:
    symbols = max(pairs.max(), merges.byte_ids.max()) + 1
    continues = np.zeros(symbols, np.bool_)  # whether a symbol starts within a character
    for byte in range(0x80, 0xC0):
        continues[merges.byte_ids[byte]] = True
    for rank in range(len(pairs)):
        continues[pairs[rank, 2]] = continues[pairs[rank, 0]]
    to_left, to_right = np.full(symbols, NO_MERGE), np.full(symbols, NO_MERGE)
    for rank in range(len(pairs) - 1, -1, -1):
        to_left[pairs[rank, 1]] = rank
        if not continues[pairs[rank, 1]]:
            to_right[pairs[rank, 0]] = rank
    for code in range(0x80, 65536):
        merges.characters[code] = _start_symbol(merges, to_left, to_right, code)


@kernel
def _start_symbol(merges: Merges, to_left: NDArray[np.uint32], to_right: NDArray[np.uint32], code: int) -> np.uint32:
    """The symbol of a character, if in each text its bytes become one before any of them may merge with a neighbour.

    Then merging can start from it and gives the same ids. That is so if each merge within the character comes before
    all merges that its first symbol has with one to its left (``to_left``: the least rank of those, by symbol) and its
    last with one to its right that starts a character (``to_right``), and before all merges of the whole character.
    """
    symbols = np.empty(3, np.uint32)
    if code < 0x800:
        length = 2
        symbols[0] = merges.byte_ids[0xC0 | code >> 6]
    else:
        length = 3
        symbols[0], symbols[1] = merges.byte_ids[0xE0 | code >> 12], merges.byte_ids[0x80 | code >> 6 & 0x3F]
    symbols[length - 1] = merges.byte_ids[0x80 | code & 0x3F]
    latest = np.uint32(0)
    while length > 1:
        rank, at = _rank(merges, symbols[0], symbols[1]), 0
        if length == 3 and _rank(merges, symbols[1], symbols[2]) < rank:
            rank, at = _rank(merges, symbols[1], symbols[2]), 1
        if rank >= to_left[symbols[0]] or rank >= to_right[symbols[length - 1]]:  # also if there is no merge
            return _NO_ID
        latest = max(latest, rank)
        symbols[at] = merges.joined[rank]
        symbols[1] = symbols[length - 1] if at == 0 else symbols[1]
        length -= 1
    return symbols[0] if latest < to_left[symbols[0]] and latest < to_right[symbols[0]] else _NO_ID


@inlined
def _key(first: np.uint32, second: np.uint32) -> np.uint64:
    return np.uint64(first) << _FIRST_SHIFT | np.uint64(second) << _SECOND_SHIFT


@inlined
def _hash(key: np.uint64) -> np.uint64:
    return (key ^ (key >> np.uint64(29))) * _MULTIPLIER


@inlined
def _slot(merges: Merges, key: np.uint64, hashed: np.uint64) -> np.uint64:
    """Place of a pair in the table, or of the free slot for it."""
    mask = np.uint64(len(merges.pairs) - 1)
    slot = (hashed ^ (hashed >> np.uint64(32))) & mask
    while merges.pairs[slot] & ~_RANK_MASK != key and merges.pairs[slot] != _FREE:
        slot = (slot + _ONE) & mask
    return slot


@inlined
def _rank(merges: Merges, first: np.uint32, second: np.uint32) -> np.uint32:
    key = _key(first, second)
    hashed = _hash(key)
    bit = hashed >> _KNOWN_SHIFT
    if not merges.known[bit >> _WORD_SHIFT] >> (bit & _WORD_MASK) & _ONE:
        return NO_MERGE
    entry = merges.pairs[_slot(merges, key, hashed)]
    return NO_MERGE if entry == _FREE else np.uint32(entry & _RANK_MASK)


@inlined
def merge(
    merges: Merges,
    data: NDArray[np.uint8],
    start: int,
    length: int,
    symbols: NDArray[np.uint32],
    ranks: NDArray[np.uint32],
) -> int:
    """Ids of the bytes ``data[start:start + length]``, whole characters, written to ``symbols``. Returns their number.

    ``symbols`` and ``ranks`` (room to work in) have at least ``length`` entries.
    """
    count, at, end = 0, start, start + length
    while at < end:
        symbol, size = merges.byte_ids[data[at]], 1
        if data[at] >= _FIRST_BYTE_OF_TWO:
            code, code_size = code_point(data, at, end)
            if code < 65536 and merges.characters[code] != _NO_ID:
                symbol, size = merges.characters[code], code_size
        symbols[count] = symbol
        count += 1
        at += size
    if count == length:
        for i in range(count - 1):
            ranks[i] = merges.byte_ranks[np.int64(data[start + i]) << 8 | np.int64(data[start + i + 1])]
    else:
        for i in range(count - 1):
            ranks[i] = _rank(merges, symbols[i], symbols[i + 1])
    if count <= SHORT:
        return _merge_short(merges, count, symbols, ranks)
    return _merge_long(merges, count, symbols, ranks)


@kernel
def merged_to_one(
    merges: Merges, data: NDArray[np.uint8], offsets: NDArray[np.int64], ids: NDArray[np.uint32]
) -> NDArray[np.bool_]:
    """Whether merging each text gives just the one id that is said of it."""
    longest = 0
    for text in range(len(ids)):
        longest = max(longest, offsets[text + 1] - offsets[text])
    symbols, ranks = np.empty(longest, np.uint32), np.empty(longest, np.uint32)
    agree = np.empty(len(ids), np.bool_)
    for text in range(len(ids)):
        start = offsets[text]
        count = merge(merges, data, start, offsets[text + 1] - start, symbols, ranks)
        agree[text] = count == 1 and symbols[0] == ids[text]
    return agree


@kernel
def _merge_short(merges: Merges, length: int, symbols: NDArray[np.uint32], ranks: NDArray[np.uint32]) -> int:
    """Merge symbols whose ranks with the next one are in ``ranks``. The time is quadratic in their number."""
    while True:
        best = NO_MERGE
        for i in range(np.uint64(length - 1)):  # compiled to vector instructions, which do not tell the place
            best = min(best, ranks[i])
        if best == NO_MERGE:
            return length
        at = 0
        while ranks[np.uint64(at)] != best:
            at += 1
        symbols[at] = merges.joined[best]
        length -= 1
        for i in range(np.uint64(at + 1), np.uint64(length)):
            symbols[i] = symbols[i + _ONE]
        for i in range(np.uint64(at + 1), np.uint64(length)):
            ranks[i - _ONE] = ranks[i]
        if at > 0:
            ranks[at - 1] = _rank(merges, symbols[at - 1], symbols[at])
        if at + 1 < length:
            ranks[at] = _rank(merges, symbols[at], symbols[at + 1])


@kernel
def _merge_long(merges: Merges, length: int, symbols: NDArray[np.uint32], ranks: NDArray[np.uint32]) -> int:
    """As `_merge_short`, in time n log n, by a linked list of symbols and a heap of ranks and places.

    What the heap says of a place may be out of date: it counts if ``ranks`` agrees. Takes 40 bytes a symbol.
    """
    after, before = np.empty(length, np.int64), np.empty(length, np.int64)
    heap = np.empty(3 * length, np.uint64)  # at most one entry a pair at first, and two for each merge
    size = 0
    for i in range(length):
        after[i], before[i] = i + 1, i - 1
        if i < length - 1:
            size = _push(heap, size, ranks[i], i)
    while size:
        best, at = np.uint32(heap[0] >> _PLACE_BITS), int(np.int64(heap[0] & _PLACE_MASK))
        size = _pop(heap, size)
        if symbols[at] == _NO_ID or ranks[at] != best:
            continue
        second = after[at]
        following, previous = after[second], before[at]
        symbols[at], symbols[second] = merges.joined[best], _NO_ID
        after[at], ranks[at] = following, NO_MERGE
        if following < length:
            before[following] = at
            ranks[at] = _rank(merges, symbols[at], symbols[following])
            size = _push(heap, size, ranks[at], at)
        if previous >= 0:
            ranks[previous] = _rank(merges, symbols[previous], symbols[at])
            size = _push(heap, size, ranks[previous], previous)
    count, at = 0, 0
    while at < length:
        symbols[count] = symbols[at]
        count += 1
        at = after[at]
    return count


@inlined
def _push(heap: NDArray[np.uint64], size: int, rank: np.uint32, place: int) -> int:
    """Returns the size of the heap, which has grown by one if there is a merge."""
    if rank == NO_MERGE:
        return size
    entry = np.uint64(rank) << _PLACE_BITS | np.uint64(place)
    at = size
    while at > 0 and entry < heap[(at - 1) >> 1]:
        heap[at] = heap[(at - 1) >> 1]
        at = (at - 1) >> 1
    heap[at] = entry
    return size + 1


@inlined
def _pop(heap: NDArray[np.uint64], size: int) -> int:
    size -= 1
    entry = heap[size]
    at = 0
    while 2 * at + 1 < size:
        below = 2 * at + 1
        if below + 1 < size and heap[below + 1] < heap[below]:
            below += 1
        if entry < heap[below]:
            break
        heap[at] = heap[below]
        at = below
    heap[at] = entry
    return size
