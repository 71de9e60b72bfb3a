"""The scan over the UTF-8 bytes of a batch that finds its words."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from stages.kernel import kernel
from stages.text.chunk import AT, CUT, KIND, code_at, code_size, hash_between, spread
from stages.text.unicode_tables import (
    ACTIVE,
    ALPHABETIC,
    PUNCTUATION,
    SPACE,
)
from stages.text.words_borrowed import borrowed
from stages.text.words_chunk import cut_chunk, lead, may_be_special
from stages.text.words_hash import hash_of
from stages.text.words_joins import join_special_cases
from stages.text.words_rules import SPECIAL_STATE, Rules

_ALL = -1


@kernel
def scan_texts(
    rules: Rules,
    data: NDArray[np.uint8],
    offsets: NDArray[np.int64],
    first_text: int,
    chunk: NDArray[np.int64],
    firsts: NDArray[np.int64],
    starts: NDArray[np.int64],
    ends: NDArray[np.int64],
    lengths: NDArray[np.int32],
    hashes: NDArray[np.uint64],
    flags: NDArray[np.uint8],
) -> tuple[int, int]:
    """Find the words of the texts from ``first_text`` on, as long as the arrays are sure to hold those of the next one.

    Sets ``firsts`` too, counting from 0 for the first word of ``first_text``. Returns the first text not done and, if
    ``chunk`` (room for the characters of a chunk) is too small for it, how many columns it needs, else 0.
    """
    return _scan_texts(
        borrowed(rules.characters),
        borrowed(rules.states),
        borrowed(rules.special_sizes),
        borrowed(rules.pieces),
        borrowed(rules.part_bits),
        borrowed(rules.joined),
        borrowed(data),
        borrowed(offsets),
        first_text,
        borrowed(chunk),
        borrowed(firsts),
        borrowed(starts),
        borrowed(ends),
        borrowed(lengths),
        borrowed(hashes),
        borrowed(flags),
    )


@kernel
def _scan_texts(
    characters_table: NDArray[np.uint32],
    states: NDArray[np.uint64],
    special_sizes: NDArray[np.uint64],
    pieces: NDArray[np.int32],
    part_bits: NDArray[np.bool_],
    joined: NDArray[np.int32],
    data: NDArray[np.uint8],
    offsets: NDArray[np.int64],
    first_text: int,
    chunk: NDArray[np.int64],
    firsts: NDArray[np.int64],
    starts: NDArray[np.int64],
    ends: NDArray[np.int64],
    lengths: NDArray[np.int32],
    hashes: NDArray[np.uint64],
    flags: NDArray[np.uint8],
) -> tuple[int, int]:
    found = 0
    for text in range(first_text, len(offsets) - 1):
        firsts[text] = found
        i, end = offsets[text], offsets[text + 1]
        if found + end - i > len(starts):
            return text, 0
        while i < end:
            start, characters, first_code, code, size = i, 0, 0, 0, 0
            any_kind, all_kinds = 0, _ALL
            while i < end:
                code, size = int(np.int64(data[i])), 1
                if code >= 0x80:
                    code, size = code_at(data, i), code_size(code)
                kind = int(np.int64(characters_table[code]))
                if kind & SPACE:
                    break
                any_kind |= kind
                all_kinds &= kind
                if characters == 0:
                    first_code = code
                last_code = code
                characters += 1
                i += size
            if characters == 0:
                i += size
                continue
            whole = np.uint64(0)
            special = False
            if not any_kind & ACTIVE:
                whole = hash_of(data, start, i)
                special = may_be_special(special_sizes, first_code, last_code, characters) and (
                    lead(states, SPECIAL_STATE, whole) >= 0
                )
            if not any_kind & ACTIVE and not special:
                starts[found] = start
                ends[found] = i
                lengths[found] = characters
                hashes[found] = whole
                flags[found] = _flags(any_kind, all_kinds)
                found += 1
                continue
            if characters >= chunk.shape[1]:
                return text, characters + 1
            spread(characters_table, data, start, i, chunk)
            cut_chunk(states, special_sizes, pieces, chunk, characters, any_kind)
            word = 0
            any_kind, all_kinds = 0, _ALL
            for character in range(characters):
                any_kind |= int(chunk[KIND, character])
                all_kinds &= int(chunk[KIND, character])
                if character + 1 == characters or chunk[CUT, character + 1]:
                    starts[found] = chunk[AT, word]
                    ends[found] = chunk[AT, character + 1]
                    lengths[found] = character + 1 - word
                    hashes[found] = hash_between(chunk, word, character + 1)
                    flags[found] = _flags(any_kind, all_kinds)
                    found += 1
                    word = character + 1
                    any_kind, all_kinds = 0, _ALL
        after_joins = join_special_cases(
            states, pieces, part_bits, joined, data, firsts[text], found, starts, ends, hashes
        )
        if after_joins >= 0:
            found = after_joins
            for word in range(firsts[text], found):
                characters, any_kind, all_kinds = _look_at(characters_table, data, starts[word], ends[word])
                lengths[word] = characters
                hashes[word] = hash_of(data, starts[word], ends[word])
                flags[word] = _flags(any_kind, all_kinds)
    firsts[len(offsets) - 1] = found
    return len(offsets) - 1, 0


@kernel
def _flags(any_kind: int, all_kinds: int) -> int:
    """Words.flags of a word from the bits that any of its characters has and those that all have."""
    flags = 0
    if all_kinds & PUNCTUATION:
        flags |= 1
    if any_kind & ALPHABETIC:
        flags |= 2
    return flags


@kernel
def _look_at(
    characters_table: NDArray[np.uint32], data: NDArray[np.uint8], start: int, end: int
) -> tuple[int, int, int]:
    """Characters of a word, and the bits that any and all of them have."""
    i, characters, any_kind, all_kinds = start, 0, 0, _ALL
    while i < end:
        kind = int(np.int64(characters_table[code_at(data, i)]))
        any_kind |= kind
        all_kinds &= kind
        characters += 1
        i += code_size(data[i])
    return characters, any_kind, all_kinds
