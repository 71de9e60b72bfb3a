"""Documents gained and lost between two artifacts of one name, why, and samples of them to read."""

from __future__ import annotations

import hashlib
import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import xxhash

from pipeline import storage
from pipeline.artifact import DOCUMENTS_FILE, REMOVED_FILE, Artifact, Part
from pipeline.compare.keys import Keys, parted, partitions_of, read_rows, smallest
from pipeline.progress import Tick, silent
from pipeline.report.facts import Facts

SAMPLES = 4  # of each ending
EXCERPT_CHARACTERS = 600
TEXTS_COMPARED = 20_000  # documents about, in whole parts, of those that both artifacts hold


@dataclass(frozen=True)
class Ending:
    """How the other run was done with a document: the step that removed it, or that no document of this id came to it
    (verdict absent), or that this cannot be told, because ids do not agree (verdict unknown)."""

    verdict: Literal["dropped", "failed", "absent", "unknown"]
    step: str = ""
    reason: str = ""


@dataclass(frozen=True)
class Sample:
    """A document that one of the two artifacts holds."""

    id: str
    source: str
    url: str
    excerpt: str
    evidence: str  # by which the other run removed it


@dataclass(frozen=True)
class Ended:
    """Documents that the other run ended in one way."""

    ending: Ending
    documents: int
    samples: tuple[Sample, ...]


@dataclass(frozen=True)
class OneSided:
    """What one artifact holds and the other does not."""

    documents: int
    by_source: Mapping[str, int]
    endings: tuple[Ended, ...]  # most first

    @property
    def absent(self) -> int:
        """Documents whose ids never came to the other artifact."""
        return sum(ended.documents for ended in self.endings if ended.ending.verdict == "absent")


@dataclass(frozen=True)
class Edited:
    """Of some documents that both artifacts hold, those whose text is not the same."""

    looked_at: int
    edited: int
    samples: tuple[tuple[str, str, str], ...]  # id, A's text and B's from shortly before their first difference


@dataclass(frozen=True)
class Membership:
    """The documents of two artifacts of one name."""

    artifact: str
    told_apart_by: Literal["id", "text"]  # by text where the ids of the two do not agree
    in_both: int
    lost: OneSided  # in A alone
    gained: OneSided  # in B alone
    edited: Edited | None  # None where documents are told apart by text


def to_read(memberships: Sequence[Membership]) -> Iterator[tuple[Membership, str, str, OneSided, tuple[Ended, ...]]]:
    """For each artifact and direction: the artifact, "lost" or "gained", the run that does not keep these documents,
    how many there are, and the endings whose samples are worth reading: what an artifact before it had lost or gained
    in the same way is not shown again."""
    shown: set[tuple[str, Ending]] = set()
    for one in memberships:
        for said, side, other in (("lost", one.lost, "B"), ("gained", one.gained, "A")):
            is_by_step = {ended.ending: ended.ending.verdict in ("dropped", "failed") for ended in side.endings}
            new = tuple(e for e in side.endings if not (is_by_step[e.ending] and (said, e.ending) in shown))
            shown |= {(said, ended.ending) for ended in side.endings}
            yield one, said, other, side, new


@dataclass(frozen=True)
class _File:
    artifact: Artifact
    part: Part
    name: str
    sha256: str
    rows: int

    @property
    def path(self) -> Path:
        return self.artifact.folder / self.part.folder / self.name


def _files(artifacts: Sequence[Artifact], name: str) -> list[_File]:
    """The files of this name of artifacts, in part order."""
    return [
        _File(artifact, part, name, file.sha256, file.rows or 0)
        for artifact in artifacts
        for part in artifact.parts
        for file in part.files
        if file.path == name
    ]


@dataclass(frozen=True)
class _Side:
    """One of the two runs: the files that are compared, and what it has removed on the way to the artifact."""

    documents: list[_File]
    removed: list[_File]

    @property
    def most_rows(self) -> int:
        return max(sum(file.rows for file in files) for files in (self.documents, self.removed))

    @property
    def rows(self) -> int:
        return sum(file.rows for files in (self.documents, self.removed) for file in files)


def _side(facts: Facts, artifact: Artifact, documents: list[_File]) -> _Side:
    removed = _files([*_ancestors(facts.artifacts, artifact), artifact], REMOVED_FILE)
    return _Side(documents, removed)


def _ancestors(artifacts: Mapping[str, Artifact], artifact: Artifact) -> list[Artifact]:
    """All that an artifact was made from, in graph order."""
    wanted = set(artifact.inputs)
    for name in reversed(list(artifacts)):
        if name in wanted:
            wanted |= set(artifacts[name].inputs)
    return [found for name, found in artifacts.items() if name in wanted]


