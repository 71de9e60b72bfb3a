"""The ledger: in + created = kept + dropped[reason] + failed[reason] + joined, for every stage, part and source."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from pipeline.errors import LedgerError


@dataclass(slots=True)
class Counts:
    """Documents of one source at one step."""

    received: int = 0
    created: int = 0
    kept: int = 0
    dropped: Counter[str] = field(default_factory=Counter)
    failed: Counter[str] = field(default_factory=Counter)
    noted: Counter[str] = field(default_factory=Counter)  # what a stage did inside documents, e.g. "email masked"
    joined: int = 0  # became part of another, as pages do of their document

    def add(self, other: Counts) -> None:
        """Add ``other`` to these counts."""
        self.received += other.received
        self.created += other.created
        self.kept += other.kept
        for mine, others in ((self.dropped, other.dropped), (self.failed, other.failed), (self.noted, other.noted)):
            for reason, count in others.items():
                mine[reason] += count
        self.joined += other.joined

    def missing(self) -> int:
        """Documents that came in or were made but did not come out under any name; negative: more came out."""
        out = self.kept + self.dropped.total() + self.failed.total() + self.joined
        return self.received + self.created - out

    def whole(self) -> int:
        """Documents that this step decided about."""
        return self.received + self.created - self.joined

    def to_json(self) -> dict[str, Any]:
        values: dict[str, Any] = {
            "in": self.received,
            "created": self.created,
            "kept": self.kept,
            "dropped": dict(sorted(self.dropped.items())),
            "failed": dict(sorted(self.failed.items())),
        }
        if self.noted:
            values["noted"] = dict(sorted(self.noted.items()))
        if self.joined:
            values["joined"] = self.joined
        return values

    @staticmethod
    def from_json(values: Mapping[str, Any]) -> Counts:
        return Counts(
            values["in"],
            values["created"],
            values["kept"],
            _counter(values["dropped"]),
            _counter(values["failed"]),
            _counter(values.get("noted")),
            values.get("joined", 0),
        )


def _counter(values: Mapping[str, int] | None) -> Counter[str]:
    """``Counter(values)``, without the detours that make this most of the time of reading a manifest."""
    counter: Counter[str] = Counter.__new__(Counter)
    if values:
        dict.update(counter, values)
    return counter


class Ledger:
    """Counts by step label and source."""

    def __init__(self) -> None:
        self.steps: dict[str, dict[str, Counts]] = {}

    def counts(self, step: str, source: str) -> Counts:
        """The counts of one step and source, made if new."""
        return self.steps.setdefault(step, {}).setdefault(source, Counts())

    def add(self, other: Ledger) -> None:
        """Add all counts of ``other``."""
        for step, sources in other.steps.items():
            self.steps.setdefault(step, {})
            for source, counts in sources.items():
                self.counts(step, source).add(counts)

    def check(self, where: str) -> None:
        """Raise unless each step balances and hands all it keeps to the next step.

        Args:
            where: what is being checked, for the message (artifact and part).

        Raises:
            LedgerError: a count does not balance.
        """
        previous: tuple[str, dict[str, Counts]] | None = None
        for step, sources in self.steps.items():
            for source, counts in sources.items():
                if counts.missing() != 0:
                    raise LedgerError(
                        f"{where}: stage {step}, source {source}: the ledger does not balance: "
                        f"in {counts.received} + created {counts.created} is not kept {counts.kept} "
                        f"+ dropped {counts.dropped.total()} + failed {counts.failed.total()} "
                        f"+ joined {counts.joined} "
                        f"({counts.missing():+d} unaccounted). This is a bug of the stage; nothing was committed"
                    )
            if previous is not None:
                check_edge(where, previous[0], kept_by_source([previous[1]]), step, sources)
            previous = (step, sources)

    def last(self) -> dict[str, Counts]:
        """Counts of the last step: what the artifact holds."""
        return next(reversed(self.steps.values()), {})

    def first(self) -> tuple[str, dict[str, Counts]]:
        """Label and counts of the first step: what the artifact received."""
        return next(iter(self.steps.items()), ("", {}))

    def to_json(self) -> dict[str, Any]:
        return {
            step: {source: counts.to_json() for source, counts in sorted(sources.items())}
            for step, sources in self.steps.items()
        }

    @staticmethod
    def from_json(values: Mapping[str, Any]) -> Ledger:
        ledger = Ledger()
        for step, sources in values.items():
            ledger.steps[step] = {source: Counts.from_json(counts) for source, counts in sources.items()}
        return ledger


def kept_by_source(artifacts: Iterable[Mapping[str, Counts]]) -> dict[str, int]:
    """Documents kept by source, summed over several last steps."""
    total: Counter[str] = Counter()
    for sources in artifacts:
        for source, counts in sources.items():
            total[source] += counts.kept
    return dict(total)


def check_edge(where: str, upstream: str, kept: Mapping[str, int], step: str, sources: Mapping[str, Counts]) -> None:
    """Raise unless ``step`` received, source by source, what ``upstream`` kept.

    Raises:
        LedgerError: documents were lost or doubled between the two.
    """
    for source in sorted(set(kept) | set(sources)):
        received = sources[source].received if source in sources else 0
        if received != kept.get(source, 0):
            raise LedgerError(
                f"{where}: source {source}: {upstream} kept {kept.get(source, 0)} documents "
                f"but {step} received {received}"
            )
