"""The stages and their options, as the code's own types tell them: for people, and as a JSON Schema for editors."""

from __future__ import annotations

import inspect
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel
from pydantic_core import to_jsonable_python

from pipeline.errors import RecipeError
from pipeline.recipe import ON_FAILED
from pipeline.registry import did_you_mean, stage_class, stage_names, whole_of
from pipeline.stage import Composite, Gather, Global, Map, Shuffle, Source, Stage
from pipeline.supervision import Supervision

KINDS: tuple[tuple[type[Stage[Any]], str], ...] = (
    (Source, "reads files"),
    (Map, "looks at one document at a time"),
    (Gather, "puts parts together"),
    (Global, "sees its input whole"),
    (Shuffle, "sees its input whole"),
    (Composite, "stands for several stages"),
)
OWN_STAGE = r"^[\w.]+:\w+$"  # package.module:Class
NEW = Path(__file__).parent / "recipes"
SCHEMA_FILE = "recipe.schema.json"
Schema = dict[str, Any]


def stage_lines() -> Iterator[tuple[str, str]]:
    """Each stage that a recipe can name by itself, with the first sentence of its help."""
    for name in stage_names():
        if whole_of(name) is None:
            paragraph = " ".join(help_of(name).partition("\n\n")[0].split())
            yield name, paragraph.partition(". ")[0].rstrip(".") + "."


def help_of(name: str) -> str:
    """What a stage does.

    Raises:
        RecipeError: there is no such stage.
    """
    return inspect.cleandoc(stage_class(name).__doc__ or "")


def kind_of(name: str) -> str:
    """What a stage works on.

    Raises:
        RecipeError: there is no such stage.
    """
    cls = stage_class(name)
    return next(told for kind, told in KINDS if issubclass(cls, kind))


def options_schema(name: str) -> Schema:
    """JSON Schema of a stage's options. A list of one may be given as that one.

    Raises:
        RecipeError: there is no such stage.
    """
    schema: Schema = _lenient(stage_class(name).config_type.model_json_schema())
    return schema


def _lenient(schema: Any) -> Any:
    if isinstance(schema, list):
        return [_lenient(one) for one in schema]
    if not isinstance(schema, dict):
        return schema
    found = {key: _lenient(value) for key, value in schema.items() if key != "title" or isinstance(value, dict)}
    if isinstance(found.get("properties"), dict):
        for key, option in found["properties"].items():
            if option.get("type") == "array" and isinstance(option.get("items"), dict):
                about = {k: v for k, v in option.items() if k in ("default", "description")}
                rest = {k: v for k, v in option.items() if k not in about}
                found["properties"][key] = {"anyOf": [option["items"], rest], **about}
    return found


@dataclass(frozen=True)
class Option:
    """An option of a stage, or a group of them: then it has neither type nor default."""

    name: str  # with the names of the groups that it is in: "vision.model"
    type: str
    default: str  # as JSON, or "required"
    meaning: str


def options_of(config: type[BaseModel]) -> list[Option]:
    """All options of a stage, or of another part of a recipe, those of groups behind their group.

    An option of each entry of a list or mapping is named "phases[].share", or "groups.NAME.sources".
    """
    schema = config.model_json_schema()
    for name, field in config.model_fields.items():
        if field.default_factory is not None:  # which a schema does not tell
            default = field.get_default(call_default_factory=True, validated_data={})
            schema["properties"][name]["default"] = to_jsonable_python(default)
    return list(_options(schema, schema.get("$defs", {}), ""))


def described(name: str) -> str:
    """A stage with all its options, their types, defaults and meaning.

    Raises:
        RecipeError: there is no such stage.
    """
    lines = [f"{name}: {kind_of(name)}", "", help_of(name), ""]
    for option in options_of(stage_class(name).config_type):
        told = f" ({option.type}; {shown_default(option)})" if option.type else ""
        lines += [f"  {option.name}{told}", *(f"      {line}".rstrip() for line in option.meaning.splitlines())]
    return "\n".join(lines).rstrip() + "\n"


def shown_default(option: Option) -> str:
    """ "required", or "default 50"."""
    return option.default if option.default == "required" else f"default {option.default}"


def _options(schema: Schema, groups: Mapping[str, Schema], prefix: str) -> Iterator[Option]:
    required = schema.get("required", ())
    for key, option in schema.get("properties", {}).items():
        name, meaning = f"{prefix}{key}", option.get("description", "")
        inner = _group_of(option, groups)
        if inner is not None and "properties" in inner:
            yield Option(name, "", "", meaning or inner.get("description", ""))
            yield from _options(inner, groups, f"{name}.")
        else:
            default = "required" if key in required else json.dumps(option.get("default"), ensure_ascii=False)
            yield Option(name, _type(option, groups), default, meaning)
            for form in (option, *option.get("anyOf", ())):
                for entries, mark in (("items", "[]"), ("additionalProperties", ".NAME")):
                    inner = _group_of(form[entries], groups) if isinstance(form.get(entries), dict) else None
                    yield from _options(inner or {}, groups, f"{name}{mark}.")


def _group_of(option: Schema, groups: Mapping[str, Schema]) -> Schema | None:
    """The group of options that an option is, alone or beside null."""
    for one in (option, *option.get("anyOf", ())):
        if "$ref" in one:
            return groups[one["$ref"].rpartition("/")[2]]
    return None


