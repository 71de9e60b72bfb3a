"""Tokens of three small sources, a swarm of the smallest proxies on them, and the mix that follows."""

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pipeline.artifact import Artifact
from pipeline.stage import Context
from stages.training.mix import OptimizeMix, OptimizeMixConfig
from stages.training.swarm import ProxySwarm, ProxySwarmConfig, Target
from tests.stages.in_process import artifact_of_files, run_here, write_lines

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


def tokens_of(folder: Path) -> Artifact:
    """The sources of this folder as token shards."""
    names = ("sums", "tales", "code")
    sources = {name: {"stage": "json_lines", "files": f"{name}.jsonl"} for name in names}
    tokens = {"stage": "tokenize", "from": list(names), "vocabulary": 280, "held_out": 0.15}
    return run_here(folder, {**sources, "tokens": tokens})["tokens"]


@pytest.fixture(scope="session")
def tokens(tmp_path_factory: pytest.TempPathFactory) -> Artifact:
    return tokens_of(write_sources(tmp_path_factory.mktemp("sources")))


@pytest.fixture(scope="session")
def other_tokens(tmp_path_factory: pytest.TempPathFactory) -> Artifact:
    """The same sources after a recrawl: other documents."""
    return tokens_of(write_sources(tmp_path_factory.mktemp("recrawled"), seed=1))


@pytest.fixture(scope="session")
def swarm_config() -> ProxySwarmConfig:
    return ProxySwarmConfig(
        runs=12,
        size="tiny",
        steps=60,
        batch=8,
        stack=12,
        evaluation_sequences=16,
        target=Target(tokens=TARGET_TOKENS, max_epochs=MAX_EPOCHS),
    )


@pytest.fixture(scope="session")
def runs(tokens: Artifact, swarm_config: ProxySwarmConfig, tmp_path_factory: pytest.TempPathFactory) -> Artifact:
    folder = tmp_path_factory.mktemp("swarm")
    return run_stage(ProxySwarm(swarm_config), {"tokens": [tokens]}, folder)


@pytest.fixture(scope="session")
def mix(tokens: Artifact, runs: Artifact, tmp_path_factory: pytest.TempPathFactory) -> Artifact:
    config = OptimizeMixConfig(target=Target(tokens=TARGET_TOKENS, max_epochs=MAX_EPOCHS))
    return run_stage(OptimizeMix(config), {"tokens": [tokens], "runs": [runs]}, tmp_path_factory.mktemp("mix"))


def run_stage(
    stage: Any,
    inputs: dict[str, list[Artifact]],
    folder: Path,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Artifact:
    """What a global stage makes of its inputs; its checkpoints are in `folder`/work."""
    (folder / "files").mkdir(parents=True, exist_ok=True)
    (folder / "work").mkdir(exist_ok=True)
    result = stage.run(inputs, folder / "files", Context(seed=1, work=folder / "work", progress=progress))
    return artifact_of_files(folder / "files", stage.name, stage.produces, result.summary)
