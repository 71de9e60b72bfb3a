"""What was asked of two runs, and with what: options, versions, input files. It explains the rest."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import yaml

from pipeline import storage
from pipeline.compare.counts import entry_of
from pipeline.recipe import ArtifactEntry, recipe_of
from pipeline.report.facts import Facts

NOT_THERE = object()
OUTSIDE_ENTRIES = ("seed", "on_failed", "supervision")


@dataclass(frozen=True)
class OptionChange:
    """One value that differs; None where a run does not have it."""

    place: str  # as --set names it: clean.gopher_quality.min_words
    a: str | None
    b: str | None


@dataclass(frozen=True)
class InputChange:
    """The files that a source read, known by name."""

    artifact: str
    only_a: tuple[str, ...]
    only_b: tuple[str, ...]
    edited: tuple[str, ...]  # read from this machine, with another content


def recipe_changes(a: Facts, b: Facts) -> tuple[OptionChange, ...]:
    """What the recipes say of artifacts that both have; then what they do not say and is another all the same: versions
    of stages, defaults that changed with Sluice, contents of files that options name."""
    return tuple(_said(a, b)) + tuple(_unsaid(a, b, {change.place for change in _said(a, b)}))


def version_changes(a: Facts, b: Facts) -> tuple[OptionChange, ...]:
    """Of Sluice, Python and packages."""
    mine, theirs = a.state.versions, b.state.versions
    names = sorted({*mine, *theirs}, key=lambda name: (name != "sluice", name))
    return tuple(
        OptionChange(name, mine.get(name), theirs.get(name)) for name in names if mine.get(name) != theirs.get(name)
    )


def _said(a: Facts, b: Facts) -> Iterator[OptionChange]:
    recipes = [_recipe(facts) for facts in (a, b)]
    outside = [_flat({key: values[key] for key in OUTSIDE_ENTRIES if key in values}) for values in recipes]
    yield from _changes("", outside)
    mine, theirs = (_entries(facts, values) for facts, values in zip((a, b), recipes, strict=True))
    for name, entry in mine.items():
        if name in theirs:
            yield from _entry_changes(a, b, entry, theirs[name])


def _recipe(facts: Facts) -> Mapping[str, Any]:
    return yaml.safe_load(facts.recipe_text) or {}


def _entries(facts: Facts, values: Mapping[str, Any]) -> dict[str, ArtifactEntry]:
    return {entry.name: entry for entry in recipe_of(facts.run.folder, values).entries}


def entry_names(facts: Facts) -> list[str]:
    """The artifacts that the recipe names."""
    return list(_entries(facts, _recipe(facts)))


def _entry_changes(a: Facts, b: Facts, mine: ArtifactEntry, theirs: ArtifactEntry) -> Iterator[OptionChange]:
    if mine.inputs != theirs.inputs:
        yield OptionChange(f"{mine.name}.from", ", ".join(mine.inputs) or None, ", ".join(theirs.inputs) or None)
    stages = [_numbered(entry) for entry in (mine, theirs)]
    if list(stages[0]) != list(stages[1]):
        one_each = len(stages[0]) == len(stages[1]) == 1
        place = f"{mine.name}.{'stage' if one_each else 'chain'}"
        yield OptionChange(place, *(", ".join(found) for found in stages))
    for stage in dict.fromkeys([*stages[0], *stages[1]]):
        in_chain = any(len(location) > 2 for entry in (mine, theirs) for *_, location in entry.stages)
        place = f"{mine.name}.{stage}" if in_chain else mine.name
        options = [_flat(found.get(stage, {})) for found in stages]
        defaults = [
            _options_as_run(facts, mine.name, stage) if stage in found else {}
            for facts, found in zip((a, b), stages, strict=True)
        ]
        yield from _changes(place, options, defaults)


def _numbered(entry: ArtifactEntry) -> dict[str, Mapping[str, Any]]:
    """Options by stage; of two of one name, the second is NAME-2, as the ledger labels them."""
    found: dict[str, Mapping[str, Any]] = {}
    for stage, options, _ in entry.stages:
        times = sum(known.split("-")[0] == stage for known in found) + 1
        found[f"{stage}-{times}" if times > 1 else stage] = options
    return found


def _changes(
    place: str, options: Sequence[Mapping[str, Any]], defaults: Sequence[Mapping[str, Any]] = ({}, {})
) -> Iterator[OptionChange]:
    """``options`` of A and B, and their ``defaults``."""
    for key in dict.fromkeys(key for found in options for key in found):
        values = [found.get(key, NOT_THERE) for found in options]
        if values[0] != values[1]:
            told = [_told(value, defaults[i].get(key, NOT_THERE)) for i, value in enumerate(values)]
            yield OptionChange(f"{place}.{key}" if place else key, *told)


def _told(value: Any, default: Any) -> str | None:
    if value is not NOT_THERE:
        return _shown(value)
    return None if default is NOT_THERE else f"{_shown(default)} (default)"


def _shown(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _flat(options: Mapping[str, Any], place: str = "") -> dict[str, Any]:
    """Values by the dotted path of their keys."""
    found: dict[str, Any] = {}
    for key, value in options.items():
        here = f"{place}.{key}" if place else str(key)
        found |= _flat(value, here) if isinstance(value, dict) and value else {here: value}
    return found


def _options_as_run(facts: Facts, entry: str, stage: str) -> dict[str, Any]:
    """Options with defaults of a finished stage, by dotted path; of a composite, those of all that it stands for."""
    labels = {entry, f"{entry}.{stage}"}
    steps = [step for artifact in facts.artifacts.values() for step in artifact.steps]
    own = [step for step in steps if step["label"] in labels and step["stage"] == stage.split("-")[0]]
    parts = [step for step in steps if entry_of(str(step["label"])) == entry]
    found: dict[str, Any] = {}
    for step in own or parts:
        found |= _flat(step.get("options", {}))
    return found


def _unsaid(a: Facts, b: Facts, said: set[str]) -> Iterator[OptionChange]:
    in_a, in_b = (
        {str(step["label"]): step for artifact in facts.artifacts.values() for step in artifact.steps}
        for facts in (a, b)
    )
    told: set[tuple[str, str]] = {(entry_of(place), key) for place in said for key in _endings(place)}
    for label in (label for label in in_a if label in in_b):
        mine, theirs = in_a[label], in_b[label]
        if mine["stage"] != theirs["stage"]:
            continue  # told as a change of the entry's stage
        if mine["version"] != theirs["version"]:
            place = f"{label}: version of {mine['stage']}"
            yield OptionChange(place, str(mine["version"]), str(theirs["version"]))
        values = [_flat(step["config"]) for step in (mine, theirs)]
        for change in _changes("", values):
            if (entry_of(label), change.place) not in told:
                told.add((entry_of(label), change.place))
                yield OptionChange(f"{label}.{change.place}", change.a, change.b)


def _endings(place: str) -> list[str]:
    """All that a dotted path may end with: min_words of clean.gopher_quality.min_words."""
    keys = place.split(".")
    return [".".join(keys[i:]) for i in range(1, len(keys))]


def input_changes(a: Facts, b: Facts) -> tuple[InputChange, ...]:
    """Of each source that both runs have finished, the files that are not the same."""
    sources = [{step.label: step.artifact for step in facts.steps if step.reads_files} for facts in (a, b)]
    digests = [_input_digests(facts) for facts in (a, b)]
    found = []
    for label in (label for label in sources[0] if label in sources[1]):
        mine, theirs = (dict.fromkeys(part.name for part in source[label].parts) for source in sources)
        change = InputChange(
            label,
            only_a=tuple(name for name in mine if name not in theirs),
            only_b=tuple(name for name in theirs if name not in mine),
            edited=tuple(name for name in mine if name in theirs and _is_edited(name, *digests)),
        )
        if change.only_a or change.only_b or change.edited:
            found.append(change)
    return tuple(found)


def _input_digests(facts: Facts) -> dict[str, set[str]]:
    """SHA-256 of the files on this machine that a run has read, by the last part of their path."""
    path = facts.run.folder / "inputs.json"
    known = json.loads(storage.read_bytes(path)) if storage.exists(path) else {}
    found: dict[str, set[str]] = {}
    for location, (_, _, digest) in known.items():
        found.setdefault(location.rpartition("/")[2], set()).add(digest)
    return found


def _is_edited(name: str, a: Mapping[str, set[str]], b: Mapping[str, set[str]]) -> bool:
    last = name.rpartition("/")[2]
    mine, theirs = a.get(last, set()), b.get(last, set())
    return bool(mine and theirs) and not mine & theirs
