"""First phase: the keys by which documents may be duplicates of each other, one record a key and document."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from pipeline.exchange import PartitionedWriter
from pipeline.stage import Context, Task
from stages.dedup.duplicates.audit import in_sample
from stages.dedup.duplicates.corpus import ROW_BITS
from stages.dedup.duplicates.options import DuplicatesConfig
from stages.kernel import kernel
from stages.text.normalized_words import HASH_FACTOR, HASH_START, finished
from stages.text.utf8 import bytes_and_offsets

RECORDS_FILE = "keys.parquet"
RECORDS = pa.schema([("key", pa.uint64()), ("location", pa.uint64())])
RECORD_BYTES = 16
BATCH_ROWS = 65_536

# Told apart from band keys, and from each other, before they become keys of links.
_CONTENT, _URL, _AUDIT = (np.uint64(0x9E6C63D0676A9A99), np.uint64(0xC2B2AE3D27D4EB4F), np.uint64(0xA24BAED4963EE407))


def write_keys(task: Task, out: Path, context: Context, config: DuplicatesConfig) -> dict[str, Any]:
    """Records (key, location) of some parts' documents, by partition of the key; tells new documents by language too.

    What a document meets others by: each band, its content, its URL if asked for, its id (for one that occurs twice),
    and, of a sample, the value that recall is estimated by. Links join what one task is to look at and remove nothing.
    """
    partitions = task.arguments["partitions"]
    counts: Counter[tuple[str, str | None]] = Counter()
    with PartitionedWriter(out / RECORDS_FILE, RECORDS, partitions, config.task_memory_bytes // 8) as writer:
        parts = list(zip(task.arguments["parts"], task.files["signatures"], strict=True))
        for done, ((part, is_indexed), path) in enumerate(parts):
            for first_row, batch in _batches(path, config):
                rows = np.arange(first_row, first_row + len(batch), dtype=np.uint64)
                locations = np.uint64(part << ROW_BITS) + rows
                for keys, places in _records(batch, task.arguments["sample_bits"], config.fuzzy, config.by_url):
                    table = pa.table([pa.array(keys), pa.array(locations[places])], schema=RECORDS)
                    writer.write(table, partition_of(keys, partitions))
                if not is_indexed:
                    _count(batch, counts)
            context.progress(done, len(parts))
    return {"partitions": partitions, "documents": [[*pair, n] for pair, n in sorted(counts.items(), key=str)]}


def _batches(path: Path, config: DuplicatesConfig) -> Iterator[tuple[int, pa.RecordBatch]]:
    """Signatures of a part, with the row that each batch begins at."""
    columns = ["id", "source", "language", "dedup.content_hash"]
    columns += ["dedup.bands", "dedup.audit"] * config.fuzzy + ["dedup.url_hash"] * config.by_url
    first_row = 0
    with pq.ParquetFile(path) as file:
        for batch in file.iter_batches(BATCH_ROWS, columns=columns):
            yield first_row, batch
            first_row += len(batch)


def _count(batch: pa.RecordBatch, counts: Counter[tuple[str, str | None]]) -> None:
    languages = pa.table({"source": batch["source"], "language": batch["language"]})
    for group in languages.group_by(["source", "language"]).aggregate([([], "count_all")]).to_pylist():
        counts[group["source"], group["language"]] += group["count_all"]


def partition_of(keys: NDArray[np.uint64], partitions: int) -> NDArray[np.int64]:
    """The partition of each key, by its highest bits; ``partitions`` is a power of two."""
    bits = partitions.bit_length() - 1
    return (keys >> np.uint64(64 - bits)).astype(np.int64) if bits else np.zeros(len(keys), np.int64)


def _records(
    batch: pa.RecordBatch, sample_bits: int, fuzzy: bool, by_url: bool
) -> list[tuple[NDArray[np.uint64], NDArray[np.bool_]]]:
    """Keys, and which of the batch's documents have them."""
    everyone = np.ones(len(batch), np.bool_)
    found = [
        (mixed(content_halves(batch["dedup.content_hash"])[:, 0], _CONTENT), everyone),
        (text_hashes(batch["id"]), everyone),
    ]
    if fuzzy:
        bands, has_words = band_keys(batch["dedup.bands"])
        for band in range(bands.shape[1]):
            found.append((bands[has_words, band], has_words))
        audited, has_value = present(batch["dedup.audit"])
        has_value &= in_sample(audited, sample_bits)
        found.append((mixed(audited[has_value], _AUDIT), has_value))
    if by_url:
        urls, has_url = present(batch["dedup.url_hash"])
        found.append((mixed(urls[has_url], _URL), has_url))
    return found


def band_keys(column: pa.Array) -> tuple[NDArray[np.uint64], NDArray[np.bool_]]:
    """Band keys, (documents, bands), 0 of a document without words, and which documents have words."""
    has_words = np.asarray(column.is_valid())
    width = column.type.list_size
    keys = np.zeros((len(column), width), np.uint64)
    keys[has_words] = np.asarray(column.drop_null().flatten()).reshape(-1, width)
    return keys, has_words


def content_halves(column: pa.Array) -> NDArray[np.uint64]:
    """Hashes of 16 bytes as two numbers, (documents, 2)."""
    column = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
    return np.frombuffer(column.buffers()[1], np.uint64).reshape(-1, 2)[column.offset : column.offset + len(column)]


def present(column: pa.Array) -> tuple[NDArray[np.uint64], NDArray[np.bool_]]:
    """Numbers, 0 for null, and which are not null."""
    return np.asarray(pc.fill_null(column, pa.scalar(0, pa.uint64()))), np.asarray(column.is_valid())


@kernel
def mixed(values: NDArray[np.uint64], kind: np.uint64) -> NDArray[np.uint64]:
    """Hashes of numbers that are keys of one kind."""
    keys = np.empty(len(values), np.uint64)
    for i in range(len(values)):
        keys[i] = finished((values[i] ^ kind) * HASH_FACTOR)
    return keys


def text_hashes(column: pa.Array) -> NDArray[np.uint64]:
    """A hash of each text's bytes."""
    content, offsets = bytes_and_offsets(column)
    return _text_hashes(content, offsets)


@kernel
def _text_hashes(content: NDArray[np.uint8], offsets: NDArray[np.int64]) -> NDArray[np.uint64]:
    hashes = np.empty(len(offsets) - 1, np.uint64)
    for i in range(len(hashes)):
        value = HASH_START
        for at in range(offsets[i], offsets[i + 1]):
            value = (value ^ np.uint64(content[at])) * HASH_FACTOR
            value ^= value >> np.uint64(32)
        hashes[i] = finished(value)
    return hashes
