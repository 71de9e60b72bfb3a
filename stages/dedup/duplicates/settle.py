"""Which documents of a candidate component go, and for which other one.

Documents are visited from the most wanted to the least. Each of a document's keys (band keys, content hash, URL) keeps
a list of winners: those that documents of this key have become, or have lost to (of a content hash: winners with that
content alone, so that others never crowd out the one that all its copies go for). A document is compared with the
winners in the lists of its keys, the most wanted first, and goes for the first one that it duplicates; otherwise it is
kept, and a winner itself. A document that goes enters its winner into the lists of its own keys, so that what is
similar to the loser meets the winner too, and is checked against it: chains of weak links swallow nothing.

Whether one document duplicates another depends on these two alone, so every document that goes is a duplicate, as the
rules define it, of a document that is kept. The result depends on ranks alone, not on the order of rows or groups.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from pipeline.errors import StageError
from stages.dedup.duplicates.similarity import jaccard_from
from stages.kernel import kernel
from stages.text.normalized_words import HASH_FACTOR, finished

MAX_WINNERS = 32  # in the list of a key, so that a key that very many distinct documents share stays linear

KEPT, EXACT_DUPLICATE, SAME_URL, NEAR_DUPLICATE = range(4)
REASONS = ("", "exact_duplicate", "same_url", "near_duplicate")  # by the codes above


class Candidates(NamedTuple):
    """Documents of whole candidate components, one a row, in any order."""

    component: NDArray[np.uint64]  # (documents,) documents of different components are not compared
    rank: NDArray[np.int64]  # (documents,) least: most wanted; distinct within a component
    bands: NDArray[np.uint64]  # (documents, bands) band keys; 0: none
    content: NDArray[np.uint64]  # (documents, 2) halves of a 128-bit hash
    url: NDArray[np.uint64]  # (documents,) hash of the URL; 0: none
    source: NDArray[np.int64]  # (documents,) numbers of the sources
    parent: NDArray[np.int64]  # (documents,) row of the document that this one rephrases; -1: none, or not here
    is_indexed: NDArray[np.bool_]  # (documents,) kept by an earlier run: stays, and ranks before all others
    shingles: NDArray[np.uint32]  # hashes of all documents' shingles, ascending and distinct within each
    offsets: NDArray[np.int64]  # (documents + 1,) where each document's shingles begin; may be memory-mapped like them


class Rules(NamedTuple):
    """When one document is a duplicate of another."""

    threshold: float = 0.8  # Jaccard similarity of the shingles, above 0 and up to 1
    fuzzy: bool = True  # False: equal content, or the same URL, and no likeness
    verify: bool = True  # False: to have a band key in common with the winner itself is enough
    by_url: bool = True  # the same URL is enough
    within_source: bool = False  # documents of different sources are never compared
    compare_parents: bool = False  # True: compare a rephrasing with the document that it was made of, too
    max_winners: int = MAX_WINNERS


@dataclass(frozen=True)
class Decisions:
    """What becomes of each document."""

    winner: NDArray[np.int64]  # (documents,) row of the document that this one goes for; -1: it is kept
    similarity: NDArray[np.float64]  # (documents,) Jaccard similarity to the winner; 1 for equal content, NaN if kept
    reason: NDArray[np.uint8]  # (documents,) place in REASONS
    comparisons: int  # pairs looked at
    capped: int  # entries that a full list of winners has not taken: where there are many, duplicates may stay


def settle(candidates: Candidates, rules: Rules) -> Decisions:
    """Decide about all documents.

    Beyond the candidates it needs about 100 bytes of memory a document, and 50 a key for each document of the largest
    component (0.5 to 0.8 KB with 14 bands).

    Raises:
        ValueError: the threshold is not above 0 and up to 1, or two documents of a component have one rank.
    """
    if not 0 < rules.threshold <= 1:
        raise ValueError(f"a threshold of {rules.threshold} is not above 0 and up to 1")
    c = read_only(candidates)
    order, starts = _visits(c, rules.within_source)
    winner = np.full(len(order), -1, np.int64)
    similarity = np.full(len(order), np.nan)
    reason = np.zeros(len(order), np.uint8)
    comparisons, capped = _settle(c, rules, order, starts, winner, similarity, reason)
    return Decisions(winner, similarity, reason, comparisons, capped)


def read_only(candidates: Candidates) -> Candidates:
    """The same documents; kernels are compiled once for these, not for every mix of arrays that may be written to."""
    return Candidates(*map(_read_only, candidates))


def _read_only(values: NDArray[Any]) -> NDArray[Any]:
    view = np.ascontiguousarray(values).view(np.ndarray)
    view.flags.writeable = False
    return view


def _visits(c: Candidates, within_source: bool) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The order in which documents are visited, and where in it each group of comparable ones begins, and the end."""
    groups = [c.source, c.component] if within_source else [c.component]
    order = np.lexsort((c.rank, ~c.is_indexed, *groups))
    is_first = np.ones(len(order), np.bool_)
    is_first[1:] = np.logical_or.reduce([np.diff(group[order]) != 0 for group in groups])
    if np.any(~is_first[1:] & (np.diff(c.rank[order]) == 0) & ~np.diff(c.is_indexed[order])):
        raise ValueError("two documents of a component have the same rank")
    return order, np.append(np.flatnonzero(is_first), len(order))


