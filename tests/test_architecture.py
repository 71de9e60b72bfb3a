"""The rooms know only what the design lets them know."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parent.parent
ENTRY_POINTS = {"cli.py", "demo.py"}  # may reach into any room
TELLS_OF_COMMANDS = frozenset({"reference.py"})
ROOMS = ("pipeline", "stages", "mixes", "proxy_models")
ON_RAY = frozenset({"ray_train.py"})  # starts ranks by Ray Train


def imports(path: Path, top_level_only: bool = False) -> Iterator[str]:
    """Names of the modules that a file imports."""
    tree = ast.parse(path.read_text())
    nodes = tree.body if top_level_only else list(ast.walk(tree))
    for node in nodes:
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module


def files(room: str) -> list[Path]:
    found = sorted((REPOSITORY / room).rglob("*.py"))
    assert found
    return found


def offenders(room: str, forbidden: tuple[str, ...], skip: frozenset[str] = frozenset()) -> list[str]:
    return [
        f"{path.relative_to(REPOSITORY)} imports {name}"
        for path in files(room)
        if path.name not in skip
        for name in imports(path)
        if name.startswith(forbidden)
    ]


@pytest.mark.parametrize(
    ("room", "forbidden"),
    [
        ("stages", ("ray", "pipeline.runner", "pipeline.run", "pipeline.commands", "pipeline.cli")),
        ("mixes", ("torch", "ray", "pipeline", "stages", "proxy_models")),
        ("proxy_models", ("ray", "pipeline", "stages", "mixes")),
    ],
)
def test_rooms_import_in_one_direction(room: str, forbidden: tuple[str, ...]) -> None:
    assert offenders(room, tuple(f"{name}." for name in forbidden), ON_RAY) == []
    exact = [o for o in offenders(room, forbidden, ON_RAY) if o.rsplit(" ", 1)[1] in forbidden]
    assert exact == []


def test_the_pipeline_does_not_know_what_stages_do() -> None:
    assert offenders("pipeline", ("stages", "mixes", "proxy_models", "torch"), frozenset(ENTRY_POINTS)) == []


def test_nobody_imports_the_command_line() -> None:
    assert [o for room in ROOMS for o in offenders(room, ("pipeline.cli",), TELLS_OF_COMMANDS)] == []


def test_stage_modules_import_heavy_libraries_only_when_used() -> None:
    heavy = ("ray", "torch", "trafilatura", "fasttext", "sklearn", "pypdfium2", "openvino", "onnxruntime", "cv2")
    heavy += ("spacy", "datatrove", "simplemma")
    # imported by trafilatura_speed.install() alone: all they do is stand in for trafilatura's functions
    installed = {f"stages/extract/trafilatura_speed/{name}.py" for name in ("replacements", "readability")}
    found = [
        f"{path.relative_to(REPOSITORY)} imports {name}"
        for room in ("pipeline", "stages")
        for path in files(room)
        for name in imports(path, top_level_only=True)
        if name.split(".")[0] in heavy and str(path.relative_to(REPOSITORY)) not in installed
    ]
    assert found == []


def names_in(text: str) -> list[str]:
    """What a page sets between backticks; shell commands lose their arguments."""
    inline = re.findall(r"`([^`]+)`", re.sub(r"^```.*?^```", "", text, flags=re.MULTILINE | re.DOTALL))
    return [name.removeprefix("sluice ") for name in inline]


def test_every_name_on_the_page_of_the_architecture_is_one_of_the_code() -> None:
    page = (REPOSITORY / "ARCHITECTURE.md").read_text()
    sources = "\n".join(path.read_text() for room in ROOMS for path in files(room))
    missing = [
        name
        for name in names_in(page)
        if not (REPOSITORY / name).exists() and not re.search(rf"(?<!\w){re.escape(name)}(?!\w)", sources)
    ]
    assert missing == []


def test_every_module_in_the_picture_is_there() -> None:
    (picture,) = re.findall(r"^```\n(.*?)^```", (REPOSITORY / "ARCHITECTURE.md").read_text(), re.MULTILINE | re.DOTALL)
    modules = re.findall(r"(?:pipeline|stages|mixes|proxy_models)/\w*", picture)
    assert len(modules) > 5
    assert [m for m in modules if not ((REPOSITORY / m).exists() or (REPOSITORY / f"{m}.py").exists())] == []


def test_the_page_of_the_architecture_is_one_page() -> None:
    assert len((REPOSITORY / "ARCHITECTURE.md").read_text().splitlines()) < 100
