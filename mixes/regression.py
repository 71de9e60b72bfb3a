"""Loss of a proxy as a function of its mixture, one model per metric, and honest evidence of how well it
predicts.

Metrics are modelled one by one and summed afterwards: with 64 runs of RegMix, fitting the average of 13
domains directly gives a rank correlation of 0.88 (Gaussian process) or 0.56 (law), the sum of the fits
0.975.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mixes.boosting import FEWEST_RUNS as FEWEST_BOOSTED_RUNS
from mixes.boosting import boosted
from mixes.gaussian_process import GaussianProcesses, Kernel, fit_process
from mixes.power_law import PowerLaw, PowerLaws, fit_power_law, left_out
from mixes.stack import shares
from mixes.threads import one_blas_thread

Floats = NDArray[np.float64]

ERROR_CORRELATION = 0.15
"""Between the errors of two metrics at one mixture. On RegMix the mean of 13 metrics, predicted from 32 and 64
runs, errs by 0.40 and 0.51 of the sd that a correlation of 1 gives and 1.3 and 1.7 of that for 0; 0.08 and 0.19
would fit."""

REFITS = 20
"""Bootstrap refits behind every interval."""

FEWEST_RUNS = 8
REGION = 0.2  # share of the runs in a region that is left out

REGION_WEIGHT = 0.25
"""Of a run in a region left out when families are weighed against each other, beside 1 of a run left out alone."""

CURVE_POINTS = 5  # of a learning curve
FORMAT = 3
LAWS = {"power_law": False, "exponent_law": True}  # has a law exponents of its own for each source?
STACKED = ("gp", *LAWS)


FOLDS = 5  # of the cross-validation

Fitted = Callable[[], None]
"""Called after each fit of a metric to some runs: what nearly all of the time goes into."""


def untold() -> None:
    """For a caller who does not count the fits."""


class BadRunsError(ValueError):
    """A table of runs that cannot be fitted; the message names the row and what to do."""


@dataclass(frozen=True)
class Refit:
    """One bootstrap draw of the runs: how often each row was drawn, and each metric's laws refitted to the
    draw."""

    counts: Floats  # [N]
    laws: dict[str, tuple[PowerLaw, ...]]  # by family: [M]


@dataclass(frozen=True)
class Fit:
    """Models of M metrics fitted on N runs. Rows are kept sorted, so that the order of the runs changes
    nothing."""

    metrics: list[str]
    mixtures: Floats  # [N, S]
    losses: Floats  # [N, M]
    trust: Floats  # [N, M], see gaussian_process.fit_process
    kernels: tuple[Kernel, ...]  # [M]
    laws: dict[str, tuple[PowerLaw, ...]]  # by family: [M]
    shares: dict[str, Floats]  # by family: [M], in sum 1
    refits: tuple[Refit, ...]

    @one_blas_thread()
    def predict(self, mixtures: Floats) -> tuple[Floats, Floats]:
        """Mean and standard deviation, both [K, M], of the metrics at mixtures [K, S] (a run's own noise
        left out)."""
        return self.surrogate().predict(mixtures)

    def surrogate(self, refit: Refit | None = None, metrics: Sequence[int] | None = None) -> Surrogate:
        """Models ready to be evaluated: of all runs or one bootstrap draw of them, of all metrics or some."""
        surrogate = self._whole
        if metrics is not None and list(metrics) != list(range(len(self.metrics))):
            surrogate = surrogate.of(metrics)
        if refit is None:
            return surrogate
        chosen = range(len(self.metrics)) if metrics is None else metrics
        laws = {family: tuple(by_metric[m] for m in chosen) for family, by_metric in refit.laws.items()}
        return Surrogate(surrogate.processes.drawn(refit.counts), _ready(laws), surrogate.shares)

    @cached_property
    def _whole(self) -> Surrogate:
        return Surrogate(
            GaussianProcesses(self.kernels, self.mixtures, self.losses, self.trust),
            _ready(self.laws),
            np.stack([self.shares[family] for family in STACKED]),
        )

    def to_json(self) -> str:
        """The fit as JSON; `from_json` restores one with the same predictions to the last bit."""
        return json.dumps(
            {
                "format": FORMAT,
                "metrics": self.metrics,
                "mixtures": self.mixtures.tolist(),
                "losses": self.losses.tolist(),
                "trust": self.trust.tolist(),
                "kernels": [
                    {"lengths": k.lengths.tolist(), "matern": k.matern, "linear": k.linear, "noise": k.noise}
                    for k in self.kernels
                ],
                "laws": _laws_to_plain(self.laws),
                "shares": {family: row.tolist() for family, row in self.shares.items()},
                "refits": [{"counts": r.counts.tolist(), "laws": _laws_to_plain(r.laws)} for r in self.refits],
            }
        )

    @classmethod
    def from_json(cls, text: str) -> Fit:
        """Raises ValueError for a text of another format."""
        plain = json.loads(text)
        if not isinstance(plain, dict) or plain.get("format") != FORMAT:
            raise ValueError(f"not a stored fit of format {FORMAT}; fit the runs again")
        mixtures, losses, trust = (np.array(plain[name], dtype=np.float64) for name in ("mixtures", "losses", "trust"))
        return cls(
            metrics=plain["metrics"],
            mixtures=mixtures,
            losses=losses,
            trust=trust,
            kernels=tuple(
                Kernel(np.array(k["lengths"], dtype=np.float64), k["matern"], k["linear"], k["noise"])
                for k in plain["kernels"]
            ),
            laws=_laws_from_plain(plain["laws"]),
            shares={family: np.array(row, dtype=np.float64) for family, row in plain["shares"].items()},
            refits=tuple(
                Refit(np.array(r["counts"], dtype=np.float64), _laws_from_plain(r["laws"])) for r in plain["refits"]
            ),
        )


@dataclass(frozen=True)
class Surrogate:
    """The families of every metric, conditioned on runs.

    A metric's mean is the blend of the families by their shares. Its variance is the process's posterior variance plus
    the variance between the families: the sum of share x (family - mean)^2.
    """

    processes: GaussianProcesses
    laws: tuple[PowerLaws, ...]
    shares: Floats  # [families, M]: of the process, then of the laws

    def of(self, metrics: Sequence[int]) -> Surrogate:
        """That of some metrics."""
        chosen = list(metrics)
        laws = tuple(PowerLaws([law.laws[m] for m in chosen]) for law in self.laws)
        return Surrogate(self.processes.of(chosen), laws, self.shares[:, chosen])

    def means(self, mixtures: Floats) -> Floats:
        """As `predict`, without the standard deviations, in a part of its time."""
        return self._blend(self.processes.means(mixtures), mixtures)[0]

    def predict(self, mixtures: Floats) -> tuple[Floats, Floats]:
        """Mean and standard deviation, both [K, M], at mixtures [K, S]."""
        process, variances = self.processes.predict(mixtures)
        means, between = self._blend(process, mixtures)
        return means, np.sqrt(variances + between)

    def _blend(self, process: Floats, mixtures: Floats) -> tuple[Floats, Floats]:
        """Means and variances between the families, both [K, M], given the predictions of the process."""
        families = np.stack([process, *(laws.predict(mixtures) for laws in self.laws)])
        shares = self.shares[:, None, :]
        means = (shares * families).sum(axis=0)
        return means, (shares * (families - means) ** 2).sum(axis=0)

    def objective(self, mixture: Floats, weights: Floats) -> tuple[float, float, Floats, Floats]:
        """Weighted sum of the metrics at one mixture [S]: its mean, its sd, and their derivatives [S]."""
        process, variances, process_slopes, variance_slopes = self.processes.gradient(mixture)
        by_law = [laws.gradient(mixture) for laws in self.laws]
        families = np.stack([process, *(values for values, _ in by_law)])
        slopes = np.stack([process_slopes, *(slopes for _, slopes in by_law)])  # [families, M, S]
        means = (self.shares * families).sum(axis=0)
        apart = self.shares * (families - means)
        deviations = np.sqrt(variances + (apart * (families - means)).sum(axis=0))
        deviation_slopes = (variance_slopes + 2.0 * (apart[:, :, None] * slopes).sum(axis=0)) / (
            2.0 * deviations[:, None]
        )
        weighted = weights * deviations
        sd = objective_sd(deviations, weights)
        together = ERROR_CORRELATION * weighted.sum() + (1 - ERROR_CORRELATION) * weighted
        return (
            float(weights @ means),
            sd,
            weights @ (self.shares[:, :, None] * slopes).sum(axis=0),
            (weights * together / sd) @ deviation_slopes,
        )


def objective_sd(deviations: Floats, weights: Floats) -> float:
    """Standard deviation of a weighted sum of metrics with sds [M] and errors correlated by
    ERROR_CORRELATION."""
    return float(objective_sds(deviations[None, :], weights)[0])


def objective_sds(deviations: Floats, weights: Floats) -> Floats:
    """`objective_sd` [K] of each row of sds [K, M]."""
    weighted = weights * deviations
    together, apart = weighted.sum(axis=1) ** 2, (weighted**2).sum(axis=1)
    return np.asarray(np.sqrt(ERROR_CORRELATION * together + (1 - ERROR_CORRELATION) * apart))


@one_blas_thread()
def fit(mixtures: Floats, losses: Floats, metrics: list[str], seed: int, fitted: Fitted = untold) -> Fit:
    """Fit every metric (lower is better) of N runs: losses [N, M] at mixtures [N, S]. `fitted` is called M times.

    Raises BadRunsError for rows that are not finite, rows that do not sum to 1, and too few runs.
    """
    mixtures, losses = _checked(mixtures, losses, metrics)
    order = _order(mixtures, losses)
    mixtures, losses = mixtures[order], losses[order]
    models = []
    for metric, column in enumerate(losses.T):
        models.append(_metric_fit(mixtures, column, [seed, metric]))
        fitted()
    rng = np.random.default_rng(seed)
    refits = []
    for _ in range(REFITS):
        drawn = rng.integers(0, len(mixtures), len(mixtures))
        counts = np.bincount(drawn, minlength=len(mixtures)).astype(np.float64)
        refits.append(Refit(counts, _by_law([model.refitted(mixtures, counts) for model in models])))
    return Fit(
        metrics=list(metrics),
        mixtures=mixtures,
        losses=losses,
        trust=np.column_stack([model.trust for model in models]),
        kernels=tuple(model.kernel for model in models),
        laws=_by_law([model.laws for model in models]),
        shares={family: np.array([model.shares[family] for model in models]) for family in STACKED},
        refits=tuple(refits),
    )


@dataclass(frozen=True)
class _MetricFit:
    """All that is fitted for one metric."""

    losses: Floats  # [N]
    kernel: Kernel
    trust: Floats  # [N]
    laws: dict[str, PowerLaw]
    shares: dict[str, float]

    def refitted(self, mixtures: Floats, counts: Floats) -> dict[str, PowerLaw]:
        """The laws, refitted to rows counted so often."""
        return _laws(mixtures, self.losses, counts * self.trust, self.laws)


def _metric_fit(mixtures: Floats, losses: Floats, seed: list[int]) -> _MetricFit:
    """Families and their shares, these by what each family predicts of runs left out: single runs, and whole regions
    (the fifth of the mixtures farthest from their mean, and the fifth of lowest loss)."""
    kernel, trust = fit_process(mixtures, losses, np.random.default_rng(seed))
    laws = _laws(mixtures, losses, trust)
    process = GaussianProcesses([kernel], mixtures, losses[:, None], trust[:, None])
    observed, weights = [losses], [trust]
    predicted = [
        {"gp": process.left_out()[:, 0]}
        | {family: left_out(law, mixtures, losses, trust) for family, law in laws.items()}
    ]
    for region in (_far(mixtures), _lowest(mixtures, losses)):
        if region.all():  # runs of one mixture alone
            continue
        others = _laws(mixtures[~region], losses[~region], trust[~region], laws)
        observed.append(losses[region])
        weights.append(REGION_WEIGHT * trust[region])
        predicted.append(
            {"gp": process.without(region, 0)}
            | {family: law.predict(mixtures[region]) for family, law in others.items()}
        )
    return _MetricFit(losses, kernel, trust, laws, shares(observed, predicted, weights))


def _laws(
    mixtures: Floats, losses: Floats, counts: Floats, start: Mapping[str, PowerLaw] | None = None
) -> dict[str, PowerLaw]:
    rows = counts > 0
    return {
        family: fit_power_law(
            mixtures[rows],
            losses[rows],
            counts[rows],
            has_exponents=has_exponents,
            start=None if start is None else start[family],
        )
        for family, has_exponents in LAWS.items()
    }


def _ready(laws: Mapping[str, tuple[PowerLaw, ...]]) -> tuple[PowerLaws, ...]:
    return tuple(PowerLaws(laws[family]) for family in LAWS)


def _by_law(models: Sequence[Mapping[str, PowerLaw]]) -> dict[str, tuple[PowerLaw, ...]]:
    return {family: tuple(laws[family] for laws in models) for family in LAWS}


def _far(mixtures: Floats) -> NDArray[np.bool_]:
    """The share REGION of the rows whose mixtures lie farthest from their mean."""
    return _lowest(mixtures, -((np.sqrt(mixtures) - np.sqrt(mixtures).mean(axis=0)) ** 2).sum(axis=1))


def _lowest(mixtures: Floats, values: Floats) -> NDArray[np.bool_]:
    """The share REGION of the rows with the lowest values [N], and all repeats of their mixtures."""
    groups = _groups(mixtures)
    return np.isin(groups, groups[np.argsort(values, kind="stable")[: max(1, round(REGION * len(values)))]])


@dataclass(frozen=True)
class Evidence:
    """How well runs left out of a fit are predicted. Rows are in the caller's order."""

    metrics: list[str]
    left_out: dict[str, Floats]  # by family: [N, M], each row predicted by models that never saw its mixture
    spearman: dict[str, Floats]  # by family: [M], rank correlation of left-out predictions with losses
    rmse: dict[str, Floats]  # by family: [M], in the metric's unit
    region_rmse: dict[str, Floats]  # by family: [M], of the best and of the farthest mixtures, by fits without them
    weights: dict[str, Floats]  # by family in the stack: [M], in sum 1, mean over the folds
    noise: Floats | None  # [M], sd of a run over repeats of the same mixture; None where no mixture was repeated


