"""What became of one document, and why: read from the run's artifacts."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from pipeline.artifact import DOCUMENTS_FILE, REMOVED_FILE, Artifact
from pipeline.errors import RecipeError
from pipeline.run import Run
from pipeline.stage import is_measured


def explain(folder: Path, document_id: str) -> str:
    """The story of one document, a line for each stage that saw it.

    Raises:
        RecipeError: no stage of this run has seen a document of this id.
    """
    run = Run.open(folder)
    lines = [line for artifact in run.artifacts().values() for line in _lines(artifact, document_id)]
    if not lines:
        raise RecipeError(
            f"no document {document_id!r} in {folder}: ids look like <source>/<file>@<offset>; the report's samples "
            "and the documents.parquet files show them"
        )
    return "\n".join([document_id, *lines])


def _lines(artifact: Artifact, document_id: str) -> Iterator[str]:
    for path in artifact.file_paths(DOCUMENTS_FILE):
        for row in _rows(path, "id", document_id):
            yield f"  {artifact.name}: kept{_described(row)}"
        for child in _rows(path, "parent", document_id):
            yield f"  {artifact.name}: {child['id']} was written from it"
    for path in artifact.file_paths(REMOVED_FILE):
        for row in _rows(path, "id", document_id):
            evidence = f" ({row['evidence']})" if row["evidence"] else ""
            yield f"  {row['step']}: {row['verdict']}: {row['reason']}{evidence}"
            if row["excerpt"]:
                yield f"    text: {row['excerpt'][:160]!r}"
            if scores := json.loads(row["scores"]):
                yield f"    measured: {_measured(scores)}"
    if artifact.kind == "tokens":
        yield from _token_ranges(artifact, document_id)


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
    scores = {name: value for name, value in row.items() if is_measured(name) and value is not None}
    measured = f"\n    measured: {_measured(scores)}" if scores else ""
    return f"{where}{url}{words}{measured}"


def _measured(scores: dict[str, Any]) -> str:
    return ", ".join(f"{k}={round(v, 4) if isinstance(v, float) else v}" for k, v in sorted(scores.items()))
