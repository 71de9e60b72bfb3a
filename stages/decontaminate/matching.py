"""Passages that texts share with evaluation texts."""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from stages.decontaminate.index import NGRAM_FACTOR, NgramIndex, bloom_bits, factor_of_leaving
from stages.kernel import kernel
from stages.text.normalized_words import STANDS_ALONE, characters, finished, scan, texts_of

FIRST_ROOM = 1024
MAX_SERIAL = np.iinfo(np.int32).max


@dataclass(frozen=True)
class Matches:
    """Runs of words that texts share with evaluation texts, in order of text and first word; one array each."""

    text: NDArray[np.int32]  # number of the text that was searched
    evaluation_text: NDArray[np.int32]  # number in the index
    start: NDArray[np.int32]  # characters
    end: NDArray[np.int32]
    words: NDArray[np.int32]  # two characters of a script without spaces are one word here
    overlap: NDArray[np.float64]  # share of the evaluation text's distinct n-grams that the whole text searched holds

    def only(self, min_words: int | None, min_overlap: float | None) -> Matches:
        """Those of so many words, or with an evaluation text that is so far held; None: none is enough."""
        enough = np.zeros(len(self.text), np.bool_)
        if min_words is not None:
            enough |= self.words >= min_words
        if min_overlap is not None:
            enough |= self.overlap >= min_overlap
        return Matches(*(getattr(self, field.name)[enough] for field in fields(self)))


class Matcher:
    """Searches texts; for one thread at a time."""

    def __init__(self, index: NgramIndex) -> None:
        self.index = index
        self._seen = np.zeros(len(index.hashes), np.int32)  # serial number of the text that last held the n-gram
        self._found = np.zeros(len(index.ngrams), np.int32)  # distinct n-grams of each evaluation text, in this text
        self._covered = np.zeros(len(index.ngrams), np.int32)  # words up to which a run with it is known
        self._touched = np.zeros(len(index.ngrams), np.int32)  # evaluation texts with any n-gram
        self._serial = 0
        self._room = FIRST_ROOM

    def matches(self, column: pa.Array | pa.ChunkedArray) -> Matches:
        """All runs of words that count.

        A run is a longest sequence of n-grams that stand one after the other in both texts and all count. An n-gram
        that lies inside a run with an evaluation text starts no other run with the same one.
        """
        texts = texts_of(column)
        index = self.index
        sizes = np.diff(texts.offsets)
        room = 2 * int(sizes.max(initial=0))  # untouched pages of these cost nothing
        words, starts, ends = np.empty(room, np.uint64), np.empty(room, np.int32), np.empty(room, np.int32)
        while True:
            if self._serial > MAX_SERIAL - len(texts):
                self._seen[:] = 0
                self._serial = 0
            found = np.empty((5, self._room), np.int32)
            overlaps = np.empty(self._room, np.float64)
            count = _search(
                texts.content,
                texts.offsets,
                *characters(),
                index.size,
                index.words,
                index.text,
                index.counts,
                index.ngrams,
                index.hashes,
                index.first,
                index.places,
                index.shift,
                index.directory,
                index.bloom,
                words,
                starts,
                ends,
                self._seen,
                self._found,
                self._covered,
                self._touched,
                self._serial,
                found,
                overlaps,
            )
            self._serial += len(texts)
            if count <= self._room:
                break
            self._room = 2 * count
        text, evaluation_text, start, end, length = found[:, :count].copy()
        start, end = texts.spans(text, start, end)
        return Matches(text, evaluation_text, start, end, length, overlaps[:count].copy())


@kernel
def _number_of(ngram: np.uint64, hashes: NDArray[np.uint64], directory: NDArray[np.int32], shift: np.uint64) -> int:
    """Number of an n-gram in the index; -1 if it is not there."""
    upper = np.int64(ngram >> shift)
    for number in range(directory[upper], directory[upper + 1]):
        if hashes[number] == ngram:
            return number
    return -1


