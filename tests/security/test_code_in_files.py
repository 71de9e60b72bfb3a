"""Nothing that is read can carry code: no pickles, no YAML that makes objects, no text run as Python or shell."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import REPOSITORY

ROOMS = ("pipeline", "stages", "mixes", "proxy_models")
PIPES = {  # pickles that a process and the child that it has started send each other, and nobody else can
    "pipeline/isolation.py",
    "stages/extract/html_process.py",
    "stages/extract/html_worker.py",
    "stages/intake/wikitext_process.py",
}
UNPICKLERS = ("pickle", "_pickle", "cloudpickle", "dill", "joblib", "marshal", "shelve", "jsonpickle")
SAFE_LOADERS = {"yaml.SafeLoader", "pipeline.recipe.RecipeLoader"}  # the second is made from the first, as seen here
RUNNING = ("eval", "exec", "compile", "__import__", "os.system", "os.popen")
UNSAFE_YAML = ("yaml.unsafe_load", "yaml.full_load", "yaml.unsafe_load_all", "yaml.full_load_all", "yaml.load_all")


def name_of(node: ast.expr, modules: dict[str, str]) -> str:
    """A dotted name with the modules' own names: "numpy.load" for np.load."""
    if isinstance(node, ast.Attribute):
        return f"{name_of(node.value, modules)}.{node.attr}"
    return modules.get(node.id, node.id) if isinstance(node, ast.Name) else ""


def modules_of(tree: ast.Module) -> dict[str, str]:
    """What names of a file stand for that it has imported."""
    found = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.asname or alias.name.partition(".")[0]: alias.name for alias in node.names if alias.asname}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {alias.asname or alias.name: f"{node.module}.{alias.name}" for alias in node.names}
    return found


def given(call: ast.Call, name: str) -> ast.expr | None:
    return next((keyword.value for keyword in call.keywords if keyword.arg == name), None)


def is_true(value: ast.expr | None) -> bool:
    return isinstance(value, ast.Constant) and value.value is True


def dangers(source: str) -> Iterator[str]:
    """Calls through which what is read could be run."""
    tree = ast.parse(source)
    modules = modules_of(tree)
    bases = {node.name: node.bases for node in ast.walk(tree) if isinstance(node, ast.ClassDef)}
    for call in (node for node in ast.walk(tree) if isinstance(node, ast.Call)):
        name = name_of(call.func, modules)
        first, _, last = name.rpartition(".")
        unpickles = first.split(".")[0] in UNPICKLERS and last in ("load", "loads", "open", "Unpickler", "decode")
        if unpickles or last == "read_pickle" or name in (*RUNNING, *UNSAFE_YAML):
            yield f"{call.lineno}: {name}"
        elif name == "torch.load" and not is_true(given(call, "weights_only")):
            yield f"{call.lineno}: torch.load without weights_only=True"
        elif name == "yaml.load":
            loader = given(call, "Loader")
            names = {name_of(base, modules) for base in bases.get(getattr(loader, "id", ""), [])}
            if not names or not names <= SAFE_LOADERS:
                yield f"{call.lineno}: yaml.load with a loader that is not made from SafeLoader here"
        for option in ("allow_pickle", "trust_remote_code", "shell"):
            value = given(call, option)
            if value is not None and not (isinstance(value, ast.Constant) and value.value is False):
                yield f"{call.lineno}: {name} with {option}"


def sources() -> list[Path]:
    return sorted(path for room in ROOMS for path in (REPOSITORY / room).rglob("*.py"))


def test_nothing_that_is_read_is_run() -> None:
    assert len(sources()) > 100
    found = {
        (path.relative_to(REPOSITORY).as_posix(), danger)
        for path in sources()
        for danger in dangers(path.read_text(encoding="utf-8"))
    }
    assert {(path, danger) for path, danger in found if path not in PIPES} == set()
    assert {path for path, _ in found} == PIPES, "an exception that is none any more"
    assert all(danger.endswith("pickle.loads") for _, danger in found)


@pytest.mark.parametrize("path", sorted(PIPES))
def test_a_pickle_of_a_pipe_is_of_that_pipe(path: str) -> None:
    tree = ast.parse((REPOSITORY / path).read_text())
    calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call) and ast.unparse(node.func) == "pickle.loads"]
    assert calls
    for call in calls:
        assert ast.unparse(call.args[0]).endswith((".recv_bytes()", "sys.stdin.buffer.read()"))


@pytest.mark.parametrize(
    "source",
    [
        "import pickle\npickle.load(file)",
        "from pickle import loads\nloads(b'')",
        "import pickle as p\np.Unpickler(file).load()",
        "import joblib\njoblib.load('model')",
        "import pandas as pd\npd.read_pickle('table')",
        "import torch\ntorch.load(path)",
        "import torch\ntorch.load(path, weights_only=False)",
        "import torch\ntorch.load(path, weights_only=is_safe)",
        "from torch import load\nload(path)",
        "import numpy as np\nnp.load(path, allow_pickle=True)",
        "import numpy as np\nnp.load(path, allow_pickle=is_old)",
        "import yaml\nyaml.load(text, Loader=yaml.Loader)",
        "import yaml\nyaml.load(text, yaml.UnsafeLoader)",
        "import yaml\nclass L(yaml.Loader): ...\nyaml.load(text, Loader=L)",
        "from yaml import unsafe_load\nunsafe_load(text)",
        "eval(text)",
        "exec(text)",
        "import subprocess\nsubprocess.run(command, shell=True)",
        "import os\nos.system(command)",
        "AutoModel.from_pretrained(name, trust_remote_code=True)",
    ],
)
def test_a_danger_would_be_seen(source: str) -> None:
    assert len(list(dangers(source))) == 1


@pytest.mark.parametrize(
    "source",
    [
        "import numpy as np\nnp.load(path)",
        "import torch\ntorch.load(path, weights_only=True, mmap=True)",
        "import yaml\nyaml.safe_load(text)",
        "import yaml\nclass L(yaml.SafeLoader): ...\nyaml.load(text, Loader=L)",
        "import pickle\npickle.dumps(values)",
        "import re\nre.compile(pattern)",
        "model.eval()",
    ],
)
def test_what_is_harmless_passes(source: str) -> None:
    assert list(dangers(source)) == []
