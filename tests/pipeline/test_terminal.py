"""What a run prints: on a terminal and elsewhere, quiet and verbose; and what a shell completes."""

import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import REPOSITORY, Sluice

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


def completed(words: str) -> list[str]:
    """What bash would offer after these words, by the program's own completion."""
    environment = {
        "_SLUICE_COMPLETE": "complete_bash",
        "COMP_WORDS": words,
        "COMP_CWORD": str(len(words.split(" ")) - 1),
    }
    done = subprocess.run(
        [str(Path(sys.executable).with_name("sluice"))],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.split()


def test_a_shell_completes_commands_and_options() -> None:
    assert completed("sluice re") == ["report", "rethreshold"]
    assert "--older-than" in completed("sluice clean --o")


def test_a_shell_completes_names_of_stages() -> None:
    assert completed("sluice stages gopher_q") == ["gopher_quality"]
    assert completed("sluice try json_l") == ["json_lines"]


def test_a_shell_completes_artifacts_of_a_run(recipe: Path, sluice: Sluice) -> None:
    sluice.run(recipe)
    assert completed(f"sluice rethreshold {recipe.parent / 'run'} d") == ["docs"]


def test_what_is_typed_often_is_answered_without_loading_ray() -> None:
    loaded = "import sys, pipeline.cli; print(*sorted({'ray', 'torch', 'pyarrow', 'numpy'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", loaded], capture_output=True, text=True, check=True, cwd=REPOSITORY)
    assert done.stdout.split() == []
