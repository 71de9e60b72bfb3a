"""Finds the documents that kill, or hang, the process that works on them.

A worker that dies takes its task along and says nothing. So after some such deaths the part is rehearsed in a process
of its own, which puts down each batch before a stage looks at it. The batch that lies there when that process dies is
tried in halves, each again in a process of its own, until one document is found: about two processes for each halving,
whatever the size of the part. The next rehearsal leaves that document out, and so on until one comes to its end.

That a stage looks at one document at a time makes this right: a document kills alone or not at all.
"""

from __future__ import annotations

import math
import os
import pickle
import resource
import select
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from pipeline.errors import StageError
from pipeline.usage import resident_bytes

if TYPE_CHECKING:
    from pipeline.task import PartSpec

BATCH_FILE = "batch.arrow"  # with the label of the step before which it lies
MAX_PER_PART = 20
LOOK_EVERY_S = 0.05
START_S = 120.0  # for a process to load stages with their models


@dataclass(frozen=True)
class Poison:
    """A document that its step is not shown."""

    step: str  # its label; of filters in a row, the first one's
    id: str
    reason: str  # "killed_worker", "out_of_memory" or "deadline"
    evidence: str


@dataclass(frozen=True)
class _End:
    """How a process ended that did not come to its end."""

    reason: str
    evidence: str


def is_divisible(spec: PartSpec) -> bool:
    """Whether documents of a part can be left out: not of stages that see more than one at a time, and not where
    processes beside the task have a hand in it."""
    from pipeline.stage import Gather

    return not (spec.task or spec.artifacts or spec.service or spec.processes) and not any(
        issubclass(step.stage, Gather) for step in spec.steps
    )


@dataclass(frozen=True)
class Allowance:
    """What a process of its own may take."""

    batch_s: float  # seconds for one batch of a stage
    memory_bytes: float = math.inf

    def exceeded(self, process: subprocess.Popen[bytes]) -> _End | None:
        """End the process, if it holds more memory than it may: before the machine has none left."""
        if resident_bytes(process.pid) > self.memory_bytes:
            process.kill()
            process.wait()
            return _End("out_of_memory", f"took more than {self.memory_bytes / 1e6:,.0f} MB of memory")
        return None


def find_poison(spec: PartSpec, allowance: Allowance) -> tuple[Poison, ...]:
    """The documents of a part that kill, or hang, a process that works on them, those that are known included.

    Raises:
        StageError: the process dies while it reads its input, or there are more than MAX_PER_PART such documents.
    """
    found = list(spec.poison)
    with tempfile.TemporaryDirectory(prefix="sluice-poison-") as name:
        folder = Path(name)
        while end := _rehearse(replace(spec, poison=tuple(found), watch=folder), allowance):
            batch = folder / BATCH_FILE
            if not batch.exists():
                raise StageError(
                    f"{spec.artifact}, part {spec.name}: its worker process dies while it reads the input or writes "
                    f"the output ({end.evidence}). Take that file out of the recipe, or try it alone with 'sluice try'"
                )
            with pa.OSFile(str(batch)) as file, pa.ipc.open_file(file) as reader:
                table = reader.read_all()
            label = table.schema.metadata[b"step"].decode()
            found += _among(spec, folder, label, table, end, allowance)
            if len(found) > MAX_PER_PART:
                ids = ", ".join(poison.id for poison in found[:5])
                raise StageError(
                    f"{spec.artifact}, part {spec.name}: more than {MAX_PER_PART} documents kill the process that "
                    f"works on them, or hang it (such as {ids}). That is a fault of stage {found[0].step}, or of this "
                    "machine, rather than of the documents: try one of them with 'sluice try'"
                )
    return tuple(found)


def watched(
    spec: PartSpec, label: str, tables: Iterator[pa.Table]
) -> Iterator[tuple[pa.Table, list[tuple[dict[str, Any], Poison]]]]:
    """The tables before a step without its poison, and the rows of that; puts each down if the task is rehearsed."""
    poison = {one.id: one for one in spec.poison if one.step == label}
    for table in tables:
        out: list[tuple[dict[str, Any], Poison]] = []
        if poison:
            ids = table.column("id").to_pylist()
            kept = [id_ not in poison for id_ in ids]
            if not all(kept):
                gone = table.filter(pa.array([not is_kept for is_kept in kept])).to_pylist()
                out = [(row, poison[row["id"]]) for row in gone]
                table = table.filter(pa.array(kept))
        if spec.watch is not None:
            _put_down(spec.watch, label, table)
        yield table, out
        if spec.watch is not None:
            (spec.watch / BATCH_FILE).unlink(missing_ok=True)


