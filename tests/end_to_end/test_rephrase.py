"""Rephrasing on a Ray cluster: new documents reach the token shards beside the old, and are asked for once."""

import contextlib
import json
import os
import re
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipeline.run import Run
from tests.chat_server import ChatServer, Reply, completion
from tests.conftest import REPOSITORY, Sluice
from tests.stages.rephrase.conftest import PAGES, Asked, sound_model

RECIPE = """name: rephrased
artifacts:
  docs: {stage: json_lines, files: docs-*.jsonl}
  answers: {stage: rephrase, from: docs, style: STYLE, model: test, max_synthetic_share: 0.9, min_tokens: 10}
  tokens: {stage: tokenize, from: [docs, answers], vocabulary: 300, held_out: 0.3}
"""
TOWNS = [f"{start}{end}" for start in ("Alt", "Neu", "Ober", "Unter", "Klein") for end in ("dorf", "au", "burg", "see")]


def write_pages(folder: Path, style: str, files: int = 2) -> Path:
    """A recipe over files of pages that differ in names and numbers."""
    for i in range(files):
        pages = [
            PAGES["mill"].replace("Hameln", town).replace("Brandt", f"{town[:4]}mann").replace("twelve", f"{i + 3}")
            for town in TOWNS
        ]
        (folder / f"docs-{i}.jsonl").write_text("\n".join(json.dumps({"text": page}) for page in pages))
    (folder / "recipe.yaml").write_text(RECIPE.replace("STYLE", style))
    return folder / "recipe.yaml"


@pytest.fixture
def server() -> Iterator[ChatServer[Asked]]:
    """Asks of each page when the mill began, and of one of them with a year that is not in it."""

    def reply(request: Asked, before: int) -> Reply:
        if not request.passage:
            return completion("yes")
        town = next(town for town in TOWNS if town in request.passage)
        year = "1754" if town == "Neusee" else "1891"
        pairs = f"Question: For which town did the mill grind corn in {year}?\nAnswer: For the town of {town}."
        return completion(pairs + "\n\nQuestion: What did its owner buy?\nAnswer: Two turbines from a workshop.")

    with ChatServer(reply, request_type=Asked) as server:
        yield server


def test_new_documents_reach_the_shards_and_are_asked_for_once(
    tmp_path: Path, sluice: Sluice, server: ChatServer[Asked]
) -> None:
    recipe = write_pages(tmp_path, "questions", files=1)
    endpoint = ("--set", f"answers.endpoints={server.url}")
    assert "rephrasing is off" not in sluice.run(recipe, *endpoint)
    assert len({request.passage for request in server.requests}) == len(TOWNS)
    run = Run.open(tmp_path / "run")
    sources = run.artifacts()["tokens"].summary["sources"]
    written = sum(part["documents"] for part in sources["rephrased"].values())
    ledger = run.artifacts()["answers.written"].ledger.last()
    assert ledger["docs"].dropped == {"rephrased": len(TOWNS)}
    kept = run.artifacts()["answers"].ledger.last()["rephrased"]
    assert written == kept.kept
    assert ledger["rephrased"].kept == kept.received
    assert kept.received + sum(ledger["rephrased"].dropped.values()) == len(TOWNS)
    story = sluice("explain", tmp_path / "run", "docs/docs-0.jsonl@0")
    assert re.search(r"docs/docs-0\.jsonl@0~questions\.\w{6} was written from it", story)
    asked = len(server.requests)
    assert "nothing was run" in sluice.run(recipe, *endpoint)
    assert len(server.requests) == asked


@pytest.mark.slow
def test_a_killed_run_repeats_only_requests_that_were_under_way(tmp_path: Path, sluice_alone: Sluice) -> None:
    answered: Counter[str] = Counter()
    under_way = 4

    def reply(request: Asked, before: int) -> Reply:
        time.sleep(0.1)
        reply = sound_model(request, before)
        answered[request.passage] += 1
        return reply

    with ChatServer(reply, request_type=Asked) as server:
        recipe = write_pages(tmp_path, "clean", files=2)
        options = ["--set", f"answers.endpoints={server.url}", "--set", f"answers.concurrency={under_way // 2}"]
        command = sluice_alone.command("run", recipe, "--out", tmp_path / "run", *options)
        process = subprocess.Popen(command, cwd=REPOSITORY, stdout=subprocess.DEVNULL)
        while len(answered) < len(TOWNS) and process.poll() is None:
            time.sleep(0.02)
        for pid in _with_descendants(process.pid):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        process.wait()
        time.sleep(0.5)  # for what the server has begun to answer
        before = Counter(answered)
        assert 0 < len(before) < 2 * len(TOWNS), "it was killed on the way"
        sluice_alone("run", recipe, "--out", tmp_path / "run", *options)
    repeated = [passage for passage in before if answered[passage] > before[passage]]
    assert len(repeated) <= under_way
    run = Run.open(tmp_path / "run")
    assert run.artifacts()["answers.written"].ledger.last()["rephrased"].kept == 2 * len(TOWNS)


def _with_descendants(pid: int) -> list[int]:
    """A process and all that were started by it, such as Ray's own: the parents first."""
    parents: dict[int, int] = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            parents[int(stat.parent.name)] = int(stat.read_text().rpartition(")")[2].split()[1])
    found = [pid]
    for one in found:
        found += [child for child, parent in parents.items() if parent == one]
    return found