def ranked(
    ids: pa.Array,
    *,
    priority: NDArray[np.int64],
    score: pa.Array | None = None,
    date: pa.Array | None = None,
    is_indexed: NDArray[np.bool_] | None = None,
    newest_first: bool = True,
) -> NDArray[np.int64]:
    """The rank of each document, from 0 for the most wanted: a total order, whatever the order of the rows.

    Documents of the index come first, then those of low priority number, high score, new (or old) date as text in
    ISO 8601, and small id (by code points). Without a score (null, NaN) or date a document comes behind those with one.

    Raises:
        StageError: two documents have one id.
    """
    columns = {"priority": (pa.array(priority), "ascending")}
    if is_indexed is not None:
        columns = {"is_indexed": (pa.array(is_indexed).cast(pa.uint8()), "descending"), **columns}
    if score is not None:
        columns["score"] = (pc.if_else(pc.is_nan(score), None, score), "descending")
    if date is not None:
        known = pc.if_else(pc.equal(date, ""), None, date)
        columns["date"] = (known, "descending" if newest_first else "ascending")
    columns["id"] = (ids, "ascending")
    table = pa.table({name: values for name, (values, _) in columns.items()})
    order = pc.sort_indices(table, [(name, direction) for name, (_, direction) in columns.items()]).to_numpy()
    if pc.count_distinct(ids, mode="all").as_py() < len(ids):
        counts = pc.value_counts(ids)
        twice = counts.filter(pc.greater(counts.field("counts"), 1))
        raise StageError(
            f"two documents have the id {twice.field('values')[0].as_py()!r}: ids must be unique over all inputs "
            "of dedup; if the same documents came by two inputs, name one of them"
        )
    rank = np.empty(len(order), np.int64)
    rank[order] = np.arange(len(order))
    return rank


def parent_rows(ids: pa.Array, parents: pa.Array) -> NDArray[np.int64]:
    """The row of each document's parent; -1 without one, or where it is not among these documents."""
    found = pc.index_in(parents, value_set=ids, skip_nulls=True).fill_null(-1)
    return np.asarray(found.cast(pa.int64()))


class _Winners(NamedTuple):
    """Lists of winners by key: a table of keys with open addressing, and linked entries. Of one component at a time."""

    keys: NDArray[np.uint64]  # (slots,) 0: free
    first: NDArray[np.int32]  # (slots,) the last entry made; -1: none
    sizes: NDArray[np.int32]  # (slots,) length of the list
    members: NDArray[np.int32]  # (entries,) the winner's place among the members of its component
    next: NDArray[np.int32]  # (entries,) -1: none


@kernel
def _settle(
    c: Candidates,
    rules: Rules,
    order: NDArray[np.int64],
    starts: NDArray[np.int64],
    winner: NDArray[np.int64],
    similarity: NDArray[np.float64],
    reason: NDArray[np.uint8],
) -> tuple[int, int]:
    """Fill the three columns; gives the numbers of comparisons and of entries that full lists have not taken."""
    columns = c.bands.shape[1] + 2
    largest = np.int64(0)
    for i in range(len(starts) - 1):
        largest = max(largest, starts[i + 1] - starts[i])
    slots = _slots_for(largest * columns)
    table = _Winners(
        np.empty(slots, np.uint64),
        np.empty(slots, np.int32),
        np.empty(slots, np.int32),
        np.empty(largest * columns, np.int32),
        np.empty(largest * columns, np.int32),
    )
    own = np.empty(columns, np.int64)  # slots of the present document's keys
    met = np.empty(columns * rules.max_winners, np.int32)
    met_by = np.full(largest, -1, np.int64)  # for each member, the last document that met it
    comparisons = capped = 0
    for i in range(len(starts) - 1):
        members = order[starts[i] : starts[i + 1]]
        if len(members) == 1:
            continue
        mask = np.uint64(_slots_for(len(members) * columns) - 1)
        table.keys[: mask + np.uint64(1)] = 0
        entries = 0
        for member in range(len(members)):
            document = members[member]
            _find_slots(c, rules.by_url, document, table, mask, own)
            stands_for = member
            if not c.is_indexed[document]:
                count = _collect(table, own, starts[i] + member, met_by, met)
                met[:count].sort()
                for other in met[:count]:
                    if _may_compare(c, rules, document, members[other]):
                        comparisons += 1
                        code, likeness = _verdict(c, rules, document, members[other])
                        if code != KEPT:
                            stands_for = other
                            winner[document] = members[other]
                            similarity[document] = likeness
                            reason[document] = code
                            break
            for column in range(columns):
                slot = own[column]
                if column == columns - 2 and not _same_content(c, document, members[stands_for]):
                    continue
                if slot >= 0 and not _has(table, slot, stands_for):
                    if table.sizes[slot] == rules.max_winners:
                        capped += 1
                    else:
                        table.members[entries] = stands_for
                        table.next[entries] = table.first[slot]
                        table.first[slot] = entries
                        table.sizes[slot] += 1
                        entries += 1
    return comparisons, capped


