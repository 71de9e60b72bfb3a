"""Tables of what one partition of anchors or windows holds, filled and asked a file at a time.

So memory is bounded by the number of different anchors or windows, however often one of them occurs: boilerplate in a
hundred million documents is one entry.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from stages.kernel import kernel
from stages.text.utf8 import read_only, spread, table_bits

# What can stand for the place of an occurrence.
NOTHING = np.uint64(0)
OWN_DOCUMENT = np.uint64(1)
_FIRST_BITS = 10

# Columns of the table of windows. An empty slot has NOTHING for its best occurrence.
_ANCHOR, _WINDOW = 0, 1
_ORDER, _DOCUMENT, _FAMILY, _BEST = 2, 3, 4, 5  # the best occurrence
_OTHER_ORDER, _OTHER_DOCUMENT, _OTHER_BEST = 6, 7, 8  # the best one of another family; NOTHING if there is none
_OWN_DOCUMENT, _OWN_WORD = 9, 10  # in the pass that marks: document seen last, and its first word there
_COLUMNS = 11

WINDOW_BYTES = 8 * _COLUMNS * 3  # a table is between a third and two thirds full
ANCHOR_BYTES = 9 * 4  # a quarter to half


class SharedAnchors:
    """Which anchors occur more than once."""

    def __init__(self) -> None:
        self._count = 0
        self._make(_FIRST_BITS)

    def _make(self, bits: int) -> None:
        self._bits = bits
        self._hashes = np.zeros(1 << bits, np.uint64)
        self._times = np.zeros(1 << bits, np.uint8)  # 2: twice or more

    def add(self, hashes: NDArray[np.uint64]) -> None:
        """Count these."""
        bits = int(table_bits(self._count + len(hashes)))
        if bits > self._bits:
            held = self._times > 0
            hashes_held, times_held = read_only(self._hashes[held]), self._times[held]
            self._make(bits)
            _count_anchors(hashes_held, times_held, self._hashes, self._times, self._bits)
        once = np.ones(len(hashes), np.uint8)
        self._count += _count_anchors(hashes, once, self._hashes, self._times, self._bits)

    def among(self, hashes: NDArray[np.uint64]) -> NDArray[np.bool_]:
        """Which of these, that have been added, occur more than once."""
        return _are_shared(hashes, self._hashes, self._times, self._bits)

    @property
    def size_bytes(self) -> int:
        """Memory of the table."""
        return self._hashes.nbytes + self._times.nbytes


@dataclass(frozen=True)
class Occurrences:
    """Windows of one file, in groups of one document and anchor each, in order of documents and words.

    Of two documents the one of the lower ``order`` is the better, then the one of the lower ``document``.
    """

    anchor: NDArray[np.uint64]
    order: NDArray[np.uint64]
    document: NDArray[np.uint64]  # hash of its id
    family: NDArray[np.uint64]  # documents of one family count as one
    first: NDArray[np.int32]  # number of the first window's first word
    offsets: NDArray[np.int32]  # of each group's windows in ``hashes``; one more than there are groups
    hashes: NDArray[np.uint64]


@dataclass(frozen=True)
class Runs:
    """Runs of words that occur elsewhere, and better."""

    group: NDArray[np.int32]  # number among the occurrences that were asked about
    first: NDArray[np.int32]  # number of the first word
    end: NDArray[np.int32]  # number of the word behind the last
    kept: NDArray[np.uint64]  # place (``place_of``) of the best occurrence of its first window, or OWN_DOCUMENT


class BestOccurrences:
    """The best occurrence of each window of a partition, and the best one of another family."""

    def __init__(self, min_words: int, within_document: bool) -> None:
        self._min_words = min_words
        self._within_document = within_document
        self._count = 0
        self._make(1 << _FIRST_BITS)

    def _make(self, slots: int) -> None:
        self._table = np.zeros((slots, _COLUMNS), np.uint64)

    def add(self, file: int, occurrences: Occurrences) -> None:
        """Take the occurrences of one file into account."""
        most = self._count + len(occurrences.hashes)
        if 3 * most > 2 * len(self._table):
            old = self._table[self._table[:, _BEST] != NOTHING]
            self._make(1 << (3 * most // 2).bit_length())
            _move(old, self._table)
        self._count += _add_windows(
            occurrences.anchor,
            occurrences.order,
            occurrences.document,
            occurrences.family,
            occurrences.offsets,
            occurrences.hashes,
            np.uint64(place_of(file, 0)),
            self._table,
        )

    def winners(self) -> pa.Array:
        """Places of all occurrences that others may lose to, ascending."""
        in_several = self._table[:, _OTHER_BEST] != NOTHING
        places = np.sort(np.concatenate([self._table[in_several, column] for column in (_BEST, _OTHER_BEST)]))
        return pa.array(places[np.diff(places, prepend=NOTHING) != 0])

    def runs(self, occurrences: Occurrences) -> Runs:
        """What has better occurrences. All files must have been added, and each is asked about once."""
        runs = np.empty((3, len(occurrences.anchor)), np.int32)
        kept = np.empty(len(occurrences.anchor), np.uint64)
        count = _mark_windows(
            occurrences.anchor,
            occurrences.order,
            occurrences.document,
            occurrences.family,
            occurrences.first,
            occurrences.offsets,
            occurrences.hashes,
            self._min_words,
            self._within_document,
            self._table,
            runs,
            kept,
        )
        group, first, end = runs[:, :count]
        return Runs(group, first, end, kept[:count])

    @property
    def size_bytes(self) -> int:
        """Memory of the table."""
        return self._table.nbytes


def place_of(file: int, group: int) -> int:
    """The place of an occurrence: which group of which file. Ascending; above NOTHING and OWN_DOCUMENT."""
    return (file + 1) << 32 | group


@kernel
def _count_anchors(
    added: NDArray[np.uint64],
    added_times: NDArray[np.uint8],
    hashes: NDArray[np.uint64],
    times: NDArray[np.uint8],
    bits: int,
) -> int:
    """How many are new."""
    new = 0
    mask = (1 << bits) - 1
    for i in range(len(added)):
        slot = spread(added[i], bits)
        while times[slot] and hashes[slot] != added[i]:
            slot = (slot + 1) & mask
        new += times[slot] == 0
        hashes[slot] = added[i]
        times[slot] = min(2, times[slot] + added_times[i])
    return new


@kernel
def _are_shared(
    asked: NDArray[np.uint64], hashes: NDArray[np.uint64], times: NDArray[np.uint8], bits: int
) -> NDArray[np.bool_]:
    shared = np.empty(len(asked), np.bool_)
    mask = (1 << bits) - 1
    for i in range(len(asked)):
        slot = spread(asked[i], bits)
        while times[slot] and hashes[slot] != asked[i]:
            slot = (slot + 1) & mask
        shared[i] = times[slot] > 1
    return shared


@kernel
def _slot(anchor: np.uint64, window: np.uint64, table: NDArray[np.uint64]) -> int:
    """The slot of a window, or the empty one where it belongs."""
    mask = len(table) - 1
    slot = int(np.int64(window)) & mask
    while table[slot, _BEST] != NOTHING and (table[slot, _WINDOW] != window or table[slot, _ANCHOR] != anchor):
        slot = (slot + 1) & mask
    return slot


@kernel
def _move(entries: NDArray[np.uint64], table: NDArray[np.uint64]) -> None:
    for i in range(len(entries)):
        table[_slot(entries[i, _ANCHOR], entries[i, _WINDOW], table)] = entries[i]


@kernel
def _is_better(order: np.uint64, document: np.uint64, than_order: np.uint64, than_document: np.uint64) -> bool:
    return bool(order < than_order or (order == than_order and document < than_document))


@kernel
def _add_windows(
    anchors: NDArray[np.uint64],
    orders: NDArray[np.uint64],
    documents: NDArray[np.uint64],
    families: NDArray[np.uint64],
    offsets: NDArray[np.int32],
    hashes: NDArray[np.uint64],
    place: np.uint64,
    table: NDArray[np.uint64],
) -> int:
    """How many windows are new; ``place`` is that of the first group."""
    new = 0
    for group in range(len(anchors)):
        order, document, family, here = orders[group], documents[group], families[group], place + np.uint64(group)
        for i in range(offsets[group], offsets[group + 1]):
            entry = table[_slot(anchors[group], hashes[i], table)]
            if entry[_BEST] == NOTHING:
                entry[_ANCHOR], entry[_WINDOW] = anchors[group], hashes[i]
                entry[_ORDER], entry[_DOCUMENT], entry[_FAMILY], entry[_BEST] = order, document, family, here
                new += 1
            elif _is_better(order, document, entry[_ORDER], entry[_DOCUMENT]):
                if entry[_FAMILY] != family:
                    entry[_OTHER_ORDER], entry[_OTHER_DOCUMENT] = entry[_ORDER], entry[_DOCUMENT]
                    entry[_OTHER_BEST] = entry[_BEST]
                entry[_ORDER], entry[_DOCUMENT], entry[_FAMILY], entry[_BEST] = order, document, family, here
            elif entry[_FAMILY] != family and (
                entry[_OTHER_BEST] == NOTHING
                or _is_better(order, document, entry[_OTHER_ORDER], entry[_OTHER_DOCUMENT])
            ):
                entry[_OTHER_ORDER], entry[_OTHER_DOCUMENT], entry[_OTHER_BEST] = order, document, here
    return new


@kernel
def _mark_windows(
    anchors: NDArray[np.uint64],
    orders: NDArray[np.uint64],
    documents: NDArray[np.uint64],
    families: NDArray[np.uint64],
    firsts: NDArray[np.int32],
    offsets: NDArray[np.int32],
    hashes: NDArray[np.uint64],
    min_words: int,
    within_document: bool,
    table: NDArray[np.uint64],
    runs: NDArray[np.int32],
    kept_of: NDArray[np.uint64],
) -> int:
    """Write the runs (group, first word, word behind the last); gives their number."""
    count = 0
    for group in range(len(anchors)):
        for i in range(offsets[group], offsets[group + 1]):
            word = firsts[group] + i - offsets[group]
            entry = table[_slot(anchors[group], hashes[i], table)]
            kept = NOTHING
            if entry[_FAMILY] != families[group]:
                kept = entry[_BEST]
            elif entry[_OTHER_BEST] != NOTHING and _is_better(
                entry[_OTHER_ORDER], entry[_OTHER_DOCUMENT], orders[group], documents[group]
            ):
                kept = entry[_OTHER_BEST]
            if entry[_OWN_DOCUMENT] != documents[group]:
                entry[_OWN_DOCUMENT], entry[_OWN_WORD] = documents[group], np.uint64(word)
            elif kept == NOTHING and within_document and word >= np.int64(entry[_OWN_WORD]) + min_words:
                kept = OWN_DOCUMENT
            if kept == NOTHING:
                continue
            if count == 0 or runs[0, count - 1] != group:  # the windows of a group overlap: they make one run
                runs[0, count], runs[1, count], kept_of[count] = group, word, kept
                count += 1
            runs[2, count - 1] = word + min_words
    return count
