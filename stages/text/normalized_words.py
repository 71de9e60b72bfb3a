"""Words of many texts at once, as 64-bit hashes with their places in characters.

The words are those of ``stages.dedup.shingles.words``: case-folded (NFKC), without punctuation and whitespace; a
character of a script that is written without spaces is a word of its own.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from itertools import chain

import numpy as np
import pyarrow as pa
import regex
from numpy.typing import NDArray

from stages.dedup.shingles import UNSEEN, WORD
from stages.kernel import kernel
from stages.text.utf8 import bytes_and_offsets, read_only

# What the table of characters holds for each: 0 for one that ends a word, else the case-folded character, with these.
ALONE = 1 << 21  # it is a word of its own
EXPANDS = 1 << 22  # not a character but a place in the list of expansions: length, then characters with these bits
MAY_JOIN = 1 << 23  # what it becomes may depend on the character before it

# FNV-1a over code points; the multiplier is 2**64 divided by the golden ratio, so that all bits spread upwards. With
# 62 bits, the chance that any two of ten million different words have one hash is 1 in 100,000; a false match needs
# such a pair at the same place of two passages that are otherwise equal.
HASH_START = np.uint64(0xCBF29CE484222325)
HASH_FACTOR = np.uint64(0x9E3779B97F4A7C15)
FINAL_FACTOR = np.uint64(0xFF51AFD7ED558CCD)  # of MurmurHash3's finaliser
FINAL_SHIFT = np.uint64(33)
# the two lowest bits of a word's hash say what kind it is
NOT_A_NUMBER = np.uint64(1)  # it holds anything but digits
STANDS_ALONE = np.uint64(2)  # it is one character of a script that is written without spaces

_HANGUL_PARTS = r"\u1100-\u11FF\u3131-\u318E\uA960-\uA97C\uD7B0-\uD7FB\uFFA0-\uFFDC"
_JOINED = regex.compile(rf"\p{{NFKC_QC=No}}\p{{M}}|[\uFF9E\uFF9F]|[\uAC00-\uD7A3{_HANGUL_PARTS}][{_HANGUL_PARTS}]")
_JOINING = regex.compile(rf"[\uAC00-\uD7A3{_HANGUL_PARTS}]+|\X")


@dataclass(frozen=True, slots=True)
class Texts:
    """Texts as one buffer of UTF-8."""

    content: NDArray[np.uint8]
    offsets: NDArray[np.int64]  # one more than there are texts
    places: dict[int, NDArray[np.int32]]
    """For a text that had to be composed, by its number: the place in the original of each character, and the end."""

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def spans(
        self, text: NDArray[np.int32], starts: NDArray[np.int32], ends: NDArray[np.int32]
    ) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
        """Spans in the texts as they were given, from spans in what was scanned (characters)."""
        starts, ends = starts.copy(), ends.copy()
        for number in np.unique(text).tolist() if self.places else ():
            if (places := self.places.get(number)) is not None:
                here = text == number
                # where several characters became one, a span ends behind all of them
                ends[here] = places[np.searchsorted(places, places[ends[here] - 1], side="right")]
                starts[here] = places[starts[here]]
        return starts, ends


def texts_of(column: pa.Array | pa.ChunkedArray, with_places: bool = True) -> Texts:
    """The texts of a column of strings; null is empty. Without places, composing one is a hundred times as fast."""
    content, offsets = bytes_and_offsets(column)
    composed: dict[int, bytes] = {}
    places: dict[int, NDArray[np.int32]] = {}
    for number in np.flatnonzero(texts_with(content, offsets, characters()[0], MAY_JOIN)).tolist():
        text = column[number].as_py()
        if not unicodedata.is_normalized("NFC", text) or _JOINED.search(text):
            if with_places:
                composed[number], places[number] = _composed(text)
            else:
                composed[number] = unicodedata.normalize("NFKC", text).encode()
    if composed:
        content, offsets = with_texts(content, offsets, composed)
    return Texts(content, offsets, places)


def with_texts(
    content: NDArray[np.uint8], offsets: NDArray[np.int64], texts: Mapping[int, bytes]
) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Some texts, given by number in ascending order, exchanged for others."""
    pieces = []
    sizes = np.diff(offsets)
    done = offsets[0]
    for number, text in texts.items():
        pieces += [content[done : offsets[number]], np.frombuffer(text, np.uint8)]
        sizes[number] = len(text)
        done = offsets[number + 1]
    pieces.append(content[done : offsets[-1]])
    return read_only(np.concatenate(pieces)), read_only(np.concatenate([[0], np.cumsum(sizes)]))


def _composed(text: str) -> tuple[bytes, NDArray[np.int32]]:
    """NFKC, and where in ``text`` each of its characters comes from."""
    parts: list[str] = []
    places: list[int] = []
    for match in _JOINING.finditer(text):
        part = unicodedata.normalize("NFKC", match[0])
        parts.append(part)
        places += [match.start()] * len(part)
    return "".join(parts).encode(), np.array([*places, len(text)], np.int32)


