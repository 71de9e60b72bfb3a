"""Splits one chunk (a run of characters without whitespace) as spaCy's English tokenizer does.

The order of spaCy's steps is kept: as long as the chunk is no special case, split a prefix and a suffix off; then what
is left is a special case, a URL, or is split at its infixes. What becomes of a chunk is noted in its row CUT.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from stages.kernel import kernel
from stages.text.chunk import CODE, CUT, KIND, hash_between
from stages.text.unicode_tables import (
    ASCII_DIGIT,
    BEFORE_FULL_STOP,
    ICON,
    INFIX,
    LETTER,
    LOWER,
    PREFIX,
    QUOTE,
    SUFFIX,
    UPPER,
)
from stages.text.words_borrowed import inlined
from stages.text.words_rules import CHARACTERS, MAX_SPECIAL_CHARACTERS, MEASURE_STATE, MIX, SPECIAL_STATE
from stages.text.words_url import is_url

ZERO, NINE = ord("0"), ord("9")
FULL_STOP, COMMA, PLUS, HYPHEN, DOLLAR, DEGREE = ord("."), ord(","), ord("+"), ord("-"), ord("$"), ord("°")
ASTERISK, CARET, TILDE, ELLIPSIS, EN_DASH, EM_DASH = ord("*"), ord("^"), ord("~"), ord("…"), ord("–"), ord("—")
COLON, LESS, GREATER, EQUALS, SLASH = ord(":"), ord("<"), ord(">"), ord("="), ord("/")
APOSTROPHE, RIGHT_QUOTE, SMALL_S, CAPITAL_S = ord("'"), ord("’"), ord("s"), ord("S")
CAPITAL_U, CAPITAL_C, CAPITAL_A = ord("U"), ord("C"), ord("A")
_SMALL_C, _SMALL_F, _SMALL_K, _CASE = ord("c"), ord("f"), ord("k"), ord("c") - ord("C")
MAX_MEASURE_CHARACTERS = 8  # at least those of the longest unit or currency


@inlined
def lead(states: NDArray[np.uint64], state: int, word: np.uint64) -> int:
    """Where a state and the hash of a word lead in ``Rules.states``, or -1."""
    key = word + np.uint64(state) * MIX
    mask = np.uint64(states.shape[1] - 1)
    slot = key & mask
    while states[0, slot]:
        if states[0, slot] == key:
            return int(np.int64(states[1, slot]))
        slot = (slot + np.uint64(1)) & mask
    return -1


@inlined
def may_be_special(special_sizes: NDArray[np.uint64], first_code: int, last_code: int, characters: int) -> bool:
    """Whether some special case has this first and last character and size: keeps most look-ups away."""
    if characters > MAX_SPECIAL_CHARACTERS:
        return False
    sizes = special_sizes[0, first_code & 0xFF] & special_sizes[1, last_code & 0xFF]
    return bool((sizes >> np.uint64(characters)) & np.uint64(1))


@inlined
def _special_case(
    states: NDArray[np.uint64], special_sizes: NDArray[np.uint64], chunk: NDArray[np.int64], start: int, end: int
) -> int:
    """Number of the special case that these characters are, or -1."""
    if start >= end or not may_be_special(special_sizes, chunk[CODE, start], chunk[CODE, end - 1], end - start):
        return -1
    return lead(states, SPECIAL_STATE, hash_between(chunk, start, end))


@kernel
def cut_chunk(
    states: NDArray[np.uint64],
    special_sizes: NDArray[np.uint64],
    pieces: NDArray[np.int32],
    chunk: NDArray[np.int64],
    characters: int,
    any_kind: int,
) -> None:
    """Set the cuts of a chunk of so many characters; ``any_kind`` has the bits of all. Time is linear in its length."""
    start, end = _without_affixes(states, special_sizes, chunk, characters, any_kind)
    if start == end:
        return
    special = _special_case(states, special_sizes, chunk, start, end)
    if special >= 0:
        i, piece = start, 0
        while pieces[CHARACTERS, special, piece]:
            chunk[CUT, i] = 1
            i += pieces[CHARACTERS, special, piece]
            piece += 1
        return
    if any_kind & INFIX and _next_infix(chunk, start, start, end)[0] < end and not is_url(chunk, start, end):
        _cut_infixes(chunk, start, end)


@inlined
def _without_affixes(
    states: NDArray[np.uint64],
    special_sizes: NDArray[np.uint64],
    chunk: NDArray[np.int64],
    characters: int,
    any_kind: int,
) -> tuple[int, int]:
    """Cut prefixes and suffixes off; returns what is left, as first character and end."""
    start, end = 0, characters
    chunk[CUT, 0] = 1
    while start < end and _special_case(states, special_sizes, chunk, start, end) < 0:
        prefix = _prefix(chunk, start, end)
        if prefix and _special_case(states, special_sizes, chunk, start + prefix, end) >= 0:
            start += prefix
            chunk[CUT, start] = 1
            break
        suffix = _suffix(states, chunk, start + prefix, end, any_kind)
        if suffix:
            chunk[CUT, end - suffix] = 1
            if _special_case(states, special_sizes, chunk, start, end - suffix) >= 0:
                end -= suffix
                break
        if prefix == 0 and suffix == 0:
            break
        start += prefix
        end -= suffix
        chunk[CUT, start] = 1  # if it is the end, of no meaning
    return start, end


@inlined
def _prefix(chunk: NDArray[np.int64], start: int, end: int) -> int:
    """Characters that spaCy's prefix pattern matches at ``start``."""
    if chunk[KIND, start] & PREFIX:
        return 1
    if chunk[CODE, start] == PLUS:
        return 0 if start + 1 < end and ZERO <= chunk[CODE, start + 1] <= NINE else 1
    if chunk[CODE, start] == FULL_STOP:
        dots = 1
        while start + dots < end and chunk[CODE, start + dots] == FULL_STOP:
            dots += 1
        return dots if dots > 1 else 0
    if (
        start + 1 < end
        and chunk[CODE, start + 1] == DOLLAR
        and (chunk[CODE, start] == CAPITAL_C or chunk[CODE, start] == CAPITAL_A)
    ):
        return 2
    if (
        start + 2 < end
        and chunk[CODE, start] == CAPITAL_U
        and chunk[CODE, start + 1] == CAPITAL_S
        and chunk[CODE, start + 2] == DOLLAR
    ):
        return 3
    return 0


