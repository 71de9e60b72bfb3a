"""The folder of an index: which documents earlier runs have kept, and by what others are compared with them.

    INDEX/generations/<n>.json      a manifest: what one run has added, from 1 without a gap
    INDEX/parts/<sha256>.parquet    documents, named by the digest of the file: never changed

Generation n is all that the manifests 1 to n name. A manifest is put in place whole, under a name that is still free:
of two runs that add to one generation at once, one comes too late and is told so. To take the newest generation back,
delete its manifest; parts that no manifest names do no harm.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline import storage
from pipeline.artifact import DocumentPart, digest_of
from pipeline.errors import InputError, StageError
from pipeline.stage import Options, RecipeFolder
from pipeline.storage import shown

FORMAT = 1
_MANIFEST = re.compile(r"([1-9]\d*)\.json")


@dataclass(frozen=True)
class IndexPart:
    """A file of documents."""

    sha256: str
    rows: int
    size_bytes: int

    def path(self, folder: Path) -> Path:
        return folder / "parts" / f"{self.sha256}.parquet"


@dataclass(frozen=True)
class Generation:
    """What one run has added to an index."""

    number: int
    name: str  # of what was added, unique in the index
    signatures: Mapping[str, Any]  # what documents must have in common to be compared
    parts: tuple[IndexPart, ...]
    duplicates: str  # fingerprint of the artifact that decided which documents are kept

    def to_json(self) -> dict[str, Any]:
        parts = [vars(part) for part in self.parts]
        return {"format": FORMAT, **vars(self), "signatures": dict(self.signatures), "parts": parts}


class Indexed(Options):
    """The generations of an index that documents are compared with."""

    folder: RecipeFolder
    """Where the index lies."""
    generation: int
    """The last of them; 0: none, the index is new."""
    digest: str
    """Digest of the contents of all of them."""


def indexed_before(folder: Path, name: str | None, signatures: Mapping[str, Any]) -> Indexed:
    """What a run is compared with that adds its documents as ``name``, or adds none.

    All generations; of an index that ``name`` was added to already, those before it, so that a run which is given
    again finds what it found.

    Raises:
        InputError: there is no index, and none is begun.
        StageError: the index is damaged, or its documents have other signatures.
    """
    generations = _generations(folder)
    if not generations and name is None:
        raise InputError(
            f"{shown(folder)} holds no index to compare with: check the path, or begin an index there with 'add_as'"
        )
    names = [generation.name for generation in generations]
    before = generations[: names.index(name)] if name in names else generations
    for generation in before:
        _check_signatures(folder, generation, signatures)
    _check_sizes(folder, [part for generation in before for part in generation.parts])
    return Indexed(folder=folder, generation=len(before), digest=_digest(before))


def indexed_parts(indexed: Indexed) -> list[DocumentPart]:
    """The files of these generations, in their order.

    Raises:
        StageError: the index is no longer what it was.
    """
    generations = _unchanged(indexed)
    return [
        DocumentPart(
            artifact="index",
            part=generation.name,
            name=f"index/{part.sha256}",
            path=part.path(indexed.folder),
            digest=part.sha256,
            rows=part.rows,
            size_bytes=part.size_bytes,
        )
        for generation in generations
        for part in generation.parts
    ]


def check_part(path: Path, sha256: str) -> None:
    """Read a file of an index and hold it to its digest.

    Raises:
        StageError: it is damaged.
    """
    if storage.sha256_of(path) != sha256:
        raise StageError(f"{shown(path)} is damaged: its digest is not its name. Restore it from a copy of the index")


def add_part(folder: Path, file: Path, rows: int) -> IndexPart:
    """Move a finished file into the index, for good before this returns. It counts once a generation names it."""
    part = IndexPart(storage.sha256_of(file), rows, file.stat().st_size)
    storage.move(file, part.path(folder))
    return part


def publish(indexed: Indexed, added: Generation) -> None:
    """Make ``added`` the generation behind those that its documents were compared with. Twice does no harm.

    Raises:
        StageError: the index has changed since, or holds other documents under this name, or a part is gone.
        MachineError: it is in a store that does not refuse a taken name.
    """
    storage.check(indexed.folder)
    _unchanged(indexed)
    _check_sizes(indexed.folder, added.parts)
    path = _manifest(indexed.folder, added.number)
    if storage.put_if_absent(path, json.dumps(added.to_json(), indent=1).encode()):
        return
    there = _read(path)
    if there.name != added.name:
        raise StageError(
            f"{shown(path)}: {there.name!r} was added to the index since this run has looked. Give the same command "
            f"again: {added.name!r} is then compared with those documents too"
        )
    if there.parts != added.parts:
        raise StageError(
            f"{shown(path)}: the index holds {added.name!r} already, with other documents. If these come from "
            "elsewhere, give them another name by 'add_as'; if this recipe has changed, delete this file and those of "
            "later generations, and give the same command again"
        )


def check_published(folder: Path, name: str) -> None:
    """See that what a finished run has added is still there.

    Raises:
        StageError: it was taken back.
    """
    if all(generation.name != name for generation in _generations(folder)):
        raise StageError(
            f"the index {shown(folder)} no longer holds {name!r}, which this run has added. To add it again, give the "
            "same command with a new folder for the run (--out)"
        )


def _generations(folder: Path) -> list[Generation]:
    numbers = sorted(
        int(m[1]) for path in storage.files_in(folder / "generations") if (m := _MANIFEST.fullmatch(path.name))
    )
    if numbers != list(range(1, len(numbers) + 1)):
        missing = min(set(range(1, numbers[-1])) - set(numbers))
        raise StageError(f"{shown(_manifest(folder, missing))} is missing, but there are later ones: restore it")
    return [_read(_manifest(folder, number)) for number in numbers]


def _unchanged(indexed: Indexed) -> list[Generation]:
    generations = _generations(indexed.folder)[: indexed.generation]
    if _digest(generations) != indexed.digest:
        raise StageError(
            f"the index {shown(indexed.folder)} has lost generations since this run has looked. Give the same command "
            "again, to compare with those that are left"
        )
    return generations


def _manifest(folder: Path, number: int) -> Path:
    return folder / "generations" / f"{number}.json"


def _read(path: Path) -> Generation:
    try:
        values = json.loads(storage.read_bytes(path))
        if values.pop("format") != FORMAT:
            raise StageError(
                f"{shown(path)} is the manifest of an index that another version of Sluice has made: begin anew"
            )
        return Generation(**{**values, "parts": tuple(IndexPart(**part) for part in values["parts"])})
    except (ValueError, KeyError, TypeError) as error:
        raise StageError(f"{shown(path)} is damaged ({error}): restore it from a copy of the index") from error


def _digest(generations: list[Generation]) -> str:
    return digest_of([part.sha256 for generation in generations for part in generation.parts])


def _check_signatures(folder: Path, generation: Generation, signatures: Mapping[str, Any]) -> None:
    differences = [
        f"{key} is {generation.signatures.get(key)} there and {signatures.get(key)} here"
        for key in sorted({*generation.signatures, *signatures})
        if generation.signatures.get(key) != signatures.get(key)
    ]
    if differences:
        raise StageError(
            f"{shown(_manifest(folder, generation.number))}: its documents cannot be compared with these: "
            f"{', '.join(differences)}. Give the same options to dedup, or use another index"
        )


def _check_sizes(folder: Path, parts: Sequence[IndexPart]) -> None:
    there = {file.path: file.size_bytes for file in storage.walk(folder / "parts")} if parts else {}
    for part in parts:
        path = part.path(folder)
        if path not in there:
            raise StageError(f"{shown(path)}, a part of the index, is missing. Restore it from a copy of the index")
        if there[path] != part.size_bytes:
            raise StageError(
                f"{shown(path)} is damaged: {there[path]:,} bytes instead of {part.size_bytes:,}. Restore it from a "
                "copy of the index"
            )
