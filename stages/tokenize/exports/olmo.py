"""What OLMo-core and dolma read: the body under a .npy name (without a header), documents in a .csv.gz."""

from __future__ import annotations

import csv
import gzip
import io
from collections.abc import Sequence
from pathlib import Path

from pipeline.errors import InputError
from stages.tokenize.exports.selection import Format, Selection, Shard, place


def write(selection: Selection, folder: Path) -> Sequence[str]:
    """A .npy and a .csv.gz of each shard."""
    for shard in selection.each():
        place(shard, folder / f"{shard.name}.npy")
        _write_documents(shard, folder / f"{shard.name}.csv.gz")
    return []


def _write_documents(shard: Shard, path: Path) -> None:
    """One row a document: start, end, id, source, number in the shard. No header, as dolma writes them."""
    documents = shard.documents()
    ends = documents.ends
    starts = ends - documents.lengths
    rows = zip(starts.tolist(), ends.tolist(), documents.ids.to_pylist(), strict=True)
    # Neither time nor name in the header: the same tokens give the same bytes.
    with (
        open(path, "wb") as file,
        gzip.GzipFile(filename="", fileobj=file, mode="wb", mtime=0) as compressed,
        io.TextIOWrapper(compressed, encoding="utf-8", newline="") as text,
    ):
        writer = csv.writer(text, lineterminator="\n")
        for number, (start, end, document_id) in enumerate(rows):
            if len(document_id.splitlines()) > 1:
                raise InputError(f"{shard.path}: the id {document_id!r} has several lines; OLMo-core reads by lines")
            writer.writerow((start, end, document_id, shard.source, number))


FORMAT = Format(
    name="olmo",
    title="OLMo-core and dolma memory-mapped arrays (.npy without a header, .csv.gz)",
    usage="""\
Each shard is a `.npy`, which holds the ids and nothing else (numpy.load refuses it, as it does dolma's own), and a
`.csv.gz` with a row for each document: start, end, id, source, number. OLMo-core:

    NumpyFSLDatasetConfig(paths=["SOURCE/*.npy"], expand_glob=True, dtype=NumpyDatasetDType.DTYPE,
                          tokenizer=TokenizerConfig(vocab_size=VOCABULARY, eos_token_id=EOD, pad_token_id=EOD), ...)
""",
    write=write,
)
