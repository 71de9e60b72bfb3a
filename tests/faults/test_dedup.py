"""Dedup on a Ray cluster of two raylets: the same documents go, whatever dies on the way."""

import json
import random
import subprocess
import time
from collections import Counter
from pathlib import Path

import pytest

from tests.conftest import Sluice
from tests.faults.test_runs import documents
from tests.stages.dedup.documents import prose
from tests.stages.in_process import rows_of, run_here

OTHERS = ("keys", "links", "members", "verdicts", "slices", "summary")
PHASES = ("round 1", *OTHERS)


def write_documents(folder: Path) -> None:
    """Four files; of each text there are copies in two of them, most with a word changed."""
    rng = random.Random(1)
    lines: list[list[str]] = [[] for _ in range(4)]
    for i in range(60):
        words = prose(rng, 60)
        lines[i % 4].append(" ".join(words))
        if i % 3:
            lines[(i + i % 3) % 4].append(" ".join([*words[:-1], f"edited{i}"]))
    for i, texts in enumerate(lines):
        (folder / f"docs-{i}.jsonl").write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))


def dedup_recipe(folder: Path, marker: Path) -> Path:
    write_documents(folder)
    recipe = folder / "recipe.yaml"
    recipe.write_text(
        "name: dedup\nartifacts:\n  docs: {stage: json_lines, files: docs-*.jsonl}\n"
        f'  unique: {{stage: "tests.faults.stages:DyingDedup", from: docs, marker: {marker}}}\n'
    )
    return recipe


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> list[tuple[str, str]]:
    """What is kept, by a run in this process."""
    folder = tmp_path_factory.mktemp("undisturbed")
    write_documents(folder)
    docs = {"stage": "json_lines", "files": "docs-*.jsonl"}
    sealed = run_here(folder, {"docs": docs, "unique": {"stage": "dedup", "from": "docs"}})
    kept = sorted((row["id"], row["text"]) for row in rows_of(sealed["unique"]))
    assert len(kept) == 60
    return kept


@pytest.mark.parametrize("phase", ["round 1", *(pytest.param(p, marks=pytest.mark.slow) for p in OTHERS)])
def test_a_worker_that_dies_in_any_phase_changes_nothing(
    tmp_path: Path, sluice: Sluice, undisturbed: list[tuple[str, str]], phase: str
) -> None:
    marker = tmp_path / "marker"
    marker.write_text(phase)
    sluice.run(dedup_recipe(tmp_path, marker))
    assert not marker.exists()
    assert documents(tmp_path / "run", "unique") == undisturbed


@pytest.mark.slow
@pytest.mark.parametrize("phase", PHASES)
def test_a_run_that_is_killed_in_any_phase_goes_on(
    tmp_path: Path, sluice: Sluice, undisturbed: list[tuple[str, str]], phase: str
) -> None:
    marker = tmp_path / "marker"
    marker.write_text(phase)
    recipe = dedup_recipe(tmp_path, marker)
    command = sluice.command("run", recipe, "--out", tmp_path / "run", "--address", sluice.address)
    driver = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 120
    while marker.exists():
        assert driver.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.02)
    driver.kill()
    driver.wait()
    commits = (tmp_path / "run").glob("artifacts/unique.duplicates/commits/*")
    done = {json.loads(path.read_bytes())["name"] for path in commits}
    assert done or phase == "keys"
    sluice.run(recipe)
    assert documents(tmp_path / "run", "unique") == undisturbed
    made = Counter(marker.with_suffix(".log").read_text().splitlines())
    assert {name: made[name] for name in done} == dict.fromkeys(done, 1)
