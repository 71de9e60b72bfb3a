"""From a stage's name to its class. The only place where the runner's side meets the stages' side."""

from __future__ import annotations

import difflib
import importlib
from collections.abc import Iterable, Mapping
from typing import Any

from pipeline.errors import RecipeError
from pipeline.stage import Stage


def stage_names() -> list[str]:
    """All names that a recipe may use, sorted."""
    return sorted(_catalog())


def stage_class(name: str) -> type[Stage[Any]]:
    """The class behind a name of the catalog, or behind ``package.module:Class`` for a stage of the user's own.

    Raises:
        RecipeError: there is no such stage.
    """
    if ":" not in name and name not in _catalog():
        raise RecipeError(f"unknown stage '{name}'{did_you_mean(name, stage_names())}")
    module, _, attribute = _catalog().get(name, name).partition(":")
    try:
        found: type[Stage[Any]] = getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError) as error:
        raise RecipeError(f"the stage '{name}' cannot be imported: {error}") from error
    return found


def whole_of(name: str) -> str | None:
    """The composite stage of which this one is a part that works only with what other parts have made, if it is."""
    parts: Mapping[str, str] = importlib.import_module("stages.catalog").PARTS
    return parts.get(name)


def _catalog() -> Mapping[str, str]:
    # By name, so that `pipeline` does not depend on `stages` at import time (tests hold this).
    catalog: Mapping[str, str] = importlib.import_module("stages.catalog").STAGES
    return catalog


def did_you_mean(name: str, valid: Iterable[str]) -> str:
    """A hint such as "; did you mean 'files'?", or the list of valid names when none is near."""
    valid = sorted(valid)
    near = difflib.get_close_matches(name, valid, n=1)
    if near:
        return f"; did you mean '{near[0]}'?"
    return f"; expected one of: {', '.join(valid)}" if valid else ""
