"""How a command ends, as the shell sees it: its status, and one message on standard error."""

import inspect
import subprocess
import sys
from pathlib import Path

import pytest

from pipeline import cli, errors
from pipeline.errors import SluiceError
from pipeline.run import Run
from tests.stages.in_process import run_here, write_lines
from tests.stages.tokenize.exports.folders import write_tokens

KINDS = [kind for _, kind in inspect.getmembers(errors, inspect.isclass) if issubclass(kind, SluiceError)]
STATUSES = {"RecipeError": 2, "MachineError": 3, "ServiceGoneError": 3}  # docs/exit-status.md; of all others 1


def sluice(*arguments: object) -> tuple[int, str, str]:
    """Status, standard output and standard error of a command."""
    command = [sys.executable, "-m", "pipeline.cli", *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    return done.returncode, done.stdout, done.stderr


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_lines(tmp_path / "docs.jsonl", ["One", "Two words"])
    run_here(tmp_path, {"docs": {"stage": "json_lines", "files": "docs.jsonl"}})
    return tmp_path


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_each_error_ends_the_command_with_its_own_status(kind: type[SluiceError], monkeypatch, capsys) -> None:
    def fail() -> None:
        raise kind("data/a.warc: cut short; fetch it again")

    monkeypatch.setattr(cli, "app", fail)
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert ended.value.code == STATUSES.get(kind.__name__, 1)
    assert capsys.readouterr() == ("", "error: data/a.warc: cut short; fetch it again\n")


def test_what_is_done_ends_with_0(folder: Path) -> None:
    status, told, error = sluice("explain", folder / "run", "docs/docs.jsonl@0")
    assert (status, error) == (0, "")
    assert told.startswith("docs/docs.jsonl@0\n")


def test_damaged_input_ends_with_1(tmp_path: Path) -> None:
    tokens = write_tokens(tmp_path / "tokens")
    shard = tokens / "web/train-00000.bin"
    shard.write_bytes(bytes([shard.read_bytes()[0] ^ 1]) + shard.read_bytes()[1:])
    status, told, error = sluice("export", tokens, "--format", "olmo", "--out", tmp_path / "out")
    assert (status, told) == (1, "")
    assert error.startswith("error: not the bytes that ")
    assert str(shard) in error


def test_a_run_at_which_another_command_is_at_work_ends_with_1(folder: Path) -> None:
    with Run.open(folder / "run").at_work(alone=True):
        status, told, error = sluice("take-down", folder / "run", "docs/docs.jsonl@0")
    assert (status, told) == (1, "")
    assert f"another command is at work on {folder}/run: wait for its end or stop it" in error


def test_a_wrong_recipe_ends_with_2(tmp_path: Path) -> None:
    (tmp_path / "recipe.yaml").write_text("artifacts:\n  docs: {stage: json_line, files: docs.jsonl}\n")
    status, told, error = sluice("run", tmp_path / "recipe.yaml", "--out", tmp_path / "run")
    assert (status, told) == (2, "")
    assert "'json_lines'" in error
    assert not (tmp_path / "run").exists()


def test_a_wrong_command_line_ends_with_2() -> None:
    status, told, error = sluice("status")
    assert (status, told) == (2, "")
    assert "Missing argument 'RUN'" in error


def test_a_cluster_that_is_not_there_ends_with_3(tmp_path: Path) -> None:
    write_lines(tmp_path / "docs.jsonl", ["One"])
    (tmp_path / "recipe.yaml").write_text("artifacts:\n  docs: {stage: json_lines, files: docs.jsonl}\n")
    address = ("--address", "127.0.0.1:1")
    status, _, error = sluice("run", tmp_path / "recipe.yaml", "--out", tmp_path / "run", *address)
    assert status == 3
    assert error.splitlines()[-1].startswith("error: ")
    assert "127.0.0.1:1" in error
