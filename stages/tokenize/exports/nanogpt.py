"""nanoGPT's data folder: one raw train.bin and one raw val.bin of all sources."""

from __future__ import annotations

import pickle
import shutil
from collections.abc import Iterable, Sequence
from pathlib import Path

from stages.tokenize.exports.selection import HELD_OUT, TRAIN, Format, Selection, Shard, place

FILES = {TRAIN: "train.bin", HELD_OUT: "val.bin"}
COPY_BYTES = 1 << 24


def write(selection: Selection, folder: Path) -> Sequence[str]:
    """train.bin, val.bin and meta.pkl, from which nanoGPT's train.py takes the size of the vocabulary."""
    for split, name in FILES.items():
        shards = [shard for shard in selection.shards if shard.split == split]
        if len(shards) == 1:
            for shard in selection.each(shards):
                place(shard, folder / name)
        else:
            _concatenate(selection.each(shards), folder / name)
    (folder / "meta.pkl").write_bytes(pickle.dumps({"vocab_size": selection.tokens.vocabulary}, protocol=4))
    if len(selection.shards) == len(FILES):
        return []
    return ["nanoGPT reads one file, so the shards were copied one behind the other, in the order of the sources."]


def _concatenate(shards: Iterable[Shard], path: Path) -> None:
    with open(path, "wb") as whole:
        for shard in shards:
            with open(shard.path, "rb") as body:
                shutil.copyfileobj(body, whole, COPY_BYTES)


FORMAT = Format(
    name="nanogpt",
    title="nanoGPT data folder (train.bin, val.bin)",
    usage="""\
nanoGPT's `train.py` reads `data/DATASET/`: put this folder there (or a symbolic link to it) and pass
`--dataset=DATASET`. `val.bin` holds the documents that were held out from training. `meta.pkl` holds only the size of
the vocabulary; `sample.py` knows no tokenizer.json and has to be told how to decode.
""",
    write=write,
    splits=(TRAIN, HELD_OUT),
    token_bytes=(2,),
)
