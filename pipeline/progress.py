"""Progress: a small file from each long task, and what the terminal shows of all stages."""

from __future__ import annotations

import json
import threading
import time
import uuid
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from rich.console import Console
from rich.live import Live
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    SpinnerColumn,
    Task,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.table import Table
from rich.text import Text

from pipeline import storage
from pipeline.errors import Stopped

WRITE_EVERY_S = 0.5
LOOK_EVERY_S = 0.25
STORE_EVERY_S = 5.0  # in place of these where each look or note is a request to a store
PRINT_EVERY_S = 15.0


class ProgressFile:
    """How far a task is that takes long, in a file that the driver and `sluice status` read.

    Args:
        key: of the task's part.
    """

    def __init__(self, run: Path, artifact: str, key: str) -> None:
        self.path = _progress_folder(run, artifact) / f"{key}.json"
        self._is_near = storage.store_of(run) is None
        self._last = 0.0

    def report(self, done: int, total: int) -> None:
        """Note steps done and in all; calls in quick succession are skipped, except the last."""
        now = time.monotonic()
        if done < total and now - self._last < (WRITE_EVERY_S if self._is_near else STORE_EVERY_S):
            return
        self._last = now
        storage.replace(self.path, json.dumps([done, total]).encode())

    def clear(self) -> None:
        """Forget what was reported."""
        storage.remove(self.path)


def reported_steps(run: Path, artifact: str) -> list[tuple[int, int]]:
    """Steps done and in all of each task of an artifact that has reported any and is not done."""
    found = []
    for path in storage.files_in(_progress_folder(run, artifact), ".json"):
        with suppress(FileNotFoundError):  # its task has just ended
            done, total = json.loads(storage.read_bytes(path))
            found.append((done, total))
    return found


def forget_steps(run: Path, artifact: str) -> None:
    """Forget what the tasks of an earlier run have reported."""
    storage.remove_folder(_progress_folder(run, artifact))


def _progress_folder(run: Path, artifact: str) -> Path:
    return run / "progress" / artifact


class StopSign:
    """A file by which a driver has its tasks end: they look for it between batches and steps.

    Ray's own cancelling interrupts a task anywhere, also where it removes what it was writing, and a reply that
    crosses it can abort the driver (a failed check in Ray's task manager).

    Args:
        path: of the file, one for each driver: two may work on one run; None for a task that is never told.
    """

    def __init__(self, path: Path | None) -> None:
        self.path = path
        self._every_s = STORE_EVERY_S if path is not None and storage.store_of(path) else LOOK_EVERY_S
        self._last = -self._every_s

    @staticmethod
    def of_new_driver(run: Path) -> StopSign:
        """A sign of its own for a driver of this run."""
        return StopSign(run / "progress" / f"stop-{uuid.uuid4().hex[:8]}")

    def put_up(self) -> None:
        """Have the driver's tasks end."""
        if self.path is not None:
            storage.replace(self.path, b"")

    def take_down(self) -> None:
        """Leave nothing behind."""
        if self.path is not None:
            storage.remove(self.path)

    def obey(self) -> None:
        """End this task if it is to stop; looks no more often than every LOOK_EVERY_S seconds, or STORE_EVERY_S.

        Raises:
            Stopped: the sign is up.
        """
        now = time.monotonic()
        if self.path is None or now - self._last < self._every_s:
            return
        self._last = now
        if storage.exists(self.path):
            raise Stopped(f"the run was stopped ({self.path})")


@dataclass
class StageProgress:
    """State of one artifact of a run."""

    state: str = "waiting"  # waiting, running, done, reused
    parts_done: int = 0
    parts: int = 0
    documents: int = 0  # documents that came out of finished parts
    records: int = 0  # documents that went in
    started: float | None = None
    seconds: float = 0.0
    reused_parts: int = 0
    steps: Sequence[tuple[int, int]] = ()  # done and in all, of each task under way that tells its steps

    def elapsed(self) -> float:
        """Seconds since the first part was handed out, or the whole time once done."""
        return time.monotonic() - self.started if self.state == "running" and self.started else self.seconds

    def fraction(self) -> float:
        """Share of the work that is done, 0 to 1."""
        if self.state in ("done", "reused"):
            return 1.0
        under_way = sum(done / max(1, total) for done, total in self.steps)
        return min(1.0, (self.parts_done + under_way) / self.parts) if self.parts else 0.0

    def remaining_s(self) -> float | None:
        """Seconds left if the rest goes as fast as what this run has done itself; None when unknown."""
        share = self.fraction() - (self.reused_parts / self.parts if self.parts else 0.0)
        if self.state != "running" or share <= 0:
            return None
        return self.elapsed() * (1 - self.fraction()) / share


def say(console: Console, message: str) -> None:
    """Print a line as it is, however long."""
    console.print(message, highlight=False, soft_wrap=True)


def say_last(console: Console, message: str) -> None:
    """Print the line that a quiet command prints too."""
    was_quiet, console.quiet = console.quiet, False
    say(console, message)
    console.quiet = was_quiet


Tick = Callable[[int, int], None]
"""Told steps done and steps in all."""


def silent(done: int, total: int) -> None:
    """For a caller who does not want to know."""


T = TypeVar("T")


class Steps:
    """Counts the steps of a whole, for someone who is told of each."""

    def __init__(self, tick: Tick, total: int) -> None:
        self._tick, self._done, self._total = tick, 0.0, total

    def of(self, things: Collection[T], each: float = 1.0) -> Iterator[T]:
        """These things, one after another; each counts as so many steps once the next one is asked for."""
        for thing in things:
            yield thing
            self._done += each
            self._tick(round(self._done), self._total)


