"""The few operations on storage that correctness rests on. Local and shared file systems for now.

Everything becomes visible at once or not at all: data files lie in attempt-named folders until a commit record is
put in place by a hard link, which the file system refuses if the name is taken.
"""

from __future__ import annotations

import errno
import hashlib
import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pipeline.errors import MachineError

DISK_ERRORS = {errno.ENOSPC, errno.EDQUOT, errno.EROFS}


@contextmanager
def explained_disk_errors(path: Path) -> Iterator[None]:
    """Turn "no space left" and its kin into an error that says what to do.

    Raises:
        MachineError: the disk is full, over quota or read-only.
    """
    try:
        yield
    except OSError as error:
        if error.errno not in DISK_ERRORS:
            raise
        raise MachineError(
            f"cannot write under {path}: {error.strerror}. Make room there and give the same command again: "
            "what was committed is kept"
        ) from error


def make_folder(path: Path) -> None:
    """Create a folder and its parents if absent."""
    with explained_disk_errors(path):
        path.mkdir(parents=True, exist_ok=True)


def put_if_absent(path: Path, content: bytes) -> bool:
    """Write a whole file under a name that is still free.

    Returns:
        False if the name was taken; the file there is left as it is.
    """
    make_folder(path.parent)
    temporary = _write_temporary(path, content)
    try:
        os.link(temporary, path)
    except FileExistsError:
        return False
    finally:
        temporary.unlink()
    return True


def replace(path: Path, content: bytes) -> None:
    """Write a whole file, in place of an earlier one if there is one; readers see the old or the new."""
    make_folder(path.parent)
    _write_temporary(path, content).replace(path)


def _write_temporary(path: Path, content: bytes) -> Path:
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}")
    try:
        with explained_disk_errors(path), open(temporary, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    return temporary


def flush(path: Path) -> None:
    """Have a finished file reach the disk, so that no record can outlive what it names."""
    with explained_disk_errors(path), open(path, "rb") as file:
        os.fsync(file.fileno())


def sha256_of(path: Path) -> str:
    """SHA-256 (hex) of a file's content."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
