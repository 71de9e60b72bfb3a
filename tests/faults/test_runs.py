"""Runs on a Ray cluster of two raylets: what is kept, what is told, and what a fault costs."""

import json
import os
import resource
import signal
import subprocess
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from tests.conftest import RAY_CLIENT_PORT, Sluice
from tests.manifests import parts_of

PARTS = 4


def write_recipe(
    folder: Path, chain: str, texts: Sequence[str] = ("a short one", "two words", "three more words here")
) -> Path:
    """A recipe over PARTS files of texts; part 2 also has the document 'poison'."""
    for i in range(PARTS):
        lines = [json.dumps({"text": f"{text}{'' if text == 'two words' else f' of file {i}'}"}) for text in texts]
        if i == 2:
            lines.append(json.dumps({"text": "poison"}))
        (folder / f"docs-{i}.jsonl").write_text("\n".join(lines) + "\n")
    recipe = folder / "recipe.yaml"
    recipe.write_text(
        "name: faults\nartifacts:\n  docs: {stage: json_lines, files: docs-*.jsonl}\n"
        f"  kept: {{from: docs, chain: [{chain}]}}\n"
    )
    return recipe


def documents(run: Path, artifact: str = "kept") -> list[tuple[str, str]]:
    """Id and text of all committed documents of an artifact, sorted."""
    state = json.loads((run / "run.json").read_text())
    manifest = run / f"artifacts/{artifact}/manifests/{state['artifacts'][artifact]}.jsonl"
    rows = []
    for part in parts_of(manifest.read_text()):
        for file in part["files"]:
            if file["path"] == "documents.parquet":
                table = pq.read_table(run / "artifacts" / artifact / part["folder"] / file["path"])
                rows += zip(table["id"].to_pylist(), table["text"].to_pylist(), strict=True)
    return sorted(rows)


def leftovers(run: Path) -> list[str]:
    """Files of attempts that no commit record names."""
    named = set()
    for commit in run.glob("artifacts/*/commits/*.json"):
        part = json.loads(commit.read_text())
        named.add(commit.parent.parent / part["folder"])
    return [str(folder) for folder in run.glob("artifacts/*/data/*") if folder not in named]


def test_a_run_keeps_drops_and_accounts(tmp_path: Path, sluice: Sluice) -> None:
    recipe = write_recipe(tmp_path, '"tests.faults.stages:DropsShort"')
    output = sluice.run(recipe)
    assert "done in" in output
    kept = documents(tmp_path / "run")
    assert len(kept) == 2 * PARTS
    assert {text.split(" of file")[0] for _, text in kept} == {"a short one", "three more words here"}
    story = sluice("explain", tmp_path / "run", kept[0][0])
    assert "kept: kept" in story
    dropped = f"docs/docs-1.jsonl@{len(json.dumps({'text': 'a short one of file 1'})) + 1}"
    assert "kept: dropped: short (2 words < 3)" in sluice("explain", tmp_path / "run", dropped)
    assert "faults: done, 1 of 1 artifacts" in sluice("status", tmp_path / "run")


@pytest.mark.parametrize("address", ["auto", f"ray://127.0.0.1:{RAY_CLIENT_PORT}"], ids=["auto", "ray client"])
def test_a_cluster_is_joined_by_any_form_of_address(
    tmp_path: Path, sluice: Sluice, address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAY_ADDRESS", sluice.address)  # what "auto" looks for
    recipe = write_recipe(tmp_path, '"tests.faults.stages:DropsShort"')
    assert "done in" in sluice("run", recipe, "--out", tmp_path / "run", "--address", address)
    assert len(documents(tmp_path / "run")) == 2 * PARTS


def test_programs_are_told_how_far_a_run_is(tmp_path: Path, sluice: Sluice) -> None:
    recipe = write_recipe(tmp_path, '"tests.faults.stages:HasABug"')
    sluice.run(recipe, status=1)
    told = json.loads(sluice("status", tmp_path / "run", "--json"))
    assert (told["run"], told["status"]) == ("faults", "failed")
    assert "ZeroDivisionError" in told["message"]
    assert told["artifacts"]["kept"] | {"seconds": 0} == {
        **{"state": "started", "parts_done": 0, "parts": PARTS, "records": 0, "documents": 0, "seconds": 0}
    }
    (tmp_path / "fine").mkdir()
    recipe = write_recipe(tmp_path / "fine", '"tests.faults.stages:DropsShort"')
    sluice.run(recipe)
    kept = json.loads(sluice("status", tmp_path / "fine/run", "--json"))["artifacts"]["kept"]
    assert (kept["state"], kept["parts_done"], kept["records"]) == ("done", PARTS, 3 * PARTS + 1)


def test_a_finished_run_does_nothing_and_says_so_in_five_seconds_of_work(tmp_path: Path, sluice: Sluice) -> None:
    recipe = write_recipe(tmp_path, '"tests.faults.stages:DropsShort"')
    sluice.run(recipe)
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "run").rglob("*")}
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    output = sluice("run", recipe, "--out", tmp_path / "run")  # no address: it must not even start Ray
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert after.ru_utime + after.ru_stime - used.ru_utime - used.ru_stime < 5
    assert "is complete" in output
    assert "nothing was run" in output
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "run").rglob("*")} == before


