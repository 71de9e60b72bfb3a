"""The effective-data power law: loss(p) = E + (b + sum_j a_j q_j(p_j))^-g with a, b, g > 0.

Each source j adds a_j of effective data per unit of q_j(p_j); the loss falls as a power of the sum. With few
parameters it is the family to trust far from the runs, where a Gaussian process only remembers its prior.

Two forms. In the plain law q_j(p) = p: mixtures are ranked by a weighted sum of their ratios alone, which carries
over best to much larger models (it ranks RegMix's 1B runs for Pile-CC at 0.99 where the process has 0.96), but misses
how much the first percent of a source does to a small one. In the law of own exponents q_j(p) = (p + e)^c_j - e^c_j,
with c_j < 1 where more of a source helps ever less, and a second power of other effective data is added, as an
evaluation set holds more than one kind of text; it halves the plain law's error on RegMix's 1M runs.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

PRIOR_WEIGHT = 0.03
"""Pull of every log-parameter to zero, in standard deviations of the loss: decides only what the runs leave
open."""

EXPONENT_PRIOR_WEIGHT = 0.3
"""Likewise of log c, towards the plain law."""

POWER_PRIOR_WEIGHT = 1.0
"""Likewise of log g in a law of own exponents, towards 1. Without it 32 runs are met by a law of huge g and E that
ranks the others at 0.84 instead of 0.95 (Pile-CC)."""

SECOND_PRIOR_WEIGHT, SECOND_EFFECT = 0.3, -2.0
"""Likewise of log a and log b of the second power, towards SECOND_EFFECT and 0, where it is nearly a constant. Weights
of 0.1, 0.3 and 0.6 give errors of 0.0481, 0.0472 and 0.0528 for Pile-CC; without a second power 0.0522."""

SHIFT = 0.001
"""e above. On RegMix 0.0003 is unstable (error 0.079 for Pile-CC), 0.001, 0.003 and 0.01 give 0.050, 0.052, 0.063."""

STARTS = (0.3, 1.0, 3.0)
"""Exponents g from which the fit is started."""

CORNER_PRIOR_WEIGHT = 0.01
"""Pull of the law's value for each source alone towards the mean loss: there a law is highest, and 24 runs of 4 sources
can leave b and a source's a both at next to nothing, and with them 1e15 standard deviations of loss."""

LIMIT = 20.0
"""Logarithms beyond +-20 change nothing but the risk of overflow during the search."""

CURVATURE = 1.5
"""Largest logarithm of an exponent c, and largest of its inverse."""


@dataclass(frozen=True)
class PowerLaw:
    """One metric's law in standardised losses: `logs` holds log a [S], log b, log g, then E itself; in a law of own
    exponents then log c [S], and log a [S], log b, log g of the second power."""

    logs: Floats  # [S + 3] or [3S + 5]
    centre: float
    scale: float
    has_exponents: bool

    @property
    def sources(self) -> int:
        return (len(self.logs) - 5) // 3 if self.has_exponents else len(self.logs) - 3

    def predict(self, mixtures: Floats) -> Floats:
        """Losses [K] at mixtures [K, S]."""
        return np.asarray(self.centre + self.scale * _law(self.logs, _Terms.of(mixtures), self.has_exponents)[0])


class PowerLaws:
    """The laws of M metrics, of one form."""

    def __init__(self, laws: Sequence[PowerLaw]) -> None:
        self.laws = laws
        sources, has_exponents = laws[0].sources, laws[0].has_exponents
        logs = np.clip(np.stack([law.logs for law in laws]), -LIMIT, LIMIT)
        # Powers [M, T] of effective data made by effects [M, T, S] on bases [M, T].
        powers = np.exp(
            np.stack([logs[:, first : first + sources + 2] for first in _firsts(sources, has_exponents)], 1)
        )
        self.effects, self.bases, self.powers = powers[:, :, :sources], powers[:, :, sources], powers[:, :, sources + 1]
        self.floors = np.array([law.logs[sources + 2] for law in laws])
        self.exponents = np.ones((len(laws), sources))
        if has_exponents:
            self.exponents = np.exp(np.clip(logs[:, sources + 3 : 2 * sources + 3], -CURVATURE, CURVATURE))
        self.centres, self.scales = np.array([[law.centre, law.scale] for law in laws]).T

    def predict(self, mixtures: Floats) -> Floats:
        """Losses [K, M] at mixtures [K, S]."""
        return np.column_stack([law.predict(mixtures) for law in self.laws])

    def gradient(self, mixture: Floats) -> tuple[Floats, Floats]:
        """Losses [M] and their derivatives [M, S] by the ratios, at one mixture [S]."""
        grown = (mixture + SHIFT) ** self.exponents
        effective = self.bases + (self.effects * (grown - SHIFT**self.exponents)[:, None, :]).sum(axis=2)
        reducible = np.exp(np.clip(-self.powers * np.log(effective), -60.0, 60.0))  # as in _law
        by_grown = -((self.powers * reducible / effective)[:, :, None] * self.effects).sum(axis=1)
        slopes = self.scales[:, None] * by_grown * self.exponents * grown / (mixture + SHIFT)
        return self.centres + self.scales * (self.floors + reducible.sum(axis=1)), slopes


@dataclass(frozen=True)
class _Terms:
    """What a law needs of mixtures, computed once for all steps of a fit."""

    mixtures: Floats  # [K, S]
    logs: Floats  # [K, S], of the shifted ratios

    @classmethod
    def of(cls, mixtures: Floats) -> _Terms:
        return cls(mixtures, np.log(mixtures + SHIFT))


