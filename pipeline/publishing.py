"""Folders that are finished as a whole, such as exports: seen whole or not at all, in a folder or in an object store.

A file system renames a folder. A store has no folders: there, what lies below a name is a whole one once its *record*
is there, the file that is written last. Until then an object UNFINISHED, which is put under a name that must be free,
keeps others away and says what is being written, so that `sluice clean` can remove what a killed process left.
"""

from __future__ import annotations

import json
import shutil
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

from pipeline import storage
from pipeline.errors import InputError, RecipeError
from pipeline.locations.objects import ObjectStore
from pipeline.storage import shown

UNFINISHED = "unfinished.json"


@contextmanager
def new_folder(out: Path, record: str) -> Iterator[Path]:
    """An empty folder of this machine, which is ``out`` afterwards; if anything fails, nothing is there.

    Args:
        out: absolute; a folder, or the mirror of one in a store, where nothing may be yet.
        record: name of a file that is written into it, without which the folder is none to those that read it.

    Raises:
        InputError: something is there.
        MachineError: no room on the disk; or the store cannot be written to, or cannot refuse a taken name.
    """
    refuse_taken(out)
    storage.check(out)
    storage.make_folder(out.parent)
    temporary = out.with_name(f".{out.name}.{uuid.uuid4().hex[:8]}")
    try:
        with storage.explained_disk_errors(out):
            temporary.mkdir()
            yield temporary
            refuse_taken(out)
            if (store := storage.store_of(out)) is None:
                temporary.rename(out)
            else:
                _upload(temporary, out, store, record)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def refuse_taken(out: Path) -> None:
    """Raises InputError if anything is at the place of a new folder."""
    if storage.store_of(out) is None:
        if out.exists() or out.is_symlink():
            raise InputError(f"{out} exists: choose another folder, or remove it first")
        return
    if storage.exists(out / UNFINISHED):
        raise _unfinished(out)
    if next(storage.walk(out), None) is not None:
        raise InputError(f"{shown(out)} holds objects already: choose another folder, or remove them first")


def _unfinished(out: Path) -> InputError:
    return InputError(
        f"{shown(out)} is being written by another command, or one that was killed has left it unfinished: wait for "
        f"its end, or have 'sluice clean {shown(out)}' remove it"
    )


def _upload(folder: Path, out: Path, store: ObjectStore, record: str) -> None:
    names = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
    assert record in names
    if not store.put_if_absent(UNFINISHED, json.dumps({"record": record, "files": names}, indent=1).encode()):
        raise _unfinished(out)
    try:
        if len(store.found("")) > 1:  # another command was faster, and is done
            raise InputError(f"{shown(out)} holds objects already: choose another folder, or remove them first")
    except BaseException:
        store.delete([UNFINISHED])
        raise
    try:
        with ThreadPoolExecutor(storage.AT_ONCE) as threads:
            list(threads.map(lambda name: store.upload(name, folder / name), [n for n in names if n != record]))
        store.put(record, (folder / record).read_bytes())
    except BaseException:
        store.delete([record])
        store.delete([*names, UNFINISHED])
        raise
    store.delete([UNFINISHED])


def is_unfinished(out: Path) -> bool:
    """Whether a folder in a store is being written, or has been left by a process that was killed."""
    return storage.store_of(out) is not None and storage.exists(out / UNFINISHED)


def left_unfinished(out: Path, older_than_s: float) -> tuple[list[Path], Callable[[], None]]:
    """What a killed process has left of a folder in a store, and how it is removed.

    Args:
        older_than_s: since then, by the store's clock, nobody may have begun to write it: else nothing is left.

    Raises:
        RecipeError: nothing is being written there.
    """
    store = storage.store_of(out)
    if store is None or (content := store.read(UNFINISHED)) is None:
        raise RecipeError(f"{shown(out)} is neither a run nor an export that was left unfinished")
    told = json.loads(content)
    there = {found.key: found for found in store.found("")}
    if (there[UNFINISHED].modified_s or 0.0) > store.clock_s() - older_than_s:
        return [], lambda: None
    names = [] if told["record"] in there else [name for name in told["files"] if name in there]

    def remove() -> None:
        for key, upload, _ in store.unfinished_uploads():
            store.abort_upload(key, upload)
        store.delete(names)
        store.delete([UNFINISHED])  # last: until then this can be given again

    return [out / name for name in (*names, UNFINISHED)], remove
