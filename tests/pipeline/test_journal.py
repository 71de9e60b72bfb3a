"""What a run tells programs: its log, line by line, and its counters."""

import json
from collections import Counter
from pathlib import Path
from typing import Any

from tests.conftest import Sluice
from tests.faults.test_runs import PARTS, write_recipe


def lines_of(run: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]


def test_each_part_is_told_with_its_stage_attempt_and_figures(tmp_path: Path, sluice: Sluice) -> None:
    sluice.run(write_recipe(tmp_path, '"tests.faults.stages:DropsShort"'))
    lines = lines_of(tmp_path / "run")
    assert Counter(line["event"] for line in lines) == {
        "part_handed_out": PARTS,
        "part_committed": PARTS,
        "artifact_sealed": 1,
    }
    assert all((line["run"], line["level"], line["stage"]) == ("faults", "info", "kept") for line in lines)
    assert [line["time"] for line in lines] == sorted(line["time"] for line in lines)
    for line in lines:
        if line["event"] == "part_committed":
            record = json.loads((tmp_path / f"run/artifacts/kept/commits/{line['key']}.json").read_text())
            assert (line["part"], line["attempt"], line["seconds"]) == (record["name"], 1, record["seconds"])
            assert line["size_bytes"] == sum(file["size_bytes"] for file in record["files"]) > 0
    assert lines[-1]["parts"] == PARTS
    assert "nothing was run" in sluice.run(tmp_path / "recipe.yaml")
    assert lines_of(tmp_path / "run") == lines


def test_a_worker_that_died_is_told_with_its_attempt_and_the_next(tmp_path: Path, sluice: Sluice) -> None:
    sluice.run(write_recipe(tmp_path, f'"tests.faults.stages:KillsItsWorkerOnce": {{marker: {tmp_path}/died}}'))
    lines = lines_of(tmp_path / "run")
    (lost,) = [line for line in lines if line["event"] == "attempt_lost"]
    assert (lost["level"], lost["attempt"], lost["cause"]) == ("warning", 1, "WorkerCrashedError")
    (made,) = [line for line in lines if line["event"] == "part_committed" and line["key"] == lost["key"]]
    assert made["attempt"] == 2


def test_a_part_that_ends_the_run_is_told_and_going_on_appends(tmp_path: Path, sluice: Sluice) -> None:
    recipe = write_recipe(tmp_path, '"tests.faults.stages:HasABug"')
    sluice.run(recipe, status=1)
    before = lines_of(tmp_path / "run")
    (failed,) = [line for line in before if line["event"] == "part_failed"]
    assert failed["level"] == "error"
    assert "ZeroDivisionError: one over nothing" in failed["message"]
    sluice.run(recipe, status=1)
    assert lines_of(tmp_path / "run")[: len(before)] == before
    assert len(lines_of(tmp_path / "run")) > len(before)
