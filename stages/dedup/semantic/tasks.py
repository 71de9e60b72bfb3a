"""What the tasks of each phase of semantic dedup do."""

from __future__ import annotations

import itertools
import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import xxhash
from numpy.typing import NDArray

from pipeline.artifact import read_tables
from pipeline.errors import StageError
from pipeline.exchange import PARTITIONS, PartitionedWriter, read_partition
from pipeline.stage import Context, Result, Task
from stages.dedup import losses
from stages.dedup.duplicates.settle import parent_rows, ranked
from stages.dedup.semantic.audit import AUDIT_FILE, Audit, Queries, estimates
from stages.dedup.semantic.clustering import k_means, nearest
from stages.dedup.semantic.options import DedupSemanticConfig
from stages.dedup.semantic.pairs import settle
from stages.dedup.semantic.vectors import (
    column_of,
    dimensions_of,
    embeddings,
    empty_matrix,
    lists_of_numbers,
    matrix_of,
    vector_type,
)

SAMPLE_FILE, CENTROIDS_FILE, QUERIES_FILE = "sample.parquet", "centroids.npy", "queries.parquet"
ASSIGNED_FILE, BAD_FILE = "assigned.parquet", "bad.parquet"
FOUND_FILE, DUPLICATES_FILE = "found.parquet", "duplicates.parquet"

MAX_BATCH_ROWS = 2048  # documents that are read at a time
MEMORY_PER_ROW = 128 << 10  # of a batch: copies of a vector of 4096 dimensions
LARGEST_GROUPS = 20  # of documents that lost to one winner, which are told

SAMPLE_SCHEMA = pa.schema(
    [
        ("hash", pa.uint64()),
        ("audit_hash", pa.uint64()),
        ("id", pa.string()),
        ("parent", pa.string()),
        ("dimensions", pa.int32()),
        ("vector", pa.list_(pa.float32())),
    ]
)
ASSIGNED_SCHEMA = pa.schema(
    [
        ("cluster", pa.uint32()),
        ("part", pa.uint32()),
        ("input", pa.uint32()),
        ("score", pa.float64()),
        ("date", pa.string()),
        ("id", pa.string()),
        ("parent", pa.string()),
        ("source", pa.string()),
        ("language", pa.string()),
    ]
)
"""Without the vectors: whose type depends on their dimensions."""
BAD_SCHEMA = pa.schema([("id", pa.string()), ("evidence", pa.string())])
FOUND_SCHEMA = pa.schema(
    [("part", pa.uint32()), ("id", pa.string()), ("winner", pa.string()), ("similarity", pa.float64())]
)
SLICE_SCHEMA = pa.schema(
    [
        ("id", pa.string()),
        ("reason", pa.string()),
        ("winner", pa.string()),
        ("similarity", pa.float64()),
        ("evidence", pa.string()),
    ]
)


def sample(task: Task, out: Path, config: DedupSemanticConfig, context: Context) -> Result:
    """Take the embeddings of documents whose id has a low hash; count all by their dimensions.

    Those for the audit are taken by another hash. Documents by which centroids were found lie nearer to them than
    others do, and their duplicates with them: an audit of those alone takes too few for missed (1.6 % where 7.8 %
    were, in 100,000 documents).
    """
    (path,) = task.files["documents"]
    max_hash, max_audit_hash = (np.uint64(task.arguments[name]) for name in ("max_hash", "max_audit_hash"))
    counts: Counter[int] = Counter()
    with pq.ParquetWriter(out / SAMPLE_FILE, SAMPLE_SCHEMA, compression="none", use_dictionary=False) as writer:
        for batch, column in _batches(path, config, ["parent"], context):
            found = dimensions_of(column)
            counts.update(found)
            hashes, audit_hashes = _hashes(batch["id"], seed=0), _hashes(batch["id"], seed=1)
            is_taken = (hashes <= max_hash) | (audit_hashes <= max_audit_hash)
            taken = pa.array(np.flatnonzero(is_taken))
            for dimensions in sorted(found):
                chosen = embeddings(column.take(taken), dimensions)
                rows = taken.take(pa.array(chosen.rows))
                columns = [
                    pa.array(hashes).take(rows),
                    pa.array(audit_hashes).take(rows),
                    batch["id"].take(rows),
                    batch["parent"].take(rows),
                    pa.array(np.full(len(rows), dimensions)),
                    column_of(chosen.vectors),
                ]
                writer.write_table(pa.table(columns, SAMPLE_SCHEMA.names).cast(SAMPLE_SCHEMA))
    dimensions_told = {str(dimensions): count for dimensions, count in sorted(counts.items())}
    return Result({"dimensions": dimensions_told, "max_hash": task.arguments["max_hash"]})