def test_a_changed_option_makes_new_parts_and_keeps_the_old(tmp_path: Path, sluice: Sluice) -> None:
    recipe = write_recipe(tmp_path, "gopher_quality: {min_words: 1, max_words: 3}")
    sluice.run(recipe)
    commits = set((tmp_path / "run").glob("artifacts/kept/commits/*"))
    sluice.run(recipe, "--set", "kept.chain=[gopher_quality: {min_words: 2, max_words: 9}]")
    assert commits < set((tmp_path / "run").glob("artifacts/kept/commits/*"))
    assert "nothing was run" not in sluice.run(recipe)  # another configuration than the last run's
    assert len(set((tmp_path / "run").glob("artifacts/kept/commits/*"))) == 2 * PARTS


def test_one_more_file_costs_one_more_part(tmp_path: Path, sluice: Sluice) -> None:
    recipe = write_recipe(tmp_path, '"tests.faults.stages:DropsShort"')
    sluice.run(recipe)
    before = len(list((tmp_path / "run").glob("artifacts/kept/commits/*")))
    (tmp_path / "docs-9.jsonl").write_text('{"text": "one more document"}\n')
    output = sluice.run(recipe)
    assert f"{PARTS} of {PARTS + 1} parts are there already" in output
    assert len(list((tmp_path / "run").glob("artifacts/kept/commits/*"))) == before + 1


@pytest.mark.parametrize("stage", ["LosesOne", "DoublesOne"])
def test_a_stage_that_breaks_the_ledger_fails_the_run(tmp_path: Path, sluice: Sluice, stage: str) -> None:
    recipe = write_recipe(tmp_path, f'"tests.faults.stages:{stage}"')
    output = sluice.run(recipe, status=1)
    assert "lost" in output
    assert "nothing of this part was committed" in output
    assert not list((tmp_path / "run").glob("artifacts/kept/commits/*"))
    assert leftovers(tmp_path / "run") == []


def test_a_ledger_tampered_with_on_storage_fails_the_run(tmp_path: Path, sluice: Sluice) -> None:
    recipe = write_recipe(tmp_path, '"tests.faults.stages:DropsShort"')
    recipe.write_text(
        recipe.read_text()
        + "  last: {from: kept, chain: [gopher_quality]}\n  also: {from: kept, chain: [gopher_quality]}\n"
    )
    sluice.run(recipe)
    state = json.loads((tmp_path / "run/run.json").read_text())
    (manifest,) = (tmp_path / "run/artifacts/kept/manifests").iterdir()
    head, *records = manifest.read_text().splitlines()
    first = json.loads(records[0])
    first["ledger"]["kept"]["docs"]["kept"] += 1
    manifest.write_text("\n".join([head, json.dumps(first), *records[1:], ""]))
    for name in ("last", "also"):
        (tmp_path / f"run/artifacts/{name}/manifests/{state['artifacts'][name]}.jsonl").unlink()
    output = sluice.run(recipe, status=1)
    assert "kept kept 9 documents but" in output


def test_a_killed_worker_costs_nothing(tmp_path: Path, sluice: Sluice) -> None:
    marker = tmp_path / "killed"
    recipe = write_recipe(tmp_path, f'"tests.faults.stages:KillsItsWorkerOnce": {{marker: {marker}}}')
    sluice.run(recipe)
    assert marker.exists()
    assert len(documents(tmp_path / "run")) == 3 * PARTS + 1


