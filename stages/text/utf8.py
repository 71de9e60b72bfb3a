"""Reading UTF-8 bytes in kernels: characters, white space, line ends, and segments of text that occur twice.

White space is what ``str.isspace`` says, line ends are those of ``str.splitlines``. Bytes that are no UTF-8 are
never read past the end they are given.

Loops over unsigned positions are compiled to vector instructions: signed ones might be negative, which means "from the
end", and that is looked at for each byte.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from stages.kernel import kernel

NEWLINE = np.uint8(10)
_MULTIPLIER = np.uint64(0x9E3779B97F4A7C15)  # 2**64 divided by the golden ratio: spreads keys over a table
_ZERO, _ONE = np.uint64(0), np.uint64(1)
_LOW_BITS, _HIGH_BITS = np.uint64(0x0101010101010101), np.uint64(0x8080808080808080)


def bytes_and_offsets(texts: pa.Array | pa.ChunkedArray) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """The UTF-8 bytes of a column of strings and where in them each text starts, both read-only.

    Bytes of large_string are not copied, unless the column has nulls or several chunks.

    Returns:
        data: bytes; those of text i are ``data[offsets[i]:offsets[i + 1]]``, none if it is null. Of a slice, there
            may be others before and behind.
        offsets: (texts + 1,).
    """
    texts = texts.cast(pa.large_string())
    if texts.null_count:
        texts = pc.fill_null(texts, "")
    if isinstance(texts, pa.ChunkedArray):
        texts = texts.combine_chunks()
    _, starts, data = texts.buffers()
    offsets = np.frombuffer(starts or bytes(8), np.int64)[texts.offset : texts.offset + len(texts) + 1]
    return read_only(np.frombuffer(data, np.uint8)), read_only(offsets)


def read_only(array: NDArray[Any]) -> NDArray[Any]:
    """Kernels are compiled for read-only input: most Arrow memory is, and they would be compiled anew for other."""
    array.flags.writeable = False
    return array


@kernel
def eight_bytes(data: NDArray[np.uint8], at: int) -> np.uint64:
    """``data[at:at + 8]`` as a little-endian number (compiled to one load)."""
    i = np.uint64(at)
    return (
        np.uint64(data[i])
        | np.uint64(data[i + _ONE]) << np.uint64(8)
        | np.uint64(data[i + np.uint64(2)]) << np.uint64(16)
        | np.uint64(data[i + np.uint64(3)]) << np.uint64(24)
        | np.uint64(data[i + np.uint64(4)]) << np.uint64(32)
        | np.uint64(data[i + np.uint64(5)]) << np.uint64(40)
        | np.uint64(data[i + np.uint64(6)]) << np.uint64(48)
        | np.uint64(data[i + np.uint64(7)]) << np.uint64(56)
    )


@kernel
def spread(key: np.uint64, bits: int) -> int:
    """A slot below ``2**bits`` for a key whose own bits may be uneven."""
    return int(np.int64((key ^ (key >> np.uint64(32))) * _MULTIPLIER >> np.uint64(64 - bits)))


@kernel
def table_bits(entries: int) -> int:
    """Smallest n >= 1 for which a table of ``2**n`` slots is at most half full."""
    bits = 1
    while (1 << bits) < 2 * entries:
        bits += 1
    return bits


@kernel
def characters(data: NDArray[np.uint8], start: int, end: int) -> int:
    """Code points of ``data[start:end]``."""
    found = 0
    for i in range(np.uint64(start), np.uint64(end)):
        found += (data[i] & np.uint8(0xC0)) != np.uint8(0x80)
    return found


@kernel
def count_byte(data: NDArray[np.uint8], start: int, end: int, byte: np.uint8) -> int:
    """Number of bytes of ``data[start:end]`` that are ``byte``."""
    found = 0
    for i in range(np.uint64(start), np.uint64(end)):
        found += data[i] == byte
    return found


@kernel
def copy_bytes(data: NDArray[np.uint8], start: int, end: int, out: NDArray[np.uint8], at: int) -> None:
    """Write ``data[start:end]`` to ``out`` from ``at`` on (many times faster than assigning slices)."""
    source, target = np.uint64(start), np.uint64(at)
    for i in range(np.uint64(end - start)):
        out[target + i] = data[source + i]


@kernel
def _has_byte(eight: np.uint64, byte: int) -> bool:
    """Whether one of eight bytes is ``byte`` (Mycroft's test for a zero byte)."""
    differing = eight ^ (_LOW_BITS * np.uint64(byte))
    return bool((differing - _LOW_BITS) & ~differing & _HIGH_BITS)


@kernel
def find_newline(data: NDArray[np.uint8], start: int, end: int) -> int:
    r"""First ``\n`` from ``start`` on; ``end`` if there is none."""
    i = start
    while i + 8 <= end and not _has_byte(eight_bytes(data, i), 10):
        i += 8
    while i < end and data[i] != NEWLINE:
        i += 1
    return i


@kernel
def most_newlines(data: NDArray[np.uint8], offsets: NDArray[np.int64]) -> int:
    r"""Number of ``\n`` in the text that has most of them."""
    most = 0
    for row in range(len(offsets) - 1):
        most = max(most, count_byte(data, offsets[row], offsets[row + 1], NEWLINE))
    return most


@kernel
def is_near_space(byte: np.uint8) -> bool:
    """False only if a byte is no part of any white space. Spares calls, which cost more than most lines take."""
    return bool(byte <= 0x20 or byte >= 0x80)


@kernel
def space_at(data: NDArray[np.uint8], at: int, end: int) -> int:
    """Length in bytes of the white-space character at ``at``; 0 if there is none."""
    byte = data[np.uint64(at)]
    if byte < 0x80:
        return 1 if (9 <= byte <= 13) or (28 <= byte <= 32) else 0
    if byte == 0xC2 and at + 1 < end:
        return 2 if data[at + 1] == 0x85 or data[at + 1] == 0xA0 else 0
    if 0xE1 <= byte <= 0xE3 and at + 2 < end:
        second, third = data[at + 1], data[at + 2]
        if byte == 0xE1:
            return 3 if second == 0x9A and third == 0x80 else 0  # U+1680
        if byte == 0xE3:
            return 3 if second == 0x80 and third == 0x80 else 0  # U+3000
        if second == 0x80:  # U+2000 to U+200A, U+2028, U+2029, U+202F
            return 3 if third <= 0x8A or third == 0xA8 or third == 0xA9 or third == 0xAF else 0
        return 3 if second == 0x81 and third == 0x9F else 0  # U+205F
    return 0


@kernel
def skip_space(data: NDArray[np.uint8], start: int, end: int) -> int:
    """``start`` moved past leading white space."""
    while start < end:
        length = space_at(data, start, end)
        if length == 0:
            break
        start += length
    return start


@kernel
def strip_end(data: NDArray[np.uint8], start: int, end: int) -> int:
    """``end`` moved before trailing white space."""
    while end > start:
        if data[end - 1] < 0x80:
            length = 1
        elif end - start >= 2 and data[end - 2] == 0xC2:
            length = 2
        elif end - start >= 3:
            length = 3
        else:
            break
        if space_at(data, end - length, end) != length:
            break
        end -= length
    return end


@kernel
def break_at(data: NDArray[np.uint8], at: int, end: int) -> int:
    r"""Length in bytes of the line end at ``at``, as ``str.splitlines`` sees it, ``\r\n`` as one; 0: there is none."""
    byte = data[at]
    if byte < 0x80:
        if byte == 13:
            return 2 if at + 1 < end and data[at + 1] == NEWLINE else 1
        return 1 if (10 <= byte <= 12) or (28 <= byte <= 30) else 0
    if byte == 0xC2:
        return 2 if at + 1 < end and data[at + 1] == 0x85 else 0
    if byte == 0xE2 and at + 2 < end and data[at + 1] == 0x80:
        return 3 if data[at + 2] == 0xA8 or data[at + 2] == 0xA9 else 0
    return 0


@kernel
def find_break(data: NDArray[np.uint8], start: int, end: int) -> int:
    """First line end from ``start`` on, as ``str.splitlines`` sees it; ``end`` if there is none."""
    i = start
    while i < end:
        if i + 8 <= end:
            eight = eight_bytes(data, i)
            has_control = ((eight - _LOW_BITS * np.uint64(0x20)) & ~eight & _HIGH_BITS) != _ZERO
            if not (has_control or _has_byte(eight, 0xC2) or _has_byte(eight, 0xE2)):
                i += 8
                continue
        stop = min(i + 8, end)
        while i < stop:
            byte = data[np.uint64(i)]
            if (byte < 0x20 or byte == 0xC2 or byte == 0xE2) and break_at(data, i, end):
                return i
            i += 1
    return end


@kernel
def code_point(data: NDArray[np.uint8], at: int, end: int) -> tuple[int, int]:
    """The character at ``at`` and its length in bytes."""
    byte = int(np.int64(data[at]))
    if byte < 0xC0 or at + 1 >= end:
        return byte, 1
    second = int(np.int64(data[at + 1])) & 0x3F
    if byte < 0xE0 or at + 2 >= end:
        return (byte & 0x1F) << 6 | second, 2
    third = int(np.int64(data[at + 2])) & 0x3F
    if byte < 0xF0 or at + 3 >= end:
        return (byte & 0x0F) << 12 | second << 6 | third, 3
    fourth = int(np.int64(data[at + 3])) & 0x3F
    return min(0x10FFFF, (byte & 0x07) << 18 | second << 12 | third << 6 | fourth), 4


@kernel
def _hash(data: NDArray[np.uint8], start: int, end: int) -> np.uint64:
    found = np.uint64(end - start)
    while start + 8 <= end:
        found = (found ^ eight_bytes(data, start)) * _MULTIPLIER
        found ^= found >> np.uint64(29)
        start += 8
    rest = _ZERO
    while start < end:
        rest = (rest << np.uint64(8)) | np.uint64(data[start])
        start += 1
    found = (found ^ rest) * _MULTIPLIER
    return found ^ (found >> np.uint64(29))


@kernel
def equal_bytes(data: NDArray[np.uint8], first: int, second: int, length: int) -> bool:
    """Whether ``data[first:first + length]`` and ``data[second:second + length]`` are the same."""
    i = 0
    while i + 8 <= length:
        if eight_bytes(data, first + i) != eight_bytes(data, second + i):
            return False
        i += 8
    while i < length:
        if data[first + i] != data[second + i]:
            return False
        i += 1
    return True


@kernel
def duplicates(
    data: NDArray[np.uint8],
    starts: NDArray[np.int64],
    ends: NDArray[np.int64],
    count: int,
    hashes: NDArray[np.uint64],
    slots: NDArray[np.int32],
) -> tuple[int, int]:
    """How many of ``count`` segments of ``data`` have occurred before, and the characters in those.

    ``hashes`` (at least ``count``) and ``slots`` (at least ``2**table_bits(count)``) are room to work in.
    """
    if count < 2:
        return 0, 0
    bits = table_bits(count)
    mask = (1 << bits) - 1
    slots[: mask + 1] = 0
    repeated, repeated_characters = 0, 0
    for i in range(count):
        start, end = starts[i], ends[i]
        key = _hash(data, start, end)
        hashes[i] = key
        slot = spread(key, bits)
        while slots[slot]:
            other = slots[slot] - 1
            length = ends[other] - starts[other]
            if hashes[other] == key and length == end - start and equal_bytes(data, starts[other], start, length):
                repeated += 1
                repeated_characters += characters(data, start, end)
                break
            slot = (slot + 1) & mask
        else:
            slots[slot] = i + 1
    return repeated, repeated_characters
