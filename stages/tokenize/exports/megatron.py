"""Megatron's indexed dataset: the body as .bin, beside it a binary .idx with lengths and byte pointers."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from pipeline.errors import InputError
from stages.tokenize.exports.selection import Format, Selection, Shard, place

MAGIC = b"MMIDIDX\x00\x00"
VERSION = 1
CODES = {2: 8, 4: 4}  # bytes of a token -> DType of Megatron: uint16, int32 (it knows no uint32)
DATA_ARGS = "data_args.txt"


def write(selection: Selection, folder: Path) -> Sequence[str]:
    """A .bin and an .idx of each shard, and the file for ``--data-args-path``."""
    for shard in selection.each():
        place(shard, folder / f"{shard.name}.bin")
        _write_index(shard, folder / f"{shard.name}.idx")
    lines = [f"{shard.tokens} {shard.name}\n" for shard in selection.shards]
    (folder / DATA_ARGS).write_text("".join(lines))
    if selection.dtype.itemsize == 4:
        return ["The ids have 4 bytes, which the index calls int32: all ids are below 2^31, so the bytes are the same."]
    return []


def _write_index(shard: Shard, path: Path) -> None:
    lengths = shard.documents().lengths
    if lengths.max() > np.iinfo(np.int32).max:
        raise InputError(f"{shard.path} holds a document of {lengths.max()} tokens; Megatron counts in 32 bits")
    pointers = (lengths.cumsum() - lengths) * shard.dtype.itemsize
    sequences = len(lengths)  # each document is one sequence
    with open(path, "wb") as file:
        file.write(MAGIC + struct.pack("<QBQQ", VERSION, CODES[shard.dtype.itemsize], sequences, sequences + 1))
        file.write(lengths.astype("<i4").data)
        file.write(pointers.astype("<i8").data)
        file.write(np.arange(sequences + 1, dtype="<i8").data)


FORMAT = Format(
    name="megatron",
    title="Megatron indexed dataset (.bin and .idx)",
    usage=f"""\
Read by Megatron-LM, NeMo, GPT-NeoX and whatever else knows `IndexedDataset`. Each shard is a prefix, the path without
`.bin`. From this folder:

    --data-args-path {DATA_ARGS}

or `--data-path WEIGHT PREFIX WEIGHT PREFIX ...`. The weights in `{DATA_ARGS}` are the tokens of each shard, so that
every token comes once; for another mixture scale the weights of a source. Documents already end with the
end-of-document token: do not append it again.
""",
    write=write,
)
