"""Processes that serve the tasks of a stage, on a Ray cluster of two raylets."""

import os
import subprocess
import sys
import time
from pathlib import Path

from tests.conftest import REPOSITORY, Sluice
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


TASKS_HOLD_ALL_CORES = """
import sys, time
from functools import partial
from pathlib import Path
import ray
from pipeline.services import started_on_ray
from pipeline.stage import Service
from tests.faults.stages import Echo

ray.init(address=sys.argv[1], log_to_driver=False)
held = [Path(sys.argv[2]) / str(i) for i in range(int(ray.cluster_resources()["CPU"]))]

@ray.remote(num_cpus=1)
def hold(path):
    path.touch()
    time.sleep(60)

tasks = [hold.remote(path) for path in held]
while not all(path.exists() for path in held):
    time.sleep(0.05)
nodes = [node["Resources"] for node in ray.nodes()]
(process,) = started_on_ray(Service(partial(Echo, Path(sys.argv[2]) / "died")), nodes)
print(process.call("answer", "there"), flush=True)
process.close()
"""


def test_a_process_starts_while_tasks_that_may_wait_for_it_hold_all_cores(tmp_path: Path, ray_address: str) -> None:
    command = [sys.executable, "-c", TASKS_HOLD_ALL_CORES, ray_address, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=45, cwd=REPOSITORY)
    assert done.stdout.startswith("there "), done.stderr