@inlined
def _suffix(states: NDArray[np.uint64], chunk: NDArray[np.int64], start: int, end: int, any_kind: int) -> int:
    """Characters of the longest match of spaCy's suffix rules at ``end``, which may not look before ``start``."""
    if start >= end:
        return 0
    last = chunk[CODE, end - 1]
    if last == FULL_STOP:
        return _full_stops(chunk, start, end)
    suffix = 1 if chunk[KIND, end - 1] & SUFFIX else 0
    if end - start >= 2:
        before = chunk[CODE, end - 2]
        is_possessive = (last in (SMALL_S, CAPITAL_S)) and (before in (APOSTROPHE, RIGHT_QUOTE))
        if is_possessive or (last == ELLIPSIS and before == ELLIPSIS):
            return 2
        if last == PLUS and ZERO <= before <= NINE:
            return 1
    return max(suffix, _measure(states, chunk, start, end)) if any_kind & ASCII_DIGIT else suffix


@inlined
def _full_stops(chunk: NDArray[np.int64], start: int, end: int) -> int:
    """Full stops to split off the end: all if there are several, one after most characters."""
    dots = 1
    while end - dots > start and chunk[CODE, end - dots - 1] == FULL_STOP:
        dots += 1
    if dots > 1:
        return dots
    if end - 2 < start:
        return 0
    if chunk[KIND, end - 2] & BEFORE_FULL_STOP:
        return 1
    if end - 3 < start:
        return 0
    is_abbreviation_end = chunk[KIND, end - 2] & UPPER and chunk[KIND, end - 3] & UPPER
    scale = chunk[CODE, end - 2] | _CASE
    is_temperature = chunk[CODE, end - 3] == DEGREE and (scale in (_SMALL_C, _SMALL_F, _SMALL_K))
    return 1 if is_abbreviation_end or is_temperature else 0