@contextmanager
def working(what: str, is_quiet: bool = False) -> Iterator[Tick]:
    """Tell on standard error, while a command works, how far it is: time and, where steps are told, rate and time left.

    On a terminal a bar, which is gone at the end; elsewhere a line every PRINT_EVERY_S seconds.
    """
    console = Console(stderr=True)
    if is_quiet:
        yield silent
    elif console.is_terminal:
        with _bar(what, console) as tick:
            yield tick
    else:
        with _lines(what, console) as tick:
            yield tick


@contextmanager
def _bar(what: str, console: Console) -> Iterator[Tick]:
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        _Rate(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, transient=True, redirect_stdout=False) as bar:
        task = bar.add_task(what, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


class _Rate(ProgressColumn):
    def render(self, task: Task) -> Text:
        return Text(f"{task.speed:,.1f} per second" if task.speed else "")


@contextmanager
def _lines(what: str, console: Console) -> Iterator[Tick]:
    started, steps = time.monotonic(), (0, 0)

    def note(done: int, total: int) -> None:
        nonlocal steps
        steps = (done, total)

    with now_and_then(lambda: say(console, f"{what}: {_how_far(*steps, time.monotonic() - started)}")):
        yield note


@contextmanager
def now_and_then(tell: Callable[[], None]) -> Iterator[None]:
    """Tell something every PRINT_EVERY_S seconds inside the block, whatever that is doing."""
    ended = threading.Event()

    def teller() -> None:
        while not ended.wait(PRINT_EVERY_S):
            tell()

    thread = threading.Thread(target=teller, daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def _how_far(done: int, total: int, elapsed_s: float) -> str:
    """Steps, rate, seconds that went by and that are left, as far as they are known."""
    if not done:
        return f"{elapsed_s:.0f} s"
    left_s = elapsed_s * (total - done) / done
    return f"{done:,}/{total:,}, {done / elapsed_s:,.1f} per second, {elapsed_s:.0f} s, {left_s:.0f} s left"


class Display:
    """Shows all stages: a live table on a terminal, lines elsewhere. A verbose one tells each event of the log."""

    is_transient = False  # is the table gone at the end?

    def __init__(self, console: Console, stages: Mapping[str, StageProgress], is_verbose: bool = False) -> None:
        self.console = console
        self.stages = stages
        self.is_verbose = is_verbose
        self._printed = time.monotonic()

    @contextmanager
    def shown(self) -> Iterator[None]:
        """Show progress inside the block."""
        if self.console.is_terminal:
            table = Live(
                get_renderable=lambda: table_of(self.stages),
                console=self.console,
                refresh_per_second=4,
                transient=self.is_transient,
            )
            with table:
                yield
        else:
            yield

    def say(self, message: str) -> None:
        """Print a line above the table."""
        say(self.console, message)

    def stage_ended(self, name: str) -> None:
        """On plain output, a line for the stage that has just ended."""
        stage = self.stages[name]
        if not self.console.is_terminal and stage.state == "done":
            self.say(f"{name}: {describe(stage)}")

    def tick(self) -> None:
        """On plain output, a line now and then so that nobody thinks it hangs."""
        if self.console.is_terminal or time.monotonic() - self._printed < PRINT_EVERY_S:
            return
        self._printed = time.monotonic()
        running = [f"{name} {describe(stage)}" for name, stage in self.stages.items() if stage.state == "running"]
        if running:
            say(self.console, "running: " + "; ".join(running))


def table_of(stages: Mapping[str, StageProgress]) -> Table:
    """One row a stage."""
    table = Table(box=None, padding=(0, 1))
    for heading in ("stage", "state", "parts", "in", "out", "per second", "time", "left"):
        table.add_column(heading, justify="left" if heading in ("stage", "state") else "right", overflow="fold")
    for name, stage in stages.items():
        table.add_row(name, *row(stage), style="dim" if stage.state in ("waiting", "reused") else None)
    return table


def row(stage: StageProgress) -> tuple[str, ...]:
    """State, parts, documents in and out, rate, time, time left."""
    elapsed = stage.elapsed()
    remaining = stage.remaining_s()
    parts = f"{stage.parts_done}/{stage.parts}" if stage.parts else ""
    if stage.steps and stage.state == "running":
        parts = "/".join(str(sum(steps)) for steps in zip(*stage.steps, strict=True))
    return (
        stage.state,
        parts,
        f"{stage.records:,}" if stage.records else "",
        f"{stage.documents:,}" if stage.records else "",
        f"{stage.records / elapsed:,.0f}" if stage.records and elapsed > 0.5 else "",
        f"{elapsed:.0f} s" if elapsed else "",
        f"{remaining:.0f} s" if remaining is not None else "",
    )


def describe(stage: StageProgress) -> str:
    """The same on one line."""
    state, parts, records, kept, rate, elapsed, remaining = row(stage)
    pieces = [f"{parts} parts" if not stage.steps else f"{parts} steps"] if parts else []
    if records or kept:
        pieces.append(f"{records or 0} in, {kept or 0} out")
    if rate:
        pieces.append(f"{rate}/s")
    if elapsed:
        pieces.append(elapsed)
    if remaining:
        pieces.append(f"{remaining} left")
    return ", ".join(pieces) or state
