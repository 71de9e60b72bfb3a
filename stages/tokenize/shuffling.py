"""The work of the tasks that make token shards: bounded memory, whatever the size of the corpus.

The order of documents is that of a seeded hash of their ids. A task of "spread" hands each document to the partition
that its hash falls into; a task of "sort" sorts one of them, so that the sorted partitions, one behind the other, are
the corpus in its order; a task of "cut" takes one shard's documents out of the partitions that it lies in.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import xxhash
from numpy.typing import NDArray

from pipeline import storage
from pipeline.artifact import read_tables
from pipeline.errors import LedgerError, StageError
from pipeline.exchange import PartitionedWriter, column_bytes, partition_tables
from pipeline.stage import Context, Task
from stages.tokenize.fertility import Fertility
from stages.tokenize.tokenizer import dtype_of

SPREAD_FILE = "spread.parquet"
UNIGRAMS_FILE = "unigrams.parquet"
BODY_FILE = "tokens.bin"
INDEX_FILE = "documents.parquet"

COPIED_BYTES = 8 << 20

_COLUMNS = ["id", "parent", "source", "language", "tokens", "encode.bytes", "encode.words"]
_SPREAD_SCHEMA = pa.schema(
    [
        ("order", pa.uint64()),
        ("draw", pa.float64()),
        ("source", pa.string()),
        ("id", pa.string()),
        ("parent", pa.string()),
        ("bytes", pa.int64()),
        ("tokens", pa.large_binary()),
    ]
)
# Of a partition that has been read: where the tokens of a document lie in the bytes beside it.
_LOCATED_SCHEMA = pa.schema(
    [f for f in _SPREAD_SCHEMA if f.name != "tokens"] + [("begin", pa.int64()), ("size", pa.int64())]
)


def spread(task: Task, out: Path, context: Context, buffer_bytes: int) -> dict[str, Any]:
    """Hand documents to partitions, and count.

    Returns:
        Rows of ``Fertility.counts``, and of each source the lowest and the two highest of its distinct draws.
    """
    vocabulary, partitions = task.arguments["vocabulary"], task.arguments["partitions"]
    dtype = dtype_of(vocabulary)
    fertility = Fertility(vocabulary)
    draws: dict[str, list[float]] = {}
    with PartitionedWriter(out / SPREAD_FILE, _SPREAD_SCHEMA, partitions, buffer_bytes) as writer:
        for done, path in enumerate(task.files["documents"]):
            context.progress(done, len(task.files["documents"]))
            for batch in read_tables(path, _COLUMNS):
                table = _keyed(batch, context.seed)
                body = _bytes_of(table["tokens"]).view(dtype)
                lengths = _lengths(table["tokens"]) // dtype.itemsize
                counted = {
                    "tokens": pa.array(lengths),
                    "bytes": table["bytes"].combine_chunks(),
                    "words": batch["encode.words"].combine_chunks(),
                }
                source = table["source"].combine_chunks()
                fertility.add(source, batch["language"].combine_chunks(), counted, body)
                _note_draws(draws, source, table["draw"].to_numpy())
                writer.write(table, _partition(table["order"].to_numpy(), partitions))
    fertility.write_unigrams(out / UNIGRAMS_FILE)
    return {"counts": fertility.counts(), "draws": draws}


def _keyed(batch: pa.Table, seed: int) -> pa.Table:
    ids = batch["id"].to_pylist()
    split_by = (parent or id_ for parent, id_ in zip(batch["parent"].to_pylist(), ids, strict=True))
    columns = {
        "order": pa.array([xxhash.xxh3_64_intdigest(id_, seed=seed) for id_ in ids], pa.uint64()),
        "draw": pa.array([xxhash.xxh3_64_intdigest(f"held out {of}", seed=seed) / 2**64 for of in split_by]),
        **{name: batch[name] for name in ("source", "id", "parent")},
        "bytes": batch["encode.bytes"],
        "tokens": batch["tokens"],
    }
    return pa.table(columns, schema=_SPREAD_SCHEMA)


def _partition(order: NDArray[np.uint64], partitions: int) -> NDArray[np.uint64]:
    """By the highest bits, so that partitions follow one another in the order of documents."""
    bits = partitions.bit_length() - 1
    return order >> np.uint64(64 - bits) if bits else np.zeros_like(order)


def _note_draws(draws: dict[str, list[float]], sources: pa.Array, found: NDArray[np.float64]) -> None:
    encoded = sources.dictionary_encode()
    of_source = encoded.indices.to_numpy()
    for i, source in enumerate(encoded.dictionary.to_pylist()):
        draws[source] = extreme_draws([*draws.get(source, ()), *found[of_source == i].tolist()])


def extreme_draws(draws: Sequence[float]) -> list[float]:
    """The lowest and the two highest of the distinct values, ascending; all of them if there are fewer."""
    distinct = sorted(set(draws))
    return distinct if len(distinct) <= 3 else [distinct[0], *distinct[-2:]]


def sort(task: Task, out: Path, vocabulary: int) -> dict[str, Any]:
    """One partition in its order: the documents of each source and split behind one another, in a row group each.

    Returns:
        "groups": of each row group its source, split, documents, tokens, bytes of text, and tokens before it.

    Raises:
        StageError: two documents of a source have one id.
    """
    itemsize = dtype_of(vocabulary).itemsize
    documents, body = _read(task.files["spread"], task.arguments["partition"])
    documents = documents.sort_by([(name, "ascending") for name in ("source", "order", "id")])
    _check_ids(documents)
    source = documents["source"].combine_chunks().dictionary_encode()
    below = np.array([task.arguments["below"][name] for name in source.dictionary.to_pylist()], np.float64)
    of_source = source.indices.to_numpy()
    is_held_out = documents["draw"].to_numpy() <= below[of_source] if len(below) else np.zeros(0, np.bool_)
    order = np.lexsort((is_held_out, of_source))  # stable
    documents = documents.take(pa.array(order))
    group = 2 * of_source[order] + is_held_out[order]
    borders = np.flatnonzero(np.diff(group, prepend=-1, append=-1)) if len(group) else np.zeros(1, np.int64)
    begins, sizes = documents["begin"].to_numpy(), documents["size"].to_numpy()
    with open(out / BODY_FILE, "wb", COPIED_BYTES) as file:
        file.writelines(
            body.data[begin : begin + size] for begin, size in zip(begins.tolist(), sizes.tolist(), strict=True)
        )
    documents = documents.append_column("tokens", pa.array(sizes // itemsize))
    documents = documents.select(["id", "parent", "bytes", "tokens"])
    groups, at = [], 0
    with pq.ParquetWriter(out / INDEX_FILE, documents.schema, compression="zstd", compression_level=1) as writer:
        for first, last in zip(borders[:-1].tolist(), borders[1:].tolist(), strict=True):
            rows = documents.slice(first, last - first)
            writer.write_table(rows, row_group_size=rows.num_rows)
            tokens = int(sizes[first:last].sum()) // itemsize
            name = source.dictionary[group[first] // 2].as_py()
            split = "held_out" if group[first] % 2 else "train"
            groups.append([name, split, rows.num_rows, tokens, int(np.sum(rows["bytes"].to_numpy())), at])
            at += tokens
    return {"groups": groups}


def _read(paths: Sequence[Path], partition: int) -> tuple[pa.Table, NDArray[np.uint8]]:
    """The documents of a partition, with begin and size of their tokens in the bytes beside them.

    Those are copied to their place a row group at a time: tables of all row groups joined to one would lie in memory
    twice.
    """
    body = np.empty(column_bytes(paths, partition, "tokens"), np.uint8)
    at = 0
    tables = [_LOCATED_SCHEMA.empty_table()]
    for table in partition_tables(paths, partition):
        sizes = _lengths(table["tokens"])
        tokens = _bytes_of(table["tokens"])
        body[at : at + len(tokens)] = tokens
        begins = at + np.cumsum(sizes) - sizes
        at += len(tokens)
        table = table.drop_columns(["tokens"]).append_column("begin", pa.array(begins))
        tables.append(table.append_column("size", pa.array(sizes)))
    return pa.concat_tables(tables), body


def _check_ids(documents: pa.Table) -> None:
    """Raises StageError if of documents sorted by source, order and id two of one source have one id."""
    order = documents["order"].to_numpy()
    for i in np.flatnonzero(order[1:] == order[:-1]).tolist():
        a, b = documents.slice(i, 2).select(["source", "id"]).to_pylist()
        if a == b:
            raise StageError(f"source {a['source']}: the document {a['id']} came twice")


def cut(task: Task, out: Path, vocabulary: int) -> dict[str, Any]:
    """One shard: the documents that begin between two places of a source's split.

    Returns:
        source, split, documents, tokens and bytes, and the path of the shard, None if no document begins there: one
        before is longer than a shard.
    """
    itemsize = dtype_of(vocabulary).itemsize
    a = task.arguments
    path = out / a["source"] / f"{a['split']}-{a['number']:05d}.bin"
    path.parent.mkdir(parents=True)
    tables = []
    with open(path, "wb") as shard:
        for body, index, (row_group, at, base) in zip(
            task.files["bodies"], task.files["indexes"], a["pieces"], strict=True
        ):
            with storage.opened(index) as source, pq.ParquetFile(source) as file:
                table = file.read_row_group(row_group)
            lengths = table["tokens"].to_numpy()
            starts = base + np.cumsum(lengths) - lengths
            first, last = np.searchsorted(starts, [a["begin"], a["end"]]).tolist()
            if first < last:
                tokens = int(lengths[first:last].sum())
                _copy(body, int(at + starts[first] - base) * itemsize, tokens * itemsize, shard)
                tables.append(table.slice(first, last - first))
    found = {"source": a["source"], "split": a["split"], "documents": 0, "tokens": 0, "bytes": 0, "path": None}
    if not tables:
        path.unlink()
        return found
    documents = pa.concat_tables(tables).combine_chunks()
    lengths = documents["tokens"].to_numpy()
    columns = {
        "id": documents["id"],
        "start": pa.array(np.cumsum(lengths) - lengths),
        "tokens": documents["tokens"],
        "parent": documents["parent"],
        "bytes": documents["bytes"],
    }
    index_path = path.with_suffix(".documents.parquet")
    pq.write_table(pa.table(columns), index_path, compression="zstd", write_page_checksum=True)
    return {
        **found,
        "documents": documents.num_rows,
        "tokens": int(lengths.sum()),
        "bytes": int(documents["bytes"].to_numpy().sum()),
        "path": path.relative_to(out).as_posix(),
    }


def _copy(body: Path, begin: int, size: int, shard: BinaryIO) -> None:
    with storage.opened(body) as source, source.open("rb") if isinstance(source, Path) else source as file:
        file.seek(begin)
        while size:
            block = file.read(min(size, COPIED_BYTES))
            if not block:
                raise LedgerError(f"{body} is shorter than its index says: a bug, or a damaged disk")
            shard.write(block)
            size -= len(block)


def _lengths(column: pa.ChunkedArray) -> NDArray[np.int64]:
    """Bytes of each value of a large_binary column."""
    return np.concatenate([np.zeros(0, np.int64), *(np.diff(_offsets(chunk)) for chunk in column.chunks)])


def _bytes_of(column: pa.ChunkedArray) -> NDArray[np.uint8]:
    """All values of a large_binary column, one behind the other."""
    found = []
    for chunk in column.chunks:
        offsets = _offsets(chunk)
        found.append(np.frombuffer(chunk.buffers()[2] or b"", np.uint8)[offsets[0] : offsets[-1]])
    return found[0] if len(found) == 1 else np.concatenate([np.zeros(0, np.uint8), *found])


def _offsets(chunk: pa.LargeBinaryArray) -> NDArray[np.int64]:
    offsets = np.frombuffer(chunk.buffers()[1] or bytes(8), np.int64)
    return offsets[chunk.offset : chunk.offset + len(chunk) + 1]
