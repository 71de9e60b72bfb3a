"""Loss of a proxy as a function of its mixture, one model per metric, and honest evidence of how well it
predicts.

Metrics are modelled one by one and summed afterwards: with 64 runs of RegMix, fitting the average of 13
domains directly gives a rank correlation of 0.88 (Gaussian process) or 0.56 (law), the sum of the fits
0.975.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mixes.gaussian_process import GaussianProcess, Kernel, fit_kernel
from mixes.power_law import PowerLaw, fit_power_law
from mixes.threads import one_blas_thread

Floats = NDArray[np.float64]

LAW_SHARE = 1.0 / 3.0
"""Weight of the power law in the blend. On RegMix, two thirds process and one third law ranks runs of the
same size nearly as the process alone does (0.9935 against 0.9953) and runs a thousand times larger better
(0.982 against 0.964)."""

ERROR_CORRELATION = 0.15
"""Between the errors of two metrics at one mixture. On RegMix the mean of 13 metrics, predicted from 32 and 64
runs, errs by 0.40 and 0.51 of the sd that a correlation of 1 gives and 1.3 and 1.7 of that for 0; 0.08 and 0.19
would fit."""

REFITS = 20
"""Bootstrap refits behind every interval."""

FEWEST_RUNS = 8
REGION = 0.2  # share of the runs in a region that is left out
CURVE_POINTS = 5  # of a learning curve
FORMAT = 1
FAMILIES = ("gp", "power_law", "stack", "linear")


class BadRunsError(ValueError):
    """A table of runs that cannot be fitted; the message names the row and what to do."""


@dataclass(frozen=True)
class Refit:
    """One bootstrap draw of the runs: how often each row was drawn, and each metric's law refitted to the
    draw."""

    counts: Floats  # [N]
    laws: tuple[PowerLaw, ...]  # [M]


@dataclass(frozen=True)
class Fit:
    """Models of M metrics fitted on N runs. Rows are kept sorted, so that the order of the runs changes
    nothing."""

    metrics: list[str]
    mixtures: Floats  # [N, S]
    losses: Floats  # [N, M]
    kernels: tuple[Kernel, ...]  # [M]
    laws: tuple[PowerLaw, ...]  # [M]
    refits: tuple[Refit, ...]

    @one_blas_thread()
    def predict(self, mixtures: Floats) -> tuple[Floats, Floats]:
        """Mean and standard deviation, both [K, M], of the metrics at mixtures [K, S] (a run's own noise
        left out)."""
        return self.surrogate().predict(mixtures)

    def surrogate(self, refit: Refit | None = None, metrics: Sequence[int] | None = None) -> Surrogate:
        """Models ready to be evaluated: of all runs or one bootstrap draw of them, of all metrics or some."""
        counts = np.ones(len(self.mixtures)) if refit is None else refit.counts
        laws = self.laws if refit is None else refit.laws
        chosen = range(len(self.metrics)) if metrics is None else metrics
        rows = counts > 0
        processes = tuple(
            GaussianProcess(self.kernels[m], self.mixtures[rows], self.losses[rows, m], counts[rows]) for m in chosen
        )
        return Surrogate(processes, tuple(laws[m] for m in chosen))

    def to_json(self) -> str:
        """The fit as JSON; `from_json` restores one with the same predictions to the last bit."""
        return json.dumps(
            {
                "format": FORMAT,
                "metrics": self.metrics,
                "mixtures": self.mixtures.tolist(),
                "losses": self.losses.tolist(),
                "kernels": [
                    {"lengths": k.lengths.tolist(), "matern": k.matern, "linear": k.linear, "noise": k.noise}
                    for k in self.kernels
                ],
                "laws": _laws_to_plain(self.laws),
                "refits": [{"counts": r.counts.tolist(), "laws": _laws_to_plain(r.laws)} for r in self.refits],
            }
        )

    @classmethod
    def from_json(cls, text: str) -> Fit:
        """Raises ValueError for a text of another format."""
        plain = json.loads(text)
        if not isinstance(plain, dict) or plain.get("format") != FORMAT:
            raise ValueError(f"not a stored fit of format {FORMAT}; fit the runs again")
        return cls(
            metrics=plain["metrics"],
            mixtures=np.array(plain["mixtures"], dtype=np.float64),
            losses=np.array(plain["losses"], dtype=np.float64),
            kernels=tuple(
                Kernel(np.array(k["lengths"], dtype=np.float64), k["matern"], k["linear"], k["noise"])
                for k in plain["kernels"]
            ),
            laws=_laws_from_plain(plain["laws"]),
            refits=tuple(
                Refit(np.array(r["counts"], dtype=np.float64), _laws_from_plain(r["laws"])) for r in plain["refits"]
            ),
        )


@dataclass(frozen=True)
class Surrogate:
    """Both families of every metric, conditioned on runs.

    A metric's mean is the blend of the families. Its variance is the process's posterior variance plus the
    variance between the families: w (1 - w) (process - law)^2 with w the law's share.
    """

    processes: tuple[GaussianProcess, ...]
    laws: tuple[PowerLaw, ...]

    def predict(self, mixtures: Floats) -> tuple[Floats, Floats]:
        """Mean and standard deviation, both [K, M], at mixtures [K, S]."""
        means, deviations = [], []
        for process, law in zip(self.processes, self.laws, strict=True):
            mean, variance = process.predict(mixtures)
            by_law = law.predict(mixtures)
            means.append(blended(mean, by_law))
            deviations.append(np.sqrt(variance + LAW_SHARE * (1 - LAW_SHARE) * (mean - by_law) ** 2))
        return np.column_stack(means), np.column_stack(deviations)

    def objective(self, mixture: Floats, weights: Floats) -> tuple[float, float, Floats, Floats]:
        """Weighted sum of the metrics at one mixture [S]: its mean, its sd, and their derivatives [S]."""
        means, deviations, mean_slopes, deviation_slopes = [], [], [], []
        for process, law in zip(self.processes, self.laws, strict=True):
            mean, variance, mean_slope, variance_slope = process.gradient(mixture)
            by_law, law_slope = law.gradient(mixture)
            apart = LAW_SHARE * (1 - LAW_SHARE) * (mean - by_law)
            deviation = float(np.sqrt(variance + apart * (mean - by_law)))
            means.append((1 - LAW_SHARE) * mean + LAW_SHARE * by_law)
            deviations.append(deviation)
            mean_slopes.append((1 - LAW_SHARE) * mean_slope + LAW_SHARE * law_slope)
            deviation_slopes.append((variance_slope + 2.0 * apart * (mean_slope - law_slope)) / (2.0 * deviation))
        weighted = weights * np.array(deviations)
        sd = objective_sd(np.array(deviations), weights)
        together = ERROR_CORRELATION * weighted.sum() + (1 - ERROR_CORRELATION) * weighted
        return (
            float(weights @ np.array(means)),
            sd,
            weights @ np.stack(mean_slopes),
            (weights * together / sd) @ np.stack(deviation_slopes),
        )


def objective_sd(deviations: Floats, weights: Floats) -> float:
    """Standard deviation of a weighted sum of metrics with sds [M] and errors correlated by
    ERROR_CORRELATION."""
    weighted = weights * deviations
    return float(np.sqrt(ERROR_CORRELATION * weighted.sum() ** 2 + (1 - ERROR_CORRELATION) * (weighted**2).sum()))


def blended(process: Floats, law: Floats) -> Floats:
    return (1 - LAW_SHARE) * process + LAW_SHARE * law


@one_blas_thread()
def fit(mixtures: Floats, losses: Floats, metrics: list[str], seed: int) -> Fit:
    """Fit every metric (lower is better) of N runs: losses [N, M] at mixtures [N, S].

    Raises BadRunsError for rows that are not finite, rows that do not sum to 1, and too few runs.
    """
    mixtures, losses = _checked(mixtures, losses, metrics)
    order = _order(mixtures, losses)
    mixtures, losses = mixtures[order], losses[order]
    kernels = tuple(
        fit_kernel(mixtures, column, np.random.default_rng([seed, metric])) for metric, column in enumerate(losses.T)
    )
    laws = tuple(fit_power_law(mixtures, column) for column in losses.T)
    rng = np.random.default_rng(seed)
    refits = []
    for _ in range(REFITS):
        drawn = rng.integers(0, len(mixtures), len(mixtures))
        counts = np.bincount(drawn, minlength=len(mixtures)).astype(np.float64)
        rows = counts > 0
        refitted = tuple(
            fit_power_law(mixtures[rows], losses[rows, metric], counts[rows], start=law)
            for metric, law in enumerate(laws)
        )
        refits.append(Refit(counts, refitted))
    return Fit(list(metrics), mixtures, losses, kernels, laws, tuple(refits))


@dataclass(frozen=True)
class Evidence:
    """How well runs left out of a fit are predicted. Rows are in the caller's order."""

    metrics: list[str]
    left_out: dict[str, Floats]  # by family: [N, M], each row predicted by models that never saw its mixture
    spearman: dict[str, Floats]  # by family: [M], rank correlation of left-out predictions with losses
    rmse: dict[str, Floats]  # by family: [M], in the metric's unit
    region_rmse: dict[str, Floats]  # by family: [M], of the best and of the farthest mixtures, by fits without them
    weights: dict[str, Floats]  # by family in the stack: [M], of each metric in sum 1
    noise: Floats | None  # [M], sd of a run over repeats of the same mixture; None where no mixture was repeated


