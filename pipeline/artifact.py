"""Artifacts: what a node of the graph leaves on storage, and how it becomes visible.

    RUN/artifacts/<name>/data/<key>.<attempt>/...      files that a task wrote: invisible until recorded
    RUN/artifacts/<name>/commits/<key>.json            the commit record; the first one written wins
    RUN/artifacts/<name>/gathered/*.jsonl              copies of records by the thousand, which spare opening each
    RUN/artifacts/<name>/manifests/<fingerprint>.jsonl seals the artifact: what it is, then all records, a line each

What has no record does not exist. Keys and fingerprints come from contents (stage, version, configuration, input
digests), so another configuration never meets this one's files, and an unchanged part is never computed twice.
"""

from __future__ import annotations

import hashlib
import json
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import orjson
import pyarrow as pa
import pyarrow.parquet as pq

from pipeline import storage
from pipeline.errors import StageError
from pipeline.ledger import Ledger

DOCUMENTS_FILE = "documents.parquet"
REMOVED_FILE = "removed.parquet"
GATHERED_PARTS = 1000  # records copied to one file


def digest_of(value: Any) -> str:
    """SHA-256 (hex) of a JSON value, independent of key order.

    Raises:
        TypeError: the value holds something JSON cannot express, such as a set.
        ValueError: it holds NaN or an infinity.
    """
    return hashlib.sha256(_canonical(value)).hexdigest()


def digests_behind(first: Any) -> Callable[[Any], str]:
    """A function that gives ``digest_of([first, second])`` for one second value after the other, at its cost alone."""
    begun = hashlib.sha256(b"[" + _canonical(first) + b",")

    def digest(second: Any) -> str:
        ended = begun.copy()
        ended.update(_canonical(second) + b"]")
        return ended.hexdigest()

    return digest


def _canonical(value: Any) -> bytes:
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False).encode()


@dataclass(frozen=True, slots=True)
class File:
    """A committed file; ``path`` is relative to its part's folder."""

    path: str
    size_bytes: int
    sha256: str
    rows: int | None = None

    def to_json(self) -> dict[str, Any]:
        return {"path": self.path, "size_bytes": self.size_bytes, "sha256": self.sha256, "rows": self.rows}


@dataclass(frozen=True, slots=True)
class Part:
    """A commit record: the files of one task, and what became of its documents."""

    key: str
    name: str  # input file names or input part, for people
    folder: str  # relative to the artifact's folder
    files: tuple[File, ...]
    ledger: Ledger
    summary: Mapping[str, Any] = field(default_factory=dict)
    seconds: float = 0.0
    cpu_seconds: float = 0.0
    peak_memory_bytes: int = 0
    gpus: float = 0.0  # that it had, or its share of those of a service
    is_first: bool = False  # that its process made of this artifact, or phase: loading models is in its seconds
    digest_as_made: str | None = None  # before documents were taken down (pipeline.take_down), if some were

    @property
    def digest(self) -> str:
        """Digest of the part's contents, whatever task wrote them and whenever. That documents are taken down does not
        change it: what was made from the part is not made again for that."""
        return self.digest_as_made or digest_of([[f.path, f.sha256] for f in self.files])

    @property
    def size_bytes(self) -> int:
        return sum(file.size_bytes for file in self.files)

    def to_json(self) -> dict[str, Any]:
        return {
            "key": self.key,
            "name": self.name,
            "folder": self.folder,
            "files": [f.to_json() for f in self.files],
            "ledger": self.ledger.to_json(),
            "summary": dict(self.summary),
            "seconds": round(self.seconds, 3),
            "cpu_seconds": round(self.cpu_seconds, 3),
            "peak_memory_bytes": self.peak_memory_bytes,
            "gpus": self.gpus,
            "is_first": self.is_first,
            **({"digest_as_made": self.digest_as_made} if self.digest_as_made else {}),
        }

    @staticmethod
    def from_json(values: Mapping[str, Any]) -> Part:
        return Part(
            **{
                **values,
                "files": tuple(File(**f) for f in values["files"]),
                "ledger": Ledger.from_json(values["ledger"]),
            }
        )


