"""What became of one document, and why: read from the run's artifacts."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq

from pipeline.artifact import DOCUMENTS_FILE, REMOVED_FILE, Artifact
from pipeline.errors import RecipeError, StageError
from pipeline.progress import Steps, Tick, silent
from pipeline.rethreshold import decided_steps, says_its_stages
from pipeline.run import Run
from pipeline.stage import is_measured
from pipeline.take_down import INDEX_SUFFIX

DUPLICATES_FILE = "duplicates.parquet"  # in the slices of artifacts of kind "duplicates"
TAKEN_DOWN_FILE = "taken_down.parquet"  # in artifacts of kind "tokens", once documents were taken down
LOSERS_TOLD = 20
TOKENS_TOLD = 24  # on either side


@dataclass
class Event:
    """One thing that happened to a document: as lines for people, and as plain values for programs."""

    lines: list[str]
    values: dict[str, Any]


@dataclass
class Story:
    """What became of one document, in the order of the run's graph."""

    document: str
    before: list[str] = field(default_factory=list)  # of the token that it was asked by
    events: list[Event] = field(default_factory=list)

    def as_text(self) -> str:
        """A line or more for each event."""
        return "\n".join([*self.before, self.document, *(line for event in self.events for line in event.lines)])

    def as_json(self) -> str:
        """The document's id, and its events."""
        told = {"document": self.document, "events": [event.values for event in self.events]}
        return json.dumps(told, indent=1, ensure_ascii=False, default=str)


def explain(folder: Path, document_id: str, tick: Tick = silent) -> Story:
    """The story of one document, with an event for each stage that saw it.

    Raises:
        RecipeError: no stage of this run has seen a document of this id.
    """
    run = Run.open(folder)
    artifacts = run.artifacts()
    told: dict[str, Any] = {}
    steps = Steps(tick, sum(len(artifact.parts) for artifact in artifacts.values()))
    events = [
        event
        for artifact in artifacts.values()
        for part in steps.of(artifact.parts)
        for event in _events(run, artifacts, replace(artifact, parts=(part,)), document_id, told)
    ]
    if not events:
        raise RecipeError(
            f"no document {document_id!r} in {folder}: ids look like <source>/<file>@<offset>; the report's samples "
            "and the documents.parquet files show them"
        )
    return Story(document_id, events=events)


def _events(
    run: Run, artifacts: Mapping[str, Artifact], artifact: Artifact, document_id: str, told: dict[str, Any]
) -> Iterator[Event]:
    """What one artifact knows; ``told`` are the measurements that the reader has seen already."""
    name = artifact.name
    for path in artifact.file_paths(DOCUMENTS_FILE):
        for row in _rows(path, "id", document_id):
            if "." not in name:  # private to a composite
                lines = [
                    f"  {name}: kept{_described(row)}",
                    *_measured(row, told),
                    *_thresholds(run, artifact, row),
                    *_cluster(artifacts, artifact, document_id),
                ]
                yield Event(lines, {"artifact": name, "event": "kept", **_values(row)})
        for child in _rows(path, "parent", document_id):
            line = f"  {name}: {child['id']} was written from it"
            yield Event([line], {"artifact": name, "event": "child", "child": child["id"]})
    for path in artifact.file_paths(REMOVED_FILE):
        for row in _rows(path, "id", document_id):
            evidence = f" ({row['evidence']})" if row["evidence"] else ""
            lines = [f"  {row['step']}: {row['verdict']}: {row['reason']}{evidence}"]
            if row["excerpt"]:
                lines.append(f"    text: {row['excerpt'][:160]!r}")
            scores = json.loads(row["scores"])
            lines += _measured(scores, told)
            lines += _thresholds(run, artifact, {**row, **scores})
            lines += _cluster(artifacts, artifact, document_id)
            known = {key: row[key] for key in ("step", "reason", "evidence", "source", "url")}
            yield Event(lines, {"artifact": name, "event": row["verdict"], **known, "measured": scores})
    if artifact.kind == "tokens":
        yield from _token_ranges(artifact, document_id)


