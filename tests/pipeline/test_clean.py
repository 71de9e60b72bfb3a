"""What `sluice clean` removes from a run in a folder, and what it must not touch."""

import json
from pathlib import Path

import pytest
from rich.console import Console

from pipeline.clean import clean
from pipeline.commands import stage_progress
from pipeline.errors import StageError
from pipeline.executors import InProcess
from pipeline.graph import build_graph
from pipeline.progress import Display
from pipeline.recipe import load_recipe
from pipeline.run import InputDigests, Run
from pipeline.runner import Scheduler

RECIPE = "name: small\nartifacts:\n  docs: {stage: json_lines, files: docs-*.jsonl}\n"


def finished_run(folder: Path) -> Run:
    """A run of two parts."""
    for number in range(2):
        (folder / f"docs-{number}.jsonl").write_text(json.dumps({"text": f"text {number}"}) + "\n")
    (folder / "recipe.yaml").write_text(RECIPE)
    graph = build_graph(load_recipe(folder / "recipe.yaml", []))
    run = Run(folder / "run")
    run.begin(graph, {})
    display = Display(Console(quiet=True), stage_progress(graph, {}))
    Scheduler(run, graph, {}, InputDigests(run.folder), display).execute(InProcess())
    return run


def put(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"12345")
    return path


def files(run: Run) -> set[Path]:
    return {path for path in run.folder.rglob("*") if path.is_file() and path.name != ".lock"}


def test_what_killed_processes_left_is_removed_and_nothing_else(tmp_path: Path) -> None:
    run = finished_run(tmp_path)
    before = files(run)
    artifact = run.folder / "artifacts/docs"
    key = next(artifact.glob("commits/*.json")).stem
    resumable = put(artifact / "work/0000.checkpoint/step-1")
    leftovers = {
        "attempt": [artifact / f"data/{key}.00000000", artifact / "data/ffff.11111111"],
        "checkpoint": [artifact / f"work/{key}"],
        "temporary file": [run.folder / ".run.json.0123abcd", artifact / "commits/.abc.json.89abcdef"],
        "note": [run.folder / "progress/stop-01234567"],
    }
    empty = artifact / "data/eeee.22222222"
    empty.mkdir()
    for kind, paths in leftovers.items():
        for path in paths:
            put(path / "a/file" if kind in ("attempt", "checkpoint") else path)
    wanted = {(kind, path, 5) for kind, paths in leftovers.items() for path in paths} | {("attempt", empty, 0)}
    assert {(one.kind, one.path, one.size_bytes) for one in clean(run, 0, dry_run=True)} == wanted
    assert {(one.kind, one.path, one.size_bytes) for one in clean(run, 0)} == wanted
    assert not empty.exists()
    assert files(run) == before | {resumable}
    assert clean(run, 0) == []


def test_a_run_at_work_is_left_alone(tmp_path: Path) -> None:
    run = finished_run(tmp_path)
    attempt = put(run.folder / "artifacts/docs/data/ffff.11111111/documents.parquet")
    with run.at_work(), pytest.raises(StageError, match="another command is at work"):
        clean(run, 0)
    assert attempt.exists()
