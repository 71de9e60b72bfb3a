"""datatrove's tokenized files, which nanotron trains on: the body as .ds, document ends and counts beside it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from stages.tokenize.exports.selection import Format, Selection, place


def write(selection: Selection, folder: Path) -> Sequence[str]:
    """A .ds, .ds.index and .ds.metadata of each shard."""
    for shard in selection.each():
        body = folder / f"{shard.name}.ds"
        place(shard, body)
        body.with_suffix(".ds.index").write_bytes(shard.documents().ends.astype("<u8").data)
        metadata = (f"{selection.published}|{shard.dtype.itemsize}", str(shard.tokens), _human(shard.tokens))
        body.with_suffix(".ds.metadata").write_text("\n".join(metadata))
    return [
        "The first line of each .ds.metadata names this folder as the tokenizer: if the folder moves, change it there.",
        "There is no .ds.loss: every token is trained on.",
    ]


def _human(tokens: int) -> str:
    """A count for people, in metric units, such as ``1.50 MT``."""
    number, unit = float(tokens), ""
    for larger in ("k", "M", "G", "T"):
        if number < 1000:
            break
        number, unit = number / 1000, larger
    return f"{number:.3g} {unit}T"


FORMAT = Format(
    name="datatrove",
    title="datatrove tokenized files (.ds), as nanotron reads them",
    usage="""\
Each shard is a `.ds` (the ids), a `.ds.index` (uint64: where each document ends, in tokens) and a `.ds.metadata`
(tokenizer and bytes of a token, tokens, tokens for people). nanotron takes the folder of a source as `dataset_folder`,
datatrove's reader is

    DatatroveFolderDataset("SOURCE", seq_len=2048, filename_pattern="*.ds", token_size=TOKEN_BYTES)
""",
    write=write,
)
