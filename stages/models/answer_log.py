"""What models have answered, kept through kills: a second run asks for none of it again.

Answers have a key, made of all that they depend on, and lie in shards: a run reads a shard when it first needs one of
its answers. The files of a shard are ``<first 3 of its name>/<name>.<unique>.jsonl``, one JSON line an answer; each
process appends to files of its own. A process that dies can leave a torn line, but only as the last of a file.
"""

from __future__ import annotations

import hashlib
import os
import threading
import time
import uuid
from collections import OrderedDict
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

import orjson

from pipeline import storage
from pipeline.errors import StageError

SYNC_S, SYNC_ANSWERS = 2.0, 64
"""Seconds, and answers, after which what is written is forced to disk. A killed process loses nothing that it has
written, a machine that loses its power this much."""

MOST_OPEN_SHARDS = 16


class AnswerLog:
    """Answers by shard and key. Safe to use from several threads; to be closed, or used in a ``with`` statement.

    What another process adds to a shard is seen if it was there when the shard was read.
    """

    def __init__(self, folder: Path | None, most_open_shards: int = MOST_OPEN_SHARDS) -> None:
        """
        Args:
            folder: of the log, which may not exist yet; None keeps nothing.
            most_open_shards: kept in memory, those used last.
        """
        self._folder, self._most_open_shards = folder, most_open_shards
        self._shards: OrderedDict[str, _Shard] = OrderedDict()
        self._files: dict[str, Path] = {}  # to which this log appends, by shard: many a shard is opened again and again
        self._lock = threading.Lock()

    def __enter__(self) -> AnswerLog:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def get(self, shard: str, key: str) -> dict[str, Any] | None:
        """The answer kept under a key.

        Raises:
            StageError: a file of the shard is damaged.
        """
        if self._folder is None:
            return None
        with self._lock:
            return self._opened(self._folder, shard).answers.get(key)

    def add(self, shard: str, key: str, answer: Mapping[str, Any]) -> None:
        """Keep an answer; once this returns, no kill of this process takes it away.

        Raises:
            StageError: a file of the shard is damaged.
        """
        if self._folder is None:
            return
        line = orjson.dumps({"key": key, "answer": answer}, option=orjson.OPT_APPEND_NEWLINE)
        with self._lock:
            unsynced = self._opened(self._folder, shard).add(key, dict(answer), line)
        if unsynced is not None:  # not under the lock: a disk may take its time
            try:
                os.fsync(unsynced)
            finally:
                os.close(unsynced)

    def close(self) -> None:
        """Force what is written to disk. The log can be used again."""
        with self._lock:
            while self._shards:
                self._shards.popitem()[1].close()

    def _opened(self, folder: Path, name: str) -> _Shard:
        if name in self._shards:
            self._shards.move_to_end(name)
        else:
            while len(self._shards) >= self._most_open_shards:
                self._shards.popitem(last=False)[1].close()
            self._shards[name] = _Shard(folder, name, self._files)
        return self._shards[name]


class _Shard:
    """The answers of a shard, and the file to which this process appends new ones."""

    def __init__(self, folder: Path, name: str, files: dict[str, Path]) -> None:
        self._name, self._files = name, files
        digest = hashlib.sha256(name.encode()).hexdigest()[:32]
        self._folder, self._prefix = folder / digest[:3], f"{digest}."
        self.answers = _read(self._folder, self._prefix)
        self._file: int | None = None
        self._synced_at, self._unsynced = 0.0, 0

    def add(self, key: str, answer: dict[str, Any], line: bytes) -> int | None:
        """Write an answer; gives a descriptor by which the file is to be synced now, and to be closed then, if so."""
        if self._file is None:
            self._folder.mkdir(parents=True, exist_ok=True)
            new = self._folder / f"{self._prefix}{uuid.uuid4().hex}.jsonl"
            path = self._files.setdefault(self._name, new)
            self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
            self._synced_at = time.monotonic()
        try:
            while line:
                line = line[os.write(self._file, line) :]
        except OSError:  # the disk is full: what is torn must stay the last line of its file
            os.close(self._file)
            self._file = None
            del self._files[self._name]
            raise
        self.answers[key] = answer
        self._unsynced += 1
        if self._unsynced >= SYNC_ANSWERS or time.monotonic() - self._synced_at > SYNC_S:
            self._synced_at, self._unsynced = time.monotonic(), 0
            return os.dup(self._file)
        return None

    def close(self) -> None:
        if self._file is not None:
            try:
                os.fsync(self._file)
            finally:
                os.close(self._file)
                self._file = None


def _read(folder: Path, prefix: str) -> dict[str, dict[str, Any]]:
    answers: dict[str, dict[str, Any]] = {}
    storage.fetched_folder(folder)
    names = os.listdir(folder) if folder.is_dir() else []
    for path in sorted(folder / name for name in names if name.startswith(prefix) and name.endswith(".jsonl")):
        *lines, _torn = path.read_bytes().split(b"\n")
        for number, line in enumerate(lines, 1):
            try:
                entry = orjson.loads(line)
                key, answer = entry["key"], entry["answer"]
                if not isinstance(key, str) or not isinstance(answer, dict):
                    raise TypeError("the key is no text or the answer no object")
            except (ValueError, KeyError, TypeError) as error:
                raise StageError(
                    f"{path}, line {number}: not an answer of a model ({error}). Remove the file: its answers are then "
                    "asked for again"
                ) from error
            answers[key] = answer
    return answers