@kernel
def _run(
    words: NDArray[np.uint64],
    count: int,
    at: int,
    place: int,
    size: int,
    evaluation_words: NDArray[np.uint64],
    counts: NDArray[np.bool_],
) -> int:
    """Words of the run that begins at a word of the text and a place of the index; 0 if their n-grams differ."""
    for i in range(size):
        if words[at + i] != evaluation_words[place + i]:
            return 0
    length = size
    while (
        at + length < count
        and counts[place + length - size + 1]
        and words[at + length] == evaluation_words[place + length]
    ):
        length += 1
    return length


@kernel
def _words_of(run: NDArray[np.uint64]) -> int:
    alone = 0
    for word in run:
        alone += word & STANDS_ALONE != 0
    return len(run) - (alone + 1) // 2


@kernel
def _search(
    content: NDArray[np.uint8],
    offsets: NDArray[np.int64],
    table: NDArray[np.int32],
    expansions: NDArray[np.int32],
    size: int,
    evaluation_words: NDArray[np.uint64],
    text_at: NDArray[np.int32],
    counts: NDArray[np.bool_],
    ngrams: NDArray[np.int32],
    hashes: NDArray[np.uint64],
    first: NDArray[np.int64],
    places: NDArray[np.int32],
    shift: np.uint64,
    directory: NDArray[np.int32],
    bloom: NDArray[np.uint64],
    words: NDArray[np.uint64],
    starts: NDArray[np.int32],
    ends: NDArray[np.int32],
    seen: NDArray[np.int32],
    found: NDArray[np.int32],
    covered: NDArray[np.int32],
    touched: NDArray[np.int32],
    serial: int,
    runs: NDArray[np.int32],
    overlaps: NDArray[np.float64],
) -> int:
    """Write the runs of each text (text, evaluation text, start, end, words) and the overlaps; gives their number,
    which may be more than there is room for."""
    room = runs.shape[1]
    total = 0
    leaving = factor_of_leaving(size)
    blocks = len(bloom) - 1
    for text in range(len(offsets) - 1):
        count = scan(content, offsets[text], offsets[text + 1], table, expansions, words, starts, ends)
        serial += 1
        first_run = total
        texts = 0
        rolling = np.uint64(0)
        for last in range(count):
            if last >= size:
                rolling -= words[last - size] * leaving
            rolling = rolling * NGRAM_FACTOR + words[last]
            at = last - size + 1
            if at < 0:
                continue
            ngram = finished(rolling)
            bits = bloom_bits(ngram)
            if bloom[np.int64(ngram >> np.uint64(24)) & blocks] & bits != bits:
                continue
            number = _number_of(ngram, hashes, directory, shift)
            if number < 0:
                continue
            is_new = seen[number] != serial
            seen[number] = serial
            next_place = first[number]
            while next_place < first[number + 1]:
                evaluation_text = text_at[places[next_place]]
                is_known = covered[evaluation_text] > last
                longest = 0
                while next_place < first[number + 1] and text_at[places[next_place]] == evaluation_text:
                    if is_new or not is_known:
                        length = _run(words, count, at, places[next_place], size, evaluation_words, counts)
                        longest = max(longest, length)
                    next_place += 1
                if longest == 0:
                    continue
                if is_new:
                    if found[evaluation_text] == 0:
                        touched[texts] = evaluation_text
                        texts += 1
                    found[evaluation_text] += 1
                if not is_known:
                    covered[evaluation_text] = at + longest
                    if total < room:
                        runs[0, total] = text
                        runs[1, total] = evaluation_text
                        runs[2, total] = starts[at]
                        runs[3, total] = ends[at + longest - 1]
                        runs[4, total] = _words_of(words[at : at + longest])
                    total += 1
        for i in range(first_run, min(total, room)):
            overlaps[i] = found[runs[1, i]] / ngrams[runs[1, i]]
        for i in range(texts):
            found[touched[i]] = 0
            covered[touched[i]] = 0
    return total
