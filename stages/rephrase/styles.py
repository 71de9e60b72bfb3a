"""Styles: the ways of rephrasing that a YAML file describes, each with what it suits, its prompts and its gates."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import orjson
import xxhash
import yaml
from pydantic import Field, ValidationError, field_validator, model_validator

from pipeline.recipe import RecipeLoader
from pipeline.registry import did_you_mean
from pipeline.stage import Options

STYLES_FILE = Path(__file__).with_name("styles.yaml")
PROMPT_VERSION = 1
"""To be raised when prompts.py writes other words around a template, or answers.py reads answers otherwise."""

Tier = Literal["low", "medium", "high"]
ContentTest = Literal["", "numbers", "table"]
Format = Literal["text", "list", "questions", "faq", "table"]

# which documents are asked about, not what becomes of them
_NOT_IN_FINGERPRINT = {"tiers", "tokens", "needs", "expected_ratio"}
_SLOT = re.compile(r"\{[^{}\n]*\}?")
LANGUAGE_SLOT = "{language}"


class Bound(Options):
    """The least and the most that a gate's score may be; None: no limit on that side."""

    min: float | None = None
    """The least."""
    max: float | None = None
    """The most."""

    @model_validator(mode="after")
    def _some_score_passes(self) -> Bound:
        if self.min is not None and self.max is not None and self.min > self.max:
            raise ValueError(f"nothing is at least {self.min:g} and at most {self.max:g}")
        return self


class Style(Options):
    """One way of rephrasing. ``styles.yaml`` says what each field means."""

    name: str = Field(pattern="^[a-z][a-z0-9_]*$")
    version: int = Field(1, ge=1)
    format: Format
    tiers: tuple[Tier, ...] = Field(("low", "medium", "high"), min_length=1)
    tokens: tuple[Annotated[int, Field(ge=0)], int] = (0, 1_000_000_000)
    needs: ContentTest = ""
    chunk_tokens: int = Field(ge=32)
    overlap_tokens: int = Field(0, ge=0)
    output_ratio: float = Field(gt=0)
    expected_ratio: float | None = Field(None, gt=0)
    append_to_source: bool = False
    failed_passage: Literal["reject", "keep", "omit"] = "reject"
    templates: tuple[str, ...] = Field(min_length=3)
    reminder: str = Field(min_length=1)
    gates: Mapping[str, Bound] = Field(default_factory=dict)

    @field_validator("templates")
    @classmethod
    def _templates_differ_and_have_known_slots(cls, templates: tuple[str, ...]) -> tuple[str, ...]:
        if not all(template.strip() for template in templates):
            raise ValueError("a template is empty")
        if len({" ".join(template.split()).casefold() for template in templates}) < len(templates):
            raise ValueError("two templates are equal: they are there to vary what the model writes")
        for slot in (found[0] for template in templates for found in _SLOT.finditer(template)):
            if slot != LANGUAGE_SLOT:
                raise ValueError(f"a template has the slot {slot}; there is only {LANGUAGE_SLOT}")
        return templates

    @field_validator("reminder")
    @classmethod
    def _reminder_is_one_line(cls, reminder: str) -> str:
        if "\n" in reminder.strip():
            raise ValueError("it is one line")
        return reminder.strip()

    @field_validator("gates", mode="before")
    @classmethod
    def _null_switches_a_gate_off(cls, gates: Any) -> Any:
        if not isinstance(gates, dict):
            return gates
        return {name: {} if bound is None else bound for name, bound in gates.items()}

    @model_validator(mode="after")
    def _sizes_fit_together(self) -> Style:
        if self.tokens[0] > self.tokens[1]:
            raise ValueError(f"tokens: no document has at least {self.tokens[0]} and at most {self.tokens[1]}")
        if 2 * self.overlap_tokens > self.chunk_tokens:
            raise ValueError(f"overlap_tokens: {self.overlap_tokens} is over half of chunk_tokens, {self.chunk_tokens}")
        return self

    @property
    def fingerprint(self) -> str:
        """Digest of everything that changes an answer or the decision about it: 16 hexadecimal digits."""
        values = self.model_dump(mode="json", exclude=_NOT_IN_FINGERPRINT) | {"prompt_version": PROMPT_VERSION}
        return xxhash.xxh3_64_hexdigest(orjson.dumps(values, option=orjson.OPT_SORT_KEYS))

    def max_answer_tokens(self, passage_tokens: int) -> int:
        """Limit on the tokens of an answer about a passage of this many; short passages are given some room."""
        return int(self.output_ratio * passage_tokens) + 64


def read_styles(path: Path = STYLES_FILE) -> dict[str, Style]:
    """The styles of a file by name, each with the gates of the whole file where it names none of its own.

    Raises:
        OSError: the file cannot be read.
        ValueError: it does not hold styles; the message names the file, each style and field, and what is wrong.
    """
    try:
        values = yaml.load(path.read_text("utf-8"), Loader=_Loader)
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ValueError(f"{path}: not valid YAML: {error}") from None
    if not isinstance(values, dict) or not isinstance(values.get("styles"), dict) or not values["styles"]:
        raise ValueError(f"{path}: it must hold styles by name under the key 'styles'")
    if unknown := sorted(str(key) for key in values if key not in ("gates", "styles")):
        raise ValueError(f"{path}: unknown key '{unknown[0]}'; there are 'gates' and 'styles'")
    common = values.get("gates") or {}
    if not isinstance(common, dict):
        raise ValueError(f"{path}: 'gates' must hold bounds by the gates' names")
    problems = [f"{path}: 'gates': {problem}" for problem in _unknown_gates(common)]
    styles: dict[str, Style] = {}
    for name, fields in values["styles"].items():
        try:
            styles[str(name)] = Style.model_validate(_with_common_gates(str(name), fields, common))
        except ValidationError as error:
            problems += [f"{path}: style '{name}'{_problem(e)}" for e in error.errors()]
            continue
        own = styles[str(name)].gates.keys() - common.keys()
        problems += [f"{path}: style '{name}', field 'gates': {problem}" for problem in _unknown_gates(sorted(own))]
    if problems:
        raise ValueError("\n".join(problems))
    return styles


def _unknown_gates(names: Iterable[Any]) -> list[str]:
    from stages.rephrase.gates import GATES  # which know styles

    known = [gate.name for gate in GATES]
    return [f"there is no gate '{name}'{did_you_mean(str(name), known)}" for name in names if name not in known]


def _with_common_gates(name: str, fields: Any, common: dict[str, Any]) -> Any:
    if not isinstance(fields, dict):
        return fields
    own = fields.get("gates") or {}
    gates = {**common, **own} if isinstance(own, dict) else own
    return {**fields, "name": name, "gates": gates}


def _problem(error: Mapping[str, Any]) -> str:
    place = ".".join(str(part) for part in error["loc"])
    message = str(error["msg"]).removeprefix("Value error, ")
    return f", field '{place}': {message}" if place else f": {message}"


class _Loader(RecipeLoader):
    """YAML in which no key may come twice: the second style of a name would silently take the place of the first."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen = set()
        for key, _ in node.value:
            if key.value in seen:
                raise yaml.constructor.ConstructorError(None, None, f"'{key.value}' comes twice", key.start_mark)
            seen.add(key.value)
        return super().construct_mapping(node, deep)
