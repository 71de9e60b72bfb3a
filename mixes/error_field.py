"""How the errors of predictions at different mixtures hang together."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

LENGTH = 2.0
"""Length of the correlation in median distances between two runs, as the Gaussian processes expect it."""

NOISE = 0.01
"""Variance of a run beside that of the function."""


@dataclass(frozen=True)
class ErrorField:
    """Correlation of errors given the runs: a Matern-5/2 process on the square roots of the ratios, after the runs.

    The fit says how large its error is at one mixture, but not how those at two mixtures go together, which decides
    where the lowest of many predictions really is. Near mixtures err together, and a run between two parts them.
    """

    roots: Floats  # [N, S], of the runs
    length: float
    inverse: Floats  # [N, N], of the runs' covariance

    @classmethod
    def given(cls, runs: Floats) -> ErrorField:
        """The field after runs at mixtures [N, S]."""
        roots = np.sqrt(np.unique(runs, axis=0))
        apart = _distances(roots, roots)
        length = LENGTH * float(np.median(apart[np.triu_indices(len(roots), 1)]))
        covariance = _matern(apart / length) + NOISE * np.eye(len(roots))
        return cls(roots, length, np.asarray(np.linalg.inv(covariance), dtype=np.float64))

    def correlations(self, left: Floats, right: Floats) -> Floats:
        """Correlation [K, L] between the errors at mixtures [K, S] and [L, S]."""
        covariance, left_variance, right_variance = self._covariance(left, right)
        return np.asarray(covariance / np.sqrt(np.outer(left_variance, right_variance)))

    def draws(self, mixtures: Floats, count: int, rng: np.random.Generator) -> Floats:
        """Errors [count, K] in units of their sd at mixtures [K, S]."""
        values, vectors = np.linalg.eigh(self.correlations(mixtures, mixtures))
        root = vectors * np.sqrt(np.maximum(values, 0.0))
        return np.asarray(rng.normal(size=(count, len(mixtures))) @ root.T)

    def _covariance(self, left: Floats, right: Floats) -> tuple[Floats, Floats, Floats]:
        left_to_runs, right_to_runs = (
            _matern(_distances(np.sqrt(side), self.roots) / self.length) for side in (left, right)
        )
        explained = left_to_runs @ self.inverse
        covariance = _matern(_distances(np.sqrt(left), np.sqrt(right)) / self.length) - explained @ right_to_runs.T
        variances = [
            np.maximum(1.0 - ((cross @ self.inverse) * cross).sum(axis=1), 1e-9)
            for cross in (left_to_runs, right_to_runs)
        ]
        return covariance, variances[0], variances[1]


def _distances(left: Floats, right: Floats) -> Floats:
    squared = (left**2).sum(axis=1)[:, None] + (right**2).sum(axis=1)[None, :] - 2.0 * left @ right.T
    return np.asarray(np.sqrt(np.maximum(squared, 0.0)))


def _matern(scaled: Floats) -> Floats:
    distance = np.sqrt(5.0) * scaled
    return np.asarray((1.0 + distance + distance**2 / 3.0) * np.exp(-distance))
