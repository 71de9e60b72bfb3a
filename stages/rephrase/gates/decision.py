"""From scores to a decision."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from stages.rephrase.answers import ParsedAnswer
from stages.rephrase.gates.context import GateContext
from stages.rephrase.styles import Bound

Measure = Callable[[str, ParsedAnswer, GateContext], float]


@dataclass(frozen=True, slots=True)
class Gate:
    """A measured score of an answer. Its name is the reason of a rejection."""

    name: str
    measure: Measure  # of source, answer and context


def failure(scores: Mapping[str, float], bounds: Mapping[str, Bound]) -> tuple[str, str] | None:
    """The first score, in the order of ``scores``, that is out of its bounds: its name and the evidence.

    Raises:
        ValueError: a bound is for no score.
    """
    if unknown := sorted(bounds.keys() - scores.keys()):
        raise ValueError(f"there is no gate '{unknown[0]}'; there are {', '.join(scores)}")
    for name, score in scores.items():
        bound = bounds.get(name)
        if bound is None:
            continue
        if bound.min is not None and not score >= bound.min:
            return name, f"{score:.3g} < {bound.min:g}"
        if bound.max is not None and not score <= bound.max:
            return name, f"{score:.3g} > {bound.max:g}"
    return None
