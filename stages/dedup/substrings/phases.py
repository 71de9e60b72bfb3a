"""The work of each phase of ``dedup_repeated_spans``."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import xxhash
from numpy.typing import NDArray

from pipeline.artifact import read_tables
from pipeline.exchange import PartitionedWriter, read_partition
from pipeline.stage import Context, Task
from stages.dedup.substrings import fingerprints
from stages.dedup.substrings.occurrences import BestOccurrences, Occurrences, SharedAnchors, place_of
from stages.dedup.substrings.options import RepeatedSpansConfig
from stages.text.utf8 import read_only

ANCHORS_FILE, PLACES_FILE, WINDOWS_FILE = "anchors.parquet", "places.parquet", "windows.parquet"
RUNS_FILE, SPANS_FILE, PASSAGES_FILE = "runs.parquet", "spans.parquet", "passages.parquet"

BATCH_ROWS = 1024  # at most, of documents
BATCH_BYTES = 16 << 20  # about, as Parquet holds them before compression
BUFFER_SHARE = 0.25  # of a task's memory: rows that wait to be written
PASSAGES_TOLD = 20
EXCERPT_CHARACTERS = 300

ANCHORS_SCHEMA = pa.schema([("hash", pa.uint64()), ("place", pa.uint64())])
PLACES_SCHEMA = pa.schema([("part", pa.uint32()), ("place", pa.uint64())])
WINDOWS_SCHEMA = pa.schema(
    [
        ("anchor", pa.uint64()),
        ("order", pa.uint64()),
        ("document", pa.uint64()),
        ("family", pa.uint64()),
        ("id", pa.string()),
        ("row", pa.int64()),
        ("first", pa.int32()),
        ("windows", pa.list_(pa.uint64())),
    ]
)
RUNS_SCHEMA = pa.schema(
    [("part", pa.uint32()), ("row", pa.int64()), ("first", pa.int32()), ("end", pa.int32()), ("kept", pa.string())]
)
SPAN = pa.struct(
    [
        ("start", pa.int32()),  # characters, before anything is cut
        ("end", pa.int32()),
        ("tokens", pa.int32()),
        ("kept", pa.string()),  # id of the document that keeps the passage, or its beginning
    ]
)
SPANS_SCHEMA = pa.schema([("id", pa.string()), ("tokens", pa.int64()), ("spans", pa.list_(SPAN))])
PASSAGES_SCHEMA = pa.schema(
    [
        ("hash", pa.uint64()),
        ("tokens", pa.int32()),
        ("times", pa.int64()),  # that it is repeated; the occurrence that is kept is not among them
        ("text", pa.string()),  # its beginning, of one occurrence
        ("kept", pa.string()),
    ]
)

_ROW_BITS = np.uint64(32)  # places are row << 32 | word
_DATE_DIGITS = 14  # year to second
_DATE_BITS = np.uint64(48)
_LAST_DATE = np.uint64((1 << 48) - 1)

Counts = dict[str, dict[str, int]]  # by source


def anchors(config: RepeatedSpansConfig, task: Task, out: Path, context: Context) -> dict[str, Any]:
    """Write hash and place of each anchor of a part, by hash."""
    partitions = task.arguments["partitions"]
    counts: list[Counts] = []
    with _writer(out / ANCHORS_FILE, ANCHORS_SCHEMA, partitions, config) as writer:
        for begin, batch in _batches(task, ["text", "source"], context):
            rows = np.arange(begin, begin + batch.num_rows)
            if config.only:
                rows = rows[pc.is_in(batch.column("source"), pa.array(config.only)).to_numpy()]
                batch = batch.take(pa.array(rows - begin))
            found = fingerprints.anchors(batch.column("text"), _salts(batch, config), config.min_tokens, rows)
            table = _table(ANCHORS_SCHEMA, found.hashes, found.places)
            writer.write(table, found.hashes % np.uint64(partitions))
            counts.append(_by_source(batch, documents=np.ones(batch.num_rows, np.int64), tokens=found.words))
    return {"partitions": partitions, "sources": totals(counts)}


def shared(config: RepeatedSpansConfig, task: Task, out: Path, context: Context) -> dict[str, Any]:
    """Write the places of the anchors of a partition that occur more than once, by part."""
    partition, slices, paths = task.arguments["partition"], task.arguments["slices"], task.files["anchors"]
    table = SharedAnchors()
    for i, path in enumerate(paths):
        table.add(_values(read_partition([path], partition, ["hash"]), "hash"))
        context.progress(i, 2 * len(paths))
    count = 0
    with _writer(out / PLACES_FILE, PLACES_SCHEMA, slices, config) as writer:
        for part, path in enumerate(paths):
            rows = read_partition([path], partition)
            places = _values(rows, "place")[table.among(_values(rows, "hash"))]
            parts = np.full(len(places), part, np.uint32)
            writer.write(_table(PLACES_SCHEMA, parts, places), parts % slices)
            count += len(places)
            context.progress(len(paths) + part, 2 * len(paths))
    return {"shared": count, "table_bytes": table.size_bytes}


def windows(config: RepeatedSpansConfig, task: Task, out: Path, context: Context) -> dict[str, Any]:
    """Write the windows of a part that have shared anchors, by the anchor's hash."""
    partitions = task.arguments["partitions"]
    shared_places = np.sort(_values(_of_part(task, "places"), "place"))
    columns = ["id", "text", "source", "date", "parent"]
    with _writer(out / WINDOWS_FILE, WINDOWS_SCHEMA, partitions, config) as writer:
        for begin, batch in _batches(task, columns, context) if len(shared_places) else ():
            borders = np.array([begin, begin + batch.num_rows], np.uint64) << _ROW_BITS
            here = shared_places[slice(*np.searchsorted(shared_places, borders))]
            rows = np.unique(here >> _ROW_BITS).astype(np.int64)
            batch = batch.take(pa.array(rows - begin))
            salts = _salts(batch, config)
            found = fingerprints.windows(batch.column("text"), salts, config.min_tokens, rows, here)
            documents = _hashes(batch.column("id"))
            families = _hashes(pc.coalesce(batch.column("parent"), batch.column("id")))
            groups = [
                found.anchor,
                _order(batch, task.arguments["priority"], config.newest_first)[found.text],
                documents[found.text],
                (documents if config.parents else families)[found.text],
                batch.column("id").take(pa.array(found.text)),
                rows[found.text],
                found.first,
                _lists(found.ends, pa.array(found.hashes)),
            ]
            writer.write(_table(WINDOWS_SCHEMA, *groups), found.anchor % np.uint64(partitions))
    return {"partitions": partitions}


