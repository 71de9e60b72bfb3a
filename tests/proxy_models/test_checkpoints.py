"""Checkpoints: written in the background, whole or not at all, and kept by rule."""

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from proxy_models.checkpoints import BackgroundSaves, CheckpointError, Checkpoints

ON_A_FULL_DISK = """
import resource, sys, torch
from pathlib import Path
from proxy_models.checkpoints import Checkpoints, CheckpointError
checkpoints = Checkpoints(Path(sys.argv[1]), "a run")
checkpoints.save(1, {"x": torch.full((1000,), 1.0)})
size = next(Path(sys.argv[1]).iterdir()).stat().st_size
for room in (0, 100, size // 2, size - 10):  # the last lacks room for the digest alone
    resource.setrlimit(resource.RLIMIT_FSIZE, (room, resource.RLIM_INFINITY))
    try:
        checkpoints.save(2, {"x": torch.full((1000,), 2.0)})
    except CheckpointError as error:
        print(error)
"""
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
        with pytest.raises(CheckpointError, match=r"file/step-0000000001\.checkpoint could not be written"):
            saves.raise_errors()


def test_the_error_of_the_last_save_comes_out_at_the_end(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder")
    checkpoints = Checkpoints(tmp_path / "file", "a run")
    with pytest.raises(CheckpointError, match="could not be written"), BackgroundSaves(checkpoints) as saves:
        saves.save(1, {"x": 1})


def damage(path: Path, at: int) -> None:
    content = bytearray(path.read_bytes())
    content[at] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize("at", [0, 200, 700, -100, -64, -1])  # of the payload, and of its digest
def test_one_changed_byte_is_seen(tmp_path: Path, at: int) -> None:
    checkpoints = Checkpoints(tmp_path, "a run")
    checkpoints.save(1, {"x": torch.arange(100)})
    damage(checkpoints.save(2, {"x": torch.arange(200)}), at)
    step, state, messages = checkpoints.latest()
    assert (step, [*map(len, (state or {}).values())]) == (1, [100])
    damaged, used = (tmp_path / f"step-000000000{step}.checkpoint" for step in (2, 1))
    assert messages == [f"{damaged} is damaged (its sha256 does not match); the one before it is used, {used.name}"]


@pytest.mark.parametrize("left", [0, 1, 63, 64, 65, 0.5, -1])
def test_a_file_cut_short_is_seen(tmp_path: Path, left: float) -> None:
    checkpoints = Checkpoints(tmp_path, "a run")
    checkpoints.save(1, {"x": 1})
    whole = checkpoints.save(2, {"x": 2}).read_bytes()
    (tmp_path / "step-0000000002.checkpoint").write_bytes(whole[: left if isinstance(left, int) else len(whole) // 2])
    step, state, messages = checkpoints.latest()
    assert (step, state, len(messages)) == (1, {"x": 1}, 1)


def test_a_damaged_checkpoint_takes_no_place_of_those_that_are_kept(tmp_path: Path) -> None:
    checkpoints = Checkpoints(tmp_path, "a run", keep=2)
    for step in (5, 6):
        checkpoints.save(step, {"x": step})
    damage(tmp_path / "step-0000000006.checkpoint", 300)
    assert checkpoints.latest()[0] == 5
    once = Checkpoints(tmp_path, "a run", keep=1)
    once.save(5, {"x": "again"})  # before the step of the damaged one
    assert once.latest() == (5, {"x": "again"}, [])
    assert [path.name for path in tmp_path.glob("*.damaged")] == ["step-0000000006.damaged"]


def test_damaged_checkpoints_alone_are_an_error_each_time(tmp_path: Path) -> None:
    checkpoints = Checkpoints(tmp_path, "a run")
    for step in (1, 2):
        damage(checkpoints.save(step, {"x": step}), 300)
    for _ in range(2):
        with pytest.raises(CheckpointError, match=f"every checkpoint in {tmp_path} is damaged"):
            checkpoints.latest()


def test_a_full_disk_is_told_and_the_checkpoint_before_stays(tmp_path: Path) -> None:
    command = [sys.executable, "-c", ON_A_FULL_DISK, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    told = done.stdout.splitlines()
    assert len(told) == 4
    for line in told:
        assert "step-0000000002.checkpoint could not be written ([Errno 27] File too large" in line
    assert [path.name for path in tmp_path.iterdir()] == ["step-0000000001.checkpoint"]
    assert Checkpoints(tmp_path, "a run").latest()[0] == 1


def test_what_a_killed_process_left_half_written_goes_with_the_next_save(tmp_path: Path) -> None:
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    of_dead = tmp_path / f"checkpoint.{socket.gethostname()}.{process.pid}.writing"
    of_living = tmp_path / f"checkpoint.{socket.gethostname()}.{os.getppid()}.writing"
    elsewhere = tmp_path / f"checkpoint.another-machine.{process.pid}.writing"
    for path in (of_dead, of_living, elsewhere):
        path.write_bytes(b"half")
    Checkpoints(tmp_path, "a run").save(1, {"x": 1})
    assert sorted(tmp_path.glob("*.writing")) == sorted([of_living, elsewhere])


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
