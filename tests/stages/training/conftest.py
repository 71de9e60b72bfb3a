"""Tokens of three small sources, a swarm of the smallest proxies on them, and the mix that follows."""

import json
import random
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from pipeline.artifact import Artifact
from pipeline.stage import Context
from tests.stages.in_process import artifact_of_files, run_here, write_lines

SOURCES = ("sums", "tales", "code")
TARGET_TOKENS = 20_000
MAX_EPOCHS = 2.0
"""The code has about 3,000 tokens to train on: at most a third of the target may be code."""


def write_sources(folder: Path, seed: int = 0) -> Path:
    """Sums, sentences and code, as JSON Lines."""
    rng = random.Random(seed)
    nouns = ("cat", "dog", "bird", "fish")
    write_lines(folder / "sums.jsonl", [f"{a} + {b} = {a + b}." for a, b in pairs(rng, 900)])
    write_lines(
        folder / "tales.jsonl",
        [f"The {rng.choice(nouns)} sees the {rng.choice(nouns)} and sleeps near the {i}th mill." for i in range(400)],
    )
    write_lines(folder / "code.jsonl", [f"def f(a):\n    return a * {a} + {b}\n" for a, b in pairs(rng, 140)])
    return folder


def pairs(rng: random.Random, count: int) -> list[tuple[int, int]]:
    return [(rng.randrange(100), rng.randrange(100)) for _ in range(count)]


def sums_to_answer(path: Path) -> Path:
    """Prompts and answers of the kind that the sums teach."""
    rng = random.Random(7)
    lines = [json.dumps({"prompt": f"{a} + {b} =", "answer": f" {a + b}."}) for a, b in pairs(rng, 40)]
    path.write_text("\n".join(lines) + "\n")
    return path


def tokenized(names: Sequence[str] = SOURCES) -> dict[str, Any]:
    """Artifacts that make tokens of the sources in the folder."""
    sources = {name: {"stage": "json_lines", "files": f"{name}.jsonl"} for name in names}
    return {**sources, "tokens": {"stage": "tokenize", "from": list(names), "vocabulary": 280, "held_out": 0.15}}


TARGET = {"tokens": TARGET_TOKENS, "max_epochs": MAX_EPOCHS}
PROXIES = {"batch": 8, "evaluation_sequences": 16, "method": "stacked", "target": TARGET}
SWARM = {"stage": "proxy_swarm", "from": "tokens", "runs": 20, "first_runs": 12, "size": "tiny", "steps": 60, **PROXIES}
PAIRS = {"stage": "paired_swarm", "from": ["tokens", "swarm"], "size": "nano", "steps": 40, "pairs": 5, **PROXIES}
MIX = {"stage": "optimize_mix", "from": ["tokens", "swarm", "pairs"], "confirm": 2, **PROXIES}


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of the sources, an answer set, and the run that all tests go on with."""
    made = write_sources(tmp_path_factory.mktemp("line"))
    sums_to_answer(made / "adding.jsonl")
    return made


@pytest.fixture(scope="session")
def line(folder: Path) -> dict[str, Artifact]:
    """Artifacts from the sources to the mix."""
    return run_here(folder, {**tokenized(), "swarm": SWARM, "pairs": PAIRS, "mix": MIX})


@pytest.fixture(scope="session")
def tokens(line: dict[str, Artifact]) -> Artifact:
    return line["tokens"]


@pytest.fixture(scope="session")
def other_tokens(tmp_path_factory: pytest.TempPathFactory) -> Artifact:
    """The same sources after a recrawl: other documents."""
    return run_here(write_sources(tmp_path_factory.mktemp("recrawled"), seed=1), tokenized())["tokens"]


@pytest.fixture(scope="session")
def runs(line: dict[str, Artifact]) -> Artifact:
    return line["swarm"]


@pytest.fixture(scope="session")
def mix(line: dict[str, Artifact]) -> Artifact:
    return line["mix"]


def run_stage(
    stage: Any,
    inputs: dict[str, list[Artifact]],
    folder: Path,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Artifact:
    """What a global stage makes of its inputs; its checkpoints are in `folder`/work."""
    (folder / "files").mkdir(parents=True, exist_ok=True)
    (folder / "work").mkdir(exist_ok=True)
    context = Context(seed=1, work=folder / "work", answers=folder / "answers", progress=progress)
    result = stage.run(inputs, folder / "files", context)
    return artifact_of_files(folder / "files", stage.name, stage.produces, result.summary)
