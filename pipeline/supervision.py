"""What the driver does about tasks that take too long or never end. Settings of a recipe, under ``supervision``."""

from __future__ import annotations

import statistics
import time
from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from pydantic import Field

from pipeline.errors import MachineError
from pipeline.stage import Options

if TYPE_CHECKING:
    from pipeline.task import PartSpec

STRAGGLER_FACTOR = 3.0  # times the median of its artifact's parts (Dean and Ghemawat, MapReduce, 2004, section 3.6)


class Supervision(Options):
    """How long things may take. None of it changes what comes out, but for documents that hang a process."""

    part_s: float = Field(6 * 3600.0, gt=0)
    """Seconds that a part of documents may take; then the document is found at which its process hangs."""

    batch_s: float = Field(600.0, gt=0)
    """Seconds that a stage may take for one batch (up to 1024 documents) while that document is looked for."""

    poisonous: int = Field(100, ge=0)
    """Documents that may kill, or hang, the process that works on them, over all parts of a run; more end it."""

    straggler_s: float = Field(60.0, gt=0)
    """Seconds before which a part is no straggler, however short the others are."""

    silence_s: float = Field(1800.0, gt=0)
    """Seconds without a finished part or step after which the run tells what it waits for."""

    give_up_s: float = Field(8 * 3600.0, gt=0)
    """Seconds without a finished part or step after which the run ends."""


class Watch:
    """Notices stragglers and silence. Tells time by this machine's clock alone."""

    def __init__(self, supervision: Supervision) -> None:
        self._settings = supervision
        self._began: dict[str, float] = {}  # of parts that surely run, by key
        self._seconds: dict[str, list[float]] = defaultdict(list)  # of finished parts, by artifact
        self._twice: set[str] = set()
        self._heard = time.monotonic()
        self._told = False

    def ended(self, spec: PartSpec, seconds: float) -> None:
        """A part is finished, after so many seconds."""
        self._seconds[spec.artifact].append(seconds)
        self._began.pop(spec.key, None)
        self.hear()

    def hear(self) -> None:
        """Something has got on."""
        self._heard, self._told = time.monotonic(), False

    def stragglers(self, in_flight: Mapping[str, PartSpec], slots: int) -> list[PartSpec]:
        """Parts to be run a second time, as there are slots with nothing else to do.

        Args:
            in_flight: the parts handed out, by key.
            slots: how many can run at once.
        """
        if len(in_flight) + len(self._twice & in_flight.keys()) >= slots:
            self._began = {}  # some may be waiting for a slot yet
            return []
        now, found = time.monotonic(), []
        for key, spec in in_flight.items():
            began = self._began.setdefault(key, now)
            usual = self._seconds[spec.artifact]
            if key in self._twice or not usual or spec.gpus or spec.service or spec.artifacts:
                continue
            if now - began > max(self._settings.straggler_s, STRAGGLER_FACTOR * statistics.median(usual)):
                self._twice.add(key)
                found.append(spec)
        return found

    def silence(self, in_flight: Iterable[PartSpec]) -> str | None:
        """A warning if nothing has got on for long; once for each silence.

        Raises:
            MachineError: for too long.
        """
        quiet_s = time.monotonic() - self._heard
        if quiet_s < min(self._settings.silence_s, self._settings.give_up_s):
            return None
        names = sorted(f"{spec.artifact}, part {spec.name}" for spec in in_flight)
        waiting = "; ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")
        if quiet_s >= self._settings.give_up_s:
            raise MachineError(
                f"nothing has finished for {quiet_s:.0f} s, so the run ends. It waited for: {waiting}. See that the "
                "cluster has machines for these parts and that they can reach what they read; then give the same "
                "command again: what was committed is kept. Should they need that long, raise supervision.give_up_s"
            )
        if self._told:
            return None
        self._told = True
        return f"warning: nothing has finished for {quiet_s:.0f} s; waiting for: {waiting}"
