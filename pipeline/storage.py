"""The few operations on storage that correctness rests on: on local and shared file systems, and in object stores.

Everything becomes visible at once or not at all: data files lie in attempt-named folders until a commit record is
put in place under a name that must be free. A file system refuses a taken name to a hard link, an object store to a
conditional request.

A run in an object store is worked on in a *mirror*: a folder of this machine with the same layout, under whose paths
all code knows the run's files. Records are read from and written to the store each time. A committed file never
changes, so it is fetched once (``fetched``), or read by ranges (``opened``); what a task writes under its attempt's
folder is uploaded whole (``publish``) before its record is written.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import os
import shutil
import tempfile
import uuid
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path, PosixPath
from typing import Any, BinaryIO, NamedTuple

from pipeline.errors import MachineError, StageError
from pipeline.locations.location import RemoteOptions
from pipeline.locations.objects import ObjectStore, parsed_store
from pipeline.locations.transports import s3_endpoint

SCRATCH = "SLUICE_SCRATCH"  # environment: folder on each machine for mirrors of runs in object stores
CONNECTIONS = 64  # to a store, of all processes of a machine
AT_ONCE = 16  # objects fetched or uploaded at a time by one task

_mirrors: dict[Path, ObjectStore] = {}  # of this process, by root


class _Place(NamedTuple):
    store: ObjectStore
    key: str


def mirror_of(url: str, options: RemoteOptions | None = None) -> Path:
    """The mirror on this machine of a run in an object store, from now on known to this process.

    Args:
        options: how to reach the store; absent, as this process is told by its environment.

    Raises:
        RecipeError: runs cannot be kept at such a URL.
    """
    url = parsed_store(url)
    root = scratch() / hashlib.sha256(url.encode()).hexdigest()[:16]
    attach(root, ObjectStore(url, options or store_options(), scratch() / "hosts"))
    return root


def scratch() -> Path:
    """The folder of this machine for what it fetches."""
    return Path(os.environ.get(SCRATCH) or Path(tempfile.gettempdir()) / f"sluice-{os.getuid()}").resolve()


def store_options() -> RemoteOptions:
    """How to reach stores, as this process is told by its environment: other machines are told the same."""
    return RemoteOptions(connections=CONNECTIONS, endpoint=s3_endpoint(RemoteOptions()))


class StorePath(PosixPath):
    """A path of a mirror that tasks work on beside their run's, such as that of an index. On its way to another machine
    it becomes the path of the mirror there."""

    def __reduce__(self) -> tuple[Any, ...]:
        place = _place(self)
        assert place is not None
        return store_path, (place.store.url, place.store.options, place.key)


def store_path(url: str, options: RemoteOptions | None = None, key: str = "") -> StorePath:
    """The mirror of a folder in an object store, or a path below it; see ``mirror_of``."""
    return StorePath(mirror_of(url, options), key)


def attach(root: Path, store: ObjectStore) -> None:
    """Make a folder of this machine the mirror of a store, for this process."""
    root.mkdir(parents=True, exist_ok=True, mode=0o700)
    _mirrors[root] = store


def detach(root: Path) -> None:
    """Forget a mirror; its files stay."""
    del _mirrors[root]


def store_of(path: Path) -> ObjectStore | None:
    """The store of which a path is in the mirror; None for a path that is what it says."""
    place = _place(path)
    return place.store if place else None


def _place(path: Path) -> _Place | None:
    for folder in (path, *path.parents) if _mirrors else ():  # a task's own lies within that of its run
        if (store := _mirrors.get(folder)) is not None:
            relative = path.relative_to(folder).as_posix()
            return _Place(store, "" if relative == "." else relative)
    return None


def key_of(path: Path) -> str:
    """The key of a path of a mirror in its store."""
    place = _place(path)
    assert place is not None
    return place.key


def shown(path: Path) -> str:
    """Where a path really lies, for people: itself, or the URL of which it is the mirror."""
    place = _place(path)
    return f"{place.store.url}/{place.key}".rstrip("/") if place else str(path)


LOCK_FILE = ".lock"
NO_LOCKS = {errno.ENOSYS, errno.ENOTSUP, errno.ENOLCK}  # what file systems without locks say
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


@contextmanager
def held(folder: Path, alone: bool) -> Iterator[None]:
    """Hold a run's folder, or its mirror on this machine, while working on it. The kernel lets go of it when the
    process ends, however it ends.

    Raises:
        StageError: another process is at work there, and one of the two wants to be alone.
        OSError: the file system knows no locks, and this one wants to be alone.
    """
    make_folder(folder)
    with open(folder / LOCK_FILE, "ab") as lock:
        try:
            fcntl.flock(lock, (fcntl.LOCK_EX if alone else fcntl.LOCK_SH) | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise StageError(
                f"another command is at work on {shown(folder)}: wait for its end or stop it, then give this one again"
            ) from error
        except OSError as error:
            if alone or error.errno not in NO_LOCKS:
                raise
        yield


def check(folder: Path) -> None:
    """See that a run can be kept in a folder.

    Raises:
        MachineError: it is the mirror of a store that does not do what runs rely on, or that cannot be written to.
    """
    if place := _place(folder):
        place.store.check()


def make_folder(path: Path) -> None:
    """Create a folder and its parents if absent."""
    with explained_disk_errors(path):
        path.mkdir(parents=True, exist_ok=True)


def read_bytes(path: Path) -> bytes:
    """A small file, such as a record, as it is now.

    Raises:
        FileNotFoundError: there is none.
    """
    place = _place(path)
    if place is None:
        return path.read_bytes()
    content = place.store.read(place.key)
    if content is None:
        raise FileNotFoundError(errno.ENOENT, "no such object", shown(path))
    return content


def read_all(paths: Iterable[Path]) -> Iterator[bytes]:
    """The same of many files, in order; from a store many at a time."""
    paths = list(paths)
    if not paths or _place(paths[0]) is None:
        yield from map(Path.read_bytes, paths)
        return
    with ThreadPoolExecutor(AT_ONCE) as threads:
        yield from threads.map(read_bytes, paths)


def exists(path: Path) -> bool:
    """Whether there is such a file now."""
    place = _place(path)
    if place is None:
        return path.exists()
    return place.store.exists(place.key)


def files_in(folder: Path, suffix: str = "") -> list[Path]:
    """The files directly in a folder that end so, by name; none if there is no folder. Without temporary ones."""
    place = _place(folder)
    if place is None:
        try:
            names = os.listdir(folder)
        except FileNotFoundError:
            return []
    else:
        keys = (found.key[len(place.key) + 1 :] for found in place.store.found(f"{place.key}/"))
        names = [name for name in keys if "/" not in name]
    return [folder / name for name in sorted(names) if name.endswith(suffix) and not name.startswith(".")]


def folders_in(folder: Path) -> list[Path]:
    """The folders directly in a folder, by name."""
    place = _place(folder)
    if place is None:
        return sorted(path for path in folder.iterdir() if path.is_dir()) if folder.is_dir() else []
    return [folder / name for name in place.store.folders(f"{place.key}/" if place.key else "")]


class FileStatus(NamedTuple):
    """A file of a listing."""

    path: Path
    size_bytes: int
    modified_s: float  # seconds since the epoch, by the clock of the file system or store


def walk(folder: Path) -> Iterator[FileStatus]:
    """All files below a folder, temporary ones too."""
    if place := _place(folder):
        base = len(place.key) + 1 if place.key else 0
        for found in place.store.found(f"{place.key}/" if place.key else ""):
            yield FileStatus(folder / found.key[base:], found.size_bytes, found.modified_s or 0.0)
        return
    for path in folder.rglob("*"):
        if path.is_file():
            status = path.stat()
            yield FileStatus(path, status.st_size, status.st_mtime)


def put_if_absent(path: Path, content: bytes) -> bool:
    """Write a whole file under a name that is still free.

    Returns:
        False if the name was taken; the file there is left as it is.
    """
    if place := _place(path):
        return place.store.put_if_absent(place.key, content)
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
    if place := _place(path):
        place.store.put(place.key, content)
        return
    make_folder(path.parent)
    _write_temporary(path, content).replace(path)


def move(file: Path, path: Path) -> None:
    """Give a finished file of this machine another name, for good once this returns: on the disk or in the store. One
    that has the name is replaced."""
    if place := _place(path):
        place.store.upload(place.key, file)
        file.unlink()
        return
    make_folder(path.parent)
    beside = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}")
    try:
        with explained_disk_errors(path):
            shutil.move(file, beside)  # a copy, from another file system
        flush(beside)
        beside.replace(path)
    finally:
        beside.unlink(missing_ok=True)


def remove(path: Path) -> None:
    """Delete a file, if it is there."""
    if place := _place(path):
        place.store.delete([place.key])
    path.unlink(missing_ok=True)


def remove_folder(folder: Path) -> None:
    """Delete a folder with all that is in it, if it is there."""
    if place := _place(folder):
        place.store.delete(found.key for found in place.store.found(f"{place.key}/"))
    shutil.rmtree(folder, ignore_errors=True)


def fetched(path: Path) -> Path:
    """The path of a committed file, which is on this machine when this returns.

    Raises:
        FileNotFoundError: there is no such file.
    """
    place = _place(path)
    if place is None or path.exists():
        return path
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}")
    try:
        with explained_disk_errors(path), place.store.opened(place.key) as source, temporary.open("wb") as target:
            shutil.copyfileobj(source, target, 8 << 20)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
    return path


def fetched_folder(folder: Path) -> Path:
    """The path of a folder of committed files, all of which are on this machine when this returns."""
    if place := _place(folder):
        keys = [found.key[len(place.key) + 1 :] for found in place.store.found(f"{place.key}/")]
        with ThreadPoolExecutor(AT_ONCE) as threads:
            list(threads.map(fetched, [folder / key for key in keys]))
    return folder


@contextmanager
def opened(path: Path) -> Iterator[BinaryIO | Path]:
    """A committed file to be read in part: its path, or a file of which only what is read is fetched."""
    place = _place(path)
    if place is None or path.exists():
        yield path
        return
    with place.store.opened(place.key) as file:
        yield file


def publish(folder: Path) -> None:
    """Have the finished files of an attempt where all machines see them."""
    place = _place(folder)
    if place is None:
        return
    paths = [path for path in sorted(folder.rglob("*")) if path.is_file() and path not in _linked]
    with ThreadPoolExecutor(AT_ONCE) as threads:
        store, root = place.store, folder
        list(threads.map(lambda p: store.upload(f"{place.key}/{p.relative_to(root).as_posix()}", p), paths))


def drop_local(folder: Path) -> None:
    """Delete the mirror's copy of a folder whose files have been published."""
    if _place(folder):
        _linked.difference_update(path for path in list(_linked) if path.is_relative_to(folder))
        shutil.rmtree(folder, ignore_errors=True)


_linked: set[Path] = set()  # in mirrors: stand-ins of files that the store has copied itself


def link(committed: Path, path: Path) -> None:
    """Give a committed file a second name in an attempt's folder, without reading it: by a hard link, or by a copy
    within the store, in which case a stand-in of its size lies at ``path``."""
    source, target = _place(committed), _place(path)
    if source is None or target is None:
        os.link(committed, path)
        return
    source.store.copy(source.key, target.key)
    (found,) = [found for found in source.store.found(source.key) if found.key == source.key]
    with path.open("wb") as stand_in:
        stand_in.truncate(found.size_bytes)
    _linked.add(path)


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
