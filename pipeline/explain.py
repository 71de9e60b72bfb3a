"""What became of one document, and why: read from the run's artifacts."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from pipeline.artifact import DOCUMENTS_FILE, REMOVED_FILE, Artifact
from pipeline.errors import RecipeError
from pipeline.rethreshold import decided_steps, says_its_stages
from pipeline.run import Run
from pipeline.stage import is_measured

DUPLICATES_FILE = "duplicates.parquet"  # in the slices of artifacts of kind "duplicates"
LOSERS_TOLD = 20


def explain(folder: Path, document_id: str) -> str:
    """The story of one document, a line for each stage that saw it.

    Raises:
        RecipeError: no stage of this run has seen a document of this id.
    """
    run = Run.open(folder)
    artifacts = run.artifacts()
    told: dict[str, Any] = {}
    lines = [line for artifact in artifacts.values() for line in _lines(run, artifacts, artifact, document_id, told)]
    if not lines:
        raise RecipeError(
            f"no document {document_id!r} in {folder}: ids look like <source>/<file>@<offset>; the report's samples "
            "and the documents.parquet files show them"
        )
    return "\n".join([document_id, *lines])


def _lines(
    run: Run, artifacts: Mapping[str, Artifact], artifact: Artifact, document_id: str, told: dict[str, Any]
) -> Iterator[str]:
    """What one artifact knows; ``told`` are the measurements that the reader has seen already."""
    for path in artifact.file_paths(DOCUMENTS_FILE):
        for row in _rows(path, "id", document_id):
            if "." not in artifact.name:  # private to a composite
                yield f"  {artifact.name}: kept{_described(row)}"
                yield from _measured(row, told)
                yield from _thresholds(run, artifact, row)
                yield from _cluster(artifacts, artifact, document_id)
        for child in _rows(path, "parent", document_id):
            yield f"  {artifact.name}: {child['id']} was written from it"
    for path in artifact.file_paths(REMOVED_FILE):
        for row in _rows(path, "id", document_id):
            evidence = f" ({row['evidence']})" if row["evidence"] else ""
            yield f"  {row['step']}: {row['verdict']}: {row['reason']}{evidence}"
            if row["excerpt"]:
                yield f"    text: {row['excerpt'][:160]!r}"
            scores = json.loads(row["scores"])
            yield from _measured(scores, told)
            yield from _thresholds(run, artifact, {**row, **scores})
            yield from _cluster(artifacts, artifact, document_id)
    if artifact.kind == "tokens":
        yield from _token_ranges(artifact, document_id)


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


def _token_ranges(artifact: Artifact, document_id: str) -> Iterator[str]:
    for part in artifact.parts:
        for file in part.files:
            if file.path.endswith(".documents.parquet"):
                for row in _rows(artifact.folder / part.folder / file.path, "id", document_id):
                    shard = file.path.replace(".documents.parquet", ".bin")
                    yield f"  {artifact.name}: tokens {row['start']} to {row['start'] + row['tokens']} of {shard}"


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
