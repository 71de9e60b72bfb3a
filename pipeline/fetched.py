"""Files that options of a recipe name by URL, such as word lists, models and evaluation sets, as paths of this machine.

    SCRATCH/fetched/<digest>/...        the files of one URL: never changed, named by what they hold
    SCRATCH/fetched/<digest>.lock       held while they are fetched, so that a machine fetches them once
    SCRATCH/fetched/known/<digest>      what a server's versions of files hold, so that they are not read to know it

The driver looks at the server when it reads the recipe; from then on a URL stands for what was found there, in every
task on every machine. The content is in the identity of the stages, as that of files on a disk is.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import re
import shutil
import uuid
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PosixPath, PurePosixPath
from typing import Any

from pydantic import BaseModel

from pipeline import storage
from pipeline.errors import InputError, StageError
from pipeline.locations.listing import matching_urls
from pipeline.locations.location import InputFile, RemoteError, RemoteOptions, shown
from pipeline.locations.reading import open_file
from pipeline.locations.remote_file import RemoteFile

MAGIC = re.compile(r"[*?\[]")
COPY_BYTES = 8 << 20


@dataclass(frozen=True)
class Origin:
    """What was found at a URL."""

    url: str  # as the recipe has it
    files: tuple[tuple[str, str, str], ...]  # path below the folder of this origin, URL, SHA-256 of the content
    options: RemoteOptions

    @property
    def digest(self) -> str:
        """Name of its folder: of what it holds, and of the URL, without which paths could not be told as URLs."""
        content = [shown(self.url), *([path, sha256] for path, _, sha256 in self.files)]
        return hashlib.sha256(json.dumps(content).encode()).hexdigest()[:32]


_origins: dict[str, Origin] = {}  # of this process, by digest


class FetchedPath(PosixPath):
    """A path of fetched files. On its way to another machine it becomes the path there."""

    def __reduce__(self) -> tuple[Any, ...]:
        digest, *below = self.relative_to(_root()).parts
        return _there, (_origins[digest], tuple(below))


def _root() -> Path:
    return storage.scratch() / "fetched"


def _there(origin: Origin, below: tuple[str, ...]) -> FetchedPath:
    _origins[origin.digest] = origin
    return FetchedPath(_root(), origin.digest, *below)


def location_of(path: Path) -> str:
    """What a recipe calls a path of its options: its URL, or the path itself."""
    if not isinstance(path, FetchedPath):
        return str(path)
    return _origins[path.relative_to(_root()).parts[0]].url


def told(text: str) -> str:
    """A text for people in which folders of fetched files are the URLs that these came from."""

    def url(found: re.Match[str]) -> str:
        if (origin := _origins.get(found[1])) is None:
            return found[0]
        files = {path: shown(file) for path, file, _ in origin.files}
        return files.get(found[2], shown(origin.url))

    return re.sub(r"[^\s:'\"(]*/fetched/([0-9a-f]{32})/([^\s:'\"),;]*)", url, text)


def fetched(url: str) -> FetchedPath:
    """The path of what a URL names, all of which is on this machine when this returns: a file, a folder of a store, or
    a pattern, which then is a pattern of this machine too.

    Raises:
        InputError: nothing is there, or it cannot be read.
        MachineError: the disk is full, or there are no credentials.
    """
    options = storage.store_options()
    try:
        files = [_with_version(file, options) for file in matching_urls(url, (), options)]
    except RemoteError as error:
        raise InputError(str(error)) from error
    below, names = _layout(url, files)
    versions = json.dumps([url, *([name, f.size_bytes, f.version] for name, f in zip(names, files, strict=True))])
    known = _root() / "known" / hashlib.sha256(versions.encode()).hexdigest()[:32]
    if known.exists() and all(file.version for file in files):
        digests = json.loads(known.read_bytes())
        origin = _origin(url, names, files, digests, options)
        _bring(origin)
    else:
        with _new_folder() as folder:
            digests = _download(folder, [(name, f.location) for name, f in zip(names, files, strict=True)], options)
            origin = _origin(url, names, files, digests, options)
            _put_in_place(folder, origin)
        storage.replace(known, json.dumps(digests).encode())
    return _there(origin, tuple(PurePosixPath(below).parts))


def not_fetched(url: str) -> FetchedPath:
    """A path that stands for a URL where its content is not wanted, as in the options of a finished run."""
    return _there(Origin(url, (), storage.store_options()), (PurePosixPath(shown(url)).name,))


def bring(configs: Iterable[BaseModel]) -> None:
    """Have all on this machine that these options name by URL.

    Raises:
        StageError: what is there now is not what was there when the run began.
        InputError: it cannot be read.
        MachineError: the disk is full.
    """
    for config in configs:
        for path in _paths_in(config.model_dump()):
            _bring(_origins[path.relative_to(_root()).parts[0]])


def _paths_in(value: object) -> Iterator[FetchedPath]:
    if isinstance(value, FetchedPath):
        yield value
    elif isinstance(value, dict):
        for inner in value.values():
            yield from _paths_in(inner)
    elif isinstance(value, list | tuple):
        for inner in value:
            yield from _paths_in(inner)


def _origin(url: str, names: list[str], files: list[InputFile], digests: list[str], options: RemoteOptions) -> Origin:
    found = tuple((name, file.location, digest) for name, file, digest in zip(names, files, digests, strict=True))
    return Origin(url, found, options)


def _with_version(file: InputFile, options: RemoteOptions) -> InputFile:
    """With what the server says of the content: web servers are not listed, so this asks for the file's beginning."""
    if file.version is not None:
        return file
    with RemoteFile(file.location, options, None) as opened:
        return InputFile(file.name, file.location, opened.size_bytes, opened.version)


