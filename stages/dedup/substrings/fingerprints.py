"""Which runs of words may occur elsewhere: winnowed fingerprints, and hashes of the windows that hold them.

A *window* is a run of ``min_words`` words, the shortest that counts. Of each window one n-gram of half its length is
selected, the one of the least hash: its *anchor* (winnowing: Schleimer, Wilkerson, Aiken 2003, with n-grams of
``min_words // 2`` words). Equal windows have anchors of equal hash, so a window can occur twice only if its anchor's
hash does. About two anchors stand in ``min_words - min_words // 2 + 2`` words of text, and only they are passed on at
first; windows are hashed where the anchor turned out to be shared.

A window counts as equal to another if both the 64-bit hash of its words and the hash of its anchor, which is made of
another polynomial, are. Windows that differ within their anchors pass for equal with odds of 1 to 2**123 (the least of
26 hashes has about 59 bits that are free), others with odds of 1 to 2**64: with a million places for each of 100,000
shared anchors, that is one chance in 400 for a single false match in the whole corpus. Words themselves are compared by
62-bit hashes (``stages.text.normalized_words``).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from stages.kernel import kernel
from stages.text.normalized_words import characters, finished, scan, texts_of

# Bases of the rolling hashes: odd, of no structure.
_NGRAM_FACTOR = np.uint64(0xD6E8FEB86659FD93)
_WINDOW_FACTOR = np.uint64(0xA0761D6478BD642F)
_WORD_BITS = 32  # of a place: the rest is the row


@dataclass(frozen=True)
class Anchors:
    """The anchors of some texts, in order."""

    hashes: NDArray[np.uint64]
    places: NDArray[np.uint64]  # row of the text << 32 | number of the anchor's first word
    words: NDArray[np.int64]  # (texts,), how many each has


@dataclass(frozen=True)
class Windows:
    """Windows whose anchors are shared, in order, grouped by anchor; one element a group but for ``hashes``."""

    text: NDArray[np.int32]  # number of the text
    anchor: NDArray[np.uint64]  # its hash
    first: NDArray[np.int32]  # number of the first window's first word; each next window begins a word later
    ends: NDArray[np.int64]  # windows up to the end of the group
    hashes: NDArray[np.uint64]  # of each window


@dataclass(frozen=True)
class Passages:
    """Runs of words in some texts."""

    start: NDArray[np.int32]  # characters
    end: NDArray[np.int32]
    hash: NDArray[np.uint64]  # of its words
    words: NDArray[np.int64]  # (texts,), how many each text has


def anchors(
    column: pa.Array | pa.ChunkedArray, salts: NDArray[np.uint64], min_words: int, rows: NDArray[np.int64]
) -> Anchors:
    """The anchors of all texts of a column.

    Args:
        salts: one a text. Texts of different salts have no anchor or window in common.
        rows: number that each text has in the places.
    """
    texts = texts_of(column, with_places=False)
    hashes = np.empty(_room(texts.offsets, of_all=True), np.uint64)  # untouched pages of these cost nothing
    places = np.empty(len(hashes), np.uint64)
    words = np.zeros(len(texts), np.int64)
    count = _anchors(
        texts.content,
        texts.offsets,
        *characters(),
        salts,
        min_words,
        _room(texts.offsets),
        rows,
        hashes,
        places,
        words,
    )
    return Anchors(hashes[:count].copy(), places[:count].copy(), words)


def windows(
    column: pa.Array | pa.ChunkedArray,
    salts: NDArray[np.uint64],
    min_words: int,
    rows: NDArray[np.int64],
    shared: NDArray[np.uint64],
) -> Windows:
    """The windows of all texts whose anchors stand at one of the places ``shared`` (ascending).

    Args:
        salts: as for ``anchors``.
        rows: number that each text has in the places; ascending.
    """
    texts = texts_of(column, with_places=False)
    room = _room(texts.offsets, of_all=True)
    groups = np.empty((2, len(shared)), np.int32)
    anchor = np.empty(len(shared), np.uint64)
    ends = np.empty(len(shared), np.int64)
    hashes = np.empty(room, np.uint64)
    count = _windows(
        texts.content,
        texts.offsets,
        *characters(),
        salts,
        min_words,
        _room(texts.offsets),
        rows,
        shared,
        groups[0],
        groups[1],
        anchor,
        ends,
        hashes,
    )
    total = ends[count - 1] if count else 0
    return Windows(groups[0, :count], anchor[:count], groups[1, :count], ends[:count], hashes[:total].copy())


def passages(
    column: pa.Array | pa.ChunkedArray, text: NDArray[np.int32], first: NDArray[np.int32], end: NDArray[np.int32]
) -> Passages:
    """Where runs of words stand in their texts.

    Args:
        text: number of the text of each run; ascending.
        first: number of its first word.
        end: number of the word behind its last.
    """
    texts = texts_of(column)
    starts, ends = np.zeros(len(text), np.int32), np.zeros(len(text), np.int32)
    hashes = np.zeros(len(text), np.uint64)
    words = np.zeros(len(texts), np.int64)
    room = _room(texts.offsets)
    _passages(texts.content, texts.offsets, *characters(), room, text, first, end, starts, ends, hashes, words)
    starts, ends = texts.spans(text, starts, ends)
    return Passages(starts, ends, hashes, words)


def _room(offsets: NDArray[np.int64], of_all: bool = False) -> int:
    """Words that the longest text, or all texts together, may have."""
    return 2 * int(offsets[-1] - offsets[0] if of_all else np.diff(offsets).max(initial=0))


@kernel
def _roll(words: NDArray[np.uint64], size: int, factor: np.uint64, salt: np.uint64, hashes: NDArray[np.uint64]) -> int:
    """Write the hash of each run of ``size`` words; gives their number."""
    leaving = np.uint64(1)  # what the oldest word of a run has been multiplied with
    for _ in range(size - 1):
        leaving *= factor
    rolling = np.uint64(0)
    for last in range(len(words)):
        if last >= size:
            rolling -= words[last - size] * leaving
        rolling = rolling * factor + words[last]
        if last >= size - 1:
            hashes[last - size + 1] = finished(rolling ^ salt)
    return max(0, len(words) - size + 1)


@kernel
def _selected(hashes: NDArray[np.uint64], window: int, reach: int, before: int) -> int:
    """Number of the n-gram that is selected of the window with this number, if ``before`` is the last window's.

    Of equal hashes the one that was selected before, else the last: runs of one word have few anchors then.
    """
    if before >= window:
        last = window + reach - 1
        return last if hashes[last] < hashes[before] else before
    least = window
    for i in range(window + 1, window + reach):
        if hashes[i] <= hashes[least]:
            least = i
    return least


@kernel
def _anchors(
    content: NDArray[np.uint8],
    offsets: NDArray[np.int64],
    table: NDArray[np.int32],
    expansions: NDArray[np.int32],
    salts: NDArray[np.uint64],
    min_words: int,
    room: int,
    rows: NDArray[np.int64],
    hashes: NDArray[np.uint64],
    places: NDArray[np.uint64],
    words_of: NDArray[np.int64],
) -> int:
    words, ngrams = np.empty(room, np.uint64), np.empty(room, np.uint64)
    starts, ends = np.empty(room, np.int32), np.empty(room, np.int32)
    size = min_words // 2
    reach = min_words - size + 1
    found = 0
    for text in range(len(offsets) - 1):
        count = scan(content, offsets[text], offsets[text + 1], table, expansions, words, starts, ends)
        words_of[text] = count
        if count < min_words:
            continue
        _roll(words[:count], size, _NGRAM_FACTOR, salts[text], ngrams)
        selected = -1
        for window in range(count - min_words + 1):
            before = selected
            selected = _selected(ngrams, window, reach, before)
            if selected != before:
                hashes[found] = ngrams[selected]
                places[found] = np.uint64(rows[text]) << np.uint64(_WORD_BITS) | np.uint64(selected)
                found += 1
    return found


@kernel
def _windows(
    content: NDArray[np.uint8],
    offsets: NDArray[np.int64],
    table: NDArray[np.int32],
    expansions: NDArray[np.int32],
    salts: NDArray[np.uint64],
    min_words: int,
    room: int,
    rows: NDArray[np.int64],
    shared: NDArray[np.uint64],
    text_of: NDArray[np.int32],
    first_of: NDArray[np.int32],
    anchor_of: NDArray[np.uint64],
    ends_of: NDArray[np.int64],
    hashes: NDArray[np.uint64],
) -> int:
    words, ngrams = np.empty(room, np.uint64), np.empty(room, np.uint64)
    starts, ends = np.empty(room, np.int32), np.empty(room, np.int32)
    whole = np.empty(room, np.uint64)
    size = min_words // 2
    reach = min_words - size + 1
    groups, found, next_shared = 0, 0, 0
    for text in range(len(offsets) - 1):
        row = np.uint64(rows[text]) << np.uint64(_WORD_BITS)
        while next_shared < len(shared) and shared[next_shared] < row:
            next_shared += 1
        count = scan(content, offsets[text], offsets[text + 1], table, expansions, words, starts, ends)
        if count < min_words:
            continue
        _roll(words[:count], size, _NGRAM_FACTOR, salts[text], ngrams)
        _roll(words[:count], min_words, _WINDOW_FACTOR, salts[text], whole)
        selected = -1
        is_shared = False
        for window in range(count - min_words + 1):
            before = selected
            selected = _selected(ngrams, window, reach, before)
            if selected != before:
                place = row | np.uint64(selected)
                while next_shared < len(shared) and shared[next_shared] < place:
                    next_shared += 1
                is_shared = next_shared < len(shared) and shared[next_shared] == place
                if is_shared:
                    text_of[groups] = text
                    first_of[groups] = window
                    anchor_of[groups] = ngrams[selected]
                    groups += 1
            if is_shared:
                hashes[found] = whole[window]
                found += 1
                ends_of[groups - 1] = found
    return groups


@kernel
def _passages(
    content: NDArray[np.uint8],
    offsets: NDArray[np.int64],
    table: NDArray[np.int32],
    expansions: NDArray[np.int32],
    room: int,
    text_of: NDArray[np.int32],
    first: NDArray[np.int32],
    end: NDArray[np.int32],
    from_character: NDArray[np.int32],
    to_character: NDArray[np.int32],
    hashes: NDArray[np.uint64],
    words_of: NDArray[np.int64],
) -> None:
    words = np.empty(room, np.uint64)
    starts, ends = np.empty(room, np.int32), np.empty(room, np.int32)
    run = 0
    for text in range(len(offsets) - 1):
        words_of[text] = scan(content, offsets[text], offsets[text + 1], table, expansions, words, starts, ends)
        while run < len(text_of) and text_of[run] == text:
            from_character[run] = starts[first[run]]
            to_character[run] = ends[end[run] - 1]
            value = np.uint64(0)
            for i in range(first[run], end[run]):
                value = value * _WINDOW_FACTOR + words[i]
            hashes[run] = finished(value)
            run += 1
