"""Runs a shuffle without Ray and without a run: plan and work, phase by phase, as the scheduler does."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from pipeline.artifact import DOCUMENTS_FILE, Artifact, Part, Phase, digest_of, file_record
from pipeline.ledger import Ledger
from pipeline.stage import Context, Shuffle, Task
from pipeline.task import PartWriter


def documents_artifact(name: str, tables: Sequence[pa.Table], folder: Path) -> Artifact:
    """A sealed artifact of documents, a part a table."""
    home = folder / "artifacts" / name
    parts = []
    for i, table in enumerate(tables):
        attempt = home / "data" / f"p{i}"
        attempt.mkdir(parents=True)
        with PartWriter(attempt / DOCUMENTS_FILE) as writer:
            if table.num_rows:
                writer.write(table)
        files = (file_record(attempt, writer.path, writer.rows),) if writer.rows else ()
        key = digest_of([name, i, [f.sha256 for f in files]])[:32]
        parts.append(Part(key, f"part {i}", f"data/p{i}", files, Ledger()))
    return Artifact(name, "documents", digest_of(name), home, (), {}, tuple(parts))


def run_shuffle(
    stage: Shuffle[Any], inputs: Mapping[str, Sequence[Artifact]], folder: Path, name: str = "shuffled", seed: int = 1
) -> Artifact:
    """All phases of a shuffle, each task in a folder of its own; the artifact of its kept parts."""
    home = folder / "artifacts" / name
    phases: list[Phase] = []
    kept: list[Part] = []
    while tasks := stage.plan(inputs, phases):
        assert len({task.phase for task in tasks}) == 1
        assert len({task.name for task in tasks}) == len(tasks)
        parts = [_part(stage, task, home, seed) for task in tasks]
        kept += [part for task, part in zip(tasks, parts, strict=True) if task.is_kept]
        phases.append(Phase(tasks[0].phase, home, tuple(parts)))
    costs = tuple(phase.costs() for phase in phases)
    return Artifact(name, stage.produces, digest_of(name), home, (), {}, tuple(kept), phases=costs)


def _part(stage: Shuffle[Any], task: Task, home: Path, seed: int) -> Part:
    key = digest_of([task.phase, task.name, task.content, task.arguments])[:32]
    attempt = home / "data" / key
    attempt.mkdir(parents=True)
    result = stage.work(task, attempt, Context(seed=seed))
    files = tuple(file_record(attempt, path) for path in sorted(attempt.rglob("*")) if path.is_file())
    return Part(key, task.name, f"data/{key}", files, Ledger(), result.summary)