class Reading:
    """Tells how many rows have been read, of those that a comparison has to read."""

    def __init__(self, tick: Tick = silent) -> None:
        self._tick, self._done, self._total = tick, 0, 0

    def expect(self, rows: int) -> None:
        """So many more are to be read."""
        self._total += rows

    def read(self, rows: int) -> None:
        """So many more have been read."""
        self._done += rows
        self._tick(self._done, self._total)


def rows_to_read(a: Facts, b: Facts, name: str) -> int:
    """Documents and removals whose ids ``membership`` will read."""
    mine, theirs = a.artifacts[name], b.artifacts[name]
    if mine.digest == theirs.digest:
        return 0
    *_, rest_a, rest_b = _documents(mine, theirs)
    sides = _side(a, mine, rest_a), _side(b, theirs, rest_b)
    return sum(side.rows for side in sides) if rest_a or rest_b else 0


def _documents(a: Artifact, b: Artifact) -> tuple[list[_File], list[_File], list[_File], list[_File]]:
    """The files of documents of either, and of them those that the other does not have."""
    in_a, in_b = _files([a], DOCUMENTS_FILE), _files([b], DOCUMENTS_FILE)
    same = {file.sha256 for file in in_a} & {file.sha256 for file in in_b}
    rest_a, rest_b = ([file for file in files if file.sha256 not in same] for files in (in_a, in_b))
    return in_a, in_b, rest_a, rest_b


def membership(a: Facts, b: Facts, name: str, seed: int, reading: Reading | None = None) -> Membership | None:
    """Compare the documents of artifact ``name`` of two runs; None where both hold the same files.

    Documents are told apart by id. Where more than half of what is lost, and of what is gained, has ids that never came
    to the other artifact, because inputs were moved or renamed, they are told apart by their texts. Either way they
    are counted as a set. Memory: pipeline.compare.keys; 28 bytes a document that may differ lie on the scratch disk.

    Args:
        seed: which samples are drawn.
        reading: told what is read.

    Raises:
        MachineError: the disk of the scratch folder is full.
    """
    reading = reading or Reading()
    mine, theirs = a.artifacts[name], b.artifacts[name]
    if mine.digest == theirs.digest:
        return None
    in_a, in_b, rest_a, rest_b = _documents(mine, theirs)
    in_common = sum(file.rows for file in in_a) - sum(file.rows for file in rest_a)
    if not rest_a and not rest_b:
        return Membership(name, "id", in_common, _NOTHING, _NOTHING, None)
    by_id = _compared("id", name, _side(a, mine, rest_a), _side(b, theirs, rest_b), seed, reading)
    if all(2 * side.absent > side.documents for side in (by_id.lost, by_id.gained)):
        reading.expect(sum(file.rows for files in (in_a, in_b) for file in files))
        return _compared("text", name, _side(a, mine, in_a), _side(b, theirs, in_b), seed, reading)
    return replace(by_id, in_both=by_id.in_both + in_common)


_NOTHING = OneSided(0, {}, ())


def _compared(column: Literal["id", "text"], name: str, a: _Side, b: _Side, seed: int, reading: Reading) -> Membership:
    partitions = partitions_of(max(a.most_rows, b.most_rows))
    with tempfile.TemporaryDirectory(prefix="sluice-compare-") as scratch:

        def keys(place: str, files: list[_File], column: str, said: Sequence[str]) -> Keys:
            paths = [file.path for file in files]
            return Keys(paths, column, said, Path(scratch) / place, partitions, seed, read=reading.read)

        def drawn(side: _Side, keys_of_side: Keys, other: _Side) -> _Drawn:
            if column == "text" or not other.removed:
                return _Drawn(side, keys_of_side, other, None, "unknown" if column == "text" else "absent")
            place = f"removed of {'b' if other is b else 'a'}"
            endings = keys(place, other.removed, "id", ["verdict", "step", "reason"])
            return _Drawn(side, keys_of_side, other, endings, "absent")

        keys_a, keys_b = (keys(place, side.documents, column, ["source"]) for place, side in (("a", a), ("b", b)))
        lost, gained, in_both = drawn(a, keys_a, b), drawn(b, keys_b, a), 0
        for number, only_a, only_b, both in parted(keys_a, keys_b, partitions):
            in_both += both
            lost.add(number, only_a)
            gained.add(number, only_b)
    edited = _edited(a, b, seed) if column == "id" else None
    return Membership(name, column, in_both, lost.told(), gained.told(), edited)


