"""Readers written from the descriptions of the formats, and from nothing of the code that writes them.

Each takes an export's folder and gives the documents of each source, in order; and their ids where the format has them.
"""

import csv
import gzip
import itertools
import json
import struct
from collections import defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq

Read = tuple[dict[str, list[list[int]]], dict[str, list[str]] | None]


def cut(ids: np.ndarray, ends: list[int]) -> list[list[int]]:
    """The stretches of ids that end there."""
    return [ids[start:end].tolist() for start, end in zip([0, *ends], ends, strict=False)]


def files(folder: Path, pattern: str) -> Iterator[tuple[str, Path]]:
    """Sources and their files."""
    return ((path.parent.name, path) for path in sorted(folder.glob(f"*/{pattern}")))


def read_megatron(folder: Path, dtype: str) -> Read:
    found: dict[str, list[list[int]]] = defaultdict(list)
    for source, path in files(folder, "*.idx"):
        index = path.read_bytes()
        assert index[:9] == b"MMIDIDX\x00\x00"
        version, code, sequences, documents = struct.unpack("<QBQQ", index[9:34])
        assert version == 1
        body_type = np.dtype({8: "<u2", 4: "<i4"}[code])
        lengths = np.frombuffer(index, "<i4", sequences, 34)
        pointers = np.frombuffer(index, "<i8", sequences, 34 + 4 * sequences)
        document_ends = np.frombuffer(index, "<i8", documents, 34 + 12 * sequences)
        assert len(index) == 34 + 12 * sequences + 8 * documents
        assert document_ends.tolist() == list(range(sequences + 1))
        body = path.with_suffix(".bin").read_bytes()
        found[source] += [np.frombuffer(body, body_type, n, p).tolist() for n, p in zip(lengths, pointers, strict=True)]
    return dict(found), None


def read_datatrove(folder: Path, dtype: str) -> Read:
    found: dict[str, list[list[int]]] = defaultdict(list)
    for source, path in files(folder, "*.ds"):
        ids = np.fromfile(path, dtype)
        tokenizer, tokens, _ = Path(f"{path}.metadata").read_text().splitlines()
        assert tokenizer == f"{folder.absolute()}|{np.dtype(dtype).itemsize}"
        assert int(tokens) == len(ids)
        ends = np.fromfile(f"{path}.index", "<u8").tolist()
        assert ends[-1] == len(ids)
        found[source] += cut(ids, ends)
    return dict(found), None


def read_olmo(folder: Path, dtype: str) -> Read:
    found: dict[str, list[list[int]]] = defaultdict(list)
    names: dict[str, list[str]] = defaultdict(list)
    for source, path in files(folder, "*.npy"):
        ids = np.fromfile(path, dtype)
        with gzip.open(path.with_suffix(".csv.gz"), "rt", newline="") as rows:
            for start, end, name, row_source, _ in csv.reader(rows):
                assert row_source == source
                found[source].append(ids[int(start) : int(end)].tolist())
                names[source].append(name)
        assert sum(map(len, found[source])) >= len(ids)
    return dict(found), dict(names)


def read_parquet_ids(folder: Path, dtype: str) -> Read:
    found: dict[str, list[list[int]]] = defaultdict(list)
    names: dict[str, list[str]] = defaultdict(list)
    for source, path in files(folder, "*.parquet"):
        for row in pq.read_table(path, partitioning=None).to_pylist():
            assert row["source"] == source
            found[source].append(row["input_ids"])
            names[source].append(row["id"])
    return dict(found), dict(names)


def read_litdata(folder: Path, dtype: str) -> Read:
    found: dict[str, list[list[int]]] = defaultdict(list)
    for source, path in files(folder, "index.json"):
        index = json.loads(path.read_text())
        body_type = {"no_header_tensor:20": "<u2", "no_header_tensor:15": "<i4"}[index["config"]["data_format"][0]]
        for chunk in index["chunks"]:
            content = (path.parent / chunk["filename"]).read_bytes()
            assert len(content) == chunk["chunk_bytes"]
            count = int(np.frombuffer(content, "<u4", 1)[0])
            offsets = np.frombuffer(content, "<u4", count + 1, 4).tolist()
            documents = [
                np.frombuffer(content[start:end], body_type).tolist() for start, end in itertools.pairwise(offsets)
            ]
            assert (chunk["chunk_size"], chunk["dim"]) == (count, sum(map(len, documents)))
            assert offsets[0] == 4 * (count + 2)
            assert offsets[-1] == len(content)
            found[source] += documents
    return dict(found), None


def read_mds(folder: Path, dtype: str) -> Read:
    found: dict[str, list[list[int]]] = defaultdict(list)
    names: dict[str, list[str]] = defaultdict(list)
    for source, path in files(folder, "index.json"):
        for shard in json.loads(path.read_text())["shards"]:
            assert shard["column_names"] == ["id", "tokens"]
            assert shard["column_encodings"] == ["str", f"ndarray:{dtype}"]
            content = (path.parent / shard["raw_data"]["basename"]).read_bytes()
            assert len(content) == shard["raw_data"]["bytes"]
            count = int(np.frombuffer(content, "<u4", 1)[0])
            assert count == shard["samples"]
            offsets = np.frombuffer(content, "<u4", count + 1, 4).tolist()
            for start, end in itertools.pairwise(offsets):
                name, ids = mds_sample(content[start:end], dtype)
                names[source].append(name)
                found[source].append(ids)
    return dict(found), dict(names)


def mds_sample(sample: bytes, dtype: str) -> tuple[str, list[int]]:
    """Sizes of both columns, a string, an array: dimensions and type of their lengths in a byte, lengths, values."""
    name_bytes, array_bytes = np.frombuffer(sample, "<u4", 2).tolist()
    name, array = sample[8 : 8 + name_bytes], sample[8 + name_bytes :]
    assert len(array) == array_bytes
    assert array[0] >> 2 == 1
    length_bytes = 1 << (array[0] & 3)
    ids = np.frombuffer(array[1 + length_bytes :], dtype)
    assert len(ids) == int.from_bytes(array[1 : 1 + length_bytes], "little")
    return name.decode(), ids.tolist()


READERS: dict[str, Callable[[Path, str], Read]] = {
    "megatron": read_megatron,
    "datatrove": read_datatrove,
    "olmo": read_olmo,
    "parquet-ids": read_parquet_ids,
    "litdata": read_litdata,
    "mds": read_mds,
}


def manifest_of(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "export.json").read_text())  # type: ignore[no-any-return]
