"""Documents that kill or hang the process that works on them, parts that take too long, and runs that hear nothing."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from tests.conftest import Sluice
from tests.faults.test_runs import PARTS, documents, leftovers, write_recipe
from tests.manifests import parts_of


def files_of(run: Path, artifact: str) -> dict[str, dict[str, str]]:
    """By part, the digest of each of its files."""
    (manifest,) = (run / f"artifacts/{artifact}/manifests").iterdir()
    parts = parts_of(manifest.read_text())
    return {part["name"]: {file["path"]: file["sha256"] for file in part["files"]} for part in parts}


def events(run: Path, kind: str) -> list[dict[str, Any]]:
    """The lines of the run's log of one kind of event."""
    found = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
    return [event for event in found if event["event"] == kind]


def removed(run: Path, artifact: str) -> list[Mapping[str, Any]]:
    rows = [
        pq.read_table(path).to_pylist() for path in sorted(run.glob(f"artifacts/{artifact}/data/*/removed.parquet"))
    ]
    return [row for part in rows for row in part]


POISON = "a poisonous one among others"


def write_long_files(folder: Path, chain: str) -> Path:
    """A recipe over PARTS files of 41 documents, one of them POISON in the midst of part 2; short ones are dropped
    first."""
    recipe = write_recipe(folder, f'"tests.faults.stages:DropsShort", {chain}')
    for number in range(PARTS):
        texts = [f"document {i} of {number}" for i in range(40)]
        texts.insert(17, POISON if number == 2 else "two words")
        (folder / f"docs-{number}.jsonl").write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
    return recipe


@pytest.mark.parametrize(
    ("stage", "options", "reason", "evidence"),
    [
        pytest.param(
            *("AlwaysKillsItsWorker", f"marker: none, document: {POISON}", "killed_worker", "signal 9 (SIGKILL)"),
            marks=pytest.mark.slow,
        ),
        ("CrashesAt", f"documents: [{POISON}]", "killed_worker", "signal 11 (SIGSEGV)"),
        pytest.param("Hangs", f"documents: [{POISON}]", "deadline", "no end within 6 s", marks=pytest.mark.slow),
    ],
    ids=["killed", "crashes", "hangs"],
)
def test_a_document_that_ends_its_worker_fails_alone(
    tmp_path: Path, sluice: Sluice, stage: str, options: str, reason: str, evidence: str
) -> None:
    recipe = write_long_files(tmp_path, f'"tests.faults.stages:{stage}": {{{options}}}')
    if reason == "deadline":  # enough for a worker that starts anew on a loaded machine
        recipe.write_text(recipe.read_text() + "supervision: {part_s: 20, batch_s: 6}\n")
    output = sluice.run(recipe)
    assert f"warning: kept, docs-2.jsonl: could not be read or processed: 1 {reason}" in output
    run = tmp_path / "run"
    assert len(documents(run)) == PARTS * 40
    (failed,) = [row for row in removed(run, "kept") if row["verdict"] == "failed"]
    assert (failed["reason"], failed["evidence"], failed["excerpt"]) == (reason, evidence, POISON)
    (isolated,) = events(run, "document_isolated")
    assert (isolated["document"], isolated["reason"], isolated["part"]) == (failed["id"], reason, "docs-2.jsonl")
    sluice("clean", run)  # of the attempts that died
    assert leftovers(run) == []
    assert f"failed: {reason} ({evidence})" in sluice("explain", run, failed["id"])
    assert "nothing was run" in sluice.run(recipe)


@pytest.mark.slow
def test_the_other_documents_are_as_if_it_had_not_been_there(tmp_path: Path, sluice: Sluice) -> None:
    recipe = write_recipe(tmp_path, '"tests.faults.stages:CrashesAt"')
    sluice.run(recipe)
    (tmp_path / "without").mkdir()
    plain = write_recipe(tmp_path / "without", '"tests.faults.stages:CrashesAt"')
    path = tmp_path / "without/docs-2.jsonl"
    path.write_text("".join(line + "\n" for line in path.read_text().splitlines() if "poison" not in line))
    sluice.run(plain)
    with_, without = files_of(tmp_path / "run", "kept"), files_of(tmp_path / "without/run", "kept")
    assert {part: files["documents.parquet"] for part, files in with_.items()} == {
        part: files["documents.parquet"] for part, files in without.items()
    }


@pytest.mark.slow
def test_more_poison_than_the_recipe_allows_ends_the_run(tmp_path: Path, sluice: Sluice) -> None:
    recipe = write_recipe(tmp_path, '"tests.faults.stages:CrashesAt"')
    recipe.write_text(recipe.read_text() + "supervision: {poisonous: 0}\n")
    output = sluice.run(recipe, status=1)
    assert "1 documents of this run killed, or hung, the process that worked on them" in output
    assert "raise supervision.poisonous in the recipe" in output
    assert "docs-2.jsonl" in output


@pytest.mark.slow
def test_a_straggler_is_run_twice_and_the_first_to_commit_wins(tmp_path: Path, sluice: Sluice) -> None:
    recipe = write_recipe(tmp_path, f'"tests.faults.stages:Hangs": {{first: {tmp_path}/hung}}')
    recipe.write_text(recipe.read_text() + "supervision: {straggler_s: 3}\n")
    output = sluice.run(recipe)
    assert "kept, part docs-2.jsonl: takes much longer than others; run a second time" in output
    assert len(documents(tmp_path / "run")) == 3 * 4 + 1
    assert [event["part"] for event in events(tmp_path / "run", "straggler")] == ["docs-2.jsonl"]


@pytest.mark.slow
def test_a_run_that_hears_nothing_tells_so_and_ends(tmp_path: Path, sluice: Sluice) -> None:
    recipe = write_recipe(tmp_path, '"tests.faults.stages:Hangs"')
    recipe.write_text(recipe.read_text() + "supervision: {silence_s: 4, give_up_s: 9}\n")
    output = sluice.run(recipe, status=3)
    assert "waiting for: kept, part docs-2.jsonl" in output
    assert "what was committed is kept" in output
    (silence,) = events(tmp_path / "run", "silence")
    assert silence["level"] == "warning"
    assert "docs-2.jsonl" in silence["message"]


def test_a_wrong_setting_is_told_with_its_place(tmp_path: Path, sluice_alone: Sluice) -> None:
    recipe = write_recipe(tmp_path, '"tests.faults.stages:Hangs"')
    recipe.write_text(recipe.read_text() + "supervision: {silence: 4, part_s: -1}\n")
    output = sluice_alone("validate", recipe, status=2)
    assert "supervision: unknown option 'silence'; did you mean 'silence_s'?" in output
    assert "supervision: part_s: Input should be greater than 0, got -1" in output
    assert ":5:" in output