@cache
def characters() -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """What each code point is to words, and the list of expansions."""
    table = np.zeros(0x110000, np.int32)
    expansions: list[int] = []
    kinds: dict[str, int] = {}

    def kind(character: str) -> int:
        if character not in kinds:
            found = WORD.findall(f"a{character}a")
            kinds[character] = 0 if len(found) == 2 else ord(character) | (ALONE if len(found) == 3 else 0)
        return kinds[character]

    joining = set("\uff9e\uff9f") | set(regex.findall(rf"[{_HANGUL_PARTS}]", "".join(map(chr, range(0x1100, 0xFFDD)))))
    # all planes with assigned characters; surrogates and private use end words
    for code in chain(range(0xD800), range(0xF900, 0x40000), range(0xE0000, 0xE1000)):
        character = chr(code)
        folded = UNSEEN.sub("", unicodedata.normalize("NFKC", character).casefold())
        if len(folded) == 1:
            table[code] = kind(folded)
        else:
            table[code] = EXPANDS | len(expansions)
            expansions += [len(folded), *map(kind, folded)]
        if unicodedata.combining(character):
            joining.add(character)
        pair = unicodedata.decomposition(character).split()
        if len(pair) == 2 and not pair[0].startswith("<"):
            joining.add(chr(int(pair[1], 16)))
    for character in joining:
        table[ord(character)] |= MAY_JOIN
    return table, np.array(expansions, np.int32)


@kernel
def decoded(content: NDArray[np.uint8], at: int, end: int) -> tuple[np.int64, int]:
    """The code point at a byte that is not ASCII, and where the next one begins. Needs no valid UTF-8."""
    first = np.int64(content[at])
    if first < 0xE0:
        size, code = 2, first & 0x1F
    elif first < 0xF0:
        size, code = 3, first & 0x0F
    else:
        size, code = 4, first & 0x07
    if first < 0xC0 or at + size > end:
        return np.int64(0), at + 1
    for i in range(at + 1, at + size):
        code = code << 6 | (np.int64(content[i]) & 0x3F)
    return min(code, np.int64(0x10FFFF)), at + size


@kernel
def texts_with(
    content: NDArray[np.uint8], offsets: NDArray[np.int64], table: NDArray[np.int32], bits: int
) -> NDArray[np.bool_]:
    """The texts with a character of which the table has any of these bits."""
    found = np.zeros(len(offsets) - 1, np.bool_)
    for text in range(len(offsets) - 1):
        at, end = offsets[text], offsets[text + 1]
        if is_ascii(content, at, end):
            continue
        while at < end and not found[text]:
            if content[at] < 0xC0:
                at += 1
            else:
                code, at = decoded(content, at, end)
                found[text] = table[code] & bits != 0
    return found


@kernel
def is_ascii(content: NDArray[np.uint8], begin: int, end: int) -> bool:
    """Whether a text is; without a way out of the loop it runs in vector registers."""
    bits = np.uint8(0)
    for i in range(np.uint64(begin), np.uint64(end)):
        bits |= content[i]
    return bool(bits < 0x80)


@kernel
def scan(
    content: NDArray[np.uint8],
    begin: int,
    end: int,
    table: NDArray[np.int32],
    expansions: NDArray[np.int32],
    hashes: NDArray[np.uint64],
    starts: NDArray[np.int32],
    ends: NDArray[np.int32],
) -> int:
    """Write hash, start and end (characters) of each word of one text; gives their number.

    The three arrays must have room for two words a byte: "\N{SQUARE CORPORATION}" is four words in three bytes.
    """
    count = 0
    is_open = False
    is_number = True
    word = HASH_START
    place = 0
    at = begin
    while at < end:
        code = np.int64(content[at])
        if code < 128:
            at += 1
        else:
            code, at = decoded(content, at, end)
        unit = np.int64(table[code]) & ~MAY_JOIN
        units = np.int64(1)
        expands = unit & EXPANDS != 0
        expansion = unit ^ EXPANDS
        if expands:
            units = np.int64(expansions[expansion])
        for i in range(units):
            if expands:
                unit = np.int64(expansions[expansion + 1 + i])
            if is_open and (unit == 0 or unit & ALONE):
                hashes[count] = _word_hash(word, is_number, False)
                count += 1
                is_open = False
            if unit:
                if not is_open:
                    word = HASH_START
                    is_number = True
                    starts[count] = place
                word = (word ^ np.uint64(unit)) * HASH_FACTOR
                is_number = is_number and bool(48 <= unit < 58)
                ends[count] = place + 1
                is_open = True
                if unit & ALONE:
                    hashes[count] = _word_hash(word, False, True)
                    count += 1
                    is_open = False
        place += 1
    if is_open:
        hashes[count] = _word_hash(word, is_number, False)
        count += 1
    return count


@kernel
def _word_hash(word: np.uint64, is_number: bool, is_alone: bool) -> np.uint64:
    kind = np.uint64(0)
    if not is_number:
        kind |= NOT_A_NUMBER
    if is_alone:
        kind |= STANDS_ALONE
    return (finished(word) & ~(NOT_A_NUMBER | STANDS_ALONE)) | kind


@kernel
def finished(value: np.uint64) -> np.uint64:
    """Spread all bits of a hash over all of its bits."""
    value = (value ^ (value >> FINAL_SHIFT)) * FINAL_FACTOR
    return value ^ (value >> FINAL_SHIFT)
