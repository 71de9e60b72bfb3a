"""A swarm equals its models trained one after another, and survives divergence and interruption."""

import dataclasses
import itertools
import json
import multiprocessing
import os
import signal
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from proxy_models.checkpoints import CheckpointError
from proxy_models.device import ResidentTokens
from proxy_models.evaluation import read_answer_set
from proxy_models.loader import MixtureError, Order, read_sequences
from proxy_models.model import sized
from proxy_models.shards import TokenReader, Tokens
from proxy_models.swarm import Run, SwarmConfig, train_group, train_swarm

RUNS = [
    Run("a", (1.0, 0.0, 0.0), seed=5, learning_rate=1e-3, clip=0.5, purpose="corner"),
    Run("b", (0.2, 0.5, 0.3), seed=6, learning_rate=2e-3, clip=1.0, purpose="spread", round=1),
    Run("c", (0.0, 0.5, 0.5), seed=7, learning_rate=5e-4, clip=0.1),
    Run("d", (0.1, 0.1, 0.8), seed=8, learning_rate=1.5e-3, clip=2.0),
]
CONFIG = SwarmConfig(
    model=sized("tiny", vocabulary=257),
    size="tiny",
    steps=10,
    batch=2,
    evaluation_sequences=3,
    stack=3,
    method="stacked",
    device="cpu",
    precision="float64",
    threads=1,
)
FLOAT32 = dataclasses.replace(CONFIG, precision="float32")
Row = dict[str, Any]


def silent(done: int, total: int) -> None:
    pass


def unexpected(done: int, total: int) -> None:
    raise AssertionError("a step was trained")


def measured(rows: list[Row]) -> np.ndarray:
    return np.array([[row[column] for column in sorted(row) if column.startswith("bpb.")] for row in rows])


def told(rows: list[Row]) -> list[Row]:
    """What rows say but for measurements and the method."""
    return [{k: v for k, v in row.items() if not k.startswith("bpb.") and k != "method"} for row in rows]


@pytest.mark.parametrize(
    ("precision", "steps", "apart"), [("float64", 10, 1e-12), ("float32", 50, 5e-6)], ids=["float64", "float32"]
)
def test_a_swarm_equals_its_models_alone(
    tokens: Tokens, tmp_path: Path, precision: str, steps: int, apart: float
) -> None:
    config = dataclasses.replace(CONFIG, precision=precision, steps=steps)
    separate = dataclasses.replace(config, method="separate")
    swarm = train_swarm(tokens, config, RUNS, tmp_path / "a", silent)
    alone = train_swarm(tokens, separate, RUNS, tmp_path / "b", silent)
    assert told(swarm) == told(alone)
    assert np.abs(measured(swarm) - measured(alone)).max() <= apart
    assert {row["method"] for row in swarm} == {"stacked"}
    assert {row["method"] for row in alone} == {"separate"}


def test_results_do_not_depend_on_how_many_models_are_stacked(tokens: Tokens, tmp_path: Path) -> None:
    rows = [
        train_swarm(tokens, dataclasses.replace(FLOAT32, stack=stack), RUNS, tmp_path / str(stack), silent)
        for stack in (1, 2, 4)
    ]
    assert rows[0] == rows[1] == rows[2]


def test_a_row_says_what_was_trained(tokens: Tokens, tmp_path: Path) -> None:
    row = train_swarm(tokens, dataclasses.replace(CONFIG, max_sequences=(2, 5, 6)), RUNS, tmp_path, silent)[1]
    # 20 slots of (0.2, 0.5, 0.3) are 4, 10 and 6 sequences, so the shares are exact; cut to 2, 5 and 6 sequences.
    assert (row["mixture.sums"], row["mixture.sentences"], row["mixture.code"]) == (0.2, 0.5, 0.3)
    assert (row["epochs.sums"], row["epochs.sentences"], row["epochs.code"]) == (2.0, 2.0, 1.0)
    assert (row["run"], row["round"], row["purpose"], row["size"]) == ("b", 1, "spread", "tiny")
    assert (row["seed"], row["learning_rate"], row["diverged"], row["diverged_at_step"]) == (6, 2e-3, False, None)
    assert (row["steps"], row["tokens"]) == (10, 10 * 2 * 16)
    assert (row["embedding_parameters"], row["head_parameters"], row["vocabulary"]) == (257 * 16, 0, 257)
    assert row["tokens_fingerprint"] == tokens.fingerprint
    assert {c for c in row if c.startswith("bpb.code")} == {"bpb.code@25", "bpb.code@50", "bpb.code"}


