"""Checkpoints of one run in one folder: written whole or not at all, and read only if undamaged.

A file is the sha256 of its payload in hex, a newline, and the payload (torch.save).
"""

import hashlib
import io
import json
import os
import socket
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import torch


class CheckpointError(Exception):
    """A folder whose checkpoints cannot be continued. The message names it and says what to do."""


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
        """Write the checkpoint of a step, then delete those that need not be kept."""
        self.folder.mkdir(parents=True, exist_ok=True)
        payload = io.BytesIO()
        torch.save({"fingerprint": self.fingerprint, "step": step, "state": state}, payload)
        path = self.folder / f"step-{step:010d}.checkpoint"
        # One name for all steps, so that what a killed write left is overwritten; of this process alone, since another
        # attempt at the same run may be under way on a machine that is given up for lost.
        temporary = self.folder / f"checkpoint.{socket.gethostname()}.{os.getpid()}.writing"
        with temporary.open("wb") as file:
            file.write(hashlib.sha256(payload.getbuffer()).hexdigest().encode() + b"\n")
            file.write(payload.getbuffer())
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
        for old in self._paths()[: -self.keep]:
            if not (self.keep_each and _step_of(old) % self.keep_each == 0):
                old.unlink(missing_ok=True)
        return path

    def latest(self) -> tuple[int, dict[str, Any] | None, list[str]]:
        """Step and state of the newest undamaged checkpoint, and a message for each damaged one passed over.

        Without a checkpoint, 0 and None. Raises CheckpointError if they are of another run, or all damaged.
        """
        messages = []
        for path in reversed(self._paths()):
            try:
                digest, _, payload = path.read_bytes().partition(b"\n")
            except FileNotFoundError:  # another process has newer ones, or has come to the end
                continue
            if hashlib.sha256(payload).hexdigest().encode() != digest:
                messages.append(f"{path} is damaged (its sha256 does not match); the one before it is used")
                continue
            checkpoint = torch.load(io.BytesIO(payload), weights_only=True)
            if checkpoint["fingerprint"] != self.fingerprint:
                raise CheckpointError(
                    f"{path} is of a run with another configuration, mixture or tokens; "
                    f"restore those to continue it, or delete {self.folder} to start anew"
                )
            return checkpoint["step"], checkpoint["state"], messages
        if messages:
            raise CheckpointError(f"every checkpoint in {self.folder} is damaged; delete it to start anew")
        return 0, None, messages

    def _paths(self) -> list[Path]:
        return sorted(self.folder.glob("step-*.checkpoint"))


def _step_of(path: Path) -> int:
    return int(path.stem.removeprefix("step-"))


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