def _layout(url: str, files: list[InputFile]) -> tuple[str, list[str]]:
    """What the option names, and where each file lies, below the folder of the origin.

    Raises:
        InputError: a name leads out of that folder.
    """
    if [file.location for file in files] == [url]:
        name = PurePosixPath(shown(url)).name
        below, names = name, [name]
    else:
        magic = MAGIC.search(url)
        above = url[: magic.start()] if magic else url.rstrip("/")
        base = above.rpartition("/")[0] + "/"
        below = url.rstrip("/").removeprefix(base)
        if strange := next((file for file in files if not file.location.startswith(base)), None):
            raise InputError(
                f"{shown(url)}: {strange.name} does not lie below {shown(base)}: name its files one by one"
            )
        names = [file.location.removeprefix(base) for file in files]
    for name in names:
        if not name or any(step in ("", ".", "..") for step in name.split("/")):
            raise InputError(f"{shown(url)}: {name!r} cannot be the name of a file on this machine: rename that object")
    return below, names


def _bring(origin: Origin) -> None:
    target = _root() / origin.digest
    if target.exists():
        return
    storage.make_folder(target.parent)
    with open(target.with_name(f"{target.name}.lock"), "ab") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if target.exists():
            return
        with _new_folder() as folder:
            digests = _download(folder, [(name, url) for name, url, _ in origin.files], origin.options)
            for (_, url, sha256), found in zip(origin.files, digests, strict=True):
                if found != sha256:
                    raise StageError(
                        f"{shown(url)} has changed since the run began: give the same command again, which then works "
                        "with what is there now"
                    )
            _put_in_place(folder, origin)


@contextmanager
def _new_folder() -> Iterator[Path]:
    folder = _root() / f".{uuid.uuid4().hex}"
    storage.make_folder(folder)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _put_in_place(folder: Path, origin: Origin) -> None:
    try:
        folder.rename(_root() / origin.digest)
    except OSError:
        if not (_root() / origin.digest).exists():  # another process was first: it has the same
            raise


def _download(folder: Path, files: Iterable[tuple[str, str]], options: RemoteOptions) -> list[str]:
    """Fetch each file to its place below a folder; gives their SHA-256."""

    def one(file: tuple[str, str]) -> str:
        path = folder / file[0]
        storage.make_folder(path.parent)
        digest = hashlib.sha256()
        try:
            with (
                open_file(file[1], options, None) as source,
                storage.explained_disk_errors(path),
                path.open("wb") as to,
            ):
                while piece := source.read(COPY_BYTES):
                    digest.update(piece)
                    to.write(piece)
        except RemoteError as error:
            raise InputError(str(error)) from error
        return digest.hexdigest()

    with ThreadPoolExecutor(storage.AT_ONCE) as threads:
        return list(threads.map(one, files))