def test_answers_are_measured_beside_the_sources(tokens: Tokens, tmp_path: Path) -> None:
    pairs = [{"prompt": "2 + 3 =", "answer": " 5"}, {"prompt": "The cat", "answer": " sees the dog"}]
    (tmp_path / "facts.jsonl").write_text("\n".join(json.dumps(pair) for pair in pairs))
    facts = read_answer_set(tmp_path / "facts.jsonl", tokens, 16)
    config = dataclasses.replace(CONFIG, steps=40)
    separate = dataclasses.replace(config, method="separate")
    row, other = train_swarm(tokens, config, RUNS[1:3], tmp_path / "a", silent, [facts])
    alone = train_swarm(tokens, separate, RUNS[1:2], tmp_path / "b", silent, [facts])[0]
    assert row["answers.facts"] < row["answers.facts@25"] < 8.5
    assert row["answers.facts"] != other["answers.facts"]
    for column in ("answers.facts@25", "answers.facts@50", "answers.facts"):
        assert row[column] == pytest.approx(alone[column], abs=1e-12)
    (tmp_path / "facts.jsonl").write_text("\n".join(json.dumps(pair) for pair in pairs[:1]))
    with pytest.raises(AssertionError, match="a step was trained"):  # other answers under the same name
        train_swarm(
            tokens,
            config,
            RUNS[1:2],
            tmp_path / "a",
            unexpected,
            [read_answer_set(tmp_path / "facts.jsonl", tokens, 16)],
        )


def test_a_model_learns_the_source_it_is_trained_on(tokens: Tokens, tmp_path: Path) -> None:
    config = dataclasses.replace(FLOAT32, steps=60, batch=4, learning_rate=1e-2)
    runs = [Run(source, tuple(np.eye(3)[d].tolist()), seed=0) for d, source in enumerate(tokens.sources)]
    rows = train_swarm(tokens, config, runs, tmp_path, silent)
    for source in tokens.sources:
        best = min(rows, key=lambda row: row[f"bpb.{source}"])
        assert best["run"] == source
        assert best[f"bpb.{source}"] < best[f"bpb.{source}@25"] < 8  # 257 ids for a byte: 8 bits know nothing


@pytest.mark.parametrize("method", ["stacked", "separate"])
def test_a_diverging_model_is_reported_and_the_others_keep_their_bits(
    tokens: Tokens, tmp_path: Path, method: str
) -> None:
    calm = [dataclasses.replace(run, clip=1e30) for run in RUNS]
    wild = [dataclasses.replace(run, learning_rate=1e30) if run.id == "b" else run for run in calm]
    config = dataclasses.replace(FLOAT32, method=method)
    expected = train_swarm(tokens, config, calm, tmp_path / "calm", silent)
    rows = train_swarm(tokens, config, wild, tmp_path / "wild", silent)
    assert [row["diverged"] for row in rows] == [False, True, False, False]
    dead = rows[1]
    assert 1 < dead["diverged_at_step"] <= 3
    assert dead["tokens"] == (dead["diverged_at_step"] - 1) * 2 * 16
    assert dead["bpb.sums"] is None
    for k in (0, 2, 3):
        assert rows[k] == expected[k]


class StoppedError(Exception):
    pass


def stopped_after(steps: int) -> Any:
    """A progress that stops the swarm at the so-manieth call."""
    calls = itertools.count(1)

    def progress(done: int, total: int) -> None:
        if next(calls) == steps:
            raise StoppedError

    return progress


# In both stacks, before and after evaluations.
@pytest.mark.parametrize("stop", [1, 2, 4, 9, 10, 13])
def test_an_interrupted_swarm_continues_with_the_same_bits(tokens: Tokens, tmp_path: Path, stop: int) -> None:
    config = dataclasses.replace(FLOAT32, checkpoint_every_s=0.0)
    expected = train_swarm(tokens, config, RUNS, tmp_path / "whole", silent)
    with pytest.raises(StoppedError):
        train_swarm(tokens, config, RUNS, tmp_path / "parts", stopped_after(stop))
    steps_seen: list[tuple[int, int]] = []
    again = train_swarm(tokens, config, RUNS, tmp_path / "parts", lambda *seen: steps_seen.append(seen))
    assert again == expected
    # 10 steps of 3 models, then of 1.
    assert steps_seen == [(done, 40) for done in [*range(3, 31, 3), *range(31, 41)][stop:]]
    assert not list((tmp_path / "parts").glob("unfinished/*"))