def test_a_bug_of_a_stage_is_told_in_a_sentence_with_the_traceback_in_a_file(tmp_path: Path, sluice: Sluice) -> None:
    recipe = write_recipe(tmp_path, '"tests.faults.stages:HasABug"')
    output = sluice.run(recipe, status=1)
    assert "ZeroDivisionError: one over nothing" in output
    assert "Traceback" in (tmp_path / "run/error.log").read_text()


def test_a_bad_input_is_a_ledger_row_and_the_others_go_on(tmp_path: Path, sluice: Sluice) -> None:
    recipe = write_recipe(tmp_path, '"tests.faults.stages:DropsShort"')
    (tmp_path / "docs-1.jsonl").write_bytes(b"\x1f\x8b\x08broken gzip")
    output = sluice.run(recipe)
    assert "warning: kept, docs-1.jsonl: could not be read or processed: 1 " in output
    assert len(documents(tmp_path / "run")) == 2 * (PARTS - 1)


def test_on_failed_stop_stops(tmp_path: Path, sluice: Sluice) -> None:
    recipe = write_recipe(tmp_path, '"tests.faults.stages:DropsShort"')
    (tmp_path / "docs-1.jsonl").write_bytes(b"\x1f\x8b\x08broken gzip")
    output = sluice.run(recipe, "--set", "on_failed=stop", status=1)
    assert "The recipe says on_failed: stop" in output
    again = sluice.run(recipe, "--set", "on_failed=stop", status=1)  # its part is committed by now
    assert "docs-1.jsonl" in again
    assert "The recipe says on_failed: stop" in again
    sluice.run(recipe)
    assert "on_failed: stop" in sluice.run(recipe, "--set", "on_failed=stop", status=1)  # nor is a sealed one let pass


def test_a_killed_run_goes_on_where_it_was(tmp_path: Path, sluice: Sluice) -> None:
    marker = tmp_path / "go"
    recipe = write_recipe(tmp_path, f'"tests.faults.stages:WaitsForTheMarker": {{marker: {marker}}}')
    command = sluice.command("run", recipe, "--out", tmp_path / "run", "--address", sluice.address)
    driver = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 60
    while len(list((tmp_path / "run").glob("artifacts/kept/commits/[!.]*"))) < PARTS - 1:  # one being written is hidden
        assert time.monotonic() < deadline
        time.sleep(0.05)
    os.kill(driver.pid, signal.SIGKILL)
    driver.wait()
    before = {path: path.read_bytes() for path in (tmp_path / "run").glob("artifacts/kept/commits/*")}
    again = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    assert again.stdout is not None
    said = next(line for line in again.stdout if "are there already" in line)
    marker.touch()  # no sooner: the task that the killed driver left behind might end by it, too
    again.communicate()
    assert again.returncode == 0
    assert said == f"kept: {PARTS - 1} of {PARTS} parts are there already; going on\n"
    after = {path: path.read_bytes() for path in (tmp_path / "run").glob("artifacts/kept/commits/*")}
    assert before.items() < after.items()
    assert len(documents(tmp_path / "run")) == 3 * PARTS + 1


def test_an_unreachable_cluster_is_told_without_a_traceback(tmp_path: Path, sluice_alone: Sluice) -> None:
    recipe = write_recipe(tmp_path, '"tests.faults.stages:DropsShort"')
    output = sluice_alone("run", recipe, "--out", tmp_path / "run", "--address", "127.0.0.1:1", status=3)
    assert "cannot reach Ray at 127.0.0.1:1" in output


def test_a_cluster_that_starts_no_server_for_the_driver_is_asked_three_times(
    tmp_path: Path, sluice_alone: Sluice
) -> None:
    """As Ray's own Ray Client server answers when the process that it forks for the driver dies at birth."""
    recipe = write_recipe(tmp_path, '"tests.faults.stages:DropsShort"')
    with ray_client_server_without_children() as (address, asked):
        output = sluice_alone("run", recipe, "--out", tmp_path / "run", "--address", address, status=3)
    assert f"cannot start or reach Ray at {address}" in output
    assert "the child died" in output
    assert len(asked) == 3


