"""The best mixture of a fit under caps, and how sure that is."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mixes.design import InfeasibleCapsError, under_caps
from mixes.regression import Fit, Surrogate, objective_sd
from mixes.threads import one_blas_thread

Floats = NDArray[np.float64]

RANDOM_STARTS = 16
INTERVAL = (10.0, 90.0)
"""Percentiles over the bootstrap refits that an interval spans: 80 %, as 20 refits say nothing about rarer
events."""

BINDING = 1e-5
"""A ratio this close to a bound stands on it."""


@dataclass(frozen=True)
class Prediction:
    """One mixture under the full fit, lower is better."""

    ratios: Floats  # [S]
    objective: float  # weighted mean of the metrics
    objective_sd: float  # see regression.objective_sd
    metrics: Floats  # [M]
    metrics_sd: Floats  # [M]


@dataclass(frozen=True)
class Optimum:
    """Intervals are the 10th and 90th percentiles over bootstrap refits (runs drawn with replacement)."""

    best: Prediction
    natural: Prediction
    best_observed: Prediction  # the run of lowest weighted loss among those within the bounds (of all where none is)
    intervals: Floats  # [2, S], of the ratios of the refits' own optima
    gain: float  # objective of the natural mix minus that of the optimum
    gain_interval: Floats  # [2], of the gain of the optimum under the refits
    nearest_run_l1: float  # sum of absolute differences of ratios to the nearest run; at most 2
    shadow_prices: Floats  # [S], fall of the objective per unit by which a cap is lifted; 0 where it does not bind

    def tokens(self, target_tokens: float) -> Floats:
        """Tokens [S] of each source in a training of so many tokens."""
        return self.best.ratios * target_tokens

    def epochs(self, source_tokens: Floats, target_tokens: float) -> Floats:
        """Passes [S] over each source's unique tokens [S] in a training of so many tokens."""
        return self.tokens(target_tokens) / np.asarray(source_tokens, dtype=np.float64)


def ratio_caps(source_tokens: Floats, target_tokens: float, max_epochs: float, highest: Floats | None = None) -> Floats:
    """Caps [S] on the ratios: min(highest_j, max_epochs x source_tokens_j / target_tokens).

    Raises InfeasibleCapsError, naming the largest feasible target, where no mixture can meet them.
    """
    tokens = np.asarray(source_tokens, dtype=np.float64)
    if not ((tokens > 0).all() and target_tokens > 0 and max_epochs > 0):
        raise ValueError("source tokens, target tokens and epochs must be positive")
    highest = np.ones(len(tokens)) if highest is None else np.minimum(np.asarray(highest, dtype=np.float64), 1.0)
    if highest.sum() < 1.0 - 1e-9:
        raise InfeasibleCapsError(
            f"the highest ratios sum to {highest.sum():.4g}, less than 1, whatever the target; raise them"
        )
    supply = max_epochs * tokens
    caps = np.minimum(highest, supply / target_tokens)
    if caps.sum() < 1.0 - 1e-9:
        raise InfeasibleCapsError(
            f"{target_tokens:.4g} target tokens are more than the sources give at {max_epochs:g} epochs "
            "under their highest ratios; "
            f"the largest feasible target is {int(_largest_target(supply, highest))} tokens"
        )
    return caps


def _largest_target(supply: Floats, highest: Floats) -> float:
    """The T at which the sum of min(highest_j, supply_j / T) is 1.

    The sum falls with T, and source j leaves its highest ratio at T = supply_j / highest_j. With the
    sources sorted by that point, the first k being supply-bound, T = (their supply) / (1 - highest ratios
    of the rest).
    """
    allowed = highest > 0
    order = np.argsort(supply[allowed] / highest[allowed])
    bound_supply = np.cumsum(supply[allowed][order])
    rest = highest[allowed].sum() - np.cumsum(highest[allowed][order])
    targets = np.divide(bound_supply, 1.0 - rest, out=np.full(len(rest), np.inf), where=rest < 1.0 - 1e-12)
    return float(targets.min())


@one_blas_thread()
def solve(
    fit: Fit,
    weights: Floats,
    lower: Floats,
    upper: Floats,
    natural: Floats,
    seed: int,
    pessimism: float = 1.0,
) -> Optimum:
    """Minimise the weighted mean over metrics of mean + pessimism x sd, under sum 1 and lower <= ratio <=
    upper.

    SLSQP from the best observed run and random starts; `weights` [M] are relative. Each bootstrap refit is
    solved from the optimum and from the best observed run. Raises InfeasibleCapsError where no mixture
    meets the bounds, ValueError for weights that are negative or all zero.
    """
    weights, natural = np.asarray(weights, dtype=np.float64), np.asarray(natural, dtype=np.float64)
    if weights.shape != (len(fit.metrics),) or not (
        np.isfinite(weights).all() and (weights >= 0).all() and weights.any()
    ):
        raise ValueError(f"need a non-negative weight for each of {fit.metrics}, not all zero; got {weights.tolist()}")
    weights = weights / weights.sum()
    bounds = _Bounds(np.asarray(lower, dtype=np.float64), np.minimum(np.asarray(upper, dtype=np.float64), 1.0))

    observed = fit.losses @ weights
    within = bounds.hold(fit.mixtures)
    best_run = fit.mixtures[np.argmin(np.where(within, observed, np.inf) if within.any() else observed)]
    draws = np.random.default_rng(seed).dirichlet(np.ones(len(natural)), RANDOM_STARTS)
    starts = np.concatenate([best_run[None, :], draws])

    weighed = np.flatnonzero(weights).tolist()
    aim = _Aim(fit.surrogate(metrics=weighed), weights[weighed], pessimism)
    ratios = _minimum(aim, bounds, starts)
    full = fit.surrogate()
    best, at_natural, at_best_run = (_predicted(full, weights, point) for point in (ratios, natural, best_run))

    refit_optima, refit_gains = [], []
    for refit in fit.refits:
        refitted = _Aim(fit.surrogate(refit, weighed), weights[weighed], pessimism)
        refit_optima.append(_minimum(refitted, bounds, np.stack([ratios, best_run])))
        refit_gains.append(refitted.mean(natural) - refitted.mean(ratios))

    return Optimum(
        best=best,
        natural=at_natural,
        best_observed=at_best_run,
        intervals=np.percentile(np.stack(refit_optima), INTERVAL, axis=0),
        gain=at_natural.objective - best.objective,
        gain_interval=np.percentile(refit_gains, INTERVAL),
        nearest_run_l1=float(np.abs(fit.mixtures - ratios).sum(axis=1).min()),
        shadow_prices=_shadow_prices(aim(ratios)[1], ratios, bounds),
    )


