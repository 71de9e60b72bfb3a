"""What the splitting rules must know of each character, asked of the tokenizers library itself.

The library's regular expressions and its digits follow two different versions of Unicode, and neither is Python's (of
the `regex` package's letters it does not know 17,144), so a table made from anything else would split texts otherwise.
"""

from __future__ import annotations

import unicodedata
from functools import cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

LETTER = 1  # \p{L}
NUMBER = 2  # \p{N}
SPACE = 4  # \s
OTHER = 8  # none of these
ALONE = 16  # a digit that is always a pre-token of its own; it has no other bit
UPPER = 32  # \p{Lu}, \p{Lt}, \p{Lm}, \p{Lo} or \p{M}
LOWER = 64  # \p{Ll}, \p{Lm}, \p{Lo} or \p{M}
UNSTABLE = 128  # a text with such a character may change when it is normalised to NFC

VISIBLE = LETTER | NUMBER | OTHER
BLOCK_BITS = 7
_CODE_POINTS = 0x110000
# The others are surrogates, or in planes without letters, numbers, spaces and marks. Plane 14 has variation selectors.
_ASKED = (*range(0xD800), *range(0xE000, 0x40000), *range(0xE0000, 0xE1000))


class Classes(NamedTuple):
    """Bits of all characters in two levels: those of code point c are ``bits[blocks[c >> 7] << 7 | c & 127]``.

    Blocks that are equal are kept once. The first one is ASCII, so ``bits[byte]`` needs no first level.
    """

    blocks: NDArray[np.uint16]
    bits: NDArray[np.uint8]


@cache
def character_classes(digits_alone: bool) -> Classes:
    """The table, with or without digits that stand alone. Takes about a second at the first call of a process."""
    table = np.zeros(_CODE_POINTS, np.uint8)
    for bit, pattern in (
        (LETTER, r"\p{L}+"),
        (NUMBER, r"\p{N}+"),
        (SPACE, r"\s+"),
        (UPPER, r"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+"),
        (LOWER, r"[\p{Ll}\p{Lm}\p{Lo}\p{M}]+"),
    ):
        table[_matches(pattern)] |= bit
    table[(table & (LETTER | NUMBER | SPACE)) == 0] |= OTHER
    if digits_alone:
        table[_matches(None)] = ALONE
    table[_unstable()] |= UNSTABLE
    unique, blocks = np.unique(table.reshape(-1, 1 << BLOCK_BITS), axis=0, return_inverse=True)
    first = int(blocks[0])  # exchanged with the first, so that ASCII comes first
    unique[[0, first]] = unique[[first, 0]]
    swapped = np.where(blocks == first, 0, np.where(blocks == 0, first, blocks))
    return Classes(swapped.astype(np.uint16), unique.reshape(-1))


def _matches(pattern: str | None) -> NDArray[np.int64]:
    """Code points that the library finds by a regular expression, or, without one, as digits."""
    from tokenizers import Regex, pre_tokenizers

    codes = np.array(_ASKED)
    text = "".join(map(chr, _ASKED))
    if pattern is None:
        # between two letters, a digit is a piece of one character and everything else is in one with a letter
        pieces = pre_tokenizers.Digits(individual_digits=True).pre_tokenize_str("a" + "a".join(text) + "a")
        return np.array([codes[start // 2] for piece, (start, _) in pieces if len(piece) == 1 and piece != "a"])
    matched = np.ones(len(codes), bool)
    for _, (start, end) in pre_tokenizers.Split(Regex(pattern), "removed").pre_tokenize_str(text):
        matched[start:end] = False
    return codes[matched]


def _unstable() -> list[int]:
    """Marks, what composes with the character before it, what decomposes, and what this Python does not know yet.

    A text of other characters is in NFC in each version of Unicode, as later versions change no known character.
    """
    second = {*range(0x1161, 0x1176), *range(0x11A8, 0x11C3)}  # vowels and final consonants of Hangul
    unstable = set()
    for code in _ASKED:
        character = chr(code)
        parts = unicodedata.decomposition(character).split()
        if len(parts) == 2 and not parts[0].startswith("<"):
            second.add(int(parts[1], 16))
        changes = unicodedata.normalize("NFC", character) != character
        if changes or unicodedata.combining(character) or unicodedata.category(character) == "Cn":
            unstable.add(code)
    return sorted(unstable | second)
