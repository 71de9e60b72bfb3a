"""From proxies to the target: how much of each metric's differences between mixtures is left at a larger size.

Between a smaller and a larger model a metric moves as y_larger = a + s y_smaller over mixtures, with a slope s of
its own: on RegMix's runs from 0.19 to 1.06 for 13 domains. An objective summed with the proxies' differences
therefore ranks large runs worse (0.75) than each metric does alone (0.95); summed with the slopes it reaches 0.84.

The slope is taken as a power of the size ratio, so slopes measured between N_0 and N_1 reach the target N_T as
s**k with k = log(N_T / N_0) / log(N_1 / N_0). N counts the parameters of the trunk alone: an embedding and an output
head grow with the vocabulary and dominate a small proxy (12.9M of the 14.2M weights of RegMix's "1M"), so that
totals would make a sixtyfold step look like a fifth of it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    pass

Floats = NDArray[np.float64]

CONFIRMED_AGREEMENT = 0.9
"""Rank agreement of the objective between two sizes that the low end of its interval must reach."""

INTERVAL = (10.0, 90.0)
"""Percentiles over resampled pairs, as for the intervals of the optimum."""

RESAMPLES = 500
FEWEST_PAIRS = 4
"""Runs of a larger size, on different mixtures, from which slopes are estimated."""

FEWEST_PAIRS_FOR_VERDICT = 8
"""A rank correlation of fewer pairs is decided by one of them."""

SLOPE_RANGE = (0.05, 1.5)
"""Slopes are clipped to it. Measured ones of sound metrics lie between 0.19 and 1.06; a metric that turned its
sign with size would be no reason to train for its opposite."""

EXTRAPOLATED_RANGE = (0.01, 2.0)

DRIFT = 0.15
"""Standard deviation of log(slope at the target) for each unit of the exponent beyond 1: slopes are no exact power
of the size. It decides how far runs near the target's size outweigh the proxies' pairs."""

LEAST_RELIABILITY = 0.3
"""Share of the variance of the smaller runs that is not noise, as the slope is divided by it; below, the metric is
noise and its slope would explode."""


@dataclass(frozen=True)
class Sizes:
    """Parameters of the trunk (without embedding and output head) of the proxies and of the target."""

    base: int
    second: int
    target: int

    def __post_init__(self) -> None:
        if not 0 < self.base < self.second:
            raise ValueError(f"the second size ({self.second}) must be larger than the base size ({self.base})")
        if self.target < self.base:
            raise ValueError(f"the target ({self.target} parameters) is smaller than the proxies ({self.base})")

    def exponent(self, measured: int) -> float:
        """Power that takes a slope between the base and a `measured` size to the target."""
        return float(np.log(self.target / self.base) / np.log(measured / self.base))


@dataclass(frozen=True)
class LoggedRuns:
    """Runs of one larger size and the same mixtures at the base size."""

    parameters: int  # of the trunk
    base: Floats  # [L, M], measured, or predicted by the fit
    values: Floats  # [L, M], measured
    noise: Floats | None = None  # [M], sd of a measured base run; None where `base` is predicted


@dataclass(frozen=True)
class Agreement:
    """How the smaller runs rank the larger ones of one size: Spearman's correlation, with intervals over resampled
    pairs."""

    parameters: int
    pairs: int
    metrics: Floats  # [M]
    intervals: Floats  # [2, M]
    objective: float  # of the objective summed with slopes that the pair ranked had no part in
    interval: tuple[float, float]
    plain: float  # of the objective summed without slopes


@dataclass(frozen=True)
class Transfer:
    """Slopes of M metrics and what they rest on."""

    sizes: Sizes
    slopes: Floats  # [M], from base to second size, shrunken towards the pooled slope and clipped
    slope_sds: Floats  # [M]
    pooled_slope: float
    extrapolated: Floats  # [M], from base size to the target: what the objective is summed with
    extrapolated_sds: Floats  # [M]
    agreements: tuple[Agreement, ...]  # by size, the second size first
    confirmed: bool
    verdict: str
    runs: tuple[LoggedRuns, ...]  # by size, the second size first

    @property
    def exponent(self) -> float:
        return self.sizes.exponent(self.sizes.second)

    def to_plain(self) -> dict[str, Any]:
        """For JSON; `from_plain` restores it."""
        return {
            "sizes": [self.sizes.base, self.sizes.second, self.sizes.target],
            "slopes": self.slopes.tolist(),
            "slope_sds": self.slope_sds.tolist(),
            "pooled_slope": self.pooled_slope,
            "extrapolated": self.extrapolated.tolist(),
            "extrapolated_sds": self.extrapolated_sds.tolist(),
            "agreements": [
                {**vars(a), "metrics": a.metrics.tolist(), "intervals": a.intervals.tolist()} for a in self.agreements
            ],
            "confirmed": self.confirmed,
            "verdict": self.verdict,
            "runs": [
                {
                    "parameters": runs.parameters,
                    "base": runs.base.tolist(),
                    "values": runs.values.tolist(),
                    "noise": None if runs.noise is None else runs.noise.tolist(),
                }
                for runs in self.runs
            ],
        }

    def weighed(self, weights: Floats, seed: int) -> Transfer:
        """The same slopes, with the agreement and the verdict for an objective of other weights [M]."""
        agreements, confirmed, verdict = _judged(self.runs, self.sizes, weights, seed)
        return replace(self, agreements=agreements, confirmed=confirmed, verdict=verdict)

    @classmethod
    def from_plain(cls, plain: dict[str, Any]) -> Transfer:
        arrays = ("slopes", "slope_sds", "extrapolated", "extrapolated_sds")
        runs = tuple(
            LoggedRuns(
                r["parameters"],
                np.array(r["base"]),
                np.array(r["values"]),
                None if r["noise"] is None else np.array(r["noise"]),
            )
            for r in plain["runs"]
        )
        agreements = tuple(
            Agreement(
                **{
                    **a,
                    "metrics": np.array(a["metrics"]),
                    "intervals": np.array(a["intervals"]),
                    "interval": tuple(a["interval"]),
                }
            )
            for a in plain["agreements"]
        )
        return cls(
            **{
                **plain,
                "sizes": Sizes(*plain["sizes"]),
                "agreements": agreements,
                "runs": runs,
                **{name: np.array(plain[name], dtype=np.float64) for name in arrays},
            }
        )


def fit_transfer(
    base: Floats,
    second: Floats,
    sizes: Sizes,
    weights: Floats,
    seed: int,
    larger: Sequence[LoggedRuns] = (),
    noise: Floats | None = None,
) -> Transfer:
    """Slopes from the metrics [P, M] of P mixtures at the base and the second size, and from larger runs if any.

    `noise` [M] is the sd of a single base run of the pairs: noise in the smaller runs flattens a regression on them,
    and the slope is divided by the share of their variance that is signal. Leave it out where `base` is a fit's
    prediction at these mixtures, whose noise is smoothed away.
    Larger runs are mapped to the target by their own, smaller exponent and weigh the more the nearer they are to it
    (see DRIFT). `weights` [M] are those of the objective, of which the agreement is stated.
    Raises ValueError for fewer than FEWEST_PAIRS pairs or mixtures of any size, and for sizes in the wrong order.
    """
    base, second = np.asarray(base, dtype=np.float64), np.asarray(second, dtype=np.float64)
    by_size = [LoggedRuns(sizes.second, base, second, noise), *sorted(larger, key=lambda runs: runs.parameters)]
    for runs in by_size:
        _check(runs, sizes, len(weights))
    estimates = [_slopes(runs.base, runs.values, runs.noise) for runs in by_size]

    logs, precisions = [], []
    for runs, found in zip(by_size, estimates, strict=True):
        k = sizes.exponent(runs.parameters)
        slopes = np.clip(found.slopes, *SLOPE_RANGE)
        logs.append(k * np.log(slopes))
        precisions.append(1.0 / ((k * found.sds / slopes) ** 2 + (DRIFT * (k - 1.0)) ** 2 + 1e-6))
    total = np.sum(precisions, axis=0)
    extrapolated = np.exp(np.sum(np.multiply(logs, precisions), axis=0) / total)

    agreements, confirmed, verdict = _judged(by_size, sizes, weights, seed)
    return Transfer(
        sizes=sizes,
        slopes=np.clip(estimates[0].slopes, *SLOPE_RANGE),
        slope_sds=estimates[0].sds,
        pooled_slope=estimates[0].pooled,
        extrapolated=np.clip(extrapolated, *EXTRAPOLATED_RANGE),
        extrapolated_sds=extrapolated / np.sqrt(total),
        agreements=agreements,
        confirmed=confirmed,
        verdict=verdict,
        runs=tuple(by_size),
    )


def _judged(
    by_size: Sequence[LoggedRuns], sizes: Sizes, weights: Floats, seed: int
) -> tuple[tuple[Agreement, ...], bool, str]:
    rng = np.random.default_rng(seed)
    weights = np.asarray(weights, dtype=np.float64) / np.sum(weights)
    agreements = tuple(_agreement(runs, weights, rng) for runs in by_size)
    return agreements, *_verdict(agreements, sizes)


def _check(runs: LoggedRuns, sizes: Sizes, metrics: int) -> None:
    if runs.base.shape != runs.values.shape or runs.values.ndim != 2 or runs.values.shape[1] != metrics:
        raise ValueError(
            f"runs of {runs.parameters} parameters: {runs.base.shape} base and {runs.values.shape} larger values are "
            f"not [pairs, {metrics}] both"
        )
    if not (np.isfinite(runs.base).all() and np.isfinite(runs.values).all()):
        raise ValueError(f"runs of {runs.parameters} parameters hold values that are not finite; leave them out")
    if runs.parameters <= sizes.base:
        raise ValueError(f"runs of {runs.parameters} parameters are not larger than the base size, {sizes.base}")
    if len(runs.base) < FEWEST_PAIRS:
        raise ValueError(
            f"{len(runs.base)} mixtures at {runs.parameters} parameters are too few for slopes; "
            f"log at least {FEWEST_PAIRS}"
        )


@dataclass(frozen=True)
class _Slopes:
    slopes: Floats  # [M], shrunken
    sds: Floats  # [M]
    pooled: float


def _slopes(base: Floats, larger: Floats, noise: Floats | None) -> _Slopes:
    """Least squares per metric, corrected for noise in `base`, then shrunken to the pooled slope.

    The shrinkage is empirical Bayes: slopes of metrics vary around the pooled one by a variance estimated from the
    metrics themselves (DerSimonian and Laird 1986), and each estimate is weighed against it by its own error.
    """
    x, y = base - base.mean(axis=0), larger - larger.mean(axis=0)
    squares = (x**2).sum(axis=0)
    varies = squares > 1e-18
    safe = np.where(varies, squares, 1.0)
    raw = (x * y).sum(axis=0) / safe
    residual = ((y - raw * x) ** 2).sum(axis=0) / (len(x) - 2)
    # A line through a few points can be exact by chance: no residual is taken for smaller than a fifth of the typical.
    share = residual / np.maximum((y**2).sum(axis=0) / (len(x) - 1), 1e-18)
    residual = residual * np.maximum(1.0, 0.2 * np.median(share) / np.maximum(share, 1e-12))
    reliability = np.ones(len(raw))
    if noise is not None:
        reliability = np.clip(1.0 - noise**2 / (safe / (len(x) - 1)), LEAST_RELIABILITY, 1.0)
    slopes = raw / reliability
    # A metric that does not vary says nothing of its slope.
    variances = np.where(varies, np.maximum(residual / safe, 1e-8) / reliability**2, 1e6)
    if not varies.any():
        raise ValueError("no metric of the smaller runs varies between the paired mixtures: no slope can be seen")

    s, v = slopes[varies], variances[varies]
    w = 1.0 / v
    mean = (w * s).sum() / w.sum()
    between = 0.0
    if len(s) > 1:
        excess = (w * (s - mean) ** 2).sum() - (len(s) - 1)
        between = max(excess / (w.sum() - (w**2).sum() / w.sum()), 0.0)
    w = 1.0 / (v + between)
    pooled = float((w * s).sum() / w.sum())
    pooled_variance = 1.0 / w.sum()
    trust = between / (between + variances)
    return _Slopes(
        slopes=trust * slopes + (1.0 - trust) * pooled,
        sds=np.sqrt(trust * variances + (1.0 - trust) ** 2 * pooled_variance),
        pooled=pooled,
    )


def _agreement(runs: LoggedRuns, weights: Floats, rng: np.random.Generator) -> Agreement:
    measured = runs.values @ weights
    centred = runs.base - runs.base.mean(axis=0)
    expected = np.empty(len(measured))
    for pair in range(len(measured)):  # its slopes come from the others, so that none is ranked by itself
        others = np.arange(len(measured)) != pair
        slopes = np.clip(_slopes(runs.base[others], runs.values[others], runs.noise).slopes, *SLOPE_RANGE)
        expected[pair] = centred[pair] @ (slopes * weights)

    smaller = np.column_stack([runs.base, expected, runs.base @ weights])
    larger = np.column_stack([runs.values, measured, measured])
    spearman = _spearman(smaller, larger)
    rows = rng.integers(0, len(measured), (RESAMPLES, len(measured)))
    low, high = np.percentile(_spearman(smaller[rows], larger[rows]), INTERVAL, axis=0)
    metrics = len(weights)
    return Agreement(
        parameters=runs.parameters,
        pairs=len(measured),
        metrics=spearman[:metrics],
        intervals=np.stack([low[:metrics], high[:metrics]]),
        objective=float(spearman[metrics]),
        interval=(float(low[metrics]), float(high[metrics])),
        plain=float(spearman[-1]),
    )


def _spearman(left: Floats, right: Floats) -> Floats:
    """Rank correlation [..., M] of columns [..., P, M]; 0 where one does not vary."""
    from scipy.stats import rankdata

    a, b = (rankdata(columns, axis=-2) - (left.shape[-2] + 1) / 2 for columns in (left, right))
    spread = np.sqrt((a**2).sum(axis=-2) * (b**2).sum(axis=-2))
    products = (a * b).sum(axis=-2)
    return np.asarray(np.divide(products, spread, out=np.zeros_like(products), where=spread > 0))


def _verdict(agreements: tuple[Agreement, ...], sizes: Sizes) -> tuple[bool, str]:
    """Judged on the largest size that has enough pairs. The low end of the interval must reach the threshold: with
    16 pairs a true agreement of 0.85 shows 0.9 or more one time in five, and so low an end never."""
    enough = [a for a in agreements if a.pairs >= FEWEST_PAIRS_FOR_VERDICT]
    if not enough:
        return False, (
            f"open: {agreements[-1].pairs} mixtures of two sizes are too few to judge by; "
            f"train {FEWEST_PAIRS_FOR_VERDICT} or more at the second size"
        )
    judged = max(enough, key=lambda agreement: agreement.parameters)
    low, high = judged.interval
    found = (
        f"{judged.pairs} mixtures rank at {_short(sizes.base)} as at {_short(judged.parameters)} trunk parameters "
        f"with an agreement of {judged.objective:.2f} ({low:.2f} to {high:.2f})"
    )
    further = sizes.target / judged.parameters
    reach = f"; the target is {further:.0f} times larger still" if further >= 2 else ""
    if low >= CONFIRMED_AGREEMENT:
        return True, f"confirmed: {found}{reach}"
    if judged.objective >= CONFIRMED_AGREEMENT:
        return False, f"open: {found}, and so few pairs cannot rule out less than {CONFIRMED_AGREEMENT:g}{reach}"
    return False, f"doubtful: {found}, below {CONFIRMED_AGREEMENT:g}{reach}"


def _short(parameters: int) -> str:
    for unit, name in ((10**9, "B"), (10**6, "M"), (10**3, "k")):
        if parameters >= unit:
            return f"{parameters / unit:.3g}{name}"
    return str(parameters)