def _values(row: Mapping[str, Any]) -> dict[str, Any]:
    """All that is known of a kept document but its text."""
    measured = {key: value for key, value in row.items() if is_measured(key) and value is not None}
    known = {key: row.get(key) for key in ("source", "url", "date", "language", "parent", "origin")}
    return {**known, "measured": measured}


def _cluster(artifacts: Mapping[str, Artifact], artifact: Artifact, document_id: str) -> Iterator[str]:
    """Other documents that dedup compared with this one: those that lost to the same one, or to this one itself."""
    for step in artifact.steps:
        for name in step.get("side", {}).values():
            if name in artifacts and artifacts[name].kind == "duplicates":
                yield from _losers(list(artifacts[name].file_paths(DUPLICATES_FILE)), document_id)


def _losers(slices: Sequence[Path], document_id: str) -> Iterator[str]:
    lost_to = next((row["winner"] for path in slices for row in _rows(path, "id", document_id)), None)
    winner = lost_to or document_id
    # a winner that an index of earlier runs holds may be in this run as well, where it has lost to itself
    others = [("winner", "==", winner), ("id", "not in", {winner, document_id})]
    count = 0
    told: list[dict[str, Any]] = []
    for path in slices:  # one after another: a cluster may be large
        found = pq.read_table(path, columns=["id", "reason", "similarity"], filters=others)
        count += found.num_rows
        most_similar = found.sort_by([("similarity", "descending"), ("id", "ascending")]).slice(0, LOSERS_TOLD)
        told = sorted(told + most_similar.to_pylist(), key=lambda row: (-row["similarity"], row["id"]))[:LOSERS_TOLD]
    if count:
        yield f"    documents that lost to {'the same one' if lost_to else 'it'}, most similar first: {count:,}"
    for row in told:
        yield f"      {row['id']} ({row['reason']}, similarity {row['similarity']:.3f})"
    if count > len(told):
        yield f"      and {count - len(told):,} more"


def _token_ranges(artifact: Artifact, document_id: str) -> Iterator[Event]:
    name = artifact.name
    for part in artifact.parts:
        for file in part.files:
            path = artifact.file_of(part, file.path)
            if file.path.endswith(INDEX_SUFFIX):
                for row in _rows(path, "id", document_id):
                    shard, end = file.path.replace(INDEX_SUFFIX, ".bin"), row["start"] + row["tokens"]
                    place = {"shard": f"{name}/{shard}", "start": row["start"], "end": end}
                    line = f"  {name}: tokens {row['start']} to {end} of {shard}"
                    yield Event([line], {"artifact": name, "event": "tokens", **place})
            elif file.path == TAKEN_DOWN_FILE:
                for row in _rows(path, "id", document_id):
                    line = (
                        f"  {name}: taken down on {row['when']}: {row['tokens']} tokens of {row['shard']} "
                        f"(list of SHA-256 {row['list_sha256']})"
                    )
                    yield Event([line], {"artifact": name, "event": "taken down", **row})
                for row in _rows(path, "parent", document_id):
                    line = f"  {name}: {row['id']}, taken down on {row['when']}, was written from it"
                    yield Event([line], {"artifact": name, "event": "child taken down", "child": row["id"]})


