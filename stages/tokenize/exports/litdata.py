"""litdata's chunks: a conversion, since each chunk has a header before the ids."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.errors import InputError
from stages.tokenize.exports.selection import Format, Selection, Shard

CHUNK_BYTES = 1 << 26  # litdata's own default
OFFSET_BYTES = 4
# bytes of a token -> torch's dtype in litdata's table: uint16; int32, as it has no uint32
DATA_FORMATS = {2: "no_header_tensor:20", 4: "no_header_tensor:15"}
LEAF = json.dumps([1, {"type": None, "context": None, "children_spec": []}])  # a sample is one tensor


def write(selection: Selection, folder: Path) -> Sequence[str]:
    """A folder with an index.json for each source that has tokens."""
    for source, shards in selection.by_source():
        (folder / source).mkdir()
        chunks: list[dict[str, Any]] = []
        for shard in selection.each(shards):
            _write_chunks(shard, folder / source, chunks)
        config = {
            "compression": None,
            "chunk_size": None,
            "chunk_bytes": CHUNK_BYTES,
            "data_format": [DATA_FORMATS[selection.dtype.itemsize]],
            "data_spec": LEAF,
            "encryption": None,
            "item_loader": "TokensLoader",
        }
        index = {"chunks": chunks, "config": config}
        (folder / source / "index.json").write_text(json.dumps(index, sort_keys=True))
    if selection.dtype.itemsize == 4:
        return ["The ids have 4 bytes, which the index calls int32: all ids are below 2^31, so the bytes are the same."]
    return []


def _write_chunks(shard: Shard, folder: Path, chunks: list[dict[str, Any]]) -> None:
    """Write the shard as chunks of whole documents and add them to the list.

    A chunk is uint32: documents, then where each begins and the last ends, in bytes from the chunk's start; then ids.
    """
    documents, ids = shard.documents(), shard.ids()
    for group in documents.groups(CHUNK_BYTES, documents.lengths * shard.dtype.itemsize + OFFSET_BYTES):
        lengths = documents.lengths[group]
        header_bytes = OFFSET_BYTES * (len(lengths) + 2)
        offsets = header_bytes + np.concatenate([[0], lengths.cumsum()]) * shard.dtype.itemsize
        if offsets[-1] > np.iinfo(np.uint32).max:
            raise InputError(f"{shard.path} holds a document of {lengths.max()} tokens; a chunk ends at 4 GiB")
        path = folder / f"chunk-0-{len(chunks)}.bin"
        with open(path, "wb") as file:
            file.write(np.concatenate([[len(lengths)], offsets]).astype("<u4").data)
            file.write(ids[documents.tokens_of(group)].data)
        chunk = {"chunk_bytes": int(offsets[-1]), "chunk_size": len(lengths), "dim": int(lengths.sum())}
        chunks.append({**chunk, "filename": path.name})


FORMAT = Format(
    name="litdata",
    title="litdata chunks",
    usage="""\
The folder of each source is a dataset of its own. litgpt and others read blocks of a fixed length out of it:

    StreamingDataset("SOURCE", item_loader=TokensLoader(block_size=2049), shuffle=True)

and mix sources by `CombinedStreamingDataset([...], weights=[...])`. Tokens behind the last whole block of a chunk (of
about 64 MiB) are not read: that is litdata's way.
""",
    write=write,
    same_bytes=False,
)