@contextmanager
def ray_client_server_without_children() -> Iterator[tuple[str, list[Any]]]:
    """A gRPC server that speaks Ray Client's protocol and refuses each driver; yields its address and who asked."""
    import grpc
    from ray.core.generated import ray_client_pb2, ray_client_pb2_grpc

    asked: list[Any] = []

    class Driver(ray_client_pb2_grpc.RayletDriverServicer):
        def ClusterInfo(self, request: Any, context: Any) -> Any:  # noqa: N802 (the protocol's name)
            return ray_client_pb2.ClusterInfoResponse(json="{}")

    class Streamer(ray_client_pb2_grpc.RayletDataStreamerServicer):
        def Datapath(self, requests: Iterator[Any], context: Any) -> Iterator[Any]:  # noqa: N802
            for request in requests:
                if request.WhichOneof("type") == "init":
                    asked.append(request)
                    refusal = ray_client_pb2.InitResponse(ok=False, msg="the child died")
                    yield ray_client_pb2.DataResponse(req_id=request.req_id, init=refusal)

    server = grpc.server(ThreadPoolExecutor(8))
    ray_client_pb2_grpc.add_RayletDriverServicer_to_server(Driver(), server)
    ray_client_pb2_grpc.add_RayletDataStreamerServicer_to_server(Streamer(), server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        yield f"ray://127.0.0.1:{port}", asked
    finally:
        server.stop(0)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=["ctrl-c", "sigterm"])
def test_an_interrupted_run_says_how_to_go_on(tmp_path: Path, sluice: Sluice, number: signal.Signals) -> None:
    recipe = write_recipe(tmp_path, f'"tests.faults.stages:WaitsForTheMarker": {{marker: {tmp_path}/never}}')
    command = sluice.command("run", recipe, "--out", tmp_path / "run", "--address", sluice.address)
    driver = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    deadline = time.monotonic() + 60
    while not list((tmp_path / "run").glob("artifacts/kept/commits/*")):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    driver.send_signal(number)
    output, _ = driver.communicate(timeout=60)
    assert driver.returncode == 130, output
    assert "interrupted; the same command goes on where this one was" in output
    assert "Traceback" not in output
    assert "faults: interrupted" in sluice("status", tmp_path / "run")


SHUFFLED = ("one two three", "one and more", "three words here")


def shuffle_recipe(folder: Path, marker: Path) -> Path:
    recipe = write_recipe(folder, '"tests.faults.stages:DropsShort"', SHUFFLED)
    text = recipe.read_text() + f'  rare: {{stage: "tests.faults.stages:DropFrequent", from: kept, marker: {marker}}}\n'
    recipe.write_text(text)
    return recipe


def parts_made(run: Path, artifact: str) -> dict[str, str]:
    """Name and digests of each part of the sealed artifact."""
    state = json.loads((run / "run.json").read_text())
    manifest = run / f"artifacts/{artifact}/manifests/{state['artifacts'][artifact]}.jsonl"
    return {p["name"]: json.dumps([f["sha256"] for f in p["files"]]) for p in parts_of(manifest.read_text())}


def test_a_shuffle_passes_rows_between_parts_and_leaves_a_slice_for_each(tmp_path: Path, sluice: Sluice) -> None:
    recipe = shuffle_recipe(tmp_path, tmp_path / "never")
    sluice.run(recipe)
    kept = {text.split(" of file")[0] for _, text in documents(tmp_path / "run", "rare")}
    assert kept == {"three words here"}  # "one" begins two documents of each file
    made = parts_made(tmp_path / "run", "rare.counts")
    assert len(made) == PARTS + 1
    assert "nothing was run" in sluice("run", recipe, "--out", tmp_path / "run")
    assert len(list((tmp_path / "run").glob("artifacts/rare.counts/commits/*"))) == PARTS + 1  # phases are cleared away
    assert leftovers(tmp_path / "run") == []


@pytest.mark.parametrize("phase", ["words", pytest.param("counts", marks=pytest.mark.slow), "slices"])
def test_a_shuffle_gives_the_same_when_a_worker_dies_in_any_phase(tmp_path: Path, sluice: Sluice, phase: str) -> None:
    marker = tmp_path / "marker"
    recipe = shuffle_recipe(tmp_path, marker)
    sluice.run(recipe)
    expected = parts_made(tmp_path / "run", "rare.counts")
    marker.write_text(phase)
    sluice("run", recipe, "--out", tmp_path / "again", "--address", sluice.address)
    assert not marker.exists()
    assert parts_made(tmp_path / "again", "rare.counts") == expected
