"""Which members of components go: what ``settle`` decides, as files, and what it tells the report."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from pipeline.errors import StageError
from pipeline.exchange import PartitionedWriter, partition_tables, read_partition
from pipeline.stage import Context, Task
from stages.dedup.duplicates.audit import Audit, audit, in_sample
from stages.dedup.duplicates.corpus import range_of
from stages.dedup.duplicates.evidence import evidence_of
from stages.dedup.duplicates.keys import band_keys, content_halves, present
from stages.dedup.duplicates.members import members_schema
from stages.dedup.duplicates.options import DuplicatesConfig
from stages.dedup.duplicates.settle import REASONS, Candidates, parent_rows, ranked, settle

DECIDED_FILE = "decided.parquet"
DECIDED = pa.schema(
    [
        ("location", pa.uint64()),
        ("id", pa.string()),
        ("source", pa.string()),
        ("reason", pa.string()),
        ("winner", pa.string()),
        ("winner_source", pa.string()),
        ("winner_indexed", pa.bool_()),
        ("similarity", pa.float64()),
    ]
)
ALREADY_INDEXED = "already_indexed"
SHINGLES_FILE = "shingles"

Sets = tuple[NDArray[np.uint32], NDArray[np.int64]]  # shingles of all documents, and where each document's begin


def write_decided(task: Task, out: Path, context: Context, config: DuplicatesConfig) -> dict[str, Any]:
    """The documents of one partition of components that go, by range of their location."""
    paths, partition = task.files["members"], task.arguments["partition"]
    narrow = [name for name in members_schema(config.bands).names if name not in ("shingles", "excerpt")]
    everyone = read_partition(paths, partition, narrow)
    is_known = _known(everyone)
    members, known = everyone.filter(pa.array(~is_known)), _decided_before(everyone.filter(pa.array(is_known)))
    sets = _shingles(paths, partition, ~is_known, config.task_memory_bytes // 2, context.work / SHINGLES_FILE)
    candidates = _candidates(members, sets, config)
    context.progress(1, 3)
    decisions = settle(candidates, config.rules())
    context.progress(2, 3)
    lost = np.flatnonzero(decisions.winner >= 0)
    won = decisions.winner[lost]
    losers, winners = _told(members, lost), _told(members, won)
    decided = pa.table(
        {
            "location": losers["location"],
            "id": losers["id"],
            "source": losers["source"],
            "reason": pa.array(np.array(REASONS)[decisions.reason[lost]]),
            "winner": winners["id"],
            "winner_source": winners["source"],
            "winner_indexed": winners["is_indexed"],
            "similarity": pa.array(decisions.similarity[lost]),
        },
        schema=DECIDED,
    )
    borders = task.arguments["borders"]
    with PartitionedWriter(out / DECIDED_FILE, DECIDED, len(borders) + 1) as writer:
        for table in (decided, known):
            writer.write(table, range_of(np.asarray(table["location"]), borders))
    audited = _audited(members, candidates, task.arguments["sample_bits"], config) if config.fuzzy else Audit()
    excerpts = read_partition(paths, partition, ["excerpt"])["excerpt"].filter(pa.array(~is_known))
    known_languages = everyone["language"].filter(pa.array(is_known))
    return {
        "lost": _counted(decided, losers["language"]) + _counted(known, known_languages),
        "comparisons": decisions.comparisons,
        "capped": decisions.capped,
        "audit": [audited.pairs, audited.weight, audited.found, audited.expected],
        "similar": int((decisions.similarity[lost] >= config.threshold).sum()),
        **evidence_of(decided, lost, won, excerpts),
    }


def _known(members: pa.Table) -> NDArray[np.bool_]:
    """Which of the new documents are in the index themselves.

    Raises:
        StageError: two of these have one id, or one has another text than the index knows.
    """
    indexed = members.filter(members["is_indexed"])
    is_known = pc.and_not(pc.is_in(members["id"], value_set=indexed["id"]), members["is_indexed"])
    known = members.filter(is_known)
    if twice := [value["values"] for value in pc.value_counts(known["id"]).to_pylist() if value["counts"] > 1]:
        raise StageError(f"two documents have the id {twice[0]!r}: ids must be unique over all inputs of dedup")
    contents = indexed["content"].take(pc.index_in(known["id"], value_set=indexed["id"]))
    if others := known["id"].filter(pc.not_equal(known["content"], contents)).to_pylist():
        raise StageError(
            f"the index holds another text under the id {others[0]!r}. If that is another document, give one of the "
            "two sources another name; if the text was extracted anew, compare with an index that does not hold it"
        )
    return np.asarray(is_known)


def _decided_before(known: pa.Table) -> pa.Table:
    """Documents that an earlier run has kept go: they are in its output."""
    return pa.table(
        {
            "location": known["location"],
            "id": known["id"],
            "source": known["source"],
            "reason": pa.array([ALREADY_INDEXED] * known.num_rows, pa.string()),
            "winner": known["id"],
            "winner_source": known["source"],
            "winner_indexed": pa.array([True] * known.num_rows, pa.bool_()),
            "similarity": pa.nulls(known.num_rows, pa.float64()),
        },
        schema=DECIDED,
    )


def _told(members: pa.Table, rows: NDArray[np.int64]) -> pa.Table:
    return members.select(["location", "id", "source", "language", "is_indexed"]).take(pa.array(rows))


def _shingles(
    paths: Sequence[Path], partition: int, is_chosen: NDArray[np.bool_], memory_bytes: int, file: Path
) -> Sets:
    """The shingles of the chosen members of a partition; mapped from a file if they take more than this memory.

    A component is settled by one task, however large it is.
    """
    sizes = [np.zeros(0, np.int64)]
    for table in partition_tables(paths, partition, ["shingles"]):
        sizes.append(np.asarray(pc.list_value_length(table["shingles"])))
    offsets = np.concatenate([[0], np.cumsum(np.concatenate(sizes)[is_chosen])]).astype(np.int64)
    is_large = offsets[-1] * 4 > memory_bytes
    values = np.memmap(file, np.uint32, "w+", shape=offsets[-1]) if is_large else np.empty(offsets[-1], np.uint32)
    row = total = 0
    for table in partition_tables(paths, partition, ["shingles"]):
        here = table["shingles"].filter(pa.array(is_chosen[row : row + table.num_rows]))
        flat = np.asarray(here.combine_chunks().flatten())
        values[total : total + len(flat)] = flat
        row, total = row + table.num_rows, total + len(flat)
    return values, offsets


def _candidates(members: pa.Table, sets: Sets, config: DuplicatesConfig) -> Candidates:
    sources = members["source"].combine_chunks().dictionary_encode()
    places = {name: place for place, name in enumerate(config.prefer.sources)}
    by_source = np.array([places.get(name, len(places)) for name in sources.dictionary.to_pylist()], np.int64)
    codes = np.asarray(sources.indices).astype(np.int64)
    ids = members["id"].combine_chunks()
    bands = band_keys(members["bands"].combine_chunks())[0]
    return Candidates(
        component=np.asarray(members["root"]),
        rank=ranked(
            ids,
            priority=by_source[codes] * (1 << 16) + np.asarray(members["input"]).astype(np.int64),
            score=members["score"].combine_chunks(),
            date=members["date"].combine_chunks(),
            is_indexed=np.asarray(members["is_indexed"]),
            newest_first=config.prefer.date == "newest",
        ),
        bands=bands if config.fuzzy else bands[:, :0],
        content=content_halves(members["content"]),
        url=present(members["url"].combine_chunks())[0],
        source=codes,
        parent=parent_rows(ids, members["parent"].combine_chunks()),
        is_indexed=np.asarray(members["is_indexed"]),
        shingles=sets[0],
        offsets=sets[1],
    )


def _audited(members: pa.Table, candidates: Candidates, sample_bits: int, config: DuplicatesConfig) -> Audit:
    values, has_value = present(members["audit"].combine_chunks())
    rows = np.flatnonzero(has_value & in_sample(values, sample_bits))
    return audit(values[rows], subset(candidates, rows), config.threshold, config.rows)


def subset(candidates: Candidates, rows: NDArray[np.int64]) -> Candidates:
    """These documents alone; which of them are whose parents is forgotten."""
    c = candidates
    sizes = np.diff(c.offsets)[rows]
    offsets = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)
    within = np.arange(offsets[-1]) - np.repeat(offsets[:-1], sizes)
    shingles = np.asarray(c.shingles[np.repeat(c.offsets[rows], sizes) + within])
    return Candidates(
        component=c.component[rows],
        rank=c.rank[rows],
        bands=c.bands[rows],
        content=c.content[rows],
        url=c.url[rows],
        source=c.source[rows],
        parent=np.full(len(rows), -1, np.int64),
        is_indexed=c.is_indexed[rows],
        shingles=shingles,
        offsets=offsets,
    )


def _counted(decided: pa.Table, languages: pa.ChunkedArray) -> list[list[Any]]:
    """Source, language, reason and number of documents that go."""
    table = pa.table({"source": decided["source"], "language": languages, "reason": decided["reason"]})
    groups = table.group_by(["source", "language", "reason"]).aggregate([([], "count_all")]).to_pylist()
    return sorted(([g["source"], g["language"], g["reason"], g["count_all"]] for g in groups), key=str)
