"""Reading documents to count their lines, and ranking them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from stages.dedup.lines.kernels import Hashes, hash_strings
from stages.dedup.lines.units import CODE_COLUMN
from stages.text.utf8 import bytes_and_offsets

BATCH_BYTES = 16 << 20
# rank, from the highest of 52 bits: date (year * 372 + month * 31 + day), hash of the id; the lowest is the best
_DATE_SHIFT = 30
_NO_DATE = (1 << 22) - 1
_DATE = r"^\s*(?P<year>\d{4})(?:-(?P<month>\d{2}))?(?:-(?P<day>\d{2}))?"


def batches(path: Path) -> Iterator[tuple[pa.Table, int]]:
    """The columns that matter of a file of documents, a few megabytes at a time, each with the number of all rows."""
    with pq.ParquetFile(path) as file:
        metadata = file.metadata
        size = sum(metadata.row_group(i).total_byte_size for i in range(metadata.num_row_groups))
        rows = max(1, min(4096, BATCH_BYTES * metadata.num_rows // max(1, size)))
        wanted = ("id", "source", "text", "url", "date", CODE_COLUMN)
        columns = [name for name in wanted if name in file.schema_arrow.names]
        for batch in file.iter_batches(rows, columns=columns, use_threads=False):
            yield pa.Table.from_batches([batch]), metadata.num_rows


def ranks(batch: pa.Table) -> Hashes:
    """Which document keeps a line, within one input: the lowest rank."""
    found = pc.extract_regex(batch["date"].combine_chunks(), _DATE)
    year, month, day = (_number(pc.struct_field(found, name)) for name in ("year", "month", "day"))
    date = np.where(year > 0, year * 372 + np.clip(month - 1, 0, 11) * 31 + np.clip(day - 1, 0, 30), _NO_DATE)
    ids = hash_strings(*bytes_and_offsets(batch["id"]))
    found_ranks: Hashes = (date.astype(np.uint64) << np.uint64(_DATE_SHIFT)) | (ids >> np.uint64(64 - _DATE_SHIFT))
    return found_ranks


def _number(digits: pa.Array) -> NDArray[np.int64]:
    """Numbers as they were matched; 0 where there is none."""
    numbers = pc.cast(pc.if_else(pc.equal(pc.fill_null(digits, ""), ""), "0", digits), pa.int64())
    values: NDArray[np.int64] = pc.fill_null(numbers, 0).to_numpy(zero_copy_only=False)
    return values
