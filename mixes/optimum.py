"""The best mixture of a fit within limits, how sure that is, and what would make it better."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mixes.design import farthest, objective_noise
from mixes.limits import Limits
from mixes.objective import Objective, checked_weights, minimum
from mixes.regression import Fit, Surrogate, objective_sd
from mixes.sensitivity import FlatDirection, flat_directions, shadow_prices, worth_of_caps
from mixes.threads import one_blas_thread
from mixes.truths import out_of_bag, possible_truths

Floats = NDArray[np.float64]

RANDOM_STARTS = 16
OBSERVED_STARTS = 3

INTERVAL = (10.0, 90.0)
"""Percentiles of what is drawn that an interval spans: 80 %."""

REFITS_DRAWN = 10
"""Bootstrap refits that the possible truths are built on; more of them cost most of the second and change little."""

BILLION = 1e9
HELPFUL_RUNS = 8
MOST_FLAT = 3


@dataclass(frozen=True)
class Prediction:
    """One mixture under the full fit, lower is better."""

    ratios: Floats  # [S]
    objective: float  # weighted sum of the metrics
    objective_sd: float  # see regression.objective_sd
    metrics: Floats  # [M]
    metrics_sd: Floats  # [M]


@dataclass(frozen=True)
class Optimum:
    """The objective is the weighted sum of the metrics, weights in sum 1, each metric times its slope if there are any.

    Intervals span the 10th to the 90th percentile of possible truths: of the fit and its posterior errors
    (`posterior_intervals`), or of bootstrap refits (runs drawn with replacement) and posterior errors together (all
    others).
    """

    best: Prediction
    natural: Prediction
    best_observed: Prediction  # the run of lowest weighted loss among those within the limits (of all where none is)
    intervals: Floats  # [2, S], of the ratios of the true optimum
    posterior_intervals: Floats  # [2, S]
    gain: float  # objective of the natural mix minus that of the optimum
    gain_interval: Floats  # [2]
    nearest_run_l1: float  # sum of absolute differences of ratios to the nearest run; at most 2
    shadow_prices: Floats  # [S], fall of the objective per unit by which a cap is lifted; 0 where it does not bind
    worth_of_epoch: Floats  # [S], fall of the objective if a source may be repeated once more; 0 if tokens are unknown
    worth_of_billion_tokens: Floats  # [S], fall of the objective if a source had 1e9 unique tokens more; likewise
    flat_directions: list[FlatDirection]  # at most 3, whose rise is less than the sd of the objective
    warnings: list[str]
    helpful_runs: Floats  # [<= 8, S], mixtures to train if the optimum is far from all runs; else none

    def tokens(self, target_tokens: float) -> Floats:
        """Tokens [S] of each source in a training of so many tokens."""
        return self.best.ratios * target_tokens

    def epochs(self, source_tokens: Floats, target_tokens: float) -> Floats:
        """Passes [S] over each source's unique tokens [S] in a training of so many tokens."""
        return self.tokens(target_tokens) / np.asarray(source_tokens, dtype=np.float64)


@one_blas_thread()
def solve(
    fit: Fit,
    weights: Floats,
    limits: Limits,
    natural: Floats,
    seed: int,
    pessimism: float = 1.0,
    *,
    unique_tokens: Floats | None = None,
    target_tokens: float | None = None,
    slopes: Floats | None = None,
) -> Optimum:
    """Minimise mean + pessimism x sd of the weighted sum of metrics within the limits.

    SLSQP from the best observed runs and random starts; `weights` [M] are relative, `slopes` [M] say by which factor
    each metric's differences change at the target's size. Unique tokens [S] and target tokens are needed for the worth
    of epochs and tokens. Raises ValueError for weights that are negative or all zero.
    """
    weights, natural = checked_weights(fit, weights, slopes), np.asarray(natural, dtype=np.float64)
    observed, within = fit.losses @ weights, limits.hold(fit.mixtures)
    order = np.argsort(np.where(within, observed, np.inf) if within.any() else observed, kind="stable")
    rng = np.random.default_rng(seed)
    draws = rng.dirichlet(np.ones(len(natural)), RANDOM_STARTS)
    objective = Objective.of(fit, weights, pessimism)
    ratios = minimum(objective, limits, np.concatenate([fit.mixtures[order[:OBSERVED_STARTS]], draws]))

    full = fit.surrogate()
    best, at_natural, at_best_run = (
        _predicted(full, weights, mixture) for mixture in (ratios, natural, fit.mixtures[order[0]])
    )
    refitted = [Objective.of(fit, weights, 0.0, refit) for refit in fit.refits[:REFITS_DRAWN]]
    trust = out_of_bag(fit, weights, refitted, objective_noise(fit, weights) or 0.0)
    truths = possible_truths(
        Objective.of(fit, weights, 0.0), refitted, limits, ratios, natural, fit.mixtures, rng, trust
    )
    gain_interval = np.percentile(truths.gains, INTERVAL)
    prices = shadow_prices(objective, limits, ratios)
    none = np.zeros(len(natural))
    an_epoch = a_billion = none
    if unique_tokens is not None and target_tokens is not None and limits.max_epochs is not None:
        an_epoch = worth_of_caps(objective, limits, ratios, prices, np.asarray(unique_tokens) / target_tokens)
        lift = none + limits.max_epochs * BILLION / target_tokens
        a_billion = worth_of_caps(objective, limits, ratios, prices, lift)
    nearest, spacing = _distance_to_runs(fit.mixtures, ratios)
    is_far = nearest > spacing
    return Optimum(
        best=best,
        natural=at_natural,
        best_observed=at_best_run,
        intervals=np.percentile(truths.optima, INTERVAL, axis=0),
        posterior_intervals=np.percentile(truths.posterior_optima, INTERVAL, axis=0),
        gain=at_natural.objective - best.objective,
        gain_interval=gain_interval,
        nearest_run_l1=nearest,
        shadow_prices=prices,
        worth_of_epoch=an_epoch,
        worth_of_billion_tokens=a_billion,
        flat_directions=flat_directions(objective, limits, ratios, best.objective_sd)[:MOST_FLAT],
        warnings=_warnings(nearest, spacing, gain_interval, bool(within.any())),
        helpful_runs=_helpful_runs(fit.mixtures, ratios, truths.optima) if is_far else np.empty((0, len(natural))),
    )


