"""The formats that token folders are exported in, by name."""

from __future__ import annotations

from stages.tokenize.exports import datatrove, litdata, mds, megatron, nanogpt, olmo, parquet
from stages.tokenize.exports.selection import Format

FORMATS: dict[str, Format] = {
    form.name: form
    for form in (
        megatron.FORMAT,
        datatrove.FORMAT,
        olmo.FORMAT,
        nanogpt.FORMAT,
        parquet.TEXT,
        parquet.IDS,
        litdata.FORMAT,
        mds.FORMAT,
    )
}