def _type(option: Schema, groups: Mapping[str, Schema]) -> str:
    if "$ref" in option:
        return _type(groups[option["$ref"].rpartition("/")[2]], groups)
    if "anyOf" in option:
        return " or ".join(dict.fromkeys(_type(one, groups) for one in option["anyOf"]))
    if "enum" in option:
        return "one of " + ", ".join(map(str, option["enum"]))
    if "const" in option:
        return json.dumps(option["const"])
    if option.get("type") == "array" and isinstance(option.get("items"), dict):
        return f"list of {_type(option['items'], groups)}"
    kind = str(option.get("type", "any"))
    return {"object": "mapping", "string": "text", "array": "list"}.get(kind, kind)


def stages_json() -> str:
    """All stages with their options, for programs."""
    told = {
        name: {"kind": kind_of(name), "help": help_of(name), "options": options_schema(name)}
        for name, _ in stage_lines()
    }
    return json.dumps(told, indent=1, ensure_ascii=False)


def recipe_schema() -> str:
    """JSON Schema of a recipe, by which editors complete and check it."""
    names = [name for name, _ in stage_lines()]
    definitions: dict[str, Schema] = {}
    artifacts: list[Schema] = []
    for name in names:
        options = options_schema(name)
        definitions |= {f"{name}.{key}": group for key, group in options.pop("$defs", {}).items()}
        options = json.loads(json.dumps(options).replace('"#/$defs/', f'"#/$defs/{name}.'))
        definitions[name] = {"type": ["object", "null"], **{k: v for k, v in options.items() if k != "type"}}
        definitions[name]["description"] = help_of(name)
        properties = {"stage": {"const": name}, "from": {"$ref": "#/$defs/from"}, **options.get("properties", {})}
        required = ["stage", *options.get("required", ())]
        artifacts.append(
            {
                "type": "object",
                "description": help_of(name),
                "properties": properties,
                "required": required,
                "additionalProperties": False,
            }
        )
    for key, group in definitions.items():  # of groups within groups
        if "." in key:
            text = json.dumps(group).replace('"#/$defs/', f'"#/$defs/{key.partition(".")[0]}.')
            definitions[key] = json.loads(text)
    own = {"type": "object", "properties": {"stage": {"pattern": OWN_STAGE}}, "required": ["stage"]}
    step = {
        "anyOf": [
            {"enum": names},
            {"type": "string", "pattern": OWN_STAGE},
            {
                "type": "object",
                "properties": {name: {"$ref": f"#/$defs/{name}"} for name in names},
                "patternProperties": {OWN_STAGE: {"type": ["object", "null"]}},
                "additionalProperties": False,
                "minProperties": 1,
                "maxProperties": 1,
            },
        ]
    }
    chain = {
        "type": "object",
        "properties": {
            "from": {"$ref": "#/$defs/from"},
            "chain": {"type": "array", "minItems": 1, "items": {"$ref": "#/$defs/step"}},
        },
        "required": ["chain"],
        "additionalProperties": False,
    }
    source = {"anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}}]}
    schema = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "A recipe of Sluice",
        "type": "object",
        "properties": {
            "name": {"type": "string", "pattern": "^[A-Za-z0-9_-]+$", "description": "Of the run."},
            "seed": {"type": "integer", "default": 1, "description": "All that is drawn at random is drawn by it."},
            "on_failed": {
                "enum": list(ON_FAILED),
                "default": ON_FAILED[0],
                "description": "Where a document or file fails: count it and go on, or stop the run.",
            },
            "supervision": _lenient(Supervision.model_json_schema()),
            "artifacts": {
                "type": "object",
                "propertyNames": {"pattern": "^[A-Za-z0-9_-]+$"},
                "additionalProperties": {"anyOf": [*artifacts, chain, own]},
            },
        },
        "required": ["artifacts"],
        "additionalProperties": False,
        "$defs": {"from": source, "step": step, **definitions},
    }
    return json.dumps(schema, indent=1, ensure_ascii=False) + "\n"


def new_kinds() -> list[str]:
    """The recipes that there are to begin with."""
    return sorted(path.stem for path in NEW.glob("*.yaml"))


def write_new(kind: str, file: Path) -> None:
    """Write a commented recipe to begin with, and beside it the schema by which editors complete it.

    Raises:
        RecipeError: there is no such kind, or the file is there already.
    """
    kinds = new_kinds()
    if kind not in kinds:
        raise RecipeError(f"there is no recipe '{kind}' to begin with{did_you_mean(kind, kinds)}")
    name = re.sub(r"[^A-Za-z0-9_-]", "-", file.stem)
    text = (NEW / f"{kind}.yaml").read_text().replace("NAME.yaml", file.name).replace("SCHEMA", SCHEMA_FILE)
    text = re.sub(r"\bNAME\b(?!-)", name, text)
    try:
        with file.open("x") as new:
            new.write(text)
    except FileExistsError:
        raise RecipeError(f"{file} exists: choose another name, or remove it first") from None
    except OSError as error:
        raise RecipeError(f"{file} cannot be written: {error.strerror}") from error
    (file.parent / SCHEMA_FILE).write_text(recipe_schema())