@kernel
def _slots_for(keys: int) -> int:
    """A power of two, so that at most three of four slots are taken."""
    slots = 8
    while slots * 3 < keys * 4:
        slots *= 2
    return slots


@kernel
def _find_slots(
    c: Candidates, by_url: bool, document: int, table: _Winners, mask: np.uint64, own: NDArray[np.int64]
) -> None:
    """Write where the lists of a document's keys are; -1 for a key that it does not have."""
    own[:] = -1
    bands = c.bands.shape[1]
    for band in range(bands):
        if c.bands[document, band] != 0:
            own[band] = _slot(table, mask, c.bands[document, band], band)
    own[bands] = _slot(table, mask, c.content[document, 0], bands)
    if by_url and c.url[document] != 0:
        own[bands + 1] = _slot(table, mask, c.url[document], bands + 1)


@kernel
def _slot(table: _Winners, mask: np.uint64, value: np.uint64, column: int) -> int:
    """Where the list of a key is, made if there is none; equal values of two columns are two keys."""
    key = finished((value ^ finished(np.uint64(column + 1))) * HASH_FACTOR) | np.uint64(1)  # 0 says that a slot is free
    at = (key >> np.uint64(16)) & mask
    while table.keys[at] != key:
        if table.keys[at] == 0:
            table.keys[at] = key
            table.first[at] = -1
            table.sizes[at] = 0
        else:
            at = (at + np.uint64(1)) & mask
    return int(at)


@kernel
def _collect(
    table: _Winners, own: NDArray[np.int64], visit: int, met_by: NDArray[np.int64], met: NDArray[np.int32]
) -> int:
    """Write the distinct winners in the lists of these slots; gives their number. ``visit`` names the document."""
    count = 0
    for slot in own:
        entry = table.first[slot] if slot >= 0 else np.int32(-1)
        while entry >= 0:
            member = table.members[entry]
            if met_by[member] != visit:
                met_by[member] = visit
                met[count] = member
                count += 1
            entry = table.next[entry]
    return count


@kernel
def _has(table: _Winners, slot: int, member: int) -> bool:
    entry = table.first[slot]
    while entry >= 0 and table.members[entry] != member:
        entry = table.next[entry]
    return bool(entry >= 0)


@kernel
def _may_compare(c: Candidates, rules: Rules, document: int, other: int) -> bool:
    return rules.compare_parents or bool(c.parent[document] != other and c.parent[other] != document)


@kernel
def _verdict(c: Candidates, rules: Rules, document: int, other: int) -> tuple[int, float]:
    """Why a document goes for another one, and its similarity to that one; KEPT if it does not."""
    if _same_content(c, document, other):
        return EXACT_DUPLICATE, 1.0
    has_same_url = rules.by_url and c.url[document] != 0 and c.url[document] == c.url[other]
    if not rules.fuzzy and not has_same_url:
        return KEPT, -1.0
    is_certain = has_same_url or (not rules.verify and shares_band(c.bands, document, other))
    likeness = jaccard_from(
        c.shingles[c.offsets[document] : c.offsets[document + 1]],
        c.shingles[c.offsets[other] : c.offsets[other + 1]],
        0.0 if is_certain else rules.threshold,
    )
    if has_same_url:
        return SAME_URL, likeness
    return (NEAR_DUPLICATE, likeness) if likeness >= 0.0 else (KEPT, likeness)


@kernel
def _same_content(c: Candidates, document: int, other: int) -> bool:
    return bool(c.content[document, 0] == c.content[other, 0] and c.content[document, 1] == c.content[other, 1])


@kernel
def shares_band(bands: NDArray[np.uint64], document: int, other: int) -> bool:
    """Whether two documents have a band key in common."""
    for band in range(bands.shape[1]):
        if bands[document, band] != 0 and bands[document, band] == bands[other, band]:
            return True
    return False
