"""Which mixtures to train: first those that a regression of loss on ratios learns most from, then, batch by batch,
those that decide where the best mixture is; and when it is enough."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mixes.error_field import ErrorField
from mixes.limits import Limits
from mixes.objective import Objective, checked_weights, minimum
from mixes.regression import Fit
from mixes.threads import one_blas_thread

Floats = NDArray[np.float64]

POOL_PER_RUN = 200
"""Candidate draws for each run wanted: enough that the farthest of them changes little with more."""

TEMPER = 0.5
"""Exponent on the natural mix before drawing around it, as in RegMix (arXiv 2407.01492): scarce sources get
a share."""

STRENGTHS = (0.1, 1.0)
"""Range of the Dirichlet's concentration as a multiple of the number of sources: mostly sparse mixtures. In 24
synthetic worlds of 4 sources and 24 runs the regret is 0.0021, against 0.0037 for (0.5, 5); with 10 sources
about equal."""

NEAR_STRENGTHS = (10.0, 100.0)
"""The same for draws around a mixture that is of interest itself: the natural one, the user's, the best so far."""

NEAR_SHARE = 0.25
"""Share of the pool that is drawn around the natural mix and the user's."""

VERTEX_RATIO = 0.8
"""Ratio of the leading source at a near-vertex point."""

SMALLEST_RATIO = 2e-4
"""Ratios below become zero, as in RegMix: a proxy would see a few documents at most."""

OPTIMISM = 1.5
"""Standard deviations taken off a prediction when a run is chosen for how low it may be."""

APART = 0.05
"""Least sum of differences of ratios between two runs of a batch."""

NEXT_POOL = 3000
RUNS_PER_SOURCE, LEAST_ROUNDS = 6, 4
"""Runs after which it is over at the latest: so many for each source, and so many further rounds in any case."""


def first_count(sources: int) -> int:
    """Runs of the first round: 1.5 for each source, 24 at least."""
    return max(24, round(1.5 * sources))


def most_runs(sources: int, first: int, round_runs: int) -> int:
    """Runs in all, at most. In synthetic worlds of 8 and 16 sources 4 for each source leave a regret of 1.5 and 1.0 sds
    of a run's objective; docs/benchmarks.md has those of this limit."""
    return max(RUNS_PER_SOURCE * sources, first + LEAST_ROUNDS * round_runs)


@dataclass(frozen=True)
class Design:
    """Mixtures to train, and why each of them is: "natural", "user", "corner", "spread" or "drawn" at first,
    "objective", "variance" or "repeat" later (and at first, for the repeats of the natural mix)."""

    mixtures: Floats  # [N, S]
    purposes: list[str]  # [N]


@dataclass(frozen=True)
class Stop:
    """Whether more runs are worth training, in units of the objective."""

    regret: float  # how much lower than at the mixture recommended the objective may be elsewhere
    noise: float | None  # sd of the objective of a run; None if no mixture was repeated
    is_calm: bool  # whether the regret is below the noise
    is_over: bool
    reason: str