def explain_offset(folder: Path, shard: str, offset: int, tick: Tick = silent) -> Story:
    """The token at an offset of a shard: the text around it, and the story of its document.

    Args:
        shard: the artifact's name and the path of a shard in it, such as tokens/web/train-00000.bin.
        offset: in tokens, from the start of the shard.

    Raises:
        RecipeError: no such shard, or it is shorter.
        StageError: the shard's index does not cover the offset.
    """
    tokens = {name: a for name, a in Run.open(folder).artifacts().items() if a.kind == "tokens"}
    name, _, path = shard.partition("/")
    if name not in tokens:
        raise RecipeError(
            f"{shard}: {name!r} is no token artifact of {folder}; there are {', '.join(tokens) or 'none'}. A shard is "
            "named as in tokens/web/train-00000.bin"
        )
    artifact = tokens[name]
    manifest = json.loads((artifact.files_folder / "tokens.json").read_bytes())
    files = {f["path"]: f for splits in manifest["sources"].values() for s in splits.values() for f in s["files"]}
    taken = artifact.files_folder / TAKEN_DOWN_FILE
    times = sorted({row["when"] for row in _rows(taken, "shard", path)}) if taken.exists() else []
    if path not in files:
        gone = f": all its documents were taken down on {', '.join(times)}" if times else ""
        raise RecipeError(f"{artifact.name} has no shard {path!r}{gone}. It has {', '.join(sorted(files)) or 'none'}")
    size = files[path]["tokens"]
    since = f" since documents were taken down from it on {', '.join(times)}" if times else ""
    if not 0 <= offset < size:
        raise RecipeError(f"{shard} holds {size:,} tokens{since}: its offsets are 0 to {size - 1}, not {offset}")
    index = pq.read_table(artifact.files_folder / path.replace(".bin", INDEX_SUFFIX), columns=["id", "start", "tokens"])
    row = int(np.searchsorted(index["start"].to_numpy(), offset, side="right")) - 1
    document = {column: index[column][row].as_py() for column in index.column_names}
    if not document["start"] <= offset < document["start"] + document["tokens"]:
        raise StageError(f"{artifact.files_folder / path}: its index names no document at {offset}; tokenize again")
    lines = [
        f"{shard}: token {offset} is number {offset - document['start']} of the {document['tokens']} of "
        f"{document['id']}"
    ]
    if times:
        lines.append(f"  offsets of this shard moved when documents were taken down from it on {', '.join(times)}")
    lines.append(f"  around it: {_around(artifact.files_folder, path, manifest['dtype'], offset, document)}")
    story = explain(folder, document["id"], tick)
    story.before = lines
    return story


def _around(tokens: Path, shard: str, dtype: str, offset: int, document: Mapping[str, Any]) -> str:
    """The token between arrows, with the text of its neighbours in its document."""
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(tokens / "tokenizer.json"))
    body = np.memmap(tokens / shard, np.dtype(dtype).newbyteorder("<"), "r")
    begin = max(document["start"], offset - TOKENS_TOLD)
    end = min(document["start"] + document["tokens"], offset + 1 + TOKENS_TOLD)
    pieces = (body[begin:offset], body[offset : offset + 1], body[offset + 1 : end])
    before, token, after = (tokenizer.decode(piece.tolist(), skip_special_tokens=False) for piece in pieces)
    return f"{before!r} >> {token!r} << {after!r}"


def _rows(path: Path, column: str, value: str) -> list[dict[str, Any]]:
    if column not in pq.read_schema(path).names:
        return []
    found: list[dict[str, Any]] = pq.read_table(path, filters=[(column, "==", value)]).to_pylist()
    return found


def _described(row: dict[str, Any]) -> str:
    origin = row.get("origin")
    where = f", from {origin['path']} at byte {origin['offset']}" if origin and origin.get("path") else ""
    url = f", {row['url']}" if row.get("url") else ""
    words = f", {len(row['text'].split())} words" if row.get("text") else ""
    return f"{where}{url}{words}"


def _measured(row: dict[str, Any], told: dict[str, Any]) -> Iterator[str]:
    new = {k: v for k, v in row.items() if is_measured(k) and v is not None and told.get(k) != v}
    told |= new
    numbers = {k: v for k, v in new.items() if not isinstance(v, list)}
    if numbers:
        shown = (f"{k}={round(v, 4) if isinstance(v, float) else v}" for k, v in sorted(numbers.items()))
        yield f"    measured: {', '.join(shown)}"
    for name in sorted(new.keys() - numbers.keys()):  # places in the text
        for place in new[name]:
            said = ", ".join(f"{k}={v}" for k, v in place.items()) if isinstance(place, dict) else place
            yield f"    {name}: {said}"


def _thresholds(run: Run, artifact: Artifact, row: dict[str, Any]) -> Iterator[str]:
    """Each rule of the artifact's filters: what was measured of the document, against what."""
    for step in decided_steps(run, artifact) if says_its_stages(artifact) else ():
        if (
            step.filter is not None
            and step.filter.rules
            and any(row.get(name) is not None for name in step.filter.measures)
        ):
            yield f"    {step.label}:"
            yield from (f"      {line}" for line in step.filter.told(row))
