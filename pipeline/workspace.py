"""What a task finds on its machine when its run is in an object store: its input, fetched; the rest, as it needs it.

    MIRROR/artifacts/...       as in the store (pipeline.storage): models, tokens, answers; stays for the next task
    MIRROR/tasks/<unique>/...  the same layout for what only this task reads; removed at its end

A run in a folder needs none of this: its tasks read where it lies.
"""

from __future__ import annotations

import fcntl
import shutil
import threading
import uuid
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline import fetched, storage
from pipeline.locations.objects import ObjectStore
from pipeline.stage import Shuffle, Task

if TYPE_CHECKING:
    from pipeline.task import PartSpec

SYNC_S = 20.0  # between copies of what a task keeps for a second attempt
WRITING = ".writing"  # end of the names of files that are not whole yet; others begin with "."


@contextmanager
def ready(spec: PartSpec) -> Iterator[PartSpec]:
    """The task with all that it reads on this machine."""
    fetched.bring(step.config for step in spec.steps)
    with _beside(spec) as spec:
        if spec.store is None:
            yield spec
        else:
            with _in_store(spec, spec.store) as at_hand:
                yield at_hand


@contextmanager
def _beside(spec: PartSpec) -> Iterator[PartSpec]:
    """The task with what it reads in other stores than its run's, such as of an index, until its end."""
    if spec.task is None:
        yield spec
        return
    with ExitStack() as stack:
        privates: dict[ObjectStore, Path] = {}

        def here(path: Path) -> Path:
            if not isinstance(path, storage.StorePath):
                return path
            store = storage.store_of(path)
            assert store is not None
            if store not in privates:
                privates[store] = stack.enter_context(_private(store))
            return storage.fetched(privates[store] / storage.key_of(path))

        files = {role: tuple(here(path) for path in paths) for role, paths in spec.task.files.items()}
        yield replace(spec, task=replace(spec.task, files=files))


@contextmanager
def _private(store: ObjectStore) -> Iterator[Path]:
    """A mirror of one task's own."""
    private = storage.mirror_of(store.url, store.options) / "tasks" / uuid.uuid4().hex
    storage.attach(private, store)
    try:
        yield private
    finally:
        storage.detach(private)
        shutil.rmtree(private, ignore_errors=True)


@contextmanager
def _in_store(spec: PartSpec, store: ObjectStore) -> Iterator[PartSpec]:
    root = storage.mirror_of(store.url, store.options)
    with _private(store) as private, storage.held(root, alone=False):  # against `sluice clean`
        yield _fetched(spec, root, private)


def _fetched(spec: PartSpec, root: Path, private: Path) -> PartSpec:
    """The task with its paths, which are those of the driver's mirror, as they are on this machine."""

    def here(path: Path) -> Path:
        return root / path.relative_to(spec.run)

    def own(path: Path) -> Path:
        return private / path.relative_to(spec.run)

    def beside(path: Path) -> Path:
        return storage.fetched_folder(own(path) if spec.is_sliced else here(path))

    def file(role: str, path: Path, read_by_ranges: frozenset[str]) -> Path:
        if not path.is_relative_to(spec.run):
            return path  # of an index of earlier documents, which has a place of its own: see _beside
        if path.parent.name == "data":  # a whole part, such as all shards: other tasks of this machine want it, too
            return storage.fetched_folder(here(path))
        return own(path) if role in read_by_ranges else storage.fetched(own(path))

    def task(task: Task) -> Task:
        (step,) = spec.steps
        assert issubclass(step.stage, Shuffle)
        by_ranges = step.stage.read_by_ranges
        return replace(task, files={r: tuple(file(r, p, by_ranges) for p in paths) for r, paths in task.files.items()})

    return replace(
        spec,
        run=root,
        steps=tuple(replace(step, side={role: beside(p) for role, p in step.side.items()}) for step in spec.steps),
        documents=tuple(storage.fetched(own(path)) for path in spec.documents),
        artifacts={
            kind: [replace(a, folder=own(a.folder) if kind == "documents" else here(a.folder)) for a in artifacts]
            for kind, artifacts in spec.artifacts.items()
        },
        task=task(spec.task) if spec.task else None,
        stop=here(spec.stop) if spec.stop else None,
    )


@contextmanager
def kept(folders: Iterable[Path], fetch: bool = True) -> Iterator[None]:
    """Have what a task leaves for a second attempt in these folders copied to the store, now and then and at the end.

    On a file system, they are what they are.

    Args:
        fetch: what earlier attempts have left, on whatever machine, is to be there from the start.
    """
    with ExitStack() as stack:
        for folder in folders:
            if (store := storage.store_of(folder)) is not None:
                stack.enter_context(_Kept(folder, store, fetch))
        yield


class _Kept:
    """A folder and its copy in the store. Several tasks of a machine may share the folder."""

    def __init__(self, folder: Path, store: ObjectStore, fetch: bool) -> None:
        self._folder, self._store, self._fetch = folder, store, fetch
        self._known: Mapping[Path, tuple[int, int]] = {}
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._copy_now_and_then, daemon=True)
        self._failure: BaseException | None = None

    def __enter__(self) -> None:
        self._folder.mkdir(parents=True, exist_ok=True)
        if self._fetch:
            storage.fetched_folder(self._folder)
            there = {found.key: found.size_bytes for found in self._store.found(f"{storage.key_of(self._folder)}/")}
            # The rest is of a task that was killed before it was copied.
            self._known = {p: s for p, s in self._found().items() if there.get(storage.key_of(p)) == s[0]}
        else:
            self._known = self._found()
        self._thread.start()

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self._end.set()
        self._thread.join()
        if kind is None and self._failure is not None:
            raise self._failure
        self._copy()

    def _copy_now_and_then(self) -> None:
        while not self._end.wait(SYNC_S):
            try:
                self._copy()
            except BaseException as failure:  # raised at the end of the task
                self._failure = failure
                return

    def _copy(self) -> None:
        """One at a time on a machine: else an older state of a file could replace a newer one."""
        with (self._folder / ".copied").open("ab") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            found = self._found()
            for path, state in found.items():
                if self._known.get(path) != state:
                    self._store.upload(storage.key_of(path), path)
            self._store.delete(storage.key_of(path) for path in self._known if path not in found)
            self._known = found

    def _found(self) -> dict[Path, tuple[int, int]]:
        """Size and time of each whole file."""
        found = {}
        for path in self._folder.rglob("*"):
            if path.name.startswith(".") or path.name.endswith(WRITING) or not path.is_file():
                continue
            try:
                status = path.stat()
            except FileNotFoundError:  # another task has just ended
                continue
            found[path] = (status.st_size, status.st_mtime_ns)
        return found
