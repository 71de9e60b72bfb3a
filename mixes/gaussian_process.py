"""A Gaussian process from mixture to loss: Matern-5/2 with one length per input, plus a linear kernel.

The inputs are two views of every ratio, log(p + e) and (p + e)^(1/4). Losses are nearly linear in the log
of a ratio while the source is scarce and saturate when it is plentiful; the fourth root keeps resolution at
the plentiful end. Both are shifted by e so that their slope at p = 0 is finite and an optimiser can stand
there.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

SHIFT = 0.001
"""e above, a ratio. Of 0.001, 0.003, 0.01 and 0.03 the best on RegMix's 1M runs; 0.0003 gains no more."""

OPTIMISED_ROWS = 256
"""Kernel parameters are fitted on at most so many rows (cost grows with the cube); predictions use all
rows."""

JITTER = 1e-8


@dataclass(frozen=True)
class Inputs:
    """Standardisation of the two views of a mixture; measured on the rows that a model is fitted on."""

    centre: Floats  # [2S]
    scale: Floats  # [2S]

    @classmethod
    def measured_on(cls, mixtures: Floats) -> Inputs:
        views = _views(mixtures)
        scale = views.std(axis=0)
        # A source whose ratio never varies carries no information: any scale will do, but not zero.
        return cls(views.mean(axis=0), np.where(scale > 1e-9, scale, 1.0))

    def of(self, mixtures: Floats) -> Floats:
        """Inputs [K, 2S] of mixtures [K, S]."""
        return (_views(mixtures) - self.centre) / self.scale

    def slopes(self, mixture: Floats) -> Floats:
        """Derivative [2S] of each input by the ratio it is a view of, at one mixture [S]."""
        shifted = mixture + SHIFT
        return np.concatenate([1.0 / shifted, 0.25 * shifted**-0.75]) / self.scale


def _views(mixtures: Floats) -> Floats:
    shifted = mixtures + SHIFT
    return np.concatenate([np.log(shifted), shifted**0.25], axis=1)


@dataclass(frozen=True)
class Kernel:
    """Parameters of the covariance of standardised losses."""

    lengths: Floats  # [2S], in standard deviations of the input
    matern: float  # variance of the Matern part
    linear: float  # variance of the linear part for an input of average size
    noise: float  # variance of a single run around the function

    @classmethod
    def from_logs(cls, logs: Floats) -> Kernel:
        matern, linear, noise = np.exp(logs[-3:])
        return cls(np.exp(logs[:-3]), float(matern), float(linear), float(noise))

    def between(self, left: Floats, right: Floats) -> tuple[Floats, Floats]:
        """Covariance [K, N] between inputs [K, D] and [N, D], and -2 x its Matern part's slope by squared
        distance."""
        a, b = left / self.lengths, right / self.lengths
        squared = (a**2).sum(axis=1)[:, None] + (b**2).sum(axis=1)[None, :] - 2.0 * a @ b.T
        distance = np.sqrt(5.0 * np.maximum(squared, 0.0))
        decay = self.matern * np.exp(-distance)
        steepness = (5.0 / 3.0) * decay * (1.0 + distance)
        matern = decay * (1.0 + distance + distance**2 / 3.0)
        return matern + self._linear(left, right), steepness

    def at(self, inputs: Floats) -> Floats:
        """Prior variance [K] at inputs [K, D]."""
        return np.asarray(self.matern + self.linear * (1.0 + (inputs**2).mean(axis=1)))

    def _linear(self, left: Floats, right: Floats) -> Floats:
        return np.asarray(self.linear * (1.0 + left @ right.T / left.shape[1]))


def fit_kernel(mixtures: Floats, losses: Floats, rng: np.random.Generator) -> Kernel:
    """Kernel that maximises the marginal likelihood of losses [N] at mixtures [N, S], under weak priors.

    Gradient: Rasmussen and Williams, Gaussian Processes for Machine Learning, equation 5.9. The priors are
    log-normal and decide where 30 runs of a dozen sources say little. Lengths lie around twice the typical
    distance between two rows, itself about the square root of the number of standardised inputs: on 32 and 64
    RegMix runs twice gives errors of 1.0 and 1.2 predicted sds, once 0.8 and 1.0 and slightly worse ranks.
    """
    from scipy.optimize import minimize

    if len(mixtures) > OPTIMISED_ROWS:
        rows = np.sort(rng.choice(len(mixtures), OPTIMISED_ROWS, replace=False))
        mixtures, losses = mixtures[rows], losses[rows]
    inputs = Inputs.measured_on(mixtures).of(mixtures)
    target = (losses - losses.mean()) / _scale(losses)
    size = inputs.shape[1]
    prior_mean = np.concatenate([np.full(size, np.log(2.0 * np.sqrt(size))), np.log([1.0, 0.3, 0.01])])
    prior_sd = np.concatenate([np.full(size, 1.0), [1.5, 1.5, 2.0]])
    bounds = [(-3.0, 6.0)] * size + [(-7.0, 5.0)] * 2 + [(-12.0, 1.0)]
    best = minimize(
        _negative_evidence(inputs, target, prior_mean, prior_sd),
        prior_mean, jac=True, method="L-BFGS-B", bounds=bounds, options={"maxiter": 100},
    )  # fmt: skip
    return Kernel.from_logs(best.x)


