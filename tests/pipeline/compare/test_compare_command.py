"""`sluice compare` as a user calls it."""

import json
import shutil
from pathlib import Path

import pytest

from pipeline.run import Run
from tests.conftest import Sluice


def test_two_runs_are_compared_as_text_and_as_a_page(
    base: Run, strict: Run, sluice_alone: Sluice, tmp_path: Path
) -> None:
    out = tmp_path / "compare.html"
    said = sluice_alone("compare", base.folder, strict.folder, "--out", out)
    assert "clean.gopher_quality.min_words             30             60" in said
    assert said.endswith(f"Page: {out}\n")
    assert out.read_text(encoding="utf-8").startswith("<!DOCTYPE html>")


def test_a_folder_that_is_no_run_ends_with_status_2(base: Run, sluice_alone: Sluice, tmp_path: Path) -> None:
    said = sluice_alone("compare", base.folder, tmp_path, status=2)
    assert said == f"error: {tmp_path} is not the folder of a run: it has no run.json\n"


@pytest.mark.slow
def test_runs_of_a_cluster_with_another_threshold(corpus: Path, sluice: Sluice, tmp_path: Path) -> None:
    runs = []
    for name, min_words in (("base", 30), ("strict", 60)):
        folder = shutil.copytree(corpus, tmp_path / name)
        recipe = folder / "recipe.yaml"
        recipe.write_text(
            f"name: {name}\nartifacts:\n"
            "  docs: {stage: json_lines, files: first.jsonl}\n"
            f"  clean: {{from: docs, chain: [gopher_quality: {{min_words: {min_words}}}]}}\n"
        )
        sluice.run(recipe)
        runs.append(folder / "run")
    values = json.loads(sluice("compare", *runs, "--json"))
    (documents,) = values["memberships"]
    assert documents["lost"]["documents"] == -values["documents"]["difference"] > 0
    assert [ended["ending"]["reason"] for ended in documents["lost"]["endings"]] == ["too_few_words"]
    assert "No differences" in sluice("compare", runs[0], runs[0])
