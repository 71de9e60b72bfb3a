r"""Where pre-tokens end, by hand-written equals of the regular expressions that tokenizers use.

Each expression covers every text without gaps, so a text is cut by asking for the end of the pre-token that starts
where the last one ended. What happens within ``\s+(?!\S)`` and the expressions of o200k by going back is written out.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from stages.kernel import kernel
from stages.text.instructions import eight_bytes, trailing_zeros
from stages.text.utf8 import code_point
from stages.text.words_borrowed import inlined
from stages.tokenize.byte_pair.classes import (
    ALONE,
    BLOCK_BITS,
    LETTER,
    LOWER,
    NUMBER,
    OTHER,
    SPACE,
    UPPER,
    VISIBLE,
    Classes,
)

GPT2, CL100K, O200K = 0, 1, 2

_CONTRACTIONS = "(?i:'s|'t|'re|'ve|'m|'ll|'d)"
_TAIL = r"|\s*[\r\n]+|\s+(?!\S)|\s+"
_UPPER, _LOWER = r"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]", r"[\p{Ll}\p{Lm}\p{Lo}\p{M}]"
GPT2_PATTERN = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
LLAMA3_PATTERN = _CONTRACTIONS + r"|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*" + _TAIL
QWEN2_PATTERN = _CONTRACTIONS + r"|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*" + _TAIL
O200K_PATTERN = (
    rf"[^\r\n\p{{L}}\p{{N}}]?{_UPPER}*{_LOWER}+{_CONTRACTIONS}?|[^\r\n\p{{L}}\p{{N}}]?{_UPPER}+{_LOWER}*{_CONTRACTIONS}?"
    r"|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*" + _TAIL
)
PATTERNS = {
    GPT2_PATTERN: (GPT2, 0),
    LLAMA3_PATTERN: (CL100K, 3),  # cl100k of GPT-4, Llama 3
    QWEN2_PATTERN: (CL100K, 1),  # Qwen 2, 2.5 and 3
    O200K_PATTERN: (O200K, 3),  # GPT-4o, gpt-oss
}
"""Rule and most digits of a pre-token (0: any number) for each regular expression that is known."""

_LOW, _HIGH = np.uint64(0x0101010101010101), np.uint64(0x8080808080808080)
_CASE = np.uint64(0x2020202020202020)
_FROM_A = _LOW * np.uint64(0x80 - ord("a"))  # added to a byte below 0x80, sets its high bit from "a" on
_ABOVE_Z = _LOW * np.uint64(0x80 - ord("z") - 1)
_BLANK, _NEWLINE, _RETURN, _APOSTROPHE, _SLASH = (ord(c) for c in " \n\r'/")
_D, _E, _L, _M, _R, _S, _T, _V = (ord(c) for c in "delmrstv")


@inlined
def pre_token_end(rule: int, most_digits: int, classes: Classes, data: NDArray[np.uint8], start: int, end: int) -> int:
    """End of the pre-token that starts at ``start``, a place before ``end``, where the text ends."""
    # By far most pre-tokens of most texts are letters, or a blank and letters; all rules agree on those.
    if rule != O200K:
        letters = start + (data[start] == _BLANK)
        stop = _letters_end(classes, data, letters, end)
        if stop > letters:
            return stop
    if rule == GPT2:
        return _gpt2_end(classes, data, start, end)
    if rule == CL100K:
        return _cl100k_end(most_digits, classes, data, start, end)
    return _o200k_end(most_digits, classes, data, start, end)


@kernel
def _gpt2_end(classes: Classes, data: NDArray[np.uint8], start: int, end: int) -> int:
    contraction = _contraction(data, start, end, False)
    if contraction:
        return start + contraction
    first: int = start + (data[start] == _BLANK)
    bits, length = _character(classes, data, first, end)
    if bits & OTHER:
        return _run_end(OTHER, classes, data, first + length, end)
    if bits & NUMBER:
        return _run_end(NUMBER, classes, data, first + length, end)
    if bits & ALONE and first == start:
        return first + length
    return _space_end(False, classes, data, start, end)


@kernel
def _cl100k_end(most_digits: int, classes: Classes, data: NDArray[np.uint8], start: int, end: int) -> int:
    contraction = _contraction(data, start, end, True)
    if contraction:
        return start + contraction
    bits, length = _character(classes, data, start, end)
    if bits & NUMBER:
        return _digits_end(most_digits, classes, data, start, end)
    if data[start] != _NEWLINE and data[start] != _RETURN:
        stop = _letters_end(classes, data, start + length, end)
        if stop > start + length:
            return stop
    others = _others_end(False, classes, data, start, end)
    return others if others > start else _space_end(True, classes, data, start, end)


@kernel
def _o200k_end(most_digits: int, classes: Classes, data: NDArray[np.uint8], start: int, end: int) -> int:
    bits, length = _character(classes, data, start, end)
    if bits & NUMBER:
        return _digits_end(most_digits, classes, data, start, end)
    word = start
    if not bits & LETTER and data[start] != _NEWLINE and data[start] != _RETURN:
        word = start + length
    stop = _word_with_lower_end(classes, data, word, end)
    if stop == word and word > start:
        word = start
        stop = _word_with_lower_end(classes, data, word, end)
        if stop == word:
            word = start + length
    if stop <= word:
        stop = _run_end(UPPER, classes, data, word, end)
    if stop > word:
        return stop + _contraction(data, stop, end, True)
    others = _others_end(True, classes, data, start, end)
    return others if others > start else _space_end(True, classes, data, start, end)


@kernel
def _word_with_lower_end(classes: Classes, data: NDArray[np.uint8], start: int, end: int) -> int:
    """End of upper characters followed by at least one lower; ``start`` if there are none.

    Some are both. If no lower one follows the upper, the last that is both has to be it.
    """
    at, both = start, start
    bits, length = _character(classes, data, at, end)
    while bits & UPPER:
        at += length
        if bits & LOWER:
            both = at
        bits, length = _character(classes, data, at, end)
    return _run_end(LOWER, classes, data, at, end) if bits & LOWER else both


@inlined
def _character(classes: Classes, data: NDArray[np.uint8], at: int, end: int) -> tuple[int, int]:
    """Bits of the character at ``at`` and its length in bytes; no bits at the end of the text."""
    if at >= end:
        return 0, 0
    if data[at] < 0x80:
        return int(classes.bits[data[at]]), 1
    code, length = code_point(data, at, end)
    return int(classes.bits[int(classes.blocks[code >> BLOCK_BITS]) << BLOCK_BITS | code & 127]), length


@inlined
def _letters_end(classes: Classes, data: NDArray[np.uint8], start: int, end: int) -> int:
    """``start`` moved past letters, up to eight of ASCII a step: fewer jumps that the processor guesses wrongly."""
    at = start
    while at < end:
        if at + 8 <= len(data):
            eight = eight_bytes(data, at)
            lower = (eight | _CASE) & ~_HIGH
            letters = (lower + _FROM_A) & ~(lower + _ABOVE_Z) & ~eight & _HIGH
            found = trailing_zeros(letters ^ _HIGH) >> 3
            at += found
            if found == 8:
                continue
            if at >= end or data[at] < 0x80:
                break
        bits, length = _character(classes, data, at, end)
        if not bits & LETTER:
            break
        at += length
    return min(at, end)


@kernel
def _run_end(wanted: int, classes: Classes, data: NDArray[np.uint8], start: int, end: int) -> int:
    """``start`` moved past characters that have a bit."""
    at = start
    bits, length = _character(classes, data, at, end)
    while bits & wanted:
        at += length
        bits, length = _character(classes, data, at, end)
    return at


@kernel
def _digits_end(most: int, classes: Classes, data: NDArray[np.uint8], start: int, end: int) -> int:
    at = start
    for _ in range(most):
        bits, length = _character(classes, data, at, end)
        if not bits & NUMBER:
            break
        at += length
    return at


@kernel
def _others_end(slashes: bool, classes: Classes, data: NDArray[np.uint8], start: int, end: int) -> int:
    """End of a blank, if there is one, other characters and the line ends behind; ``start`` without others."""
    first = start + (data[start] == _BLANK)
    at = _run_end(OTHER, classes, data, first, end)
    if at == first:
        return start
    while at < end and (data[at] == _NEWLINE or data[at] == _RETURN or (slashes and data[at] == _SLASH)):
        at += 1
    return at


@kernel
def _space_end(cut_at_newline: bool, classes: Classes, data: NDArray[np.uint8], start: int, end: int) -> int:
    """End of white space: behind its last line end, if asked; before its last character, if something follows."""
    at, last, newline = start, start, start
    bits, length = _character(classes, data, at, end)
    while bits & SPACE:
        last = at
        at += length
        if data[last] == _NEWLINE or data[last] == _RETURN:
            newline = at
        bits, length = _character(classes, data, at, end)
    if cut_at_newline and newline > start:
        return newline
    return last if bits & VISIBLE and last > start else at


@kernel
def _contraction(data: NDArray[np.uint8], at: int, end: int, any_case: bool) -> int:
    """Length of 's, 't, 're, 've, 'm, 'll or 'd; 0 if there is none."""
    if at + 1 >= end or data[at] != _APOSTROPHE:
        return 0
    case = 0x20 if any_case else 0
    first = data[at + 1] | case
    if first in (_S, _T, _M, _D):
        return 2
    if at + 2 >= end:
        return 0
    second = data[at + 2] | case
    if (first in (_R, _V) and second == _E) or (first == _L and second == _L):
        return 3
    is_long_s = data[at + 1] == 0xC5 and data[at + 2] == 0xBF  # U+017F, whose upper case is S
    return 3 if any_case and is_long_s else 0
