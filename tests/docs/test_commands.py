"""What the pages tell people to type: every command is one of Sluice's, every recipe one of its recipes, and every page
does what it says from its first block to its last."""

import json
import os
import re
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import typer
import yaml

from pipeline.catalog import recipe_schema
from pipeline.cli import app
from tests.chat_server import ChatServer
from tests.conftest import REPOSITORY, S3_SECRET, Sluice
from tests.docs.pages import (
    SHELL,
    Block,
    blocks_of,
    commands_in,
    commands_of_page,
    page_name,
    pages,
    prose_of,
    script_of,
)
from tests.servers import put_objects, s3_server
from tests.stages.rephrase.conftest import Asked, sound_model

UsageError: type[Exception] = typer.BadParameter.__mro__[1]  # typer shows its subclasses alone
PAGES = pages()
NOT_RUN = {
    "installs Sluice": 1,
    "needs AWS": 9,
    "needs Docker": 3,
    "needs Google Cloud": 6,
    "needs Kubernetes": 9,
    "needs Slurm": 3,
    "needs a GPU": 2,
    "needs a cluster": 1,
    "reads from Common Crawl's servers": 1,
}
"""Blocks that cannot run here, by the reason that stands before them."""
QUICK = {"docs/plan.md", "docs/sources.md"}
"""Pages that take less than about 8 s."""


def parse(words: list[str]) -> None:
    """Hold arguments against the command line's own parser, and run nothing. A command alone is a name in a sentence.

    Raises:
        UsageError: there is no such command or option, or an argument is missing.
    """
    command, name = typer.main.get_command(app), "sluice"
    while words and (commands := getattr(command, "commands", None)):
        if words[0] not in commands:
            raise UsageError(f"no command {words[0]}")
        command, name, words = commands[words[0]], words[0], words[1:]
    if words:
        command.make_context(name, list(words)).close()


