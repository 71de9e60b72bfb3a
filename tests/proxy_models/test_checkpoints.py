"""Checkpoints: written in the background, whole or not at all, and kept by rule."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from proxy_models.checkpoints import BackgroundSaves, Checkpoints

ENDLESS_SAVES = """
import sys, torch
from pathlib import Path
from proxy_models.checkpoints import Checkpoints
checkpoints = Checkpoints(Path(sys.argv[1]), "a run")
for step in range(1, 10**6):
    checkpoints.save(step, {"x": torch.full((2_000_000,), float(step))})
    print(step, flush=True)
"""


def test_the_newest_and_each_kth_are_kept(tmp_path: Path) -> None:
    checkpoints = Checkpoints(tmp_path, "a run", keep=2, keep_each=4)
    for step in range(1, 11):
        checkpoints.save(step, {"x": step})
    assert [int(path.stem[5:]) for path in sorted(tmp_path.iterdir())] == [4, 8, 9, 10]


def test_a_save_in_the_background_is_there_after_the_context(tmp_path: Path) -> None:
    checkpoints = Checkpoints(tmp_path, "a run")
    with BackgroundSaves(checkpoints) as saves:
        saves.save(1, {"x": 1})
        saves.save(2, {"x": 2})
    assert checkpoints.latest() == (2, {"x": 2}, [])


def test_an_error_of_a_background_save_comes_out(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder")
    with BackgroundSaves(Checkpoints(tmp_path / "file", "a run")) as saves:
        saves.save(1, {"x": 1})
        while saves.under_way is not None and not saves.under_way.done():
            time.sleep(0.001)
        with pytest.raises(OSError, match="file"):
            saves.raise_errors()


def test_the_error_of_the_last_save_comes_out_at_the_end(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder")
    with pytest.raises(OSError, match="file"), BackgroundSaves(Checkpoints(tmp_path / "file", "a run")) as saves:
        saves.save(1, {"x": 1})


@pytest.mark.parametrize("wait_s", [0.001, 0.006, 0.011])
def test_a_process_killed_while_it_writes_leaves_the_checkpoint_before(tmp_path: Path, wait_s: float) -> None:
    process = subprocess.Popen([sys.executable, "-c", ENDLESS_SAVES, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    told = [int(process.stdout.readline()) for _ in range(3)]
    writing: list[Path] = []
    while not writing:  # in the midst of a write
        writing = list(tmp_path.glob("*.writing"))
    time.sleep(wait_s)
    os.kill(process.pid, signal.SIGKILL)
    told += [int(line) for line in process.stdout.read().split()]
    process.wait()
    step, state, messages = Checkpoints(tmp_path, "a run").latest()
    assert state is not None
    assert step in (told[-1], told[-1] + 1)
    assert state["x"].eq(step).all()
    assert messages == []