@dataclass(frozen=True)
class WeightPath:
    """Optima as one metric's share of all weights goes from none to all, the others keeping their proportions."""

    metric: str
    shares: Floats  # [P]
    ratios: Floats  # [P, S]


@one_blas_thread()
def weight_path(
    fit: Fit, weights: Floats, limits: Limits, points: int = 11, pessimism: float = 1.0, slopes: Floats | None = None
) -> list[WeightPath]:
    """The path of every metric; the other metrics weigh equally where this one has all the weight now."""
    weights = checked_weights(fit, weights)
    paths = []
    for metric, name in enumerate(fit.metrics):
        own = np.arange(len(weights)) == metric
        rest = np.where(own, 0.0, weights)
        if len(weights) == 1:
            rest = own.astype(np.float64)
        elif not rest.any():
            rest = (~own).astype(np.float64)
        shares, ratios = np.linspace(0.0, 1.0, points), np.empty((points, len(limits.lower)))
        for place, share in enumerate(shares):
            weighed = checked_weights(fit, (1.0 - share) * rest / rest.sum() + share * own, slopes)
            best_runs = fit.mixtures[np.argsort(fit.losses @ weighed, kind="stable")[:OBSERVED_STARTS]]
            starts = np.concatenate([best_runs, ratios[max(place - 1, 0) : place]])
            ratios[place] = minimum(Objective.of(fit, weighed, pessimism), limits, starts)
        paths.append(WeightPath(name, shares, ratios))
    return paths


@dataclass(frozen=True)
class ResponseCurve:
    """The predicted objective as one source's ratio goes from the least to the largest that the limits leave it."""

    ratios: Floats  # [P], of the source
    objective: Floats  # [P]
    sd: Floats  # [P]


@one_blas_thread()
def response_curves(
    fit: Fit, weights: Floats, limits: Limits, mixture: Floats, points: int = 21, slopes: Floats | None = None
) -> list[ResponseCurve]:
    """One curve a source, through the mixture [S]; the others share the rest in its proportions, within limits."""
    objective = Objective.of(fit, checked_weights(fit, weights, slopes), 0.0)
    curves = []
    for source in range(len(mixture)):
        ratios = np.linspace(*limits.range_of(source), points)
        mixtures = np.concatenate([limits.fixing(source, ratio).bring(mixture[None, :]) for ratio in ratios])
        curves.append(ResponseCurve(ratios, *objective.values(mixtures)))
    return curves


def _predicted(surrogate: Surrogate, weights: Floats, ratios: Floats) -> Prediction:
    mean, deviation = (row[0] for row in surrogate.predict(ratios[None, :]))
    return Prediction(ratios, float(mean @ weights), objective_sd(deviation, weights), mean, deviation)


def _distance_to_runs(runs: Floats, mixture: Floats) -> tuple[float, float]:
    """L1 distance of a mixture to the nearest run, and the median distance of a run to the nearest other one."""
    from scipy.spatial.distance import cdist

    different = np.unique(runs.round(6), axis=0)
    apart = cdist(different, different, "cityblock")
    np.fill_diagonal(apart, np.inf)
    return float(np.abs(runs - mixture).sum(axis=1).min()), float(np.median(apart.min(axis=1)))


def _warnings(nearest: float, spacing: float, gain_interval: Floats, is_any_run_within: bool) -> list[str]:
    warnings = []
    if nearest > spacing:
        warnings.append(
            f"the mixture is {nearest:.2f} (sum of differences of ratios) from the nearest run, runs are {spacing:.2f} "
            "from one another: its prediction is a guess; train the runs that are named, and fit again"
        )
    if not is_any_run_within:
        warnings.append("no run is within the limits: train some that are")
    if gain_interval[0] <= 0.0:
        warnings.append(
            "the gain over the natural mix is not sure: its 80 % interval is "
            f"{gain_interval[0]:.3g} to {gain_interval[1]:.3g}"
        )
    return warnings


def _helpful_runs(runs: Floats, best: Floats, optima: Floats) -> Floats:
    """The optimum itself and possible true optima, each as far as can be from all runs and those named before it."""
    places = np.unique(optima.round(3), axis=0, return_index=True)[1]
    candidates = optima[np.sort(places)]
    chosen = farthest(candidates, min(HELPFUL_RUNS - 1, len(candidates)), np.concatenate([runs, best[None, :]]))
    found = np.concatenate([best[None, :], candidates[chosen]])
    return np.asarray(found[np.sort(np.unique(found.round(3), axis=0, return_index=True)[1])])
