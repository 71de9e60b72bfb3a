"""What the tokenize stage leaves is what exports read."""

from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from pipeline.artifact import Artifact
from pipeline.cli import app
from pipeline.errors import RecipeError
from stages.tokenize.exports import FORMATS, export
from tests.stages.in_process import rows_of, run_here, write_lines
from tests.stages.tokenize.exports.plain_readers import READERS

TEXTS = [
    f"The river number {i} flows past 日本 and the {'old ' * (i % 7)}mill, naïve — {i * i}.\r\n" for i in range(60)
]


@pytest.fixture(scope="module")
def sealed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Artifact]:
    folder = tmp_path_factory.mktemp("run")
    write_lines(folder / "web.jsonl", TEXTS)
    recipe = {
        "web": {"stage": "json_lines", "files": "web.jsonl"},
        "tokens": {"stage": "tokenize", "from": "web", "vocabulary": 300, "shard_tokens": 400, "held_out": 0.1},
    }
    return run_here(folder, recipe)


@pytest.mark.parametrize("form", FORMATS)
def test_tokens_of_a_run_are_exported_in_every_format(sealed: dict[str, Artifact], tmp_path: Path, form: str) -> None:
    tokens = sealed["tokens"].files_folder
    exported = export(tokens, tmp_path / "out", form)
    assert exported.tokens > 400  # several shards
    if form in READERS:
        documents, _ = READERS[form](tmp_path / "out", "uint16")
        body = np.concatenate([np.fromfile(path, "<u2") for path in sorted(tokens.glob("web/train-*.bin"))])
        assert [token for ids in documents["web"] for token in ids] == body.tolist()


def test_exported_text_is_that_of_the_documents(sealed: dict[str, Artifact], tmp_path: Path) -> None:
    originals = {row["id"]: row["text"] for row in rows_of(sealed["web"])}
    found = {}
    for split in ("train", "held_out"):
        exported = export(sealed["tokens"].files_folder, tmp_path / split, "parquet-text", split)
        assert "exactly as many bytes" in exported.notes[0]
        for path in (tmp_path / split / "web").iterdir():
            found |= {row["id"]: row["text"] for row in pq.read_table(path).to_pylist()}
    assert found == originals


def test_a_run_is_exported_by_the_command(sealed: dict[str, Artifact], tmp_path: Path) -> None:
    run = sealed["tokens"].files_folder
    while not (run / "run.json").exists():
        run = run.parent
    done = CliRunner().invoke(app, ["export", str(run), "--format", "megatron", "--out", str(tmp_path / "out")])
    assert done.exit_code == 0, done.output
    assert " documents in " in done.output
    assert (tmp_path / "out/export.json").is_file()
    wrong = CliRunner().invoke(
        app, ["export", str(run), "--artifact", "web", "--format", "megatron", "--out", str(tmp_path / "other")]
    )
    assert isinstance(wrong.exception, RecipeError)
    assert "there are tokens" in str(wrong.exception)


def test_the_help_names_every_format() -> None:
    told = CliRunner().invoke(app, ["export", "--help"], env={"COLUMNS": "200"}).output
    assert all(form in told for form in FORMATS)