@one_blas_thread()
def cross_validate(
    mixtures: Floats, losses: Floats, metrics: list[str], seed: int, folds: int = FOLDS, fitted: Fitted = untold
) -> Evidence:
    """Predict every run from the others, fold by fold; arguments and errors as in `fit`.

    Runs of one mixture share a fold, so that no prediction is a look-up, and everything is fitted anew in
    every fold, shares of the families too. Families: "gp", "power_law" and "exponent_law"; "stack", their blend, which
    `Fit.predict` gives; and beside them "linear" and, above 200 runs, "lightgbm". `fitted` is called
    (folds + 2) M times.
    """
    mixtures, losses = _checked(mixtures, losses, metrics)
    order = _order(mixtures, losses)
    sorted_mixtures, sorted_losses = mixtures[order], losses[order]
    groups = _groups(sorted_mixtures)
    if groups.max() + 1 < folds:
        raise BadRunsError(f"{groups.max() + 1} different mixtures cannot be split into {folds} folds; train more")
    shuffled = np.random.default_rng(seed).permutation(groups.max() + 1)
    fold_of = (shuffled % folds)[groups]

    has_boosting = len(mixtures) >= FEWEST_BOOSTED_RUNS
    predictions: dict[str, Floats] = {}
    blends = []
    for fold in range(folds):
        test = fold_of == fold
        predicted, blend = _by_family(
            sorted_mixtures[~test], sorted_losses[~test], sorted_mixtures[test], [seed, fold], has_boosting, fitted
        )
        blends.append(blend)
        for family, values in predicted.items():
            predictions.setdefault(family, np.empty_like(losses))[order[test]] = values
    return Evidence(
        metrics=list(metrics),
        left_out=predictions,
        spearman={family: rank_correlation(values, losses) for family, values in predictions.items()},
        rmse={family: np.sqrt(((values - losses) ** 2).mean(axis=0)) for family, values in predictions.items()},
        region_rmse=_region_rmse(sorted_mixtures, sorted_losses, seed, has_boosting, fitted),
        weights={family: np.mean([blend[family] for blend in blends], axis=0) for family in STACKED},
        noise=_noise(sorted_losses, groups),
    )