def first_runs(
    natural: Floats, count: int, seed: int, limits: Limits, natural_repeats: int = 3, user: Floats | None = None
) -> Design:
    """The first `count` mixtures, each within the limits.

    `natural` [S] is the mix in proportion to tokens (brought within): the first row, and again the last
    `natural_repeats` rows, whose spread of losses is the noise of a run. The mixes of the user [U, S] come second.
    Then come near-vertex and leave-one-source-out mixtures, largest source first, on at most half of the remaining
    runs. The others are drawn from Dirichlet distributions around the tempered natural mix, and closely around the
    natural mix and the user's: half chosen to lie far apart (maximin in the square roots of the ratios), half taken as
    they come, because pure maximin spends its runs on the rim of the simplex.

    Raises ValueError for bad arguments.
    """
    natural = np.asarray(natural, dtype=np.float64)
    sources = len(natural)
    if sources < 2:
        raise ValueError("a mixture needs at least two sources")
    if not (np.isfinite(natural).all() and (natural[limits.upper > 0] > 0).all() and (natural >= 0).all()):
        raise ValueError(f"the natural mix needs a positive ratio for every source, got {natural.tolist()}")
    if (limits.lower == limits.upper).all():
        raise ValueError("all ratios are fixed: there is nothing to choose")
    natural = natural / natural.sum()
    given = limits.bring(natural[None, :] if user is None else np.concatenate([natural[None, :], user]))
    free = count - len(given) - natural_repeats
    if free < 1:
        raise ValueError(
            f"{count} runs leave no room beside {natural_repeats + 1} of the natural mix and {len(given) - 1} of "
            "the user's; ask for more"
        )
    rng = np.random.default_rng(seed)
    corners = _corners(natural, limits, given)[: free // 2]
    drawn = free - len(corners)
    near = round(NEAR_SHARE * POOL_PER_RUN * drawn)
    centres = given[rng.integers(0, len(given), near)]
    pool = limits.bring(
        np.concatenate(
            [
                _draws(_tempered(natural)[None, :], STRENGTHS, POOL_PER_RUN * drawn - near, rng),
                _draws(centres, NEAR_STRENGTHS, near, rng),
            ]
        )
    )
    different = _fresh(pool, np.concatenate([given, corners]))
    pool = different if len(different) >= drawn else pool  # limits may leave hardly any choice
    spread = farthest(pool, drawn // 2, np.concatenate([given, corners]))
    plain = rng.choice(np.setdiff1d(np.arange(len(pool)), spread), drawn - drawn // 2, replace=False)
    repeats = np.repeat(given[:1], natural_repeats, axis=0)
    return Design(
        np.concatenate([given, corners, pool[spread], pool[plain], repeats]),
        ["natural"] + ["user"] * (len(given) - 1) + ["corner"] * len(corners)
        + ["spread"] * len(spread) + ["drawn"] * len(plain) + ["repeat"] * natural_repeats,
    )  # fmt: skip


@one_blas_thread()
def next_runs(
    fit: Fit, weights: Floats, limits: Limits, natural: Floats, seed: int, count: int = 8, slopes: Floats | None = None
) -> Design:
    """The next `count` mixtures for the objective that the weights [M] (and slopes [M]) make.

    Of 8: five where the objective may be lowest (mean - 1.5 sd), two where it is known least, and one repeat of the
    best run so far. Each is chosen as if those before it were already run, so that they keep apart.
    """
    weights = checked_weights(fit, weights, slopes)
    rng = np.random.default_rng(seed)
    incumbent = _incumbent(fit, weights, limits)
    repeats, surest = (1 if count >= 4 else 0), count // 4

    best = minimum(Objective.of(fit, weights, 1.0), limits, incumbent[None, :])
    hopes = [Objective.of(fit, weights, -OPTIMISM, refit) for refit in (None, *fit.refits)]
    centres = np.stack([incumbent, best, *(minimum(hope, limits, np.stack([incumbent, best])) for hope in hopes)])
    near = NEXT_POOL // 2
    pool = np.concatenate(
        [
            centres,
            _draws(centres[rng.integers(0, len(centres), near)], NEAR_STRENGTHS, near, rng),
            _draws(_tempered(natural)[None, :], STRENGTHS, NEXT_POOL - near, rng),
        ]
    )
    pool = limits.bring(pool)
    mean, sd = hopes[0].values(pool)
    chosen = _Batch(ErrorField.given(fit.mixtures), pool, mean, sd, fit.mixtures)
    purposes = []
    for place in range(count - repeats):
        purposes.append("objective" if place < count - repeats - surest else "variance")
        chosen.take(chosen.mean - OPTIMISM * chosen.sd if purposes[-1] == "objective" else -chosen.sd)
    return Design(
        np.concatenate([pool[chosen.places], np.repeat(incumbent[None, :], repeats, axis=0)]),
        purposes + ["repeat"] * repeats,
    )


@one_blas_thread()
def stop_reason(
    fit: Fit,
    weights: Floats,
    limits: Limits,
    max_runs: int,
    noise: float | None = None,
    slopes: Floats | None = None,
    was_calm: bool = False,
) -> Stop:
    """Whether the search is over: its regret is below the noise of a run for the second round in a row, or there are
    `max_runs`. Once is not enough: all refits may be wrong alike about a region that
    no run has seen, and the next round's runs lie there.

    The regret is that of the mixture recommended now under the bootstrap refits: how much lower the objective is at a
    refit's own optimum, in four of five refits at most. `noise` is that of the objective, measured from repeats if
    absent. `was_calm`: what the round before found (Stop.is_calm).
    """
    weights = checked_weights(fit, weights, slopes)
    noise = objective_noise(fit, weights) if noise is None else noise
    run = _incumbent(fit, weights, limits)
    best = minimum(Objective.of(fit, weights, 1.0), limits, run[None, :])
    regrets = []
    for refit in fit.refits:
        objective = Objective.of(fit, weights, 0.0, refit)
        own = minimum(objective, limits, np.stack([best, run]))
        regrets.append(objective(best)[0] - objective(own)[0])
    regret, runs = float(np.percentile(regrets, 80)), len(fit.mixtures)
    if noise is None:
        against = "; the noise is unknown, as no mixture was repeated"
    elif regret >= noise:
        against = f", above the noise of a run, {noise:.2g}"
    else:
        against = f", below the noise of a run, {noise:.2g}, " + (
            "twice in a row" if was_calm else "for the first time"
        )
    found = f"after {runs} runs the likely regret is {regret:.2g}{against}"
    is_calm = noise is not None and regret < noise
    if is_calm and was_calm:
        return Stop(regret, noise, is_calm, True, found)
    if runs >= max_runs:
        return Stop(regret, noise, is_calm, True, f"{found}; more runs are not allowed")
    return Stop(regret, noise, is_calm, False, found)


def objective_noise(fit: Fit, weights: Floats) -> float | None:
    """Standard deviation of a run's weighted loss, pooled over repeated mixtures; None where none was repeated."""
    values = fit.losses @ weights
    runs, group = np.unique(fit.mixtures.round(9), axis=0, return_inverse=True)
    freedom = len(values) - len(runs)
    if freedom == 0:
        return None
    group = group.reshape(-1)
    means = np.bincount(group, values) / np.bincount(group)
    return float(np.sqrt(((values - means[group]) ** 2).sum() / freedom))


def farthest(pool: Floats, count: int, taken: Floats | None = None) -> NDArray[np.intp]:
    """Rows of `pool` [K, S], each in turn the farthest from all taken before it, in the square roots of the
    ratios."""
    roots = np.sqrt(pool)
    nearest = np.full(len(pool), np.inf)
    for point in np.sqrt(pool[:0] if taken is None else taken):
        nearest = np.minimum(nearest, ((roots - point) ** 2).sum(axis=1))
    chosen = np.empty(count, dtype=np.intp)
    for place in range(count):
        chosen[place] = np.argmax(nearest)
        nearest = np.minimum(nearest, ((roots - roots[chosen[place]]) ** 2).sum(axis=1))
    return chosen


class _Batch:
    """Mixtures chosen from a pool one by one; each lowers the sd around it as if it had been run."""

    def __init__(self, field: ErrorField, pool: Floats, mean: Floats, sd: Floats, runs: Floats) -> None:
        from scipy.spatial.distance import cdist

        self.field, self.pool, self.mean = field, pool, mean
        self.prior, self.sd = sd, sd.copy()
        self.factors: list[Floats] = []  # of the covariance, one column for each chosen mixture
        self.places: list[int] = []
        self.nearest = np.asarray(cdist(pool, runs, "cityblock").min(axis=1))  # L1 distance to runs and to those chosen

    def take(self, scores: Floats) -> None:
        """The mixture of lowest score that keeps apart from runs and from those chosen; the farthest if none does."""
        apart = self.nearest >= min(APART, float(self.nearest.max()))
        place = int(np.argmin(np.where(apart, scores, np.inf)))
        self.nearest = np.minimum(self.nearest, np.abs(self.pool - self.pool[place]).sum(axis=1))
        covariance = (
            self.field.correlations(self.pool, self.pool[place][None, :])[:, 0] * self.prior * self.prior[place]
        )
        for factor in self.factors:
            covariance = covariance - factor * factor[place]
        factor = covariance / np.sqrt(max(covariance[place], 1e-18))
        self.sd = np.sqrt(np.maximum(self.sd**2 - factor**2, 0.0))
        self.factors.append(factor)
        self.places.append(place)


def _incumbent(fit: Fit, weights: Floats, limits: Limits) -> Floats:
    """The run [S] within the limits (of all where none is) whose objective is predicted lowest: noise has less say in
    it than in what was measured."""
    within = limits.hold(fit.mixtures)
    runs = fit.mixtures[within] if within.any() else limits.bring(fit.mixtures)
    return np.asarray(runs[np.argmin(Objective.of(fit, weights, 0.0).values(runs)[0])])


def _corners(natural: Floats, limits: Limits, taken: Floats) -> Floats:
    """Near-vertex and leave-one-out mixtures in turn, largest source first, without those that the limits rule out or
    make equal to one taken before."""
    points = []
    for source in np.argsort(-natural, kind="stable")[: np.count_nonzero(natural)]:
        others = np.where(np.arange(len(natural)) == source, 0.0, natural)
        others /= others.sum()
        vertex = (1.0 - VERTEX_RATIO) * others
        vertex[source] = VERTEX_RATIO
        points.append(limits.bring(vertex[None, :]))
        if limits.range_of(int(source))[0] <= 0.0:
            points.append(limits.fixing(int(source), 0.0).bring(others[None, :]))
    return _fresh(np.concatenate(points), taken)


def _fresh(mixtures: Floats, taken: Floats) -> Floats:
    """Rows that equal none of `taken` and none before them: limits make sparse mixtures equal, and a mixture that is
    run twice by accident is a run lost."""
    every = np.concatenate([taken, mixtures])
    first = np.sort(np.unique(every.round(6), axis=0, return_index=True)[1])
    return np.asarray(every[first[first >= len(taken)]])


def _tempered(natural: Floats) -> Floats:
    return np.asarray(natural**TEMPER / (natural**TEMPER).sum())


def _draws(centres: Floats, strengths: tuple[float, float], count: int, rng: np.random.Generator) -> Floats:
    """Mixtures [count, S] from Dirichlet distributions around centres ([1 or count, S]), of log-uniform strength."""
    sources = centres.shape[1]
    strength = sources * np.exp(rng.uniform(np.log(strengths[0]), np.log(strengths[1]), size=(count, 1)))
    # A Dirichlet draw is a normalised row of gamma draws; the floor keeps a row of underflows divisible.
    draws = rng.gamma(strength * centres) + 1e-12
    draws /= draws.sum(axis=1, keepdims=True)
    draws[draws < SMALLEST_RATIO] = 0.0
    return np.asarray(draws / draws.sum(axis=1, keepdims=True))
