"""Token shards without some of their documents: a new folder beside the old one, which nobody changes.

Shards that hold none of the documents are links to the old folder's files. Each other one is written anew, under its
own name, from the stretches between the documents that go; one that is left with nothing is gone. Beside them:

tokens.json          the counts and digests of what is there now; per split ``digest_as_made``: what a mix was
                     measured on; under ``taken_down`` what each request took
taken_down.parquet   each document that is gone: where it was, and when it was asked for by which list
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pipeline.artifact import digest_of
from pipeline.errors import StageError
from pipeline.storage import explained_disk_errors, sha256_of
from stages.tokenize.shards import TOKENS_FILE
from stages.tokenize.tokenizer import TOKENIZER_FILE

TAKEN_DOWN_FILE = "taken_down.parquet"
INDEX_COLUMNS = ("id", "parent", "start", "tokens", "bytes")
COPIED_TOKENS = 4 << 20

_SCHEMA = pa.schema(
    [(name, pa.string()) for name in ("id", "parent", "source", "split", "shard")]
    + [(name, pa.int64()) for name in ("start", "tokens", "bytes")]
    + [(name, pa.string()) for name in ("when", "list_sha256")]
)


@dataclass(frozen=True)
class Removal:
    """What was taken out of a folder, and what it holds now."""

    documents: int
    tokens: int
    by_source: Mapping[str, Mapping[str, int]]  # source -> documents, tokens
    sources: Mapping[str, Any]  # as in tokens.json


def shard_documents(folder: Path) -> Iterator[tuple[str, str, Mapping[str, Any], pa.Table]]:
    """Source, split, entry of tokens.json and documents (INDEX_COLUMNS, in their order) of each shard.

    Raises:
        StageError: an index is absent, lacks a column, or does not fit the tokens of its shard.
    """
    for source, splits in _manifest(folder)["sources"].items():
        for split, contents in splits.items():
            for file in contents["files"]:
                yield source, split, file, _index(folder, file)


def rewritten(folder: Path, out: Path, gone: Collection[str], when: str, list_sha256: str) -> Removal | None:
    """Write a token folder without the documents ``gone`` as ``out``, a new folder, which is on the disk afterwards.

    Args:
        when: time of the request, for the record.
        list_sha256: digest of the list that asked for it, for the record.

    Returns:
        What was removed; None, and nothing is written, if the folder holds none of the documents.

    Raises:
        StageError: a shard that is to change is damaged: its copy would hide that.
        MachineError: no room on the disk.
    """
    manifest = _manifest(folder)
    wanted = pa.array(sorted(gone), pa.string())
    removed: list[pa.Table] = []
    with explained_disk_errors(out):
        for source, splits in manifest["sources"].items():
            for split, contents in splits.items():
                digest = digest_of([file["sha256"] for file in contents["files"]])
                files = []
                for file in contents["files"]:
                    index = _index(folder, file)
                    goes = pc.is_in(index["id"], wanted).combine_chunks()
                    if not pc.any(goes).as_py():
                        _link(folder, out, file["path"])
                        _link(folder, out, _index_name(file["path"]))
                        files.append(file)
                        continue
                    removed.append(_rows(index.filter(goes), source, split, file["path"], when, list_sha256))
                    left = index.filter(pc.invert(goes))
                    if left.num_rows:
                        files.append(_write_shard(folder, out, file, manifest["dtype"], index, goes))
                    contents["documents"] -= index.num_rows - left.num_rows
                    contents["tokens"] -= _sum(index["tokens"]) - _sum(left["tokens"])
                    contents["bytes"] -= _sum(index["bytes"]) - _sum(left["bytes"])
                if files != contents["files"]:
                    contents.setdefault("digest_as_made", digest)
                contents["files"] = files
        if not removed:
            shutil.rmtree(out, ignore_errors=True)  # links alone
            return None
        rows = pa.concat_tables(removed)
        _link(folder, out, TOKENIZER_FILE)
        earlier = [pq.read_table(folder / TAKEN_DOWN_FILE)] if (folder / TAKEN_DOWN_FILE).exists() else []
        pq.write_table(pa.concat_tables([*earlier, rows]), out / TAKEN_DOWN_FILE, compression="zstd")
        told = {"when": when, "list_sha256": list_sha256, "documents": rows.num_rows, "tokens": _sum(rows["tokens"])}
        manifest["taken_down"] = [*manifest.get("taken_down", []), told]
        (out / TOKENS_FILE).write_text(json.dumps(manifest, indent=1, sort_keys=True))
    by_source: dict[str, dict[str, int]] = {}
    for row in rows.group_by("source").aggregate([("id", "count"), ("tokens", "sum")]).to_pylist():
        by_source[row["source"]] = {"documents": row["id_count"], "tokens": row["tokens_sum"]}
    return Removal(rows.num_rows, told["tokens"], by_source, manifest["sources"])


def _manifest(folder: Path) -> dict[str, Any]:
    path = folder / TOKENS_FILE
    if not path.is_file():
        raise StageError(f"{path} is absent: {folder} is not a finished token folder")
    manifest: dict[str, Any] = json.loads(path.read_bytes())
    return manifest


def _index_name(shard: str) -> str:
    return shard.removesuffix(".bin") + ".documents.parquet"


def _index(folder: Path, file: Mapping[str, Any]) -> pa.Table:
    path = folder / _index_name(file["path"])
    if not path.is_file():
        raise StageError(f"{path} is absent: which documents {file['path']} holds is not known; tokenize again")
    if missing := [name for name in INDEX_COLUMNS if name not in pq.read_schema(path).names]:
        raise StageError(
            f"{path} has no column {', '.join(missing)}: an earlier version of Sluice made it; tokenize again"
        )
    index = pq.read_table(path, columns=list(INDEX_COLUMNS))
    lengths = index["tokens"].to_numpy()
    if not np.array_equal(index["start"].to_numpy(), np.cumsum(lengths) - lengths) or lengths.sum() != file["tokens"]:
        raise StageError(f"{path} does not tell the {file['tokens']} tokens of {file['path']} apart; tokenize again")
    return index


def _link(folder: Path, out: Path, name: str) -> None:
    (out / name).parent.mkdir(parents=True, exist_ok=True)
    os.link(folder / name, out / name)


def _write_shard(
    folder: Path, out: Path, file: Mapping[str, Any], dtype: str, index: pa.Table, goes: pa.BooleanArray
) -> dict[str, Any]:
    """The shard without the documents that go, and its index; returns its entry of tokens.json."""
    path = folder / file["path"]
    if sha256_of(path) != file["sha256"]:
        raise StageError(f"{path} is damaged: not the bytes that {folder / TOKENS_FILE} names. Tokenize again")
    body = np.memmap(path, np.dtype({"uint16": "<u2", "uint32": "<u4"}[dtype]), "r")
    if len(body) != file["tokens"]:
        raise StageError(f"{path} holds {len(body)} tokens, but {folder / TOKENS_FILE} says {file['tokens']}")
    target = out / file["path"]
    target.parent.mkdir(parents=True, exist_ok=True)
    starts, lengths = index["start"].to_numpy(), index["tokens"].to_numpy()
    stays = ~goes.to_numpy(zero_copy_only=False)
    with open(target, "wb") as shard:
        for first, last in _stretches(stays):
            begin, end = int(starts[first]), int(starts[last - 1] + lengths[last - 1])
            for at in range(begin, end, COPIED_TOKENS):
                shard.write(body[at : min(at + COPIED_TOKENS, end)].data)
    whole = pq.read_table(folder / _index_name(file["path"])).filter(pa.array(stays))  # all its columns
    moved = np.cumsum(lengths[stays]) - lengths[stays]
    place = whole.schema.get_field_index("start")
    whole = whole.set_column(place, whole.schema.field(place), pa.array(moved, whole.schema.field(place).type))
    pq.write_table(whole, out / _index_name(file["path"]), compression="zstd", write_page_checksum=True)
    return {**file, "tokens": int(lengths[stays].sum()), "sha256": sha256_of(target)}


def _stretches(stays: Any) -> Sequence[tuple[int, int]]:
    """First and last (exclusive) of each run of True."""
    borders = np.flatnonzero(np.diff(np.concatenate([[False], stays, [False]]).astype(np.int8)))
    return [(int(a), int(b)) for a, b in borders.reshape(-1, 2)]


def _rows(index: pa.Table, source: str, split: str, shard: str, when: str, list_sha256: str) -> pa.Table:
    told = {"source": source, "split": split, "shard": shard, "when": when, "list_sha256": list_sha256}
    columns = {
        name: pa.array([told[name]] * index.num_rows, pa.string()) if name in told else index[name].cast(type_)
        for name, type_ in zip(_SCHEMA.names, _SCHEMA.types, strict=True)
    }
    return pa.table(columns, schema=_SCHEMA)


def _sum(column: pa.ChunkedArray) -> int:
    return int(pc.sum(column).as_py() or 0)
