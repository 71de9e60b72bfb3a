"""One way to open a file, wherever it lies."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, cast

from pipeline.locations.location import RemoteError, RemoteOptions, is_url, shown


def open_file(location: str, options: RemoteOptions, shared: Path | None) -> BinaryIO:
    """A seekable binary file, unbuffered if local.

    Args:
        shared: folder in which all tasks of a run keep what they know of hosts; None for a process of its own.

    Raises:
        OSError: the file cannot be opened; a RemoteError if it lies on a server.
    """
    if is_url(location):
        from pipeline.locations.remote_file import RemoteFile

        return cast(BinaryIO, RemoteFile(location, options, shared))
    return open(location, "rb", buffering=0)


@contextmanager
def local_copy(location: str, options: RemoteOptions, shared: Path | None) -> Iterator[Path]:
    """A path under which the file can be opened: its own, or a copy's that is removed afterwards.

    Raises:
        OSError: as ``open_file``, and as reading from it.
    """
    if not is_url(location):
        yield Path(location)
        return
    with tempfile.NamedTemporaryFile(prefix="sluice-", suffix=Path(shown(location)).suffix) as copy:
        with open_file(location, options, shared) as file:
            shutil.copyfileobj(file, copy, 1 << 20)
        copy.flush()
        yield Path(copy.name)


def read_range(location: str, start: int, size: int, options: RemoteOptions, shared: Path | None) -> bytes:
    """``size`` bytes of a file from ``start`` on, by one request. May be called from many threads.

    Raises:
        OSError: as ``open_file``; also if the file ends before.
    """
    if not is_url(location):
        with open(location, "rb") as local:
            local.seek(start)
            found = local.read(size)
    else:
        from pipeline.locations.remote_file import RemoteFile

        with RemoteFile(location, options, shared, start, start + size, ranges_only=True) as file:
            file.seek(start)
            found = file.read(size) or b""
    if len(found) < size:
        raise RemoteError("unreadable", f"{shown(location)}: the file ends before byte {start + size}")
    return found
