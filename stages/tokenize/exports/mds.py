"""MosaicML Streaming's shards (MDS): a conversion, one sample a document."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow.compute as pc

from pipeline.errors import InputError
from stages.tokenize.exports.selection import Documents, Format, Selection, Shard

SHARD_BYTES = 1 << 26  # MDSWriter's own default
SAMPLE_BYTES = 4 + 8 + 9  # of a sample at most, besides id and tokens: offset, sizes of columns, head of the array
COLUMNS = ["id", "tokens"]  # sorted, as MDSWriter has them


def write(selection: Selection, folder: Path) -> Sequence[str]:
    """A folder with an index.json for each source that has tokens."""
    for source, shards in selection.by_source():
        (folder / source).mkdir()
        entries: list[dict[str, Any]] = []
        for shard in selection.each(shards):
            _write_shards(shard, folder / source, entries)
        (folder / source / "index.json").write_text(json.dumps({"version": 2, "shards": entries}, sort_keys=True))
    return []


def _write_shards(shard: Shard, folder: Path, entries: list[dict[str, Any]]) -> None:
    """Write the documents of a shard as MDS shards and add them to the list.

    An MDS shard is uint32: samples, then where each begins and the last ends, in bytes; the configuration; samples.
    """
    config = {
        "version": 2,
        "format": "mds",
        "compression": None,
        "hashes": [],
        "size_limit": SHARD_BYTES,
        "column_names": COLUMNS,
        "column_encodings": ["str", f"ndarray:uint{8 * shard.dtype.itemsize}"],
        "column_sizes": [None, None],
    }
    config_bytes = json.dumps(config, sort_keys=True).encode()
    documents, ids = shard.documents(), shard.ids()
    sizes = documents.lengths * shard.dtype.itemsize + pc.binary_length(documents.ids).to_numpy() + SAMPLE_BYTES
    for group in documents.groups(SHARD_BYTES - 8 - len(config_bytes), sizes):
        run = Documents(documents.ids[group.start : group.stop], documents.lengths[group])
        samples = list(_samples(run, ids[documents.tokens_of(group)]))
        begin = 4 * (len(samples) + 2) + len(config_bytes)
        offsets = begin + np.concatenate([[0], np.cumsum([len(sample) for sample in samples])])
        if offsets[-1] > np.iinfo(np.uint32).max:
            raise InputError(f"{shard.path} holds a document of {run.lengths.max()} tokens; a shard ends at 4 GiB")
        path = folder / f"shard.{len(entries):05d}.mds"
        with open(path, "wb") as file:
            file.write(np.concatenate([[len(samples)], offsets]).astype("<u4").data)
            file.write(config_bytes)
            file.writelines(samples)
        raw = {"basename": path.name, "bytes": int(offsets[-1]), "hashes": {}}
        entries.append({**config, "samples": len(samples), "raw_data": raw, "zip_data": None})


def _samples(documents: Documents, ids: npt.NDArray[Any]) -> Iterator[bytes]:
    """Each document as MDS encodes it: uint32 sizes of both columns, the id, the array."""
    ends = documents.ends
    starts = ends - documents.lengths
    for name, start, end in zip(documents.ids.to_pylist(), starts, ends, strict=True):
        document_id, array = name.encode(), _array(ids[start:end])
        yield np.array([len(document_id), len(array)], "<u4").tobytes() + document_id + array


def _array(ids: npt.NDArray[Any]) -> bytes:
    """A one-dimensional array whose type the column tells: a byte (dimensions << 2 | log2 of the length's bytes), the
    length, the values."""
    log_bytes = next(log for log in range(4) if len(ids) < 1 << (8 << log))
    return bytes([1 << 2 | log_bytes]) + len(ids).to_bytes(1 << log_bytes, "little") + ids.tobytes()


FORMAT = Format(
    name="mds",
    title="MosaicML Streaming shards (MDS)",
    usage="""\
The folder of each source is a dataset of its own; a sample is a document with the columns `id` and `tokens`:

    streaming.StreamingDataset(local="SOURCE", batch_size=1)

and `streaming.Stream(local="SOURCE", proportion=...)` mixes sources. Samples have the documents' own lengths: a trainer
that expects one length, such as LLM Foundry, cuts each at its `max_seq_len`, so pack them first.
""",
    write=write,
    same_bytes=False,
)
