"""What makes two lines the same: their letters and numbers, nothing else.

Lines are compared as CCNet compares paragraphs (arXiv:1911.00359, section 3.1): without case, accents, punctuation and
white space, and any number is like any other, so that "12 Comments" and "3 comments:" are one line. Numbers can be told
apart by an option: template lines of data ("Population: 12,345") are content on some sites.
"""

from __future__ import annotations

import unicodedata
from functools import cache
from itertools import chain

import numpy as np
import regex
from numpy.typing import NDArray

from stages.text.utf8 import read_only

NUMBER = 1  # in the table: a digit, where numbers are all alike; what it becomes is "0"
EXPANDS = 1 << 22  # in the table: not a character but a place in the list of expansions: length, then characters
MAX_EXPANSION = 18  # characters: U+FDFA

_UNSEEN = regex.compile(r"\p{Default_Ignorable_Code_Point}")
_RUN_OF_DIGITS = regex.compile("[0-9]+")


def folded(text: str, ignore_numbers: bool) -> str:
    """The letters and digits of a text, case-folded (NFKD) and without combining marks.

    Args:
        ignore_numbers: every run of digits becomes one "0", whatever stood between them.
    """
    kept = "".join(map(_folded_character, text))
    return _RUN_OF_DIGITS.sub("0", kept) if ignore_numbers else kept


def _folded_character(character: str) -> str:
    """What is left of a character. Marks go because a text may have them composed with letters, or not."""
    plain = unicodedata.normalize("NFKD", unicodedata.normalize("NFKD", character).casefold())
    return "".join(
        str(unicodedata.decimal(c, c))
        for c in plain
        if unicodedata.category(c)[0] in "LMN" and not unicodedata.combining(c) and not _UNSEEN.match(c)
    )


@cache
def fold_table(ignore_numbers: bool) -> tuple[NDArray[np.uint32], NDArray[np.uint8], NDArray[np.uint32]]:
    """What each code point becomes (0: it does not count), the same for ASCII alone, and the list of expansions.

    Takes half a second at the first call in a process.
    """
    table = np.zeros(0x110000, np.uint32)
    expansions: list[int] = []
    # all planes with assigned characters; surrogates and private use do not count
    for code in chain(range(0xD800), range(0xF900, 0x40000), range(0xE0000, 0xE1000)):
        becomes = [_in_table(c, ignore_numbers) for c in _folded_character(chr(code))]
        if len(becomes) == 1:
            table[code] = becomes[0]
        elif becomes:
            table[code] = EXPANDS | len(expansions)
            expansions += [len(becomes), *becomes]
    return read_only(table), read_only(table[:128].astype(np.uint8)), read_only(np.array(expansions, np.uint32))


def _in_table(character: str, ignore_numbers: bool) -> int:
    return NUMBER if ignore_numbers and character in "0123456789" else ord(character)
