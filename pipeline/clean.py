"""What killed processes left in a run: files that no record names. `sluice clean` finds and removes them."""

from __future__ import annotations

import json
import math
import re
import shutil
from collections import defaultdict
from collections.abc import Iterable, Iterator
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path

from pipeline import storage
from pipeline.errors import StageError
from pipeline.locations.objects import CHECKS, ObjectStore
from pipeline.publishing import left_unfinished
from pipeline.run import Run
from pipeline.storage import FileStatus

_TEMPORARY = re.compile(r"\..+\.[0-9a-f]{8}")  # names that pipeline.storage writes under before it renames


@dataclass(frozen=True)
class Leftover:
    """Files that nothing needs."""

    kind: str  # "attempt", "temporary file", "checkpoint", "note", "unfinished upload", "fetched files", "export"
    path: Path  # a file, or the folder of all of them
    size_bytes: int
    upload: str | None = None  # id of an unfinished upload, at whose key the path stands


def clean(run: Run, older_than_s: float, dry_run: bool = False) -> list[Leftover]:
    """Remove what killed processes left in a run; gives what was (or would be) removed.

    In a folder, nobody else may be at work on the run. In a store nothing tells whether somebody is: what is younger
    than ``older_than_s`` by the store's own clock stays.

    Raises:
        StageError: another command is at work on the run.
    """
    store = storage.store_of(run.folder)
    with run.at_work(alone=True) if store is None else nullcontext():
        before_s = math.inf if store is None else store.clock_s() - older_than_s
        found = [*_leftovers(run, before_s)]
        if store is not None:
            found += _uploads(run, store, before_s)
        if not dry_run:
            for leftover in found:
                _remove(leftover)
        if store is not None:
            found += _mirror(run, dry_run)
    return found


def clean_export(out: Path, older_than_s: float, dry_run: bool = False) -> list[Leftover]:
    """Remove an export in a store that was left unfinished; gives what was (or would be) removed.

    What was begun within the last ``older_than_s``, by the store's own clock, may be being written: it stays.
    """
    paths, remove = left_unfinished(out, older_than_s)
    sizes = {file.path: file.size_bytes for file in storage.walk(out)}
    if not dry_run:
        remove()
    return [Leftover("export", path, sizes[path]) for path in paths]


def _leftovers(run: Run, before_s: float) -> Iterator[Leftover]:
    """Attempts, temporary files, notes and checkpoints whose files are all from before a time."""
    folders: dict[tuple[str, Path], list[FileStatus]] = defaultdict(list)
    committed: dict[Path, set[str]] = defaultdict(set)  # by artifact's folder, keys that have a record
    for file in storage.walk(run.folder):
        parts = file.path.relative_to(run.folder).parts
        if len(parts) == 4 and parts[0] == "artifacts" and parts[2] == "commits":
            committed[run.folder / "artifacts" / parts[1]].add(parts[3].removesuffix(".json"))
        if _TEMPORARY.fullmatch(parts[-1]):
            folders["temporary file", file.path].append(file)
        elif len(parts) > 4 and parts[0] == "artifacts" and parts[2] in ("data", "work"):
            folders[parts[2], run.folder.joinpath(*parts[:4])].append(file)
        elif parts[0] in ("progress", CHECKS):
            folders["note", file.path].append(file)
    for artifact in storage.folders_in(run.folder / "artifacts"):
        for attempt in storage.folders_in(artifact / "data"):
            folders["data", attempt]  # also one without a file
    attempts: dict[tuple[Path, str], list[Path]] = defaultdict(list)
    for kind, path in folders:
        if kind == "data":
            attempts[path.parent.parent, path.name.partition(".")[0]].append(path)
    orphans = {
        path for (artifact, key), paths in attempts.items() for path in _orphans(artifact, key, paths, committed)
    }
    for (kind, path), files in sorted(folders.items(), key=lambda entry: entry[0][1]):
        if any(file.modified_s > before_s for file in files):
            continue
        size = sum(file.size_bytes for file in files)
        if kind == "data" and path in orphans:
            yield Leftover("attempt", path, size)
        elif kind == "work" and path.name in committed[path.parent.parent]:
            yield Leftover("checkpoint", path, size)
        elif kind not in ("data", "work"):
            yield Leftover(kind, path, size)


def _orphans(artifact: Path, key: str, paths: Iterable[Path], committed: dict[Path, set[str]]) -> set[Path]:
    """The attempts at a part that are not the part."""
    found = set(paths)
    if key not in committed[artifact]:
        return found
    if len(found) > 1:
        part = json.loads(storage.read_bytes(artifact / "commits" / f"{key}.json"))
        return found - {artifact / part["folder"]}
    return set()  # of a committed part there is at least the attempt that its record names


def _uploads(run: Run, store: ObjectStore, before_s: float) -> Iterator[Leftover]:
    for key, upload, began_s in store.unfinished_uploads():
        if began_s <= before_s:
            yield Leftover("unfinished upload", run.folder / key, 0, upload)


def _mirror(run: Run, dry_run: bool) -> Iterator[Leftover]:
    """What this machine has fetched of a run in a store, unless somebody here is at work on it."""
    try:
        with storage.held(run.folder, alone=True):
            files = [path for path in run.folder.rglob("*") if path.is_file() and path.name != storage.LOCK_FILE]
            if files:
                yield Leftover("fetched files", run.folder, sum(path.stat().st_size for path in files))
            if not dry_run:
                shutil.rmtree(run.folder)
    except StageError:
        return  # they are being read


def _remove(leftover: Leftover) -> None:
    store = storage.store_of(leftover.path)
    if leftover.upload is not None:
        assert store is not None
        store.abort_upload(storage.key_of(leftover.path), leftover.upload)
    elif leftover.kind in ("attempt", "checkpoint"):
        storage.remove_folder(leftover.path)
    else:
        storage.remove(leftover.path)
