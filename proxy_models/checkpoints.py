"""Checkpoints of one run in one folder: written whole or not at all, and read only if undamaged.

A file is what torch.save writes and behind it, since a zip archive may be followed by anything, its sha256 in hex.
"""

import hashlib
import json
import os
import socket
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Self

import torch

DIGEST_BYTES = 64


class CheckpointError(Exception):
    """A folder whose checkpoints cannot be continued or written. The message names it and says what to do."""


def fingerprint_of(*parts: Any) -> str:
    """sha256 of the parts as JSON: what a run must have in common with a checkpoint to continue it."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


@dataclass(frozen=True)
class Checkpoints:
    """The newest `keep` checkpoints in `folder`, all of the run that `fingerprint` names, and those of every
    keep_each-th step for good (0: of none)."""

    folder: Path
    fingerprint: str
    keep: int = 2
    keep_each: int = 0

    def save(self, step: int, state: dict[str, Any]) -> Path:
        """Write the checkpoint of a step, then delete those that need not be kept. Raises CheckpointError if it cannot
        be written, such as on a full disk; those before it stay. FileNotFoundError or FileExistsError if another
        process, at the end of the same run, clears the folder meanwhile."""
        path = self.folder / f"step-{step:010d}.checkpoint"
        # Of this process alone, since another attempt at the same run may be under way on a machine given up for lost.
        temporary = self.folder / f"checkpoint.{socket.gethostname()}.{os.getpid()}.writing"
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            self._delete_unfinished()
            _write(temporary, {"fingerprint": self.fingerprint, "step": step, "state": state})
            os.replace(temporary, path)
        except OSError as error:
            # Either comes of mkdir, too, if the folder is cleared at this moment.
            if isinstance(error, FileNotFoundError | FileExistsError) and not self.folder.is_file():
                raise
            raise CheckpointError(
                f"{path} could not be written ({error}): make room, or give another folder, and run again; the "
                "checkpoints before it are whole"
            ) from error
        for old in self._paths()[: -self.keep]:
            if not (self.keep_each and _step_of(old) % self.keep_each == 0):
                old.unlink(missing_ok=True)
        return path

    def latest(self, sets_aside: bool = True) -> tuple[int, dict[str, Any] | None, list[str]]:
        """Step and state of the newest undamaged checkpoint, and a message for each damaged one passed over.

        Tensors are read when they are first used. Damaged files get the ending .damaged, so that they are no longer
        counted among those to keep; sets_aside: False if another rank does that. Without a checkpoint, 0 and None.
        Raises CheckpointError if they are of another run, or all damaged.
        """
        damaged: list[Path] = []
        for path in reversed(self._paths()):
            try:
                checkpoint = read_checkpoint(path)
            except FileNotFoundError:  # another process has newer ones, or has come to the end
                continue
            if checkpoint is None:
                damaged.append(path)
                continue
            if checkpoint["fingerprint"] != self.fingerprint:
                raise CheckpointError(
                    f"{path} is of a run with another configuration, mixture or tokens; "
                    f"restore those to continue it, or delete {self.folder} to start anew"
                )
            if sets_aside:
                for other in damaged:
                    other.replace(other.with_suffix(".damaged"))
            return checkpoint["step"], checkpoint["state"], [damage_message(other, path) for other in damaged]
        if damaged:
            raise CheckpointError(f"every checkpoint in {self.folder} is damaged; delete it to start anew")
        return 0, None, []

    def _delete_unfinished(self) -> None:
        """What killed processes of this machine left: as large as a checkpoint each."""
        for path in self.folder.glob(f"checkpoint.{socket.gethostname()}.*.writing"):
            if not _is_running(int(path.name.split(".")[-2])):
                path.unlink(missing_ok=True)

    def _paths(self) -> list[Path]:
        return sorted(self.folder.glob("step-*.checkpoint"))


def read_checkpoint(path: Path) -> dict[str, Any] | None:
    """What a file holds: "fingerprint", "step", "state". None if it is damaged. Tensors are read when they are first
    used."""
    with path.open("rb") as file:
        file.seek(0, os.SEEK_END)
        left = file.tell() - DIGEST_BYTES
        file.seek(0)
        total = hashlib.sha256()
        while left > 0 and (piece := file.read(min(left, 1 << 24))):
            total.update(piece)
            left -= len(piece)
        if file.read() != total.hexdigest().encode():
            return None
    checkpoint: dict[str, Any] = torch.load(path, weights_only=True, mmap=True, map_location="cpu")
    return checkpoint


def damage_message(path: Path, used: Path) -> str:
    return f"{path} is damaged (its sha256 does not match); the one before it is used, {used.name}"


def _write(path: Path, checkpoint: dict[str, Any]) -> None:
    """On the disk when it returns; with an OSError, nothing of it."""
    with path.open("wb") as file:
        hashed = _Hashed(file)
        try:
            torch.save(checkpoint, hashed)  # type: ignore[arg-type]
            file.write(hashed.digest.hexdigest().encode())
            file.flush()
            os.fsync(file.fileno())
        except (OSError, RuntimeError) as error:
            path.unlink(missing_ok=True)
            raise (hashed.error or error) from error  # torch's own error does not say what went wrong


class _Hashed:
    """A file for torch.save to write to, with the sha256 of what was written and the first error."""

    def __init__(self, file: BinaryIO) -> None:
        self.file, self.digest = file, hashlib.sha256()
        self.error: OSError | None = None

    def write(self, piece: bytes) -> int:
        self.digest.update(piece)
        try:
            return self.file.write(piece)
        except OSError as error:
            self.error = self.error or error
            raise

    def flush(self) -> None:
        self.file.flush()


def _step_of(path: Path) -> int:
    return int(path.stem.removeprefix("step-"))


def _is_running(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return True


class BackgroundSaves:
    """Saves in a thread while training goes on, one at a time.

    Leaving the context waits for the save under way. What went wrong in one is raised by the next call, or on leaving.
    """

    def __init__(self, checkpoints: Checkpoints) -> None:
        self.checkpoints = checkpoints
        self.thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="checkpoint")
        self.under_way: Future[Path] | None = None

    def save(self, step: int, state: dict[str, Any]) -> None:
        """Begin a save, after the one before. The state must not change any more: give a copy."""
        self.wait()
        self.under_way = self.thread.submit(self.checkpoints.save, step, state)

    def raise_errors(self) -> None:
        """Of a save that has come to its end."""
        if self.under_way is not None and self.under_way.done():
            self.wait()

    def wait(self) -> None:
        if self.under_way is not None:
            done, self.under_way = self.under_way, None
            done.result()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        try:
            if error is None:
                self.wait()  # else the run's own error is the one to be seen
        finally:
            self.thread.shutdown(wait=True)