@one_blas_thread()
def cross_validate(mixtures: Floats, losses: Floats, metrics: list[str], seed: int, folds: int = 5) -> Evidence:
    """Predict every run from the others, fold by fold; arguments and errors as in `fit`.

    Runs of one mixture share a fold, so that no prediction is a look-up, and kernels are fitted anew in
    every fold.
    """
    mixtures, losses = _checked(mixtures, losses, metrics)
    order = _order(mixtures, losses)
    sorted_mixtures, sorted_losses = mixtures[order], losses[order]
    groups = _groups(sorted_mixtures)
    if groups.max() + 1 < folds:
        raise BadRunsError(f"{groups.max() + 1} different mixtures cannot be split into {folds} folds; train more")
    shuffled = np.random.default_rng(seed).permutation(groups.max() + 1)
    fold_of = (shuffled % folds)[groups]

    left_out = {family: np.empty_like(losses) for family in FAMILIES}
    for fold in range(folds):
        test = fold_of == fold
        predicted = _by_family(sorted_mixtures[~test], sorted_losses[~test], sorted_mixtures[test], [seed, fold])
        for family, values in predicted.items():
            left_out[family][order[test]] = values
    return Evidence(
        metrics=list(metrics),
        left_out=left_out,
        spearman={family: rank_correlation(left_out[family], losses) for family in FAMILIES},
        rmse={family: np.sqrt(((left_out[family] - losses) ** 2).mean(axis=0)) for family in FAMILIES},
        region_rmse=_region_rmse(sorted_mixtures, sorted_losses, groups, seed),
        weights={
            "gp": np.full(len(metrics), 1.0 - LAW_SHARE),
            "power_law": np.full(len(metrics), LAW_SHARE),
        },
        noise=_noise(sorted_losses, groups),
    )


