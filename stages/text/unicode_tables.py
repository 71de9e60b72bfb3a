"""What the kernels must know of each character, as bits in one table indexed by code point.

The classes are not typed in: they are what spaCy's own character classes and Python's string methods say, asked once a
process.
"""

from __future__ import annotations

import re
import unicodedata
from functools import cache

import numpy as np
from numpy.typing import NDArray

SPACE = 1  # str.isspace()
ALPHABETIC = 1 << 1  # str.isalpha()
WORD = 1 << 2  # \w
DIGIT = 1 << 3  # \d
PUNCTUATION = 1 << 4  # in datatrove's PUNCTUATION_SET
UNICODE_PUNCTUATION = 1 << 5  # category P..
SENTENCE_END = 1 << 6  # ends a sentence for spaCy's sentencizer
# classes of spaCy's English tokenizer
LETTER = 1 << 7  # ALPHA: letters of the scripts that it knows
LOWER = 1 << 8
UPPER = 1 << 9  # letters without case are LOWER and UPPER
QUOTE = 1 << 10
ICON = 1 << 11
PREFIX = 1 << 12  # split off the start of a chunk
SUFFIX = 1 << 13  # split off the end of a chunk
BEFORE_FULL_STOP = 1 << 14  # a full stop after it is split off
HOST = 1 << 15  # may start or end a label of a host name in a URL
INFIX = 1 << 16  # a chunk may be split at it
ASCII_DIGIT = 1 << 17
ACTIVE = 1 << 18  # some rule of the tokenizer looks at it: a chunk of others is never split

CODE_POINTS = 0x110000
LAST_PLANES = 0x40000  # from here on there are no letters, punctuation or other characters that any rule names
_INFIXES = "….,+-*^–—~:<>=/"  # of the infix rules, besides icons
_NAMED_BY_RULES = _INFIXES + "0123456789'$@"  # characters that a rule names without any class


@cache
def character_table() -> NDArray[np.uint32]:
    """Bits of each code point. Takes about 0.2 s at the first call in a process, besides importing spaCy."""
    from datatrove.utils.text import PUNCTUATION_SET
    from spacy.lang import char_classes as spacy_classes
    from spacy.lang.en import English
    from spacy.pipeline import Sentencizer

    everything = np.arange(LAST_PLANES, dtype="<u4").tobytes().decode("utf-32-le", "surrogatepass")
    table = np.zeros(CODE_POINTS, np.uint32)

    def mark(bit: int, pattern: str) -> None:
        for run in re.finditer(pattern, everything):
            table[run.start() : run.end()] |= np.uint32(bit)

    lower, upper, quote = spacy_classes.ALPHA_LOWER, spacy_classes.ALPHA_UPPER, spacy_classes.CONCAT_QUOTES
    mark(SPACE, r"\s+")
    mark(WORD, r"\w+")
    mark(DIGIT, r"\d+")
    mark(LETTER, f"[{spacy_classes.ALPHA}]+")
    mark(LOWER, f"[{lower}]+")
    mark(UPPER, f"[{upper}]+")
    mark(QUOTE, f"[{quote}]+")
    mark(ICON | INFIX, f"[{spacy_classes.CONCAT_ICONS}]+")
    mark(BEFORE_FULL_STOP, rf"[0-9{lower}%²\-\+{spacy_classes.PUNCT}(?:{quote})]+")
    mark(HOST, r"[A-Za-z0-9\u00a1-\uffff]+")
    mark(PREFIX, _single_characters(English.Defaults.prefixes))
    mark(SUFFIX, _single_characters(English.Defaults.suffixes))
    for bit, characters in (
        (PUNCTUATION, PUNCTUATION_SET),
        (SENTENCE_END, Sentencizer.default_punct_chars),
        (ASCII_DIGIT, "0123456789"),
        (INFIX, _INFIXES),
        (ACTIVE, _NAMED_BY_RULES),
    ):
        table[[ord(character) for character in characters]] |= bit
    alphabetic = np.fromiter(map(str.isalpha, everything), bool, LAST_PLANES)
    punctuation = np.fromiter((c[0] == "P" for c in map(unicodedata.category, everything)), bool, LAST_PLANES)
    table[:LAST_PLANES][alphabetic] |= ALPHABETIC
    table[:LAST_PLANES][punctuation] |= UNICODE_PUNCTUATION
    table[(table & (PREFIX | SUFFIX | ICON)) != 0] |= ACTIVE
    return table


def _single_characters(rules: list[str]) -> str:
    """A class of the characters that rules name alone, as themselves or as a class. Other rules are left out."""
    alone = [rule for rule in rules if len(rule.strip().lstrip("\\")) == 1]
    classes = [rule[1:-1] for rule in rules if rule.startswith("[")]
    return f"[{''.join(alone + classes)}]+"
