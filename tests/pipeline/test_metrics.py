"""Figures for Prometheus: equal to the ledger, and those that the dashboard asks for."""

import importlib.util
import json
import os
import re
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipeline.metrics import COUNTERS
from tests.conftest import REPOSITORY, Sluice
from tests.faults.test_runs import PARTS, write_recipe
from tests.manifests import parts_of

DASHBOARD = REPOSITORY / "deploy/grafana/sluice.json"
OWN_TAGS = ("run", "stage", "step", "source", "outcome", "reason", "cause")
Samples = dict[tuple[str, tuple[tuple[str, str], ...]], float]


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[tuple[Sluice, str]]:
    """The command line on a cluster of its own, and the address of its metrics."""
    if importlib.util.find_spec("opentelemetry") is None:
        pytest.skip("Ray has no metrics endpoint here: ray[default] is not installed")
    from ray.cluster_utils import Cluster

    os.environ["PYTHONPATH"] = str(REPOSITORY)
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with socket.create_server(("127.0.0.1", 0)) as free:
        client_port = free.getsockname()[1]
    head = {"num_cpus": 2, "include_dashboard": False, "object_store_memory": 80 << 20, "metrics_export_port": port}
    head |= {"ray_client_server_port": client_port, "_system_config": {"metrics_report_interval_ms": 1000}}
    started = Cluster(initialize_head=True, head_node_args=head)
    yield Sluice(started.address), f"http://127.0.0.1:{port}/metrics"
    started.shutdown()


def samples_at(url: str) -> Samples:
    """Value of each of Sluice's counters, by name and by those tags that Sluice gives it."""
    try:
        text = urllib.request.urlopen(url, timeout=10).read().decode()
    except urllib.error.URLError:  # the agent takes some seconds to start
        return {}
    found: Samples = {}
    for name, tags, value in re.findall(r"^ray_(sluice_\w+)\{(.*)\} (\S+)$", text, re.MULTILINE):
        own = tuple(sorted((k, v) for k, v in re.findall(r'(\w+)="([^"]*)"', tags) if k in OWN_TAGS and v))
        found[name, own] = float(value)
    return found


@pytest.mark.slow
def test_what_a_node_exports_is_what_the_ledger_says(tmp_path: Path, cluster: tuple[Sluice, str]) -> None:
    sluice, url = cluster
    recipe = write_recipe(tmp_path, '"tests.faults.stages:DropsShort"')
    marker = tmp_path / "goes on"
    recipe.write_text(
        recipe.read_text() + "  held: {from: kept, chain: "
        f'["tests.faults.stages:WaitsForTheMarker": {{marker: "{marker}", document: a short one of file 0}}]}}\n'
        '  beside: {from: kept, chain: ["tests.faults.stages:DropsShort"]}\n'  # with two readers, kept is not fused
    )
    arguments = ("run", recipe, "--out", tmp_path / "run", "--address", sluice.address)
    with subprocess.Popen(sluice.command(*arguments), cwd=REPOSITORY, stdout=subprocess.DEVNULL) as driver:
        manifests = tmp_path / "run/artifacts/kept/manifests"
        deadline = time.monotonic() + 90
        found: Samples = {}
        try:
            while time.monotonic() < deadline and found.get(("sluice_parts_total", labels(stage="kept"))) != PARTS:
                assert driver.poll() is None
                time.sleep(0.5)
                found = samples_at(url)
            marker.touch()
            assert driver.wait(60) == 0
        finally:
            driver.kill()
    (manifest,) = manifests.iterdir()
    parts = parts_of(manifest.read_text())
    expected: Counter[tuple[tuple[str, str], ...]] = Counter()
    for part in parts:
        for step, sources in part["ledger"].items():
            for source, counts in sources.items():
                where = {"stage": "kept", "step": step, "source": source}
                for outcome in ("in", "created", "kept"):
                    expected[labels(outcome=outcome, **where)] += counts[outcome]
                for outcome in ("dropped", "failed"):
                    for reason, number in counts[outcome].items():
                        expected[labels(outcome=outcome, reason=reason, **where)] += number
    documents = {tags: n for (name, tags), n in found.items() if name == "sluice_documents_total"}
    assert {tags: n for tags, n in documents.items() if ("stage", "kept") in tags} == +expected
    assert any(("reason", "short") in tags for tags in documents)
    size_bytes = sum(file["size_bytes"] for part in parts for file in part["files"])
    assert found["sluice_written_bytes_total", labels(stage="kept")] == size_bytes
    assert found["sluice_attempts_total", labels(stage="kept")] == PARTS


def labels(**tags: str) -> tuple[tuple[str, str], ...]:
    return tuple(sorted({"run": "faults", **tags}.items()))


def test_the_dashboard_asks_for_what_is_exported_and_for_all_of_it() -> None:
    asked = set(re.findall(r"ray_(sluice_\w+)", DASHBOARD.read_text()))
    assert asked == set(COUNTERS)


def test_the_dashboard_groups_by_tags_that_its_counters_have() -> None:
    for panel in json.loads(DASHBOARD.read_text())["panels"]:
        for target in panel["targets"]:
            for name in re.findall(r"ray_(sluice_\w+)", target["expr"]):
                tags = {"run", "stage", *COUNTERS[name][1]}
                grouped = {tag.strip() for by in re.findall(r"by \(([^)]*)\)", target["expr"]) for tag in by.split(",")}
                assert grouped | set(re.findall(r"\{\{(\w+)\}\}", target["legendFormat"])) <= tags, target["expr"]