@dataclass(frozen=True)
class _Aim:
    """What is minimised: the mean of the weighted sum of metrics plus pessimism times its sd."""

    surrogate: Surrogate
    weights: Floats
    pessimism: float

    def __call__(self, ratios: Floats) -> tuple[float, Floats]:
        mean, sd, mean_slope, sd_slope = self.surrogate.objective(ratios, self.weights)
        return mean + self.pessimism * sd, mean_slope + self.pessimism * sd_slope

    def mean(self, ratios: Floats) -> float:
        return self.surrogate.objective(ratios, self.weights)[0]


@dataclass(frozen=True)
class _Bounds:
    lower: Floats  # [S]
    upper: Floats  # [S]

    def __post_init__(self) -> None:
        crossed = np.flatnonzero(self.lower > self.upper)
        if len(crossed) or (self.lower < 0).any():
            raise InfeasibleCapsError(
                f"sources {crossed.tolist()} must lie above their caps, or a lower bound is negative"
            )
        if self.lower.sum() > 1.0 + 1e-9:
            raise InfeasibleCapsError(f"the lower bounds sum to {self.lower.sum():.4g}, more than 1; lower them")
        if self.upper.sum() < 1.0 - 1e-9:
            raise InfeasibleCapsError(
                f"the caps sum to {self.upper.sum():.4g}, less than 1: where they stem from the sources' "
                f"tokens, the largest feasible target is {self.upper.sum():.4g} of the present one"
            )

    def hold(self, mixtures: Floats) -> NDArray[np.bool_]:
        return np.asarray(((mixtures >= self.lower - 1e-6) & (mixtures <= self.upper + 1e-6)).all(axis=1))

    def bring(self, mixtures: Floats) -> Floats:
        """Mixtures [K, S] brought within: what exceeds the lower bounds is scaled to the free part, then
        capped."""
        free = 1.0 - self.lower.sum()
        if free < 1e-9:
            return np.repeat(self.lower[None, :], len(mixtures), axis=0)
        above = np.maximum(mixtures - self.lower, 0.0) + 1e-12
        return np.asarray(self.lower + free * under_caps(above, (self.upper - self.lower) / free))


def _minimum(aim: _Aim, bounds: _Bounds, starts: Floats) -> Floats:
    from scipy.optimize import minimize

    candidates = bounds.bring(starts)
    scale = max(abs(aim(candidates[0])[0]), 1e-6)

    def scaled(ratios: Floats) -> tuple[float, Floats]:
        value, slope = aim(np.maximum(ratios, 0.0))  # a line search may step a rounding error below zero
        return value / scale, slope / scale

    sum_is_one = {"type": "eq", "fun": lambda p: p.sum() - 1.0, "jac": lambda p: np.ones(len(p))}
    found: list[Floats] = []
    for start in candidates:
        result = minimize(
            scaled, start, jac=True, method="SLSQP", constraints=[sum_is_one],
            bounds=list(zip(bounds.lower, bounds.upper, strict=True)), options={"maxiter": 200, "ftol": 1e-8},
        )  # fmt: skip
        # A line search that stalls still leaves its last point, which may be worse than its start.
        found += [start, bounds.bring(result.x[None, :])[0]]
    return found[int(np.argmin([aim(point)[0] for point in found]))]


def _predicted(surrogate: Surrogate, weights: Floats, ratios: Floats) -> Prediction:
    mean, deviation = (row[0] for row in surrogate.predict(ratios[None, :]))
    return Prediction(ratios, float(mean @ weights), objective_sd(deviation, weights), mean, deviation)


def _shadow_prices(slope: Floats, ratios: Floats, bounds: _Bounds) -> Floats:
    """What a little more of each capped source is worth, when it is taken from the source that loses least
    by it.

    At the optimum all sources between their bounds have the same slope, so this is the multiplier of the
    cap; per further epoch it is worth shadow_price_j x source_tokens_j / target_tokens.
    """
    prices = np.zeros(len(ratios))
    yielding = ratios > bounds.lower + BINDING
    for source in np.flatnonzero((ratios > bounds.upper - BINDING) & (bounds.upper < 1.0)):
        others = yielding & (np.arange(len(ratios)) != source)
        if others.any():
            prices[source] = max(float(slope[others].max() - slope[source]), 0.0)
    return prices