@pytest.mark.parametrize("page", PAGES, ids=page_name)
def test_every_sluice_command_of_a_page_parses(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLUICE_SCRATCH", str(tmp_path))
    for words in commands_of_page(page):
        parse(words)


@pytest.mark.parametrize(
    "line",
    [
        "sluice runs recipe.yaml",
        "sluice run recipe.yaml --adress auto",
        "sluice run --retry",
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
sluice take-down # why
"""
    assert commands_in(text) == [["status", "RUN"], ["run", "r", "--out", "s3://b/x"], ["take-down"]]


def leaves(command: Any, name: str) -> Iterator[str]:
    commands = getattr(command, "commands", None)
    if commands is None:
        yield name
    for inner, one in (commands or {}).items():
        yield from leaves(one, f"{name} {inner}".strip())


def test_every_command_is_run_by_some_page() -> None:
    run = {" ".join(words) for page in PAGES for words in commands_in(script_of(page))}
    missing = [name for name in leaves(typer.main.get_command(app), "") if not any(r.startswith(name) for r in run)]
    assert missing == []


def test_no_command_stands_in_a_block_that_is_not_looked_at() -> None:
    hidden = [
        (page_name(page), block.text)
        for page in PAGES
        for block in blocks_of(page)
        if block.language not in (SHELL, "text") and re.search(r"^\$? ?sluice ", block.text, re.MULTILINE)
    ]
    indented = [page_name(page) for page in PAGES if re.search(r"^    \$? ?sluice ", prose_of(page), re.MULTILINE)]
    assert (hidden, indented) == ([], [])


def test_what_is_not_run_here_is_known() -> None:
    reasons = Counter(block.not_run for page in PAGES for block in blocks_of(page) if block.not_run)
    assert reasons == NOT_RUN


@pytest.fixture(scope="module")
def validator() -> Any:
    return jsonschema.Draft202012Validator(json.loads(recipe_schema()))


def as_recipe(block: Block) -> Any:
    """A block of YAML as a recipe: a whole one, artifacts of one, or settings beside them. None if it is no recipe."""
    values = yaml.safe_load(block.text)
    if block.file_name and "artifacts" not in values:
        return None
    if "artifacts" in values:
        assert block.file_name, f"a whole recipe, of which nothing says what file it is:\n{block.text}"
        return values
    return {"artifacts": {}, **values} if "supervision" in values else {"artifacts": values}


@pytest.mark.parametrize("page", PAGES, ids=page_name)
def test_every_recipe_of_a_page_is_one(page: Path, validator: Any) -> None:
    for block in blocks_of(page):
        if block.language == "yaml" and (recipe := as_recipe(block)) is not None:
            assert [error.message for error in validator.iter_errors(recipe)] == [], block.text


def anchors(page: Path) -> set[str]:
    """Names of a page's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.*)$", page.read_text(), re.MULTILINE)
    plain = [re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", heading).lower() for heading in headings]
    return {re.sub(r"[^\w\- ]", "", heading).replace(" ", "-") for heading in plain}


@pytest.mark.parametrize("page", PAGES, ids=page_name)
def test_every_link_leads_somewhere(page: Path) -> None:
    for link in re.findall(r"\]\(([^)\s]+)\)", page.read_text()):
        if re.match(r"\w+:", link):
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), link
        assert not anchor or anchor in anchors(target), link


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What `sluice demo sample --size tiny --build-only` leaves."""
    folder = tmp_path_factory.mktemp("corpus") / "sample"
    Sluice("")("demo", folder, "--size", "tiny", "--build-only")
    return folder


@pytest.fixture(scope="module")
def demo(corpus: Path, ray_address: str) -> Path:
    """What `sluice demo sample --size tiny` leaves."""
    folder = corpus.parent / "demo"
    shutil.copytree(corpus, folder)
    Sluice(ray_address)("demo", folder, "--size", "tiny", "--address", ray_address)
    return folder


@pytest.fixture(scope="module")
def servers() -> Iterator[dict[str, str]]:
    """A bucket and a model, as the environment names them."""
    with s3_server() as store, ChatServer(sound_model, request_type=Asked) as model:
        put_objects(store, "bucket", {})
        yield {
            **{"AWS_ENDPOINT_URL": store, "AWS_ACCESS_KEY_ID": "key", "AWS_SECRET_ACCESS_KEY": S3_SECRET},
            **{"AWS_DEFAULT_REGION": "us-east-1", "ENDPOINT": model.url, "MODEL": "test"},
        }


SHIM = """#!{python}
# `sluice` as it is installed, but that runs join one cluster: starting Ray for each takes seconds.
import sys
from pipeline.cli import main
words = sys.argv[1:]
if words[:1] and words[0] in ("run", "plan", "demo") and "--address" not in words:
    sys.argv += ["--address", "{address}"]
main()
"""


def scripts() -> Iterator[Any]:
    """Those of all pages that have commands to run, equal ones once."""
    by_script = {script_of(page): page for page in reversed(PAGES)}
    for page in PAGES:
        if commands_in(script := script_of(page)) and by_script[script] == page:
            yield pytest.param(page, id=page_name(page), marks=[] if page_name(page) in QUICK else [pytest.mark.slow])


def checkout(folder: Path, script: str, request: pytest.FixtureRequest) -> None:
    """What lies where a reader stands: the files of a checkout that pages name, and the demo that a script asks for,
    which then finds itself done."""
    shutil.copytree(REPOSITORY / "deploy", folder / "deploy")
    if "demo/run" in script:
        shutil.copytree(request.getfixturevalue("demo"), folder / "demo")
    elif made := re.search(r"^sluice demo (\w+) --size tiny( --build-only)?", script, re.MULTILINE):
        shutil.copytree(request.getfixturevalue("corpus" if made[2] else "demo"), folder / made[1])


def is_shown(output: str, line: str) -> bool:
    """Whether a line that a page shows is in the output; … stands for anything, and blanks for blanks."""
    pattern = r"\s+".join(re.escape(word).replace("…", ".*?") for word in line.split())
    return bool(re.search(pattern, output))


@pytest.mark.parametrize("page", list(scripts()))
def test_a_page_does_what_it_says(page: Path, tmp_path: Path, ray_address: str, request: pytest.FixtureRequest) -> None:
    script, work = script_of(page), tmp_path / "work"
    work.mkdir()
    checkout(work, script, request)
    shim = tmp_path / "bin/sluice"
    shim.parent.mkdir()
    shim.write_text(SHIM.format(python=sys.executable, address=ray_address))
    shim.chmod(0o755)
    environment = {
        **os.environ,
        **(request.getfixturevalue("servers") if re.search("s3://|ENDPOINT", script) else {}),
        "PATH": f"{shim.parent}:{Path(sys.executable).parent}:{os.environ['PATH']}",
        "PYTHONPATH": str(REPOSITORY),
        "SLUICE_SCRATCH": str(tmp_path / "scratch"),
        "RAY_ADDRESS": ray_address,  # for --address auto
        "COLUMNS": "200",
    }
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-x", "-c", script],
        **{"cwd": work, "env": environment, "capture_output": True, "text": True, "timeout": 580},
    )
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    assert "Traceback" not in done.stderr, done.stderr  # documents speak of them too
    shown = [line for block in blocks_of(page) if block.language == "text" for line in block.text.splitlines()]
    assert [line for line in shown if not is_shown(done.stdout, line)] == [], done.stdout
