"""Which metrics a swarm can tell apart: the spread between mixtures against the noise of a single run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

TRUSTED_RATIO = 3.0
"""From this ratio of signal to noise on a metric has its whole weight. In the largest public swarm with
repeats good text sets reach 10 to 22, multiple-choice sets scored by accuracy about 1."""

NOISE_RATIO = 1.0
"""At this ratio mixtures differ by no more than repeats of one mixture do: the metric has no weight."""

LARGEST_RATIO = 1000.0
"""Stated where repeats agree almost exactly."""

ROUNDING = 1e-13
"""Differences below this share of a value come from its mean's rounding: three times 0.1 average to more than 0.1."""

UNEVEN_NOISE = 3.0
"""Noise of one mixture in units of another's from which the report speaks of uneven noise."""

SURENESS = 0.8
"""Share of cases in which the stated interval holds the ratio, for normal noise."""


@dataclass(frozen=True)
class Signal:
    """Of M metrics. Noise and signal are in the metric's unit."""

    metrics: tuple[str, ...]
    noise: Floats  # [M], sd of a run over repeats of one mixture, pooled over the mixtures repeated
    signal: Floats  # [M], sd of the means of different mixtures, their own noise included
    ratio: Floats  # [M], signal / noise
    interval: Floats  # [2, M], of the ratio: few repeats leave it wide
    factor: Floats  # [M], in [0, 1]: what is left of a weight
    notes: tuple[str, ...]

    def to_plain(self) -> dict[str, Any]:
        """For JSON; `from_plain` restores it."""
        arrays = {name: getattr(self, name).tolist() for name in ("noise", "signal", "ratio", "interval", "factor")}
        return {"metrics": list(self.metrics), **arrays, "notes": list(self.notes)}

    @classmethod
    def from_plain(cls, plain: dict[str, Any]) -> Signal:
        arrays = {
            name: np.array(plain[name], dtype=np.float64) for name in ("noise", "signal", "ratio", "interval", "factor")
        }
        return cls(metrics=tuple(plain["metrics"]), **arrays, notes=tuple(plain["notes"]))

    def used(self, weights: Floats) -> Floats:
        """Weights [M] times factor, summing to 1.

        Where that leaves nothing, because every weighted metric is noise, the given weights stand: an optimum
        of what was asked for, known to be a guess (see `notes_on`), is worth more than none.
        """
        given = np.asarray(weights, dtype=np.float64)
        kept = given * self.factor
        kept = kept if kept.any() else given
        return np.asarray(kept / kept.sum())

    def notes_on(self, weights: Floats) -> tuple[str, ...]:
        """The notes, and what became of each weight that the user gave."""
        said = list(self.notes)
        weighted = np.flatnonzero(np.asarray(weights))
        if not (self.factor[weighted] > 0).any():
            said.append(
                "no weighted metric stands above its noise: the weights are used as given and the optimum is a "
                "guess; train proxies on more tokens, or weigh other metrics"
            )
            return tuple(said)
        for m in weighted:
            if self.factor[m] < 1.0:
                low, high = self.interval[:, m]
                kept = f"keeps {self.factor[m]:.0%} of its weight" if self.factor[m] else "is left out"
                said.append(
                    f"{self.metrics[m]} {kept}: mixtures differ by {self.ratio[m]:.1f} times the noise of a run "
                    f"({low:.1f} to {high:.1f}), full weight needs {TRUSTED_RATIO:g}"
                )
        return tuple(said)


def signal_to_noise(values: Floats, mixtures: Floats, metrics: Sequence[str]) -> Signal | None:
    """Signal of each metric, of N runs with values [N, M] at mixtures [N, S]; None where no mixture was run twice.

    The ratio of pure noise is 1 on average, which is why a weight fades out there and not at 0. Its interval
    comes from the F distribution. Raises ValueError for fewer than three different mixtures.
    """
    from scipy.stats import f as f_distribution

    groups = np.unique(np.asarray(mixtures).round(9), axis=0, return_inverse=True)[1].reshape(-1)
    runs = np.bincount(groups)
    freedom = len(groups) - len(runs)
    if freedom == 0:
        return None
    if len(runs) < 3:
        raise ValueError(f"{len(runs)} different mixtures say nothing about how far mixtures differ; train more")
    means = np.zeros((len(runs), values.shape[1]))
    np.add.at(means, groups, values)
    means /= runs[:, None]
    away = values - means[groups]
    away[np.abs(away) < ROUNDING * np.abs(means[groups])] = 0.0
    squares = away**2
    noise = np.sqrt(squares.sum(axis=0) / freedom)
    signal = means.std(axis=0, ddof=1)
    signal[signal < ROUNDING * np.abs(means).max(axis=0)] = 0.0
    # A metric that never varies carries no signal, whatever its noise.
    largest = np.where(signal > 0, LARGEST_RATIO, 0.0)
    ratio = np.minimum(np.divide(signal, noise, out=largest.copy(), where=noise > 0), LARGEST_RATIO)
    tails = ((1 + SURENESS) / 2, (1 - SURENESS) / 2)
    around = np.sqrt([f_distribution.ppf(tail, len(runs) - 1, freedom) for tail in tails])
    return Signal(
        metrics=tuple(metrics),
        noise=noise,
        signal=signal,
        ratio=ratio,
        interval=ratio / around[:, None],
        factor=np.clip((ratio - NOISE_RATIO) / (TRUSTED_RATIO - NOISE_RATIO), 0.0, 1.0),
        notes=_notes(squares, noise, groups, mixtures),
    )


def _notes(squares: Floats, noise: Floats, groups: NDArray[np.intp], mixtures: Floats) -> tuple[str, ...]:
    varying = noise > 0
    if not varying.all():
        return ("repeats of one mixture agree exactly on some metrics: give each repeat a seed of its own",)
    runs = np.bincount(groups)
    repeated = np.flatnonzero(runs > 1)
    if len(repeated) < 2:
        return ()
    relative = (squares / noise**2).mean(axis=1)  # [N], 1 on average
    spread = np.sqrt(np.bincount(groups, relative)[repeated] / (runs[repeated] - 1))
    loudest, quietest = repeated[np.argmax(spread)], repeated[np.argmin(spread)]
    # Of two groups with so few repeats one is easily twice as loud by chance.
    if spread.max() < UNEVEN_NOISE * max(spread.min(), 1e-12):
        return ()
    at = [", ".join(f"{ratio:.2f}" for ratio in mixtures[groups == group][0]) for group in (loudest, quietest)]
    return (
        f"noise is uneven: {spread.max() / max(spread.min(), 1e-3):.1f} times larger at the mixture ({at[0]}) than at "
        f"({at[1]}); the pooled noise understates it near the first",
    )