def _by_family(
    seen: Floats, losses: Floats, asked: Floats, seed: list[int], has_boosting: bool = False, fitted: Fitted = untold
) -> tuple[dict[str, Floats], dict[str, Floats]]:
    """By family, predictions [K, M] at the mixtures asked, of fits to those seen alone; and the shares [M] of the
    families in the stack."""
    from sklearn.linear_model import LinearRegression

    models = []
    for metric, target in enumerate(losses.T):
        models.append(_metric_fit(seen, target, [*seed, metric]))
        fitted()
    trust = np.column_stack([model.trust for model in models])
    predicted = {"gp": GaussianProcesses([model.kernel for model in models], seen, losses, trust).predict(asked)[0]}
    for family, laws in _by_law([model.laws for model in models]).items():
        predicted[family] = PowerLaws(laws).predict(asked)
    blend = {family: np.array([model.shares[family] for model in models]) for family in STACKED}
    predicted["stack"] = np.sum([blend[family] * predicted[family] for family in STACKED], axis=0)
    predicted["linear"] = LinearRegression().fit(seen, losses).predict(asked)
    if has_boosting:
        predicted["lightgbm"] = np.column_stack([boosted(seen, target, asked) for target in losses.T])
    return predicted, blend


def _region_rmse(mixtures: Floats, losses: Floats, seed: int, has_boosting: bool, fitted: Fitted) -> dict[str, Floats]:
    """By family, the error [M] where nothing near was trained: the fifth of the mixtures that lies farthest from their
    mean, and for each metric the fifth with the lowest losses, each predicted by fits to the others."""
    far = _far(mixtures)
    held, _ = _by_family(mixtures[~far], losses[~far], mixtures[far], [seed, 1], has_boosting, fitted)
    squares = {family: ((values - losses[far]) ** 2).mean(axis=0) / 2 for family, values in held.items()}
    for metric, column in enumerate(losses.T):
        best = _lowest(mixtures, column)
        held, _ = _by_family(mixtures[~best], column[~best, None], mixtures[best], [seed, 2], has_boosting, fitted)
        for family, values in held.items():
            squares[family][metric] += ((values[:, 0] - column[best]) ** 2).mean() / 2
    return {family: np.sqrt(both) for family, both in squares.items()}