def repeated(config: RepeatedSpansConfig, task: Task, out: Path, context: Context) -> dict[str, Any]:
    """Write the runs of words of a partition's windows that have better occurrences, by part."""
    partition, slices, paths = task.arguments["partition"], task.arguments["slices"], task.files["windows"]
    best = BestOccurrences(config.min_tokens, config.within_document)
    for i, path in enumerate(paths):
        best.add(i, _occurrences(read_partition([path], partition)))
        context.progress(i, 2 * len(paths))
    winners = best.winners()
    ids = _ids_of(winners, paths, partition)
    with _writer(out / RUNS_FILE, RUNS_SCHEMA, slices, config) as writer:
        for part, path in enumerate(paths):
            rows = read_partition([path], partition)
            runs = best.runs(_occurrences(rows))
            groups = rows.select(["id", "row"]).take(pa.array(runs.group))
            kept = pc.coalesce(ids.take(pc.index_in(pa.array(runs.kept), winners)), groups.column("id"))
            parts = np.full(len(runs.group), part, np.uint32)
            table = _table(RUNS_SCHEMA, parts, groups.column("row"), runs.first, runs.end, kept)
            writer.write(table, parts % slices)
            context.progress(len(paths) + part, 2 * len(paths))
    return {"table_bytes": best.size_bytes}


