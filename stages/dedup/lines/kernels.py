"""Inner loops: lines of many texts and their hashes, counts by hash, and cutting."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from stages.dedup.lines.folding import EXPANDS, MAX_EXPANSION, NUMBER
from stages.kernel import kernel
from stages.text.instructions import trailing_zeros
from stages.text.utf8 import (
    break_at,
    code_point,
    copy_bytes,
    eight_bytes,
    is_near_space,
    skip_space,
    spread,
    table_bits,
)

Bytes = NDArray[np.uint8]
Hashes = NDArray[np.uint64]
Places = NDArray[np.int64]

CHUNK = 4096  # bytes folded before they are hashed
ROOM = 3 * MAX_EXPANSION * CHUNK // 2 + 64  # bytes that a chunk may become, and those left of the one before
LONG = np.uint64(1)  # lowest bit of a unit's hash: it is long enough for the rule over the whole corpus

_START = np.uint64(0xCBF29CE484222325)
_FACTOR = np.uint64(0x9E3779B97F4A7C15)  # 2**64 divided by the golden ratio
_MIX_1, _MIX_2 = np.uint64(0xFF51AFD7ED558CCD), np.uint64(0xC4CEB9FE1A85EC53)  # MurmurHash3's fmix64
_29, _33 = np.uint64(29), np.uint64(33)
_ZERO_DIGIT = np.uint32(ord("0"))


@kernel
def mixed(value: np.uint64) -> np.uint64:
    """Spread all bits of a hash over all of its bits."""
    value = (value ^ (value >> _33)) * _MIX_1
    value = (value ^ (value >> _33)) * _MIX_2
    return value ^ (value >> _33)


@kernel
def _hash_words(hashed: np.uint64, data: Bytes, size: int) -> np.uint64:
    """Take the next ``size`` bytes, a multiple of eight, into a hash."""
    for at in range(0, size, 8):
        hashed = (hashed ^ eight_bytes(data, at)) * _FACTOR
        hashed ^= hashed >> _29
    return hashed


@kernel
def _hash_end(hashed: np.uint64, data: Bytes, start: int, end: int, size: int) -> np.uint64:
    """Take the last bytes, fewer than eight, and the number of all into a hash."""
    rest = np.uint64(size)
    for at in range(start, end):
        rest = (rest << np.uint64(8)) ^ np.uint64(data[at])
    return mixed((hashed ^ rest) * _FACTOR)


@kernel
def _write(code: np.uint32, room: Bytes, at: int) -> int:
    """Append a character: ASCII as it is, others as three bytes of seven bits."""
    if code < 0x80:
        room[at] = code
        return at + 1
    room[at] = 0x80 | (code >> 14)
    room[at + 1] = 0x80 | ((code >> 7) & 0x7F)
    room[at + 2] = 0x80 | (code & 0x7F)
    return at + 3


@kernel
def hash_folded(
    data: Bytes,
    start: int,
    end: int,
    table: NDArray[np.uint32],
    ascii_table: Bytes,
    expansions: NDArray[np.uint32],
    room: Bytes,
) -> tuple[np.uint64, int]:
    """Hash of ``folded`` text, and its number of characters.

    Args:
        table: of ``fold_table``, as ``ascii_table`` and ``expansions``.
        room: ``ROOM`` bytes to work in.
    """
    hashed, size, written, wide = _START, 0, 0, 0
    behind_number = -1  # where the next character goes if it follows a number: a digit then says nothing more
    i = start
    while i < end:
        stop = min(end, i + CHUNK)
        while i < stop:
            byte = data[np.uint64(i)]
            if byte < 0x80:
                i += 1
                becomes = ascii_table[np.uint64(byte)]
                if becomes != NUMBER:
                    room[np.uint64(written)] = becomes
                    written += becomes != 0
                elif written != behind_number:
                    written = behind_number = _write(_ZERO_DIGIT, room, written)
                continue
            point, length = code_point(data, i, end)
            i += length
            code = table[point]
            first, units = np.int64(0), np.int64(1)
            if code & EXPANDS:
                first = np.int64(code ^ np.uint32(EXPANDS)) + 1
                units = np.int64(expansions[first - 1])
            for unit in range(units):
                if first:
                    code = expansions[first + unit]
                if code == NUMBER:
                    if written != behind_number:
                        written = behind_number = _write(_ZERO_DIGIT, room, written)
                elif code:
                    wide += code >= 0x80
                    written = _write(code, room, written)
        whole = written & ~7
        hashed = _hash_words(hashed, room, whole)
        for at in range(written - whole):
            room[at] = room[whole + at]
        size += whole
        written -= whole
        behind_number -= whole
    return _hash_end(hashed, room, 0, written, size + written), size + written - 2 * wide


@kernel
def hash_strings(data: Bytes, offsets: Places) -> Hashes:
    """Hash of each string, as it is."""
    hashes = np.empty(len(offsets) - 1, np.uint64)
    for row in range(len(hashes)):
        start, end = offsets[row], offsets[row + 1]
        hashed = _START
        at = start
        while at + 8 <= end:
            hashed = (hashed ^ eight_bytes(data, at)) * _FACTOR
            hashed ^= hashed >> _29
            at += 8
        hashes[row] = _hash_end(hashed, data, at, end, end - start)
    return hashes


@kernel
def _may_break(data: Bytes, start: int, marks: Bytes) -> int:
    """Mark the bytes with which a line end may begin (compiled to vector instructions); gives their number."""
    source = np.uint64(start)
    for i in range(np.uint64(len(marks))):
        byte = data[source + i]
        marks[i] = ((byte >= 10) & (byte <= 13)) | ((byte >= 28) & (byte <= 30)) | (byte == 0xC2) | (byte == 0xE2)
    found = 0
    for i in range(np.uint64(len(marks))):
        found += marks[i]
    return found


@kernel
def _next_break(data: Bytes, at: int, end: int, marks: Bytes, marked_from: int) -> int:
    """First line end from ``at`` on; ``end`` if there is none."""
    while at < end:
        if at + 8 <= end:
            eight = eight_bytes(marks, at - marked_from)
            if not eight:
                at += 8
                continue
            at += trailing_zeros(eight) >> 3
        if marks[np.uint64(at - marked_from)] and break_at(data, at, end):
            return at
        at += 1
    return end


@kernel
def _is_blank(data: Bytes, start: int, end: int) -> bool:
    while start < end and data[np.uint64(start)] == 32:
        start += 1
    return start == end or (is_near_space(data[start]) and skip_space(data, start, end) == end)


@kernel
def split_units(data: Bytes, offsets: Places, are_paragraphs: bool) -> tuple[Places, Places, Places]:
    """Lines of each text that are not blank, or its paragraphs: runs of such lines.

    Line ends are those of ``str.splitlines``, blank is what ``str.isspace`` says.

    Returns:
        First byte and end of each unit, without its line end; the number of each text's first unit, and of all.
    """
    origin = offsets[0]
    marks = np.empty(offsets[-1] - origin, np.uint8)
    most = _may_break(data, origin, marks) + len(offsets)
    starts, ends = np.empty(most, np.int64), np.empty(most, np.int64)
    firsts = np.zeros(len(offsets), np.int64)
    count = 0
    for row in range(len(offsets) - 1):
        at, end = offsets[row], offsets[row + 1]
        goes_on = False
        while at < end:
            line_end = _next_break(data, at, end, marks, origin)
            if _is_blank(data, at, line_end):
                goes_on = False
            elif goes_on:
                ends[count - 1] = line_end
            else:
                starts[count] = at
                ends[count] = line_end
                count += 1
                goes_on = are_paragraphs
            at = line_end + break_at(data, line_end, end) if line_end < end else end
        firsts[row + 1] = count
    return starts[:count], ends[:count], firsts


@kernel
def hash_units(
    data: Bytes,
    starts: Places,
    ends: Places,
    table: NDArray[np.uint32],
    ascii_table: Bytes,
    expansions: NDArray[np.uint32],
    min_characters: int,
    min_long: int,
) -> Hashes:
    """Hash of each unit with the bit ``LONG`` from ``min_long`` folded characters on; 0 for too short ones."""
    hashes = np.empty(len(starts), np.uint64)
    room = np.empty(ROOM, np.uint8)
    for unit in range(len(starts)):
        hashed, characters = hash_folded(data, starts[unit], ends[unit], table, ascii_table, expansions, room)
        if characters < min_characters:
            hashes[unit] = np.uint64(0)
        else:
            hashes[unit] = (hashed & ~LONG) | (LONG if characters >= min_long else np.uint64(0))
            if hashes[unit] == np.uint64(0):
                hashes[unit] = np.uint64(2)
    return hashes


@kernel
def is_first_in_text(hashes: Hashes, firsts: Places) -> NDArray[np.bool_]:
    """Whether a unit, of those whose hash is not 0, is the first of its hash in its text."""
    is_first = np.zeros(len(hashes), np.bool_)
    most = 0
    for row in range(len(firsts) - 1):
        most = max(most, firsts[row + 1] - firsts[row])
    slots = np.zeros(1 << table_bits(most), np.uint64)
    for row in range(len(firsts) - 1):
        bits = table_bits(firsts[row + 1] - firsts[row])
        mask = (1 << bits) - 1
        slots[: mask + 1] = 0
        for unit in range(firsts[row], firsts[row + 1]):
            wanted = hashes[unit]
            if wanted:
                slot = spread(wanted, bits)
                while slots[slot] and slots[slot] != wanted:
                    slot = (slot + 1) & mask
                is_first[unit] = slots[slot] == 0
                slots[slot] = wanted
    return is_first


@kernel
def _bits(keys: Hashes) -> int:
    bits = 0
    while (1 << bits) < len(keys):
        bits += 1
    return bits


@kernel
def tally(wanted: Hashes, ranks: Hashes, keys: Hashes, documents: NDArray[np.uint32], best: Hashes) -> int:
    """Count hashes (0: none) in an open hash table, and keep the lowest rank of each; gives the number of new ones.

    Args:
        keys: (2**bits,) 0 where a slot is free, as in ``documents`` and ``best``.
    """
    mask = len(keys) - 1
    bits = _bits(keys)
    new = 0
    for i in range(len(wanted)):
        if wanted[i]:
            slot = spread(wanted[i], bits)
            while keys[slot] and keys[slot] != wanted[i]:
                slot = (slot + 1) & mask
            if not keys[slot]:
                keys[slot] = wanted[i]
                best[slot] = ranks[i]
                new += 1
            documents[slot] += np.uint32(1)
            best[slot] = min(best[slot], ranks[i])
    return new


@kernel
def move_tally(
    old_keys: Hashes,
    old_documents: NDArray[np.uint32],
    old_best: Hashes,
    keys: Hashes,
    documents: NDArray[np.uint32],
    best: Hashes,
) -> None:
    """Fill a larger hash table with what a smaller one holds."""
    mask = len(keys) - 1
    bits = _bits(keys)
    for i in range(len(old_keys)):
        if old_keys[i]:
            slot = spread(old_keys[i], bits)
            while keys[slot]:
                slot = (slot + 1) & mask
            keys[slot], documents[slot], best[slot] = old_keys[i], old_documents[i], old_best[i]


@kernel
def look_up(
    wanted: Hashes, keys: Hashes, documents: NDArray[np.uint32], best: Hashes
) -> tuple[NDArray[np.uint32], Hashes]:
    """Count and lowest rank of each hash; 0 of those that are not in the table."""
    mask = len(keys) - 1
    bits = _bits(keys)
    counts, ranks = np.zeros(len(wanted), np.uint32), np.zeros(len(wanted), np.uint64)
    for i in range(len(wanted)):
        if wanted[i]:
            slot = spread(wanted[i], bits)
            while keys[slot] and keys[slot] != wanted[i]:
                slot = (slot + 1) & mask
            counts[i], ranks[i] = documents[slot], best[slot]
    return counts, ranks


@kernel
def pair_keys(units: Hashes, domains: Hashes) -> Hashes:
    """One hash for a unit on a domain; 0 where there is no domain."""
    keys = np.zeros(len(units), np.uint64)
    for i in range(len(units)):
        if domains[i]:
            keys[i] = max(mixed(units[i] * _FACTOR + domains[i]), np.uint64(1))
    return keys


@kernel
def places_in(hashes: Hashes, firsts: Places, wanted: Hashes, wanted_firsts: Places) -> Places:
    """Where each unit's hash is among the ``wanted`` ones of its text, which are sorted; -1 for others."""
    places = np.full(len(hashes), -1, np.int64)
    for row in range(len(firsts) - 1):
        begin, end = wanted_firsts[row], wanted_firsts[row + 1]
        for unit in range(firsts[row], firsts[row + 1]):
            low, high = begin, end
            while low < high:
                middle = (low + high) // 2
                if wanted[middle] < hashes[unit]:
                    low = middle + 1
                else:
                    high = middle
            if low < end and wanted[low] == hashes[unit]:
                places[unit] = low
    return places


