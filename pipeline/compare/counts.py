"""Numbers of two runs beside each other: documents at each step, what each rule dropped, tokens, time and memory."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from pipeline.artifact import Artifact
from pipeline.errors import RecipeError
from pipeline.filter import Filter
from pipeline.ledger import Counts
from pipeline.registry import stage_class
from pipeline.report.facts import Facts, Step


@dataclass(frozen=True)
class Change:
    """A number in A and in B; None where that run does not have it."""

    a: float | None
    b: float | None

    @property
    def difference(self) -> float | None:
        """How much more B has."""
        return None if self.a is None or self.b is None else self.b - self.a

    @property
    def share(self) -> float | None:
        """The difference as a share of A; None where A has nothing."""
        return self.difference / self.a if self.a and self.difference is not None else None

    @property
    def is_different(self) -> bool:
        return self.a != self.b


@dataclass(frozen=True)
class StepChange:
    """What one step of the ledger did with the documents of one source."""

    step: str
    source: str
    received: Change  # records read, or documents that came in
    kept: Change
    dropped: Change
    failed: Change
    joined: Change

    @property
    def is_different(self) -> bool:
        changes = (self.received, self.kept, self.dropped, self.failed, self.joined)
        return any(change.is_different for change in changes)


@dataclass(frozen=True)
class RuleChange:
    """One reason by which a step removes documents, all sources together."""

    step: str
    verdict: str  # dropped, failed
    reason: str
    threshold_a: str | None  # None where it is no rule of a filter, or cannot be told
    threshold_b: str | None
    removed: Change
    decided: Change  # documents that the step decided about

    @property
    def is_different(self) -> bool:
        return self.removed.is_different or self.threshold_a != self.threshold_b


@dataclass(frozen=True)
class TokensChange:
    """The shards of one source in one token artifact."""

    artifact: str
    source: str
    documents: Change
    tokens: Change
    held_out: Change  # of these tokens
    size_bytes: Change  # of the text
    shards: Change

    @property
    def is_different(self) -> bool:
        changes = (self.documents, self.tokens, self.held_out, self.size_bytes, self.shards)
        return any(change.is_different for change in changes)


@dataclass(frozen=True)
class CostChange:
    """What one artifact cost in the run that made it."""

    artifact: str
    seconds: Change  # on the wall, waiting included
    cpu_seconds: Change
    gpu_seconds: Change
    peak_memory_bytes: Change
    size_bytes: Change  # of the files it keeps

    @property
    def is_different(self) -> bool:
        changes = (self.seconds, self.cpu_seconds, self.gpu_seconds, self.peak_memory_bytes, self.size_bytes)
        return any(change.is_different for change in changes)


def steps_of_both(a: Facts, b: Facts) -> Iterator[tuple[str, Step | None, Step | None]]:
    """Label of each step, and the step in both runs. Entries of the recipe that one run has not finished, or does not
    have, are left out; a step that one run has more in an entry of both is not."""
    in_a, in_b = ({step.label: step for step in facts.steps} for facts in (a, b))
    entries = {entry_of(label) for label in in_a} & {entry_of(label) for label in in_b}
    unfinished = {name for facts in (a, b) for name in facts.state.artifacts if name not in facts.artifacts}
    for label in dict.fromkeys([*in_a, *in_b]):
        mine, theirs = in_a.get(label), in_b.get(label)
        artifacts = {step.artifact.name for step in (mine, theirs) if step is not None}
        if entry_of(label) in entries and not artifacts & unfinished:
            yield label, mine, theirs


def entry_of(name: str) -> str:
    """The entry of the recipe that a step or artifact belongs to."""
    return name.partition(".")[0]


def step_changes(a: Facts, b: Facts) -> tuple[StepChange, ...]:
    """Each step and source. Private steps of composites that removed nothing repeat what stands beside them, and are
    left out."""
    return tuple(
        _step_change(label, source, *(step.sources.get(source, Counts()) if step else None for step in (mine, theirs)))
        for label, mine, theirs in steps_of_both(a, b)
        if any(step and (_is_public(step) or _removals(step)) for step in (mine, theirs))
        for source in sorted({source for step in (mine, theirs) if step for source in step.sources})
    )


def _is_public(step: Step) -> bool:
    return "." not in step.artifact.name


def _removals(step: Step) -> int:
    return step.total.dropped.total() + step.total.failed.total()


def _step_change(label: str, source: str, a: Counts | None, b: Counts | None) -> StepChange:
    def change(value: Any) -> Change:
        return Change(*(None if counts is None else value(counts) for counts in (a, b)))

    return StepChange(
        label,
        source,
        received=change(lambda counts: counts.received + counts.created),
        kept=change(lambda counts: counts.kept),
        dropped=change(lambda counts: counts.dropped.total()),
        failed=change(lambda counts: counts.failed.total()),
        joined=change(lambda counts: counts.joined),
    )


def rule_changes(a: Facts, b: Facts) -> tuple[tuple[RuleChange, ...], tuple[str, ...]]:
    """Each reason of each step, in the order of the steps, most removed first; and the steps whose thresholds cannot be
    told, because this Sluice does not have their stage, or not with those options."""
    (limits_a, untold_a), (limits_b, untold_b) = _thresholds(a), _thresholds(b)
    found: list[RuleChange] = []
    for label, mine, theirs in steps_of_both(a, b):
        removed = [_reasons(step) for step in (mine, theirs)]
        ruled = {("dropped", reason) for step, reason in {**limits_a, **limits_b} if step == label}
        of_step = [
            RuleChange(
                label,
                verdict,
                reason,
                limits_a.get((label, reason)),
                limits_b.get((label, reason)),
                Change(*(None if counts is None else counts[verdict, reason] for counts in removed)),
                Change(*(None if step is None else step.total.whole() for step in (mine, theirs))),
            )
            for verdict, reason in sorted(set().union(ruled, *(counts or () for counts in removed)))
        ]
        found += sorted(of_step, key=lambda rule: -max(rule.removed.a or 0, rule.removed.b or 0))
    return tuple(found), tuple(sorted(untold_a | untold_b))


def _reasons(step: Step | None) -> Counter[tuple[str, str]] | None:
    """Documents by verdict and reason."""
    if step is None:
        return None
    both = (("dropped", step.total.dropped), ("failed", step.total.failed))
    return Counter({(verdict, reason): n for verdict, counts in both for reason, n in counts.items()})


def _thresholds(facts: Facts) -> tuple[dict[tuple[str, str], str], set[str]]:
    """The condition of each rule by step and reason; and the steps whose stage, as it was then, cannot be made."""
    found: dict[tuple[str, str], str] = {}
    untold: set[str] = set()
    for artifact in facts.artifacts.values():
        for step in artifact.steps:
            label = str(step["label"])
            try:
                kind = stage_class(step["class"])
                if issubclass(kind, Filter):
                    filter_ = kind(kind.config_type.model_validate(step["options"]))
                    found |= {(label, rule.reason): filter_.threshold_of(rule) for rule in kind.rules}
            except (KeyError, RecipeError, ValidationError):  # no "class": Sluice did not write it down then
                untold.add(label)
    return found, untold


def token_changes(a: Facts, b: Facts) -> tuple[TokensChange, ...]:
    """Each source of each token artifact that both runs have."""
    return tuple(
        _token_change(name, source, *(found.get(source, {}) for found in sources))
        for name, mine, theirs in both_of_kind(a, b, "tokens")
        for sources in [(mine.summary["sources"], theirs.summary["sources"])]
        for source in dict.fromkeys([*sources[0], *sources[1]])
    )


def both_of_kind(a: Facts, b: Facts, kind: str) -> Iterator[tuple[str, Artifact, Artifact]]:
    """The finished artifacts of one kind that both runs have under one name."""
    for name, mine in a.artifacts.items():
        theirs = b.artifacts.get(name)
        if theirs is not None and mine.kind == theirs.kind == kind:
            yield name, mine, theirs


def _token_change(artifact: str, source: str, *splits: Mapping[str, Any]) -> TokensChange:
    def change(key: str, *names: str) -> Change:
        return Change(*(sum(values[key] for name, values in found.items() if name in names) for found in splits))

    both = ("train", "held_out")
    return TokensChange(
        artifact,
        source,
        documents=change("documents", *both),
        tokens=change("tokens", *both),
        held_out=change("tokens", "held_out"),
        size_bytes=change("bytes", *both),
        shards=Change(*(sum(len(values["files"]) for values in found.values()) for found in splits)),
    )


def cost_changes(a: Facts, b: Facts) -> tuple[CostChange, ...]:
    """Each artifact that both runs have finished."""
    return tuple(
        CostChange(
            name,
            seconds=Change(a.state.seconds.get(name), b.state.seconds.get(name)),
            cpu_seconds=Change(*(sum(_costs(artifact, "cpu_seconds")) for artifact in both)),
            gpu_seconds=Change(*(_gpu_seconds(artifact) for artifact in both)),
            peak_memory_bytes=Change(*(max(_costs(artifact, "peak_memory_bytes"), default=0) for artifact in both)),
            size_bytes=Change(*(sum(part.size_bytes for part in artifact.parts) for artifact in both)),
        )
        for name, artifact in a.artifacts.items()
        if name in b.artifacts
        for both in [(artifact, b.artifacts[name])]
    )


def _costs(artifact: Artifact, name: str) -> list[float]:
    """Of each phase of a shuffle, or of each part of any other artifact."""
    if artifact.phases:
        return [phase[name] for phase in artifact.phases]
    return [getattr(part, name) for part in artifact.parts]


def _gpu_seconds(artifact: Artifact) -> float:
    if artifact.phases:
        return sum(_costs(artifact, "gpu_seconds"))
    return sum(part.seconds * part.gpus for part in artifact.parts)
