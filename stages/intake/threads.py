"""Rows of a dump gathered into threads on disk: a question with its answers, a submission with its comments.

A dump holds the rows of a thread far apart. They are written to a temporary SQLite table in the order they come and
read back in one sorted scan, whose external merge sort keeps memory bounded whatever the size of the dump.
"""

from __future__ import annotations

import sqlite3
import tempfile
from collections.abc import Iterator
from itertools import groupby
from types import TracebackType
from typing import Any, NamedTuple

from pipeline.errors import MachineError
from stages.intake.records import Record

CACHE_KIB = 32 << 10
_PRAGMAS = f"""
    PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF; PRAGMA locking_mode = EXCLUSIVE;
    PRAGMA temp_store = FILE; PRAGMA cache_size = -{CACHE_KIB};
"""


class Row(NamedTuple):
    """A row of a dump that is part of a thread."""

    thread: int  # number of what opens it
    reply: int  # 0 for the row that opens the thread, 1 for others
    score: int
    id: int
    file: str
    record: Record  # its content is what the caller needs later, whole or in part


class Threads:
    """A temporary file of rows.

    Raises:
        MachineError: the disk for temporary files is full or fails.
    """

    def __enter__(self) -> Threads:
        self._file = tempfile.NamedTemporaryFile(prefix="sluice-", suffix=".sqlite")
        self._connection = sqlite3.connect(self._file.name, isolation_level=None)
        self._connection.executescript(_PRAGMAS)
        columns = "thread, reply, score, id, file, offset, length, stream_offset, content"
        self._connection.execute(f"CREATE TABLE rows ({columns})")
        self._connection.execute("BEGIN")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._connection.close()
        self._file.close()

    def add(self, row: Row) -> None:
        """Keep a row for later.

        Raises:
            ValueError: a number has more than 64 bits.
        """
        record = row.record
        values = (*row[:-1], record.offset, record.length, record.stream_offset, record.content)
        try:
            self._connection.execute("INSERT INTO rows VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)", values)
        except sqlite3.OperationalError as error:
            raise self._disk_error(error) from error
        except OverflowError as error:
            raise ValueError(str(error)) from error

    def sorted(self) -> Iterator[tuple[int, Iterator[Row]]]:
        """Threads by number; in each, the row that opens it, then the others: higher scores first, then by id."""
        query = "SELECT * FROM rows ORDER BY thread, reply, score * -reply, id, file, offset"
        try:
            yield from groupby(map(_row, self._connection.execute(query)), key=lambda row: row.thread)
        except sqlite3.OperationalError as error:
            raise self._disk_error(error) from error

    def _disk_error(self, error: sqlite3.OperationalError) -> MachineError:
        return MachineError(
            f"{self._file.name}: {error}. Make room there, or set TMPDIR to a larger disk, and give the same command "
            "again: what was committed is kept"
        )


def _row(values: tuple[Any, ...]) -> Row:
    thread, reply, score, identity, file, *place = values
    return Row(thread, reply, score, identity, file, Record(*place))
