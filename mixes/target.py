"""What a mixture is for: the tokens to train on, the tokens there are, and what else bounds the ratios."""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Sequence
from dataclasses import replace
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Any, Self, TypeVar

import numpy as np
import yaml
from numpy.typing import NDArray
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from mixes.limits import GroupBound, Limits

Floats = NDArray[np.float64]
Ratio = Annotated[float, Field(ge=0, le=1)]
LISTED_NAMES = 12
UNITS = {"": 1, "k": 10**3, "M": 10**6, "B": 10**9, "T": 10**12}


class InputFileError(ValueError):
    """A file that a person wrote and that cannot be used; the message names the file and the key."""


def _whole(number: object) -> object:
    """2e9 and 20B as whole numbers: YAML takes the first for a text."""
    if isinstance(number, str) and (found := re.fullmatch(r"\s*([0-9.]+(?:[eE][+-]?\d+)?)\s*([kMBT]?)\s*", number)):
        try:
            number = float(found[1]) * UNITS[found[2]]
        except ValueError:
            return number
    if isinstance(number, float) and number == np.floor(number) and abs(number) < 2**63:
        return int(number)
    return number


TokenCount = Annotated[int, BeforeValidator(_whole), Field(ge=0)]


class Strict(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid", frozen=True, allow_inf_nan=False)


class SourceLimits(Strict):
    """One source. A source that is gone is fixed at 0 and needs no tokens."""

    tokens: TokenCount = 0
    """Unique tokens."""
    lowest: Ratio = 0.0
    highest: Ratio = 1.0
    fixed: Ratio | None = None
    """The very ratio; stands instead of lowest and highest."""
    fingerprint: str | None = None
    """Of the data; unknown for tables made elsewhere."""

    @model_validator(mode="after")
    def _is_possible(self) -> Self:
        if self.tokens == 0 and self.fixed != 0:
            raise ValueError("tokens must be a positive number, unless the source is fixed at 0")
        if self.fixed is not None and {"lowest", "highest"} & self.model_fields_set:
            raise ValueError("either fixed, or lowest and highest")
        if self.lowest > self.highest:
            raise ValueError(f"lowest {self.lowest:g} is above highest {self.highest:g}")
        return self


class GroupLimits(Strict):
    """Sources whose ratios are bounded together."""

    members: Annotated[list[str], Field(min_length=1)]
    lowest: Ratio = 0.0
    highest: Ratio = 1.0

    @model_validator(mode="after")
    def _is_possible(self) -> Self:
        if self.lowest > self.highest:
            raise ValueError(f"lowest {self.lowest:g} is above highest {self.highest:g}")
        return self


class Target(Strict):
    """The training that the mixture is for, and all sources of the runs by name."""

    target_tokens: Annotated[TokenCount, Field(ge=1)]
    max_epochs: Annotated[float, Field(gt=0)] = 4.0
    sources: Annotated[dict[str, SourceLimits], Field(min_length=1)]
    groups: dict[str, GroupLimits] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _has_disjoint_groups(self) -> Self:
        members = [name for group in self.groups.values() for name in group.members]
        if twice := sorted({name for name in members if members.count(name) > 1}):
            raise ValueError(f"groups: {', '.join(twice)} may be a member once only, and of one group")
        return self

    @classmethod
    def read(cls, path: Path, sources: Sequence[str]) -> Target:
        """From YAML or JSON. Raises InputFileError naming the file and every wrong key, source or missing source."""
        target = read_as(cls, path)
        target.check_names(sources, f"{path}: ")
        return target

    def check_names(self, sources: Sequence[str], where: str = "") -> None:
        """Raises InputFileError unless exactly the `sources` are named."""
        faults = [f"sources.{nearest(name, sources)}" for name in self.sources if name not in sources]
        faults += [f"sources: {name} is missing; a source that is gone is {{fixed: 0}}"
                   for name in sources if name not in self.sources]  # fmt: skip
        for group, bound in self.groups.items():
            faults += [f"groups.{group}.{nearest(name, sources)}" for name in bound.members if name not in sources]
        if faults:
            raise InputFileError("\n".join(where + fault for fault in faults))

    def unique_tokens(self, sources: Sequence[str]) -> Floats:
        """Unique tokens [S] in the order of `sources`; 0 of those that are gone."""
        return np.array([self.sources[name].tokens for name in sources], dtype=np.float64)

    def natural(self, sources: Sequence[str]) -> Floats:
        """Ratios [S] in proportion to the tokens."""
        tokens = self.unique_tokens(sources)
        return np.asarray(tokens / tokens.sum())

    def limits(self, sources: Sequence[str]) -> Limits:
        """Raises InfeasibleLimitsError where no mixture is within."""
        own = self.sources
        return Limits.of(
            sources,
            np.maximum(self.unique_tokens(sources), 1.0),  # Limits wants tokens of each source, gone ones too
            float(self.target_tokens),
            self.max_epochs,
            bounds={name: (own[name].lowest, own[name].highest) for name in sources if own[name].fixed is None},
            fixed={name: fixed for name in sources if (fixed := own[name].fixed) is not None},
            groups={name: GroupBound(tuple(g.members), g.lowest, g.highest) for name, g in self.groups.items()},
        )


def unlimited(sources: Sequence[str], gone: Collection[str] = ()) -> Limits:
    """Every mixture of the sources without those that are gone, for runs of which no tokens are known."""
    highest = np.array([float(name not in gone) for name in sources])
    return replace(Limits.none(len(sources)), upper=highest, highest=highest, sources=tuple(sources))


def nearest(name: str, known: Sequence[str]) -> str:
    """'name: unknown; ...' with the nearest of the known names."""
    close = get_close_matches(name, known, n=1, cutoff=0.5)
    listed = ", ".join(known[:LISTED_NAMES]) + (", ..." if len(known) > LISTED_NAMES else "")
    hint = f"did you mean {close[0]}?" if close else f"known are {listed}"
    return f"{name}: unknown; {hint}"


class _Loader(yaml.SafeLoader):
    """Refuses a key given twice, of which plain YAML would keep the last in silence. As in YAML 1.2, 1e-3 is a number
    and `no` (Norwegian) is a name."""


_Loader.yaml_implicit_resolvers = {
    first: [rule for rule in rules if rule[0] != "tag:yaml.org,2002:bool"]
    for first, rules in yaml.SafeLoader.yaml_implicit_resolvers.items()
}

_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:bool", re.compile("^(true|True|TRUE|false|False|FALSE)$"), list("tTfF")
)
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"^[-+]?[0-9]+(\.[0-9]*)?[eE][-+]?[0-9]+$"), list("-+0123456789")
)


