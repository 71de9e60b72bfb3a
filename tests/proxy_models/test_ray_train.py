"""Ray Train's workers train what one process does."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from proxy_models.train import train
from tests.proxy_models.test_distributed import TOLERANCE, losses, settings

pytest.importorskip("ray.train", reason="Ray Train needs pip install 'ray[train]'", exc_type=ImportError)


def on_workers(count: int, folder: Path, run: dict[str, Any]) -> subprocess.CompletedProcess[str]:
    path = folder / "run.json"
    path.write_text(json.dumps(run))
    environment = {name: value for name, value in os.environ.items() if name != "RAY_ADDRESS"}
    environment |= {"RAY_USAGE_STATS_ENABLED": "0", "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "proxy_models.ray_train", "--workers", str(count), str(path)]
    return subprocess.run(command, capture_output=True, text=True, env=environment, timeout=300)


@pytest.mark.slow
def test_two_workers_lose_what_one_process_does(token_folder: Path, tmp_path: Path) -> None:
    run = settings(token_folder, "workers")
    done = on_workers(2, tmp_path, run)
    assert done.returncode == 0, done.stderr
    alone = train({**run, "work": "alone"}, tmp_path)
    assert losses(tmp_path / "workers") == pytest.approx(alone.losses, abs=TOLERANCE)
    told = json.loads(done.stdout.splitlines()[-1])
    assert told["steps"] == 8
    assert told["evaluation"] == pytest.approx(alone.evaluations[-1], abs=1e-5)


@pytest.mark.slow
def test_what_is_wrong_with_a_run_is_told(token_folder: Path, tmp_path: Path) -> None:
    done = on_workers(2, tmp_path, settings(token_folder, "workers", batch=6))
    assert done.returncode == 1
    assert "a batch of 6 sequences for 2 ranks, 2 parts each: take a multiple of 4" in done.stderr
