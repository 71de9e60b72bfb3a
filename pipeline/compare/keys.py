"""Which rows two runs share, in memory that does not grow with the runs.

A row is known by the 128-bit xxh3 hash of its id (or of its text): 16 bytes, and 12 that tell where the row lies and
what was said of it. The hashes lie on the disk, divided into partitions by some of their bits; one partition of each
run is in memory at a time. That any two ids of two runs of a billion documents have one hash is as likely as 3e-21.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import xxhash
from numpy.typing import NDArray

from pipeline import storage
from pipeline.exchange import PartitionedWriter, partitions_for, read_partition

MEMORY_BYTES = 16 << 20  # of one partition, if hashes spread evenly
SCHEMA = pa.schema(
    [("key", pa.binary(16)), ("said", pa.uint32()), ("file", pa.uint32()), ("row", pa.uint32())],
)
ROW_BYTES = 28
READ_ROWS = 64 << 10


def partitions_of(rows: int, memory_bytes: int = MEMORY_BYTES) -> int:
    """Into how many partitions to divide at most ``rows`` rows of a run."""
    return partitions_for(rows * ROW_BYTES, memory_bytes)


class Keys:
    """The rows of some Parquet files by the hash of one column.

    Memory: four times ``memory_bytes`` while writing, and about that for each partition that is read. ``ROW_BYTES`` a
    row lie in the scratch folder.
    """

    def __init__(
        self,
        files: Sequence[Path],
        column: str,
        said: Sequence[str],
        scratch: Path,
        partitions: int,
        seed: int = 0,
        memory_bytes: int = MEMORY_BYTES,
        read: Callable[[int], None] = lambda rows: None,
    ) -> None:
        """Read the files and write their hashes.

        Args:
            column: what rows are known by; null counts as the empty text.
            said: columns with few distinct values, which ``values`` tells of each row.
            scratch: a file that does not exist yet.
            partitions: a power of two, the same for all that are compared.
            seed: of the hashes; those of one seed can be compared.
            read: told how many rows more have been read.

        Raises:
            MachineError: the disk of the scratch folder is full.
        """
        self.files = tuple(files)
        self.values: list[tuple[str | None, ...]] = []
        self._codes: dict[tuple[str | None, ...], int] = {}
        self._column, self._said, self._seed = column, tuple(said), seed
        self._partitions, self._scratch = partitions, scratch
        with (
            storage.explained_disk_errors(scratch),
            PartitionedWriter(scratch, SCHEMA, partitions, 4 * memory_bytes) as writer,
        ):
            for number, path in enumerate(self.files):
                for rows, partition in self._rows(number, path):
                    writer.write(rows, partition)
                    read(rows.num_rows)

    def _rows(self, number: int, path: Path) -> Iterator[tuple[pa.Table, NDArray[np.uint32]]]:
        """Rows of SCHEMA, and the partition of each."""
        at = 0
        with storage.opened(path) as source, pq.ParquetFile(source) as file:
            for batch in file.iter_batches(READ_ROWS, columns=[self._column, *self._said]):
                hashes = self._hashes(batch.column(self._column))
                rows = pa.table(
                    [
                        pa.FixedSizeBinaryArray.from_buffers(
                            pa.binary(16), batch.num_rows, [None, pa.py_buffer(hashes)]
                        ),
                        pa.array(self._coded(batch), pa.uint32()),
                        pa.array(np.full(batch.num_rows, number, np.uint32)),
                        pa.array(np.arange(at, at + batch.num_rows, dtype=np.uint32)),
                    ],
                    schema=SCHEMA,
                )
                first_bits = np.frombuffer(hashes, ">u4")[::4].astype(np.uint32)
                yield rows, first_bits & np.uint32(self._partitions - 1)
                at += batch.num_rows

    def _hashes(self, values: pa.Array) -> bytes:
        digest, seed = xxhash.xxh3_128_digest, self._seed
        texts = pc.fill_null(values.cast(pa.large_binary()), b"")
        return b"".join([digest(text, seed) for text in texts.to_pylist()])

    def _coded(self, batch: pa.RecordBatch) -> NDArray[np.uint32]:
        """The place in ``values`` of what is said of each row."""
        mixed = np.zeros(batch.num_rows, np.int64)
        for name in self._said:
            encoded = batch.column(name).dictionary_encode("encode")
            mixed = mixed * max(1, len(encoded.dictionary)) + encoded.indices.to_numpy()
        _, first, inverse = np.unique(mixed, return_index=True, return_inverse=True)
        distinct = batch.select(list(self._said)).take(pa.array(first)).to_pylist()
        codes = []
        for row in distinct:
            value = tuple(row[name] for name in self._said)
            if value not in self._codes:
                self._codes[value] = len(self.values)
                self.values.append(value)
            codes.append(self._codes[value])
        return np.array(codes, np.uint32)[inverse]

    def partition(self, number: int) -> pa.Table:
        """The rows (SCHEMA) of one partition, in the order of the files."""
        return read_partition([self._scratch], number)


def parted(a: Keys, b: Keys, partitions: int) -> Iterator[tuple[int, pa.Table, pa.Table, int]]:
    """For each partition: its number, the first row of each key that only ``a`` has, of each that only ``b`` has, and
    how many keys both have."""
    for number in range(partitions):
        in_a, in_b = _distinct(a.partition(number)), _distinct(b.partition(number))
        only_a, only_b = _without(in_a, in_b), _without(in_b, in_a)
        yield number, only_a, only_b, in_a.num_rows - only_a.num_rows


def _distinct(rows: pa.Table) -> pa.Table:
    """The first row of each key."""
    numbers = rows.column("key").combine_chunks().dictionary_encode().indices.to_numpy(zero_copy_only=False)
    first = np.unique(numbers, return_index=True)[1]
    return rows if len(first) == rows.num_rows else rows.take(pa.array(np.sort(first)))


def _without(rows: pa.Table, others: pa.Table) -> pa.Table:
    known = pc.is_in(rows.column("key"), value_set=others.column("key").combine_chunks())
    return rows.filter(pc.invert(known))


def smallest(rows: pa.Table, count: int) -> pa.Table:
    """The rows of the smallest keys, in their order: a random sample by the seed of the hashes, the same however the
    rows are divided into files."""
    keys = rows.column("key").combine_chunks().to_pylist() if rows.num_rows <= count else None
    if keys is not None:
        return rows.take(pa.array(np.array(sorted(range(len(keys)), key=keys.__getitem__), np.int64)))
    heads = np.frombuffer(b"".join(_buffers(rows)), ">u8")[::2]
    return smallest(rows.take(pa.array(np.sort(np.argpartition(heads, count - 1)[:count]))), count)


def _buffers(rows: pa.Table) -> Iterator[bytes]:
    for chunk in rows.column("key").chunks:
        yield memoryview(chunk.buffers()[1])[16 * chunk.offset : 16 * (chunk.offset + len(chunk))].tobytes()


def read_rows(path: Path, wanted: Sequence[int], columns: Sequence[str]) -> dict[int, dict[str, Any]]:
    """Some rows of a Parquet file by their number; only the row groups that hold them are read."""
    found: dict[int, dict[str, Any]] = {}
    with storage.opened(path) as source, pq.ParquetFile(source) as file:
        begin = 0
        for group in range(file.metadata.num_row_groups):
            end = begin + file.metadata.row_group(group).num_rows
            here = sorted({number for number in wanted if begin <= number < end})
            if here:
                rows = file.read_row_group(group, columns=list(columns))
                found |= dict(zip(here, rows.take([number - begin for number in here]).to_pylist(), strict=True))
            begin = end
    return found
