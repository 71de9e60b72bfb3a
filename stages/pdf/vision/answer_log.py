"""Pages that a model has read, kept through kills: a second run asks for none of them again.

The pages of a batch share a folder, in which each process that works on the batch appends to a file of its own, one
JSON line a page. A process that dies can leave a torn line, but only as the last of its file.
"""

from __future__ import annotations

import hashlib
import os
import threading
import time
import uuid
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

import orjson

from pipeline.errors import StageError

SYNC_S = 2.0
"""Seconds after which what is written is forced to disk. A killed process loses nothing that it has written, a machine
that loses its power this much."""


class AnswerLog:
    """Answers by key. Safe to use from several threads; to be closed, or used in a ``with`` statement."""

    def __init__(self, folder: Path | None, batch: Iterable[str]) -> None:
        """
        Args:
            folder: of all logs, which may not exist yet; None keeps nothing.
            batch: ids of the rows that are worked on; the same rows find their answers again.

        Raises:
            StageError: a file in the log is damaged.
        """
        digest = hashlib.sha256("\n".join(batch).encode()).hexdigest()[:32]
        self._folder = folder / digest[:2] / digest if folder else None
        self._answers = _read(self._folder) if self._folder else {}
        self._lock = threading.Lock()
        self._file: int | None = None
        self._synced = 0.0

    def __enter__(self) -> AnswerLog:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def get(self, key: str) -> dict[str, Any] | None:
        """The answer kept under a key."""
        return self._answers.get(key)

    def add(self, key: str, answer: Mapping[str, Any]) -> None:
        """Keep an answer; once this returns, no kill of this process takes it away."""
        if self._folder is None:
            return
        line = orjson.dumps({"key": key, "answer": answer}, option=orjson.OPT_APPEND_NEWLINE)
        with self._lock:
            if self._file is None:
                self._folder.mkdir(parents=True, exist_ok=True)
                name = self._folder / f"{uuid.uuid4().hex}.jsonl"
                self._file = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644)
                self._synced = time.monotonic()
            while line:
                line = line[os.write(self._file, line) :]
            if time.monotonic() - self._synced > SYNC_S:
                os.fsync(self._file)
                self._synced = time.monotonic()

    def close(self) -> None:
        """Force what is written to disk."""
        with self._lock:
            if self._file is not None:
                os.fsync(self._file)
                os.close(self._file)
                self._file = None


def _read(folder: Path) -> dict[str, dict[str, Any]]:
    answers: dict[str, dict[str, Any]] = {}
    for path in sorted(folder.glob("*.jsonl")):
        *lines, _torn = path.read_bytes().split(b"\n")
        for number, line in enumerate(lines, 1):
            try:
                entry = orjson.loads(line)
                answers[entry["key"]] = entry["answer"]
            except (ValueError, KeyError, TypeError) as error:
                raise StageError(
                    f"{path}, line {number}: not an answer of a vision-language model ({error}). Remove the file: its "
                    "pages are then asked for again"
                ) from error
    return answers
