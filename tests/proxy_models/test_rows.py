"""What a row of the swarm says, what makes another run of a run, and processes that share a folder."""

import dataclasses
import math
import multiprocessing
import time
from pathlib import Path

import numpy as np
import pytest
import torch

from proxy_models.checkpoints import CheckpointError
from proxy_models.evaluation import bits_per_byte_on, held_out_texts
from proxy_models.loader import Order
from proxy_models.model import Transformer, init_weights
from proxy_models.optimization import AdamW, annealed_schedule
from proxy_models.run_store import RunStore
from proxy_models.shards import Tokens
from proxy_models.swarm import Run, SwarmConfig, train_swarm
from tests.proxy_models.test_swarm import CONFIG, FLOAT32, RUNS, silent, unexpected


def by_a_plain_loop(tokens: Tokens, config: SwarmConfig, run: Run) -> dict[str, float]:
    """What a run measures, from a Transformer, torch's optimizer, and the order of the data slot by slot."""
    context = config.model.context
    bodies = [tokens.train(source) for source in tokens.sources]
    counts = tuple(body.sequence_count(context) for body in bodies)
    order = Order(run.mixture, counts, config.steps * config.batch, run.seed, max_sequences=config.max_sequences)
    draws = order.block(0, order.slots)
    model = Transformer(config.model).double()
    init_weights(model, run.seed)
    optimizer = AdamW().of(model, 0.0)
    texts = held_out_texts(tokens, context, config.evaluation_sequences)
    found = {}
    for step in range(config.steps):
        slots = range(step * config.batch, (step + 1) * config.batch)
        starts = [(int(draws.source[slot]), int(draws.sequence[slot]) * context) for slot in slots]
        rows = np.concatenate([bodies[d].gather(np.array([start]), context + 1) for d, start in starts])
        for group in optimizer.param_groups:
            group["lr"] = run.learning_rate * annealed_schedule(step, config.steps, config.warmup, config.decay)
        optimizer.zero_grad()
        model.token_losses(torch.from_numpy(rows)).mean().backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), run.clip)
        optimizer.step()
        # A quarter, half and all of 12 steps.
        if (at := {3: "@25", 6: "@50", 12: ""}.get(step + 1)) is not None:
            found |= {f"bpb.{source}{at}": bits_per_byte_on(model, text, 2)[0] for source, text in texts.items()}
    return found


@pytest.mark.parametrize("method", ["stacked", "separate"])
def test_a_row_is_what_a_plain_loop_measures(tokens: Tokens, tmp_path: Path, method: str) -> None:
    config = dataclasses.replace(CONFIG, steps=12, method=method, max_sequences=(40, 50, 60))
    for run, row in zip(RUNS, train_swarm(tokens, config, RUNS, tmp_path, silent), strict=True):
        expected = by_a_plain_loop(tokens, config, run)
        assert {column: row[column] for column in expected} == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("change", [{"seed": 50}, {"learning_rate": 3e-3}, {"clip": 0.7}, {"mixture": (0.9, 0.1, 0.0)}])
def test_a_run_with_another_seed_rate_clip_or_mixture_is_another_run(
    tokens: Tokens, tmp_path: Path, change: dict[str, object]
) -> None:
    train_swarm(tokens, CONFIG, RUNS[:1], tmp_path, silent)
    with pytest.raises(AssertionError, match="a step was trained"):
        train_swarm(tokens, CONFIG, [dataclasses.replace(RUNS[0], **change)], tmp_path, unexpected)


def test_other_tokens_or_another_precision_make_another_run(tokens: Tokens, tmp_path: Path) -> None:
    train_swarm(tokens, CONFIG, RUNS[:1], tmp_path, silent)
    for other, config in ((dataclasses.replace(tokens, fingerprint="other"), CONFIG), (tokens, FLOAT32)):
        with pytest.raises(AssertionError, match="a step was trained"):
            train_swarm(other, config, RUNS[:1], tmp_path, unexpected)


@pytest.mark.parametrize("method", ["stacked", "separate"])
def test_a_model_whose_loss_explodes_but_stays_finite_has_diverged(tokens: Tokens, tmp_path: Path, method: str) -> None:
    wild = [dataclasses.replace(run, learning_rate=10.0) if run.id == "b" else run for run in RUNS]
    config = dataclasses.replace(FLOAT32, method=method)
    expected = train_swarm(tokens, config, RUNS, tmp_path / "calm", silent)
    rows = train_swarm(tokens, config, wild, tmp_path / "wild", silent)
    assert [row["diverged"] for row in rows] == [False, True, False, False]
    assert rows[1]["bpb.sums"] is None
    for k in (0, 2, 3):
        assert rows[k] == expected[k]


def test_what_is_not_finite_at_an_annealed_end_is_not_measured(tokens: Tokens, tmp_path: Path) -> None:
    # The first of 4 steps leaves weights that the loss of the second finds out about; the first end is between them.
    config = dataclasses.replace(FLOAT32, steps=4)
    row = train_swarm(tokens, config, [dataclasses.replace(RUNS[1], learning_rate=1e15)], tmp_path, silent)[0]
    assert row["diverged"]
    assert row["bpb.sums@25"] is None


def test_a_model_that_its_last_step_ruins_has_diverged(
    tokens: Tokens, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from proxy_models.stacked import Stack

    train_step = Stack.train_step

    def ruining(stack: Stack, *arguments: torch.Tensor) -> torch.Tensor:
        losses = train_step(stack, *arguments)
        if stack.steps_taken == CONFIG.steps:
            stack.rows[1] = math.inf
        return losses

    monkeypatch.setattr(Stack, "train_step", ruining)
    rows = train_swarm(tokens, CONFIG, RUNS[:3], tmp_path, silent)
    assert [row["diverged"] for row in rows] == [False, True, False]
    assert rows[1]["diverged_at_step"] == CONFIG.steps
    assert rows[1]["bpb.sums"] is None
    assert rows[1]["bpb.sums@50"] < 9


def test_a_damaged_row_is_named(tokens: Tokens, tmp_path: Path) -> None:
    train_swarm(tokens, CONFIG, RUNS[:1], tmp_path, silent)
    (row,) = tmp_path.glob("finished/*")
    row.write_text(row.read_text()[:40])
    with pytest.raises(CheckpointError, match=rf"{row} is damaged .*delete it"):
        train_swarm(tokens, CONFIG, RUNS[:1], tmp_path, unexpected)


def begin_and_end(folder: Path, name: str, seconds: float) -> None:
    store, ended = RunStore(folder), time.monotonic() + seconds
    number = 0
    while time.monotonic() < ended:
        key = f"{name}-{number}"
        store.save([key], 1, {"rows": torch.zeros(1)}, {})
        store.finish(key, {})
        store.unfinished(["of another process"])
        store.clear([key, "shared"])
        number += 1


@pytest.mark.slow
def test_processes_that_share_a_folder_do_not_trip_over_what_the_others_clear(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    processes = [context.Process(target=begin_and_end, args=(tmp_path, name, 2.0)) for name in "abc"]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0, 0, 0]
    assert not list(tmp_path.glob("unfinished/*"))
