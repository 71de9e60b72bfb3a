"""One model on two ranks of torchrun is the model on one, and either goes on where the other stopped."""

import json
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch

from proxy_models.checkpoints import Checkpoints
from proxy_models.shards import ShardError
from proxy_models.train import train

TOLERANCE = 1e-5  # nats per token: sums over ranks are in another order


def settings(folder: Path, work: str, **others: Any) -> dict[str, Any]:
    return {
        "tokens": str(folder),
        "work": work,
        "model": {"size": "tiny", "base_width": 8},
        "phases": [{"mixture": {"sums": 1, "code": 1}}],
        "steps": 8,
        "batch": 4,
        "accumulate": 2,
        "device": "cpu",
        "threads": 1,
        "checkpoint_every_steps": 1,
        "keep_checkpoints": 100,
        "evaluate_every": 4,
        "evaluation_sequences": 5,
        "log_every": 1,
        **others,
    }


def on_ranks(count: int, folder: Path, run: dict[str, Any]) -> subprocess.Popen[bytes]:
    path = folder / f"{run['work']}.json"
    path.write_text(json.dumps(run))
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={count}"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    with (folder / f"{run['work']}.output").open("wb") as output:
        return subprocess.Popen(
            [*launcher, "-m", "proxy_models.train", str(path)], stdout=output, stderr=output, env=environment
        )


def finished(process: subprocess.Popen[bytes], folder: Path, work: str) -> list[float]:
    assert process.wait(120) == 0, (folder / f"{work}.output").read_text()
    return losses(folder / work)


def losses(work: Path) -> list[float]:
    lines = [json.loads(line) for line in (work / "log.jsonl").read_text().splitlines()]
    return [line["loss"] for line in lines if "loss" in line]


def evaluations(work: Path) -> list[dict[str, float]]:
    lines = [json.loads(line) for line in (work / "log.jsonl").read_text().splitlines()]
    return [line for line in lines if "bpb.sums" in line]


EXPERTS = {"size": "tiny", "experts": 4, "experts_per_token": 2, "expert_width": 8, "tied": False}
WAYS: dict[str, dict[str, Any]] = {
    "adamw": {"optimizer": {"kind": "adamw"}},
    "muon": {"optimizer": {"kind": "muon"}},
    "experts": {"model": EXPERTS, "balance_loss": 1e-3, "optimizer": {"kind": "muon"}},
    "phases": {
        "phases": [
            {"mixture": {"sums": 1, "code": 1}},
            {"mixture": {"sentences": 1}, "context": 32, "rope_base": 5e4, "batch": 4, "replay": 0.2},
        ],
        "packing": "concatenated",
        "masks_documents": True,
        "evaluation_sets": ["answers.jsonl"],
    },
    "best fit": {"packing": "best_fit"},
}


@pytest.mark.slow
@pytest.mark.parametrize("way", WAYS)
def test_two_ranks_lose_what_one_does(token_folder: Path, tmp_path: Path, way: str) -> None:
    (tmp_path / "answers.jsonl").write_text('{"prompt": "1 + 1 = ", "answer": "2"}\n')
    two = settings(token_folder, "two", **WAYS[way])
    alone = {**two, "accumulate": 2 * two["accumulate"]}  # the same parts, over each of which experts are balanced
    process = on_ranks(2, tmp_path, two)
    one = train({**alone, "work": "one"}, tmp_path)
    assert finished(process, tmp_path, "two") == pytest.approx(one.losses, abs=TOLERANCE)
    measured = evaluations(tmp_path / "two")
    assert len(measured) == len(one.evaluations) == 2
    for of_two, of_one in zip(measured, one.evaluations, strict=True):
        assert of_two == pytest.approx(of_one, rel=1e-6)
    states = [Checkpoints(tmp_path / work, "", 9)._paths()[-1] for work in ("one", "two")]
    assert states[0].name == states[1].name == "step-0000000008.checkpoint"

    # Each goes on from the other's checkpoint of step 5.
    for path in [*(tmp_path / "one").iterdir(), *(tmp_path / "two").iterdir()]:
        if path.suffix == ".checkpoint" and path.name > "step-0000000005.checkpoint":
            path.unlink()
    process = on_ranks(2, tmp_path, {**two, "work": "one"})
    continued = train({**alone, "work": "two"}, tmp_path)
    assert continued.losses == pytest.approx(one.losses, abs=TOLERANCE)
    assert finished(process, tmp_path, "one") == pytest.approx(one.losses, abs=TOLERANCE)


def test_a_batch_that_ranks_cannot_share_is_refused(token_folder: Path, tmp_path: Path) -> None:
    process = on_ranks(2, tmp_path, settings(token_folder, "odd", batch=6))
    assert process.wait(120) != 0
    assert (
        "a batch of 6 sequences for 2 ranks, 2 parts each: take a multiple of 4"
        in (tmp_path / "odd.output").read_text()
    )


