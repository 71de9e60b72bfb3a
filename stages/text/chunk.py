"""One chunk (a run of characters without whitespace) spread out by character, for the rules that look at each.

An array int64[5, characters + 1] holds it; its rows are named here. Positions in a chunk are indices of characters.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from stages.kernel import kernel
from stages.text.words_hash import BASE, MODULUS, power, product, total

AT = 0  # byte at which the character starts; one more column: where the chunk ends
CODE = 1  # code point
KIND = 2  # its bits, see unicode_tables.py
HASH = 3  # hash of all bytes before the character; one more column: of the whole chunk
CUT = 4  # 1 where a word starts
ROWS = 5


@kernel
def code_size(first_byte: int) -> int:
    """Bytes of the UTF-8 character that begins with this byte."""
    if first_byte < 0x80:
        return 1
    if first_byte < 0xE0:
        return 2
    return 3 if first_byte < 0xF0 else 4


@kernel
def code_at(data: NDArray[np.uint8], i: int) -> int:
    """Code point of the UTF-8 character that begins at byte ``i``."""
    first = int(np.int64(data[i]))
    if first < 0x80:
        return first
    if first < 0xE0:
        return (first & 0x1F) << 6 | _low_bits(data, i + 1)
    if first < 0xF0:
        return (first & 0x0F) << 12 | _low_bits(data, i + 1) << 6 | _low_bits(data, i + 2)
    return (first & 0x07) << 18 | _low_bits(data, i + 1) << 12 | _low_bits(data, i + 2) << 6 | _low_bits(data, i + 3)


@kernel
def _low_bits(data: NDArray[np.uint8], i: int) -> int:
    return int(np.int64(data[i])) & 0x3F


@kernel
def spread(
    characters: NDArray[np.uint32], data: NDArray[np.uint8], start: int, end: int, chunk: NDArray[np.int64]
) -> None:
    """Fill the rows of ``chunk`` from the bytes ``start`` to ``end``, without any cut."""
    i, character, running = start, 0, np.uint64(0)
    while i < end:
        code = code_at(data, i)
        chunk[AT, character] = i
        chunk[CODE, character] = code
        chunk[KIND, character] = characters[code]
        chunk[HASH, character] = running
        chunk[CUT, character] = 0
        character += 1
        after = i + code_size(data[i])
        while i < after:
            running = total(product(running, BASE), np.uint64(data[i]) + np.uint64(1))
            i += 1
    chunk[AT, character] = end
    chunk[HASH, character] = running


@kernel
def hash_between(chunk: NDArray[np.int64], start: int, end: int) -> np.uint64:
    """Hash of the characters from ``start`` to ``end``."""
    whole, before = np.uint64(chunk[HASH, end]), np.uint64(chunk[HASH, start])
    if start == 0:
        return whole
    return total(whole, MODULUS - product(before, power(chunk[AT, end] - chunk[AT, start])))
