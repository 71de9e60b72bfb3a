"""The effective-data power law: loss(p) = E + (b + a.p)^-g with a, b, g > 0.

Each source j adds a_j of effective data per unit of ratio; the loss falls as a power of the sum. With few
parameters it is the family to trust far from the runs, where a Gaussian process only remembers its prior.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

PRIOR_WEIGHT = 0.03
"""Pull of every log-parameter to zero, in standard deviations of the loss: decides only what the runs leave
open."""

STARTS = (0.3, 1.0, 3.0)
"""Exponents g from which the fit is started."""


@dataclass(frozen=True)
class PowerLaw:
    """One metric's law in standardised losses: `logs` holds log a [S], log b, log g, and then E itself."""

    logs: Floats  # [S + 3]
    centre: float
    scale: float

    def predict(self, mixtures: Floats) -> Floats:
        """Losses [K] at mixtures [K, S]."""
        return self.centre + self.scale * _law(self.logs, mixtures)[0]

    def gradient(self, mixture: Floats) -> tuple[float, Floats]:
        """Loss and its derivative [S] by the ratios, at one mixture [S]."""
        sources = len(mixture)
        logs = np.clip(self.logs[:-1], -30.0, 30.0)
        effect, exponent = np.exp(logs[:sources]), float(np.exp(logs[sources + 1]))
        effective = float(np.exp(logs[sources]) + effect @ mixture)
        reducible = float(np.exp(np.clip(-exponent * np.log(effective), -60.0, 60.0)))  # as in _law
        loss = self.centre + self.scale * (float(self.logs[-1]) + reducible)
        return loss, -self.scale * exponent * reducible / effective * effect


def fit_power_law(
    mixtures: Floats, losses: Floats, counts: Floats | None = None, start: PowerLaw | None = None
) -> PowerLaw:
    """Least-squares law for losses [N] at mixtures [N, S], each row counted `counts` times; from `start`
    where given."""
    from scipy.optimize import least_squares

    sources = mixtures.shape[1]
    centre = float(losses.mean())
    scale = float(losses.std()) or 1.0
    target = (losses - centre) / scale
    weight = np.sqrt(np.ones(len(losses)) if counts is None else counts)
    pull = PRIOR_WEIGHT * np.eye(sources + 3)[:-1]

    def residuals(logs: Floats) -> Floats:
        return np.concatenate([weight * (_law(logs, mixtures)[0] - target), pull @ logs])

    def jacobian(logs: Floats) -> Floats:
        return np.concatenate([weight[:, None] * _law(logs, mixtures)[1], pull])

    if start is not None:
        firsts = [start.logs]
    else:
        firsts = [np.concatenate([np.zeros(sources + 1), [np.log(g), target.min() - 0.5]]) for g in STARTS]
    fits = [least_squares(residuals, first, jac=jacobian, method="lm", max_nfev=200) for first in firsts]
    best = min(fits, key=lambda fit: float(fit.cost))
    return PowerLaw(np.asarray(best.x, dtype=np.float64), centre, scale)


def _law(logs: Floats, mixtures: Floats) -> tuple[Floats, Floats]:
    """Standardised losses [K] and their derivatives [K, S + 3] by the parameters."""
    sources = mixtures.shape[1]
    # Beyond e^+-30 nothing changes but the risk of overflow during the search.
    clipped = np.clip(logs[:-1], -30.0, 30.0)
    effect, base, exponent = np.exp(clipped[:sources]), np.exp(clipped[sources]), np.exp(clipped[sources + 1])
    effective = base + mixtures @ effect
    reducible = np.exp(np.clip(-exponent * np.log(effective), -60.0, 60.0))
    by_effective = -exponent * reducible / effective
    derivatives = np.column_stack(
        [
            by_effective[:, None] * mixtures * effect,
            by_effective * base,
            -exponent * np.log(effective) * reducible,
            np.ones(len(mixtures)),
        ]
    )
    return logs[-1] + reducible, derivatives
