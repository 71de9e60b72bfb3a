"""What a run prints: on a terminal and elsewhere, quiet and verbose; and what a shell completes."""

import os
import pty
import re
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

from tests.conftest import REPOSITORY, Sluice
from tests.stages.in_process import run_here, write_lines

ESCAPE = "\x1b["


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    for number in range(2):
        (tmp_path / f"docs-{number}.jsonl").write_text('{"text": "one"}\n{"text": "two words"}\n')
    path = tmp_path / "recipe.yaml"
    path.write_text("name: told\nartifacts:\n  docs: {stage: json_lines, files: docs-*.jsonl}\n")
    return path


def on_a_terminal(sluice: Sluice, *arguments: str | Path, **environment: str) -> str:
    """What a command writes to a terminal."""
    ours, theirs = pty.openpty()
    command = sluice.command(*arguments)
    environment = {**os.environ, "TERM": "xterm-256color", "COLUMNS": "100", **environment}
    process = subprocess.Popen(command, stdout=theirs, stderr=theirs, stdin=theirs, cwd=REPOSITORY, env=environment)
    os.close(theirs)
    found = b""
    while True:
        try:
            piece = os.read(ours, 65536)
        except OSError:  # the other side is closed
            break
        if not piece:
            break
        found += piece
    os.close(ours)
    assert process.wait() == 0, found
    return found.decode()


def test_a_quiet_run_prints_its_last_line_alone(recipe: Path, sluice: Sluice) -> None:
    (line,) = sluice.run(recipe, "--quiet").splitlines()
    assert line.startswith("done in ")
    (line,) = sluice.run(recipe, "--quiet").splitlines()
    assert "nothing was run" in line


def test_a_quiet_run_prints_its_error(recipe: Path, sluice: Sluice) -> None:
    (recipe.parent / "docs-1.jsonl").unlink()
    (recipe.parent / "docs-0.jsonl").unlink()
    assert sluice.run(recipe, "--quiet", status=2).startswith("error: ")


def test_a_verbose_run_tells_of_each_part(recipe: Path, sluice: Sluice) -> None:
    told = sluice.run(recipe, "--verbose").splitlines()
    for number in range(2):
        assert f"part handed out: docs, docs-{number}.jsonl" in told
        assert any(line.startswith(f"part committed: docs, docs-{number}.jsonl: seconds ") for line in told)


def test_where_there_is_no_terminal_there_are_no_control_characters(recipe: Path, sluice: Sluice) -> None:
    assert ESCAPE not in sluice.run(recipe)
    assert ESCAPE not in sluice("status", recipe.parent / "run")


def test_a_terminal_shows_a_table_that_is_kept_up(recipe: Path, sluice: Sluice) -> None:
    told = on_a_terminal(sluice, "run", recipe, "--out", recipe.parent / "run", "--address", sluice.address)
    assert ESCAPE in told
    assert "per second" in told
    assert "2/2" in told


def test_no_color_is_respected(recipe: Path, sluice: Sluice) -> None:
    sluice.run(recipe)
    told = on_a_terminal(sluice, "status", recipe.parent / "run", NO_COLOR="1")
    assert "docs" in told
    assert not any(f"{ESCAPE}{color}" in told for color in range(31, 38))


def test_a_command_that_takes_long_shows_how_far_it_is_on_a_terminal_alone(recipe: Path, sluice: Sluice) -> None:
    sluice.run(recipe)
    assert sluice("report", recipe.parent / "run").splitlines() == [str(recipe.parent / "run/report.html")]
    told = on_a_terminal(sluice, "report", recipe.parent / "run")
    assert "writing the report" in told
    assert re.search(r"\d per second", told)


SLUICE = str(Path(sys.executable).with_name("sluice"))

COMPLETE = """
eval "$SCRIPT"
COMP_WORDS=("$@") COMP_CWORD=$(($# - 1))
_sluice_completion "$SLUICE"
printf '%s\\n' "${COMPREPLY[@]}"
"""


@cache
def completion_script() -> str:
    environment = {**os.environ, "_SLUICE_COMPLETE": "source_bash"}
    return subprocess.run([SLUICE], env=environment, capture_output=True, text=True, check=True).stdout


def completed(words: str) -> list[str]:
    """What bash offers after these words, by the script that `sluice --show-completion` prints."""
    done = subprocess.run(
        ["bash", "-c", COMPLETE, "bash", *words.split(" ")],
        env={**os.environ, "SLUICE": SLUICE, "SCRIPT": completion_script()},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stderr == ""
    return done.stdout.split()


def test_a_shell_completes_commands_and_options() -> None:
    assert completed("sluice re") == ["report", "rethreshold"]
    assert "--older-than" in completed("sluice clean --o")


def test_a_shell_completes_names_of_stages() -> None:
    assert completed("sluice stages gopher_q") == ["gopher_quality"]
    assert completed("sluice try json_l") == ["json_lines"]


def test_a_shell_completes_words_of_which_there_are_few() -> None:
    assert completed("sluice new c") == ["code", "crawl"]
    assert completed("sluice export runs/one --format p") == ["parquet-text", "parquet-ids"]
    assert completed("sluice export runs/one --split h") == ["held_out"]
    assert completed("sluice demo --size t") == ["tiny"]


def test_a_shell_completes_artifacts_of_a_run(tmp_path: Path) -> None:
    write_lines(tmp_path / "docs.jsonl", ["one"])
    run_here(tmp_path, {"docs": {"stage": "json_lines", "files": "docs.jsonl"}})
    assert completed(f"sluice rethreshold {tmp_path / 'run'} d") == ["docs"]
    assert completed(f"sluice export {tmp_path / 'run'} --artifact d") == ["docs"]


@pytest.mark.parametrize("damaged", [b"", b"[]", b"{}", b'{"artifacts": '])
def test_a_shell_offers_nothing_where_a_run_cannot_be_read(tmp_path: Path, damaged: bytes) -> None:
    (tmp_path / "run.json").write_bytes(damaged)
    assert completed(f"sluice rethreshold {tmp_path} d") == []


@pytest.mark.parametrize(
    ("words", "spared"),
    [
        ("sluice stages g", {"ray", "torch", "numba", "transformers", "pyarrow", "numpy"}),
        ("sluice rethreshold run d", {"ray", "torch", "numba", "transformers", "pyarrow", "numpy"}),
        ("sluice export run --format p", {"ray", "torch", "numba", "transformers"}),
    ],
)
def test_a_shell_is_answered_without_loading_what_runs_need(words: str, spared: set[str]) -> None:
    asked = {"_SLUICE_COMPLETE": "complete_bash", "COMP_WORDS": words, "COMP_CWORD": str(words.count(" "))}
    assert not spared & loaded_by([], **asked)


def test_help_is_answered_without_loading_what_stages_need() -> None:
    assert not (HEAVY | {"pyarrow", "numpy"}) & loaded_by(["--help"])


HEAVY = {"ray", "torch", "numba", "transformers"}


def loaded_by(arguments: list[str], **environment: str) -> set[str]:
    """Packages that the command imports, as Python tells."""
    command = [sys.executable, "-X", "importtime", SLUICE, *arguments]
    done = subprocess.run(
        command, capture_output=True, text=True, check=True, cwd=REPOSITORY, env={**os.environ, **environment}
    )
    packages = {line.rpartition("|")[2].strip().partition(".")[0] for line in done.stderr.splitlines()}
    assert "typer" in packages
    return packages