def fit_power_law(
    mixtures: Floats,
    losses: Floats,
    counts: Floats | None = None,
    *,
    has_exponents: bool = False,
    start: PowerLaw | None = None,
) -> PowerLaw:
    """Least-squares law for losses [N] at mixtures [N, S], each row counted `counts` times; a few steps from `start`
    where given."""
    from scipy.optimize import least_squares

    sources = mixtures.shape[1]
    centre = float(losses.mean())
    scale = float(losses.std()) or 1.0
    target = (losses - centre) / scale
    weight = np.sqrt(np.ones(len(losses)) if counts is None else counts)
    pull, terms, corners = _pull(sources, has_exponents), _Terms.of(mixtures), _Terms.of(np.eye(sources))
    second = np.concatenate([np.full(sources, SECOND_EFFECT), np.zeros(2)])
    pulled_to = np.concatenate([np.zeros(2 * sources + 3), second]) if has_exponents else np.zeros(sources + 3)

    def residuals(logs: Floats) -> Floats:
        at_corners = CORNER_PRIOR_WEIGHT * _law(logs, corners, has_exponents)[0]
        at_runs = weight * (_law(logs, terms, has_exponents)[0] - target)
        return np.concatenate([at_runs, at_corners, pull @ (logs - pulled_to)])

    def jacobian(logs: Floats) -> Floats:
        at_corners = CORNER_PRIOR_WEIGHT * _law(logs, corners, has_exponents)[1]
        return np.concatenate([weight[:, None] * _law(logs, terms, has_exponents)[1], at_corners, pull])

    steps = 100
    if start is not None:
        firsts, steps = [start.logs], 10
    elif has_exponents:
        plain = fit_power_law(mixtures, losses, counts)
        firsts = [np.concatenate([plain.logs, np.zeros(sources), second])]
    else:
        firsts = [np.concatenate([np.zeros(sources + 1), [np.log(g), target.min() - 0.5]]) for g in STARTS]
    fits = [least_squares(residuals, first, jac=jacobian, method="lm", max_nfev=steps) for first in firsts]
    best = min(fits, key=lambda fit: float(fit.cost))
    return PowerLaw(np.asarray(best.x, dtype=np.float64), centre, scale, has_exponents)


def left_out(law: PowerLaw, mixtures: Floats, losses: Floats, counts: Floats) -> Floats:
    """For each run [N] what a law fitted to the others predicts, to first order (by the leverage of each run)."""
    predicted, by_log = _law(law.logs, _Terms.of(mixtures), law.has_exponents)
    pull = _pull(law.sources, law.has_exponents)
    weighted = by_log * np.sqrt(counts)[:, None]
    at_corners = CORNER_PRIOR_WEIGHT * _law(law.logs, _Terms.of(np.eye(law.sources)), law.has_exponents)[1]
    normal = weighted.T @ weighted + at_corners.T @ at_corners + pull.T @ pull + 1e-9 * np.eye(by_log.shape[1])
    leverage = (weighted * np.linalg.solve(normal, weighted.T).T).sum(axis=1)
    residual = losses - law.centre - law.scale * predicted
    return np.asarray(losses - residual / np.maximum(1.0 - leverage, 0.05))


def _pull(sources: int, has_exponents: bool) -> Floats:
    """Rows of the prior: one for each parameter but E."""
    pulls = [PRIOR_WEIGHT] * (sources + 1) + [POWER_PRIOR_WEIGHT if has_exponents else PRIOR_WEIGHT, 0.0]
    if has_exponents:
        pulls += [EXPONENT_PRIOR_WEIGHT] * sources + [SECOND_PRIOR_WEIGHT] * (sources + 1) + [POWER_PRIOR_WEIGHT]
    return np.delete(np.diag(pulls), sources + 2, axis=0)


def _firsts(sources: int, has_exponents: bool) -> list[int]:
    """Where the parameters of each power start: log a [S], log b, log g."""
    return [0, 2 * sources + 3] if has_exponents else [0]


def _law(logs: Floats, terms: _Terms, has_exponents: bool) -> tuple[Floats, Floats]:
    """Standardised losses [K] and their derivatives [K, P] by the parameters."""
    sources = terms.mixtures.shape[1]
    clipped = np.clip(logs, -LIMIT, LIMIT)
    grown, by_log_exponent = terms.mixtures, None
    if has_exponents:
        exponents = np.exp(np.clip(logs[sources + 3 : 2 * sources + 3], -CURVATURE, CURVATURE))
        shifted, nothing = np.exp(exponents * terms.logs), SHIFT**exponents
        grown = shifted - nothing
        by_log_exponent = (shifted * terms.logs - nothing * np.log(SHIFT)) * exponents
    losses, derivatives = np.full(len(grown), logs[sources + 2]), np.zeros((len(grown), len(logs)))
    derivatives[:, sources + 2] = 1.0
    for first in _firsts(sources, has_exponents):
        effect, base, power = np.split(np.exp(clipped[first : first + sources + 2]), [sources, sources + 1])
        added = grown * effect
        effective = base + added.sum(axis=1)
        reducible = np.exp(np.clip(-power * np.log(effective), -60.0, 60.0))
        by_effective = (-power * reducible / effective)[:, None]
        losses += reducible
        derivatives[:, first : first + sources] = by_effective * added
        derivatives[:, first + sources] = by_effective[:, 0] * base
        derivatives[:, first + sources + 1] = -power * np.log(effective) * reducible
        if by_log_exponent is not None:
            derivatives[:, sources + 3 : 2 * sources + 3] += by_effective * by_log_exponent * effect
    return losses, derivatives
