"""A swarm equals its models trained one after another, and survives divergence and interruption."""

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from proxy_models.checkpoints import CheckpointError
from proxy_models.loader import MixtureError
from proxy_models.model import sized
from proxy_models.shards import Tokens
from proxy_models.swarm import SwarmConfig, train_separately, train_swarm

MIXTURES = np.array([[1.0, 0.0, 0.0], [0.2, 0.5, 0.3], [0.0, 0.5, 0.5], [0.1, 0.1, 0.8]])
SEEDS = np.array([5, 6, 7, 8])
CONFIG = SwarmConfig(
    model=sized("tiny", vocabulary=257),
    steps=10,
    batch=2,
    learning_rate=(1e-3, 2e-3, 5e-4, 1.5e-3),
    clip=(0.5, 1.0, 0.1, 2.0),
    evaluation_sequences=3,
    stack=3,
    precision="float64",
    threads=1,
)


def silent(done: int, total: int) -> None:
    pass


def measured(rows: list[dict[str, Any]]) -> np.ndarray:
    return np.array([[row[column] for column in sorted(row) if column.startswith("bpb.")] for row in rows])


def test_a_swarm_in_float64_equals_its_models_alone(tokens: Tokens, tmp_path: Path) -> None:
    swarm = train_swarm(tokens, CONFIG, MIXTURES, SEEDS, tmp_path / "a", silent)
    alone = train_separately(tokens, CONFIG, MIXTURES, SEEDS, tmp_path / "b", silent)
    assert [{k: v for k, v in row.items() if "bpb" not in k} for row in swarm] == [
        {k: v for k, v in row.items() if "bpb" not in k} for row in alone
    ]
    assert np.abs(measured(swarm) - measured(alone)).max() <= 1e-12


def test_a_swarm_in_float32_equals_its_models_alone(tokens: Tokens, tmp_path: Path) -> None:
    config = dataclasses.replace(CONFIG, steps=50, precision="float32")
    swarm = train_swarm(tokens, config, MIXTURES, SEEDS, tmp_path / "a", silent)
    alone = train_separately(tokens, config, MIXTURES, SEEDS, tmp_path / "b", silent)
    assert np.abs(measured(swarm) - measured(alone)).max() <= 5e-6


def test_results_do_not_depend_on_how_many_models_are_stacked(tokens: Tokens, tmp_path: Path) -> None:
    runs = [
        train_swarm(tokens, dataclasses.replace(CONFIG, stack=stack), MIXTURES, SEEDS, tmp_path / str(stack), silent)
        for stack in (1, 2, 4)
    ]
    assert np.abs(measured(runs[0]) - measured(runs[1])).max() <= 1e-12
    assert np.abs(measured(runs[0]) - measured(runs[2])).max() <= 1e-12


def test_a_row_says_what_was_trained(tokens: Tokens, tmp_path: Path) -> None:
    row = train_swarm(tokens, CONFIG, MIXTURES, SEEDS, tmp_path, silent)[1]
    # 20 slots of (0.2, 0.5, 0.3) are 4, 10 and 6 sequences, so the shares are exact.
    assert (row["mixture.sums"], row["mixture.sentences"], row["mixture.code"]) == (0.2, 0.5, 0.3)
    assert (row["run"], row["seed"], row["learning_rate"], row["diverged"]) == (1, 6, 2e-3, False)
    assert row["tokens"] == 10 * 2 * 16
    assert (row["embedding_parameters"], row["head_parameters"]) == (257 * 16, 0)
    assert {c for c in row if c.startswith("bpb.code")} == {"bpb.code@25", "bpb.code@50", "bpb.code"}


def test_a_model_learns_the_source_it_is_trained_on(tokens: Tokens, tmp_path: Path) -> None:
    config = dataclasses.replace(CONFIG, steps=60, batch=4, learning_rate=1e-2, clip=1.0, precision="float32", stack=4)
    rows = train_swarm(tokens, config, np.eye(3), np.zeros(3, dtype=int), tmp_path, silent)
    for source in tokens.sources:
        best = min(rows, key=lambda row: row[f"bpb.{source}"])
        assert best[f"mixture.{source}"] == 1.0
        assert best[f"bpb.{source}"] < best[f"bpb.{source}@25"] < 8  # 257 ids for a byte: 8 bits know nothing


