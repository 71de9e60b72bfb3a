"""Words as datatrove 0.10.1 compares documents by: its ``simplify_text``, then spaCy's blank English tokenizer.

``simplify_text`` lowers case, makes each number "0", each punctuation mark a space, and drops diacritics (NFD without
category Mn). What is left is letters, nearly all of which spaCy leaves alone: only chunks of other characters and a few
contractions ("dont" is "do nt") go through its rules, by the kernels of ``stages.text.words``.
"""

from __future__ import annotations

import unicodedata
from functools import cache
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import regex
from numpy.typing import NDArray

from pipeline.errors import StageError
from stages.kernel import kernel
from stages.text.chunk import AT, CODE, CUT, code_at, code_size, spread
from stages.text.folded_words import BLOCK, FACTOR, FIRST, SECOND, SHORT, Room, append, copy_sixteen, fold_block, mark
from stages.text.instructions import eight_bytes, trailing_zeros
from stages.text.normalized_words import EXPANDS, decoded, texts_with, with_texts
from stages.text.unicode_tables import ACTIVE
from stages.text.utf8 import bytes_and_offsets
from stages.text.words_chunk import cut_chunk, lead, may_be_special
from stages.text.words_hash import hash_of
from stages.text.words_rules import SPECIAL_STATE, Rules, special_parts

CONTEXT = 1 << 23  # what a character becomes depends on its neighbours; beside the bits of ``normalized_words``
_BREAK = 1  # byte that stands for a dropped character: digits on both sides of it are two numbers
_ZERO, _NINE, _FULL_STOP, _COMMA, _SPACE = ord("0"), ord("9"), ord("."), ord(","), ord(" ")
_ASCII_SIGNS = set("`;<=>")  # what NFD makes of characters that are no punctuation for datatrove
_ALL, _ONE, _NO_BITS = np.uint64(0xFFFFFFFFFFFFFFFF), np.uint64(1), np.uint64(0)
_LETTER_BITS, _OTHER_BITS = np.uint64(0x4040404040404040), np.uint64(0xC0C0C0C0C0C0C0C0)
JOINED_SPECIALS = {"‘s": ("‘", "s"), "<space>": ("<", "space", ">")}
"""Special cases whose parts survive and may meet once a chunk has been split (see ``words_joins.py``): "<" is what NFD
leaves of U+226E."""


def _joined_tables() -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.bool_]]:
    """Of JOINED_SPECIALS: their numbers of characters, the characters, and whether a part begins there."""
    sizes = np.array([len(text) for text in JOINED_SPECIALS])
    codes, cuts = np.zeros((len(sizes), sizes.max()), np.int64), np.zeros((len(sizes), sizes.max()), np.bool_)
    for row, (text, parts) in enumerate(JOINED_SPECIALS.items()):
        codes[row, : len(text)] = [ord(character) for character in text]
        cuts[row, np.cumsum([0, *map(len, parts[:-1])])] = True
    return sizes, codes, cuts


_JOINED_SIZES, _JOINED_CODES, _JOINED_CUTS = _joined_tables()


class Simplified(NamedTuple):
    """Working memory for the words of one text."""

    joined: NDArray[np.uint8]  # the words with a space behind each
    starts: NDArray[np.int64]  # of each word, and where one more would start


def simplified_for(folded_bytes: int) -> Simplified:
    """Working memory for texts of up to so many bytes once folded."""
    return Simplified(np.empty(2 * folded_bytes + BLOCK, np.uint8), np.empty(folded_bytes + 2, np.int64))


