"""Parquet, for trainers that tokenize themselves (text) or take lists of ids: one row a document, in shard order."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from stages.tokenize.exports.selection import Documents, Format, Selection, Shard

if TYPE_CHECKING:
    from tokenizers import Tokenizer

ROW_GROUP_TOKENS = 1 << 20
TEXT_SCHEMA = pa.schema([("id", pa.string()), ("source", pa.string()), ("text", pa.large_string())])
# int32 as tokenizers and datasets have it: torch knows little of unsigned integers
IDS_SCHEMA = pa.schema([("id", pa.string()), ("source", pa.string()), ("input_ids", pa.list_(pa.int32()))])
FRONT_MATTER = """\
---
configs:
- config_name: default
  data_files: "*/*.parquet"
---
"""


def write_ids(selection: Selection, folder: Path) -> Sequence[str]:
    """The ids of each document, the end-of-document token included."""
    for shard in selection.each():
        with _writer(shard, IDS_SCHEMA, folder) as file:
            for documents, ids in _row_groups(shard):
                offsets = np.concatenate([[0], documents.ends]).astype(np.int32)
                lists = pa.ListArray.from_arrays(offsets, pa.array(ids.astype(np.int32)))
                file.write_table(_table(shard, documents, lists, IDS_SCHEMA))
    return []


def write_text(selection: Selection, folder: Path) -> Sequence[str]:
    """The text of each document, decoded from its ids."""
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(selection.tokens.tokenizer_path))
    decoded_bytes: Counter[str] = Counter()
    for shard in selection.each():
        with _writer(shard, TEXT_SCHEMA, folder) as file:
            for documents, ids in _row_groups(shard):
                texts = pa.array(_decoded(tokenizer, documents, ids), pa.large_string())
                decoded_bytes[shard.source] += pc.sum(pc.binary_length(texts)).as_py()
                file.write_table(_table(shard, documents, texts, TEXT_SCHEMA))
    return [_exactness(selection, decoded_bytes)]


def _writer(shard: Shard, schema: pa.Schema, folder: Path) -> pq.ParquetWriter:
    path = folder / f"{shard.name}.parquet"
    path.parent.mkdir(exist_ok=True)
    return pq.ParquetWriter(path, schema, compression="zstd")


def _row_groups(shard: Shard) -> Iterator[tuple[Documents, npt.NDArray[Any]]]:
    """Runs of documents with their ids."""
    documents, ids = shard.documents(), shard.ids()
    for group in documents.groups(ROW_GROUP_TOKENS):
        run = Documents(documents.ids[group.start : group.stop], documents.lengths[group])
        yield run, ids[documents.tokens_of(group)]


def _table(shard: Shard, documents: Documents, column: pa.Array, schema: pa.Schema) -> pa.Table:
    sources = pa.repeat(pa.scalar(shard.source), len(column))
    return pa.Table.from_arrays([documents.ids, sources, column], schema=schema)


def _decoded(tokenizer: Tokenizer, documents: Documents, ids: npt.NDArray[Any]) -> list[str]:
    ends = documents.ends
    starts = ends - documents.lengths
    # without the end-of-document token, which is no text
    sequences = [ids[start : end - 1].tolist() for start, end in zip(starts, ends, strict=True)]
    return list(tokenizer.decode_batch(sequences, skip_special_tokens=False))


def _exactness(selection: Selection, decoded_bytes: Counter[str]) -> str:
    """Whether the text has as many bytes as that from which the tokens were made."""
    (split,) = selection.splits
    original = {source: selection.tokens.bodies[source, split].bytes for source in selection.sources}
    said = "The text is decoded from the token ids by tokenizer.json"
    differing = [name for name in selection.sources if decoded_bytes[name] != original[name]]
    if not differing:
        return f"{said}; it has exactly as many bytes as the documents had."
    counts = ", ".join(f"{name}: {decoded_bytes[name]} bytes instead of {original[name]}" for name in differing)
    return f"{said}, which does not keep every text as it was ({counts}): take the run's documents for exact text."


TEXT = Format(
    name="parquet-text",
    title="Parquet of texts",
    usage="""\
Columns `id`, `source`, `text`; a row is a document, in the order of the shards. Read by torchtitan, nanochat, the
Hugging Face trainers, MaxText:

    datasets.load_dataset("parquet", data_files="SOURCE/*.parquet")
""",
    write=write_text,
    same_bytes=False,
    front_matter=FRONT_MATTER,
)
IDS = Format(
    name="parquet-ids",
    title="Parquet of token ids",
    usage="""\
Columns `id`, `source`, `input_ids` (list of int32, the end-of-document token included); a row is a document, in the
order of the shards:

    datasets.load_dataset("parquet", data_files="SOURCE/*.parquet")
""",
    write=write_ids,
    same_bytes=False,
    front_matter=FRONT_MATTER,
)
