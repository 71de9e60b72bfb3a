"""Worlds with a known law, in which the best mixture can be found."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mixes.limits import Limits

Floats = NDArray[np.float64]

EFFECTS = np.array([[3.0, 1.0, 0.3, 0.5], [0.3, 0.6, 4.0, 0.5], [0.8, 2.0, 1.0, 0.2]])  # [metric, source]
EXPONENTS = np.array([0.3, 0.5, 0.4])
NATURAL = np.array([0.55, 0.25, 0.05, 0.15])
CAPS = np.array([1.0, 0.6, 0.25, 0.5])
LIMITS = Limits(np.zeros(4), CAPS, (), ("web", "papers", "code", "dialogue"), np.ones(4))
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


def true_best(weights: Floats, limits: Limits) -> float:
    """Lowest weighted loss within limits, by a search of 200,000 mixtures."""
    draws = np.random.default_rng(0).dirichlet(np.ones(len(limits.lower)), 200_000)
    return float((true_losses(limits.bring(draws)) @ weights).min())


@dataclass(frozen=True)
class World:
    """A world of any number of sources, drawn at random, whose law is none of the families that are fitted.

    Loss of metric m: floor_m + (base + effective_m)^-exponent_m, where a source's part of the effective data saturates
    as it is repeated, effect_mj x turn_j x (1 - exp(-p_j / turn_j)), and two sources help each other,
    synergy_m x sqrt(p_a p_b). The effective data are concave in the ratios and the loss is a convex falling function of
    them: every weighted sum of losses is convex, so that a local search from any start ends at the optimum.
    """

    natural: Floats  # [S]
    limits: Limits
    weights: Floats  # [M]
    effects: Floats  # [M, S]
    turns: Floats  # [S]
    synergies: Floats  # [M]
    pair: tuple[int, int]
    floors: Floats  # [M]
    exponents: Floats  # [M]
    noise: Floats  # [M], sd of a run

    @classmethod
    def drawn(cls, sources: int, seed: int, metrics: int = 4, noise: float = 0.1) -> "World":
        """`noise`: sd of a run as a share of each metric's spread over random mixtures."""
        rng = np.random.default_rng([seed, sources])
        natural = np.sort(rng.dirichlet(np.full(sources, 2.0)))[::-1]
        natural = np.maximum(natural, 0.01) / np.maximum(natural, 0.01).sum()
        names = [f"s{source}" for source in range(sources)]
        tokens = 1e9 * natural
        limits = Limits.of(names, tokens, 1.2e9, 4.0)  # a cap is 3.3 times the natural ratio
        first, second = rng.choice(sources, 2, replace=False)
        world = cls(
            natural=natural,
            limits=limits,
            weights=rng.dirichlet(np.full(metrics, 3.0)),
            effects=np.exp(rng.normal(0.0, 1.0, (metrics, sources))),
            turns=np.exp(rng.uniform(np.log(0.1), np.log(1.0), sources)),
            synergies=rng.uniform(0.0, 1.5, metrics),
            pair=(int(first), int(second)),
            floors=rng.uniform(0.4, 1.0, metrics),
            exponents=rng.uniform(0.3, 0.8, metrics),
            noise=np.zeros(metrics),
        )
        spread = world.losses(limits.bring(rng.dirichlet(np.ones(sources), 500))).std(axis=0)
        return cls(**{**world.__dict__, "noise": noise * spread})

    @property
    def metrics(self) -> list[str]:
        return [f"m{metric}" for metric in range(len(self.weights))]

    @property
    def objective_noise(self) -> float:
        """Standard deviation of a run's weighted loss."""
        return float(np.sqrt(((self.weights * self.noise) ** 2).sum()))

    def losses(self, mixtures: Floats) -> Floats:
        """Losses [K, M] without noise."""
        saturated = self.turns * (1.0 - np.exp(-mixtures / self.turns))
        synergy = np.sqrt(np.maximum(mixtures[:, self.pair[0]] * mixtures[:, self.pair[1]], 0.0))
        effective = 0.05 + saturated @ self.effects.T + synergy[:, None] * self.synergies
        return np.asarray(self.floors + effective**-self.exponents)

    def measured(self, mixtures: Floats, seed: int) -> Floats:
        rng = np.random.default_rng([seed, len(mixtures)])
        return self.losses(mixtures) + self.noise * rng.normal(size=(len(mixtures), len(self.noise)))

    def objective(self, mixture: Floats, weights: Floats | None = None) -> float:
        return float((self.losses(mixture[None, :]) @ (self.weights if weights is None else weights))[0])

    def regret(self, mixture: Floats) -> float:
        """How much worse than the optimum a mixture is, in standard deviations of a run's weighted loss."""
        return (self.objective(mixture) - self.objective(self.best())) / self.objective_noise

    def best(self, limits: Limits | None = None) -> Floats:
        """The optimum [S] within the limits (without groups), to about 1e-4: the best of local searches."""
        from scipy.optimize import minimize

        limits = limits or self.limits
        starts = np.concatenate([limits.bring(np.eye(len(self.natural))), limits.bring(self.natural[None, :])])
        starts = limits.bring(
            0.9 * starts + 0.1 / len(self.natural)
        )  # the synergy has no slope where a source is absent
        found = [
            minimize(
                lambda ratios: 100.0 * self.objective(np.maximum(ratios, 0.0)), start, method="SLSQP",
                bounds=list(zip(limits.lower, limits.upper, strict=True)),
                constraints=[{"type": "eq", "fun": lambda ratios: ratios.sum() - 1.0}],
                options={"ftol": 1e-10, "maxiter": 500},
            ).x
            for start in starts
        ]  # fmt: skip
        brought = limits.bring(np.maximum(np.stack([*found, *starts]), 0.0))
        return np.asarray(brought[np.argmin(self.losses(brought) @ self.weights)])