def _mapping_of_unique_keys(loader: _Loader, node: yaml.MappingNode) -> dict[Any, Any]:
    keys = [loader.construct_object(key, deep=True) for key, _ in node.value]
    if twice := [key for key in keys if keys.count(key) > 1]:
        raise yaml.constructor.ConstructorError(None, None, f"{twice[0]!r} is given twice", node.start_mark)
    return loader.construct_mapping(node, deep=True)


_Loader.add_constructor("tag:yaml.org,2002:map", _mapping_of_unique_keys)


def read_yaml(path: Path) -> Any:
    """Plain values of a YAML or JSON file. Raises InputFileError, in one line, naming the file."""
    try:
        return yaml.load(path.read_text(encoding="utf-8"), Loader=_Loader)
    except OSError as error:
        raise InputFileError(f"{path}: cannot be read: {error.strerror}") from error
    except (UnicodeDecodeError, yaml.YAMLError, ValueError, RecursionError) as error:
        raise InputFileError(f"{path}: is not YAML: {' '.join(str(error).split())}") from error


Model = TypeVar("Model", bound=Strict)


def read_as(model: type[Model], path: Path) -> Model:
    """A file checked against a model. Raises InputFileError naming the file and every wrong key."""
    try:
        # Through JSON, because strict validation of Python values would refuse YAML's lists as tuples.
        return model.model_validate_json(json.dumps(read_yaml(path), default=str))
    except ValidationError as error:
        wrong = [
            f"{'.'.join(map(str, e['loc'])) or 'file'}: {e['msg']} (got {_excerpt(e['input'])})" for e in error.errors()
        ]
        raise InputFileError("\n".join(f"{path}: {line}" for line in wrong)) from error


def _excerpt(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."
