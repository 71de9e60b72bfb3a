"""How a body is cut into sequences of context + 1 tokens, and which of their positions belong to which document.

  concatenated  the body is one run of tokens, cut every `context`; a sequence begins with the last target of the one
                before it. Nothing is padded; a document that lies over a cut is read in two halves.
  best fit      documents stay whole: each is put into the fullest sequence that still has room for it, longest first
                (best-fit decreasing; Ding et al. 2024, arXiv 2404.10830). A document longer than a sequence is cut
                every `context` tokens, as above, and only its last piece shares a sequence: the token with which that
                begins is no target, as it is one in the piece before. What stays free is padded.

Either is a pure function of the body: the same sequences on every machine.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numba import njit
from numba.typed import List
from numpy.typing import NDArray

from proxy_models.shards import Integers, ShardError, TokenBody, TokenReader

# Documents packed together. More of them fill sequences no better: at 2^20 what stays free is in the last few only.
DOCUMENTS_AT_ONCE = 1 << 20
TOKENS_AT_ONCE = 1 << 22  # scanned for ends of documents
PADDING = -1  # as the document of a position


@dataclass(frozen=True)
class PackingReport:
    """What packing made of one body.

    trained: targets. padded: positions without a token. repeated: tokens that are there for those after them alone, as
    they are targets elsewhere. trained + padded + repeated = sequences * context. cropped: tokens that are in no
    sequence. cut_documents: those that are read in two pieces or more.
    """

    sequences: int
    trained: int
    padded: int
    repeated: int
    cropped: int
    documents: int
    cut_documents: int


def concatenated_report(body: TokenBody, context: int, eod: int) -> PackingReport:
    """Of the sequences that TokenBody.sequence_count counts. Reads the whole body for the ends of its documents."""
    sequences = body.sequence_count(context)
    end = sequences * context + 1 if sequences else 0
    documents = cut = begin = 0
    for ends in document_ends(body, eod):
        begins = np.concatenate([[begin], ends[:-1]])
        documents += len(ends)
        # Sequence q holds the tokens q * context .. (q + 1) * context, the last of which begins the next one.
        sequence = np.minimum(begins // context, sequences - 1)
        cut += int(np.count_nonzero((begins < end) & (ends > (sequence + 1) * context + 1)))
        begin = int(ends[-1])
    return PackingReport(sequences, sequences * context, 0, 0, body.tokens - end, documents, cut)


@dataclass(frozen=True)
class BestFit:
    """first: of each sequence, its first piece, int64 [sequences + 1]. start, length: of each piece in the body,
    int64 and int32 [pieces]. is_rest: bool [pieces], whether it begins with the last token of the piece before it in
    its document. 13 bytes for each document. Made by best_fit."""

    body: TokenBody
    context: int
    first: Integers
    start: Integers
    length: NDArray[np.int32]
    is_rest: NDArray[np.bool_]
    documents: int
    cut_documents: int

    @property
    def sequence_count(self) -> int:
        return len(self.first) - 1

    @cached_property
    def repeated(self) -> int:
        """Tokens that begin the rest of a document behind another document."""
        return int(np.count_nonzero(self.is_rest) - np.count_nonzero(self.is_rest[self.first[:-1]]))

    @cached_property
    def trained(self) -> int:
        """Targets in all sequences: all tokens but the first of each sequence, and those that are repeated."""
        return int(self.length.sum(dtype=np.int64)) - self.sequence_count - self.repeated

    def report(self) -> PackingReport:
        padded = self.sequence_count * self.context - self.trained - self.repeated
        return PackingReport(
            self.sequence_count, self.trained, padded, self.repeated, 0, self.documents, self.cut_documents
        )


def best_fit(body: TokenBody, context: int, eod: int, documents_at_once: int = DOCUMENTS_AT_ONCE) -> BestFit:
    """Pack a body. Reads it once for the ends of its documents.

    A document of one token more than the context, and so each piece, has all its tokens but the first as targets.
    Working memory is that of `documents_at_once` documents; those further apart are never packed together.
    Raises ShardError if the body does not end with the end of a document.
    """
    counts, starts, lengths, rests = [np.zeros(1, dtype=np.int64)], [], [], []
    documents = cut = begin = 0
    for ends in _windows(document_ends(body, eod), documents_at_once):
        sizes = np.diff(ends, prepend=begin)
        piece_start, piece_length, is_rest = _pieces(begin + np.cumsum(sizes) - sizes, sizes, context)
        sequence, sequences = _packed(piece_length, context + 1)
        # Stable: pieces of one sequence stay in the order of the body.
        order = np.argsort(sequence, kind="stable")
        counts.append(np.bincount(sequence, minlength=sequences))
        starts.append(piece_start[order])
        lengths.append(piece_length[order].astype(np.int32))
        rests.append(is_rest[order])
        documents += len(ends)
        cut += int(np.count_nonzero(sizes > context + 1))
        begin = int(ends[-1])
    return BestFit(
        body,
        context,
        np.cumsum(np.concatenate(counts)),
        np.concatenate(starts) if starts else np.zeros(0, dtype=np.int64),
        np.concatenate(lengths) if lengths else np.zeros(0, dtype=np.int32),
        np.concatenate(rests) if rests else np.zeros(0, dtype=np.bool_),
        documents,
        cut,
    )


def document_ends(body: TokenBody, eod: int) -> Iterator[Integers]:
    """One past each document's last token, in order, some at a time: int64 [>= 1].

    Raises ShardError if the body does not end with the end of a document.
    """
    begin, last = 0, 0
    for ids in body.pieces(TOKENS_AT_ONCE):
        ends = np.flatnonzero(ids == eod) + (begin + 1)
        begin += len(ids)
        if len(ends):
            last = int(ends[-1])
            yield ends
    if last != body.tokens:
        raise ShardError(
            f"{body.source}/{body.split}: its {body.tokens} tokens do not end with the end of a document, id {eod}; "
            "tokenize again"
        )


def _windows(ends: Iterator[Integers], size: int) -> Iterator[Integers]:
    """The same ends, `size` at a time."""
    waiting: list[Integers] = []
    count = 0
    for some in ends:
        waiting.append(some)
        count += len(some)
        while count >= size:
            together = np.concatenate(waiting)
            yield together[:size]
            waiting, count = [together[size:]], count - size
    if count:
        yield np.concatenate(waiting)


def _pieces(start: Integers, size: Integers, context: int) -> tuple[Integers, Integers, NDArray[np.bool_]]:
    """Documents cut into pieces of at most context + 1 tokens, each beginning with the last token of the one before:
    start and length, int64 [pieces], and whether there is one before, bool [pieces]."""
    counts = np.maximum(1, -(-(size - 1) // context))
    document = np.repeat(np.arange(len(size)), counts)
    offset = (np.arange(len(document)) - np.repeat(np.cumsum(counts) - counts, counts)) * context
    return start[document] + offset, np.minimum(context + 1, size[document] - offset), offset > 0


@njit(cache=True, nogil=True)
def _packed(length: Integers, capacity: int) -> tuple[Integers, int]:
    """The sequence of each piece, int64 [pieces], and how many sequences: best-fit decreasing.

    Of equally long pieces the earlier goes first, of equally full sequences the last made or filled is taken.
    """
    number_of = np.zeros(capacity + 2, dtype=np.int64)
    for i in range(len(length)):
        number_of[capacity - length[i] + 1] += 1
    place = np.cumsum(number_of)
    by_length = np.empty(len(length), dtype=np.int64)
    for i in range(len(length)):
        by_length[place[capacity - length[i]]] = i
        place[capacity - length[i]] += 1

    # Sequences by the room they have, as linked lists; over them a tree of counts finds the least room that suffices.
    leaves = 1
    while leaves < capacity + 1:
        leaves *= 2
    lists_below = np.zeros(2 * leaves, dtype=np.int64)
    newest = np.full(capacity + 1, -1, dtype=np.int64)
    older = np.empty(len(length), dtype=np.int64)
    sequence_of = np.empty(len(length), dtype=np.int64)
    sequences = 0
    for i in by_length:
        room = _least_room(lists_below, leaves, length[i])
        if room < 0:
            room = capacity
            sequence = sequences
            sequences += 1
        else:
            sequence = newest[room]
            newest[room] = older[sequence]
            if newest[room] < 0:
                _count(lists_below, leaves + room, -1)
        sequence_of[i] = sequence
        room -= length[i]
        if room > 0:
            if newest[room] < 0:
                _count(lists_below, leaves + room, 1)
            older[sequence] = newest[room]
            newest[room] = sequence
    return sequence_of, sequences


@njit(cache=True, nogil=True)
def _count(tree: Integers, leaf: int, change: int) -> None:
    while leaf > 0:
        tree[leaf] += change
        leaf //= 2


@njit(cache=True, nogil=True)
def _least_room(tree: Integers, leaves: int, wanted: int) -> int:
    """The first leaf from `wanted` on that counts something; -1 if none does."""
    node = leaves + wanted
    while tree[node] == 0:
        while node % 2 == 1:  # a right child has nothing to its right under its parent
            node //= 2
        if node == 0:
            return -1
        node += 1
    while node < leaves:
        node *= 2
        if tree[node] == 0:
            node += 1
    return node - leaves


class PackedReader:
    """Reads sequences of several sources that were packed by best fit at one context."""

    def __init__(self, packings: Mapping[int, BestFit], reader: TokenReader, eod: int) -> None:
        """packings: of the sources that are read, by number. reader: of the bodies of all sources."""
        self._reader, self._eod = reader, eod
        self._width = next(iter(packings.values())).context + 1
        none = tuple(np.zeros(0, dtype=dtype) for dtype in (np.int64, np.int64, np.int32, np.bool_))
        indexes = [
            (packings[d].first, packings[d].start, packings[d].length, packings[d].is_rest) if d in packings else none
            for d in range(len(reader.bodies))
        ]
        # Typed lists, so that the compiled loop finds a source by its number.
        self._indexes = tuple(List(arrays) for arrays in zip(*indexes, strict=True))

    def read(self, source: Integers, sequence: Integers) -> tuple[Integers, Integers, NDArray[np.bool_]]:
        """The sequences' tokens, int64 [n, context + 1]; how many of each row are there, int64 [n]; and which of the
        row's tokens but the first are targets, bool [n, context].

        Positions after them hold the end-of-document token. source, sequence: int64 [n].
        """
        stretches, filled, is_target = _stretches(*self._indexes, source, sequence, self._width)
        rows = np.empty((len(source), self._width), dtype=np.int64)
        self._reader.read(*stretches, rows.reshape(-1))
        for i in np.flatnonzero(filled < self._width):
            rows[i, filled[i] :] = self._eod
        return rows, filled, is_target


@njit(cache=True, nogil=True)
def _stretches(
    first: "List[Integers]",
    start: "List[Integers]",
    length: "List[NDArray[np.int32]]",
    is_rest: "List[NDArray[np.bool_]]",
    source: Integers,
    sequence: Integers,
    width: int,
) -> tuple[Integers, Integers, NDArray[np.bool_]]:
    """What rows of `width` are made of: source, start, length and place of each piece, int64 [4, pieces]; how many
    tokens each has, int64 [n]; and which of them but the first are targets, bool [n, width - 1]."""
    pieces = 0
    for i in range(len(source)):
        pieces += first[source[i]][sequence[i] + 1] - first[source[i]][sequence[i]]
    stretches = np.empty((4, pieces), dtype=np.int64)
    filled = np.zeros(len(source), dtype=np.int64)
    is_target = np.zeros((len(source), width - 1), dtype=np.bool_)
    k = 0
    for i in range(len(source)):
        d = source[i]
        for piece in range(first[d][sequence[i]], first[d][sequence[i] + 1]):
            stretches[0, k], stretches[1, k], stretches[2, k] = d, start[d][piece], length[d][piece]
            stretches[3, k] = i * width + filled[i]
            begin, filled[i] = filled[i], filled[i] + length[d][piece]
            is_target[i, begin : filled[i] - 1] = True
            if begin > 0:
                is_target[i, begin - 1] = not is_rest[d][piece]
            k += 1
    return stretches, filled, is_target


def document_numbers(rows: Integers, filled: Integers, eod: int) -> NDArray[np.int32]:
    """The document of each position, counted from 0 in each row; PADDING where there is none: int32, as rows.

    The end-of-document token belongs to the document that it ends. rows: int64 [n, T]; filled: tokens of each, [n].
    """
    documents = np.empty(rows.shape, dtype=np.int32)
    _number(rows, filled, eod, documents)
    return documents


@njit(cache=True, nogil=True)
def _number(rows: Integers, filled: Integers, eod: int, documents: NDArray[np.int32]) -> None:
    for i in range(len(rows)):
        number = np.int32(0)
        for t in range(filled[i]):
            documents[i, t] = number
            number += np.int32(rows[i, t] == eod)
        documents[i, filled[i] :] = np.int32(PADDING)
