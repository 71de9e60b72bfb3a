"""What an export reads: the shards of a finished token folder; and what a format is asked to do with them."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pipeline.errors import InputError
from pipeline.progress import Steps
from pipeline.storage import sha256_of

if TYPE_CHECKING:
    from proxy_models.shards import Tokens

TRAIN, HELD_OUT = "train", "held_out"
CANNOT_LINK = {errno.EXDEV, errno.EPERM, errno.EACCES, errno.EMLINK, errno.EOPNOTSUPP, errno.ENOSYS}


@dataclass(frozen=True)
class Documents:
    """The documents of one shard, in the order in which they stand there, without a gap between them."""

    ids: pa.Array  # string
    lengths: npt.NDArray[np.int64]  # tokens of each, the end-of-document token included

    @property
    def ends(self) -> npt.NDArray[np.int64]:
        """Position behind each document's last token."""
        return self.lengths.cumsum()

    def groups(self, most: int, sizes: npt.NDArray[np.int64] | None = None) -> Iterator[slice]:
        """Runs of documents that are at most so large together; a larger document is a run of its own.

        Args:
            most: largest sum of sizes.
            sizes: of each document; their tokens if None.
        """
        sizes = self.lengths if sizes is None else sizes
        ends, first = sizes.cumsum(), 0
        while first < len(ends):
            begin = ends[first] - sizes[first]
            last = max(first + 1, int(np.searchsorted(ends, begin + most, side="right")))
            yield slice(first, last)
            first = last

    def tokens_of(self, group: slice) -> slice:
        """Where the tokens of a run of documents stand in the shard."""
        ends = self.ends
        return slice(int(ends[group.start] - self.lengths[group.start]), int(ends[group.stop - 1]))


@dataclass(frozen=True)
class Shard:
    """One token file of one source; never empty."""

    source: str
    split: str
    path: Path
    dtype: np.dtype[Any]  # little-endian, 2 or 4 bytes
    eod: int
    tokens: int
    sha256: str

    @property
    def name(self) -> str:
        """Its name in an export, without a suffix, such as ``web/train-00000``: that of the token folder."""
        return f"{self.source}/{self.path.stem}"

    def ids(self) -> npt.NDArray[Any]:
        """All token ids, mapped into memory, not read."""
        return np.asarray(np.memmap(self.path, dtype=self.dtype, mode="r"))

    def documents(self) -> Documents:
        """The index of documents beside the file; it is read whole, some 60 bytes a document.

        Raises:
            InputError: it is absent, or does not describe this file.
        """
        path = self.path.with_suffix(".documents.parquet")
        try:
            columns = ["id", "start", "tokens"]
            table = pq.read_table(path, columns=columns, partitioning=None, page_checksum_verification=True)
        except (OSError, pa.ArrowException, KeyError) as error:
            raise InputError(f"{path} cannot be read: {error}; tokenize again") from error
        documents = Documents(
            pc.cast(table["id"].combine_chunks(), pa.string()), table["tokens"].to_numpy().astype(np.int64)
        )
        ends = documents.ends
        whole = len(ends) > 0 and ends[-1] == self.tokens and documents.lengths.min() > 0
        if not whole or not np.array_equal(table["start"].to_numpy(), ends - documents.lengths):
            raise InputError(f"{path} does not cover the {self.tokens} tokens of {self.path}; tokenize again")
        if not bool((self.ids()[ends - 1] == self.eod).all()):
            raise InputError(f"{path}: a document of {self.path} does not end with token {self.eod}; tokenize again")
        return documents


@dataclass(frozen=True)
class Selection:
    """What is exported, in the order of sources and shards, and where to."""

    tokens: Tokens
    sources: tuple[str, ...]
    splits: tuple[str, ...]
    shards: tuple[Shard, ...]
    published: str  # absolute path, or URL, where the export will stand once it is whole
    steps: Steps  # three a shard: to be read, written and described

    def each(self, shards: Sequence[Shard] | None = None) -> Iterator[Shard]:
        """These shards, or all, one after another; each is a step once the next one is asked for."""
        return self.steps.of(self.shards if shards is None else shards)

    def by_source(self) -> Iterator[tuple[str, tuple[Shard, ...]]]:
        """Each source that has shards, with them."""
        for source in self.sources:
            shards = tuple(shard for shard in self.shards if shard.source == source)
            if shards:
                yield source, shards

    @property
    def dtype(self) -> np.dtype[Any]:
        return self.shards[0].dtype


@dataclass(frozen=True)
class Format:
    """A format of other trainers."""

    name: str
    title: str
    usage: str  # Markdown: what the files are and how the trainer is told of them
    write: Callable[[Selection, Path], Sequence[str]]
    """Writes all files of the selection into an empty folder; returns notes for the manifest and the README."""
    same_bytes: bool = True  # its bodies are the token folder's own files
    splits: tuple[str, ...] = ()  # those that the format always holds; empty: the one that is asked for
    token_bytes: tuple[int, ...] = (2, 4)
    front_matter: str = ""  # YAML at the head of the README


def place(shard: Shard, target: Path) -> None:
    """Have the shard's bytes under another name too: by a hard link, or by a copy where the file system has none.

    Raises:
        InputError: the copy is not what was to be copied.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        os.link(shard.path.resolve(), target)  # link(2) itself would link to a symbolic link
    except OSError as error:
        if error.errno not in CANNOT_LINK:
            raise
        shutil.copyfile(shard.path, target)
        if sha256_of(target) != shard.sha256:
            raise InputError(f"{shard.path} changed while it was copied: export again") from error
