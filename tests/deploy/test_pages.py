"""What the pages of deploy/ tell people to type."""

import re
from pathlib import Path

import pytest
import typer
import yaml

from pipeline.cli import app
from tests.conftest import REPOSITORY
from tests.deploy.commands import commands_in, commands_of_page, runs_on_a_cluster

UsageError: type[Exception] = typer.BadParameter.__mro__[1]  # typer shows its subclasses alone
PAGES = sorted((REPOSITORY / "deploy").glob("*.md"))


def parse(words: list[str]) -> None:
    """Hold arguments against the command line's own parser, and run nothing.

    Raises:
        UsageError: there is no such command or option, or an argument is missing.
    """
    command, name = typer.main.get_command(app), "sluice"
    while commands := getattr(command, "commands", None):
        if words[0] not in commands:
            raise UsageError(f"no command {words[0]}")
        command, name, words = commands[words[0]], words[0], words[1:]
    command.make_context(name, list(words)).close()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_sluice_command_of_a_page_parses(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLUICE_SCRATCH", str(tmp_path))
    commands = list(commands_of_page(page))
    assert commands
    for words in commands:
        parse(words)


@pytest.mark.parametrize(
    "line",
    [
        "sluice runs recipe.yaml",
        "sluice run recipe.yaml --adress auto",
        "sluice run",
        "sluice mix fitt",
        'ray exec cluster.yaml "ray job submit -- \\\n    sluice run recipe.yaml --output s3://bucket/run"',
    ],
)
def test_a_wrong_command_would_be_seen(line: str) -> None:
    (words,) = commands_in(line)
    with pytest.raises(UsageError):
        parse(words)


def test_commands_are_found_wherever_they_stand() -> None:
    text = """
cd x && sluice status RUN > out
ray exec c.yaml "ray job -- \\
    sluice run r --out s3://b/x"
sluice demo # why
"""
    assert commands_in(text) == [["status", "RUN"], ["run", "r", "--out", "s3://b/x"], ["demo"]]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_file_that_a_page_names_is_there(page: Path) -> None:
    text = page.read_text()
    for link in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", text):
        assert (page.parent / link).exists(), link
    for path in re.findall(r"(?<![\w/])deploy/[\w./-]+\w", text):
        assert (REPOSITORY / path).exists(), path


@pytest.mark.parametrize("page", [page for page in PAGES if page.name != "README.md"], ids=lambda page: page.name)
def test_a_page_starts_from_nothing_ends_with_a_report_and_is_in_the_index(page: Path) -> None:
    text = page.read_text()
    assert "sluice demo" in text
    assert "report.html" in text
    assert f"]({page.name})" in (REPOSITORY / "deploy/README.md").read_text()


def test_placeholders_of_files_are_filled_in_by_their_pages() -> None:
    files = {
        "aws.md": ("aws/cluster.yaml", "recipe/recipe.yaml"),
        "gcp.md": ("gcp/cluster.yaml", "recipe/recipe.yaml"),
        "kuberay.md": ("kuberay/rayjob.yaml", "kuberay/raycluster.yaml"),
    }
    for page, paths in files.items():
        written = "".join((REPOSITORY / "deploy" / path).read_text() for path in paths)
        filled = re.findall(r"s\|(?:s3://)?(YOUR-[A-Z-]+)\|", (REPOSITORY / "deploy" / page).read_text())
        assert set(re.findall(r"YOUR-[A-Z]+(?:-[A-Z]+)*", written)) == set(filled)


def test_the_recipe_of_the_manifests_is_that_of_the_pages() -> None:
    manifest = yaml.safe_load_all((REPOSITORY / "deploy/kuberay/rayjob.yaml").read_text())
    (recipe,) = [found["data"]["recipe.yaml"] for found in manifest if found["kind"] == "ConfigMap"]
    assert recipe == (REPOSITORY / "deploy/recipe/recipe.yaml").read_text()


def test_every_way_to_a_cluster_has_a_command_to_run() -> None:
    assert set(runs_on_a_cluster()) == {"rayjob.yaml", "sluice.sbatch", "aws.md", "gcp.md", "kuberay.md"}