@inlined
def _measure(states: NDArray[np.uint64], chunk: NDArray[np.int64], start: int, end: int) -> int:
    """Characters after the last ASCII digit if they are a unit or currency, else 0."""
    for i in range(end - 1, max(start, end - 1 - MAX_MEASURE_CHARACTERS) - 1, -1):
        if ZERO <= chunk[CODE, i] <= NINE:
            if i == end - 1:
                return 0
            measure = hash_between(chunk, i + 1, end)
            return end - 1 - i if lead(states, MEASURE_STATE, measure) >= 0 else 0
    return 0


@inlined
def _cut_infixes(chunk: NDArray[np.int64], start: int, end: int) -> None:
    i = start
    while i < end:
        infix, after = _next_infix(chunk, start, i, end)
        if infix > start and infix < end:  # spaCy does not split at one that all begins with
            chunk[CUT, infix] = 1
            if after < end:
                chunk[CUT, after] = 1
        i = after


@inlined
def _next_infix(chunk: NDArray[np.int64], start: int, i: int, end: int) -> tuple[int, int]:
    """Start and end of the first infix from character ``i`` on, of a chunk from ``start`` to ``end``; else end, end."""
    while i < end:
        if chunk[KIND, i] & INFIX:
            size = _infix(chunk, start, i, end)
            if size:
                return i, i + size
        i += 1
    return end, end


@inlined
def _infix(chunk: NDArray[np.int64], start: int, i: int, end: int) -> int:
    """Characters of the infix at ``i``, or 0."""
    code = chunk[CODE, i]
    if chunk[KIND, i] & ICON or code == ELLIPSIS:
        return 1
    if code == FULL_STOP and i + 1 < end and chunk[CODE, i + 1] == FULL_STOP:
        dots = 2
        while i + dots < end and chunk[CODE, i + dots] == FULL_STOP:
            dots += 1
        return dots
    if i == start or i + 1 >= end:
        return 0
    before, after = chunk[KIND, i - 1], chunk[KIND, i + 1]
    if code == FULL_STOP:
        return 1 if before & (LOWER | QUOTE) and after & (UPPER | QUOTE) else 0
    if code == COMMA:
        return 1 if before & LETTER and after & LETTER else 0
    is_after_digit = ZERO <= chunk[CODE, i - 1] <= NINE
    if (
        is_after_digit
        and (code in (PLUS, HYPHEN, ASTERISK, CARET))
        and (ZERO <= chunk[CODE, i + 1] <= NINE or chunk[CODE, i + 1] == HYPHEN)
    ):
        return 1
    if not is_after_digit and not before & LETTER:
        return 0
    if code in (COLON, LESS, GREATER, EQUALS, SLASH):
        return 1 if after & LETTER else 0
    return _hyphens(chunk, i, end)


@inlined
def _hyphens(chunk: NDArray[np.int64], i: int, end: int) -> int:
    """Hyphens or dashes at ``i`` that a letter follows."""
    code = chunk[CODE, i]
    if code == HYPHEN:
        most = 3
    elif code == EM_DASH:
        most = 2
    elif code in (EN_DASH, TILDE):
        most = 1
    else:
        return 0
    size = 1
    while size < most and i + size < end and chunk[CODE, i + size] == code:
        size += 1
    return size if i + size < end and chunk[KIND, i + size] & LETTER else 0
