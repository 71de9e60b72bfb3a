"""What a run tells Prometheus, through the endpoint that each node of a Ray cluster has.

Ray's endpoint is there if the machines have ``ray[default]``; Ray puts ``ray_`` before each name. The figures are of
this run of the command: parts that were there already count in none of them. They are told by the driver, once for each
part, so that attempts which lost or died are in ``sluice_attempts_total`` only. A driver that joins by ray:// is no
process of the cluster and tells nothing.
"""

from __future__ import annotations

from typing import Any

from pipeline.artifact import Part

COUNTERS = {  # name: (description, tags beside the run and its stage)
    "sluice_attempts_total": ("Parts handed out, each time that they were.", ()),
    "sluice_retries_total": ("Parts handed out again after an attempt that gave no answer.", ("cause",)),
    "sluice_parts_total": ("Parts committed.", ()),
    "sluice_part_seconds_total": ("Wall seconds that committed parts took.", ()),
    "sluice_part_cpu_seconds_total": ("CPU seconds that committed parts took.", ()),
    "sluice_written_bytes_total": ("Bytes of the files of committed parts.", ()),
    "sluice_documents_total": (
        "Documents by step, source and what became of them: in + created = kept + dropped + failed + joined.",
        ("step", "source", "outcome", "reason"),
    ),
}


class Metrics:
    """Counters of a run, or nothing where there is no Ray.

    Args:
        run: its name.
    """

    def __init__(self, run: str) -> None:
        import ray
        from ray.util.metrics import Counter

        self._run = run
        self._counters: dict[str, Any] = {}
        if ray.is_initialized() and not ray.util.client.ray.is_connected():
            for name, (description, tags) in COUNTERS.items():
                self._counters[name] = Counter(name, description=description, tag_keys=("run", "stage", *tags))

    def attempt(self, stage: str) -> None:
        """A part was handed out."""
        self._add("sluice_attempts_total", 1, stage)

    def retry(self, stage: str, cause: str) -> None:
        """A part was handed out again."""
        self._add("sluice_retries_total", 1, stage, cause=cause)

    def part(self, stage: str, part: Part) -> None:
        """A part was committed."""
        self._add("sluice_parts_total", 1, stage)
        self._add("sluice_part_seconds_total", part.seconds, stage)
        self._add("sluice_part_cpu_seconds_total", part.cpu_seconds, stage)
        self._add("sluice_written_bytes_total", sum(file.size_bytes for file in part.files), stage)
        for step, sources in part.ledger.steps.items():
            for source, counts in sources.items():
                told = [("in", "", counts.received), ("created", "", counts.created), ("kept", "", counts.kept)]
                told += [("joined", "", counts.joined)]
                told += [("dropped", reason, number) for reason, number in counts.dropped.items()]
                told += [("failed", reason, number) for reason, number in counts.failed.items()]
                for outcome, reason, number in told:
                    tags = {"step": step, "source": source, "outcome": outcome, "reason": reason}
                    self._add("sluice_documents_total", number, stage, **tags)

    def _add(self, name: str, number: float, stage: str, **tags: str) -> None:
        if number and self._counters:  # Ray refuses an increment of zero
            self._counters[name].inc(number, {"run": self._run, "stage": stage, **tags})