@pytest.mark.slow
def test_ranks_that_see_other_checkpoints_are_refused(token_folder: Path, tmp_path: Path) -> None:
    train(settings(token_folder, "first", batch=4), tmp_path)
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    ranks = []
    for rank, work in enumerate(("first", "second")):
        path = tmp_path / f"{rank}.json"
        path.write_text(json.dumps(settings(token_folder, work, batch=4)))
        address = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": 2, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
        environment = {**os.environ, **{name: str(value) for name, value in address.items()}, "OMP_NUM_THREADS": "1"}
        command = [sys.executable, "-m", "proxy_models.train", str(path)]
        ranks.append(subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True))
    told = [rank.communicate(timeout=120)[1] for rank in ranks]
    assert [rank.returncode for rank in ranks] == [1, 1]
    assert "rank 1 finds a checkpoint of step 0 there, the first one of step 8: give a folder that all" in told[1]


@pytest.mark.slow
def test_a_run_killed_at_any_moment_is_the_undisturbed_run(token_folder: Path, tmp_path: Path) -> None:
    run = settings(token_folder, "killed", steps=40, checkpoint_every_steps=3, keep_checkpoints=2, evaluate_every=7)
    whole = train({**run, "work": "whole"}, tmp_path)
    path = tmp_path / "run.json"
    path.write_text(json.dumps(run))
    rng = random.Random(0)
    for _ in range(6):
        process = subprocess.Popen([sys.executable, "-m", "proxy_models.train", str(path)], stderr=subprocess.PIPE)
        assert process.stderr is not None
        process.stderr.readline()  # of a step; from here on anywhere
        time.sleep(rng.uniform(0, 0.1))
        os.kill(process.pid, signal.SIGKILL)
        process.communicate()
    resumed = train(run, tmp_path)
    assert resumed.losses == whole.losses
    assert losses(tmp_path / "killed") == whole.losses
    assert evaluations(tmp_path / "killed") == evaluations(tmp_path / "whole")
    for name, weight in whole.model.state_dict().items():
        assert torch.equal(resumed.model.state_dict()[name], weight), name


def test_shards_with_a_changed_byte_are_refused_before_anything_is_written(token_folder: Path, tmp_path: Path) -> None:
    copied = tmp_path / "tokens"
    shutil.copytree(token_folder, copied)
    path = max((copied / "sentences").glob("train*.bin"))  # not in the mixture
    content = bytearray(path.read_bytes())
    content[-3] ^= 1
    path.write_bytes(content)
    with pytest.raises(ShardError, match=f"not the bytes that .*tokens.json names: {path}"):
        train(settings(copied, "work"), tmp_path)
    assert not (tmp_path / "work").exists()


def test_what_is_wrong_is_told_in_one_line(token_folder: Path, tmp_path: Path) -> None:
    path = tmp_path / "run.json"
    path.write_text(json.dumps(settings(token_folder, "work", steps=0)))
    done = subprocess.run([sys.executable, "-m", "proxy_models.train", str(path)], capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stderr.startswith(f"{path}: steps, batch, accumulate")
    assert len(done.stderr.splitlines()) == 1


def test_a_run_killed_again_and_again_is_the_undisturbed_run(token_folder: Path, tmp_path: Path) -> None:
    run = settings(token_folder, "killed", steps=60)
    whole = train({**run, "work": "whole"}, tmp_path)
    path = tmp_path / "run.json"
    path.write_text(json.dumps(run))
    for stop in (10, 35):
        process = subprocess.Popen([sys.executable, "-m", "proxy_models.train", str(path)], stderr=subprocess.DEVNULL)
        while not (tmp_path / "killed" / f"step-{stop:010d}.checkpoint").exists():
            assert process.poll() is None
            time.sleep(0.001)
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
    resumed = train(run, tmp_path)
    assert resumed.losses == whole.losses
    assert losses(tmp_path / "killed") == whole.losses
    for name, weight in whole.model.state_dict().items():
        assert torch.equal(resumed.model.state_dict()[name], weight), name


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"speed": 3}, "settings: no speed; there are model, steps"),
        ({"model": {"size": "XXL"}}, "model: give a size"),
        ({"phases": [{"mix": {}}]}, "phase 1: no mix; there are mixture"),
        ({"optimizer": {"kind": "sgd"}}, "no optimizer 'sgd'"),
        ({"products": "fp8"}, "products 'fp8' need a GPU of compute capability 8.9 or more .*and this is a CPU"),
    ],
)
def test_settings_that_there_are_not_are_named(
    token_folder: Path, tmp_path: Path, change: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        train(settings(token_folder, "work") | change, tmp_path)
