"""A mix whose worker, machine or driver is killed while its swarm trains: the same bytes, and no proxy trained twice.

The swarm is three stacks of four proxies, on two raylets of one CPU each. A fault strikes the third stack, when the
other two are finished and it has a checkpoint itself.
"""

import json
import os
import signal
import socket
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import pytest
import yaml

from tests.conftest import REPOSITORY, Sluice
from tests.end_to_end.test_demo import contents
from tests.stages.training.conftest import tokenized, write_sources

pytestmark = pytest.mark.slow

PROXIES, STACK = 12, 4
STEPS = {"stacked": 400, "separate": 200}  # of each proxy, by method; the third stack then takes some seconds
LAST_STACK = "stack 3 of 3"
COMPARED = {"mix.swarm": "runs.parquet", "mix": "mix.yaml"}  # all files of these, and these among them
DEADLINE_S = 240
LOOK_EVERY_S = 0.02
T = TypeVar("T")


@dataclass(frozen=True)
class Undisturbed:
    """A recipe, and what its run gave that nothing befell."""

    recipe: Path
    method: str
    digests: dict[str, dict[str, str]]  # by artifact and file


@dataclass(frozen=True)
class Moment:
    """What there is of the swarm when a fault strikes."""

    finished: dict[str, tuple[int, int, str]]  # by proxy: its row, and what another writing of it would change
    committed: set[str]  # keys of tasks
    last: str  # key of the task that trains the last stack
    steps: int  # that this task need not take again, of all its proxies together


class WatchedRun:
    """A run in a process of its own, seen through its folder while it goes on."""

    def __init__(self, command: list[str], folder: Path, method: str) -> None:
        self.command, self.folder, self.method = command, folder, method
        self.swarm = folder / "artifacts/mix.swarm"
        self.log = folder.with_suffix(".log")
        # Names of the folders in which the swarm's tasks wrote: key and attempt.
        self.attempts: set[str] = set()
        # By key of a task, the steps that it said it had done, each time that it was looked at.
        self.told: dict[str, list[int]] = {}
        self.start()

    def start(self) -> None:
        """Give the command."""
        with self.log.open("ab") as log:
            self.driver = subprocess.Popen(self.command, stdout=log, stderr=log, cwd=REPOSITORY)

    def look(self) -> None:
        """Note what can be seen now and may be gone later."""
        self.attempts.update(path.name for path in self.swarm.glob("data/*"))
        with suppress(FileNotFoundError):  # a task has just ended
            for path in self.folder.glob("progress/mix.swarm/*.json"):
                self.told.setdefault(path.stem, []).append(json.loads(path.read_bytes())[0])

    def wait_for(self, what: Callable[[], T | None]) -> T:
        """Watch the run until this is not None.

        Raises:
            AssertionError: it was None for DEADLINE_S.
        """
        deadline = time.monotonic() + DEADLINE_S
        while (found := what()) is None:
            self.look()
            assert time.monotonic() < deadline, self.log.read_text()
            time.sleep(LOOK_EVERY_S)
        return found

    def moment(self) -> Moment | None:
        """What there is now; None before the last stack has a checkpoint and all others are finished. One of its own
        proxies is finished as well, where they are trained one after another."""
        assert self.driver.poll() is None, self.log.read_text()
        commits = [json.loads(path.read_bytes()) for path in self.swarm.glob("commits/*.json")]
        committed = {commit["key"] for commit in commits}
        open_tasks = {name.partition(".")[0] for name in self.attempts} - committed
        if sum(commit["name"].startswith("stack") for commit in commits) < 2 or not open_tasks:
            return None
        finished = self.finished()
        steps = self.steps_kept(set(finished))
        if not steps or len(finished) < PROXIES - STACK + (self.method == "separate"):
            return None
        (last,) = open_tasks
        steps += (len(finished) - (PROXIES - STACK)) * STEPS[self.method]
        return Moment(finished, committed, last, steps)

    def finished(self) -> dict[str, tuple[int, int, str]]:
        """Row of each proxy that is trained to its end, with the time and the inode of its file."""
        rows = {}
        for path in self.swarm.glob("answers/proxies/finished/*.json"):
            stat = path.stat()
            rows[path.stem] = (stat.st_mtime_ns, stat.st_ino, path.read_text())
        return rows

    def steps_kept(self, finished: set[str]) -> int:
        """Steps in the newest checkpoints of the proxies that are not finished, in sum."""
        steps = 0
        for path in self.swarm.glob("answers/proxies/unfinished/*/runs.json"):
            proxies = set(json.loads(path.read_bytes())) - finished
            taken = [int(checkpoint.stem.partition("-")[2]) for checkpoint in path.parent.glob("step-*.checkpoint")]
            steps += len(proxies) * max(taken, default=0)
        return steps

    def reach_the_last_stack(self) -> Moment:
        """Come to the middle of the last stack."""
        moment = self.wait_for(self.moment)
        (self.folder / f"progress/mix.swarm/{moment.last}.json").unlink(missing_ok=True)  # of before its checkpoint
        self.told.clear()
        return moment

    def end_as(self, undisturbed: Undisturbed, moment: Moment) -> None:
        """See that the run ends well, in the bytes of the undisturbed one, and without training anything twice."""
        assert self.wait_for(self.driver.poll) == 0, self.log.read_text()
        assert "Traceback" not in self.log.read_text()
        assert digests(self.folder) == undisturbed.digests
        assert len(self.finished()) == PROXIES
        assert moment.finished.items() <= self.finished().items()
        attempts = Counter(name.partition(".")[0] for name in self.attempts)
        assert {key: attempts[key] for key in moment.committed} == dict.fromkeys(moment.committed, 1)
        assert attempts[moment.last] == 2
        assert min(self.told[moment.last]) >= moment.steps


