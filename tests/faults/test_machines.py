"""Machines that come and go, lack memory, or do not know the time: the same bytes, or an end that says what to do.

Each test has a Ray cluster of its own: a head without CPUs, where the driver is, and raylets as machines.
"""

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from tests.conftest import REPOSITORY, Sluice
from tests.manifests import name_of, parts_of
from tests.servers import Fault, faulty_server

FILES = 12
WORDS = ["the", "of", "and", "to", "that", "be", "with", "have", *(f"word{i}" for i in range(30))]
LIMIT_S = 240
Contents = dict[str, list[tuple[str, list[str], Any]]]


def write_recipe(folder: Path, more: str = "", seconds: float = 0.5) -> Path:
    """Twelve files of documents, some of them twice, which take a while each; filters, dedup, token shards."""
    chance = random.Random(1)
    texts = [" ".join(chance.choices(WORDS, k=40)) for _ in range(300)]
    for number in range(FILES):
        lines = [json.dumps({"text": chance.choice(texts)}) for _ in range(40)]
        (folder / f"docs-{number:02}.jsonl").write_text("\n".join(lines) + "\n")
    slow = f"'tests.faults.stages:TakesItsTime': {{seconds: {seconds}}}"
    (folder / "recipe.yaml").write_text(
        "name: machines\nartifacts:\n  docs: {stage: json_lines, files: docs-*.jsonl}\n"
        f"  kept: {{from: docs, chain: [{{{slow}}}, {more} {{gopher_quality: {{min_words: 30}}}}]}}\n"
        "  unique: {stage: dedup, from: kept}\n  tokens: {stage: tokenize, from: unique, vocabulary: 280}\n"
    )
    return folder / "recipe.yaml"


def contents(run: Path) -> Contents:
    """By artifact its parts: name, digests of files, ledger."""
    found: Contents = {}
    for path in run.glob("artifacts/*/manifests/*.jsonl"):
        manifest = path.read_bytes()
        found[name_of(manifest)] = [
            (part["name"], [file["sha256"] for file in part["files"]], part["ledger"]) for part in parts_of(manifest)
        ]
    return found


@contextmanager
def cluster(workers: int, environment: dict[str, str] | None = None, **raylet: Any) -> Iterator[Any]:
    """A head without CPUs and so many raylets of one."""
    from ray.cluster_utils import Cluster

    head = {"num_cpus": 0, "include_dashboard": False, "object_store_memory": 80 << 20}
    with pytest.MonkeyPatch.context() as patch:  # raylets hand their environment on
        given = {"RAY_USAGE_STATS_ENABLED": "0", "OMP_WAIT_POLICY": "PASSIVE", "PYTHONPATH": str(REPOSITORY)}
        for name, value in (given | (environment or {})).items():
            patch.setenv(name, value)
        made = Cluster(initialize_head=True, head_node_args=head)
        for _ in range(workers):
            made.add_node(**({"num_cpus": 1, "object_store_memory": 80 << 20} | raylet))
        try:
            yield made
        finally:
            made.shutdown()


class Driver:
    """`sluice run` under way."""

    def __init__(self, address: str, recipe: Path, run: Path) -> None:
        self.run, self.log = run, run.with_suffix(".log")
        command = Sluice(address).command("run", recipe, "--out", run, "--address", address)
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(command, stdout=log, stderr=log, cwd=REPOSITORY)

    def wait_for_parts(self, count: int, artifact: str = "kept") -> None:
        self._wait(lambda: len(list((self.run / f"artifacts/{artifact}/commits").glob("*.json"))) >= count)

    def _wait(self, condition: Callable[[], bool]) -> None:
        deadline = time.monotonic() + LIMIT_S
        while not condition():
            assert self.process.poll() is None, self.log.read_text()
            assert time.monotonic() < deadline, self.log.read_text()
            time.sleep(0.05)

    def end(self, status: int = 0) -> str:
        """Wait for the end; returns what was printed."""
        try:
            found = self.process.wait(LIMIT_S)
        finally:
            self.process.kill()
        output = self.log.read_text()
        assert found == status, output
        assert "Traceback" not in output, output
        return output


