"""What a swarm has on disk: a row for each finished run, and checkpoints of the stacks that are not finished.

    finished/<key>.json                    the row of a run; written whole or not at all
    unfinished/<stack>/runs.json           the keys of a stack's runs, in order
    unfinished/<stack>/step-*.checkpoint   see checkpoints.py

A key is a digest of all that decides a run's result. So several processes may work in one folder on different runs,
a call with further runs trains only those, and unfinished runs go on in whichever stack they are put.
"""

import contextlib
import json
import os
import socket
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from proxy_models.checkpoints import CheckpointError, Checkpoints, fingerprint_of
from proxy_models.stacked import rows_of_state

Row = dict[str, Any]
# Column -> bits per byte of each model of a stack, [K].
Evaluations = dict[str, list[float]]


@dataclass(frozen=True)
class Unfinished:
    """A run as its last checkpoint has it: row `row` of a stack's state."""

    step: int
    state: Mapping[str, Tensor]
    evaluations: Evaluations
    row: int

    def alone(self) -> dict[str, Tensor]:
        return rows_of_state(self.state, [self.row])

    def measured(self) -> dict[str, float]:
        return {column: values[self.row] for column, values in self.evaluations.items()}


class RunStore:
    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def finished(self, key: str) -> Row | None:
        path = self._row_path(key)
        if not path.is_file():
            return None
        try:
            row: Row = json.loads(path.read_text())
        except ValueError as error:
            raise CheckpointError(f"{path} is damaged ({error}); delete it to train its run anew") from error
        return row

    def finish(self, key: str, row: Row) -> None:
        write_whole(self._row_path(key), json.dumps(row, indent=1))

    def save(self, keys: Sequence[str], step: int, state: Mapping[str, Tensor], evaluations: Evaluations) -> None:
        """Checkpoint a stack, whose row k is the run keys[k]."""
        folder = self._stack_folder(keys)
        # Another process has finished these runs and cleared their folder; mkdir may then say that there is one.
        with contextlib.suppress(FileNotFoundError, FileExistsError):
            if not (folder / "runs.json").is_file():
                write_whole(folder / "runs.json", json.dumps(list(keys)))
            self._checkpoints(keys).save(step, {"models": dict(state), "evaluations": evaluations})

    def unfinished(self, wanted: Sequence[str]) -> tuple[dict[str, Unfinished], list[str]]:
        """Those of the runs that have a checkpoint, at their latest, and a message for each damaged one passed over.

        Raises CheckpointError if all checkpoints of a stack are damaged.
        """
        found: dict[str, Unfinished] = {}
        messages: list[str] = []
        for _, keys in self._stacks(wanted):
            step, saved, damaged = self._checkpoints(keys).latest()
            messages += damaged
            if saved is None:
                continue
            for row, key in enumerate(keys):
                if key in wanted and (key not in found or found[key].step < step):
                    found[key] = Unfinished(step, saved["models"], saved["evaluations"], row)
        return found, messages

    def clear(self, wanted: Sequence[str]) -> None:
        """Delete the stacks of these runs that have no unfinished run left; others may belong to another process."""
        for folder, keys in self._stacks(wanted):
            if all(self._row_path(key).is_file() for key in keys):
                # Another process that has runs of this stack may clear it, or save into it, at the same time. The keys
                # go last: what is left is found again.
                with contextlib.suppress(OSError):
                    for path in sorted(folder.iterdir(), key=lambda path: path.name == "runs.json"):
                        path.unlink(missing_ok=True)
                    folder.rmdir()

    def decided(self, name: str, key: str) -> str | None:
        """What remember has kept under this name and key."""
        path = self.folder / f"{name}-{key}"
        return path.read_text() if path.is_file() else None

    def remember(self, name: str, key: str, decision: str) -> None:
        write_whole(self.folder / f"{name}-{key}", decision)

    def _stacks(self, wanted: Sequence[str]) -> Iterator[tuple[Path, list[str]]]:
        """Folder and keys of each unfinished stack that has one of these runs."""
        for path in sorted(self.folder.glob("unfinished/*/runs.json")):
            try:
                keys = json.loads(path.read_text())
            except FileNotFoundError:  # cleared meanwhile by another process, so none of these runs is in it
                continue
            if set(keys) & set(wanted):
                yield path.parent, keys

    def _row_path(self, key: str) -> Path:
        return self.folder / "finished" / f"{key}.json"

    def _stack_folder(self, keys: Sequence[str]) -> Path:
        return self.folder / "unfinished" / fingerprint_of(*keys)

    def _checkpoints(self, keys: Sequence[str]) -> Checkpoints:
        return Checkpoints(self._stack_folder(keys), fingerprint_of(*keys))


def write_whole(path: Path, text: str) -> None:
    """Write a file so that a reader, also after a kill, sees all of it or none."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f"{path.name}.{socket.gethostname()}.{os.getpid()}.writing")
    with temporary.open("w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    os.replace(temporary, path)