@dataclass(frozen=True)
class Phase:
    """A phase of a shuffle all of whose tasks have committed their parts."""

    name: str
    folder: Path  # RUN/artifacts/<name>
    parts: tuple[Part, ...]  # in the order of the tasks, and under their names

    @cached_property
    def digest(self) -> str:
        """Digest of the contents of all its parts."""
        return digest_of([part.digest for part in self.parts])

    def paths(self, name: str) -> tuple[Path, ...]:
        """The file of this name of each part that has one, in order: for tasks, which fetch them."""
        return tuple(_paths(self.folder, self.parts, name))

    def costs(self) -> dict[str, Any]:
        """What is told of a phase whose parts are gone."""
        return {
            "phase": self.name,
            "parts": len(self.parts),
            "seconds": round(sum(part.seconds for part in self.parts), 3),
            "cpu_seconds": round(sum(part.cpu_seconds for part in self.parts), 3),
            "peak_memory_bytes": max(part.peak_memory_bytes for part in self.parts),
            "size_bytes": sum(part.size_bytes for part in self.parts),
            "gpu_seconds": round(sum(part.seconds * part.gpus for part in self.parts), 3),
            "first_parts": sum(part.is_first for part in self.parts),
            "first_cpu_seconds": round(sum(part.cpu_seconds for part in self.parts if part.is_first), 3),
        }


def _paths(folder: Path, parts: Sequence[Part], name: str) -> Iterator[Path]:
    for part in parts:
        if any(f.path == name for f in part.files):
            yield folder / part.folder / name


@dataclass(frozen=True)
class Artifact:
    """A sealed artifact: an immutable list of parts under a fingerprint."""

    name: str
    kind: str  # "documents", "tokens", "mix", ...
    fingerprint: str
    folder: Path  # RUN/artifacts/<name>
    steps: tuple[Mapping[str, Any], ...]  # label, stage, version, configuration, class, options, side
    inputs: Mapping[str, str]  # upstream artifact -> digest of its contents
    parts: tuple[Part, ...]
    notes: tuple[str, ...] = ()
    phases: tuple[Mapping[str, Any], ...] = ()  # of a shuffle: what each cost

    @cached_property
    def digest(self) -> str:
        """Digest of the contents: two artifacts with equal digests were made of the same bytes."""
        return digest_of([part.digest for part in self.parts])

    @cached_property
    def ledger(self) -> Ledger:
        """The ledgers of all parts together."""
        total = Ledger()
        for step in self.steps:
            total.steps[step["label"]] = {}
        for part in self.parts:
            total.add(part.ledger)
        return total

    @property
    def summary(self) -> Mapping[str, Any]:
        """What the global stage or shuffle that wrote this artifact reports."""
        return self.parts[-1].summary

    @property
    def committed_folder(self) -> Path:
        """Folder of the files of an artifact that one task has written, or put together: for tasks."""
        (part,) = self.parts
        return self.folder / part.folder

    @property
    def files_folder(self) -> Path:
        """The same folder, with its files on this machine."""
        return storage.fetched_folder(self.committed_folder)

    def file_paths(self, name: str) -> Iterator[Path]:
        """The file called ``name`` of each part that has it, in part order, each on this machine once it is given."""
        return map(storage.fetched, _paths(self.folder, self.parts, name))

    def file_of(self, part: Part, name: str) -> Path:
        """A file of one part, on this machine."""
        return storage.fetched(self.folder / part.folder / name)

    def part_named(self, name: str) -> Part:
        """The part of this name; of a shuffle, names are unique.

        Raises:
            KeyError: there is none.
        """
        return self._by_name[name]

    @cached_property
    def _by_name(self) -> dict[str, Part]:
        return {part.name: part for part in self.parts}

    def tables(self, columns: Sequence[str] | None = None, rows: int = 1024) -> Iterator[pa.Table]:
        """The documents in part order, ``rows`` at a time."""
        for path in self.file_paths(DOCUMENTS_FILE):
            yield from read_tables(path, columns, rows)

    def removed(self) -> Iterator[pa.Table]:
        """The removals (REMOVED_SCHEMA) in part order."""
        for path in self.file_paths(REMOVED_FILE):
            yield from read_tables(path)

    def to_json(self) -> dict[str, Any]:
        """The first line of its manifest: all but the parts."""
        return {
            "name": self.name,
            "kind": self.kind,
            "fingerprint": self.fingerprint,
            "steps": [dict(step) for step in self.steps],
            "inputs": dict(self.inputs),
            "parts": len(self.parts),
            "notes": list(self.notes),
            "phases": [dict(phase) for phase in self.phases],
        }


