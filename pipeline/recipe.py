"""Reading a recipe: YAML with the place of every key and value, so that each problem is told with file:line:column."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

import yaml
from pydantic import ValidationError

from pipeline.credentials import LEFT_OUT, places_left_out
from pipeline.errors import RecipeError
from pipeline.locations.location import RemoteError, RemoteOptions, folder_of, is_url, shown
from pipeline.locations.reading import open_file
from pipeline.registry import did_you_mean
from pipeline.supervision import Supervision

Location = tuple[str | int, ...]  # keys and list indexes from the top of the recipe
TOP_LEVEL_KEYS = ("name", "seed", "on_failed", "supervision", "artifacts")
ON_FAILED = ("continue", "stop")


class RecipeLoader(yaml.SafeLoader):
    """YAML where only true and false are booleans, as in YAML 1.2: "ocr: off" and "keep: [no]" are words."""


RecipeLoader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag != "tag:yaml.org,2002:bool"]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
RecipeLoader.add_implicit_resolver("tag:yaml.org,2002:bool", re.compile("^(?:true|false)$"), list("tf"))


def parsed_value(text: str) -> Any:
    """A value of a recipe, as it may stand behind ``--set key=``.

    Raises:
        RecipeError: it is no YAML.
    """
    try:
        return yaml.load(text, Loader=RecipeLoader)
    except yaml.YAMLError as error:
        problem = getattr(error, "problem", None) or type(error).__name__  # not its excerpt, which may cut a URL in two
        raise RecipeError(shown(f"--set: the value {text!r} is not valid YAML: {problem}")) from None


class Problems:
    """Collects what is wrong with a recipe, to tell it all at once."""

    def __init__(self, location: str) -> None:
        self.location = location
        self.places: dict[Location, str] = {}  # where a key stands, as "line:column"; none if made in Python
        self.found: list[tuple[tuple[int, ...], str]] = []

    def add(self, location: Location, message: str) -> None:
        """Note a problem at a key or, where that key is absent, at the nearest one around it."""
        while location and location not in self.places:
            location = location[:-1]
        place = self.places.get(location, "1:1")
        order = tuple(int(p) for p in place.split(":")) if place[0].isdigit() else (0,)
        self.found.append((order, shown(f"{shown(self.location)}:{place}: {message}" if self.places else message)))

    def raise_if_any(self) -> None:
        """Raises RecipeError with one line for each problem, in the order of the file."""
        if self.found:
            raise RecipeError(
                "\n".join(dict.fromkeys(message for _, message in sorted(self.found, key=lambda f: f[0])))
            )


@dataclass(frozen=True)
class ArtifactEntry:
    """One entry under ``artifacts``: its stages in order and where its input comes from."""

    name: str
    inputs: tuple[str, ...]
    stages: tuple[tuple[str, dict[str, Any], Location], ...]  # stage, options, where they stand


@dataclass(frozen=True)
class Recipe:
    """A recipe whose shape is right; names, options and inputs are checked by the graph."""

    location: str  # a path or a URL
    name: str
    seed: int
    on_failed: str
    entries: tuple[ArtifactEntry, ...]
    problems: Problems = field(compare=False)
    supervision: Supervision = field(default_factory=Supervision)
    values: Mapping[str, Any] = field(default_factory=dict)  # the whole recipe as plain values, overrides applied

    @property
    def base(self) -> str:
        """The folder, a path or a URL, where relative paths start."""
        return folder_of(self.location)


def load_recipe(location: str | Path, overrides: Sequence[str] = ()) -> Recipe:
    """Read a recipe file, at a path or a URL, and apply ``--set`` overrides of the form ``artifact.option=value`` or
    ``seed=2``.

    Raises:
        RecipeError: the file is missing or no YAML. Problems of shape are collected in ``problems`` instead.
    """
    location = str(location)
    told = shown(location)
    try:
        text = _read(location)
        document = yaml.compose(text, Loader=RecipeLoader)
    except FileNotFoundError:
        raise RecipeError(f"{told}: there is no such recipe") from None
    except (OSError, UnicodeDecodeError) as error:
        raise RecipeError(f"{told}: the recipe cannot be read: {shown(str(error))}") from None
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        place = f":{mark.line + 1}:{mark.column + 1}" if mark else ""
        raise RecipeError(f"{told}{place}: not valid YAML: {getattr(error, 'problem', error)}") from None
    problems = Problems(location)
    values = _plain(document, (), problems) if document is not None else {}
    if not isinstance(values, dict):
        problems.add((), "a recipe is a mapping with the keys: " + ", ".join(TOP_LEVEL_KEYS))
        values = {}
    for override in overrides:
        _apply(override, values, problems)
    for place_left_out in places_left_out(values):
        option = ".".join(str(step) for step in place_left_out if step != "artifacts")
        problems.add(
            place_left_out,
            f"'{option}': a credential was left out of this copy of a recipe: put the whole URL in place of the one "
            f"with {LEFT_OUT}, here or by --set",
        )
    return _shape(location, values, problems)


def recipe_of(location: str | Path, values: Mapping[str, Any]) -> Recipe:
    """A recipe made in Python; ``location`` names it in messages and its folder is where relative paths start."""
    return _shape(str(location), values, Problems(str(location)))


def _read(location: str) -> str:
    try:
        with open_file(location, RemoteOptions(), None) as file:
            return file.read().decode("utf-8")
    except RemoteError as error:
        if error.reason == "not_found":
            raise FileNotFoundError(location) from None
        raise


def _plain(node: yaml.Node, location: Location, problems: Problems) -> Any:
    problems.places.setdefault(location, f"{node.start_mark.line + 1}:{node.start_mark.column + 1}")
    if isinstance(node, yaml.MappingNode):
        values: dict[Any, Any] = {}
        for key_node, value_node in node.value:
            key = _scalar(key_node)
            here = (*location, key)
            if key in values:
                problems.places[here] = f"{key_node.start_mark.line + 1}:{key_node.start_mark.column + 1}"
                problems.add(here, f"'{key}' stands here twice")
            problems.places[here] = f"{key_node.start_mark.line + 1}:{key_node.start_mark.column + 1}"
            values[key] = _plain(value_node, here, problems)
        return values
    if isinstance(node, yaml.SequenceNode):
        return [_plain(child, (*location, i), problems) for i, child in enumerate(node.value)]
    return _scalar(node)


def _scalar(node: yaml.Node) -> Any:
    return RecipeLoader("").construct_object(node)


def _apply(override: str, values: dict[Any, Any], problems: Problems) -> None:
    key, equals, text = override.partition("=")
    told = shown(override)
    if not equals or not key or is_url(key):
        raise RecipeError(f"--set {told}: expected key=value, for example --set mix.runs=64")
    location: list[str | int] = list(key.split("."))
    if location[0] not in TOP_LEVEL_KEYS:
        location.insert(0, "artifacts")
    target: Any = values
    for step in location[:-1]:
        choices = _below(target)
        if step not in choices:
            raise RecipeError(f"--set {told}: the recipe has no '{step}'{did_you_mean(str(step), choices)}")
        target = choices[str(step)]
    if not isinstance(target, dict):
        raise RecipeError(f"--set {told}: '{'.'.join(map(str, location[:-1]))}' is no mapping: it has no options")
    target[location[-1]] = parsed_value(text)
    problems.places[tuple(location)] = f"(--set {told})"


def _below(target: Any) -> dict[str, Any]:
    """What the next name of an override can mean: a key, or a stage of a chain, whose options it then stands for (of
    two of one name, the second is NAME-2)."""
    if not isinstance(target, dict):
        return {}
    chain = target.get("chain")
    if not isinstance(chain, list):
        chain = []
    stages: dict[str, Any] = {}
    for i, step in enumerate(chain):
        if isinstance(step, str):
            step = chain[i] = {step: {}}
        if isinstance(step, dict):
            for name in step:
                step[name] = step[name] or {}
                times = sum(known.split("-")[0] == name for known in stages) + 1
                stages[f"{name}-{times}" if times > 1 else str(name)] = step[name]  # as the ledger labels them
    return stages | {str(key): value for key, value in target.items()}


def _shape(location: str, values: Mapping[str, Any], problems: Problems) -> Recipe:
    for key in values:
        if key not in TOP_LEVEL_KEYS:
            problems.add((key,), f"unknown key '{key}'{did_you_mean(str(key), TOP_LEVEL_KEYS)}")
    name = values.get("name", PurePosixPath(shown(location)).stem)
    if not isinstance(name, str) or not _is_plain_name(name):
        problems.add(("name",), f"'name' must be letters, digits, '-' and '_', got {name!r}")
    seed = values.get("seed", 1)
    if not isinstance(seed, int) or isinstance(seed, bool):
        problems.add(("seed",), f"'seed' must be an integer, got {seed!r}")
    on_failed = values.get("on_failed", "continue")
    if on_failed not in ON_FAILED:
        problems.add(("on_failed",), f"'on_failed' must be one of {', '.join(ON_FAILED)}, got {on_failed!r}")
    artifacts = values.get("artifacts")
    if not isinstance(artifacts, dict) or not artifacts:
        problems.add(("artifacts",), "'artifacts' must be a mapping from names to stages, with at least one entry")
        artifacts = {}
    entries = [_entry(key, value, ("artifacts", key), problems) for key, value in artifacts.items()]
    supervision = _supervision(values.get("supervision") or {}, problems)
    return Recipe(location, str(name), seed, on_failed, tuple(e for e in entries if e), problems, supervision, values)


def _supervision(values: Any, problems: Problems) -> Supervision:
    try:
        return Supervision.model_validate(values)
    except ValidationError as error:
        for detail in error.errors():
            option = ".".join(map(str, detail["loc"]))
            message = f"{option}: {detail['msg']}, got {detail['input']!r}"
            if detail["type"] == "extra_forbidden":
                message = f"unknown option '{option}'{did_you_mean(option, Supervision.model_fields)}"
            problems.add(("supervision", *detail["loc"]), f"supervision: {message}")
        return Supervision()


def _entry(name: Any, value: Any, location: Location, problems: Problems) -> ArtifactEntry | None:
    if not isinstance(name, str) or not _is_plain_name(name):
        problems.add(location, f"an artifact's name must be letters, digits, '-' and '_', got {name!r}")
        return None
    if not isinstance(value, dict) or ("stage" in value) == ("chain" in value):
        problems.add(location, f"artifact '{name}' must be a mapping with either 'stage' or 'chain'")
        return None
    inputs = value.get("from", [])
    if isinstance(inputs, str):
        inputs = [inputs]
    if not isinstance(inputs, list) or not all(isinstance(i, str) for i in inputs):
        problems.add((*location, "from"), f"'from' must be an artifact's name or a list of names, got {inputs!r}")
        inputs = []
    if "stage" in value:
        options = {key: v for key, v in value.items() if key not in ("stage", "from")}
        return ArtifactEntry(name, tuple(inputs), ((str(value["stage"]), options, location),))
    for key in value:
        if key not in ("from", "chain"):
            problems.add((*location, key), f"unknown key '{key}' beside 'chain': options belong to the chain's stages")
    stages = list(_chain(value["chain"], (*location, "chain"), problems))
    return ArtifactEntry(name, tuple(inputs), tuple(stages)) if stages else None


def _chain(chain: Any, location: Location, problems: Problems) -> Iterable[tuple[str, dict[str, Any], Location]]:
    if not isinstance(chain, list) or not chain:
        problems.add(location, "'chain' must be a list of stages, for example [language: {keep: [en]}, gopher_quality]")
        return
    for i, step in enumerate(chain):
        if isinstance(step, str):
            yield step, {}, (*location, i)
        elif isinstance(step, dict) and len(step) == 1 and isinstance(next(iter(step.values())), dict | None):
            ((stage, options),) = step.items()
            yield str(stage), options or {}, (*location, i, stage)
        else:
            problems.add((*location, i), f"each stage of a chain is 'name' or 'name: {{options}}', got {step!r}")


def _is_plain_name(name: str) -> bool:
    return bool(name) and name.replace("-", "a").replace("_", "a").isalnum() and name.isascii()
