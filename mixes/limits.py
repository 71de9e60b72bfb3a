"""What a mixture may be: bounds on ratios, bounds on the sums of groups, and no more tokens than there are."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

TOLERANCE = 1e-9
"""A ratio or a sum this far outside of a limit is a rounding error."""

ROWS_AT_ONCE = 4096


class InfeasibleLimitsError(ValueError):
    """No mixture is within the limits; the message names the sources or groups and what would make it possible."""


@dataclass(frozen=True)
class GroupBound:
    """Sources whose ratios are bounded together, by name."""

    sources: tuple[str, ...]
    lower: float = 0.0
    upper: float = 1.0


@dataclass(frozen=True)
class Group:
    """Sources whose ratios are bounded together, by number."""

    name: str
    members: tuple[int, ...]
    lower: float
    upper: float


@dataclass(frozen=True)
class Limits:
    """Mixtures in sum 1 with lower <= ratio <= upper for every source and lower <= sum <= upper for every group.

    Groups are disjoint. `upper` is the least of what the user allows (`highest`) and what the tokens allow at
    `max_epochs`. Raises InfeasibleLimitsError where no mixture is within.
    """

    lower: Floats  # [S]
    upper: Floats  # [S]
    groups: tuple[Group, ...]
    sources: tuple[str, ...]  # [S]
    highest: Floats  # [S]
    max_epochs: float | None = None  # None: tokens set no limit

    def __post_init__(self) -> None:
        if fault := self._fault():
            raise InfeasibleLimitsError(fault)

    @classmethod
    def none(cls, sources: int) -> Limits:
        """Every mixture of so many sources."""
        names = tuple(str(number) for number in range(sources))
        return cls(np.zeros(sources), np.ones(sources), (), names, np.ones(sources))

    @classmethod
    def of(
        cls,
        sources: Sequence[str],
        unique_tokens: Floats,
        target_tokens: float,
        max_epochs: float,
        bounds: Mapping[str, tuple[float, float]] | None = None,
        fixed: Mapping[str, float] | None = None,
        groups: Mapping[str, GroupBound] | None = None,
    ) -> Limits:
        """Limits of a training on `target_tokens` that repeats each source's unique tokens [S] at most `max_epochs`
        times, with the lowest and highest ratio (`bounds`) or the very ratio (`fixed`) of some sources.

        Raises ValueError for unknown or doubly bounded sources and bounds that are no ratios; InfeasibleLimitsError,
        with the largest feasible target where there is one, where no mixture meets all of them.
        """
        names, tokens = tuple(sources), np.asarray(unique_tokens, dtype=np.float64)
        if tokens.shape != (len(names),) or not (tokens > 0).all() or not (target_tokens > 0 and max_epochs > 0):
            raise ValueError("the tokens of every source, the target tokens and the epochs must be positive")
        lower, highest = _bounds(names, bounds or {}, fixed or {})
        numbered = _groups(names, groups or {})
        supply = max_epochs * tokens

        def at(target: float) -> Limits:
            upper = np.minimum(highest, supply / target)
            # A fixed ratio that takes all of a source's tokens must not fail by the rounding of a division.
            upper = np.where(np.abs(upper - lower) < TOLERANCE, lower, upper)
            return cls(lower, upper, numbered, names, highest, max_epochs)

        cls(lower, highest, numbered, names, highest)  # bounds that contradict each other, whatever the target
        try:
            return at(target_tokens)
        except InfeasibleLimitsError as error:
            largest = _largest_feasible(at, target_tokens)
            raise InfeasibleLimitsError(
                f"{target_tokens:.6g} target tokens at {max_epochs:g} epochs at most: {error}. The largest feasible "
                f"target is {largest} tokens; this one needs {max_epochs * target_tokens / max(largest, 1):.4g} epochs"
            ) from error

    def bring(self, mixtures: Floats) -> Floats:
        """Mixtures [K, S] brought within: groups first, then the sources of each group.

        All ratios (or sums of groups) are scaled by one factor and cut to their limits, the factor chosen so that they
        fill the whole; those at zero take a share only when the others are full, in proportion to their room. A
        mixture that is within already stays as it is.
        """
        mixtures = np.asarray(mixtures, dtype=np.float64)
        brought = mixtures.copy()
        outside = np.flatnonzero(~self.hold(mixtures))
        for start in range(0, len(outside), ROWS_AT_ONCE):
            rows = outside[start : start + ROWS_AT_ONCE]
            brought[rows] = self._filled(np.maximum(mixtures[rows], 0.0))
        return brought

    def hold(self, mixtures: Floats) -> NDArray[np.bool_]:
        """Whether each mixture [K] of [K, S] is within, up to rounding."""
        mixtures = np.asarray(mixtures, dtype=np.float64)
        held = ((mixtures >= self.lower - TOLERANCE) & (mixtures <= self.upper + TOLERANCE)).all(axis=1)
        held &= np.abs(mixtures.sum(axis=1) - 1.0) <= TOLERANCE
        for group in self.groups:
            total = mixtures[:, group.members].sum(axis=1)
            held &= (total >= group.lower - TOLERANCE) & (total <= group.upper + TOLERANCE)
        return np.asarray(held)

    def range_of(self, source: int) -> tuple[float, float]:
        """Least and largest ratio of a source in any mixture within."""
        parts = self._parts()
        members, low, high = next(part for part in parts if source in part[0])
        others = [member for member in members if member != source]
        least = max(low, 1.0 - sum(part[2] for part in parts if part[0] != members))  # of its group
        most = min(high, 1.0 - sum(part[1] for part in parts if part[0] != members))
        return (
            max(float(self.lower[source]), least - float(self.upper[others].sum())),
            min(float(self.upper[source]), most - float(self.lower[others].sum())),
        )

    def fixing(self, source: int, ratio: float) -> Limits:
        """These limits with one source at a ratio (of its range)."""
        there = np.arange(len(self.lower)) == source
        return replace(self, lower=np.where(there, ratio, self.lower), upper=np.where(there, ratio, self.upper))

    def allowing(self, source: int, upper: float) -> Limits:
        """These limits with another cap on one source, no higher than the user allows."""
        there = np.arange(len(self.lower)) == source
        return replace(self, upper=np.where(there, min(upper, self.highest[source]), self.upper))

    def _parts(self) -> list[tuple[tuple[int, ...], float, float]]:
        """Members, lowest and highest sum of each group and of each source that is in none."""
        grouped = {member for group in self.groups for member in group.members}
        wanted = [(group.members, group.lower, group.upper) for group in self.groups]
        wanted += [((source,), 0.0, 1.0) for source in range(len(self.lower)) if source not in grouped]
        return [
            (
                members,
                max(low, float(self.lower[list(members)].sum())),
                min(high, float(self.upper[list(members)].sum())),
            )
            for members, low, high in wanted
        ]

    def _filled(self, mixtures: Floats) -> Floats:
        parts = self._parts()
        totals = np.column_stack([mixtures[:, members].sum(axis=1) for members, _, _ in parts])
        low, high = (np.array([part[side] for part in parts]) for side in (1, 2))
        totals = _fill(totals, low, high, np.ones(len(mixtures)))
        filled = np.empty_like(mixtures)
        for (members, _, _), total in zip(parts, totals.T, strict=True):
            own = list(members)
            filled[:, own] = _fill(mixtures[:, own], self.lower[own], self.upper[own], total)
        return filled

    def _fault(self) -> str:
        """Why no mixture is within; empty if one is."""
        crossed = [
            f"{name} must have at least {low:.4g} and can have at most {high:.4g}"
            for name, low, high in zip(self.sources, self.lower, self.upper, strict=True)
            if low > high + TOLERANCE
        ]
        for group in self.groups:
            own, names = list(group.members), ", ".join(self.sources[member] for member in group.members)
            least, most = float(self.lower[own].sum()), float(self.upper[own].sum())
            if least > group.upper + TOLERANCE:
                crossed.append(
                    f"group {group.name} can have at most {group.upper:.4g}, its sources ({names}) must have "
                    f"{least:.4g}"
                )
            if most < group.lower - TOLERANCE:
                crossed.append(
                    f"group {group.name} must have at least {group.lower:.4g}, its sources ({names}) can have "
                    f"{most:.4g}"
                )
        if crossed:
            return "; ".join(crossed)
        parts = self._parts()
        least, most = sum(part[1] for part in parts), sum(part[2] for part in parts)
        if least > 1.0 + TOLERANCE:
            bound = [self._name(members) for members, low, _ in parts if low > 0]
            return f"the lowest ratios of {', '.join(bound)} sum to {least:.4g}, more than 1: lower them"
        if most < 1.0 - TOLERANCE:
            bound = [self._name(members) for members, _, _ in parts]
            return f"{', '.join(bound)} can fill only {most:.4g} of the mixture: raise their highest ratios"
        return ""

    def _name(self, members: tuple[int, ...]) -> str:
        for group in self.groups:
            if group.members == members:
                return f"group {group.name}"
        return self.sources[members[0]]


def _bounds(
    names: tuple[str, ...], bounds: Mapping[str, tuple[float, float]], fixed: Mapping[str, float]
) -> tuple[Floats, Floats]:
    unknown = sorted((set(bounds) | set(fixed)) - set(names))
    if unknown:
        raise ValueError(f"bounds name {', '.join(unknown)}, but the sources are {', '.join(names)}")
    if twice := sorted(set(bounds) & set(fixed)):
        raise ValueError(f"{', '.join(twice)}: either fixed or bounded, not both")
    lower, highest = np.zeros(len(names)), np.ones(len(names))
    for name, (low, high) in {**bounds, **{name: (ratio, ratio) for name, ratio in fixed.items()}}.items():
        if not 0.0 <= low <= high <= 1.0:
            raise ValueError(f"{name}: bounds must be ratios, the lowest first, got {low} and {high}")
        lower[names.index(name)], highest[names.index(name)] = low, high
    return lower, highest


def _groups(names: tuple[str, ...], groups: Mapping[str, GroupBound]) -> tuple[Group, ...]:
    group_of: dict[str, str] = {}
    for group, bound in groups.items():
        if not bound.sources or not 0.0 <= bound.lower <= bound.upper <= 1.0:
            raise ValueError(f"group {group}: needs sources, and bounds that are ratios, the lowest first; got {bound}")
        for name in bound.sources:
            if name not in names:
                raise ValueError(f"group {group} names {name}, but the sources are {', '.join(names)}")
            if name in group_of:
                raise ValueError(f"{name} is in the groups {group_of[name]} and {group}; groups must be disjoint")
            group_of[name] = group
    return tuple(
        Group(group, tuple(names.index(name) for name in bound.sources), bound.lower, bound.upper)
        for group, bound in groups.items()
    )


def _fill(values: Floats, lower: Floats, upper: Floats, totals: Floats) -> Floats:
    """clip(factor x values [K, n], lower [n], upper [n]) in sum totals [K], the factor of each row found exactly.

    The sum grows with the factor, linearly between the points at which a value leaves its lower or reaches its upper
    limit. Where even an infinite factor leaves a gap, because values are zero, the gap is shared in proportion to room.
    """
    positive = values > 0
    safe = np.where(positive, values, 1.0)
    breaks = np.concatenate([np.where(positive, side / safe, 0.0) for side in (lower, upper)], axis=1)
    breaks.sort(axis=1)
    sums = np.clip(breaks[:, :, None] * values[:, None, :], lower, upper).sum(axis=2)  # [K, 2n]
    after = np.minimum((sums < totals[:, None]).sum(axis=1), breaks.shape[1] - 1)
    rows, before = np.arange(len(values)), np.maximum(after - 1, 0)
    rise = sums[rows, after] - sums[rows, before]
    share = np.divide(totals - sums[rows, before], rise, out=np.zeros(len(values)), where=rise > 0)
    width = breaks[rows, after] - breaks[rows, before]
    factor = breaks[rows, before] + np.clip(share, 0.0, 1.0) * width
    filled = np.clip(factor[:, None] * values, lower, upper)
    missing = totals - filled.sum(axis=1)
    # Rounding leaves a little in either direction, zeros leave a gap.
    room = np.where(missing[:, None] >= 0, upper - filled, filled - lower)
    space = room.sum(axis=1)
    share = np.divide(missing, space, out=np.zeros(len(values)), where=space > 0)
    return np.asarray(filled + np.clip(share, -1.0, 1.0)[:, None] * room)


def _largest_feasible(at: Callable[[float], Limits], target: float) -> int:
    """Largest number of target tokens with which a mixture exists, below an infeasible one."""

    def is_feasible(tokens: int) -> bool:
        try:
            at(float(tokens))
        except InfeasibleLimitsError:
            return False
        return True

    low, high = 0, int(np.ceil(target))  # feasible (no tokens are wanted), infeasible
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if is_feasible(middle) else (low, middle)
    return low
