"""Token folders by hand: a few documents of odd sizes, in the contract of proxy_models/shards.py."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from tokenizers import Tokenizer, decoders, models, pre_tokenizers

EOD = 0
Ids = list[int]  # of one document, EOD at its end
Layout = Mapping[str, Mapping[str, Sequence[Sequence[Ids]]]]  # source -> split -> shards -> documents

LAYOUT: Layout = {
    "code": {"train": [[[7, EOD]]], "held_out": [[[9, 9, EOD]]]},
    "web": {
        "train": [[[5, 6, EOD], [EOD], [8, EOD]], [[1, 2, 3, 4, 5, EOD]]],
        "held_out": [[[3, EOD], [4, EOD]]],
    },
}


def byte_tokenizer() -> Tokenizer:
    """A token for each byte, and the end of document as token 0."""
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {"<|endoftext|>": EOD, **{letter: i for i, letter in enumerate(letters, 1)}}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens(["<|endoftext|>"])
    return tokenizer


def encoded(text: str) -> Ids:
    """The ids of a document's text in the folder's tokenizer."""
    return [*byte_tokenizer().encode(text).ids, EOD]


def document_id(source: str, split: str, shard: int, number: int) -> str:
    return f"{source}, {split}: {shard}.{number}"  # with a comma and spaces, as an id may have


def write_tokens(folder: Path, layout: Layout = LAYOUT, dtype: str = "uint16", size_bytes: int = 0) -> Path:
    """A finished token folder with these documents; each split claims `size_bytes` bytes of text."""
    folder.mkdir(parents=True)
    byte_tokenizer().save(str(folder / "tokenizer.json"))
    sources = {
        source: {
            split: _write_split(folder, source, split, shards, dtype, size_bytes) for split, shards in splits.items()
        }
        for source, splits in layout.items()
    }
    contents = {
        "vocabulary": 257 if dtype == "uint16" else 100_000,
        "dtype": dtype,
        "eod": EOD,
        "tokenizer_sha256": digest(folder / "tokenizer.json"),
        "sources": sources,
    }
    (folder / "tokens.json").write_text(json.dumps(contents))
    return folder


def _write_split(
    folder: Path, source: str, split: str, shards: Sequence[Sequence[Ids]], dtype: str, size_bytes: int
) -> dict[str, Any]:
    files = []
    for number, shard in enumerate(shards):
        path = folder / source / f"{split}-{number:05d}.bin"
        path.parent.mkdir(exist_ok=True)
        lengths = np.array([len(ids) for ids in shard], np.int64)
        body = np.array([token for ids in shard for token in ids], np.dtype(dtype).newbyteorder("<"))
        path.write_bytes(body.tobytes())
        index = {
            "id": pa.array([document_id(source, split, number, i) for i in range(len(shard))], pa.string()),
            "start": pa.array(lengths.cumsum() - lengths),
            "tokens": pa.array(lengths),
        }
        pq.write_table(pa.table(index), path.with_suffix(".documents.parquet"), write_page_checksum=True)
        files.append({"path": f"{source}/{path.name}", "tokens": len(body), "sha256": digest(path)})
    return {
        "files": files,
        "tokens": sum(file["tokens"] for file in files),
        "documents": sum(map(len, shards)),
        "bytes": size_bytes,
    }


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def documents_of(layout: Layout, split: str = "train") -> dict[str, list[Ids]]:
    """The documents of each source in the order of its shards."""
    return {source: [ids for shard in splits[split] for ids in shard] for source, splits in layout.items()}


def ids_of(layout: Layout, split: str = "train") -> dict[str, list[str]]:
    """The ids of these documents."""
    return {
        source: [
            document_id(source, split, number, i)
            for number, shard in enumerate(splits[split])
            for i in range(len(shard))
        ]
        for source, splits in layout.items()
    }
