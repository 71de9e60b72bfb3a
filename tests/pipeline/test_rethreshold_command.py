"""`sluice rethreshold` as its user sees it."""

from pathlib import Path

from typer.testing import CliRunner

from pipeline.cli import app
from tests.pipeline.test_rethreshold import run


def test_the_tables_say_what_changes_by_source_and_reason(tmp_path: Path) -> None:
    run(tmp_path)
    command = [
        "rethreshold",
        str(tmp_path / "run"),
        "kept",
        "--set",
        "words.min_words=1",
        "--set",
        "capitals.max_capitals=2",
    ]
    result = CliRunner().invoke(app, [*command, "--out", str(tmp_path / "chosen.parquet")])
    assert result.exit_code == 0, result.output
    rows = [line.split() for line in result.output.splitlines()]
    assert ["docs", "8", "2", "3", "0"] in rows
    assert ["kept.words", "too_few", "2", "0"] in rows
    assert ["kept.capitals", "too_many_capitals", "3", "4"] in rows
    assert f"The selection is in {tmp_path}/chosen.parquet" in result.output
    assert (tmp_path / "chosen.parquet").exists()
