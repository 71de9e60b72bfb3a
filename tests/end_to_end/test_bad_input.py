"""Bad input costs what is bad: a message that names the file, no traceback, and the rest goes on."""

import subprocess
from pathlib import Path

import pytest

from stages.demo_corpus import build
from tests.conftest import Sluice

RECIPE = """name: bad
artifacts:
  pages: {stage: common_crawl, files: web/*.warc.gz, source: web}
  text: {stage: extract_html, from: pages}
  papers: {stage: pdf, files: papers, ocr: off}
  all: {from: [text, papers], chain: [gopher_quality: {min_words: 1, min_alphabetic_words: 0.1}]}
"""


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("demo") / "corpus"
    build(folder, size="tiny")
    return folder


@pytest.fixture
def recipe(tmp_path: Path, corpus: Path) -> Path:
    """A recipe over copies of one crawl file and one PDF of the demo corpus."""
    for name in ("web/demo-00000.warc.gz", "papers"):
        target = tmp_path / name
        target.parent.mkdir(exist_ok=True)
        subprocess.run(["cp", "-r", corpus / name, target], check=True)
    path = tmp_path / "recipe.yaml"
    path.write_text(RECIPE)
    return path


def test_a_missing_path_is_told_before_anything_runs(recipe: Path, sluice_alone: Sluice) -> None:
    output = sluice_alone("run", recipe, "--set", "papers.files=absent", status=2)
    assert f"papers: there is no file or folder {recipe.parent}/absent" in output
    assert not (recipe.parent / "run").exists()


def test_an_empty_folder_is_told_before_anything_runs(recipe: Path, sluice_alone: Sluice) -> None:
    (recipe.parent / "none").mkdir()
    output = sluice_alone("run", recipe, "--set", "papers.files=none", status=2)
    assert f"the folder {recipe.parent}/none holds no file ending in .pdf" in output


def test_damaged_files_are_named_and_the_others_go_on(recipe: Path, sluice: Sluice) -> None:
    from tests.stages.pdf_files import text_pdf

    folder = recipe.parent
    whole = (folder / "web/demo-00000.warc.gz").read_bytes()
    (folder / "web/no-warc.warc.gz").write_bytes(b"this is no web archive")
    (folder / "web/truncated.warc.gz").write_bytes(whole[: len(whole) // 3])
    (folder / "web/empty.warc.gz").write_bytes(b"")
    text_pdf(folder / "papers/secret.pdf", ["nobody may read this"], password="secret")
    output = sluice.run(recipe)
    for name, reason in [("no-warc.warc.gz", "unreadable"), ("truncated.warc.gz", "truncated")]:
        (line,) = [line for line in output.splitlines() if f", {name}:" in line]
        assert reason in line
    assert "1 encrypted" in output
    assert "warning" in output
    story = sluice("status", folder / "run")
    assert "bad: done" in story


def test_a_source_of_which_nothing_is_left_is_told(recipe: Path, sluice: Sluice) -> None:
    output = sluice.run(recipe, "--set", "all.chain=[gopher_quality: {min_words: 1000000, max_words: 2000000}]")
    assert "warning: all: nothing is left of source papers (3 too_few_words)" in output


def test_a_full_disk_is_told_and_the_run_goes_on_once_there_is_room(
    recipe: Path, tiny_disk: Path, sluice: Sluice
) -> None:
    (filler := tiny_disk / "filler").write_bytes(b"x" * (130 << 10))
    arguments = ("run", recipe, "--out", tiny_disk / "run", "--address", sluice.address)
    output = sluice(*arguments, status=3)
    assert "No space left on device" in output
    assert str(tiny_disk / "run") in output
    filler.unlink()
    subprocess.run(["mount", "-o", "remount,size=64m", tiny_disk], check=True)
    assert "done in" in sluice(*arguments)