@pytest.mark.parametrize("stop", [1, 6, 9])
@pytest.mark.parametrize("stack", [1, 2, 4, 5])
def test_unfinished_runs_go_on_in_other_stacks_and_with_other_runs(
    tokens: Tokens, tmp_path: Path, stop: int, stack: int
) -> None:
    config = dataclasses.replace(FLOAT32, checkpoint_every_s=0.0)
    more = [Run("e", (0.3, 0.3, 0.4), seed=9), *reversed(RUNS)]
    expected = train_swarm(tokens, config, more, tmp_path / "whole", silent)
    with pytest.raises(StoppedError):
        train_swarm(tokens, config, RUNS[:3], tmp_path / "parts", stopped_after(stop))
    first_seen: list[int] = []
    restacked = dataclasses.replace(config, stack=stack)
    rows = train_swarm(tokens, restacked, more, tmp_path / "parts", lambda done, total: first_seen.append(done))
    assert rows == expected
    assert first_seen[0] == 3 * stop + min(stack, 3)  # nothing that was saved is trained again


def test_of_two_stacks_with_the_same_run_the_one_that_got_further_is_continued(tokens: Tokens, tmp_path: Path) -> None:
    config = dataclasses.replace(FLOAT32, checkpoint_every_s=0.0)
    expected = train_swarm(tokens, config, RUNS, tmp_path / "whole", silent)
    for stack, steps in ((3, 2), (2, 3), (1, 2)):  # of run a: 2 steps, then 5, then 7
        stacked = dataclasses.replace(config, stack=stack)
        with pytest.raises(StoppedError):
            train_swarm(tokens, stacked, RUNS[:3], tmp_path / "parts", stopped_after(steps))
    seen: list[int] = []
    one = dataclasses.replace(config, stack=1)
    assert train_swarm(tokens, one, RUNS, tmp_path / "parts", lambda done, total: seen.append(done)) == expected
    assert seen[0] == 7 + 5 + 2 + 1
    assert not list((tmp_path / "parts").glob("unfinished/*"))


def test_a_stack_is_continued_one_after_another_and_back(tokens: Tokens, tmp_path: Path) -> None:
    config = dataclasses.replace(CONFIG, checkpoint_every_s=0.0)
    separate = dataclasses.replace(config, method="separate")
    expected = train_swarm(tokens, config, RUNS, tmp_path / "whole", silent)
    with pytest.raises(StoppedError):
        train_swarm(tokens, config, RUNS, tmp_path / "parts", stopped_after(4))
    with pytest.raises(StoppedError):
        train_swarm(tokens, separate, RUNS, tmp_path / "parts", stopped_after(3))
    rows = train_swarm(tokens, config, RUNS, tmp_path / "parts", silent)
    assert np.abs(measured(rows) - measured(expected)).max() <= 1e-12


def test_finished_runs_are_not_trained_again_and_further_ones_are(tokens: Tokens, tmp_path: Path) -> None:
    first = train_swarm(tokens, CONFIG, RUNS[:2], tmp_path, silent)
    assert train_swarm(tokens, CONFIG, RUNS[:2], tmp_path, unexpected) == first
    steps: list[int] = []
    rows = train_swarm(tokens, CONFIG, RUNS, tmp_path, lambda done, total: steps.append(done))
    assert rows[:2] == first
    assert steps == list(range(22, 41, 2))  # 20 of 40 steps were there
    renamed = dataclasses.replace(RUNS[0], id="natural", purpose="repeat", round=3)
    row = train_swarm(tokens, CONFIG, [renamed], tmp_path, unexpected)[0]
    assert row == first[0] | {"run": "natural", "purpose": "repeat", "round": 3}


@pytest.mark.parametrize(
    "change", [{"steps": 12}, {"batch": 4}, {"max_sequences": (9, 9, 9)}, {"decay": 0.2}, {"evaluation_sequences": 2}]
)
def test_a_run_under_another_configuration_is_another_run(
    tokens: Tokens, tmp_path: Path, change: dict[str, Any]
) -> None:
    train_swarm(tokens, CONFIG, RUNS[:1], tmp_path, silent)
    with pytest.raises(AssertionError, match="a step was trained"):
        train_swarm(tokens, dataclasses.replace(CONFIG, **change), RUNS[:1], tmp_path, unexpected)


