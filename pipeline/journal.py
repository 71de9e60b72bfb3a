"""What happened in a run, event by event: for programs, as RUN/log.jsonl, and for Prometheus (pipeline.metrics).

Each line of the log is one JSON object with `time` (UTC, by the driver's clock), `level`, `run`, `event` and, where
the event has them, `stage` (the artifact), `part` (its name), `key`, `attempt` (1 for the first of a part in this run
of the command) and figures. A run that goes on appends. The driver alone writes.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline import storage
from pipeline.artifact import Part
from pipeline.metrics import Metrics

if TYPE_CHECKING:
    from pipeline.task import PartSpec

LOG_FILE = "log.jsonl"


class EventLog:
    """A file of one JSON object a line, to which lines are added.

    Objects in a store cannot be appended to: there the whole log is written anew by ``save``, and what came since the
    last ``save`` is lost with the driver.

    Args:
        path: of the file; its lines so far stay.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._is_in_store = storage.store_of(path) is not None
        self._lines: list[bytes] = []  # of the whole log, for a store
        if self._is_in_store and storage.exists(path):
            self._lines.append(storage.read_bytes(path))

    def add(self, record: dict[str, Any]) -> None:
        """Add a line.

        Raises:
            MachineError: the disk is full.
        """
        line = json.dumps(record, allow_nan=False).encode() + b"\n"
        if self._is_in_store:
            self._lines.append(line)
            return
        with storage.explained_disk_errors(self._path), self._path.open("ab") as file:
            file.write(line)

    def save(self) -> None:
        """Have all lines where other machines see them."""
        if self._is_in_store:
            self._lines = [b"".join(self._lines)]
            storage.replace(self._path, self._lines[0])


class Journal:
    """Tells the log and the metrics what the scheduler does.

    Args:
        folder: of the run.
        run: its name.
        say: tells people of each event as well, if they asked for it.
    """

    def __init__(self, folder: Path, run: str, say: Callable[[str], None] | None = None) -> None:
        self._run, self._say = run, say
        self._log = EventLog(folder / LOG_FILE)
        self._metrics = Metrics(run)
        self._attempts: Counter[str] = Counter()  # by key
        self._isolated: set[tuple[str, str]] = set()  # key, document

    def began(self, spec: PartSpec) -> None:
        """A part was handed out to be made."""
        self._attempts[spec.key] += 1
        self._metrics.attempt(spec.artifact)
        self._tell(spec, "part_handed_out")

    def retried(self, spec: PartSpec, cause: str) -> None:
        """A part was handed out again, as the last attempt gave no answer."""
        self._tell(spec, "attempt_lost", "warning", cause=cause)
        for poison in spec.poison:
            if (spec.key, poison.id) not in self._isolated:
                self._isolated.add((spec.key, poison.id))
                found = {"document": poison.id, "step": poison.step, "reason": poison.reason}
                self._tell(spec, "document_isolated", "warning", **found, evidence=poison.evidence)
        self._metrics.retry(spec.artifact, cause)
        self.began(spec)

    def lags(self, spec: PartSpec) -> None:
        """A part takes much longer than others, and will be handed out a second time."""
        self._tell(spec, "straggler", "warning")

    def silent(self, message: str) -> None:
        """Nothing has got on for long."""
        self._log.add(self._record("silence", "warning") | {"message": message})
        self._log.save()

    def ended(self, spec: PartSpec, part: Part) -> None:
        """A part is committed."""
        self._metrics.part(spec.artifact, part)
        self._tell(
            spec,
            "part_committed",
            seconds=round(part.seconds, 3),
            cpu_seconds=round(part.cpu_seconds, 3),
            peak_memory_bytes=part.peak_memory_bytes,
            size_bytes=sum(file.size_bytes for file in part.files),
        )

    def failed(self, spec: PartSpec, message: str) -> None:
        """A part cannot be made, which ends the run."""
        self._tell(spec, "part_failed", "error", message=message)

    def sealed(self, artifact: str, parts: int, reused_parts: int) -> None:
        """An artifact is there with all its parts."""
        figures = {"stage": artifact, "parts": parts, "reused_parts": reused_parts}
        self._log.add(self._record("artifact_sealed", "info") | figures)
        self._log.save()

    def close(self) -> None:
        """No more will be told."""
        self._log.save()

    def _tell(self, spec: PartSpec, event: str, level: str = "info", **figures: Any) -> None:
        place = {"stage": spec.artifact, "part": spec.name, "key": spec.key, "attempt": self._attempts[spec.key]}
        self._log.add(self._record(event, level) | place | figures)
        if self._say is not None:
            told = ", ".join(f"{name} {value}" for name, value in figures.items())
            attempt = f", attempt {place['attempt']}" if self._attempts[spec.key] > 1 else ""
            self._say(f"{event.replace('_', ' ')}: {spec.artifact}, {spec.name}{attempt}{': ' * bool(told)}{told}")

    def _record(self, event: str, level: str) -> dict[str, Any]:
        now = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        return {"time": now, "level": level, "run": self._run, "event": event}
