"""A cluster that an autoscaler makes larger while a run is on it."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from typing import Any

import pytest

from tests.conftest import REPOSITORY

SLOTS = """
import sys
from pipeline.runner import OnRay
on_ray = OnRay(sys.argv[1])
for _ in sys.stdin:
    on_ray.results()
    print(on_ray.slots, flush=True)
"""


@pytest.fixture
def cluster() -> Iterator[Any]:
    """A head without CPUs for tasks, and nothing else."""
    from ray.cluster_utils import Cluster

    made = Cluster(
        initialize_head=True,
        head_node_args={"num_cpus": 0, "include_dashboard": False, "object_store_memory": 80 << 20},
    )
    yield made
    made.shutdown()


def test_a_run_sees_the_machines_that_come_and_go(cluster: Any) -> None:
    environment = {**os.environ, "RAY_USAGE_STATS_ENABLED": "0", "PYTHONPATH": str(REPOSITORY)}
    command = [sys.executable, "-c", SLOTS, cluster.address]
    driver = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment)

    def slots() -> int:
        assert driver.stdin
        assert driver.stdout
        driver.stdin.write("\n")
        driver.stdin.flush()
        return int(json.loads(driver.stdout.readline()))

    def becomes(number: int) -> bool:
        deadline = time.monotonic() + 60
        while slots() != number:
            if time.monotonic() > deadline:
                return False
            time.sleep(0.1)
        return True

    try:
        assert slots() == 1  # one part waits, which an autoscaler sees
        machines = [cluster.add_node(num_cpus=2, object_store_memory=80 << 20) for _ in range(2)]
        assert becomes(4)
        cluster.remove_node(machines[0], allow_graceful=False)
        assert becomes(2)
    finally:
        driver.kill()
        driver.communicate()
