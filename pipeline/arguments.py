"""What arguments of the command line name, each a path or a URL, as paths that the commands work with."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from pipeline import storage
from pipeline.locations.location import is_url

Out = TypeVar("Out", Path, Path | None)


def folder(location: str) -> Path:
    """A folder, or the mirror of one in an object store.

    Raises:
        RecipeError: nothing can be kept at such a URL.
    """
    return storage.mirror_of(location) if is_url(location) else Path(location)


def input_file(location: str) -> Path:
    """A file, which is on this machine when this returns.

    Raises:
        InputError: there is nothing at the URL, or it cannot be read.
    """
    if not is_url(location):
        return Path(location)
    from pipeline.fetched import fetched

    return fetched(location)


def output_file(location: str) -> Path:
    """A file to be written, or the path in a mirror of one in an object store.

    Raises:
        RecipeError: nothing can be kept at such a URL.
    """
    if not is_url(location):
        return Path(location)
    above, _, name = location.rpartition("/")
    return folder(above) / name


def written(out: Out, command: Callable[[Out], str]) -> str:
    """What a command has to say that writes a file: of a file in a store, once it is there."""
    if out is None or storage.store_of(out) is None:
        return command(out)
    with tempfile.TemporaryDirectory(prefix="sluice-") as scratch:
        file = Path(scratch) / out.name
        said = command(file)
        if file.exists():
            storage.move(file, out)
    return said.replace(str(file), storage.shown(out))