def _by_family(seen: Floats, losses: Floats, asked: Floats, seed: list[int]) -> dict[str, Floats]:
    """By family, predictions [K, M] at the mixtures asked, of fits to those seen alone."""
    predicted = {family: np.empty((len(asked), losses.shape[1])) for family in FAMILIES}
    predicted["linear"] = asked @ np.linalg.lstsq(seen, losses, rcond=None)[0]
    for metric, target in enumerate(losses.T):
        kernel = fit_kernel(seen, target, np.random.default_rng([*seed, metric]))
        process = GaussianProcess(kernel, seen, target).predict(asked)[0]
        law = fit_power_law(seen, target).predict(asked)
        predicted["gp"][:, metric] = process
        predicted["power_law"][:, metric] = law
        predicted["stack"][:, metric] = blended(process, law)
    return predicted


def _region_rmse(mixtures: Floats, losses: Floats, groups: NDArray[np.intp], seed: int) -> dict[str, Floats]:
    """By family, the error [M] where nothing near was trained: the fifth of the mixtures that lies farthest from their
    mean, and for each metric the fifth with the lowest losses, each predicted by fits to the others."""
    away = ((np.sqrt(mixtures) - np.sqrt(mixtures).mean(axis=0)) ** 2).sum(axis=1)
    far = away >= np.quantile(away, 1.0 - REGION)
    squares = {family: np.zeros(losses.shape[1]) for family in FAMILIES}
    for family, values in _by_family(mixtures[~far], losses[~far], mixtures[far], [seed, 1]).items():
        squares[family] += ((values - losses[far]) ** 2).mean(axis=0) / 2
    for metric, column in enumerate(losses.T):
        best = np.isin(groups, groups[column <= np.quantile(column, REGION)])
        held = _by_family(mixtures[~best], column[~best, None], mixtures[best], [seed, 2])
        for family, values in held.items():
            squares[family][metric] += ((values[:, 0] - column[best]) ** 2).mean() / 2
    return {family: np.sqrt(both) for family, both in squares.items()}


def learning_curve(
    mixtures: Floats, losses: Floats, metrics: list[str], weights: Floats, seed: int
) -> list[dict[str, float]]:
    """Rank correlation of the weighted objective on runs left out, of fits to ever more runs (in the given order):
    rows of runs, stack, linear. Tells whether more runs would still help."""
    mixtures, losses = _checked(mixtures, losses, metrics)
    order = np.random.default_rng(seed).permutation(len(mixtures))
    test, rest = order[: max(4, len(order) // 4)], order[max(4, len(order) // 4) :]
    counts = np.unique(np.linspace(max(FEWEST_RUNS, mixtures.shape[1] + 1), len(rest), CURVE_POINTS).astype(int))
    measured = (losses[test] @ weights)[:, None]
    rows = []
    for count in counts[counts <= len(rest)]:
        predicted = _by_family(mixtures[rest[:count]], losses[rest[:count]], mixtures[test], [seed, 3])
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


def _laws_to_plain(laws: tuple[PowerLaw, ...]) -> list[dict[str, Any]]:
    return [{"logs": law.logs.tolist(), "centre": law.centre, "scale": law.scale} for law in laws]


def _laws_from_plain(plain: list[dict[str, Any]]) -> tuple[PowerLaw, ...]:
    return tuple(PowerLaw(np.array(law["logs"], dtype=np.float64), law["centre"], law["scale"]) for law in plain)
