"""Taking documents down: the token shards of a run without them, and the list that every later run is held to.

RUN/taken_down.json   the requests: when, the documents, and what had been made with them by then

The list is written first; then the manifest of each token artifact is put in place of the old one, which readers see
whole, before or after; then the old files go. So a command that was killed leaves each artifact as it was or changed,
and is finished by giving it again; until then, and whenever shards are made anew, ``sluice run`` refuses to use them.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pipeline import storage
from pipeline.artifact import DOCUMENTS_FILE, REMOVED_FILE, Artifact, ArtifactFolder, Part, digest_of, file_record
from pipeline.errors import StageError
from pipeline.progress import Steps, Tick, silent
from pipeline.run import Run

LIST_FILE = "taken_down.json"
INDEX_SUFFIX = ".documents.parquet"  # beside each shard: its documents
TOLD = 10


class Removal(Protocol):
    """What was taken out of a token folder, and what it holds now."""

    @property
    def documents(self) -> int: ...
    @property
    def tokens(self) -> int: ...
    @property
    def by_source(self) -> Mapping[str, Mapping[str, int]]: ...
    @property
    def sources(self) -> Mapping[str, Any]: ...


class Rewrite(Protocol):
    """Writes a token folder without some documents; None if it holds none of them."""

    def __call__(
        self, folder: Path, out: Path, gone: Collection[str], when: str, list_sha256: str
    ) -> Removal | None: ...


@dataclass(frozen=True)
class Request:
    """One list of documents that were to be taken down."""

    when: str  # UTC
    documents: tuple[str, ...]  # sorted; with those that were written from them
    made_with_them: Mapping[str, str] = field(default_factory=dict)  # artifact made from the shards -> its folder

    @property
    def list_sha256(self) -> str:
        """Digest of the ids."""
        return digest_of(list(self.documents))


@dataclass(frozen=True)
class TakenDown:
    """All requests of a run."""

    requests: tuple[Request, ...]

    @staticmethod
    def of(run: Path) -> TakenDown:
        """Those of a run; none if nothing was ever taken down."""
        path = run / LIST_FILE
        if not storage.exists(path):
            return TakenDown(())
        values = json.loads(storage.read_bytes(path))
        return TakenDown(tuple(Request(**{**r, "documents": tuple(r["documents"])}) for r in values["requests"]))

    def save(self, run: Path) -> None:
        """Write the list whole."""
        values = {"requests": [vars(request) for request in self.requests]}
        storage.replace(run / LIST_FILE, json.dumps(values, indent=1).encode())

    @cached_property
    def documents(self) -> frozenset[str]:
        """All ids."""
        return frozenset(id_ for request in self.requests for id_ in request.documents)

    @cached_property
    def digest(self) -> str:
        """Of all ids: what shards were last held to."""
        return digest_of(sorted(self.documents))

    def is_applied(self, artifact: Artifact) -> bool:
        """Whether this artifact has been held to the whole list."""
        told = artifact.summary.get("taken_down", {})
        return not self.requests or told.get("held_to") == self.digest


def check_taken_down(run: Run, artifact: Artifact) -> None:
    """Raises StageError for token shards that may hold documents which were taken down."""
    if artifact.kind == "tokens" and not TakenDown.of(run.folder).is_applied(artifact):
        place = storage.shown(run.folder)
        raise StageError(
            f"{artifact.name}: these shards were made from documents of which some have been taken down "
            f"({place}/{LIST_FILE}): give 'sluice take-down {place}', and then this command again"
        )


def notes(run: Run, artifacts: Mapping[str, Artifact]) -> list[str]:
    """What a run is to say of documents that were taken down."""
    told = []
    for name, artifact in artifacts.items():
        done = artifact.summary.get("taken_down") if artifact.kind == "tokens" else None
        if done and done["documents"]:
            told.append(f"{name}: {done['documents']:,} documents, {done['tokens']:,} tokens have been taken down")
    for name, artifact in artifacts.items():
        if any(r.made_with_them.get(name) == artifact.parts[-1].folder for r in TakenDown.of(run.folder).requests):
            told.append(
                f"{name} was made with documents that have been taken down since, and is kept. To make it again "
                f"without them, delete {storage.shown(artifact.folder)} and run again"
            )
    return told


@dataclass(frozen=True)
class Change:
    """What happened to one token artifact, or would happen."""

    artifact: str
    documents: int
    tokens: int
    by_source: Mapping[str, Mapping[str, int]]  # source -> documents, tokens
    emptied: tuple[str, ...] = ()  # "web/train": splits that are left with no token


@dataclass(frozen=True)
class Found:
    """Where the documents of a request are."""

    documents: tuple[str, ...]  # asked for by id or URL, and those written from them; sorted
    written_from: int  # of these, found by their parent alone
    absent: tuple[str, ...]  # ids and URLs that the run has not seen
    in_artifacts: Mapping[str, int]  # artifact -> documents that it holds; those of tokens are told by in_shards
    in_shards: tuple[Change, ...]


def find(run: Run, ids: Collection[str], urls: Collection[str], tick: Tick = silent) -> Found:
    """The documents of these ids and URLs, and all that were written from them, over any number of steps.

    URLs are compared with the documents' as they are, letter by letter.
    """
    artifacts = run.artifacts()
    # Each part is read twice: for the documents asked for, and for all that were written from them.
    steps = Steps(tick, 2 * sum(len(artifact.parts) for artifact in artifacts.values()))
    of_url: dict[str, set[str]] = {}
    seen: set[str] = set()
    children: dict[str, set[str]] = {}
    wanted_ids, wanted_urls = pa.array(sorted(ids), pa.string()), pa.array(sorted(urls), pa.string())
    for table in _tables(artifacts.values(), ("id", "url", "parent"), steps):
        seen.update(_among(table, "id", wanted_ids)["id"].to_pylist())
        if "url" in table.column_names:
            for row in _among(table, "url", wanted_urls).to_pylist():
                of_url.setdefault(row["url"], set()).add(row["id"])
        if "parent" in table.column_names:
            for row in table.filter(pc.is_valid(table["parent"])).select(["id", "parent"]).to_pylist():
                children.setdefault(row["parent"], set()).add(row["id"])
    asked = {*ids, *(id_ for found in of_url.values() for id_ in found)}
    documents, border = set(asked), list(asked)
    while border:
        new = children.get(border.pop(), set()) - documents
        documents |= new
        border.extend(new)
    known = seen | TakenDown.of(run.folder).documents | set(children)
    absent = sorted({id_ for id_ in ids if id_ not in known} | {url for url in urls if url not in of_url})
    gone = pa.array(sorted(documents), pa.string())
    held = {}
    for name, artifact in artifacts.items():
        if artifact.kind != "tokens":
            rows = (len(_among(table, "id", gone)) for table in _tables([artifact], ("id",), steps))
            if count := sum(rows):
                held[name] = count
    in_shards = tuple(
        change
        for artifact in artifacts.values()
        if artifact.kind == "tokens"
        for change in _in_shards(artifact, gone, steps)
    )
    return Found(tuple(sorted(documents)), len(documents - asked), tuple(absent), held, in_shards)


def _in_shards(artifact: Artifact, gone: pa.Array, steps: Steps) -> Iterator[Change]:
    by_source: dict[str, dict[str, int]] = {}
    for path in _indexes(artifact, steps):
        rows = _among(pq.read_table(path, columns=["id", "tokens"]), "id", gone)
        if rows.num_rows:
            counts = by_source.setdefault(path.parent.name, {"documents": 0, "tokens": 0})
            counts["documents"] += rows.num_rows
            counts["tokens"] += pc.sum(rows["tokens"]).as_py()
    if by_source:
        documents, tokens = (sum(counts[name] for counts in by_source.values()) for name in ("documents", "tokens"))
        yield Change(artifact.name, documents, tokens, by_source)


def _indexes(artifact: Artifact, steps: Steps) -> Iterator[Path]:
    for part in steps.of(artifact.parts):
        for file in part.files:
            if file.path.endswith(INDEX_SUFFIX):
                yield artifact.file_of(part, file.path)


def _tables(artifacts: Iterable[Artifact], columns: Sequence[str], steps: Steps) -> Iterator[pa.Table]:
    """Of all files that name documents, those of these columns that are there."""
    for artifact in artifacts:
        for part in steps.of(artifact.parts):
            for file in part.files:
                if file.path in (DOCUMENTS_FILE, REMOVED_FILE) or file.path.endswith(INDEX_SUFFIX):
                    with pq.ParquetFile(artifact.file_of(part, file.path)) as opened:
                        present = [name for name in columns if name in opened.schema_arrow.names]
                        for batch in opened.iter_batches(65536, columns=present):
                            yield pa.Table.from_batches([batch])


def _among(table: pa.Table, column: str, wanted: pa.Array) -> pa.Table:
    return table.filter(pc.fill_null(pc.is_in(table[column].cast(pa.string()), wanted), False))


def take_down(run: Run, found: Found, rewrite: Rewrite, tick: Tick = silent) -> list[Change]:
    """Note the documents in the run's list, and rewrite all token artifacts that are not held to the list yet.

    Those of earlier recipes are too: a run would take them up again.

    Raises:
        StageError: shards are damaged; those of other artifacts may have been rewritten.
        MachineError: no room on the disk.
    """
    taken = TakenDown.of(run.folder)
    new = tuple(id_ for id_ in found.documents if id_ not in taken.documents)
    if new:
        when = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        taken = TakenDown((*taken.requests, Request(when, new, _made_with(run, found))))
        taken.save(run.folder)
    if not taken.requests:
        return []
    token_parts = [
        (storage_, key, artifacts)
        for storage_ in _artifact_folders(run)
        for key, artifacts in sorted(_token_parts(storage_).items())
    ]
    changes = [
        change
        for storage_, key, artifacts in Steps(tick, len(token_parts)).of(token_parts)
        for change in _held_to(taken, storage_, key, artifacts, rewrite)
    ]
    run.read_anew()
    return changes


def _made_with(run: Run, found: Found) -> dict[str, str]:
    """The folders of the artifacts that were made from shards which hold such documents."""
    changed = {change.artifact for change in found.in_shards}
    return {name: a.parts[-1].folder for name, a in run.artifacts().items() if changed & a.inputs.keys() and a.parts}


def _artifact_folders(run: Run) -> list[ArtifactFolder]:
    return [run.artifact_folder(path.name) for path in sorted((run.folder / "artifacts").iterdir()) if path.is_dir()]


def _token_parts(folder: ArtifactFolder) -> dict[str, list[Artifact]]:
    """By its part's key, the sealed token artifacts of a folder: several recipes may have led to one part."""
    by_key: dict[str, list[Artifact]] = {}
    for fingerprint in folder.fingerprints():
        artifact = folder.sealed(fingerprint)
        if artifact is not None and artifact.kind == "tokens":
            (part,) = artifact.parts
            by_key.setdefault(part.key, []).append(artifact)
    return by_key


