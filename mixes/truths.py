"""Functions that may be true, as far as the runs tell, and where their lowest points are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mixes.error_field import ErrorField
from mixes.limits import Limits
from mixes.objective import Objective, linear_constraints
from mixes.regression import Fit

Floats = NDArray[np.float64]

DRAWS = 120
"""Possible truths of each kind behind every interval."""

PROPOSED = 60
CLOUD = 150
"""Mixtures among which the lowest of each possible truth is looked for: PROPOSED, as many half-way to them, and CLOUD
around them."""

SECANT = 0.03
"""Step towards each source over which slopes and errors are compared: wide beside the ratios at which losses bend
(0.001), as an optimum moves by more than those."""


NORMAL_80 = 1.2816
"""80 % of a normal distribution is within so many standard deviations."""


@dataclass(frozen=True)
class Truths:
    """What may be true: by the fit's own errors, then by bootstrap refits."""

    optima: Floats  # [2 DRAWS, S]
    posterior_optima: Floats  # [DRAWS, S], the first half
    gains: Floats  # [2 DRAWS], of the mixture recommended over the natural one


def possible_truths(
    objective: Objective,
    refitted: Sequence[Objective],
    limits: Limits,
    best: Floats,
    natural: Floats,
    runs: Floats,
    rng: np.random.Generator,
    trust: float = 1.0,
) -> Truths:
    """Truths around the optimum `best` of the objective.

    Each is a function on a cloud of mixtures: half of them the objective plus an error of the size and the correlation
    that the fit leaves open, half of them bootstrap refits. Both tell of the same uncertainty, so they are mixed, not
    added: added, the stated 80 % held nearly every truth. The cloud must hold the lowest points of such functions,
    which random mixtures of many sources do not: they are proposed by minimising quadratic functions with the
    objective's curvature and the slopes of drawn errors. Which of them is really lowest is decided on the functions
    themselves. `trust` is what the fit's sd must be multiplied with (see `out_of_bag`).
    """
    field = ErrorField.given(runs)
    proposed = _proposals(objective, refitted, field, limits, best, rng)
    mixtures = np.concatenate(
        [best[None, :], proposed, (best + proposed) / 2.0, _cloud(limits, best, runs, rng), natural[None, :]]
    )
    mean, sd = objective.values(mixtures)
    posterior = mean + trust * sd * field.draws(mixtures, DRAWS, rng)
    bootstrap = _in_turn([other.means(mixtures) for other in refitted], DRAWS)
    truths = np.concatenate([posterior, bootstrap])
    lowest = mixtures[np.argmin(truths[:, :-1], axis=1)]  # the natural mix may be outside of the limits
    return Truths(optima=lowest, posterior_optima=lowest[:DRAWS], gains=truths[:, -1] - truths[:, 0])


def out_of_bag(fit: Fit, weights: Floats, refitted: Sequence[Objective], noise: float) -> float:
    """What the sd of the objective must be multiplied with to hold 80 % of the runs that refits have not seen.

    A run's own noise is part of what it differs by. Between 1/2 and 2: some dozen runs do not tell more.
    """
    observed, errors = fit.losses @ weights, []
    for refit, objective in zip(fit.refits, refitted, strict=False):
        unseen = refit.counts == 0
        mean, sd = objective.values(fit.mixtures[unseen])
        errors.append(np.abs(observed[unseen] - mean) / np.sqrt(sd**2 + noise**2))
    return float(np.clip(np.percentile(np.concatenate(errors), 80.0) / NORMAL_80, 0.5, 2.0))


def _proposals(
    objective: Objective,
    refitted: Sequence[Objective],
    field: ErrorField,
    limits: Limits,
    best: Floats,
    rng: np.random.Generator,
) -> Floats:
    """Minima [PROPOSED, S] within the limits of quadratic functions around the optimum."""
    from scipy.optimize import minimize

    sources = len(best)
    beside = best + SECANT * (np.eye(sources) - best)  # [S, S], a step towards each source
    points = np.concatenate([best[None, :], beside])
    mean, sd = objective.values(points)
    errors = sd * field.draws(points, PROPOSED, rng)
    means = _in_turn([other.means(points) for other in refitted], PROPOSED) - mean
    slopes = ((means + errors)[:, 1:] - (means + errors)[:, :1]) / SECANT

    slope = objective(best)[1]
    # Towards source j the slopes change by so much: seen from any two sources, the curvature between them.
    change = np.stack([(objective(point)[1] - slope) / SECANT for point in beside])
    curvature = change - (change @ best)[:, None]
    values, vectors = np.linalg.eigh((curvature + curvature.T) / 2.0)
    curvature = (vectors * np.maximum(values, 1e-3 * values.max())) @ vectors.T
    bounds = list(zip(limits.lower - best, limits.upper - best, strict=True))
    constraints = linear_constraints(limits, best)

    def lowest(linear: Floats) -> Floats:
        scale = max(float(np.abs(linear).max()), 1e-12)

        def quadratic(move: Floats) -> tuple[float, Floats]:
            pulled = curvature @ move
            return float(0.5 * move @ pulled + linear @ move) / scale, (pulled + linear) / scale

        return np.asarray(
            minimize(
                quadratic, np.zeros(sources), jac=True, method="SLSQP", bounds=bounds, constraints=constraints,
                options={"maxiter": 50, "ftol": 1e-7},
            ).x
        )  # fmt: skip

    centred = slope - slope @ best
    return limits.bring(best + np.stack([lowest(centred + drawn) for drawn in slopes]))


def _cloud(limits: Limits, best: Floats, runs: Floats, rng: np.random.Generator) -> Floats:
    """Mixtures [CLOUD, S] within the limits: steps of all lengths from the optimum towards runs, random mixtures, and
    the most and the least of each source. Limits are convex, so that every step between two mixtures stays within."""
    sources = len(best)
    extremes = [
        limits.fixing(source, ratio).bring(best[None, :])[0]
        for source in range(sources)
        for ratio in limits.range_of(source)
    ]
    random = limits.bring(rng.dirichlet(np.full(sources, 0.7), CLOUD))
    goals = np.concatenate([np.stack(extremes), limits.bring(runs), random])
    single = np.arange(CLOUD) < CLOUD // 2  # half of the cloud goes towards extremes
    towards = goals[np.where(single, rng.integers(0, len(extremes), CLOUD), rng.integers(0, len(goals), CLOUD))]
    steps = np.exp(rng.uniform(np.log(0.02), 0.0, (CLOUD, 1)))
    return np.asarray(best + steps * (towards - best))


def _in_turn(rows: Sequence[Floats], count: int) -> Floats:
    return np.stack([rows[place % len(rows)] for place in range(count)])