@kernel
def _breaks(data: Bytes, start: int, end: int) -> int:
    """Number of line ends between two units."""
    found = 0
    while start < end:
        length = break_at(data, start, end)
        found += length > 0
        start += max(1, length)
    return found


@kernel
def cut_units(
    data: Bytes, offsets: Places, starts: Places, ends: Places, firsts: Places, is_cut: NDArray[np.bool_]
) -> tuple[Bytes, Places]:
    r"""Bytes and offsets of the texts without the units that are cut.

    What stands between two units that follow each other stays as it is. Where units were cut between two that stay,
    these are divided by one ``\n``, or two if there was a blank line or the units are paragraphs. A text that begins
    or ends with a cut begins or ends with a unit.
    """
    out = np.empty(offsets[-1] - offsets[0] + 1, np.uint8)
    out_offsets = np.zeros(len(offsets), np.int64)
    at = 0
    for row in range(len(offsets) - 1):
        position = offsets[row]  # what lies before it is written or cut
        has_cut, has_unit, has_blank = False, False, False
        for unit in range(firsts[row], firsts[row + 1]):
            if has_unit or has_cut:
                has_blank |= _breaks(data, position, starts[unit]) > 1
            if is_cut[unit]:
                has_cut = True
                position = ends[unit]
                continue
            if not has_cut:
                copy_bytes(data, position, starts[unit], out, at)
                at += starts[unit] - position
            elif has_unit:
                out[at] = 10
                at += 1
                if has_blank:
                    out[at] = 10
                    at += 1
            copy_bytes(data, starts[unit], ends[unit], out, at)
            at += ends[unit] - starts[unit]
            position = ends[unit]
            has_cut, has_unit, has_blank = False, True, False
        if not has_cut:
            copy_bytes(data, position, offsets[row + 1], out, at)
            at += offsets[row + 1] - position
        out_offsets[row + 1] = at
    return out[:at], out_offsets


@kernel
def count_words(data: Bytes, offsets: Places) -> NDArray[np.int32]:
    """Words of each text: runs of characters between ASCII white space, and each character of scripts that are written
    without spaces: from U+3000 to U+9FFF (Chinese, Japanese), from U+0E00 to U+10BF (Thai, Lao, Tibetan, Burmese), and
    from U+1780 to U+17FF (Khmer)."""
    counts = np.zeros(len(offsets) - 1, np.int32)
    for row in range(len(counts)):
        start, end = np.uint64(offsets[row]), np.uint64(offsets[row + 1])
        found = 0
        if start < end:
            found += data[start] > 32
        for i in range(start, end):
            found += (data[i] >= 0xE3) & (data[i] <= 0xE9)
        for i in range(start + np.uint64(1), end):
            before = data[i - np.uint64(1)]
            found += (data[i] > 32) & (before <= 32)
            found += (before == 0xE0) & (data[i] >= 0xB8)
            found += (before == 0xE1) & ((data[i] <= 0x82) | (data[i] == 0x9E) | (data[i] == 0x9F))
        counts[row] = found
    return counts