class _Drawn:
    """Counts documents that one side alone holds, by source and by how the other side ended them, and draws samples."""

    def __init__(
        self, side: _Side, keys: Keys, other: _Side, endings: Keys | None, otherwise: Literal["absent", "unknown"]
    ) -> None:
        """
        Args:
            endings: what the other side has removed; None if nothing, or if ids do not agree.
            otherwise: what is said of a document that is not among them.
        """
        self._side, self._keys, self._other, self._endings_of_other = side, keys, other, endings
        self._otherwise = Ending(otherwise)
        self._sources: Counter[str] = Counter()
        self._endings: Counter[Ending] = Counter()
        self._samples: dict[Ending, pa.Table] = {}

    def add(self, number: int, rows: pa.Table) -> None:
        """Rows of partition ``number`` that this side alone holds."""
        counted = np.bincount(rows.column("said").to_numpy(), minlength=len(self._keys.values))
        for (source,), count in zip(self._keys.values, counted.tolist(), strict=True):
            self._sources[str(source)] += count
        if self._endings_of_other is None:
            self._draw(self._otherwise, rows)
            return
        removed = self._endings_of_other.partition(number)
        place = pc.index_in(rows.column("key"), value_set=removed.column("key").combine_chunks())
        self._draw(self._otherwise, rows.filter(pc.is_null(place)))
        found = removed.take(pc.drop_null(place))
        ended = rows.filter(pc.is_valid(place))
        ended = ended.append_column("removed_file", found.column("file"))
        ended = ended.append_column("removed_row", found.column("row"))
        codes = found.column("said").to_numpy()
        for code in np.unique(codes).tolist():
            verdict, step, reason = map(str, self._endings_of_other.values[code])
            self._draw(Ending(verdict, step, reason), ended.filter(pa.array(codes == code)))  # type: ignore[arg-type]

    def _draw(self, ending: Ending, rows: pa.Table) -> None:
        if rows.num_rows:
            self._endings[ending] += rows.num_rows
            drawn = [self._samples[ending]] if ending in self._samples else []
            self._samples[ending] = smallest(pa.concat_tables([*drawn, smallest(rows, SAMPLES)]), SAMPLES)

    def told(self) -> OneSided:
        """All that was added."""
        sources = {source: n for source, n in sorted(self._sources.items()) if n}
        order = sorted(self._endings.items(), key=lambda e: (-e[1], e[0].verdict, e[0].step, e[0].reason))
        endings = tuple(Ended(ending, n, tuple(self._read(self._samples[ending]))) for ending, n in order)
        return OneSided(sum(sources.values()), sources, endings)

    def _read(self, rows: pa.Table) -> Iterator[Sample]:
        for row in rows.to_pylist():
            document = _row(self._side.documents[row["file"]], row["row"], ["id", "source", "url", "text"])
            evidence = ""
            if "removed_file" in row:
                evidence = _row(self._other.removed[row["removed_file"]], row["removed_row"], ["evidence"])["evidence"]
            text = (document["text"] or "")[:EXCERPT_CHARACTERS]
            yield Sample(document["id"], document["source"], document["url"] or "", text, evidence or "")


def _row(file: _File, number: int, columns: Sequence[str]) -> dict[str, Any]:
    return read_rows(file.path, [number], columns)[number]


def _edited(a: _Side, b: _Side, seed: int) -> Edited:
    """Texts of documents that both hold, in parts of one name, until enough were looked at."""
    theirs = {file.part.name: file for file in b.documents}
    pairs = [(file, theirs[file.part.name]) for file in a.documents if file.part.name in theirs]
    pairs.sort(key=lambda pair: hashlib.blake2b(f"{seed}:{pair[0].part.name}".encode()).digest())
    looked_at, edited, samples = 0, 0, list[tuple[str, str, str]]()
    for mine, other in pairs:
        if looked_at >= TEXTS_COMPARED:
            break
        digests = _text_digests(other.path)
        for document, (row, digest) in _text_digests(mine.path).items():
            if document not in digests:
                continue
            looked_at += 1
            if digest != digests[document][1]:
                edited += 1
                if len(samples) < SAMPLES:
                    texts = (_row(mine, row, ["text"])["text"], _row(other, digests[document][0], ["text"])["text"])
                    samples.append((document, *_around_first_difference(*(text or "" for text in texts))))
    return Edited(looked_at, edited, tuple(samples))


def _text_digests(path: Path) -> dict[str, tuple[int, bytes]]:
    """By id, the row and the digest of the text of a part's first documents."""
    found: dict[str, tuple[int, bytes]] = {}
    with storage.opened(path) as source, pq.ParquetFile(source) as file:
        for rows in file.iter_batches(1024, columns=["id", "text"]):
            for document, text in zip(*(rows.column(name).to_pylist() for name in ("id", "text")), strict=True):
                found[document] = (len(found), xxhash.xxh3_128_digest((text or "").encode()))
            if len(found) >= TEXTS_COMPARED:
                break
    return found


def _around_first_difference(a: str, b: str) -> tuple[str, str]:
    """Excerpts of two texts from shortly before where they part."""
    at = next((i for i, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), min(len(a), len(b)))
    begin = max(0, at - 60)
    lead = "…" if begin else ""
    return lead + a[begin : begin + EXCERPT_CHARACTERS], lead + b[begin : begin + EXCERPT_CHARACTERS]
