"""docs/reference/ is what the code's own types tell."""

import subprocess
import sys
from pathlib import Path

import pytest

from pipeline import reference
from pipeline.catalog import options_of, stage_lines
from pipeline.registry import stage_class
from tests.conftest import REPOSITORY

PUBLISHED = REPOSITORY / "docs/reference"


def test_the_published_reference_is_that_of_the_code() -> None:
    published = {path.name: path.read_text() for path in PUBLISHED.iterdir()}
    assert published == reference.pages(), "run: python -m pipeline.reference"


def test_one_command_writes_it(tmp_path: Path) -> None:
    subprocess.run([sys.executable, "-m", "pipeline.reference", tmp_path], check=True, cwd=REPOSITORY)
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == reference.pages()


def test_every_option_of_every_stage_stands_on_one_page() -> None:
    sections = {
        section.partition("\n")[0]: section
        for path in PUBLISHED.iterdir()
        for section in path.read_text().split("\n## ")[1:]
    }
    for name, _ in stage_lines():
        for option in options_of(stage_class(name).config_type):
            assert f"| `{option.name}` |" in sections[name], (name, option.name)


def test_a_column_without_meaning_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    without_url = {name: meaning for name, meaning in reference.DOCUMENT_COLUMNS.items() if name != "url"}
    monkeypatch.setattr(reference, "DOCUMENT_COLUMNS", without_url)
    with pytest.raises(ValueError, match="url"):
        reference.pages()


def test_what_a_filter_drops_is_told_with_measure_and_option() -> None:
    assert "| `too_few_words` | `gopher_quality.words` | `<` | `min_words` |" in (PUBLISHED / "filters.md").read_text()