def slices(config: RepeatedSpansConfig, task: Task, out: Path, context: Context) -> dict[str, Any]:
    """Write the spans of characters of a part's documents, and the largest passages among them."""
    rows, first, end, kept = _merged(_of_part(task, "runs"))
    counts: list[Counts] = []
    largest = PASSAGES_SCHEMA.empty_table()
    with pq.ParquetWriter(out / SPANS_FILE, SPANS_SCHEMA, compression="zstd") as writer:
        for begin, batch in _batches(task, ["id", "text", "source"], context) if len(rows) else ():
            here = slice(*np.searchsorted(rows, [begin, begin + batch.num_rows]))
            touched, text, spans_of = np.unique(rows[here], return_inverse=True, return_counts=True)
            batch = batch.take(pa.array(touched - begin))
            tokens = end[here] - first[here]
            found = fingerprints.passages(batch.column("text"), text.astype(np.int32), first[here], end[here])
            kept_here = kept[here]
            columns = [pa.array(values) for values in (found.start, found.end, tokens)]
            spans = pa.StructArray.from_arrays([*columns, kept_here], fields=list(SPAN))
            lists = _lists(np.cumsum(spans_of), spans)
            writer.write_table(_table(SPANS_SCHEMA, batch.column("id"), found.words, lists))
            counts.append(
                _by_source(
                    batch,
                    documents_repeated=np.ones(batch.num_rows, np.int64),
                    spans=spans_of,
                    tokens_repeated=np.bincount(text, tokens, batch.num_rows).astype(np.int64),
                )
            )
            excerpts = _excerpts(batch.column("text"), text, found.start, found.end)
            times = np.ones(len(tokens), np.int64)
            told = _table(PASSAGES_SCHEMA, found.hash, tokens, times, excerpts, kept_here)
            largest = _largest(pa.concat_tables([largest, told]))
    pq.write_table(largest, out / PASSAGES_FILE, compression="zstd")
    return {"sources": totals(counts)}


def summary(config: RepeatedSpansConfig, task: Task, out: Path, context: Context) -> dict[str, Any]:
    """Tell what is repeated: in all, by source (those that lose most first), and the largest passages."""
    tables = [pq.read_table(path, use_threads=False) for path in task.files.get("passages", ())]
    largest = _largest(pa.concat_tables([PASSAGES_SCHEMA.empty_table(), *tables]))
    pq.write_table(largest, out / PASSAGES_FILE, compression="zstd")
    names = ("documents", "tokens", "documents_repeated", "spans", "tokens_repeated")
    sources = {
        source: {name: counts.get(name, 0) for name in names}
        for source, counts in task.arguments.get("sources", {}).items()
    }
    by_loss = sorted(sources.items(), key=lambda entry: (-entry[1]["tokens_repeated"], entry[0]))
    in_all = {name: sum(counts[name] for counts in sources.values()) for name in names}
    return in_all | {"sources": dict(by_loss), "largest_passages": largest.drop_columns(["hash"]).to_pylist()}


def totals(counts: Iterable[Mapping[str, Mapping[str, int]]]) -> Counts:
    """Sums by source and name."""
    sums: Counts = {}
    for sources in counts:
        for source, named in sources.items():
            for name, count in named.items():
                of_source = sums.setdefault(source, {})
                of_source[name] = of_source.get(name, 0) + count
    return sums


def _by_source(batch: pa.Table, **counts: NDArray[np.int64]) -> Counts:
    table = pa.table({"source": batch.column("source"), **counts})
    sums = table.group_by("source", use_threads=False).aggregate([(name, "sum") for name in counts])
    return {row["source"]: {name: row[f"{name}_sum"] for name in counts} for row in sums.to_pylist()}


