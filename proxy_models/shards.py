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
import os
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numba import njit, uint16
from numba.typed import List
from numpy.typing import NDArray

Integers = NDArray[np.int64]


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
    def maps(self) -> list[NDArray[Any]]:
        """The files as read-only arrays over their bytes on disk. Raises ShardError for one that is not of its size."""
        for file in self.files:
            _check_size(file, self.dtype)
        # Plain arrays over the maps: to cut a piece out of a memmap costs ten times as much.
        return [np.asarray(np.memmap(file.path, dtype=self.dtype, mode="r")) for file in self.files]

    def sequence_count(self, context: int) -> int:
        """How many chunks of `context` inputs the body holds; each needs one token more, its last target."""
        return max(0, (self.tokens - 1) // context)

    def gather(self, starts: NDArray[np.int64], length: int) -> NDArray[np.int64]:
        """Tokens from each start on: int64 [len(starts), length]. A stretch may run on into the next file."""
        return TokenReader([self]).rows(np.zeros(len(starts), dtype=np.int64), starts, length)

    def pieces(self, at_most: int) -> Iterator[NDArray[Any]]:
        """The body from its start to its end, at most so many tokens at a time, never over the end of a file."""
        for ids in self.maps:
            for begin in range(0, len(ids), at_most):
                yield ids[begin : begin + at_most]


class TokenReader:
    """Reads stretches of several bodies at once, at the speed of memory: one compiled loop over the mapped files."""

    def __init__(self, bodies: Sequence[TokenBody]) -> None:
        """bodies: one for each source, all of one dtype."""
        self.bodies = tuple(bodies)
        maps = [ids for body in bodies for ids in body.maps]
        # A typed list, so that the compiled loop finds a file by its number.
        self._maps = List(maps) if maps else List.empty_list(uint16[::1])
        firsts = [[0, *itertools.accumulate(file.tokens for file in body.files)][:-1] for body in bodies]
        self._first = np.array([first for body in firsts for first in body], dtype=np.int64)  # token of each file
        # First file of each body, [S + 1].
        self._files = np.array([0, *itertools.accumulate(len(body.files) for body in bodies)], dtype=np.int64)
        self._tokens = np.array([body.tokens for body in bodies], dtype=np.int64)  # [S]

    def rows(self, source: Integers, start: Integers, length: int) -> Integers:
        """The `length` tokens of each source from each start on: int64 [n, length]. source, start: int64 [n]."""
        rows = np.empty((len(source), length), dtype=np.int64)
        self.read(source, start, np.full(len(source), length), np.arange(len(source)) * length, rows.reshape(-1))
        return rows

    def read(self, source: Integers, start: Integers, length: Integers, at: Integers, out: NDArray[Any]) -> None:
        """Copy stretches of tokens, over the ends of files, into `out` from `at` on.

        source, start, length, at: int64 [n]. out: int32 or int64, one-dimensional. Raises IndexError for a stretch that
        leaves its body or `out`.
        """
        outside = (start < 0) | (start + length > self._tokens[source]) | (at < 0) | (at + length > len(out))
        if outside.any():
            i = int(np.flatnonzero(outside)[0])
            body = self.bodies[source[i]]
            raise IndexError(
                f"{body.source}/{body.split}: {length[i]} tokens from {start[i]} on, of {body.tokens}, to {at[i]} of "
                f"{len(out)}"
            )
        _copy(self._maps, self._first, self._files, source, start, length, at, out)


@njit(cache=True, nogil=True)
def _copy(
    maps: "List[Any]",
    first: Integers,
    files: Integers,
    source: Integers,
    start: Integers,
    length: Integers,
    at: Integers,
    out: NDArray[Any],
) -> None:
    """first: each file's first token in its body, [F]. files: each body's first file, [S + 1]."""
    for i in range(len(source)):
        file, above = files[source[i]], files[source[i] + 1]
        while above - file > 1:
            middle = (file + above) // 2
            if first[middle] <= start[i]:
                file = middle
            else:
                above = middle
        begin, to, end = start[i] - first[file], at[i], at[i] + length[i]
        while to < end:
            ids = maps[file][begin : begin + end - to]
            part = out[to : to + len(ids)]
            for j in range(len(ids)):
                part[j] = ids[j]
            to += len(ids)
            file, begin = file + 1, 0


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

    def check_tokenizer(self) -> None:
        """Raises ShardError if tokenizer.json is not the one that made the tokens."""
        if not self.tokenizer_path.is_file():
            raise ShardError(f"{self.tokenizer_path} is absent; copy it from where the tokens were made")
        found = _sha256(self.tokenizer_path)
        if found != self.tokenizer_sha256:
            raise ShardError(
                f"{self.tokenizer_path} has sha256 {found}, but the tokens were made with the tokenizer of sha256 "
                f"{self.tokenizer_sha256}: put that one back, or tokenize again"
            )

    def verify_digests(self) -> None:
        """Read every file and compare its sha256. Raises ShardError with all the files that differ."""
        expected = [(file.path, file.sha256) for body in self.bodies.values() for file in body.files]
        expected.append((self.tokenizer_path, self.tokenizer_sha256))
        with ThreadPoolExecutor(os.cpu_count()) as threads:  # hashlib lets go of the interpreter
            found = threads.map(_sha256, (path for path, _ in expected))
            damaged = [str(path) for (path, digest), hashed in zip(expected, found, strict=True) if hashed != digest]
        if damaged:
            raise ShardError(
                f"not the bytes that {self.folder / 'tokens.json'} names: {', '.join(damaged)}; tokenize again"
            )


def open_tokens(folder: Path) -> Tokens:
    """Open a token folder by its tokens.json; bodies are mapped into memory, not read.

    Raises ShardError if tokens.json is absent or incomplete or contradicts itself, or a file's size is not what its
    token count says.
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
        if not 0 <= manifest["eod"] < manifest["vocabulary"] <= 2 ** (8 * dtype.itemsize):
            raise ValueError(
                f"eod {manifest['eod']} of a vocabulary of {manifest['vocabulary']} in {manifest['dtype']}"
            )
        tokens = Tokens(
            folder=folder,
            vocabulary=manifest["vocabulary"],
            eod=manifest["eod"],
            tokenizer_sha256=manifest["tokenizer_sha256"],
            bodies=bodies,
            sources=tuple(manifest["sources"]),
            fingerprint=hashlib.sha256(manifest_bytes).hexdigest(),
        )
    except (KeyError, TypeError, AttributeError, ValueError) as error:
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
