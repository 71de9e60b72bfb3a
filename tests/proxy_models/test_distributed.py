"""One model on two ranks of torchrun is the model on one, and either goes on where the other stopped."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch

from proxy_models.checkpoints import Checkpoints
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
        "evaluation_sequences": 4,
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


@pytest.mark.slow
@pytest.mark.parametrize("optimizer", ["adamw", "muon"])
def test_two_ranks_lose_what_one_does(token_folder: Path, tmp_path: Path, optimizer: str) -> None:
    two = settings(token_folder, "two", optimizer={"kind": optimizer})
    process = on_ranks(2, tmp_path, two)
    one = train({**two, "work": "one"}, tmp_path)
    assert finished(process, tmp_path, "two") == pytest.approx(one.losses, abs=TOLERANCE)
    states = [Checkpoints(tmp_path / work, "", 9)._paths()[-1] for work in ("one", "two")]
    assert states[0].name == states[1].name == "step-0000000008.checkpoint"

    # Each goes on from the other's checkpoint of step 5.
    for path in [*(tmp_path / "one").iterdir(), *(tmp_path / "two").iterdir()]:
        if path.suffix == ".checkpoint" and path.name > "step-0000000005.checkpoint":
            path.unlink()
    process = on_ranks(2, tmp_path, {**two, "work": "one"})
    continued = train(two, tmp_path)
    assert continued.losses == pytest.approx(one.losses, abs=TOLERANCE)
    assert finished(process, tmp_path, "one") == pytest.approx(one.losses, abs=TOLERANCE)


def test_a_batch_that_ranks_cannot_share_is_refused(token_folder: Path, tmp_path: Path) -> None:
    process = on_ranks(2, tmp_path, settings(token_folder, "odd", batch=6))
    assert process.wait(120) != 0
    assert (
        "a batch of 6 sequences for 2 ranks, 2 parts each: take a multiple of 4"
        in (tmp_path / "odd.output").read_text()
    )


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
        ({"products": "fp8"}, "products 'fp8' are not built"),
    ],
)
def test_settings_that_there_are_not_are_named(
    token_folder: Path, tmp_path: Path, change: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        train(settings(token_folder, "work") | change, tmp_path)