def contextual_texts(column: pa.Array | pa.ChunkedArray) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Bytes and offsets of the texts, those in which neighbours matter prepared so that they no longer do."""
    content, offsets = bytes_and_offsets(column)
    prepared = {}
    for number in np.flatnonzero(texts_with(content, offsets, simplification()[0], CONTEXT)).tolist():
        text = column[number].as_py().lower()  # a sigma at the end of a word
        prepared[number] = _combining().sub(lambda run: unicodedata.normalize("NFD", run[0]), text).encode()
    return with_texts(content, offsets, prepared) if prepared else (content, offsets)


@cache
def _combining() -> regex.Pattern[str]:
    """Runs of marks that NFD may bring into another order."""
    marks = "".join(chr(code) for code in range(0x110000) if unicodedata.combining(chr(code)))
    return regex.compile(f"[{marks}]{{2,}}")


@cache
def simplification() -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """What each character becomes, as in ``normalized_words.characters``; 0 for what parts words.

    Raises:
        StageError: spaCy has special cases that the kernels do not know.
    """
    from datatrove.utils.text import PUNCTUATION_TRANS

    table = np.arange(0x110000, dtype=np.int32)
    expansions: list[int] = []
    survivors: set[str] = set()
    assigned = (*range(0x80, 0xD800), *range(0xF900, 0x40000), *range(0xE0000, 0xE1000))  # besides private use
    for code in assigned:
        spaced = chr(code).lower().translate(PUNCTUATION_TRANS)
        plain = "".join(c for c in unicodedata.normalize("NFD", spaced) if unicodedata.category(c) != "Mn")
        units = [0 if character.isspace() else ord(character) for character in plain]
        if plain in _ASCII_SIGNS:  # U+1FEF is a grave accent: with a break beside it, it is not taken for a letter
            units = [_BREAK, *units]
        survivors.update(plain)
        if len(units) == 1:
            table[code] = units[0]
        else:
            table[code] = EXPANDS | len(expansions)
            expansions += [len(units), *units]
        if code == ord("Σ") or (unicodedata.combining(chr(code)) and unicodedata.category(chr(code)) != "Mn"):
            table[code] |= CONTEXT
    for digit in regex.findall(r"\p{Nd}", "".join(map(chr, assigned))):
        table[ord(digit)] = _ZERO
    _check_special_cases(survivors | set("abcdefghijklmnopqrstuvwxyz0"))
    return table, np.array(expansions, np.int32)


def _check_special_cases(survivors: set[str]) -> None:
    import spacy

    tokenizer = spacy.blank("en").tokenizer
    specials = {text: tuple(special_parts(tokenizer, text)) for text in tokenizer.rules if survivors.issuperset(text)}
    if {text: parts for text, parts in specials.items() if parts} != JOINED_SPECIALS:
        raise StageError(
            f"spaCy {spacy.__version__} has special cases that are not known here: run `pip install 'spacy>=3.8,<3.9'`"
        )


@kernel
def simplify(
    content: NDArray[np.uint8],
    begin: int,
    end: int,
    table: NDArray[np.int32],
    expansions: NDArray[np.int32],
    room: Room,
) -> int:
    """Write a text to ``room.folded`` and mark what belongs to words, before numbers are dealt with; gives its size."""
    folded, marks, tail = room.folded, room.marks, room.tail
    at, to = begin, 0
    marks[0] = np.uint64(0)
    while at < end:
        size = min(BLOCK, end - at)
        if at + BLOCK <= len(content):
            words, _, others = fold_block(content, at, folded, to)
        else:
            for i in range(size):
                tail[i] = content[at + i]
            words, _, others = fold_block(tail, 0, folded, to)
        size = min(size, trailing_zeros(others))
        if size:
            mark(marks, to, words & (_ALL >> np.uint64(BLOCK - size)))
            at += size
            to += size
        while at < end and content[at] >= 0x80:
            code, at = decoded(content, at, end)
            unit = int(table[code]) & ~CONTEXT
            if unit & EXPANDS:
                expansion = unit ^ EXPANDS
                units = int(expansions[expansion])
                for i in range(units):
                    to = append(int(expansions[expansion + 1 + i]), folded, marks, to)
                if units == 0 and to and not _is_letter(folded[to - 1]):
                    to = append(_BREAK, folded, marks, to)
            else:
                to = append(unit, folded, marks, to)
    return to


@kernel
def _is_letter(byte: int) -> bool:
    return 97 <= byte <= 122


@kernel
def _is_digit(byte: int) -> bool:
    return _ZERO <= byte <= _NINE


@kernel
def write_words(
    folded: NDArray[np.uint8],
    edges: NDArray[np.int64],
    count: int,
    rules: Rules,
    contractions: NDArray[np.uint64],
    chunk: NDArray[np.int64],
    out: Simplified,
) -> tuple[int, int]:
    """Write the words of what ``simplify`` left.

    Gives their number and 0, or where ``chunk`` has too little room for the characters of a chunk, how many columns it
    needs.
    """
    joined, starts = out.joined, out.starts
    to, words, i = 0, 0, 0
    while i < count:
        edge = np.uint64(2 * i)
        start = edges[edge]
        size = edges[edge + _ONE] - start
        short = np.uint64(min(size, SHORT))
        first, second = eight_bytes(folded, start) & FIRST[short], eight_bytes(folded, start + 8) & SECOND[short]
        others = ((first ^ _LETTER_BITS) & FIRST[short] | (second ^ _LETTER_BITS) & SECOND[short]) & _OTHER_BITS
        if others == _NO_BITS and size <= SHORT and not _may_be_contraction(contractions, first, second):
            copy_sixteen(folded, start, joined, to)
        else:
            i, size = _write_with_numbers(folded, edges, count, i, joined, to)
            if size != 1 or joined[to] != _ZERO:
                if size >= chunk.shape[1]:
                    return words, size + 1
                words, to = _write_pieces(rules, chunk, to, size, words, joined, starts)
                i += 1
                continue
        starts[np.uint64(words)] = to
        words += 1
        to += size + 1
        joined[np.uint64(to - 1)] = _SPACE
        i += 1
    starts[words] = to
    return words, 0


@kernel
def _may_be_contraction(contractions: NDArray[np.uint64], first: np.uint64, second: np.uint64) -> bool:
    """Whether lower-case letters, as two numbers, may be a special case; wrong for 1 of 400 others."""
    key = ((first ^ second * FACTOR) * FACTOR) >> np.uint64(48)
    return bool(contractions[key >> np.uint64(6)] >> (key & np.uint64(63)) & _ONE)


@kernel
def _write_with_numbers(
    folded: NDArray[np.uint8], edges: NDArray[np.int64], count: int, i: int, joined: NDArray[np.uint8], to: int
) -> tuple[int, int]:
    """Write chunk ``i`` with "0" for each number; gives the last chunk that it took up, and the size of it all.

    A number is digits and, behind one separator, more digits. "3.5kg" is two chunks, for "." is punctuation, but here
    one: "0kg".
    """
    first = to
    at, end = edges[2 * i], edges[2 * i + 1]
    while at < end:
        byte = folded[at]
        if byte == _BREAK:
            at += 1
        elif not _is_digit(byte):
            joined[to] = byte
            to += 1
            at += 1
        else:
            joined[to] = _ZERO
            to += 1
            at = _after_digits(folded, at, end)
            separator = _separator_size(folded, at, end)
            if separator and _is_digit(folded[at + separator]) and at + separator < end:
                at = _after_digits(folded, at + separator, end)
            elif (
                at == end
                and i + 1 < count
                and edges[2 * i + 2] == end + 1
                and (folded[end] == _FULL_STOP or folded[end] == _COMMA)
                and _is_digit(folded[end + 1])
            ):
                i += 1
                end = edges[2 * i + 1]
                at = _after_digits(folded, at + 1, end)
    return i, to - first


@kernel
def _after_digits(folded: NDArray[np.uint8], at: int, end: int) -> int:
    while at < end and _is_digit(folded[at]):
        at += 1
    return at


@kernel
def _separator_size(folded: NDArray[np.uint8], at: int, end: int) -> int:
    """Bytes of a decimal separator that is no punctuation for datatrove, at this place: ، ٫ ⎖ ⎗ ⎘ ; 0 for others."""
    if at + 2 < end and (
        (folded[at] == 0xD8 and folded[at + 1] == 0x8C) or (folded[at] == 0xD9 and folded[at + 1] == 0xAB)
    ):
        return 2
    if at + 3 < end and folded[at] == 0xE2 and folded[at + 1] == 0x8E and 0x96 <= folded[at + 2] <= 0x98:
        return 3
    return 0


@kernel
def _write_pieces(
    rules: Rules,
    chunk: NDArray[np.int64],
    to: int,
    size: int,
    words: int,
    joined: NDArray[np.uint8],
    starts: NDArray[np.int64],
) -> tuple[int, int]:
    """Split the chunk ``joined[to:to + size]`` as spaCy does; gives the number of words so far and where to go on."""
    if size == 0:
        return words, to
    end = to + size
    pieces, characters = _cut(rules, chunk, joined, to, end)
    if pieces == 1:
        starts[words] = to
        joined[end] = _SPACE
        return words + 1, end + 1
    last = end
    piece = pieces - 1
    for character in range(characters - 1, -1, -1):
        if character == 0 or chunk[CUT, character]:
            begin = chunk[AT, character]
            for i in range(last - 1, begin - 1, -1):
                joined[i + piece] = joined[i]
            joined[last + piece] = _SPACE
            starts[words + piece] = begin + piece
            last = begin
            piece -= 1
    return words + pieces, end + pieces


@kernel
def _cut(rules: Rules, chunk: NDArray[np.int64], joined: NDArray[np.uint8], start: int, end: int) -> tuple[int, int]:
    """Set the cuts of a chunk; gives how many words it is, and its characters."""
    at, characters, any_kind, first_code, code = start, 0, 0, 0, 0
    while at < end:
        code = code_at(joined, at)
        first_code = code if characters == 0 else first_code
        any_kind |= int(rules.characters[code])
        characters += 1
        at += code_size(joined[at])
    if not any_kind & ACTIVE and not (
        may_be_special(rules.special_sizes, first_code, code, characters)
        and lead(rules.states, SPECIAL_STATE, hash_of(joined, start, end)) >= 0
    ):
        return 1, characters
    spread(rules.characters, joined, start, end, chunk)
    cut_chunk(rules.states, rules.special_sizes, rules.pieces, chunk, characters, any_kind)
    return _pieces(chunk, characters), characters


@kernel
def _pieces(chunk: NDArray[np.int64], characters: int) -> int:
    """How many words a chunk has been cut into, once the parts of special cases have been put together again."""
    pieces = 1
    for i in range(1, characters):
        for special in range(len(_JOINED_SIZES)):
            if _is_joined(chunk, i - 1, characters, special):
                chunk[CUT, i : i - 1 + _JOINED_SIZES[special]] = 0
        pieces += chunk[CUT, i] != 0
    return pieces


@kernel
def _is_joined(chunk: NDArray[np.int64], at: int, characters: int, special: int) -> bool:
    """Whether words of the chunk from ``at`` on are just the parts of a special case."""
    end = at + _JOINED_SIZES[special]
    if end > characters or (end < characters and not chunk[CUT, end]):
        return False
    for i in range(at, end):
        is_cut = i == 0 or chunk[CUT, i] != 0
        if chunk[CODE, i] != _JOINED_CODES[special, i - at] or is_cut != _JOINED_CUTS[special, i - at]:
            return False
    return True


@cache
def contractions() -> NDArray[np.uint64]:
    """Bits by which most words of letters are seen to be no special case of spaCy, such as "cannot" or "dont"."""
    import spacy

    found = np.zeros(1024, np.uint64)
    for text in spacy.blank("en").tokenizer.rules:
        if text.isascii() and text.isalpha() and text.islower():
            content = text.encode().ljust(SHORT, b"\0")
            first, second = int.from_bytes(content[:8], "little"), int.from_bytes(content[8:], "little")
            key = (first ^ second * int(FACTOR)) * int(FACTOR) % 2**64 >> 48
            found[key >> 6] |= _ONE << np.uint64(key & 63)
    return found
