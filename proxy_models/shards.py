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
import itertools
import json
from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
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

    @cached_property
    def _maps(self) -> list[NDArray[Any]]:
        # Plain arrays over the maps: to cut a piece out of a memmap costs ten times as much.
        return [np.asarray(np.memmap(file.path, dtype=self.dtype, mode="r")) for file in self.files]

    @cached_property
    def _file_starts(self) -> list[int]:
        """Position of each file's first token in the body."""
        return [0, *itertools.accumulate(file.tokens for file in self.files[:-1])]

    def sequence_count(self, context: int) -> int:
        """How many chunks of `context` inputs the body holds; each needs one token more, its last target."""
        return max(0, (self.tokens - 1) // context)

    def gather(self, starts: NDArray[np.int64], length: int) -> NDArray[np.int64]:
        """Tokens from each start on: int64 [len(starts), length]. A stretch may run on into the next file."""
        gathered = np.empty((len(starts), length), dtype=np.int64)
        for row, start in zip(gathered, starts.tolist(), strict=True):
            self.read_into(row, start)
        return gathered

    def read_into(self, row: NDArray[np.int64], start: int) -> None:
        """Fill `row` with the tokens from `start` on, over the ends of files."""
        if start < 0 or start + len(row) > self.tokens:
            raise IndexError(f"{self.source}/{self.split}: {len(row)} tokens from {start} on end past {self.tokens}")
        index = bisect_right(self._file_starts, start) - 1
        begin = start - self._file_starts[index]
        ids = self._maps[index][begin : begin + len(row)]
        row[: len(ids)] = ids
        if len(ids) < len(row):
            self.read_into(row[len(ids) :], start + len(ids))

    def pieces(self, at_most: int) -> Iterator[NDArray[Any]]:
        """The body from its start to its end, at most so many tokens at a time, never over the end of a file."""
        for ids in self._maps:
            for begin in range(0, len(ids), at_most):
                yield ids[begin : begin + at_most]


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

    @cached_property
    def token_bytes(self) -> NDArray[np.int64]:
        """UTF-8 bytes of text that each id stands for: int64 [vocabulary]; special tokens stand for none.

        A byte-level tokenizer spells each byte as one letter, so an entry has as many bytes as letters (GPT-2,
        Radford et al. 2019). Raises ShardError for a tokenizer of another kind.
        """
        return _token_bytes(self.tokenizer_path, self.vocabulary)

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


def _token_bytes(tokenizer_path: Path, vocabulary: int) -> NDArray[np.int64]:
    from tokenizers.pre_tokenizers import ByteLevel

    letters = set(ByteLevel.alphabet())
    description = json.loads(tokenizer_path.read_bytes())
    if description["model"]["type"] != "BPE":
        raise ShardError(f"{tokenizer_path}: a {description['model']['type']} model; tokenize with a byte-level BPE")
    added = {token["id"]: token for token in description["added_tokens"]}
    sizes = np.zeros(vocabulary, dtype=np.int64)
    for token, number in description["model"]["vocab"].items():
        if number in added:
            continue
        if not letters.issuperset(token):
            raise ShardError(
                f"{tokenizer_path}: {token!r} is not spelt in the letters of a byte-level tokenizer, so the bytes "
                "behind a token are not known; tokenize with a byte-level BPE"
            )
        sizes[number] = len(token)
    for number, token in added.items():
        sizes[number] = 0 if token["special"] else len(token["content"].encode())
    return sizes


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