def test_the_same_run_twice_is_trained_once(tokens: Tokens, tmp_path: Path) -> None:
    steps: list[int] = []
    twice = [RUNS[0], dataclasses.replace(RUNS[0], id="again")]
    rows = train_swarm(tokens, CONFIG, twice, tmp_path, lambda done, total: steps.append(total))
    assert steps == [10] * 10
    assert rows[1] == rows[0] | {"run": "again"}


def test_a_damaged_checkpoint_is_passed_over_and_damaged_ones_alone_are_an_error(
    tokens: Tokens, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = dataclasses.replace(FLOAT32, checkpoint_every_s=0.0)
    expected = train_swarm(tokens, config, RUNS, tmp_path / "whole", silent)
    with pytest.raises(StoppedError):
        train_swarm(tokens, config, RUNS, tmp_path / "parts", stopped_after(5))
    older, newest = sorted((tmp_path / "parts").rglob("*.checkpoint"))
    content = newest.read_bytes()
    newest.write_bytes(content[:-100] + bytes([content[-100] ^ 1]) + content[-99:])
    whole = older.read_bytes()
    older.write_bytes(whole[:-1])
    with pytest.raises(CheckpointError, match="every checkpoint"):
        train_swarm(tokens, config, RUNS, tmp_path / "parts", unexpected)
    older.write_bytes(whole)
    assert train_swarm(tokens, config, RUNS, tmp_path / "parts", silent) == expected
    assert f"{newest} is damaged" in capsys.readouterr().out


def train_slowly(folder: Path, config: SwarmConfig, work: Path) -> None:
    train_group(folder, config, RUNS, work)


@pytest.mark.slow
def test_another_process_continues_what_a_killed_one_has_left(
    tokens: Tokens, token_folder: Path, tmp_path: Path
) -> None:
    config = dataclasses.replace(FLOAT32, steps=2000, stack=4, checkpoint_every_s=0.0)
    process = multiprocessing.get_context("spawn").Process(
        target=train_slowly, args=(token_folder, config, tmp_path / "parts")
    )
    process.start()
    deadline = time.monotonic() + 120
    while not list((tmp_path / "parts").rglob("*.checkpoint")):
        assert process.is_alive()
        assert time.monotonic() < deadline
        time.sleep(0.02)
    time.sleep(0.3)
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    assert not list((tmp_path / "parts").glob("finished/*"))
    steps: list[int] = []
    calm = dataclasses.replace(config, checkpoint_every_s=60.0)
    rows = train_swarm(tokens, calm, RUNS, tmp_path / "parts", lambda done, total: steps.append(done))
    assert steps[0] > 4
    assert rows == train_swarm(tokens, calm, RUNS, tmp_path / "whole", silent)


def test_resident_tokens_give_the_sequences_of_the_files(tokens: Tokens) -> None:
    bodies = [tokens.train(source) for source in tokens.sources]
    draws = Order((0.2, 0.5, 0.3), tuple(b.sequence_count(16) for b in bodies), 60, seed=1).block(0, 60)
    expected = read_sequences(TokenReader(bodies), draws.source, draws.sequence, 16)
    resident = ResidentTokens(bodies, "cpu")
    starts = torch.from_numpy(resident.starts(draws.source, draws.sequence, 16)).view(3, 20)
    assert torch.equal(resident.gather(starts, 17), torch.from_numpy(expected).view(3, 20, 17))


@pytest.mark.parametrize("dtype", ["<u2", "<u4"])
def test_resident_tokens_hold_the_largest_ids(tmp_path: Path, dtype: str) -> None:
    from proxy_models.shards import TokenBody, TokenFile

    largest = np.iinfo(dtype).max
    ids = np.array([1, largest, largest - 1, 0], dtype=dtype)
    ids.tofile(tmp_path / "ids.bin")
    body = TokenBody("ids", "train", (TokenFile(tmp_path / "ids.bin", 4, ""),), np.dtype(dtype), 4, 1, 4)
    resident = ResidentTokens([body, body], "cpu")
    assert resident.gather(torch.tensor([0, 4]), 4).tolist() == [[1, largest, largest - 1, 0]] * 2


def test_a_swarm_trained_from_resident_tokens_has_the_same_bits(tokens: Tokens, tmp_path: Path) -> None:
    config = dataclasses.replace(FLOAT32, steps=70)  # more than are planned at once
    resident = dataclasses.replace(config, is_resident=True)
    expected = train_swarm(tokens, config, RUNS, tmp_path / "files", silent)
    assert train_swarm(tokens, resident, RUNS, tmp_path / "memory", silent) == expected
    # And when it goes on in the middle of what is planned at once.
    often = dataclasses.replace(resident, checkpoint_every_s=0.0)
    with pytest.raises(StoppedError):
        train_swarm(tokens, often, RUNS, tmp_path / "parts", stopped_after(66))
    assert train_swarm(tokens, resident, RUNS, tmp_path / "parts", silent) == expected


def test_the_faster_method_is_chosen_once_for_a_folder(tokens: Tokens, tmp_path: Path) -> None:
    config = dataclasses.replace(FLOAT32, method="auto")
    rows = train_swarm(tokens, config, RUNS[:2], tmp_path, silent)
    (decision,) = tmp_path.glob("method-*")
    assert {row["method"] for row in rows} == {decision.read_text()}
    other = {"stacked": "separate", "separate": "stacked"}[decision.read_text()]
    decision.write_text(other)
    assert train_swarm(tokens, config, RUNS, tmp_path, silent)[3]["method"] == other
    assert (
        np.abs(measured(rows) - measured(train_swarm(tokens, FLOAT32, RUNS[:2], tmp_path / "b", silent))).max() < 5e-6
    )


def test_a_mixture_that_cannot_be_served_fails_before_the_first_step(tokens: Tokens, tmp_path: Path) -> None:
    config = dataclasses.replace(CONFIG, steps=1000, max_epochs=1)
    with pytest.raises(MixtureError, match=r"run a: .*largest feasible run"):
        train_swarm(tokens, config, RUNS, tmp_path, unexpected)


def test_mixtures_must_have_a_share_for_each_source(tokens: Tokens, tmp_path: Path) -> None:
    with pytest.raises(MixtureError, match="run x: a mixture of 2 shares for 3 sources"):
        train_swarm(tokens, CONFIG, [Run("x", (0.5, 0.5), seed=0)], tmp_path, unexpected)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"method": "both"}, "no method 'both'; there are auto, stacked, separate"),
        ({"precision": "float8"}, "no precision 'float8'"),
        ({"device": "tpu"}, "no device 'tpu'"),
        ({"steps": 3}, "at least 4 steps"),
        ({"stack": 0}, "at least 1"),
    ],
)
def test_settings_that_do_not_exist_are_refused(
    tokens: Tokens, tmp_path: Path, change: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        train_swarm(tokens, dataclasses.replace(CONFIG, **change), RUNS, tmp_path, unexpected)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="torch sees no GPU")