def digests(run: Path) -> dict[str, dict[str, str]]:
    """Of all files that the swarm and the mix gave."""
    found = {artifact: contents(run, artifact) for artifact in COMPARED}
    assert all(file in found[artifact] for artifact, file in COMPARED.items())
    return found


def recipe(folder: Path, method: str) -> Path:
    """A mix of three sources by the smallest proxies."""
    write_sources(folder)
    mix = {
        **{"stage": "mix", "from": "tokens", "runs": PROXIES, "first_runs": PROXIES, "confirm": 0},
        **{"size": "tiny", "steps": STEPS[method], "batch": 8, "evaluation_sequences": 16},
        **{"method": method, "stack": STACK, "checkpoint_every_s": 0.1},
        "target": {"tokens": 20_000, "max_epochs": 2.0},
    }
    path = folder / "recipe.yaml"
    path.write_text(yaml.safe_dump({"name": "faults", "seed": 1, "artifacts": {**tokenized(), "mix": mix}}))
    return path


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    """A Ray cluster: a head that has no CPU for tasks, where drivers are, and two raylets that may be lost."""
    from ray.cluster_utils import Cluster

    with socket.create_server(("127.0.0.1", 0)) as free_port:
        client_port = free_port.getsockname()[1]
    head = {"num_cpus": 0, "include_dashboard": False, "object_store_memory": 80 << 20}
    with pytest.MonkeyPatch.context() as patch:  # raylets hand their environment on
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        patch.setenv("OMP_WAIT_POLICY", "PASSIVE")
        made = Cluster(initialize_head=True, head_node_args={**head, "ray_client_server_port": client_port})
        for _ in range(2):
            add_raylet(made)
        yield made
        made.shutdown()


def add_raylet(cluster: Any) -> None:
    cluster.add_node(num_cpus=1, object_store_memory=80 << 20)


@pytest.fixture(scope="module", params=STEPS)
def undisturbed(request: pytest.FixtureRequest, cluster: Any, tmp_path_factory: pytest.TempPathFactory) -> Undisturbed:
    folder = tmp_path_factory.mktemp(request.param)
    path = recipe(folder, request.param)
    Sluice(cluster.address).run(path)
    return Undisturbed(path, request.param, digests(folder / "run"))


@pytest.fixture
def run(undisturbed: Undisturbed, cluster: Any, tmp_path: Path) -> Iterator[WatchedRun]:
    """Another run of the recipe, just started."""
    sluice, folder = Sluice(cluster.address), tmp_path / "run"
    command = sluice.command("run", undisturbed.recipe, "--out", folder, "--address", sluice.address)
    watched = WatchedRun(command, folder, undisturbed.method)
    yield watched
    watched.driver.kill()
    watched.driver.wait()


def worker_at_the_last_stack(cluster: Any) -> tuple[Any, int]:
    """The node on which the last stack is trained, and the process that trains it."""
    for node in cluster.worker_nodes:
        raylet = node.all_processes["raylet"][0].process.pid
        for path in Path(f"/proc/{raylet}/task").glob("*/children"):
            for worker in path.read_text().split():
                with suppress(FileNotFoundError):  # an idle worker may end at any time
                    if f"ray::mix.swarm:{LAST_STACK}" in Path(f"/proc/{worker}/cmdline").read_text():
                        return node, int(worker)
    raise AssertionError("no worker trains the last stack")


def test_a_killed_worker_loses_no_proxy_and_changes_no_byte(
    undisturbed: Undisturbed, run: WatchedRun, cluster: Any
) -> None:
    moment = run.reach_the_last_stack()
    _, worker = worker_at_the_last_stack(cluster)
    os.kill(worker, signal.SIGKILL)
    run.end_as(undisturbed, moment)


def test_a_lost_machine_loses_no_proxy_and_changes_no_byte(
    undisturbed: Undisturbed, run: WatchedRun, cluster: Any
) -> None:
    moment = run.reach_the_last_stack()
    node, _ = worker_at_the_last_stack(cluster)
    cluster.remove_node(node, allow_graceful=False)
    add_raylet(cluster)
    run.end_as(undisturbed, moment)


def test_a_killed_driver_loses_no_proxy_and_changes_no_byte(undisturbed: Undisturbed, run: WatchedRun) -> None:
    moment = run.reach_the_last_stack()
    run.driver.kill()
    run.driver.wait()
    run.start()
    run.end_as(undisturbed, moment)
