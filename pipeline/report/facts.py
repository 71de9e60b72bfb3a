"""What the sections of a report share: the run's artifacts, the steps of its ledger, and which of them are asides."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import yaml

from pipeline import storage
from pipeline.artifact import Artifact
from pipeline.ledger import Counts
from pipeline.recipe import recipe_of
from pipeline.run import Run

STYLES = 8  # colours s0 to s7 of report.css


@dataclass(frozen=True)
class Step:
    """One line of the ledger: what a stage did with the documents of each source."""

    label: str
    stage: str
    artifact: Artifact
    sources: Mapping[str, Counts]
    reads_files: bool  # the records it created are the run's input
    is_aside: bool  # its documents go on without it as well, so what it drops is not lost

    @cached_property
    def total(self) -> Counts:
        """All sources together."""
        total = Counts()
        for counts in self.sources.values():
            total.add(counts)
        return total


class Facts:
    """A run, read from its manifests."""

    def __init__(self, run: Run) -> None:
        self.run = run
        self.state = run.state
        self.artifacts = run.artifacts()

    @cached_property
    def recipe_text(self) -> str:
        path = self.run.folder / "recipe.yaml"
        return storage.read_bytes(path).decode() if storage.exists(path) else ""

    @cached_property
    def seed(self) -> str:
        """Of the recipe; samples are drawn by it."""
        values = yaml.safe_load(self.recipe_text) or {}
        return str(values.get("seed", 1))

    def options_of(self, artifact: str) -> Mapping[str, Any]:
        """The options that the recipe gives an artifact's stage today; those that change nothing it has made may be
        others than it was made with."""
        recipe = recipe_of(self.run.folder, yaml.safe_load(self.recipe_text) or {})
        return next((entry.stages[0][1] for entry in recipe.entries if entry.name == artifact), {})

    def of_kind(self, kind: str) -> list[Artifact]:
        """The sealed artifacts of one kind, in graph order."""
        return [artifact for artifact in self.artifacts.values() if artifact.kind == kind]

    @cached_property
    def steps(self) -> list[Step]:
        """The ledger's steps in graph order; global stages that only look at documents have none."""
        return [
            Step(
                label,
                str(step["stage"]),
                artifact,
                artifact.ledger.steps[label],
                reads_files=i == 0 and not artifact.inputs,
                is_aside=self.is_aside(artifact),
            )
            for artifact in self.artifacts.values()
            for i, (step, label) in enumerate((step, str(step["label"])) for step in artifact.steps)
            if artifact.ledger.steps[label] or artifact.kind == "documents"
        ]

    def is_aside(self, artifact: Artifact) -> bool:
        """Whether some artifact takes this one's input beside this one, or beside what this is a step of, as
        `tokenize: {from: [unique, answers]}`."""
        names = {artifact.name, artifact.name.partition(".")[0]}
        return bool(artifact.inputs) and any(
            names & set(other.inputs) and set(artifact.inputs) <= set(other.inputs) for other in self.artifacts.values()
        )

    @cached_property
    def sources(self) -> dict[str, str]:
        """Each source and the style of its colour, by name."""
        names = sorted({source for step in self.steps for source in step.sources})
        return {name: f"s{i % STYLES}" for i, name in enumerate(names)}

    @cached_property
    def records(self) -> Counter[str]:
        """By source, what the files held."""
        return self._summed(lambda step, counts: counts.created if step.reads_files else 0)

    @cached_property
    def failed(self) -> int:
        return sum(step.total.failed.total() for step in self.steps)

    def _summed(self, value: Any) -> Counter[str]:
        found: Counter[str] = Counter()
        for step in self.steps:
            for source, counts in step.sources.items():
                found[source] += value(step, counts)
        return found

    @cached_property
    def ends(self) -> list[Artifact]:
        """The artifacts of documents that no other artifact of documents reads on."""
        read_on = {name for artifact in self.of_kind("documents") for name in artifact.inputs}
        return [a for a in self.of_kind("documents") if a.name not in read_on and not self.is_aside(a)]

    @cached_property
    def documents(self) -> Counter[str]:
        """By source, what the line ends with: documents of the token shards, else of the artifacts nobody reads on."""
        found: Counter[str] = Counter()
        for artifact in self.of_kind("tokens") or self.ends:
            for source, counts in artifact.ledger.last().items():
                found[source] += counts.kept
        return found

    @cached_property
    def tokens(self) -> Counter[str]:
        """By source, training and held-out tokens."""
        found: Counter[str] = Counter()
        for artifact in self.of_kind("tokens"):
            for source, parts in artifact.summary["sources"].items():
                found[source] += sum(int(part["tokens"]) for part in parts.values())
        return found

    @cached_property
    def longest_chain(self) -> list[str]:
        """The artifacts that one after another took longest: the least time in which this run could end."""
        best: dict[str, tuple[float, list[str]]] = {}
        for name, artifact in self.artifacts.items():
            needed = (*artifact.inputs, *(side for step in artifact.steps for side in step.get("side", {}).values()))
            before = max((best[i] for i in needed if i in best), key=lambda b: b[0], default=(0.0, []))
            best[name] = (before[0] + self.state.seconds.get(name, 0.0), [*before[1], name])
        return max(best.values(), key=lambda b: b[0], default=(0.0, []))[1]

    @cached_property
    def seconds(self) -> float:
        """Wall seconds along the longest chain."""
        return sum(self.state.seconds.get(name, 0.0) for name in self.longest_chain)


def metric_label(metric: str) -> str:
    """`bpb.web` for people."""
    return metric.removeprefix("bpb.")