@dataclass(frozen=True)
class DocumentPart:
    """A part that holds documents."""

    artifact: str
    part: str  # its name, for people
    name: str  # unique among all artifacts of a run: the artifact and the part's key
    path: Path
    digest: str
    rows: int
    size_bytes: int


def document_parts(artifacts: Iterable[Artifact]) -> list[DocumentPart]:
    """The parts of these artifacts that hold documents, in order."""
    return [
        DocumentPart(
            a.name,
            p.name,
            f"{a.name}/{p.key}",
            a.folder / p.folder / file.path,
            p.digest,
            file.rows or 0,
            file.size_bytes,
        )
        for a in artifacts
        for p in a.parts
        for file in p.files
        if file.path == DOCUMENTS_FILE
    ]


def read_tables(path: Path, columns: Sequence[str] | None = None, rows: int = 1024) -> Iterator[pa.Table]:
    """The rows of a Parquet file, ``rows`` at a time."""
    with pq.ParquetFile(storage.fetched(path)) as file:
        for batch in file.iter_batches(rows, columns=columns):
            yield pa.Table.from_batches([batch])


class ArtifactFolder:
    """The storage of one artifact of a run: attempts, commit records, manifests."""

    def __init__(self, run: Path, name: str) -> None:
        self.folder = run / "artifacts" / name

    def new_attempt(self, key: str) -> Path:
        """An empty folder that no other attempt writes to."""
        folder = self.folder / "data" / f"{key}.{uuid.uuid4().hex[:8]}"
        storage.make_folder(folder)
        return folder

    @property
    def answers(self) -> Path:
        """A folder for what models have answered, kept from run to run: entries are told apart by their own keys."""
        return self.folder / "answers"

    def work(self, key: str) -> Path:
        """A folder for a task's own checkpoints, the same for each attempt."""
        folder = self.folder / "work" / key
        storage.make_folder(folder)
        return folder

    def commit(self, part: Part) -> Part:
        """Make an attempt's files the part of this key, or discard them if another attempt was first.

        Returns:
            The part that now exists: this one, or the earlier one.
        """
        path, attempt = self._record(part.key), self.folder / part.folder
        storage.publish(attempt)
        won = storage.put_if_absent(path, _record_of(part))
        if (work := self.folder / "work" / part.key).exists():
            storage.remove_folder(work)
        if not won:
            self.discard(part.key, attempt)
        storage.drop_local(attempt)
        return part if won else _part_of(storage.read_bytes(path))

    def discard(self, key: str, attempt: Path) -> None:
        """Remove an attempt's files, unless they are the part of this key.

        They may be although their writer thinks otherwise: it was interrupted just behind its commit, or a network
        file system repeated the request and reported the name as taken.
        """
        path = self._record(key)
        folder = attempt.relative_to(self.folder).as_posix()
        if not storage.exists(path) or json.loads(storage.read_bytes(path))["folder"] != folder:
            storage.remove_folder(attempt)

    def committed(self, keys: Iterable[str]) -> dict[str, Part]:
        """The parts among ``keys`` that exist."""
        present = {path.stem for path in self._all_records()}
        found = [key for key in keys if key in present]
        parts = self._gathered(set(found))
        single = [key for key in found if key not in parts]
        read = {key: _part_of(record) for key, record in zip(single, self._read_records(single), strict=True)}
        if len(read) >= GATHERED_PARTS:
            self.gather(read.values())
        return {key: parts.get(key) or read[key] for key in found}

    def _read_records(self, keys: Iterable[str]) -> Iterator[bytes]:
        return storage.read_all(map(self._record, keys))

    def _gathered(self, keys: Set[str]) -> dict[str, Part]:
        """The parts among ``keys``, all of them committed, whose records were gathered."""
        lines = (line for content in storage.read_all(self._all_gathered()) for line in content.splitlines())
        return {values["key"]: Part.from_json(values) for values in map(orjson.loads, lines) if values["key"] in keys}

    def gather(self, parts: Iterable[Part]) -> None:
        """Put copies of the records of committed parts into one file."""
        lines = b"".join(_record_of(part) + b"\n" for part in parts)
        storage.replace(self.folder / "gathered" / f"{uuid.uuid4().hex[:16]}.jsonl", lines)

    def forget(self, unwanted: Callable[[Part], bool]) -> int:
        """Undo the commits of these parts, so that they are made again; returns how many.

        Manifests that name them go first: what trusts a manifest must find its parts.
        """
        paths = self._all_records()
        parts = map(_part_of, storage.read_all(paths))
        records = {path: part for path, part in zip(paths, parts, strict=True) if unwanted(part)}
        keys = {part.key for part in records.values()}
        for manifest in self._all_manifests():
            if keys & {part.key for part in _parts_of(storage.read_bytes(manifest))}:
                storage.remove(manifest)
        if records:
            self._forget_gathered()
        for path, part in records.items():
            storage.remove(path)
            self.discard(part.key, self.folder / part.folder)
        return len(keys)

    def forget_unnamed(self) -> int:
        """Undo the commits of parts that no manifest names: those that only passed rows on; returns how many."""
        manifests = storage.read_all(self._all_manifests())
        named = {part.key for manifest in manifests for part in _parts_of(manifest)}
        return self.forget(lambda part: part.key not in named)

    def _forget_gathered(self) -> None:
        for path in self._all_gathered():
            storage.remove(path)

    def _all_gathered(self) -> list[Path]:
        return storage.files_in(self.folder / "gathered", ".jsonl")

    def _all_records(self) -> list[Path]:
        return storage.files_in(self.folder / "commits", ".json")

    def _all_manifests(self) -> list[Path]:
        return storage.files_in(self.folder / "manifests", ".jsonl")

    def committed_count(self) -> int:
        """How many parts have been committed, of whichever configuration."""
        return len(self._all_records())

    def fingerprints(self) -> list[str]:
        """Of all artifacts that are sealed here."""
        return [path.stem for path in self._all_manifests()]

    def _record(self, key: str) -> Path:
        return self.folder / "commits" / f"{key}.json"

    def _manifest(self, fingerprint: str) -> Path:
        return self.folder / "manifests" / f"{fingerprint}.jsonl"

    def seal(self, artifact: Artifact) -> None:
        """Write the manifest. Writing it twice is harmless: its contents follow from the fingerprint."""
        storage.put_if_absent(self._manifest(artifact.fingerprint), _manifest_of(artifact))

    def replace_manifest(self, artifact: Artifact) -> None:
        """Write the manifest of an artifact whose files were changed for good, in place of the earlier one."""
        storage.replace(self._manifest(artifact.fingerprint), _manifest_of(artifact))

    def replace_record(self, part: Part) -> None:
        """Write the commit record of a part whose files were changed for good, in place of the earlier one."""
        self._forget_gathered()
        storage.replace(self._record(part.key), _record_of(part))

    def sealed(self, fingerprint: str) -> Artifact | None:
        """The artifact of this fingerprint, if it is complete.

        Raises:
            StageError: its manifest is damaged.
        """
        try:
            content = storage.read_bytes(self._manifest(fingerprint))
        except FileNotFoundError:
            return None
        try:
            values, parts = orjson.loads(content.partition(b"\n")[0]), tuple(_parts_of(content))
            is_whole = len(parts) == values["parts"]
        except ValueError:
            is_whole = False
        if not is_whole:
            path = storage.shown(self._manifest(fingerprint))
            raise StageError(f"{path} is damaged. Remove it and run the recipe again: its parts are not made anew")
        return Artifact(
            **{
                **values,
                "folder": self.folder,
                "steps": tuple(values["steps"]),
                "parts": parts,
                "notes": tuple(values["notes"]),
                "phases": tuple(values["phases"]),
            }
        )


def _record_of(part: Part) -> bytes:
    return json.dumps(part.to_json(), allow_nan=False).encode()


def _part_of(record: bytes) -> Part:
    return Part.from_json(orjson.loads(record))


def _manifest_of(artifact: Artifact) -> bytes:
    head = json.dumps(artifact.to_json(), allow_nan=False).encode()
    return b"".join(line + b"\n" for line in (head, *map(_record_of, artifact.parts)))


def _parts_of(manifest: bytes) -> Iterator[Part]:
    return map(_part_of, manifest.splitlines()[1:])


def file_record(folder: Path, path: Path, rows: int | None = None, sha256: str | None = None) -> File:
    """The record of a finished file, which is on the disk when this returns. ``sha256``: its digest if it is known."""
    storage.flush(path)
    return File(path.relative_to(folder).as_posix(), path.stat().st_size, sha256 or storage.sha256_of(path), rows)
