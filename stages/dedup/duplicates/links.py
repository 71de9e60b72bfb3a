"""Which documents have a key in common: one partition of the records (key, location).

The documents of a key are linked to the least location among them, a star: as many links as other documents, however
many share the key. Stars of different keys that have documents in common are joined by ``components``.

Records are first moved into pieces by the hash of their key, so that the hash table of a piece stays in the core's own
cache; the links then take the place of records that have been read. Working memory is 16 bytes a record.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from stages.kernel import kernel

PIECE_RECORDS = 1 << 14  # 256 KiB; with the tables of a piece, 768 KiB: fits into a core's own cache of 1 MiB
SEEN_SLOTS = 16 * PIECE_RECORDS
MAX_PIECES = 1 << 12  # more would be written to at once than caches have lines for
NOWHERE = np.uint64(2**64 - 1)  # no location: marks empty slots of tables
_MULTIPLIER = np.uint64(0x9E3779B97F4A7C15)  # 2**64 divided by the golden ratio: the high bits depend on all others
_ONE, _SLOT_SHIFT = np.uint64(1), np.uint64(20)


@dataclass(frozen=True, slots=True)
class Links:
    """Distinct links of a partition, ascending by ``high``, then ``low``."""

    high: NDArray[np.uint64]  # (links,) location of a document
    low: NDArray[np.uint64]  # (links,) the least location with one of its keys; low < high


def star_links(keys: NDArray[np.uint64], locations: NDArray[np.uint64]) -> Links:
    """Link the documents of each key to the least location among them.

    The result does not depend on the order of the records.

    Args:
        keys: (records,) hashes, not necessarily distinct within a document.
        locations: (records,) part << 32 | row, less than ``NOWHERE``.
    """
    pieces = 1 << min(max(len(keys) // PIECE_RECORDS, 1).bit_length() - 1, MAX_PIECES.bit_length() - 1)
    records = np.empty((len(keys), 2), np.uint64)
    borders = _into_pieces(keys, locations, records, np.uint64(pieces.bit_length() - 1))
    count = _stars(records, borders)
    return Links(*distinct_pairs(records[:count, 0], records[:count, 1]))


def distinct_pairs(
    first: NDArray[np.uint64], second: NDArray[np.uint64]
) -> tuple[NDArray[np.uint64], NDArray[np.uint64]]:
    """Distinct pairs of locations, ascending by the first, then the second."""
    part_bits, row_bits = (max(bits) for bits in zip(_widths(first), _widths(second), strict=True))
    width = part_bits + row_bits
    if 2 * width <= 64:  # a pair fits into one number, and numpy sorts numbers by vector instructions
        packed = _packed(first, second, np.uint64(row_bits), np.uint64(width))
        packed.sort()
        return _unpacked(packed[: _distinct(packed)], np.uint64(row_bits), np.uint64(width))
    order = np.lexsort((second, first))
    first, second = first[order], second[order]
    is_new = np.ones(len(first), bool)
    is_new[1:] = (first[1:] != first[:-1]) | (second[1:] != second[:-1])
    return first[is_new], second[is_new]


@kernel
def _into_pieces(
    keys: NDArray[np.uint64], locations: NDArray[np.uint64], records: NDArray[np.uint64], bits: np.uint64
) -> NDArray[np.int64]:
    """Write (key, location) to ``records``, ordered by the first bits of the mixed key; return where pieces begin."""
    borders = np.zeros((1 << np.int64(bits)) + 1, np.int64)
    for key in keys:
        borders[_piece(key, bits) + _ONE] += 1
    for i in range(1, len(borders)):
        borders[i] += borders[i - 1]
    free = borders.copy()
    for i in range(len(keys)):
        piece = _piece(keys[i], bits)
        records[free[piece], 0] = keys[i]
        records[free[piece], 1] = locations[i]
        free[piece] += 1
    return borders


@kernel
def _piece(key: np.uint64, bits: np.uint64) -> np.uint64:
    return ((key * _MULTIPLIER) >> _ONE) >> (np.uint64(63) - bits)


@kernel
def _stars(records: NDArray[np.uint64], borders: NDArray[np.int64]) -> int:
    """Replace the records by links (high, low); return how many."""
    table = np.empty((PIECE_RECORDS, 2), np.uint64)
    seen = np.empty(SEEN_SLOTS, np.uint8)
    links = 0
    for piece in range(len(borders) - 1):
        first = borders[piece]
        last = _perhaps_shared(records, first, borders[piece + 1], seen)
        table = _least_locations(records, first, last, table)
        for i in range(first, last):
            key, location = records[i, 0], records[i, 1]
            least = table[_slot(table, key), 1]
            if location != least:
                records[links, 0] = location
                records[links, 1] = least
                links += 1
    return links


@kernel
def _perhaps_shared(records: NDArray[np.uint64], first: int, last: int, seen: NDArray[np.uint8]) -> int:
    """Move records of a piece that may share their key to its front; return where they end.

    Most keys are one document's alone. A table without keys, filled without a branch, finds most of these out.
    """
    mask, shift = np.uint64(len(seen) - 1), _SLOT_SHIFT
    seen[:] = 0
    for i in range(first, last):
        slot = ((records[i, 0] * _MULTIPLIER) >> shift) & mask
        seen[slot] = seen[slot] << 1 | 1  # 0, 1, 3, 7 ...
    end = first
    for i in range(first, last):
        key, location = records[i, 0], records[i, 1]
        records[end, 0] = key
        records[end, 1] = location
        end += seen[((key * _MULTIPLIER) >> shift) & mask] >> 1 & 1
    return end


@kernel
def _least_locations(
    records: NDArray[np.uint64], first: int, last: int, table: NDArray[np.uint64]
) -> NDArray[np.uint64]:
    """A table (slots, 2) of the keys of a piece and their least locations: the one given, unless it is too small."""
    table[:, 1] = NOWHERE
    used = 0
    for i in range(first, last):
        key, location = records[i, 0], records[i, 1]
        slot = _slot(table, key)
        if table[slot, 1] == NOWHERE:
            table[slot, 0] = key
            used += 1
            if 2 * used > len(table):
                table[slot, 1] = location
                table = _doubled(table)
                slot = _slot(table, key)
        table[slot, 1] = min(table[slot, 1], location)
    return table


@kernel
def _slot(table: NDArray[np.uint64], key: np.uint64) -> np.uint64:
    """Where a key is, or would be put."""
    mask = np.uint64(len(table) - 1)
    slot = ((key * _MULTIPLIER) >> _SLOT_SHIFT) & mask
    while table[slot, 1] != NOWHERE and table[slot, 0] != key:
        slot = (slot + _ONE) & mask
    return slot


@kernel
def _doubled(table: NDArray[np.uint64]) -> NDArray[np.uint64]:
    larger = np.full((2 * len(table), 2), NOWHERE, np.uint64)
    for i in range(len(table)):
        if table[i, 1] != NOWHERE:
            larger[_slot(larger, table[i, 0])] = table[i]
    return larger


@kernel
def _widths(locations: NDArray[np.uint64]) -> tuple[int, int]:
    """Bits of the largest part and of the largest row."""
    parts, rows = np.uint64(0), np.uint64(0)
    for location in locations:
        parts |= location >> np.uint64(32)
        rows |= location & np.uint64(0xFFFFFFFF)
    part_bits, row_bits = 0, 0
    while parts:
        part_bits, parts = part_bits + 1, parts >> _ONE
    while rows:
        row_bits, rows = row_bits + 1, rows >> _ONE
    return part_bits, row_bits


@kernel
def _packed(
    first: NDArray[np.uint64], second: NDArray[np.uint64], row_bits: np.uint64, width: np.uint64
) -> NDArray[np.uint64]:
    """Each pair as one number of the same order."""
    packed = np.empty(len(first), np.uint64)
    for i in range(len(first)):
        packed[i] = _narrow(first[i], row_bits) << width | _narrow(second[i], row_bits)
    return packed


@kernel
def _narrow(location: np.uint64, row_bits: np.uint64) -> np.uint64:
    return (location >> np.uint64(32)) << row_bits | (location & np.uint64(0xFFFFFFFF))


@kernel
def _wide(narrow: np.uint64, row_bits: np.uint64) -> np.uint64:
    return (narrow >> row_bits) << np.uint64(32) | (narrow & ((_ONE << row_bits) - _ONE))


@kernel
def _distinct(values: NDArray[np.uint64]) -> int:
    """Move the distinct ones of ascending values to the front; return how many."""
    count = 0
    for value in values:
        if count == 0 or value != values[count - 1]:
            values[count] = value
            count += 1
    return count


@kernel
def _unpacked(
    packed: NDArray[np.uint64], row_bits: np.uint64, width: np.uint64
) -> tuple[NDArray[np.uint64], NDArray[np.uint64]]:
    first, second = np.empty(len(packed), np.uint64), np.empty(len(packed), np.uint64)
    for i in range(len(packed)):
        first[i] = _wide(packed[i] >> width, row_bits)
        second[i] = _wide(packed[i] & ((_ONE << width) - _ONE), row_bits)
    return first, second
