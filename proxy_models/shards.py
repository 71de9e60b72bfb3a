"""Token shards as training reads them: headless token bodies behind one tokens.json.

Contract of the folder:

    tokens.json          {"vocabulary": int, "dtype": "uint16" | "uint32", "eod": int,
                          "tokenizer_sha256": str,
                          "sources": {NAME: {"train": SPLIT, "held_out": SPLIT}}}
                         SPLIT = {"files": [{"path": str, "tokens": int, "sha256": str}],
                                  "tokens": int, "documents": int, "bytes": int}
    <source>/*.bin       little-endian token ids and nothing else; every document ends with `eod`
    tokenizer.json       the Hugging Face tokenizers file that made the ids

Paths are relative to the folder. `bytes` are the UTF-8 bytes of the text behind the tokens; they turn a
loss per token into bits per byte, which compares across tokenizers.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray


class ShardError(Exception):
    """A token folder that does not hold what its tokens.json says. The message names the file."""


@dataclass(frozen=True)
class TokenFile:
    path: Path
    tokens: int
    sha256: str


@dataclass(frozen=True)
class TokenBody:
    """One split of one source: its files read as one long run of tokens."""

    source: str
    split: str
    files: tuple[TokenFile, ...]
    dtype: np.dtype[Any]
    tokens: int
    documents: int
    bytes: int

    @property
    def bytes_per_token(self) -> float:
        """UTF-8 bytes of text behind one token, on average over the split; an eod stands for no bytes."""
        return self.bytes / self.tokens

    @cached_property
    def _maps(self) -> list[NDArray[Any]]:
        return [np.memmap(file.path, dtype=self.dtype, mode="r") for file in self.files]

    @cached_property
    def _file_starts(self) -> NDArray[np.int64]:
        """Position of each file's first token in the body, then the body's length: int64 [files + 1]."""
        return np.concatenate([[0], np.cumsum([file.tokens for file in self.files])]).astype(np.int64)

    def sequence_count(self, context: int) -> int:
        """How many chunks of `context` inputs the body holds; each needs one token more, its last target."""
        return max(0, (self.tokens - 1) // context)

    def gather(self, starts: NDArray[np.int64], length: int) -> NDArray[np.int64]:
        """Tokens from each start on: int64 [len(starts), length]. A stretch may run on into the next file."""
        if len(starts) and (starts.min() < 0 or starts.max() + length > self.tokens):
            raise IndexError(f"{self.source}/{self.split}: a stretch of {length} tokens ends past {self.tokens}")
        positions = starts[:, None] + np.arange(length)
        gathered = np.empty(positions.shape, dtype=np.int64)
        file_of = np.searchsorted(self._file_starts, positions, side="right") - 1
        for index in np.unique(file_of):
            here = file_of == index
            gathered[here] = self._maps[index][positions[here] - self._file_starts[index]]
        return gathered


@dataclass(frozen=True)
class Tokens:
    """An opened token folder."""

    folder: Path
    vocabulary: int
    eod: int
    tokenizer_sha256: str
    bodies: Mapping[tuple[str, str], TokenBody]
    sources: tuple[str, ...]
    fingerprint: str  # sha256 of tokens.json, which holds every file's digest

    @property
    def tokenizer_path(self) -> Path:
        return self.folder / "tokenizer.json"

    def train(self, source: str) -> TokenBody:
        return self.bodies[source, "train"]

    def held_out(self, source: str) -> TokenBody:
        return self.bodies[source, "held_out"]

    def verify_digests(self) -> None:
        """Read every file and compare its sha256. Raises ShardError with all the files that differ."""
        expected = [(file.path, file.sha256) for body in self.bodies.values() for file in body.files]
        expected.append((self.tokenizer_path, self.tokenizer_sha256))
        damaged = [str(path) for path, digest in expected if _sha256(path) != digest]
        if damaged:
            raise ShardError(
                f"not the bytes that {self.folder / 'tokens.json'} names: {', '.join(damaged)}; tokenize again"
            )


def open_tokens(folder: Path) -> Tokens:
    """Open a token folder by its tokens.json; bodies are mapped into memory, not read.

    Raises ShardError if tokens.json is absent or incomplete, or a file's size is not what its token count
    says.
    """
    manifest_path = folder / "tokens.json"
    if not manifest_path.is_file():
        raise ShardError(f"{manifest_path} is absent: {folder} is not a finished token folder")
    manifest_bytes = manifest_path.read_bytes()
    try:
        manifest = json.loads(manifest_bytes)
        dtype = np.dtype({"uint16": "<u2", "uint32": "<u4"}[manifest["dtype"]])
        bodies = {
            (source, split): _body(folder, source, split, dtype, splits[split])
            for source, splits in manifest["sources"].items()
            for split in ("train", "held_out")
        }
        tokens = Tokens(
            folder=folder,
            vocabulary=manifest["vocabulary"],
            eod=manifest["eod"],
            tokenizer_sha256=manifest["tokenizer_sha256"],
            bodies=bodies,
            sources=tuple(manifest["sources"]),
            fingerprint=hashlib.sha256(manifest_bytes).hexdigest(),
        )
    except (KeyError, TypeError, json.JSONDecodeError) as error:
        raise ShardError(f"{manifest_path} lacks or misstates a field: {error!r}") from error
    if not tokens.sources:
        raise ShardError(f"{manifest_path} names no source")
    return tokens


def _body(folder: Path, source: str, split: str, dtype: np.dtype[Any], entry: Mapping[str, Any]) -> TokenBody:
    # An empty file cannot be mapped into memory and holds nothing to read.
    files = [TokenFile(folder / f["path"], f["tokens"], f["sha256"]) for f in entry["files"]]
    for file in files:
        _check_size(file, dtype)
    if sum(file.tokens for file in files) != entry["tokens"]:
        counted = sum(file.tokens for file in files)
        raise ShardError(
            f"{folder / 'tokens.json'}: {source}/{split} says {entry['tokens']} tokens, "
            f"its files sum to {counted}; tokenize again"
        )
    present: Sequence[TokenFile] = [file for file in files if file.tokens]
    return TokenBody(source, split, tuple(present), dtype, entry["tokens"], entry["documents"], entry["bytes"])


def _check_size(file: TokenFile, dtype: np.dtype[Any]) -> None:
    if not file.path.is_file():
        raise ShardError(f"{file.path} is absent, but tokens.json names it; tokenize again")
    expected, found = file.tokens * dtype.itemsize, file.path.stat().st_size
    if expected != found:
        raise ShardError(
            f"{file.path}: {found} bytes, but tokens.json says {file.tokens} tokens, {expected} bytes; tokenize again"
        )


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
