"""A cluster that an autoscaler makes larger while a run is on it."""

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
from pipeline import executors
from pipeline.supervision import Supervision
executors.LOOK_EVERY_S = 0.2
on_ray = executors.OnRay(sys.argv[1], Supervision())
for _ in sys.stdin:
    on_ray.results()
    print("slots", on_ray.slots, flush=True)
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


class Driver:
    """A driver on a cluster, asked for how many parts it finds room."""

    def __init__(self, address: str) -> None:
        environment = {**os.environ, "RAY_USAGE_STATS_ENABLED": "0", "PYTHONPATH": str(REPOSITORY)}
        self.process = subprocess.Popen(
            [sys.executable, "-c", SLOTS, address],
            **{"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True, "env": environment},
        )

    def slots(self) -> int:
        assert self.process.stdin
        assert self.process.stdout
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        told = iter(self.process.stdout.readline, "")  # Ray tells of lost machines there too
        return int(next(line for line in told if line.startswith("slots ")).split()[1])

    def finds(self, slots: int) -> bool:
        deadline = time.monotonic() + 60
        while self.slots() != slots:
            if time.monotonic() > deadline:
                return False
            time.sleep(0.1)
        return True


@pytest.fixture
def driver(cluster: Any) -> Iterator[Driver]:
    made = Driver(cluster.address)
    yield made
    made.process.kill()
    made.process.communicate()


def test_parts_wait_on_an_empty_cluster_and_use_the_machines_that_come(cluster: Any, driver: Driver) -> None:
    assert driver.slots() == 1  # a part waits, which an autoscaler sees
    for _ in range(2):
        cluster.add_node(num_cpus=2, object_store_memory=80 << 20)
    assert driver.finds(4)


@pytest.mark.slow
def test_no_more_parts_wait_than_the_machines_that_are_left_are_good_for(cluster: Any, driver: Driver) -> None:
    machines = [cluster.add_node(num_cpus=2, object_store_memory=80 << 20) for _ in range(2)]
    assert driver.finds(4)
    cluster.remove_node(machines[0], allow_graceful=False)
    assert driver.finds(2)