def _negative_evidence(
    inputs: Floats, target: Floats, prior_mean: Floats, prior_sd: Floats
) -> Callable[[Floats], tuple[float, Floats]]:
    from scipy.linalg.lapack import dpotrf, dpotri

    rows, size = inputs.shape
    linear_part = 1.0 + inputs @ inputs.T / size
    upper = np.triu_indices(rows, 1)

    def evaluate(logs: Floats) -> tuple[float, Floats]:
        kernel = Kernel.from_logs(logs)
        covariance, steepness = kernel.between(inputs, inputs)
        covariance[np.diag_indices(rows)] += kernel.noise + JITTER
        factor, failed = dpotrf(covariance, lower=False)
        if failed:
            raise np.linalg.LinAlgError(f"covariance of {rows} runs is not positive definite at {logs}")
        inverse, _ = dpotri(factor, lower=False)
        inverse.T[upper] = inverse[upper]
        solved = inverse @ target
        excess = inverse - np.outer(solved, solved)
        weighted = excess * steepness
        by_length = (weighted.sum(axis=1) @ inputs**2 - (inputs * (weighted @ inputs)).sum(axis=0)) / kernel.lengths**2
        noise = kernel.noise * np.trace(excess)
        linear = kernel.linear * (excess * linear_part).sum()
        # The three variances together: sum of excess * covariance is the trace of (I - solved solved' K).
        total = rows - target @ solved - JITTER * np.trace(excess)
        gradient = np.concatenate([by_length, 0.5 * np.array([total - linear - noise, linear, noise])])
        away = (logs - prior_mean) / prior_sd
        value = 0.5 * target @ solved + np.log(np.diag(factor)).sum() + 0.5 * away @ away
        return float(value), gradient + away / prior_sd

    return evaluate


def _scale(losses: Floats) -> float:
    spread = float(losses.std())
    return spread if spread > 1e-12 else 1.0


class GaussianProcess:
    """The posterior of one metric given runs. `counts` weighs rows: a row counted c times has 1/c of the
    noise."""

    def __init__(self, kernel: Kernel, mixtures: Floats, losses: Floats, counts: Floats | None = None) -> None:
        from scipy.linalg import cho_factor, cho_solve

        self.kernel = kernel
        self.inputs = Inputs.measured_on(mixtures)
        self.rows = self.inputs.of(mixtures)
        self.centre, self.scale = float(losses.mean()), _scale(losses)
        covariance, _ = kernel.between(self.rows, self.rows)
        covariance[np.diag_indices(len(losses))] += kernel.noise / (1.0 if counts is None else counts) + JITTER
        factor = cho_factor(covariance, lower=True)
        self.solved: Floats = cho_solve(factor, (losses - self.centre) / self.scale)
        self.inverse: Floats = cho_solve(factor, np.eye(len(losses)))

    def predict(self, mixtures: Floats) -> tuple[Floats, Floats]:
        """Mean [K] and variance [K] of the metric at mixtures [K, S], without the noise of a single run."""
        inputs = self.inputs.of(mixtures)
        cross, _ = self.kernel.between(inputs, self.rows)
        variance = self.kernel.at(inputs) - ((cross @ self.inverse) * cross).sum(axis=1)
        return self.centre + self.scale * cross @ self.solved, self.scale**2 * np.maximum(variance, JITTER)

    def gradient(self, mixture: Floats) -> tuple[float, float, Floats, Floats]:
        """Mean, variance and their derivatives [S] by the ratios, at one mixture [S]."""
        point = self.inputs.of(mixture[None, :])[0]
        cross, steepness = (row[0] for row in self.kernel.between(point[None, :], self.rows))
        explained = self.inverse @ cross
        size = len(point)
        by_input = np.stack([self.solved, explained])  # the two weightings of the rows whose slope is wanted
        weighted = by_input * steepness
        slopes = (weighted @ self.rows - weighted.sum(axis=1)[:, None] * point) / self.kernel.lengths**2
        slopes += self.kernel.linear / size * (by_input @ self.rows)
        chain = self.inputs.slopes(mixture)
        mean_slope = (slopes[0] * chain).reshape(2, -1).sum(axis=0)
        variance_slope = (
            ((2.0 * self.kernel.linear / size * point - 2.0 * slopes[1]) * chain).reshape(2, -1).sum(axis=0)
        )
        variance = max(float(self.kernel.at(point[None, :])[0] - cross @ explained), JITTER)
        return (
            self.centre + self.scale * float(cross @ self.solved),
            self.scale**2 * variance,
            self.scale * mean_slope,
            self.scale**2 * variance_slope,
        )
