"""The rooms know only what the design lets them know."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parent.parent
ENTRY_POINTS = {"cli.py", "demo.py"}  # may reach into any room
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
    rooms = ("pipeline", "stages", "mixes", "proxy_models")
    assert [o for room in rooms for o in offenders(room, ("pipeline.cli",))] == []


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