def _hashes(ids: pa.ChunkedArray, seed: int) -> NDArray[np.uint64]:
    return np.fromiter((xxhash.xxh3_64_intdigest(i, seed) for i in ids.to_pylist()), np.uint64, len(ids))


def centroids(task: Task, out: Path, config: DedupSemanticConfig, context: Context) -> Result:
    """Cluster the sample, in the order of the hashes, so that parts make no difference; note the audit's queries."""
    dimensions = task.arguments["dimensions"]
    tables = [
        _of_dimensions(path, dimensions, ["hash", "audit_hash", "id", "parent"]) for path in task.files["samples"]
    ]
    keys = pa.concat_tables(tables)
    order = pc.sort_indices(keys, [("hash", "ascending"), ("id", "ascending")])
    vectors = empty_matrix(len(keys), dimensions, config.task_memory_bytes // 3, out)
    _fill(vectors, order, (_of_dimensions(path, dimensions, ["vector"]) for path in task.files["samples"]))
    sampled = int((np.asarray(keys["hash"]) <= np.uint64(task.arguments["max_hash"])).sum())  # the first in this order
    found = k_means(vectors[:sampled], task.arguments["clusters"], context.progress)
    if len(found) == 0:  # no usable embedding in the sample: the few that there may be make one cluster
        found = np.eye(1, dimensions, dtype=np.float32)
    np.save(out / CENTROIDS_FILE, found)
    queries = np.argsort(np.asarray(keys["audit_hash"].take(order)), kind="stable")[: config.audit]
    chosen = keys.take(order.take(pa.array(queries)))
    Queries.of(chosen, vectors[queries], found).write(out / QUERIES_FILE)
    return Result({"clusters": len(found)})


def assign(task: Task, out: Path, config: DedupSemanticConfig, context: Context) -> Result:
    """Find the cluster of each document of a part, and compare it with the audit's queries."""
    (path,) = task.files["documents"]
    dimensions, partitions = task.arguments["dimensions"], task.arguments["partitions"]
    found = np.load(task.files["centroids"][0])
    audit = Audit(Queries.read(task.files["queries"][0], dimensions), config)
    schema = ASSIGNED_SCHEMA.append(pa.field("vector", vector_type(dimensions)))
    bad: dict[str, str] = {}
    absent, received, failed = 0, Counter[tuple[str, str]](), Counter[tuple[str, str]]()
    with PartitionedWriter(out / ASSIGNED_FILE, schema, partitions, config.task_memory_bytes // 8) as writer:
        for batch, column in _batches(path, config, _rank_columns(config), context):
            embedded = embeddings(column, dimensions)
            absent += column.null_count
            bad |= {batch["id"][row].as_py(): evidence for row, evidence in embedded.bad.items()}
            received.update(losses.count(batch))
            failed.update(losses.count(batch.take(pa.array(list(embedded.bad), pa.int64()))))
            documents = batch.take(pa.array(embedded.rows))
            clusters = nearest(embedded.vectors, found)
            audit.compare(documents, embedded.vectors, clusters)
            values = {
                "cluster": pa.array(clusters),
                "part": pa.array(np.full(len(clusters), task.arguments["part"])),
                "input": pa.array(np.full(len(clusters), task.arguments["input"])),
                "score": documents[config.prefer.score] if config.prefer.score else pa.nulls(len(clusters)),
                **{name: documents[name] for name in ("date", "id", "parent", "source", "language")},
                "vector": column_of(embedded.vectors),
            }
            writer.write(pa.table(values), clusters % partitions)
    pq.write_table(pa.table([list(bad), list(bad.values())], schema=BAD_SCHEMA), out / BAD_FILE)
    audit.write(out / AUDIT_FILE)
    return Result(
        {
            "partitions": partitions,
            "without_embedding": absent,
            "bad_embeddings": len(bad),
            "documents": losses.told(received),
            "lost": losses.told(failed),
        }
    )


def pairs(task: Task, out: Path, config: DedupSemanticConfig, context: Context) -> Result:
    """Decide about the documents of some clusters.

    Raises:
        StageError: two documents have one id.
    """
    partition, dimensions, paths = task.arguments["partition"], task.arguments["dimensions"], task.files["assigned"]
    keys = read_partition(paths, partition, ASSIGNED_SCHEMA.names)
    order = _by_cluster_and_rank(keys, config)
    keys = keys.take(order)
    vectors = empty_matrix(len(keys), dimensions, config.task_memory_bytes // 3, out)
    _fill(vectors, order, _row_groups(paths, partition))
    ids = keys["id"].combine_chunks()
    parents = np.full(len(keys), -1) if config.parents else parent_rows(ids, keys["parent"].combine_chunks())
    clusters = np.asarray(keys["cluster"])
    borders = [0, *(np.flatnonzero(np.diff(clusters)) + 1).tolist(), len(keys)]
    winners, similarities = np.full(len(keys), -1, np.int64), np.zeros(len(keys))
    for begin, end in itertools.pairwise(borders):
        report = partial(_report, context, begin, len(keys))
        # parents in other clusters are out of range
        settled = settle(vectors[begin:end], parents[begin:end] - begin, config.threshold, report)
        winners[begin:end] = np.where(settled.winners >= 0, begin + settled.winners, -1)
        similarities[begin:end] = settled.similarities
    gone = np.flatnonzero(winners >= 0)
    lost = keys.take(pa.array(gone))
    columns = [lost["part"], lost["id"], ids.take(pa.array(winners[gone])), pa.array(similarities[gone])]
    slices = task.arguments["slices"]
    with PartitionedWriter(out / FOUND_FILE, FOUND_SCHEMA, slices) as writer:
        writer.write(pa.table(columns, schema=FOUND_SCHEMA), np.asarray(lost["part"]) % slices)
    return Result(
        {
            "semantic_duplicates": len(gone),
            "lost": losses.told(losses.count(lost)),
            "largest_cluster": int(np.diff(borders).max()),
            "largest_groups": _groups(ids, winners[gone]),
        }
    )


def slices(task: Task, out: Path, config: DedupSemanticConfig, context: Context) -> Result:
    """Gather what was decided about the documents of one part, in the order of their ids."""
    part = task.arguments["part"]
    found = read_partition(task.files["found"], part % task.arguments["slices"])
    found = found.filter(pc.equal(found["part"], pa.scalar(part, pa.uint32())))
    bad = pq.read_table(task.files["bad"][0])
    duplicates = pa.table(
        [found["id"], ["semantic_duplicate"] * len(found), found["winner"], found["similarity"], pa.nulls(len(found))],
        SLICE_SCHEMA.names,
    )
    failures = pa.table(
        [bad["id"], ["bad_embedding"] * len(bad), pa.nulls(len(bad)), pa.nulls(len(bad)), bad["evidence"]],
        SLICE_SCHEMA.names,
    )
    rows = pa.concat_tables([duplicates.cast(SLICE_SCHEMA), failures.cast(SLICE_SCHEMA)]).sort_by("id")
    pq.write_table(rows, out / DUPLICATES_FILE, compression="zstd")
    return Result()


def summary(task: Task, out: Path, config: DedupSemanticConfig, context: Context) -> Result:
    """What the report tells: what the plan has added up, and what the audit found.

    Raises:
        StageError: a source or language loses too much.
    """
    check_losses(task.arguments, config)
    return Result({**task.arguments, "audit": estimates(task.files["audits"])})


def check_losses(facts: Mapping[str, Any], config: DedupSemanticConfig) -> None:
    """Hold the losses to what was allowed.

    Raises:
        StageError: a source or language loses too much.
    """
    largest = [f"{size:,} like {winner}" for winner, size in facts["largest_groups"][:3]]
    losses.check(facts, config.max_loss, config.alarm, largest)


def _batches(
    path: Path, config: DedupSemanticConfig, columns: Sequence[str], context: Context
) -> Iterator[tuple[pa.Table, pa.Array]]:
    """Documents with these columns and their id, and their embeddings.

    Raises:
        StageError: a column is missing or holds no embeddings.
    """
    with pq.ParquetFile(path) as file:
        schema, rows = file.schema_arrow, file.metadata.num_rows
    wanted = ["id", config.column, *columns]
    for column in wanted:
        if column not in schema.names:
            raise StageError(
                f"{path}: the documents have no column '{column}', which dedup_semantic is to use; there are: "
                f"{', '.join(schema.names)}"
            )
    score = config.prefer.score
    if score in columns and not _is_number(schema.field(score).type):
        raise StageError(f"{path}: the column '{score}' is to rank documents, but holds no numbers")
    done = 0
    for batch in read_tables(path, wanted, min(MAX_BATCH_ROWS, config.task_memory_bytes // MEMORY_PER_ROW)):
        yield batch, lists_of_numbers(batch, config.column, str(path))
        done += batch.num_rows
        context.progress(done, rows)


def _is_number(kind: pa.DataType) -> bool:
    return bool(pa.types.is_integer(kind) or pa.types.is_floating(kind))


def _report(context: Context, before: int, total: int, done: int) -> None:
    context.progress(before + done, total)


def _rank_columns(config: DedupSemanticConfig) -> list[str]:
    return ["date", "parent", "source", "language", *([config.prefer.score] if config.prefer.score else [])]


def _of_dimensions(path: Path, dimensions: int, columns: Sequence[str]) -> pa.Table:
    table = pq.read_table(path, columns=[*columns, "dimensions"])
    return table.filter(pc.equal(table["dimensions"], dimensions)).select(list(columns))


def _row_groups(paths: Sequence[Path], partition: int) -> Iterator[pa.Table]:
    """The vectors of a partition, a row group at a time: all of them might be too many."""
    for path in paths:
        with pq.ParquetFile(path) as file:
            for i, written in enumerate(json.loads(file.metadata.metadata[PARTITIONS])):
                if written == partition:
                    yield file.read_row_group(i, ["vector"], use_threads=False)


def _fill(vectors: NDArray[np.float32], order: pa.Array, tables: Iterator[pa.Table]) -> None:
    """Bring the vectors of tables, one behind the other, into this order."""
    places = np.empty(len(order), np.int64)
    places[np.asarray(order)] = np.arange(len(order))
    begin = 0
    for table in tables:
        rows = matrix_of(table["vector"], vectors.shape[1])
        vectors[places[begin : begin + len(rows)]] = rows
        begin += len(rows)


def _by_cluster_and_rank(keys: pa.Table, config: DedupSemanticConfig) -> pa.Array:
    rank = ranked(
        keys["id"].combine_chunks(),
        priority=_priority(keys, config.prefer.sources),
        score=keys["score"].combine_chunks(),
        date=keys["date"].combine_chunks(),
        newest_first=config.prefer.date == "newest",
    )
    return pa.array(np.lexsort((rank, np.asarray(keys["cluster"]))))


def _priority(keys: pa.Table, wanted: Sequence[str]) -> NDArray[np.int64]:
    """By source, in this order and those not named last; then by input."""
    places = pc.index_in(keys["source"], value_set=pa.array(wanted, pa.string())).fill_null(len(wanted))
    return np.asarray(places).astype(np.int64) << 32 | np.asarray(keys["input"]).astype(np.int64)


def largest(groups: Iterable[Sequence[Any]]) -> list[Sequence[Any]]:
    """The largest of these groups, (id, size)."""
    return sorted(groups, key=lambda group: (-group[1], group[0]))[:LARGEST_GROUPS]


def _groups(ids: pa.Array, winners: NDArray[np.int64]) -> list[Sequence[Any]]:
    """The largest groups of duplicates: id of the winner, size with it."""
    places, counts = np.unique(winners, return_counts=True)
    return largest(zip(ids.take(pa.array(places)).to_pylist(), (counts + 1).tolist(), strict=True))


PHASES: Mapping[str, Callable[[Task, Path, DedupSemanticConfig, Context], Result]] = {
    "sample": sample,
    "centroids": centroids,
    "assign": assign,
    "pairs": pairs,
    "slices": slices,
    "summary": summary,
}
