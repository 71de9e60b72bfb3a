"""From a recipe to the graph that runs: composites expanded, contracts checked, cheap neighbours fused."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from graphlib import CycleError, TopologicalSorter
from typing import Any, get_args

from pydantic import BaseModel, ValidationError

from pipeline.errors import RecipeError, SluiceError
from pipeline.recipe import Location, Problems, Recipe
from pipeline.registry import did_you_mean, stage_class
from pipeline.stage import (
    DOCUMENT_SCHEMA,
    Composite,
    Gather,
    Global,
    Map,
    Shuffle,
    Source,
    Split,
    Stage,
    StageConfig,
)


@dataclass(frozen=True)
class Step:
    """One stage of a node. ``label`` names it in the ledger: the artifact, and the stage where it is one of several."""

    label: str
    stage: Stage[Any]
    side: Mapping[str, str]  # role -> node


@dataclass(frozen=True)
class Node:
    """What becomes one artifact: a source, a gathering or maps run part by part, or one global stage or shuffle."""

    name: str
    steps: tuple[Step, ...]
    inputs: tuple[str, ...]
    location: Location
    splits: tuple[Split, ...] = ()

    @property
    def is_global(self) -> bool:
        """Whether it sees its inputs whole: one that is a shuffle does so by many tasks."""
        return isinstance(self.steps[0].stage, Global | Shuffle)

    @property
    def is_shuffle(self) -> bool:
        return isinstance(self.steps[0].stage, Shuffle)

    @property
    def tells_steps(self) -> bool:
        """Whether its tasks tell how far they are."""
        return getattr(self.steps[0].stage, "tells_steps", False)

    @property
    def is_source(self) -> bool:
        return isinstance(self.steps[0].stage, Source)

    @property
    def produces(self) -> str:
        return self.steps[-1].stage.produces

    @property
    def dependencies(self) -> tuple[str, ...]:
        """All nodes that must be sealed before this one starts."""
        return tuple(dict.fromkeys((*self.inputs, *(name for step in self.steps for name in step.side.values()))))

    @property
    def source_name(self) -> str:
        """The name that a source node gives its documents."""
        return getattr(self.steps[0].stage.config, "source", None) or self.steps[0].label.partition(".")[0]


@dataclass(frozen=True)
class Graph:
    """Nodes in an order in which each stands behind its inputs."""

    recipe: Recipe
    nodes: tuple[Node, ...]

    def notes(self) -> list[str]:
        """What the stages must tell the user about their configuration."""
        found = [(step.label, step.stage.note()) for node in self.nodes for step in node.steps]
        return [f"{label}: {note}" for label, note in found if note]


def build_graph(recipe: Recipe, fuse: bool = True) -> Graph:
    """Check a recipe whole and build its graph; ``fuse=False`` keeps the output of every stage.

    Raises:
        RecipeError: all problems found, one a line with file:line:column.
    """
    builder = _Builder(recipe)
    nodes = {node.name: node for entry in recipe.entries for node in builder.nodes_of(entry.name)}
    recipe.problems.raise_if_any()
    order = _ordered(nodes, recipe.problems)
    recipe.problems.raise_if_any()
    _check_kinds(order, nodes, recipe.problems)
    _check_columns(order, recipe.problems)
    recipe.problems.raise_if_any()
    order = [_with_splits(node, recipe.problems) for node in (_fused(order) if fuse else order)]
    recipe.problems.raise_if_any()
    return Graph(recipe, tuple(order))


def _options_at(config: type[BaseModel], path: Sequence[str | int]) -> list[str]:
    """Names of the options of a stage, or of those inside one of its options."""
    for name in path:
        annotation = config.model_fields[str(name)].annotation if str(name) in config.model_fields else None
        groups = [t for t in (annotation, *get_args(annotation)) if isinstance(t, type) and issubclass(t, BaseModel)]
        if not groups:
            return []
        config = groups[0]
    return list(config.model_fields)


class _Builder:
    def __init__(self, recipe: Recipe) -> None:
        self.recipe = recipe
        self.problems = recipe.problems
        self.entries = {entry.name: entry for entry in recipe.entries}

    def nodes_of(self, name: str) -> Iterator[Node]:
        entry = self.entries[name]
        location = ("artifacts", name)
        stages = [self.stage(stage, options, where) for stage, options, where in entry.stages]
        for upstream in entry.inputs:
            self.check_name(upstream, (*location, "from"))
        if any(stage is None for stage in stages):
            return
        if len(stages) == 1:
            stage = stages[0]
            assert stage is not None
            reads_files = isinstance(stage, Source) or (isinstance(stage, Composite) and stage.reads_files)
            if reads_files and entry.inputs:
                self.problems.add((*location, "from"), f"stage '{stage.name}' reads files and takes no 'from'")
            if not reads_files and not entry.inputs:
                self.problems.add(
                    location, f"artifact '{name}' needs 'from': stage '{stage.name}' has no files to read"
                )
            yield from self.expanded(name, stage, entry.inputs, {}, location)
            return
        if not entry.inputs:
            self.problems.add(location, f"artifact '{name}' needs 'from'")
        for stage in stages:
            if not isinstance(stage, Map):
                self.problems.add(
                    location,
                    f"'{stage.name}' cannot stand in a chain: only stages that look at one "  # type: ignore[union-attr]
                    "document at a time can; give it an artifact of its own",
                )
                return
        yield Node(name, tuple(_labelled(name, [s for s in stages if s])), entry.inputs, location)

    def stage(self, name: str, options: Mapping[str, Any], location: Location) -> Stage[Any] | None:
        try:
            found = stage_class(name)
        except RecipeError as error:
            self.problems.add((*location, "stage"), str(error))
            return None
        config = self.configured(found, options, location)
        return None if config is None else found(config)

    def configured(self, stage: type[Stage[Any]], options: Mapping[str, Any], location: Location) -> StageConfig | None:
        try:
            return stage.config_type.model_validate(dict(options), context={"base": self.recipe.base})
        except ValidationError as error:
            for detail in error.errors():
                where = (*location, *detail["loc"])
                option = ".".join(map(str, detail["loc"]))  # empty where several options do not fit together
                message = f"{stage.name}: {option and f'{option}: '}{detail['msg'].removeprefix('Value error, ')}"
                if detail["type"] == "extra_forbidden":
                    key = str(detail["loc"][-1])
                    known = _options_at(stage.config_type, detail["loc"][:-1])
                    message = f"{stage.name}: unknown option '{option}'{did_you_mean(key, known)}"
                elif detail["type"] == "missing":
                    message = f"{stage.name}: the option '{detail['loc'][-1]}' is required"
                elif detail["type"] != "value_error":
                    message += f", got {detail['input']!r}"
                self.problems.add(where, message)
            return None

    def check_name(self, name: str, location: Location) -> bool:
        if name in self.entries:
            return True
        self.problems.add(location, f"unknown artifact '{name}'{did_you_mean(name, self.entries)}")
        return False

    def expanded(
        self, name: str, stage: Stage[Any], inputs: tuple[str, ...], side: Mapping[str, str], location: Location
    ) -> Iterator[Node]:
        if not isinstance(stage, Composite):
            yield Node(name, (Step(name, stage, side),), inputs, location)
            return
        try:
            expansions = stage.expand(inputs)
        except SluiceError as error:
            self.problems.add(location, f"{name}: {error}")
            return
        for node in expansions:
            inner = self.stage(node.stage, node.options, location)
            if inner is None:
                continue
            names = tuple(name + i if i.startswith(".") else i for i in node.inputs)
            if all(i.startswith(name + ".") or self.check_name(i, location) for i in names):
                roles = {role: name + private for role, private in node.side.items()}
                yield from self.expanded(name + node.name, inner, names, roles, location)


def _labelled(name: str, stages: list[Stage[Any]]) -> Iterator[Step]:
    seen: dict[str, int] = {}
    for stage in stages:
        seen[stage.name] = seen.get(stage.name, 0) + 1
        again = f"-{seen[stage.name]}" if seen[stage.name] > 1 else ""
        yield Step(f"{name}.{stage.name}{again}", stage, {})


def _ordered(nodes: Mapping[str, Node], problems: Problems) -> list[Node]:
    position = {name: i for i, name in enumerate(nodes)}
    sorter = TopologicalSorter({name: node.dependencies for name, node in nodes.items()})
    order: list[Node] = []
    try:
        sorter.prepare()
        while sorter.is_active():
            ready = sorted(sorter.get_ready(), key=position.__getitem__)  # the recipe's order wherever it is free
            order.extend(nodes[name] for name in ready)
            sorter.done(*ready)
    except CycleError as error:
        cycle = list(reversed(error.args[1]))
        problems.add(
            (*nodes[cycle[0]].location, "from"), f"these artifacts feed each other in a circle: {' -> '.join(cycle)}"
        )
    return order


def _check_kinds(order: list[Node], nodes: Mapping[str, Node], problems: Problems) -> None:
    for node in order:
        stage = node.steps[0].stage
        if isinstance(stage, Source):
            continue
        accepts = stage.accepts if isinstance(stage, Global | Shuffle) else ("documents",)
        may_take = stage.may_take if isinstance(stage, Shuffle) else ()
        given = [nodes[name].produces for name in node.inputs]
        for name, kind in zip(node.inputs, given, strict=True):
            if kind not in (*accepts, *may_take) or (kind in may_take and given.count(kind) > 1):
                problems.add(
                    (*node.location, "from"),
                    f"{node.name}: stage '{stage.name}' takes {' and '.join(accepts)}, but '{name}' is {kind}",
                )
        for kind in accepts:
            if kind not in given or (kind != "documents" and given.count(kind) > 1):
                problems.add(
                    (*node.location, "from"),
                    f"{node.name}: stage '{stage.name}' needs "
                    f"{'at least' if kind == 'documents' else 'exactly'} one artifact of kind {kind} in 'from'",
                )


def _check_columns(order: list[Node], problems: Problems) -> None:
    always = frozenset(DOCUMENT_SCHEMA.names) - {"text"}
    columns: dict[str, frozenset[str]] = {}
    for node in order:
        here = frozenset.intersection(*(columns[i] for i in node.inputs)) if node.inputs else always
        for step in node.steps:
            if isinstance(step.stage, Source):
                here = always | frozenset(step.stage.provides)
            elif isinstance(step.stage, Map | Shuffle | Gather):
                missing = sorted(frozenset(step.stage.requires) - here)
                if missing:
                    problems.add(
                        node.location,
                        f"{step.label}: stage '{step.stage.name}' needs the column "
                        f"{', '.join(missing)}, which {', '.join(node.inputs)} does not provide",
                    )
            if isinstance(step.stage, Map) and step.stage.passes_on:
                here |= frozenset(step.stage.provides)
            elif isinstance(step.stage, Map):
                here = always | {"text"} | frozenset(step.stage.provides)
            elif isinstance(step.stage, Gather):
                here = always | frozenset(step.stage.provides)
        columns[node.name] = here


def _fused(order: list[Node]) -> list[Node]:
    """Join each node that runs part by part to its only consumer where that is a map and nothing is gained by keeping
    its output."""
    nodes = {node.name: node for node in order}
    for name in [node.name for node in order]:
        node = nodes[name]
        consumers = [n for n in nodes.values() if name in n.dependencies]
        last = node.steps[-1].stage
        worth_keeping = isinstance(last, Map) and last.commits_output
        if node.is_global or len(consumers) != 1 or worth_keeping:
            continue
        (consumer,) = consumers
        if not isinstance(consumer.steps[0].stage, Map) or consumer.inputs != (name,):
            continue
        nodes[consumer.name] = replace(consumer, steps=node.steps + consumer.steps, inputs=node.inputs)
        del nodes[name]
    return [nodes[node.name] for node in order if node.name in nodes]


def _with_splits(node: Node, problems: Problems) -> Node:
    stage = node.steps[0].stage
    if not isinstance(stage, Source):
        return node
    try:
        return replace(node, splits=tuple(stage.splits()))
    except SluiceError as error:
        artifact = node.steps[0].label.partition(".")[0]
        problems.add(("artifacts", artifact, "files"), f"{artifact}: {error}")
        return node
