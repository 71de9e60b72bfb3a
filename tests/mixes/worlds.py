"""A world with a known law, in which the best mixture can be found by search."""

import numpy as np
from numpy.typing import NDArray

from mixes.design import under_caps

Floats = NDArray[np.float64]

EFFECTS = np.array([[3.0, 1.0, 0.3, 0.5], [0.3, 0.6, 4.0, 0.5], [0.8, 2.0, 1.0, 0.2]])  # [metric, source]
EXPONENTS = np.array([0.3, 0.5, 0.4])
NATURAL = np.array([0.55, 0.25, 0.05, 0.15])
CAPS = np.array([1.0, 0.6, 0.25, 0.5])
METRICS = ["prose", "code", "papers"]
NOISE = 0.01


def true_losses(mixtures: Floats) -> Floats:
    """Losses [K, 3] without noise: a power law in the ratios, and a synergy of two sources that no law
    knows of."""
    effective = 0.05 + mixtures @ EFFECTS.T
    synergy = 0.05 * np.sqrt(mixtures[:, [0]] * mixtures[:, [1]])
    return 0.7 + effective**-EXPONENTS - synergy


def measured_losses(mixtures: Floats, seed: int) -> Floats:
    losses = true_losses(mixtures)
    return losses + NOISE * np.random.default_rng(seed).normal(size=losses.shape)


def true_best(weights: Floats, caps: Floats) -> float:
    """Lowest weighted loss under the caps, by a search of 200,000 mixtures."""
    draws = np.random.default_rng(0).dirichlet(np.ones(len(caps)), 200_000)
    return float((true_losses(under_caps(draws, caps)) @ weights).min())
