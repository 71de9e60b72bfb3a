"""What all commands of the command line have in common."""

import inspect
import json
import re
import shlex
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer

from pipeline import errors
from pipeline.cli import app
from pipeline.errors import SluiceError
from tests.conftest import REPOSITORY, Sluice
from tests.stages.in_process import run_here, write_lines

WRITING = {"run", "new", "export", "try", "demo", "mix fit", "mix predict", "mix change", "mix learn"}
"""Commands that make something new; what they print is for people (`try` prints JSON lines already)."""


def commands(group: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, command in group.commands.items():
        if hasattr(command, "commands"):
            yield from commands(command, f"{prefix}{name} ")
        else:
            yield prefix + name, command


ALL = dict(commands(typer.main.get_command(app)))


@pytest.mark.parametrize("name", sorted(ALL.keys() - WRITING))
def test_every_reading_command_can_print_json(name: str) -> None:
    assert "--json" in [option for parameter in ALL[name].params for option in parameter.opts]


@pytest.mark.parametrize("name", sorted(ALL))
def test_every_command_has_an_example_that_it_takes(name: str) -> None:
    (example,) = re.findall(r"^\s*Example: (sluice .*)$", ALL[name].help, re.MULTILINE)
    words = shlex.split(example)[1:]
    depth = len(name.split())
    assert words[:depth] == name.split()
    ALL[name].make_context(name, words[depth:])  # raises what a user would be told of a wrong command


@pytest.mark.parametrize("name", sorted(ALL))
def test_every_option_says_what_it_is(name: str) -> None:
    assert [p.name for p in ALL[name].params if p.name != "help" and not p.help] == []


@pytest.mark.parametrize("name", sorted(ALL))
def test_every_value_has_a_name_of_its_own_in_the_help(name: str) -> None:
    values = [p for p in ALL[name].params if not getattr(p, "is_flag", False)]
    assert [p.name for p in values if not (p.metavar and p.metavar.isupper())] == []


def test_the_list_of_commands_cuts_no_sentence_on_a_terminal_of_80_columns(
    sluice_alone: Sluice, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    for group in ((), ("mix",)):
        told = sluice_alone(*group, "--help").split("Commands:\n")[1]
        assert [line for line in told.splitlines() if not re.search(r"[^.]\.$", line) or len(line) > 80] == []


@pytest.mark.parametrize("name", sorted(ALL))
def test_an_example_stands_on_one_line_to_be_copied(
    name: str, sluice_alone: Sluice, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    (example,) = re.findall(r"^\s*Example: (sluice .*)$", ALL[name].help, re.MULTILINE)
    assert f"  Example: {example}\n" in sluice_alone(*name.split(), "--help")


def test_the_page_of_exit_statuses_names_each_error_with_its_status() -> None:
    page = (REPOSITORY / "docs/exit-status.md").read_text()
    told = dict(re.findall(r"^\| (\d+) \| (.*?) \|", page, re.MULTILINE))
    statuses = {
        kind.exit_code for _, kind in inspect.getmembers(errors, inspect.isclass) if issubclass(kind, SluiceError)
    }
    assert {int(status) for status in told} == statuses | {0, 2, 130}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made: Path = tmp_path_factory.mktemp("json")
    write_lines(made / "docs.jsonl", ["One", "Two WORDS", "THESE three words"])
    recipe = "artifacts:\n  docs: {stage: json_lines, files: docs.jsonl}\n"
    recipe += "  kept: {from: docs, chain: ['tests.pipeline.test_filter:Words': {min_words: 2}]}\n"
    (made / "recipe.yaml").write_text(recipe)
    chain = [{"tests.pipeline.test_filter:Words": {"min_words": 2}}]
    run_here(made, {"docs": {"stage": "json_lines", "files": "docs.jsonl"}, "kept": {"from": "docs", "chain": chain}})
    return made


def test_a_story_is_told_to_programs_as_events(folder: Path, sluice_alone: Sluice) -> None:
    story = json.loads(sluice_alone("explain", folder / "run", "docs/docs.jsonl@0", "--json"))
    assert story["document"] == "docs/docs.jsonl@0"
    (dropped,) = story["events"]
    assert (dropped["artifact"], dropped["step"]) == ("kept", "kept")
    assert (dropped["event"], dropped["reason"], dropped["evidence"]) == ("dropped", "too_few", "1 words < 2")
    assert dropped["measured"]["words.words"] == 1


def test_a_selection_is_told_to_programs_before_and_now(folder: Path, sluice_alone: Sluice) -> None:
    told = json.loads(sluice_alone("rethreshold", folder / "run", "kept", "--set", "words.min_words=3", "--json"))
    kept = next(row for row in told["documents"] if row["verdict"] == "kept")
    dropped = next(row for row in told["documents"] if row["reason"] == "too_few")
    assert ((kept["before"], kept["now"]), (dropped["before"], dropped["now"])) == ((2, 1), (1, 2))
    assert Path(told["selection"]).exists()


def test_a_recipe_is_told_to_programs_with_every_option(folder: Path, sluice_alone: Sluice) -> None:
    told = json.loads(sluice_alone("validate", folder / "recipe.yaml", "--json"))
    assert told["artifacts"]["kept"]["stages"][-1]["words"]["min_words"] == 2


def test_leftovers_and_the_report_are_told_to_programs(folder: Path, sluice_alone: Sluice) -> None:
    assert json.loads(sluice_alone("clean", folder / "run", "--dry-run", "--json")) == {
        "removed": False,
        "leftovers": [],
    }
    assert Path(json.loads(sluice_alone("report", folder / "run", "--json"))["report"]).name == "report.html"


def test_a_quiet_clean_tells_how_much_and_not_what(folder: Path, sluice_alone: Sluice) -> None:
    data = next((folder / "run/artifacts").glob("*/data"))
    attempt = data / "killed.1"
    attempt.mkdir()
    (attempt / "documents.parquet").write_bytes(b"12345")
    try:
        assert "killed.1" in sluice_alone("clean", folder / "run", "--dry-run")
        (line,) = sluice_alone("clean", folder / "run", "--quiet").splitlines()
    finally:
        shutil.rmtree(attempt, ignore_errors=True)
    assert line == "1 leftover of 5 bytes removed"
