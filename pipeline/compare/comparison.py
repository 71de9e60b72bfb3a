"""All differences of two runs, and the sentence that says what matters most of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, is_dataclass
from pathlib import Path
from typing import Any

from pipeline import storage
from pipeline.compare.counts import (
    Change,
    CostChange,
    RuleChange,
    StepChange,
    TokensChange,
    cost_changes,
    rule_changes,
    step_changes,
    token_changes,
)
from pipeline.compare.documents import Membership, Reading, membership, rows_to_read
from pipeline.compare.recipes import (
    InputChange,
    OptionChange,
    entry_names,
    input_changes,
    recipe_changes,
    version_changes,
)
from pipeline.compare.training import MixChange, ModelChange, held_out_is_same, mix_changes, model_changes
from pipeline.progress import Tick, silent
from pipeline.report.facts import Facts
from pipeline.run import Run


@dataclass(frozen=True)
class Side:
    """One of the two runs."""

    name: str
    folder: str
    status: str  # running, done, failed, interrupted
    message: str
    artifacts: int  # finished
    unfinished: tuple[str, ...]  # artifacts that the run should have and has not

    @property
    def is_whole(self) -> bool:
        """Whether all artifacts of its recipe are there."""
        return not self.unfinished


@dataclass(frozen=True)
class Comparison:
    """Two runs, A and B; differences are told as what B has more or less."""

    a: Side
    b: Side
    only_a: tuple[str, ...]  # artifacts that the other recipe does not name
    only_b: tuple[str, ...]
    other_kinds: tuple[str, ...]  # artifacts of one name that are not of one kind, so are not compared
    contents_differ: tuple[str, ...]  # artifacts that both have finished, with other contents
    recipe: tuple[OptionChange, ...]
    versions: tuple[OptionChange, ...]
    inputs: tuple[InputChange, ...]
    ends_at: str | None  # what the next two numbers are of: the last artifact that both have; None: the runs' ends
    documents: Change
    tokens: Change
    steps: tuple[StepChange, ...]
    rules: tuple[RuleChange, ...]
    untold_thresholds: tuple[str, ...]  # steps whose options are not of this Sluice
    memberships: tuple[Membership, ...]  # of artifacts of documents that hold other files
    token_shards: tuple[TokensChange, ...]
    held_out_is_same: bool  # if not, losses of the two are not of the same texts
    mixes: tuple[MixChange, ...]
    models: tuple[ModelChange, ...]
    costs: tuple[CostChange, ...]

    @property
    def made_the_same(self) -> bool:
        """Whether both runs have the same artifacts with the same contents, finished and unfinished ones."""
        unequal = self.only_a or self.only_b or self.other_kinds or self.contents_differ
        return not unequal and self.a.unfinished == self.b.unfinished

    @property
    def is_same(self) -> bool:
        """Whether there is nothing to tell but what time and machine make different."""
        return self.made_the_same and not (self.recipe or self.versions or self.inputs)

    @property
    def moved_rules(self) -> tuple[RuleChange, ...]:
        """The rules that differ, those that now remove another number of documents first, most moved first."""
        moved = [rule for rule in self.rules if rule.is_different]
        return tuple(sorted(moved, key=lambda rule: -_moved(rule)))

    def to_json(self) -> dict[str, Any]:
        """All of it as JSON values; each pair of numbers with its difference, B less A."""
        values: dict[str, Any] = _as_json(self)
        return {"same": self.is_same, **values}


def _moved(rule: RuleChange) -> float:
    return abs((rule.removed.b or 0) - (rule.removed.a or 0))


def _as_json(value: Any) -> Any:
    if isinstance(value, Change):
        return {"a": value.a, "b": value.b, "difference": value.difference}
    if is_dataclass(value):
        return {field.name: _as_json(getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, Mapping):
        return {key: _as_json(one) for key, one in value.items()}
    if isinstance(value, tuple | list):
        return [_as_json(one) for one in value]
    return value


def compare(folder_a: Path, folder_b: Path, tick: Tick = silent) -> Comparison:
    """Read two runs and set them beside each other. Samples are drawn by the seed of A's recipe.

    Args:
        folder_a: of a run, or the mirror of one in an object store; so is ``folder_b``.
        tick: told how many documents and removals have been read, of how many.

    Raises:
        RecipeError: one of them is no run.
        StageError: a manifest is damaged.
        MachineError: the scratch disk is full.
    """
    a, b = Facts(Run.open(folder_a)), Facts(Run.open(folder_b))
    entries_a, entries_b = entry_names(a), entry_names(b)
    both = [name for name in a.artifacts if name in b.artifacts]
    one_kind = [name for name in both if a.artifacts[name].kind == b.artifacts[name].kind]
    sides = _side(a), _side(b)
    ends_at = None if sides[0].is_whole and sides[1].is_whole else _last_documents(a, one_kind)
    rules, untold = rule_changes(a, b)
    public = [name for name in one_kind if a.artifacts[name].kind == "documents" and "." not in name]
    reading = Reading(tick)
    reading.expect(sum(rows_to_read(a, b, name) for name in public))
    found = (membership(a, b, name, int(a.seed), reading) for name in public)
    return Comparison(
        *sides,
        only_a=tuple(name for name in entries_a if name not in entries_b),
        only_b=tuple(name for name in entries_b if name not in entries_a),
        other_kinds=tuple(name for name in both if name not in one_kind),
        contents_differ=tuple(name for name in one_kind if a.artifacts[name].digest != b.artifacts[name].digest),
        recipe=recipe_changes(a, b),
        versions=version_changes(a, b),
        inputs=input_changes(a, b),
        ends_at=ends_at,
        documents=Change(_documents(a, ends_at), _documents(b, ends_at)),
        tokens=Change(*(facts.tokens.total() if facts.of_kind("tokens") else None for facts in (a, b))),
        steps=step_changes(a, b),
        rules=rules,
        untold_thresholds=untold,
        memberships=tuple(one for one in found if one is not None),
        token_shards=token_changes(a, b),
        held_out_is_same=held_out_is_same(a, b),
        mixes=mix_changes(a, b),
        models=model_changes(a, b),
        costs=cost_changes(a, b),
    )


def _side(facts: Facts) -> Side:
    state = facts.state
    unfinished = tuple(name for name in state.artifacts if name not in facts.artifacts)
    folder = storage.shown(facts.run.folder)
    return Side(state.name, folder, state.status, state.message, len(facts.artifacts), unfinished)


def _last_documents(a: Facts, names: list[str]) -> str:
    """The last of these artifacts that holds documents; empty if none does."""
    found = [name for name in names if a.artifacts[name].kind == "documents" and "." not in name]
    return found[-1] if found else ""


def _documents(facts: Facts, artifact: str | None) -> int | None:
    if artifact is None:
        return facts.documents.total()
    if not artifact:
        return None
    return sum(counts.kept for counts in facts.artifacts[artifact].ledger.last().values())
