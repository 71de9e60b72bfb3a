"""Documents that may be duplicates are brought together: each component's in one partition, with what decides."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from pipeline.errors import StageError
from pipeline.exchange import PartitionedWriter, read_partition
from pipeline.stage import Context, Task
from stages.dedup.duplicates.corpus import ROW_BITS, rows_of
from stages.dedup.duplicates.keys import mixed, partition_of
from stages.text.signatures import WordKind, shingle_sets

MEMBERS_FILE = "members.parquet"
BATCH_ROWS = 4096
EXCERPT_CHARACTERS = 300
SIGNATURE_COLUMNS = {
    "content": "dedup.content_hash",
    "url": "dedup.url_hash",
    "audit": "dedup.audit",
    "bands": "dedup.bands",
}


@dataclass(frozen=True)
class MemberOptions:
    """How the members are compared."""

    ngram: int
    words: WordKind
    bands: int
    score: str | None  # column
    buffer_bytes: int = 128 << 20  # of rows before they are written


_ROOT = np.uint64(0xD6E8FEB86659FD93)


def members_schema(bands: int) -> pa.Schema:
    """Columns of a document that may be a duplicate."""
    return pa.schema(
        [
            ("root", pa.uint64()),  # its component
            ("location", pa.uint64()),
            ("input", pa.uint16()),  # place of its artifact in the recipe
            ("is_indexed", pa.bool_()),
            ("id", pa.string()),
            ("source", pa.string()),
            ("language", pa.string()),
            ("date", pa.string()),
            ("score", pa.float64()),
            ("parent", pa.string()),
            ("content", pa.binary(16)),
            ("url", pa.uint64()),
            ("audit", pa.uint64()),
            ("bands", pa.list_(pa.uint64(), bands)),
            ("shingles", pa.list_(pa.uint32())),
            ("excerpt", pa.string()),
        ]
    )


def write_members(task: Task, out: Path, context: Context, options: MemberOptions) -> dict[str, Any]:
    """The members of all components in one range of locations, by partition of their component.

    A component of documents of the index alone is left out: nothing in it is to be decided. Its root, the least
    location, is behind those of all new documents.
    """
    labels = read_partition(task.files["labels"], task.arguments["range"])
    begins = pa.scalar(task.arguments["index_begins"], pa.uint64())
    labels = labels.filter(pc.less(labels["root"], begins)).sort_by("vertex")
    locations, roots = np.asarray(labels["vertex"]), np.asarray(labels["root"])
    numbers = locations >> np.uint64(ROW_BITS)
    schema, partitions = members_schema(options.bands), task.arguments["partitions"]
    with PartitionedWriter(out / MEMBERS_FILE, schema, partitions, options.buffer_bytes) as writer:
        parts = zip(task.arguments["parts"], task.files["signatures"], task.files["documents"], strict=True)
        for (number, input_, is_indexed), signatures, documents in parts:
            first, last = np.searchsorted(numbers, np.array([number, number + 1], np.uint64)).tolist()
            rows = rows_of(locations[first:last])
            tables = _indexed(signatures, rows) if is_indexed else members_of(signatures, documents, rows, options)
            for table in tables:
                here = slice(first, first + table.num_rows)
                placed = {
                    "root": pa.array(roots[here]),
                    "location": pa.array(locations[here]),
                    "input": pa.array(np.full(table.num_rows, input_, np.uint16)),
                    "is_indexed": pa.array(np.full(table.num_rows, is_indexed)),
                }
                columns = [placed[name] if name in placed else table[name] for name in schema.names]
                members = pa.table(columns, names=schema.names).cast(schema)
                writer.write(members, partition_of(mixed(roots[here], _ROOT), partitions))
                first += table.num_rows
                context.progress(first, len(locations))
    return {"members": len(locations), "partitions": partitions}


def members_of(
    signatures: Path, documents: Path, rows: NDArray[np.int64], options: MemberOptions
) -> Iterator[pa.Table]:
    """What decides about the documents in these rows (ascending) of a part.

    Raises:
        StageError: the rows of its signatures are those of other documents.
    """
    columns = ["id", "source", "language", "date", "parent", *SIGNATURE_COLUMNS.values()]
    columns += [options.score] if options.score else []
    if not len(rows):
        return
    signed = pa.concat_tables(_chosen(signatures, rows, columns))
    done = 0
    for texts in _chosen(documents, rows, ["id", "text"]):
        table, text = signed.slice(done, texts.num_rows), texts["text"]
        if not table["id"].equals(texts["id"]):
            raise StageError(f"{signatures} and {documents} hold their documents in different orders: this is a bug")
        values, offsets = shingle_sets(text, options.ngram, options.words)
        score = pc.cast(table[options.score], pa.float64()) if options.score else pa.nulls(len(text), pa.float64())
        yield pa.table(
            {
                **{name: table[name] for name in ("id", "source", "language", "date", "parent")},
                "score": score,
                **{name: table[column] for name, column in SIGNATURE_COLUMNS.items()},
                "shingles": pa.ListArray.from_arrays(pa.array(offsets, pa.int32()), pa.array(values)),
                "excerpt": pc.utf8_slice_codeunits(text, 0, EXCERPT_CHARACTERS).cast(pa.string()),
            }
        )
        done += texts.num_rows


def _indexed(path: Path, rows: NDArray[np.int64]) -> Iterator[pa.Table]:
    """The documents in these rows (ascending) of a file of an index, which rank by no date and no score."""
    same = ("id", "source", "language", "parent", "shingles", "excerpt")
    for table in _chosen(path, rows, [*same, *SIGNATURE_COLUMNS.values()]):
        yield pa.table(
            {
                **{name: table[name] for name in same},
                **{name: table[column] for name, column in SIGNATURE_COLUMNS.items()},
                "date": pa.nulls(len(table), pa.string()),
                "score": pa.nulls(len(table), pa.float64()),
            }
        )


def _chosen(path: Path, rows: NDArray[np.int64], columns: Sequence[str]) -> Iterator[pa.Table]:
    """These rows (ascending) of a Parquet file; reads no row group that has none of them."""
    begin = 0
    with pq.ParquetFile(path) as file:
        for group in range(file.num_row_groups):
            end = begin + file.metadata.row_group(group).num_rows
            if np.searchsorted(rows, begin) < np.searchsorted(rows, end):
                for batch in file.iter_batches(BATCH_ROWS, row_groups=[group], columns=columns, use_threads=False):
                    first, last = np.searchsorted(rows, [begin, begin + len(batch)]).tolist()
                    if first < last:
                        yield pa.Table.from_batches([batch]).take(pa.array(rows[first:last] - begin))
                    begin += len(batch)
            begin = end
