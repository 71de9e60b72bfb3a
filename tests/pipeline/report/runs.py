"""Small real runs, made in this process, for the tests of the report."""

import inspect
import json
from importlib import import_module
from pathlib import Path
from typing import Any

import yaml
from rich.console import Console

from pipeline.artifact import Artifact
from pipeline.executors import InProcess
from pipeline.graph import build_graph
from pipeline.progress import Display
from pipeline.recipe import load_recipe
from pipeline.run import InputDigests, Run
from pipeline.runner import Scheduler, stage_progress

HOSTILE_TEXT = '<script>alert("x")</script> & \'"><img src=x onerror=alert(1)> \u202egnp.exe\u2066 \x00\x1b[31m </pre>'
HOSTILE_TEXT += " the #padding and #padding" * 40  # so that one filter drops it, and nothing else
HOSTILE_URL = 'https://evil.example/"onmouseover="alert(1)<script>\u202e'

FILTERED = {
    "first": {"stage": "json_lines", "files": "first.jsonl"},
    "second": {"stage": "json_lines", "files": "second.jsonl"},
    "clean": {"from": "first", "chain": [{"gopher_quality": {"min_words": 30}}]},
    "unique": {"stage": "dedup", "from": ["second", "clean"]},
    "tokens": {"stage": "tokenize", "from": "unique", "vocabulary": 400, "held_out": 0.04},
}
TRAINED = {
    **FILTERED,
    "mix": {
        "stage": "mix",
        "from": "tokens",
        "runs": 10,
        "size": "tiny",
        "steps": 8,
        "second": {"size": "nano", "steps": 8, "pairs": 4},
        "confirm": 2,
        "batch": 1,
        "stack": 10,
        "evaluation_sequences": 2,
        "target": {"tokens": 2000},
    },
    "model": {"stage": "pretrain", "from": ["tokens", "mix"], "batch": 2, "evaluations": 1},
}


def write_corpus(folder: Path) -> None:
    """Docstrings of the standard library as two sources, one with duplicates, a hostile document and a broken line."""
    texts = sorted(set(_docstrings()), key=lambda text: (len(text), text))
    first, second = texts[0::2], texts[1::2]
    rows = [
        {"text": text, "url": f"https://docs.example/{i}"}
        for i, text in enumerate([*first, *first[-20:], *second[-20:]])
    ]
    rows.append({"text": HOSTILE_TEXT, "url": HOSTILE_URL})
    lines = [json.dumps(row) for row in rows]
    (folder / "first.jsonl").write_text("\n".join([*lines, '{"text": broken']) + "\n")
    (folder / "second.jsonl").write_text("".join(json.dumps({"text": text}) + "\n" for text in second))


def _docstrings() -> list[str]:
    found = []
    for module in ("argparse", "difflib", "logging", "statistics"):
        for _, value in inspect.getmembers(import_module(module)):
            text = inspect.getdoc(value) or ""
            if len(text) > 40:
                found.append(text)
            if inspect.isclass(value):
                found += [doc for _, m in inspect.getmembers(value) if len(doc := inspect.getdoc(m) or "") > 150]
    return found


def made(folder: Path, artifacts: dict[str, Any]) -> Run:
    """Run a recipe over the corpus in ``folder`` to its end."""
    recipe = folder / "recipe.yaml"
    recipe.write_text(yaml.safe_dump({"name": "small-run", "seed": 3, "artifacts": artifacts}, sort_keys=False))
    graph = build_graph(load_recipe(recipe, []))
    run = Run(folder / "run")
    run.begin(graph, {"sluice": "0.0.test"})
    sealed: dict[str, Artifact] = {}
    display = Display(Console(quiet=True), stage_progress(graph, {}))
    Scheduler(run, graph, sealed, InputDigests(run.folder), display).execute(InProcess())
    run.state.status = "done"
    run.save_state()
    return run
