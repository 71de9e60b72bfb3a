"""Connected components of links between documents, in one task or in rounds of many.

Vertices belong to partitions by their hash (``owners``), and rounds of ``step`` are run until the sum of ``open`` over
the partitions is 0; with one partition that is after the first:

- The first round gives each partition the links whose *higher* vertex it owns. It joins them locally (union-find).
  Each owned vertex then points to the least vertex of its local component, its root, which another partition may own.
- Vertices of a component that other partitions own are linked to the root, by a message to their owners.
- A partition asks the owner of each root that is not its own where that root points. It joins the answer like a link,
  but tells nobody: the owner of that root knows already. Who answers passes the question on to the owner of the root it
  names, so that the next answer comes a round later.

Links of near-duplicates take 4 rounds, random graphs 5 to 13, a path of 100,000 vertices 14 to 23. A component does
not gather anywhere: a root is asked about once by a partition, however many documents point to it. Owners are chosen by
hash because components often have their least vertices in the same few parts of a corpus, say its oldest.

Bounds: pointers and links together never outnumber the links at the start (each round replaces the links of a local
component by as many as it has vertices, less one, or fewer). In a round, a partition asks at most once for each of its
components, and a question is passed on for at most as many rounds as it takes to reach a root.

Why nothing is lost: a local component C is replaced by links of its vertices to its least vertex t, except for those
vertices f that were joined by an answer (f, m). By induction over vertices, f stays connected to t: its owner links it
to the least vertex of the component C' that holds f and m, and m < f is connected to that as well as to t. Why the end
is right: if nothing is open, no vertex is linked elsewhere than to its root, and each root was asked about and found
to point to itself.

The method follows the alternating stars of Kiveris et al., "Connected Components in MapReduce and Beyond" (2014), with
local union-find in place of single stars.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from stages.dedup.duplicates.links import NOWHERE, distinct_pairs
from stages.kernel import kernel

Vertices = NDArray[np.uint64]

BYTES_A_LINK = 40  # of a task's memory that the first round needs, table included
LINK, QUESTION, ANSWER = np.uint8(0), np.uint8(1), np.uint8(2)
FIRST_SLOTS = 1 << 12
BATCH = 1 << 14
_MULTIPLIER = np.uint64(0xD6E8FEB86659FD93)
_ONE, _HALF = np.uint64(1), np.uint64(32)
_LOW_HALF = np.uint64(0xFFFFFFFF)


@dataclass(frozen=True, slots=True)
class Pointers:
    """The vertices that a partition owns, ascending, and for each the least vertex it is known to be connected to."""

    vertex: Vertices
    root: Vertices


@dataclass(frozen=True, slots=True)
class Messages:
    """What partitions tell each other, in no particular order.

    A LINK joins ``high`` and ``low``. A QUESTION asks for the root of ``low``, for the owner of ``high``. An ANSWER
    says that ``low`` is the root of ``high``.
    """

    kind: NDArray[np.uint8]
    high: Vertices
    low: Vertices


@dataclass(frozen=True, slots=True)
class Step:
    """Result of one round in one partition."""

    pointers: Pointers  # to the same partition's next step; in the end they are the result
    messages: Messages  # to the next round
    to: NDArray[np.int64]  # partition that each message goes to
    open: int  # 0 in all partitions: done


def owners(vertices: Vertices, partitions: int) -> NDArray[np.int64]:
    """The partition, below ``partitions``, that each vertex belongs to."""
    return _owners(vertices, np.uint64(partitions))


def no_pointers() -> Pointers:
    """What a partition starts from."""
    return Pointers(np.empty(0, np.uint64), np.empty(0, np.uint64))


def links_as_messages(high: Vertices, low: Vertices) -> Messages:
    """What starts the rounds: each link goes to the owner of its ``high``."""
    return Messages(np.full(len(high), LINK), high, low)


def step(partition: int, partitions: int, pointers: Pointers, messages: Messages) -> Step:
    """One round in one partition.

    Args:
        pointers: of this partition's last step, or ``no_pointers()``.
        messages: all that were sent to this partition in the last round, in any order. In the first round: each link
            that starts here, as LINK. Working memory is 8 bytes for each, and 32 to 64 for each vertex.
    """
    questions, answers = _of_kind(messages, QUESTION), _of_kind(messages, ANSWER)
    # documents with one key in common often have several: sorting links costs less than joining them again
    links = distinct_pairs(*_of_kind(messages, LINK))
    table = _Table()
    table.make_room(len(pointers.vertex))
    table.join(pointers.vertex, pointers.root)
    table.join(*links)
    table.make_room(len(questions[1]) + len(answers[0]))
    is_answered = _joined_by_answers(table.slots, questions[1], *answers)
    me, all_partitions = np.uint64(partition), np.uint64(partitions)
    owned, told, asked = _members(table.slots, is_answered, me, all_partitions)
    asker, root = _answers(table.slots, *questions)
    of = asker != NOWHERE
    new = Pointers(*distinct_pairs(owned[0::2], owned[1::2]))
    onward = _distinct_questions(partition, partitions, asker[of], root[of])
    told_to, told_low = told[0::2], told[1::2]
    sent = Messages(
        np.repeat([LINK, QUESTION, QUESTION, ANSWER], [len(told_to), len(asked) // 2, len(onward[0]), np.sum(of)]),
        np.concatenate([told_to, asked[0::2], onward[0], questions[1][of]]),
        np.concatenate([told_low, asked[1::2], onward[1], root[of]]),
    )
    to = owners(np.concatenate([told_to, asked[1::2], onward[1], asker[of]]), partitions)
    unsure = _new_pointers(pointers.vertex, pointers.root, new.vertex, new.root, me, all_partitions)
    return Step(new, sent, to, len(told_to) + int(np.sum(of)) + unsure)


def components(high: Vertices, low: Vertices, partitions: int = 1) -> tuple[Pointers, int]:
    """Each vertex of the links and the least vertex of its component, and the number of rounds; all in this process.

    What the tasks of dedup do by way of files. The pointers do not depend on ``partitions``.
    """
    pointers = [no_pointers()] * partitions
    sent = by_recipient(links_as_messages(high, low), owners(high, partitions), partitions)
    for round_number in itertools.count(1):
        steps = [step(p, partitions, pointers[p], sent[p]) for p in range(partitions)]
        pointers = [step.pointers for step in steps]
        if sum(step.open for step in steps) == 0:
            vertex = np.concatenate([p.vertex for p in pointers])
            order = np.argsort(vertex)
            return Pointers(vertex[order], np.concatenate([p.root for p in pointers])[order]), round_number
        boxes = [by_recipient(step.messages, step.to, partitions) for step in steps]
        sent = [
            Messages(*(np.concatenate([getattr(box[p], part) for box in boxes]) for part in ("kind", "high", "low")))
            for p in range(partitions)
        ]
    raise AssertionError("rounds end")


def by_recipient(messages: Messages, to: NDArray[np.int64], partitions: int) -> list[Messages]:
    """The messages to each partition, in the order they had."""
    borders, kind, high, low = _grouped(messages.kind, messages.high, messages.low, to, partitions)
    return [Messages(kind[a:b], high[a:b], low[a:b]) for a, b in itertools.pairwise(borders)]


def _of_kind(messages: Messages, kind: np.uint8) -> tuple[Vertices, Vertices]:
    is_kind = messages.kind == kind
    if is_kind.all():  # the first round, which has the most: no copy
        return messages.high, messages.low
    return messages.high[is_kind], messages.low[is_kind]


class _Table:
    """A hash table of vertices that is a union-find forest at the same time.

    slots: (slots, 2), vertex (NOWHERE: the slot is empty) and slot of its parent. Of two roots, the lesser vertex
    becomes the parent. At least half of the slots are empty. numpy allocates them, because its memory comes in large
    pages; that of kernels does not.
    """

    def __init__(self) -> None:
        self.slots = np.full((FIRST_SLOTS, 2), NOWHERE, np.uint64)
        self.used = 0

    def join(self, high: Vertices, low: Vertices) -> None:
        """Join each ``high`` to its ``low``."""
        for first in range(0, len(high), BATCH):
            last = min(first + BATCH, len(high))
            self.make_room(2 * (last - first))
            self.used += _join_all(self.slots, high[first:last], low[first:last])

    def make_room(self, vertices: int) -> None:
        while 2 * (self.used + vertices) > len(self.slots):
            larger = np.full((2 * len(self.slots), 2), NOWHERE, np.uint64)
            _move(self.slots, larger)
            self.slots = larger


def _distinct_questions(partition: int, partitions: int, asker: Vertices, root: Vertices) -> tuple[Vertices, Vertices]:
    """Answered questions, to be passed on to the owner of the root, once for each partition that asks."""
    asks = owners(asker, partitions)
    goes_on = owners(root, partitions) != partition
    asker, root, asks = asker[goes_on], root[goes_on], asks[goes_on]
    order = np.lexsort((asks, root))
    asker, root, asks = asker[order], root[order], asks[order]
    is_first = np.ones(len(root), bool)
    is_first[1:] = (root[1:] != root[:-1]) | (asks[1:] != asks[:-1])
    return asker[is_first], root[is_first]


@kernel
def _grouped(
    kind: NDArray[np.uint8], high: Vertices, low: Vertices, to: NDArray[np.int64], groups: int
) -> tuple[NDArray[np.int64], NDArray[np.uint8], Vertices, Vertices]:
    """Where the messages to each group begin, and all messages in that order."""
    borders = np.zeros(groups + 1, np.int64)
    for group in to:
        borders[group + 1] += 1
    for group in range(groups):
        borders[group + 1] += borders[group]
    free = borders.copy()
    kinds, highs, lows = np.empty_like(kind), np.empty_like(high), np.empty_like(low)
    for i in range(len(to)):
        at = free[to[i]]
        free[to[i]] += 1
        kinds[at], highs[at], lows[at] = kind[i], high[i], low[i]
    return borders, kinds, highs, lows


@kernel
def _mixed(vertex: np.uint64) -> np.uint64:
    """All bits depend on all of the vertex, whose own differ in a few places only."""
    mixed = (vertex ^ vertex >> _HALF) * _MULTIPLIER
    return (mixed ^ mixed >> _HALF) * _MULTIPLIER


@kernel
def _owner(vertex: np.uint64, partitions: np.uint64) -> np.uint64:
    return ((_mixed(vertex) & _LOW_HALF) * partitions) >> _HALF  # the other half decides about slots of tables


@kernel
def _owners(vertices: Vertices, partitions: np.uint64) -> NDArray[np.int64]:
    owner = np.empty(len(vertices), np.int64)
    for i in range(len(vertices)):
        owner[i] = np.int64(_owner(vertices[i], partitions))
    return owner


@kernel
def _slot(table: Vertices, vertex: np.uint64) -> np.uint64:
    """Where a vertex is, or would be put."""
    mask = np.uint64(len(table) - 1)
    slot = (_mixed(vertex) >> _HALF) & mask
    while table[slot, 0] != vertex and table[slot, 0] != NOWHERE:
        slot = (slot + _ONE) & mask
    return slot


@kernel
def _added(table: Vertices, vertex: np.uint64) -> tuple[np.uint64, int]:
    """The slot of a vertex, which now is in the table, and how many vertices more there are."""
    slot = _slot(table, vertex)
    if table[slot, 0] == vertex:
        return slot, 0
    table[slot, 0] = vertex
    table[slot, 1] = slot
    return slot, 1


@kernel
def _root(table: Vertices, slot: np.uint64) -> np.uint64:
    """The slot of the least vertex of a component; shortens the way there by half."""
    parent: np.uint64 = table[slot, 1]
    while table[parent, 1] != parent:
        table[slot, 1] = table[parent, 1]
        slot, parent = parent, table[parent, 1]
    return parent


@kernel
def _join(table: Vertices, a: np.uint64, b: np.uint64) -> bool:
    """Join the components of two slots; tell whether they were two."""
    a, b = _root(table, a), _root(table, b)
    were_two: bool = a != b
    if table[a, 0] < table[b, 0]:
        table[b, 1] = a
    else:
        table[a, 1] = b
    return were_two


@kernel
def _move(table: Vertices, larger: Vertices) -> None:
    """Put the content of a table into an empty one."""
    moved = np.empty(len(table), np.uint64)
    for i in range(len(table)):
        if table[i, 0] != NOWHERE:
            moved[i] = _slot(larger, table[i, 0])
            larger[moved[i], 0] = table[i, 0]
    for i in range(len(table)):
        if table[i, 0] != NOWHERE:
            larger[moved[i], 1] = moved[table[i, 1]]


@kernel
def _join_all(table: Vertices, high: Vertices, low: Vertices) -> int:
    """Join each ``high`` to its ``low`` in a table with room for them; return how many vertices are new."""
    new = 0
    for i in range(len(high)):
        if i == 0 or high[i] != high[i - 1]:  # links are sorted
            a, a_new = _added(table, high[i])
        else:
            a_new = 0
        b, b_new = _added(table, low[i])
        new += a_new + b_new
        _join(table, a, b)
    return new


@kernel
def _joined_by_answers(
    table: Vertices, asked: Vertices, answer_high: Vertices, answer_low: Vertices
) -> NDArray[np.bool_]:
    """Add what was asked about, and join by answers in a table with room for both; tell whose slots these joined."""
    for vertex in asked:
        _added(table, vertex)
    is_answered = np.zeros(len(table), np.bool_)
    for i in range(len(answer_high)):
        slot = _slot(table, answer_high[i])
        if table[slot, 0] != NOWHERE and _join(table, slot, _added(table, answer_low[i])[0]):
            is_answered[slot] = True
    return is_answered


@kernel
def _members(
    table: Vertices, is_answered: NDArray[np.bool_], partition: np.uint64, partitions: np.uint64
) -> tuple[Vertices, Vertices, Vertices]:
    """Pairs of vertex and root, one after the other: those owned, those to be told to others, those to ask about."""
    own = np.zeros(len(table), np.bool_)
    asker = np.empty(len(table), np.uint64)  # of each root, a vertex that is owned
    owned_count, told_count, asked_count = 0, 0, 0
    for i in range(len(table)):
        if table[i, 0] != NOWHERE:
            root = _root(table, np.uint64(i))
            table[i, 1] = root
            own[i] = _owner(table[i, 0], partitions) == partition
            if own[i]:
                asker[root] = table[i, 0]
                owned_count += 1
            else:
                told_count += root != i and not is_answered[i]
                asked_count += root == i
    owned = np.empty(2 * owned_count, np.uint64)
    told = np.empty(2 * told_count, np.uint64)
    asked = np.empty(2 * asked_count, np.uint64)
    owned_count, told_count, asked_count = 0, 0, 0
    for i in range(len(table)):
        if table[i, 0] == NOWHERE:
            continue
        root = table[i, 1]
        if own[i]:
            owned[2 * owned_count] = table[i, 0]
            owned[2 * owned_count + 1] = table[root, 0]
            owned_count += 1
        elif root == i:
            asked[2 * asked_count] = asker[i]
            asked[2 * asked_count + 1] = table[i, 0]
            asked_count += 1
        elif not is_answered[i]:
            told[2 * told_count] = table[i, 0]
            told[2 * told_count + 1] = table[root, 0]
            told_count += 1
    return owned, told, asked


@kernel
def _answers(table: Vertices, asker: Vertices, asked: Vertices) -> tuple[Vertices, Vertices]:
    """For each question the asker (NOWHERE: what was asked about is a root, which needs no answer) and the root."""
    to, root = np.empty(len(asked), np.uint64), np.empty(len(asked), np.uint64)
    for i in range(len(asked)):
        root[i] = table[_root(table, _slot(table, asked[i])), 0]
        to[i] = asker[i] if root[i] != asked[i] else NOWHERE
    return to, root


@kernel
def _new_pointers(
    old_vertex: Vertices,
    old_root: Vertices,
    vertex: Vertices,
    root: Vertices,
    partition: np.uint64,
    partitions: np.uint64,
) -> int:
    """How many point to another partition's vertex and did not before."""
    count, j = 0, 0
    for i in range(len(vertex)):
        while j < len(old_vertex) and old_vertex[j] < vertex[i]:
            j += 1
        is_old = j < len(old_vertex) and old_vertex[j] == vertex[i] and old_root[j] == root[i]
        count += not is_old and _owner(root[i], partitions) != partition
    return count
