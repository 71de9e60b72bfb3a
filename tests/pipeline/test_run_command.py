"""`sluice run` over what is there already."""

import io
from pathlib import Path

import pytest
import yaml
from rich.console import Console

from pipeline.commands import run_recipe
from tests.stages.in_process import run_here, write_lines

ARTIFACTS = {
    "docs": {"stage": "json_lines", "files": "docs.jsonl"},
    "new": {"stage": "rephrase", "from": "docs", "price_in": 1.0},
}


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    """A recipe whose artifacts are all made."""
    write_lines(tmp_path / "docs.jsonl", ["one text", "another text"])
    run_here(tmp_path, ARTIFACTS)
    path = tmp_path / "recipe.yaml"
    path.write_text(yaml.safe_dump({"name": "here", "seed": 1, "artifacts": ARTIFACTS}))
    said_by_run(path)
    return path


def said_by_run(recipe: Path, *overrides: str) -> str:
    console = Console(file=io.StringIO(), width=200)
    run_recipe(recipe, overrides, recipe.parent / "run", None, console)
    return console.file.getvalue()


def test_a_second_run_does_nothing(recipe: Path) -> None:
    assert "nothing was run" in said_by_run(recipe)


def test_an_option_that_changes_no_artifact_makes_a_new_report_and_nothing_else(recipe: Path) -> None:
    commits = {path: path.stat().st_mtime_ns for path in recipe.parent.glob("run/artifacts/*/commits/*")}
    assert "nothing was run" not in said_by_run(recipe, "new.price_in=2.5")
    assert "price_in: 2.5" in (recipe.parent / "run/report.html").read_text()
    assert commits == {path: path.stat().st_mtime_ns for path in recipe.parent.glob("run/artifacts/*/commits/*")}
    assert "nothing was run" in said_by_run(recipe, "new.price_in=2.5")