@pytest.mark.parametrize("method", ["stacked", "separate"])
@pytest.mark.parametrize("is_compiled", [False, True])
def test_a_captured_step_on_a_gpu_gives_the_losses_of_the_cpu(
    tokens: Tokens, tmp_path: Path, method: str, is_compiled: bool
) -> None:
    on_cpu = train_swarm(tokens, FLOAT32, RUNS, tmp_path / "cpu", silent)
    settings: dict[str, Any] = {"device": "cuda", "method": method, "is_compiled": is_compiled}
    on_gpu = train_swarm(tokens, dataclasses.replace(FLOAT32, **settings), RUNS, tmp_path / "gpu", silent)
    assert np.abs(measured(on_cpu) - measured(on_gpu)).max() <= 1e-3


@pytest.mark.slow
@pytest.mark.parametrize("method", ["stacked", "separate"])
def test_processes_that_train_the_same_runs_at_once_do_not_disturb_each_other(
    token_folder: Path, tmp_path: Path, method: str
) -> None:
    """As when a machine that was given up for lost goes on beside the one that trains in its place."""
    config = dataclasses.replace(FLOAT32, steps=40, method=method, checkpoint_every_s=1e-9)
    expected = train_group(token_folder, config, RUNS, tmp_path / "alone")
    with ProcessPoolExecutor(3, multiprocessing.get_context("spawn")) as processes:
        attempts = [processes.submit(train_group, token_folder, config, RUNS, tmp_path / "shared") for _ in range(3)]
        assert [attempt.result(timeout=120) for attempt in attempts] == [expected] * 3
