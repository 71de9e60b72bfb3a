"""spaCy's last step: special cases such as "co." or ":)" whose parts have been split are put together again.

It looks for the parts in the words of the whole text, whatever whitespace stands between words: of overlapping finds
the longest wins, and among these the first; one that does not win still keeps others away. A winner whose parts are
one space apart changes nothing, as its text is no special case.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from stages.kernel import kernel
from stages.text.words_chunk import lead
from stages.text.words_rules import BYTES, PART_BITS, ROOT

_SPACE = ord(" ")
_LOW_BITS = np.uint64(PART_BITS - 1)


@kernel
def join_special_cases(
    states: NDArray[np.uint64],
    pieces: NDArray[np.int32],
    part_bits: NDArray[np.bool_],
    special_joined: NDArray[np.int32],
    data: NDArray[np.uint8],
    first: int,
    end: int,
    starts: NDArray[np.int64],
    ends: NDArray[np.int64],
    hashes: NDArray[np.uint64],
) -> int:
    """Edit the words ``first`` to ``end`` of a text in ``starts`` and ``ends``. Returns the new end, -1 for no change.

    The arrays must have room for one word for each byte of the text.
    """
    matches = 0
    changes = False
    for word in range(first, end):
        if not part_bits[hashes[word] & _LOW_BITS]:
            continue
        state = lead(states, ROOT, hashes[word])
        if state < 0:
            continue
        last = word
        while True:
            special = special_joined[state]
            if special >= 0:
                matches += 1
                if _is_text(starts, ends, word, last + 1):
                    changes = changes or _differs(pieces, special, starts, ends, word, last + 1)
            last += 1
            if last >= end or not _is_next(data, starts, ends, last):
                break
            state = lead(states, state, hashes[last])
            if state < 0:
                break
    if not changes:
        return -1
    return _join(states, pieces, special_joined, data, first, end, starts, ends, hashes, matches)


@kernel
def _is_next(data: NDArray[np.uint8], starts: NDArray[np.int64], ends: NDArray[np.int64], word: int) -> bool:
    """Whether nothing or one space is between a word and the one before: for spaCy, other whitespace is a word."""
    gap = starts[word] - ends[word - 1]
    return bool(gap == 0 or (gap == 1 and data[ends[word - 1]] == _SPACE))


@kernel
def _is_text(starts: NDArray[np.int64], ends: NDArray[np.int64], first: int, end: int) -> bool:
    """Whether words stand next to each other without whitespace."""
    for word in range(first + 1, end):  # noqa: SIM110 (numba compiles no generators)
        if starts[word] != ends[word - 1]:
            return False
    return True


@kernel
def _differs(
    pieces: NDArray[np.int32],
    special: int,
    starts: NDArray[np.int64],
    ends: NDArray[np.int64],
    first: int,
    end: int,
) -> bool:
    """Whether the words of a special case are others than its parts: those of "it's" are not."""
    for piece in range(end - first):
        if pieces[BYTES, special, piece] != ends[first + piece] - starts[first + piece]:
            return True
    return False


@kernel
def _join(
    states: NDArray[np.uint64],
    pieces: NDArray[np.int32],
    special_joined: NDArray[np.int32],
    data: NDArray[np.uint8],
    first: int,
    end: int,
    starts: NDArray[np.int64],
    ends: NDArray[np.int64],
    hashes: NDArray[np.uint64],
    matches: int,
) -> int:
    match_word = np.empty(matches, np.int64)  # in order of the first word
    match_size = np.empty(matches, np.int64)
    match_special = np.empty(matches, np.int64)
    noted = 0
    for word in range(first, end):
        state = lead(states, ROOT, hashes[word])
        last = word
        while state >= 0:
            if special_joined[state] >= 0:
                match_word[noted] = word
                match_size[noted] = last + 1 - word
                match_special[noted] = special_joined[state]
                noted += 1
            last += 1
            if last >= end or not _is_next(data, starts, ends, last):
                break
            state = lead(states, state, hashes[last])
    special_at = np.full(end - first, -1, np.int64)  # [word]: the special case that begins there
    size_at = np.zeros(end - first, np.int64)  # how many words are its parts
    seen = np.zeros(end - first, np.bool_)
    for size in range(match_size.max(), 0, -1):
        for match in range(matches):
            if match_size[match] != size:
                continue
            word = match_word[match]
            last = word + size - 1
            is_free = not seen[word - first] and not seen[last - first]
            if is_free and _is_text(starts, ends, word, last + 1):
                special_at[word - first] = match_special[match]
                size_at[word - first] = size
            seen[word - first : last + 1 - first] = True
    old_starts, old_ends = starts[first:end].copy(), ends[first:end].copy()
    new, word = first, 0
    while word < len(seen):
        special = special_at[word]
        if special < 0:
            starts[new], ends[new] = old_starts[word], old_ends[word]
            new += 1
            word += 1
            continue
        i = old_starts[word]
        piece = 0
        while pieces[BYTES, special, piece]:
            starts[new] = i
            i += pieces[BYTES, special, piece]
            ends[new] = i
            new += 1
            piece += 1
        word += size_at[word]
    return new