@pytest.fixture(scope="module")
def recipe(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_recipe(tmp_path_factory.mktemp("recipe"))


@pytest.fixture(scope="module")
def undisturbed(recipe: Path, ray_address: str) -> Contents:
    Sluice(ray_address).run(recipe)
    found = contents(recipe.parent / "run")
    assert {"kept", "unique", "tokens"} <= found.keys()
    return found


@pytest.mark.slow
@pytest.mark.parametrize("workers", [1, 3])
def test_a_machine_is_lost_and_another_comes(workers: int, recipe: Path, undisturbed: Contents, tmp_path: Path) -> None:
    with cluster(workers) as machines:
        driver = Driver(machines.address, recipe, tmp_path / "run")
        driver.wait_for_parts(3)
        machines.remove_node(next(iter(machines.worker_nodes)), allow_graceful=False)
        machines.add_node(num_cpus=1, object_store_memory=80 << 20)
        driver.end()
    assert contents(tmp_path / "run") == undisturbed


@pytest.mark.slow
@pytest.mark.parametrize("workers", [1, 3])
def test_a_machine_that_was_given_notice_is_left_and_then_lost(
    workers: int, recipe: Path, undisturbed: Contents, tmp_path: Path
) -> None:
    with cluster(workers) as machines:
        driver = Driver(machines.address, recipe, tmp_path / "run")
        driver.wait_for_parts(3)
        going = next(iter(machines.worker_nodes))
        subprocess.run(
            [
                *(Path(sys.executable).parent / "ray", "drain-node", "--address", machines.address),
                *("--node-id", going.node_id, "--reason", "DRAIN_NODE_REASON_PREEMPTION"),
                *("--reason-message", "spot", "--deadline-remaining-seconds", "5"),
            ],
            check=True,
            capture_output=True,
        )
        machines.add_node(num_cpus=1, object_store_memory=80 << 20)
        time.sleep(5)
        machines.remove_node(going, allow_graceful=False)
        driver.end()
    assert contents(tmp_path / "run") == undisturbed
    events = [json.loads(line) for line in (tmp_path / "run/log.jsonl").read_text().splitlines()]
    assert not any(event["event"] == "part_failed" for event in events)


@pytest.mark.slow
def test_a_head_that_is_lost_ends_the_run_and_another_cluster_goes_on(undisturbed: Contents, tmp_path: Path) -> None:
    recipe = write_recipe(tmp_path, seconds=15)  # tasks that are under way go on without a head, for a while
    with cluster(2) as machines:
        driver = Driver(machines.address, recipe, tmp_path / "run")
        driver.wait_for_parts(3)
        machines.head_node.kill_gcs_server()
        output = driver.end(status=3)
        assert "the head of the Ray cluster has not answered for" in output
        assert "give the same command again" in output
    done = len(list((tmp_path / "run/artifacts/kept/commits").glob("*.json")))
    assert done < FILES
    with cluster(2) as machines:
        output = Driver(machines.address, recipe, tmp_path / "run").end()
    assert f"{done} of {FILES} parts are there already" in output
    assert contents(tmp_path / "run") == undisturbed


@pytest.mark.slow
@pytest.mark.parametrize(("before", "after"), [(1, 3), (3, 1)])
def test_another_number_of_workers_after_a_kill_changes_nothing(
    before: int, after: int, recipe: Path, undisturbed: Contents, tmp_path: Path
) -> None:
    with cluster(before) as machines:
        driver = Driver(machines.address, recipe, tmp_path / "run")
        driver.wait_for_parts(3)
        os.kill(driver.process.pid, signal.SIGKILL)
        driver.process.wait()
    with cluster(after) as machines:
        assert "parts are there already" in Driver(machines.address, recipe, tmp_path / "run").end()
    assert contents(tmp_path / "run") == undisturbed


def memory_threshold(more_bytes: int) -> str:
    """The share of the machine's memory above which Ray ends tasks, so much above what is used now."""
    lines = Path("/proc/meminfo").read_text().splitlines()
    kilobytes = {line.partition(":")[0]: int(line.split()[1]) for line in lines}
    return str(1 - (kilobytes["MemAvailable"] - (more_bytes >> 10)) / kilobytes["MemTotal"])


@pytest.mark.slow
def test_tasks_that_together_take_too_much_memory_run_one_after_another(tmp_path: Path) -> None:
    hungry = "'tests.faults.stages:TakesMemory': {document: hungry, megabytes: 2000, seconds: 4}"
    recipe = write_recipe(tmp_path, f"{{{hungry}}},", seconds=0)
    for number in range(2):
        (tmp_path / f"docs-{number:02}.jsonl").write_text('{"text": "hungry"}\n')
    environment = {"RAY_memory_usage_threshold": memory_threshold(3500 << 20)}
    with cluster(1, environment, num_cpus=2, memory=3 << 30) as machines:
        driver = Driver(machines.address, recipe, tmp_path / "run")
        driver.end()
    events = [json.loads(line) for line in (tmp_path / "run/log.jsonl").read_text().splitlines()]
    lost = [event["cause"] for event in events if event["event"] == "attempt_lost"]
    assert set(lost) == {"OutOfMemoryError"}
    ledgers = [ledger for _, _, ledger in contents(tmp_path / "run")["kept"]]
    assert not any(counts["failed"] for ledger in ledgers for sources in ledger.values() for counts in sources.values())


@pytest.mark.slow
def test_a_document_that_no_machine_has_memory_for_goes_to_the_ledger(tmp_path: Path) -> None:
    hungry = "'tests.faults.stages:TakesMemory': {document: hungry, megabytes: 7000, seconds: 4}"
    recipe = write_recipe(tmp_path, f"{{{hungry}}},", seconds=0)
    with (tmp_path / "docs-05.jsonl").open("a") as file:
        file.write('{"text": "hungry"}\n')
    environment = {"RAY_memory_usage_threshold": memory_threshold(3500 << 20)}
    with cluster(1, environment, memory=2 << 30) as machines:
        Driver(machines.address, recipe, tmp_path / "run").end()
    ledgers = [ledger for _, _, ledger in contents(tmp_path / "run")["kept"]]
    failed = [counts["failed"] for ledger in ledgers for sources in ledger.values() for counts in sources.values()]
    assert [found for found in failed if found] == [{"out_of_memory": 1}]
    paths = (tmp_path / "run/artifacts/kept/data").glob("*/removed.parquet")
    (row,) = [row for path in paths for row in pq.read_table(path).to_pylist() if row["verdict"] == "failed"]
    assert (row["excerpt"], row["evidence"]) == ("hungry", "took more than 2,147 MB of memory")


CLOCK = """
#define _GNU_SOURCE
#include <dlfcn.h>
#include <sys/time.h>
#include <time.h>
int clock_gettime(clockid_t clock, struct timespec *now) {
    int (*real)(clockid_t, struct timespec *) = dlsym(RTLD_NEXT, "clock_gettime");
    int status = real(clock, now);
    if (clock == CLOCK_REALTIME) now->tv_sec += 3600;
    return status;
}
int gettimeofday(struct timeval *now, void *zone) {
    struct timespec precise;
    clock_gettime(CLOCK_REALTIME, &precise);
    now->tv_sec = precise.tv_sec;
    now->tv_usec = precise.tv_nsec / 1000;
    return 0;
}
"""


def an_hour_ahead(folder: Path) -> Path:
    """A library that puts the clock of the processes which load it an hour forward; sleeping is as always."""
    compiler = shutil.which("cc")
    if compiler is None:
        pytest.skip("needs a C compiler (cc)")
    (folder / "clock.c").write_text(CLOCK)
    library = folder / "clock.so"
    subprocess.run([compiler, "-shared", "-fPIC", "-o", library, folder / "clock.c", "-ldl"], check=True)
    told = [sys.executable, "-c", "import time; print(time.time())"]
    found = subprocess.run(told, env=os.environ | {"LD_PRELOAD": str(library)}, capture_output=True, check=True)
    assert 3590 < float(found.stdout) - time.time() < 3610
    return library


@pytest.mark.slow
def test_a_machine_whose_clock_is_an_hour_ahead_changes_nothing(tmp_path: Path, recipe: Path) -> None:
    """Tasks of both read from a server that complains, and note for each other how long it asked them to wait."""
    files = {path.name: path.read_bytes() for path in sorted(recipe.parent.glob("docs-*.jsonl"))}
    chance = random.Random(3)
    busy = Fault("status", headers={"Retry-After": "1"})
    with faulty_server(files) as server, cluster(1) as machines:
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("LD_PRELOAD", str(an_hour_ahead(tmp_path)))
            machines.add_node(num_cpus=1, object_store_memory=80 << 20)
        found = []
        for name in ("quiet", "complaining"):
            (tmp_path / name).mkdir()
            urls = [f"{server.url}/{name}" for name in files]
            text = recipe.read_text().replace("files: docs-*.jsonl", f"files: {json.dumps(urls)}")
            (tmp_path / name / "recipe.yaml").write_text(text)
            server.choose = (lambda _: busy if chance.random() < 0.2 else None) if name == "complaining" else None
            Driver(machines.address, tmp_path / name / "recipe.yaml", tmp_path / name / "run").end()
            found.append(contents(tmp_path / name / "run"))
    assert found[0] == found[1]