def test_a_diverging_model_is_reported_and_the_others_keep_their_bits(tokens: Tokens, tmp_path: Path) -> None:
    calm = dataclasses.replace(CONFIG, precision="float32", stack=4, clip=1e30)
    wild = dataclasses.replace(calm, learning_rate=(1e-3, 1e30, 5e-4, 1.5e-3))
    expected = train_swarm(tokens, calm, MIXTURES, SEEDS, tmp_path / "calm", silent)
    rows = train_swarm(tokens, wild, MIXTURES, SEEDS, tmp_path / "wild", silent)
    assert [row["diverged"] for row in rows] == [False, True, False, False]
    assert rows[1]["bpb.sums"] is None
    assert rows[1]["tokens"] < rows[0]["tokens"]
    for k in (0, 2, 3):
        assert rows[k] == expected[k]
    alone = train_separately(tokens, wild, MIXTURES, SEEDS, tmp_path / "alone", silent)
    assert [row["diverged"] for row in alone] == [False, True, False, False]
    assert alone[1]["tokens"] == rows[1]["tokens"]


class StoppedError(Exception):
    pass


@pytest.mark.parametrize("stop_at", [1, 4, 9, 10, 13])  # in both stacks, before and after evaluations
def test_an_interrupted_swarm_continues_with_the_same_bits(tokens: Tokens, tmp_path: Path, stop_at: int) -> None:
    config = dataclasses.replace(CONFIG, precision="float32", checkpoint_every_s=0.0)
    expected = train_swarm(tokens, config, MIXTURES, SEEDS, tmp_path / "whole", silent)
    steps_seen: list[int] = []

    def stopping(done: int, total: int) -> None:
        if done == stop_at:
            raise StoppedError

    def watching(done: int, total: int) -> None:
        assert total == 20  # 10 steps of 3 models, then of 1
        steps_seen.append(done)

    with pytest.raises(StoppedError):
        train_swarm(tokens, config, MIXTURES, SEEDS, tmp_path / "parts", stopping)
    assert train_swarm(tokens, config, MIXTURES, SEEDS, tmp_path / "parts", watching) == expected
    assert steps_seen == list(range(stop_at + 1, 21))


def test_a_finished_swarm_is_not_trained_again(tokens: Tokens, tmp_path: Path) -> None:
    expected = train_swarm(tokens, CONFIG, MIXTURES, SEEDS, tmp_path, silent)

    def unexpected(done: int, total: int) -> None:
        raise AssertionError("a step was trained")

    assert train_swarm(tokens, CONFIG, MIXTURES, SEEDS, tmp_path, unexpected) == expected


def test_the_folder_of_another_swarm_is_refused(tokens: Tokens, tmp_path: Path) -> None:
    train_swarm(tokens, CONFIG, MIXTURES, SEEDS, tmp_path, silent)
    with pytest.raises(CheckpointError, match="another configuration"):
        train_swarm(tokens, CONFIG, MIXTURES, SEEDS + 1, tmp_path, silent)


def test_a_mixture_that_cannot_be_served_fails_before_the_first_step(tokens: Tokens, tmp_path: Path) -> None:
    config = dataclasses.replace(CONFIG, steps=1000, max_epochs=1)

    def unexpected(done: int, total: int) -> None:
        raise AssertionError("a step was trained")

    with pytest.raises(MixtureError, match="largest feasible run"):
        train_swarm(tokens, config, MIXTURES, SEEDS, tmp_path, unexpected)


def test_mixtures_must_have_a_share_for_each_source(tokens: Tokens, tmp_path: Path) -> None:
    with pytest.raises(MixtureError, match="3 sources"):
        train_swarm(tokens, CONFIG, MIXTURES[:, :2], SEEDS, tmp_path, silent)
