"""Recipes and documents run in the test's own process, through the real graph, tasks and commits."""

import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
from rich.console import Console

from pipeline.artifact import DOCUMENTS_FILE, Artifact, ArtifactFolder, Part, file_record
from pipeline.executors import InProcess
from pipeline.graph import build_graph
from pipeline.ledger import Counts, Ledger
from pipeline.progress import Display
from pipeline.recipe import recipe_of
from pipeline.run import InputDigests, Run
from pipeline.runner import Scheduler, sealed_artifacts, stage_progress
from pipeline.stage import documents
from pipeline.task import PartWriter


def write_lines(path: Path, rows: Sequence[str | Mapping[str, Any]]) -> Path:
    """A JSON Lines file of texts, or of whole rows."""
    lines = [json.dumps({"text": row} if isinstance(row, str) else row, ensure_ascii=False) for row in rows]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(line + "\n" for line in lines), encoding="utf-8")
    return path


def run_here(folder: Path, artifacts: Mapping[str, Any], seed: int = 1) -> dict[str, Artifact]:
    """Run a recipe to its end, going on from what `folder` holds; the sealed artifacts by name."""
    values = {"name": "here", "seed": seed, "artifacts": dict(artifacts)}
    graph = build_graph(recipe_of(folder / "recipe.yaml", values))
    run = Run(folder / "run")
    digests = InputDigests(run.folder)
    sealed = sealed_artifacts(run, graph, digests)
    run.begin(graph, {})
    run.state.artifacts.update({name: artifact.fingerprint for name, artifact in sealed.items()})
    run.save_state()
    display = Display(Console(file=io.StringIO()), stage_progress(graph, sealed))
    Scheduler(run, graph, sealed, digests, display).execute(InProcess())
    return sealed


def rows_of(artifact: Artifact) -> list[dict[str, Any]]:
    """All documents of an artifact, in part order."""
    return [row for table in artifact.tables() for row in table.to_pylist()]


def removed_from(artifact: Artifact) -> list[dict[str, Any]]:
    """All removals of an artifact, in part order."""
    return [row for table in artifact.removed() for row in table.to_pylist()]


def texts(texts_by_id: Mapping[str, str | None], source: str = "web") -> pa.Table:
    """A batch of documents."""
    return documents([{"id": i, "text": text, "source": source} for i, text in texts_by_id.items()])


def artifact_of(folder: Path, name: str, parts: Sequence[pa.Table]) -> Artifact:
    """A documents artifact whose parts hold these tables."""
    storage = ArtifactFolder(folder, name)
    committed = []
    for i, table in enumerate(parts):
        attempt = storage.new_attempt(str(i))
        with PartWriter(attempt / DOCUMENTS_FILE) as writer:
            writer.write(table)
        ledger = Ledger()
        for source in table["source"].to_pylist():
            ledger.counts(name, source).add(Counts(created=1, kept=1))
        relative = attempt.relative_to(storage.folder).as_posix()
        files = (file_record(attempt, writer.path, writer.rows),)
        committed.append(storage.commit(Part(str(i), f"part {i}", relative, files, ledger)))
    return Artifact(name, "documents", name, storage.folder, ({"label": name},), {}, tuple(committed))


def artifact_of_files(files: Path, name: str, kind: str, summary: Mapping[str, Any]) -> Artifact:
    """An artifact of a global stage that wrote its files into `files`."""
    records = tuple(file_record(files, path) for path in sorted(files.rglob("*")) if path.is_file())
    part = Part("all", "all", files.name, records, Ledger(), summary)
    return Artifact(name, kind, name, files.parent, (), {}, (part,))
