"""Candidates for private data in UTF-8 text: one compiled pass that most documents leave with nothing.

Candidates are wide on purpose (each is checked afterwards) and cheap to tell apart from prose. REFERENCE defines each
kind by a regular expression; the kernel finds the same.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator
from enum import IntEnum
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from stages.kernel import kernel
from stages.text.utf8 import bytes_and_offsets


class Kind(IntEnum):
    """What a candidate looks like."""

    AT = 0  # an @ between characters of an e-mail address
    DOTTED = 1  # four or more numbers joined by dots
    COLONS = 2  # hexadecimal groups joined by colons
    NUMBER = 3  # seven or more digits with at most three separators between two of them
    ACCOUNT = 4  # two capitals and two digits, as an IBAN starts
    TOKEN = 5  # a run of 16 or more letters, digits, _ + / - in which they change as in no word
    KEY_BLOCK = 6  # -----BEGIN


class Candidate(NamedTuple):
    """A place to look at; positions are characters of the document's text."""

    kind: Kind
    start: int
    end: int


REFERENCE: dict[Kind, re.Pattern[str]] = {
    Kind.AT: re.compile(r"(?<=[A-Za-z0-9!#$%&'*+/=?^_`{|}~\x80-\U0010ffff-])@(?=[A-Za-z0-9\[\x80-\U0010ffff])"),
    Kind.DOTTED: re.compile(r"[0-9]+(?:\.[0-9]+){3,}"),
    Kind.COLONS: re.compile(r"[0-9A-Fa-f:]{6,}"),
    Kind.NUMBER: re.compile(r"[0-9](?:[ .()/\u00a0\u2010-\u2015-]{0,3}[0-9]){6,}"),
    Kind.ACCOUNT: re.compile(r"(?<![A-Za-z0-9])[A-Z]{2}[0-9]{2}(?=[ \u00a0]?[A-Z0-9])"),
    Kind.TOKEN: re.compile(r"[A-Za-z0-9_+/-]{16,}"),
    Kind.KEY_BLOCK: re.compile("-----BEGIN "),
}

_DIGIT, _UPPER, _LOWER, _HEX, _ATOM, _TOKEN, _SEPARATOR, _MARK = (1 << bit for bit in range(8))


MIN_TURNS = 4
"""Changes between small letter, capital and digit: words, names and dates joined by - or / have fewer."""


