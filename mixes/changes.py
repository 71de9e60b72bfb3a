"""Old runs of sources that have since been added, removed, split or merged."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from mixes.runs import Runs

Floats = NDArray[np.float64]


class ChangeError(ValueError):
    """Changes that do not lead from the sources of the runs to the sources there are now."""


@dataclass(frozen=True)
class Split:
    """One source is now several: its documents were divided."""

    source: str
    tokens: Mapping[str, float]  # unique tokens of each part


@dataclass(frozen=True)
class Merge:
    """Several sources are now one."""

    source: str
    tokens: Mapping[str, float]  # unique tokens of each former source


Change = Split | Merge


def adapted(runs: Runs, sources_now: Sequence[str], changes: Sequence[Change] = ()) -> Runs:
    """The runs as runs of the sources that there are now, so that nothing has to be trained again.

    - A split is exact: a proxy that drew from the whole drew from its parts in proportion to their tokens.
    - A merge adds the ratios up. It is exact where the former sources stood in proportion to their tokens, and an
      approximation elsewhere (see `merge_distance`).
    - A source that is now and was not, and comes from no change, is new: every old run had a ratio of 0 of it.
    - A source that is no more keeps its column behind the present ones, as the runs cannot be told without it; fix it
      at 0 (see `removed`).

    Raises ChangeError for changes of sources that are not there, and for names that collide.
    """
    columns = {name: runs.mixtures[:, j] for j, name in enumerate(runs.sources)}
    for change in changes:
        parts = dict(change.tokens)
        before, after = (
            ((change.source,), tuple(parts)) if isinstance(change, Split) else (tuple(parts), (change.source,))
        )
        _check(change, before, after, columns)
        old = [columns.pop(name) for name in before]
        if isinstance(change, Split):
            total = sum(parts.values())
            columns |= {name: old[0] * (tokens / total) for name, tokens in parts.items()}
        else:
            columns[change.source] = np.sum(old, axis=0)
    expected = {
        name for change in changes for name in ([change.source] if isinstance(change, Merge) else change.tokens)
    }
    if lost := sorted(expected - set(sources_now) - {change.source for change in changes if isinstance(change, Split)}):
        raise ChangeError(
            f"{', '.join(lost)} should come of a change, but the sources are now {', '.join(sources_now)}"
        )
    if len(set(sources_now)) != len(sources_now):
        raise ChangeError(f"the sources {', '.join(sources_now)} name one twice")
    names = (*sources_now, *(name for name in columns if name not in sources_now))
    nothing = np.zeros(len(runs.mixtures))
    return replace(runs, sources=names, mixtures=np.column_stack([columns.get(name, nothing) for name in names]))


def removed(runs: Runs, sources_now: Sequence[str]) -> tuple[str, ...]:
    """Sources of (adapted) runs that are no more: their ratio must be fixed at 0."""
    return tuple(name for name in runs.sources if name not in sources_now)


def never_tried(runs: Runs) -> tuple[str, ...]:
    """Sources that no run held: what the fit says of them is its prior, until runs with them are trained."""
    return tuple(name for name, most in zip(runs.sources, runs.mixtures.max(axis=0), strict=True) if most == 0)


def merge_distance(runs: Runs, merge: Merge) -> float:
    """How far runs from before a merge are from runs of the merged source: the ratio that would have to move between
    the former sources to bring them into the proportion of their tokens; the largest of all runs, 0 to 1."""
    own = np.column_stack([runs.mixtures[:, runs.sources.index(name)] for name in merge.tokens])
    share = np.array(list(merge.tokens.values())) / sum(merge.tokens.values())
    return float((np.abs(own - own.sum(axis=1, keepdims=True) * share).sum(axis=1) / 2).max())


def _check(change: Change, before: tuple[str, ...], after: tuple[str, ...], columns: Mapping[str, Floats]) -> None:
    kind = type(change).__name__.lower()
    if absent := [name for name in before if name not in columns]:
        raise ChangeError(f"{kind} of {', '.join(absent)}: the runs have the sources {', '.join(columns)}")
    if taken := [name for name in after if name in columns and name not in before]:
        raise ChangeError(f"{kind} into {', '.join(taken)}: the runs have a source of that name already")
    if len(change.tokens) < 2 or not all(np.isfinite(t) and t > 0 for t in change.tokens.values()):
        raise ChangeError(f"{kind} of {change.source}: needs at least two parts with a positive number of tokens each")
