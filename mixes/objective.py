"""The weighted sum of all metrics as a function of the mixture: its value, its sd, its minimum within limits."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mixes.limits import Limits
from mixes.regression import Fit, Refit, Surrogate, objective_sds

Floats = NDArray[np.float64]

SCREENING_STEPS = 8
"""Steps of the local search that every start gets; only the best of them are followed to the end."""

FOLLOWED_STARTS = 3


def checked_weights(fit: Fit, weights: Floats, slopes: Floats | None = None) -> Floats:
    """Weights [M] in sum 1, times the slopes [M] by which each metric changes at the target's size (1 if absent).

    Raises ValueError for weights that are negative or all zero, and for slopes that are negative.
    """
    weights = np.asarray(weights, dtype=np.float64)
    if weights.shape != (len(fit.metrics),) or not (
        np.isfinite(weights).all() and (weights >= 0).all() and weights.any()
    ):
        raise ValueError(f"need a non-negative weight for each of {fit.metrics}, not all zero; got {weights.tolist()}")
    weights = weights / weights.sum()
    if slopes is None:
        return weights
    slopes = np.asarray(slopes, dtype=np.float64)
    if slopes.shape != weights.shape or not (np.isfinite(slopes).all() and (slopes >= 0).all()):
        raise ValueError(f"need a non-negative slope for each of {fit.metrics}, got {slopes.tolist()}")
    return weights * slopes


@dataclass(frozen=True)
class Objective:
    """Mean + pessimism x sd of the weighted sum of metrics, as a fit or one of its refits sees it."""

    surrogate: Surrogate
    weights: Floats  # of the surrogate's metrics
    pessimism: float

    @classmethod
    def of(cls, fit: Fit, weights: Floats, pessimism: float, refit: Refit | None = None) -> Objective:
        """The weighted metrics of a fit alone: a metric of weight zero costs no time."""
        weighed = np.flatnonzero(weights)
        return cls(fit.surrogate(refit, weighed.tolist()), weights[weighed], pessimism)

    @property
    def spread(self) -> float:
        """Weighted sum of the metrics' standard deviations over the runs."""
        return float(self.weights @ self.surrogate.processes.scales)

    def __call__(self, mixture: Floats) -> tuple[float, Floats]:
        """Value and its derivative [S] by the ratios of one mixture [S]."""
        mean, sd, mean_slope, sd_slope = self.surrogate.objective(mixture, self.weights)
        return mean + self.pessimism * sd, mean_slope + self.pessimism * sd_slope

    def values(self, mixtures: Floats) -> tuple[Floats, Floats]:
        """Mean [K] and sd [K] at mixtures [K, S]."""
        means, deviations = self.surrogate.predict(mixtures)
        return means @ self.weights, objective_sds(deviations, self.weights)

    def means(self, mixtures: Floats) -> Floats:
        """Mean [K] at mixtures [K, S], in a part of the time of `values`."""
        return np.asarray(self.surrogate.means(mixtures) @ self.weights)


def minimum(objective: Objective, limits: Limits, starts: Floats) -> Floats:
    """The mixture [S] of lowest value within the limits that SLSQP finds from the starts [K, S]."""
    candidates = limits.bring(starts)
    followed = [descended(objective, limits, start, SCREENING_STEPS) for start in candidates]
    followed.sort(key=lambda found: found[0])
    ended = [descended(objective, limits, mixture) for _, mixture in followed[:FOLLOWED_STARTS]]
    return min([*followed[:1], *ended], key=lambda found: found[0])[1]


def descended(objective: Objective, limits: Limits, start: Floats, steps: int = 200) -> tuple[float, Floats]:
    """Lowest value and its mixture [S] among those that a local search passes, all within the limits."""
    from scipy.optimize import minimize

    origin, _ = objective(start)
    scale = objective.spread  # of the level of the losses the search knows nothing: 1e6 + x is minimal where x is
    best = (origin, start)

    def scaled(mixture: Floats) -> tuple[float, Floats]:
        value, slope = objective(np.clip(mixture, 0.0, 1.0))  # a line search may step a rounding error outside
        return (value - origin) / scale, slope / scale

    found = minimize(
        scaled, start, jac=True, method="SLSQP", constraints=linear_constraints(limits),
        bounds=list(zip(limits.lower, limits.upper, strict=True)), options={"maxiter": steps, "ftol": 1e-7},
    )  # fmt: skip
    # A line search that stalls still leaves its last point, which may be worse than its start.
    end = limits.bring(found.x[None, :])[0]
    value, _ = objective(end)
    return (value, end) if value < best[0] else best


def linear_constraints(limits: Limits, origin: Floats | float = 0.0) -> list[dict[str, object]]:
    """SLSQP's form of the limits that bounds do not express, on moves away from an origin [S] (a mixture, or zero)."""
    sources = len(limits.lower)
    total = 1.0 - float(np.sum(origin))
    constraints: list[dict[str, object]] = [
        {"type": "eq", "fun": lambda move: move.sum() - total, "jac": lambda move: np.ones(sources)}
    ]
    rows, bounds = [], []
    for group in limits.groups:
        member = np.isin(np.arange(sources), group.members).astype(np.float64)
        rows += [member, -member]
        bounds += [group.lower, -group.upper]
    if rows:
        sums = np.stack(rows)
        least = np.array(bounds) - sums @ np.broadcast_to(origin, sources)
        constraints.append({"type": "ineq", "fun": lambda move: sums @ move - least, "jac": lambda move: sums})
    return constraints