def _held_to(
    taken: TakenDown, folder: ArtifactFolder, key: str, artifacts: Sequence[Artifact], rewrite: Rewrite
) -> Iterator[Change]:
    """Bring one part to the list: the new folder, the manifests, the commit record; then the old folder goes."""
    done = next((a.parts[0] for a in artifacts if taken.is_applied(a)), None)
    if done is None:
        before = artifacts[0].parts[0]
        request = taken.requests[-1]
        # A name of its own for each state of the list: what a killed command has left there is written again.
        attempt = folder.folder / "data" / f"{key}.down-{taken.digest[:12]}"
        shutil.rmtree(attempt, ignore_errors=True)
        removal = rewrite(folder.folder / before.folder, attempt, taken.documents, request.when, request.list_sha256)
        done = _part(taken, folder, before, attempt, removal)
        if removal:
            emptied = tuple(
                f"{source}/{split}"
                for source, splits in removal.sources.items()
                for split, contents in splits.items()
                if not contents["tokens"] and before.summary["sources"][source][split]["tokens"]
            )
            yield Change(folder.folder.name, removal.documents, removal.tokens, removal.by_source, emptied)
    for artifact in artifacts:
        if artifact.parts[0].to_json() != done.to_json():
            folder.replace_manifest(replace(artifact, parts=(done,)))
    folder.replace_record(done)
    for left in (folder.folder / "data").glob(f"{key}.*"):
        if left != folder.folder / done.folder:
            shutil.rmtree(left)


def _part(taken: TakenDown, folder: ArtifactFolder, before: Part, attempt: Path, removal: Removal | None) -> Part:
    earlier = before.summary.get("taken_down", {"documents": 0, "tokens": 0})
    told = {
        "held_to": taken.digest,
        "documents": earlier["documents"] + (removal.documents if removal else 0),
        "tokens": earlier["tokens"] + (removal.tokens if removal else 0),
    }
    if removal is None:
        return replace(before, summary={**before.summary, "taken_down": told})
    known = {file.path: file for file in before.files}
    files = []
    for path in sorted(path for path in attempt.rglob("*") if path.is_file()):
        name = path.relative_to(attempt).as_posix()
        is_link = name in known and path.samefile(folder.folder / before.folder / name)
        files.append(known[name] if is_link else file_record(attempt, path))
    summary = {**before.summary, "sources": removal.sources, "taken_down": told}
    relative = attempt.relative_to(folder.folder).as_posix()
    return replace(before, folder=relative, files=tuple(files), summary=summary, digest_as_made=before.digest)