def _put_down(folder: Path, label: str, table: pa.Table) -> None:
    writing = folder / "writing"
    table = table.replace_schema_metadata({"step": label})
    with pa.OSFile(str(writing), "wb") as file, pa.ipc.new_file(file, table.schema) as writer:
        writer.write_table(table)
    writing.replace(folder / BATCH_FILE)


def _rehearse(spec: PartSpec, allowance: Allowance) -> _End | None:
    """Run the part to its end for nothing; how the process ended if it did not get there."""
    assert spec.watch is not None
    batch = spec.watch / BATCH_FILE
    batch.unlink(missing_ok=True)
    process = _started("rehearse", spec)
    state, since = _state_of(batch), time.monotonic()
    allowed = max(allowance.batch_s, START_S)
    while process.poll() is None:
        time.sleep(LOOK_EVERY_S)
        if end := allowance.exceeded(process):
            return end
        if (now := _state_of(batch)) != state:
            state, since, allowed = now, time.monotonic(), allowance.batch_s
        if time.monotonic() - since > allowed:
            process.kill()
            process.wait()
            return _End("deadline", f"no end within {allowed:g} s")
    return _end_of(process)


def _among(spec: PartSpec, folder: Path, label: str, table: pa.Table, end: _End, allowance: Allowance) -> list[Poison]:
    """The document of a batch at which the process dies. All of them, should it take several at once."""
    first, last = 0, table.num_rows
    while last - first > 1:
        middle = (first + last) // 2
        halves = [(first, middle), (middle, last)]
        died = next((half for half in halves if _end_with_rows(spec, folder, label, half, allowance)), None)
        if died is None:
            break
        first, last = died
    else:
        if last > first and (found := _end_with_rows(spec, folder, label, (first, last), allowance)):
            end = found
    return [Poison(label, id_, end.reason, end.evidence) for id_ in table.column("id")[first:last].to_pylist()]


def _end_with_rows(
    spec: PartSpec, folder: Path, label: str, rows: tuple[int, int], allowance: Allowance
) -> _End | None:
    """How a process ends that shows its step these rows of the batch; None if it survives them."""
    process = _started("try_rows", spec, folder / BATCH_FILE, label, rows)
    try:
        if _word_within(process, START_S) != b"ready\n":
            raise StageError(
                f"{spec.artifact}, part {spec.name}: stage {label} does not get ready in a process of its own, so the "
                "document that kills its worker cannot be found. Try its input alone with 'sluice try'"
            )
        until = time.monotonic() + allowance.batch_s
        while _word_within(process, LOOK_EVERY_S) is None:
            if end := allowance.exceeded(process):
                return end
            if time.monotonic() > until:
                return _End("deadline", f"no end within {allowance.batch_s:g} s")
        process.wait(START_S)
        return _end_of(process)
    finally:
        process.kill()
        process.wait()


def _word_within(process: subprocess.Popen[bytes], seconds: float) -> bytes | None:
    """The next line that a process says; empty if it has ended, None if it says nothing for so long."""
    assert process.stdout is not None
    readable, _, _ = select.select([process.stdout], [], [], seconds)
    return process.stdout.readline() if readable else None


def _end_of(process: subprocess.Popen[bytes]) -> _End | None:
    if process.returncode >= 0:  # an exception is no death: the task itself will tell it
        return None
    number = -process.returncode
    return _End("killed_worker", f"signal {number} ({signal.Signals(number).name})")


def _state_of(path: Path) -> int | None:
    try:
        return path.stat().st_mtime_ns
    except FileNotFoundError:
        return None


def _started(what: str, *arguments: Any) -> subprocess.Popen[bytes]:
    """A process of its own that calls a function of this module. What it is to do goes through a pipe."""
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    process = subprocess.Popen(
        [sys.executable, "-c", "from pipeline import isolation; isolation.child()"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env=environment,
    )
    assert process.stdin is not None
    pickle.dump((what, *arguments), process.stdin)
    process.stdin.close()
    return process


def child() -> None:
    """What a process of its own does: as its parent tells it through the pipe between them."""
    what, *arguments = pickle.loads(sys.stdin.buffer.read())
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # to write down the memory of one that is to die takes long
    if what == "rehearse":
        _rehearsal(*arguments)
    else:
        _try_rows(*arguments)


def _rehearsal(spec: PartSpec) -> None:
    from pipeline.task import rehearse

    rehearse(spec)


def _try_rows(spec: PartSpec, path: Path, label: str, rows: tuple[int, int]) -> None:
    from pipeline.task import show

    with pa.OSFile(str(path)) as file, pa.ipc.open_file(file) as reader:
        table = reader.read_all().replace_schema_metadata(None).slice(rows[0], rows[1] - rows[0])
    look = show(spec, label)
    print("ready", flush=True)
    look(table)
    print("done", flush=True)
