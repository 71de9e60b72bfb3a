"""Processes that serve the tasks of a stage, on a Ray cluster of two raylets."""

import os
import time
from pathlib import Path

from tests.conftest import Sluice
from tests.faults.test_runs import PARTS, documents, write_recipe


def test_one_process_serves_all_tasks_comes_back_when_it_dies_and_ends_with_its_stage(
    tmp_path: Path, sluice: Sluice
) -> None:
    marker = tmp_path / "died"
    recipe = write_recipe(tmp_path, f'"tests.faults.stages:AsksItsService": {{marker: {marker}}}')
    sluice.run(recipe)
    assert marker.exists()
    answers = [text.rsplit(" ", 1) for _, text in documents(tmp_path / "run")]
    assert len(answers) == 3 * PARTS + 1
    pids = {int(pid) for _, pid in answers}
    assert len(pids) <= 2, "the process before its death, and the one after it"
    ends = time.monotonic() + 20
    while any(Path(f"/proc/{pid}").exists() for pid in pids):
        assert time.monotonic() < ends, "the process outlives the stage that it served"
        time.sleep(0.05)
    assert os.getpid() not in pids


def test_what_a_service_raises_reaches_the_user(tmp_path: Path, sluice: Sluice) -> None:
    recipe = write_recipe(
        tmp_path, f'"tests.faults.stages:AsksItsService": {{marker: {tmp_path / "died"}}}', ["refused"]
    )
    assert "the service refuses this" in sluice.run(recipe, status=3)