def learning_curve(
    mixtures: Floats, losses: Floats, metrics: list[str], weights: Floats, seed: int
) -> list[dict[str, float]]:
    """Rank correlation of the weighted objective on runs left out, of fits to ever more runs (drawn at random):
    rows of runs, stack, linear. Tells whether more runs would still help."""
    mixtures, losses = _checked(mixtures, losses, metrics)
    order = np.random.default_rng(seed).permutation(len(mixtures))
    test, rest = order[: max(4, len(order) // 4)], order[max(4, len(order) // 4) :]
    counts = np.unique(np.linspace(max(FEWEST_RUNS, mixtures.shape[1] + 1), len(rest), CURVE_POINTS).astype(int))
    measured = (losses[test] @ weights)[:, None]
    rows = []
    for count in counts[counts <= len(rest)]:
        predicted, _ = _by_family(mixtures[rest[:count]], losses[rest[:count]], mixtures[test], [seed, 3])
        ranks = {
            name: float(rank_correlation((predicted[name] @ weights)[:, None], measured)[0])
            for name in ("stack", "linear")
        }
        rows.append({"runs": int(count), **ranks})
    return rows


def rank_correlation(predicted: Floats, observed: Floats) -> Floats:
    """Spearman's rank correlation [M] of columns [N, M]; 0 where a column does not vary, as it then ranks
    nothing."""
    from scipy.stats import rankdata

    a, b = rankdata(predicted, axis=0), rankdata(observed, axis=0)
    a, b = a - a.mean(axis=0), b - b.mean(axis=0)
    spread = np.sqrt((a**2).sum(axis=0) * (b**2).sum(axis=0))
    return np.asarray(np.divide((a * b).sum(axis=0), spread, out=np.zeros(a.shape[1]), where=spread > 0))


def _checked(mixtures: Floats, losses: Floats, metrics: list[str]) -> tuple[Floats, Floats]:
    mixtures, losses = np.asarray(mixtures, dtype=np.float64), np.asarray(losses, dtype=np.float64)
    if mixtures.ndim != 2 or losses.shape != (len(mixtures), len(metrics)):
        raise BadRunsError(
            f"mixtures {mixtures.shape} and losses {losses.shape} are not [N, S] and [N, {len(metrics)}]"
        )
    broken = np.flatnonzero(~(np.isfinite(mixtures).all(axis=1) & np.isfinite(losses).all(axis=1)))
    if len(broken):
        raise BadRunsError(f"rows {broken.tolist()} hold values that are not finite (diverged runs?); leave them out")
    if (mixtures < 0).any():
        raise BadRunsError(f"rows {np.flatnonzero((mixtures < 0).any(axis=1)).tolist()} hold negative ratios")
    off = np.flatnonzero(np.abs(mixtures.sum(axis=1) - 1.0) > 1e-6)
    if len(off):
        raise BadRunsError(f"the ratios of rows {off.tolist()} do not sum to 1; renormalise them")
    fewest = max(FEWEST_RUNS, mixtures.shape[1] + 1)
    if len(mixtures) < fewest:
        raise BadRunsError(f"{len(mixtures)} runs are too few for {mixtures.shape[1]} sources; train at least {fewest}")
    if (mixtures.round(9) == mixtures[0].round(9)).all():
        raise BadRunsError("all runs are of one mixture: they say nothing about others; train different ones")
    return mixtures, losses


def _order(mixtures: Floats, losses: Floats) -> NDArray[np.intp]:
    return np.lexsort(np.concatenate([losses.T[::-1], mixtures.T[::-1]]))


def _groups(mixtures: Floats) -> NDArray[np.intp]:
    """For each row [N] the number of its mixture, counting different mixtures."""
    return np.unique(mixtures.round(9), axis=0, return_inverse=True)[1].reshape(-1)


def _noise(losses: Floats, groups: NDArray[np.intp]) -> Floats | None:
    """Standard deviation of a run [M], pooled over all mixtures that were run more than once."""
    runs = np.bincount(groups)
    freedom = len(groups) - len(runs)
    if freedom == 0:
        return None
    sums = np.zeros((len(runs), losses.shape[1]))
    np.add.at(sums, groups, losses)
    return np.asarray(np.sqrt(((losses - (sums / runs[:, None])[groups]) ** 2).sum(axis=0) / freedom))


def _laws_to_plain(laws: Mapping[str, tuple[PowerLaw, ...]]) -> dict[str, Any]:
    return {
        family: [{"logs": law.logs.tolist(), "centre": law.centre, "scale": law.scale} for law in by_metric]
        for family, by_metric in laws.items()
    }


def _laws_from_plain(plain: dict[str, Any]) -> dict[str, tuple[PowerLaw, ...]]:
    return {
        family: tuple(
            PowerLaw(np.array(law["logs"], dtype=np.float64), law["centre"], law["scale"], has_exponents)
            for law in plain[family]
        )
        for family, has_exponents in LAWS.items()
    }