def _batches(task: Task, columns: Sequence[str], context: Context) -> Iterator[tuple[int, pa.Table]]:
    """The documents of the task's part, a batch at a time, each with the number of its first row."""
    (path,) = task.files["documents"]
    metadata = pq.read_metadata(path)
    size = sum(metadata.row_group(i).total_byte_size for i in range(metadata.num_row_groups))
    rows = max(1, min(BATCH_ROWS, BATCH_BYTES * metadata.num_rows // max(1, size)))
    begin = 0
    for batch in read_tables(path, columns, rows):
        yield begin, batch
        begin += batch.num_rows
        context.progress(begin, metadata.num_rows)


def _salts(batch: pa.Table, config: RepeatedSpansConfig) -> NDArray[np.uint64]:
    if config.scope == "all":
        return np.zeros(batch.num_rows, np.uint64)
    return _hashes(batch.column("source"))


def _hashes(column: pa.ChunkedArray) -> NDArray[np.uint64]:
    return np.array([xxhash.xxh3_64_intdigest(value) for value in column.to_pylist()], np.uint64)


def _order(batch: pa.Table, priority: int, newest_first: bool) -> NDArray[np.uint64]:
    """What documents are ranked by: the lower, the more wanted. Those without a date come last of their input."""
    digits = pc.replace_substring_regex(batch.column("date"), r"\D", "")
    digits = pc.utf8_rpad(pc.utf8_slice_codeunits(digits, 0, _DATE_DIGITS), _DATE_DIGITS, "0")
    dates: NDArray[np.uint64] = pc.fill_null(digits, "0" * _DATE_DIGITS).cast(pa.uint64()).to_numpy()
    if newest_first:
        places = _LAST_DATE - dates
    else:
        places = np.where(dates == 0, _LAST_DATE, dates)
    return np.uint64(priority) << _DATE_BITS | places


def _occurrences(rows: pa.Table) -> Occurrences:
    windows = rows.column("windows").combine_chunks()
    return Occurrences(
        anchor=_values(rows, "anchor"),
        order=_values(rows, "order"),
        document=_values(rows, "document"),
        family=_values(rows, "family"),
        first=_values(rows, "first"),
        offsets=read_only(windows.offsets.to_numpy()),
        hashes=read_only(windows.values.to_numpy()),
    )


def _ids_of(places: pa.Array, paths: Sequence[Path], partition: int) -> pa.Array:
    """The ids of the documents at these places, which are ascending."""
    numbers = places.to_numpy()
    borders = np.searchsorted(numbers, np.array([place_of(i, 0) for i in range(len(paths) + 1)], np.uint64))
    found = [pa.array([], pa.string())]
    for i, path in enumerate(paths):
        if borders[i + 1] > borders[i]:
            groups = numbers[borders[i] : borders[i + 1]] - np.uint64(place_of(i, 0))
            ids = read_partition([path], partition, ["id"]).column("id").combine_chunks()
            found.append(ids.take(pa.array(groups)))
    return pa.concat_arrays(found)


def _of_part(task: Task, role: str) -> pa.Table:
    """What the phase before has found about the task's part."""
    part = task.arguments["part"]
    rows = read_partition(task.files[role], part % task.arguments["slices"])
    return rows.filter(pc.equal(rows.column("part"), part))


def _merged(
    runs: pa.Table,
) -> tuple[NDArray[np.int64], NDArray[np.int32], NDArray[np.int32], pa.Array]:
    """Runs of one part, those that touch or overlap as one, which is kept where the first of them is."""
    runs = runs.sort_by([("row", "ascending"), ("first", "ascending")]).combine_chunks()
    row, first, end = (_values(runs, name) for name in ("row", "first", "end"))
    if not len(row):
        return row, first, end, runs.column("kept").combine_chunks()
    # with so much between rows that no run of one reaches the next one's
    place = row * (1 << 32)
    reached = np.maximum.accumulate(place + end)
    begins = np.flatnonzero(np.concatenate([[True], place[1:] + first[1:] > reached[:-1]]))
    last = np.append(begins[1:], len(row)) - 1
    merged_end = (reached[last] - place[last]).astype(np.int32)
    return row[begins], first[begins], merged_end, runs.column("kept").combine_chunks().take(pa.array(begins))


def _excerpts(
    texts: pa.ChunkedArray, text: NDArray[np.int64], starts: NDArray[np.int32], ends: NDArray[np.int32]
) -> list[str]:
    whole = texts.to_pylist()
    spans = zip(text.tolist(), starts.tolist(), ends.tolist(), strict=True)
    return [whole[i][start : min(end, start + EXCERPT_CHARACTERS)] for i, start, end in spans]


def _largest(passages: pa.Table) -> pa.Table:
    """The longest passages, equal ones as one. The longest of all parts are among the longest of each part that has
    them, so their numbers are exact."""
    sums = passages.group_by("hash", use_threads=False).aggregate(
        [("tokens", "max"), ("times", "sum"), ("text", "min"), ("kept", "min")]
    )
    named = sums.select(["hash", "tokens_max", "times_sum", "text_min", "kept_min"])
    longest = named.rename_columns(PASSAGES_SCHEMA.names).sort_by([("tokens", "descending"), ("hash", "ascending")])
    return longest.slice(0, PASSAGES_TOLD).cast(PASSAGES_SCHEMA)


def _writer(path: Path, schema: pa.Schema, partitions: int, config: RepeatedSpansConfig) -> PartitionedWriter:
    return PartitionedWriter(path, schema, partitions, int(config.task_memory_mb * 1_000_000 * BUFFER_SHARE))


def _table(schema: pa.Schema, *columns: Any) -> pa.Table:
    return pa.table(list(columns), names=schema.names).cast(schema)


def _values(rows: pa.Table, column: str) -> NDArray[Any]:
    return read_only(rows.column(column).to_numpy())


def _lists(ends: NDArray[np.int64], values: pa.Array) -> pa.ListArray:
    offsets = np.concatenate([[0], ends]).astype(np.int32)
    return pa.ListArray.from_arrays(pa.array(offsets), values)
