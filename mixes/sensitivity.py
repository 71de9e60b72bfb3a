"""What the limits cost at an optimum, and where it does not matter."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mixes.limits import Limits
from mixes.objective import Objective, descended

Floats = NDArray[np.float64]

BINDING = 1e-5
"""A ratio or a sum this close to a limit stands on it."""

FLAT_MOVE = 0.1
"""Length of a flat direction: sum of absolute changes of the ratios."""

DIFFERENCE = 1e-4
"""Step of the differences of slopes that make the Hessian; small beside the ratios at which losses bend (0.001)."""


@dataclass(frozen=True)
class FlatDirection:
    """A change of the ratios that costs next to nothing."""

    direction: Floats  # [S], sum 0, sum of absolute changes FLAT_MOVE
    rise: float  # of the objective (with its pessimism) when the optimum moves by it


def shadow_prices(objective: Objective, limits: Limits, optimum: Floats) -> Floats:
    """Fall of the objective [S] per unit of ratio by which the cap of a source is lifted; 0 where it does not bind.

    The multipliers of the caps: non-negative least squares on the condition that the slope of the objective is balanced
    by the limits that bind (Karush, Kuhn and Tucker).
    """
    from scipy.optimize import nnls

    sources = len(optimum)
    capped = np.flatnonzero((optimum > limits.upper - BINDING) & (limits.upper < 1.0))
    floored = np.flatnonzero(optimum < limits.lower + BINDING)
    pulls = [-np.eye(sources)[capped], np.eye(sources)[floored], np.ones((1, sources)), -np.ones((1, sources))]
    for group in limits.groups:
        member, total = (
            np.isin(np.arange(sources), group.members)[None, :].astype(np.float64),
            optimum[list(group.members)].sum(),
        )
        pulls += [-member] * bool(total > group.upper - BINDING) + [member] * bool(total < group.lower + BINDING)
    multipliers, _ = nnls(np.concatenate(pulls).T, objective(optimum)[1])
    prices = np.zeros(sources)
    prices[capped] = multipliers[: len(capped)]
    return prices


def worth_of_caps(objective: Objective, limits: Limits, optimum: Floats, prices: Floats, lift: Floats) -> Floats:
    """Fall of the objective [S] when the cap of one source is lifted by `lift` [S] and the best mixture found again.

    A price times the lift would be too much: every further bit is worth less than the one before.
    """
    worth = np.zeros(len(optimum))
    before, _ = objective(optimum)
    for source in np.flatnonzero(prices > 0):
        lifted = limits.allowing(int(source), float(limits.upper[source] + lift[source]))
        worth[source] = before - descended(objective, lifted, optimum)[0]
    return worth


def flat_directions(objective: Objective, limits: Limits, optimum: Floats, most_rise: float) -> list[FlatDirection]:
    """Directions in which the optimum may move by FLAT_MOVE within the limits for a rise of at most `most_rise`,
    flattest first: eigenvectors of the objective's Hessian on the limits that bind. The rise is that of the sense that
    costs more."""
    from scipy.linalg import eigh

    basis = _tangent(limits, optimum)
    if not basis.shape[1]:
        return []
    columns = [
        (
            objective(np.maximum(optimum + DIFFERENCE * step, 0.0))[1]
            - objective(np.maximum(optimum - DIFFERENCE * step, 0.0))[1]
        )
        / (2.0 * DIFFERENCE)
        for step in basis.T
    ]
    hessian = basis.T @ np.stack(columns, axis=1)
    _, vectors = eigh((hessian + hessian.T) / 2.0)
    value, found = objective(optimum)[0], []
    for vector in (basis @ vectors).T:
        move = FLAT_MOVE * vector / np.abs(vector).sum()
        within = limits.hold(np.stack([optimum + move, optimum - move]))
        rises = [
            objective(optimum + side * move)[0] - value
            for side, is_within in zip((1, -1), within, strict=True)
            if is_within
        ]
        if rises and max(rises) <= most_rise:
            found.append(FlatDirection(move if within[0] else -move, max(rises)))
    return sorted(found, key=lambda flat: flat.rise)


def _tangent(limits: Limits, optimum: Floats) -> Floats:
    """Orthonormal basis [S, D] of the moves that keep the sum and every limit that binds."""
    from scipy.linalg import null_space

    sources = len(optimum)
    bound = (optimum > limits.upper - BINDING) | (optimum < limits.lower + BINDING)
    rows = [np.ones(sources), *np.eye(sources)[bound]]
    for group in limits.groups:
        total = optimum[list(group.members)].sum()
        if total > group.upper - BINDING or total < group.lower + BINDING:
            rows.append(np.isin(np.arange(sources), group.members).astype(np.float64))
    return np.asarray(null_space(np.stack(rows)))
