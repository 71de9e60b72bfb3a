"""Files through which the tasks of a shuffle pass rows to those of its next phase, by partition.

A task writes one Parquet file. Its row groups hold the rows of one partition each, so that a task of the next phase
reads its partition out of every file by ranges, and no file is written for each pair of tasks. Values are stored
plainly: what is passed on are hashes, which do not compress.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from pipeline import storage
from pipeline.errors import StageError

PARTITIONS = b"partitions"  # in the file's metadata: the partition of each row group, as JSON
MAX_ROW_GROUP_ROWS = 64 << 20  # pyarrow divides a row group of more rows, whatever size it is told
MIN_ROW_GROUP_BYTES = 8 << 10  # of many partitions, too, so that reads are worth their requests


def partitions_for(size_bytes: int, task_memory_bytes: int) -> int:
    """Into how many partitions to divide rows so that one fits into a task's memory, if hashes spread them evenly.

    A power of two: it seldom changes when a corpus grows, and so do the tasks.
    """
    return 1 << math.ceil(math.log2(max(1.0, size_bytes / task_memory_bytes)))


class PartitionedWriter:
    """Writes rows by partition. Rows of one partition keep their order; a partition may have any number of rows."""

    def __init__(self, path: Path, schema: pa.Schema, partitions: int, buffer_bytes: int = 128 << 20) -> None:
        self.path, self.schema, self.partitions = path, schema, partitions
        self._buffer_bytes = max(buffer_bytes, partitions * MIN_ROW_GROUP_BYTES)
        self._tables: list[pa.Table] = []
        self._numbers: list[NDArray[np.uint32]] = []
        self._bytes = 0
        self._written: list[int] = []  # partition of each row group
        self._writer = pq.ParquetWriter(path, schema, compression="none", use_dictionary=False, write_statistics=False)

    def write(self, table: pa.Table, partition: NDArray[np.integer]) -> None:
        """Add rows.

        Args:
            partition: of each row, from 0 to ``partitions`` - 1.
        """
        if table.num_rows != len(partition):
            raise ValueError(f"{self.path.name}: {table.num_rows} rows, but partitions of {len(partition)}")
        if len(partition) == 0:
            return
        if int(partition.min()) < 0 or int(partition.max()) >= self.partitions:
            raise ValueError(f"{self.path.name}: a partition is not between 0 and {self.partitions - 1}")
        self._tables.append(table.cast(self.schema))
        self._numbers.append(partition.astype(np.uint32))
        self._bytes += table.nbytes
        if self._bytes >= self._buffer_bytes:
            self._flush()

    def _flush(self) -> None:
        if not self._tables:
            return
        numbers, table = np.concatenate(self._numbers), pa.concat_tables(self._tables)
        self._tables, self._numbers, self._bytes = [], [], 0
        small = numbers.astype(np.uint16) if self.partitions <= 1 << 16 else numbers  # numpy sorts those by radix
        order = np.argsort(small, kind="stable")
        ends = np.cumsum(np.bincount(numbers, minlength=self.partitions))
        table = table.take(pa.array(order)) if self.partitions > 1 else table
        begin = 0
        for partition, end in enumerate(ends.tolist()):
            for first in range(begin, end, MAX_ROW_GROUP_ROWS):
                rows = min(end - first, MAX_ROW_GROUP_ROWS)
                self._writer.write_table(table.slice(first, rows), row_group_size=rows)
                self._written.append(partition)
            begin = end

    def __enter__(self) -> PartitionedWriter:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None:
            self._flush()
            self._writer.add_key_value_metadata({PARTITIONS: json.dumps(self._written).encode()})
        self._writer.close()


def read_partition(paths: Sequence[Path], partition: int, columns: Sequence[str] | None = None) -> pa.Table:
    """The rows of one partition, out of all files in their order.

    Raises:
        ValueError: there is no file.
    """
    if not paths:
        raise ValueError("no file to read a partition from")
    tables = list(partition_tables(paths, partition, columns))
    if not tables:
        with storage.opened(paths[0]) as source, pq.ParquetFile(source) as file:
            tables = [file.read_row_groups([], columns=columns)]
    return pa.concat_tables(tables).combine_chunks()


def partition_tables(paths: Sequence[Path], partition: int, columns: Sequence[str] | None = None) -> Iterator[pa.Table]:
    """The same rows, a row group at a time."""
    for path in paths:
        with storage.opened(path) as source, pq.ParquetFile(source) as file:
            for group in (i for i, written in enumerate(_partitions_of(file.metadata, path)) if written == partition):
                yield file.read_row_group(group, columns=columns, use_threads=False)


def _partitions_of(metadata: pq.FileMetaData, path: Path) -> list[int]:
    """The partition of each row group."""
    partitions: list[int] = json.loads(metadata.metadata[PARTITIONS])
    if len(partitions) != metadata.num_row_groups:
        raise StageError(f"{path}: {metadata.num_row_groups} row groups, but partitions of {len(partitions)}: a bug")
    return partitions


def column_bytes(paths: Sequence[Path], partition: int, column: str) -> int:
    """Bytes that a column of one partition takes in all files, lengths and page headers included."""
    total = 0
    for path in paths:
        with storage.opened(path) as source:
            metadata = pq.read_metadata(source)
        number = metadata.schema.names.index(column)
        for group, written in enumerate(_partitions_of(metadata, path)):
            if written == partition:
                total += metadata.row_group(group).column(number).total_uncompressed_size
    return total