def _byte_classes() -> np.ndarray[Any, np.dtype[np.uint8]]:
    classes = np.zeros(256, np.uint8)
    for bit, members in (
        (_DIGIT, b"0123456789"),
        (_UPPER, b"ABCDEFGHIJKLMNOPQRSTUVWXYZ"),
        (_LOWER, b"abcdefghijklmnopqrstuvwxyz"),
        (_HEX, b"0123456789ABCDEFabcdef:"),
        (_ATOM, b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789!#$%&'*+/=?^_`{|}~-"),
        (_ATOM, bytes(range(0x80, 0x100))),
        (_TOKEN, b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_+/-"),
        (_SEPARATOR, b" .()/-"),
        (_MARK, b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ:@"),
    ):
        classes[list(members)] |= bit
    return classes


_CLASSES = _byte_classes()
_KINDS = tuple(Kind)
_AT, _DOTTED, _COLONS, _NUMBER, _ACCOUNT, _TOKENS, _KEY_BLOCK = (int(kind) for kind in Kind)


@kernel
def _emit(out: Any, count: int, wanted: int, row: int, kind: int, start: int, end: int) -> int:
    """Write a candidate where there is room; count it all the same."""
    if not wanted >> kind & 1:
        return count
    if count < out.shape[0]:
        out[count, 0] = row
        out[count, 1] = kind
        out[count, 2] = start
        out[count, 3] = end
    return count + 1


@kernel
def _separator_bytes(text: Any, i: int, end: int) -> int:
    """Bytes of the separator at i: 1, 2 (U+00A0), 3 (U+2010 to U+2015), or 0 where there is none."""
    if _CLASSES[text[i]] & _SEPARATOR:
        return 1
    if text[i] == 0xC2 and i + 1 < end and text[i + 1] == 0xA0:
        return 2
    if text[i] == 0xE2 and i + 2 < end and text[i + 1] == 0x80 and 0x90 <= text[i + 2] <= 0x95:
        return 3
    return 0


@kernel
def _number_end(text: Any, i: int, end: int) -> tuple[int, int, int]:
    """The number that starts with the digit at i: bytes end, digits, characters."""
    digits, characters, stop, pending, separators = 0, 0, i, 0, 0
    while i < end:
        if _CLASSES[text[i]] & _DIGIT:
            digits += 1
            characters += pending + 1
            pending, separators = 0, 0
            i += 1
            stop = i
            continue
        size = _separator_bytes(text, i, end)
        separators += 1
        if size == 0 or separators > 3:
            break
        pending += 1
        i += size
    return stop, digits, characters


@kernel
def _dotted_end(text: Any, i: int, end: int) -> tuple[int, int]:
    """The run of numbers joined by single dots that starts at i: its end, and its dots."""
    dots = 0
    while i < end:
        if _CLASSES[text[i]] & _DIGIT:
            i += 1
        elif text[i] == 46 and i + 1 < end and _CLASSES[text[i + 1]] & _DIGIT:  # .
            dots += 1
            i += 2
        else:
            break
    return i, dots


@kernel
def _colons_end(text: Any, first: int, i: int, end: int) -> tuple[int, bool]:
    """The run of hexadecimal digits and colons from first, whose first colon is at i: its end, and whether to look."""
    colons, double = 0, False
    while i < end and _CLASSES[text[i]] & _HEX:
        if text[i] == 58:  # :
            colons += 1
            double = double or (i + 1 < end and text[i + 1] == 58)
        i += 1
    return i, i - first >= 6 and i - first - colons >= 4 and (double or colons >= 7)


@kernel
def _scan(text: Any, offsets: Any, wanted: int, out: Any) -> int:
    """Write the candidates of all rows to out (rows of row, kind, start, end) and return how many there are."""
    count = 0
    for row in range(offsets.shape[0] - 1):
        count = _scan_marks(text, offsets[row], offsets[row + 1], wanted, row, out, count)
        if wanted >> _TOKENS & 1:
            count = _scan_tokens(text, offsets[row], offsets[row + 1], wanted, row, out, count)
    return count


@kernel
def _scan_marks(text: Any, begin: int, end: int, wanted: int, row: int, out: Any, count: int) -> int:
    """All kinds that have a digit, a capital, a colon or an @ at a known place; other bytes are passed over."""
    counted, character = begin, 0  # characters before the byte `counted`: moved on only where something is found
    number_end = dotted_end = colons_end = begin
    for i in range(begin, end):
        classes = _CLASSES[text[i]]
        if not classes & _MARK:
            continue
        if classes & _DIGIT:
            if i >= number_end and wanted >> _NUMBER & 1:
                number_end, digits, characters = _number_end(text, i, end)
                if digits >= 7:
                    character, counted = character + _characters(text, counted, i), i
                    count = _emit(out, count, wanted, row, _NUMBER, character, character + characters)
            if i >= dotted_end:
                dotted_end, dots = _dotted_end(text, i, end)
                if dots >= 3:
                    character, counted = character + _characters(text, counted, i), i
                    count = _emit(out, count, wanted, row, _DOTTED, character, character + dotted_end - i)
        elif classes & _UPPER:
            if _starts_account(text, i, begin, end):
                character, counted = character + _characters(text, counted, i), i
                count = _emit(out, count, wanted, row, _ACCOUNT, character, character + 4)
            elif _starts_key_block(text, i, begin, end):
                character, counted = character + _characters(text, counted, i), i
                count = _emit(out, count, wanted, row, _KEY_BLOCK, character - 5, character + 6)
        elif text[i] == 58:  # :
            if i >= colons_end:
                first = i
                while first > begin and _CLASSES[text[first - 1]] & _HEX:
                    first -= 1
                colons_end, is_candidate = _colons_end(text, first, i, end)
                if is_candidate:
                    character, counted = character + _characters(text, counted, i), i
                    start = character - (i - first)
                    count = _emit(out, count, wanted, row, _COLONS, start, start + colons_end - first)
        elif begin < i < end - 1 and _CLASSES[text[i - 1]] & _ATOM:  # @
            after = text[i + 1]
            if after >= 0x80 or after == 91 or _CLASSES[after] & (_DIGIT | _UPPER | _LOWER):
                character, counted = character + _characters(text, counted, i), i
                count = _emit(out, count, wanted, row, _AT, character, character + 1)
    return count


@kernel
def _scan_tokens(text: Any, begin: int, end: int, wanted: int, row: int, out: Any, count: int) -> int:
    """Runs of 16 or more token characters: one of any 16 neighbours is looked at, the rest where that is in a run."""
    counted, character = begin, 0
    i = begin + 15
    while i < end:
        if not _CLASSES[text[i]] & _TOKEN:
            i += 16
            continue
        first = i
        while first > begin and _CLASSES[text[first - 1]] & _TOKEN:
            first -= 1
        classes, previous, turns = 0, 0, 0
        last = first
        while last < end and _CLASSES[text[last]] & _TOKEN:
            kind = _CLASSES[text[last]] & (_DIGIT | _UPPER | _LOWER)
            if kind:
                turns += previous != 0 and kind != previous
                previous = kind
                classes |= kind
            last += 1
        length = last - first
        if length >= 16 and (turns >= MIN_TURNS or (length >= 20 and classes & _UPPER and not classes & _LOWER)):
            character, counted = character + _characters(text, counted, first), first
            count = _emit(out, count, wanted, row, _TOKENS, character, character + length)
        i = last + 16
    return count


@kernel
def _characters(text: Any, start: int, end: int) -> int:
    """Characters that start in these bytes."""
    count = 0
    for i in range(start, end):
        count += text[i] & 0xC0 != 0x80
    return count


@kernel
def _starts_account(text: Any, i: int, begin: int, end: int) -> bool:
    if i + 4 >= end or (i > begin and _CLASSES[text[i - 1]] & (_DIGIT | _UPPER | _LOWER)):
        return False
    if not (_CLASSES[text[i + 1]] & _UPPER and _CLASSES[text[i + 2]] & _DIGIT and _CLASSES[text[i + 3]] & _DIGIT):
        return False
    after = i + 4
    if text[after] == 32:  # space
        after += 1
    elif text[after] == 0xC2 and after + 1 < end and text[after + 1] == 0xA0:  # U+00A0
        after += 2
    if after >= end:
        return False
    goes_on: bool = _CLASSES[text[after]] & (_DIGIT | _UPPER) != 0
    return goes_on


@kernel
def _starts_key_block(text: Any, i: int, begin: int, end: int) -> bool:
    if text[i] != 66 or i - 5 < begin or i + 5 >= end:  # B
        return False
    for k in range(1, 6):
        if text[i - k] != 45:  # -
            return False
    begins: bool = text[i + 1] == 69 and text[i + 2] == 71 and text[i + 3] == 73 and text[i + 4] == 78
    return begins and bool(text[i + 5] == 32)


def candidates(texts: pa.Array, wanted: frozenset[Kind]) -> Iterator[tuple[int, list[Candidate]]]:
    """Rows of ``texts`` that have candidates of the wanted kinds, with these in order."""
    content, offsets = bytes_and_offsets(texts)
    bits = sum(1 << kind for kind in wanted)
    out = np.empty((1024 + 4 * len(texts), 4), np.int64)
    while (count := _scan(content, offsets, bits, out)) > len(out):
        out = np.empty((count, 4), np.int64)
    rows, firsts = np.unique(out[:count, 0], return_index=True)
    bounds = [*firsts.tolist(), count]
    for n, row in enumerate(rows.tolist()):
        found = out[bounds[n] : bounds[n + 1], 1:].tolist()
        yield row, [Candidate(_KINDS[kind], start, end) for kind, start, end in found]


def reference_candidates(text: str) -> list[Candidate]:
    """What the kernel finds in one text, by regular expressions."""
    found = [Candidate(kind, *match.span()) for kind, pattern in REFERENCE.items() for match in pattern.finditer(text)]
    return sorted(c for c in found if _is_candidate(c.kind, text[c.start : c.end]))


def _is_candidate(kind: Kind, run: str) -> bool:
    if kind is Kind.COLONS:
        colons = run.count(":")
        return len(run) - colons >= 4 and ("::" in run or colons >= 7)
    if kind is Kind.TOKEN:
        kinds = ["0" if c.isdigit() else "A" if c.isupper() else "a" for c in run if c.isalnum()]
        turns = sum(a != b for a, b in itertools.pairwise(kinds))
        return turns >= MIN_TURNS or (len(run) >= 20 and "A" in kinds and "a" not in kinds)
    return True
