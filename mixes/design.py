"""Which mixtures to train: the runs that a regression of loss on ratios learns most from."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

POOL_PER_RUN = 200
"""Candidate draws for each run wanted: enough that the farthest of them changes little with more."""

TEMPER = 0.5
"""Exponent on the natural mix before drawing around it, as in RegMix (arXiv 2407.01492): scarce sources get
a share."""

STRENGTHS = (0.1, 1.0)
"""Range of the Dirichlet's concentration as a multiple of the number of sources: mostly sparse mixtures. In 24
synthetic worlds of 4 sources and 24 runs the regret is 0.0021, against 0.0037 for (0.5, 5); with 10 sources
about equal."""

VERTEX_RATIO = 0.8
"""Ratio of the leading source at a near-vertex point."""

SMALLEST_RATIO = 2e-4
"""Ratios below become zero, as in RegMix: a proxy would see a few documents at most."""


class InfeasibleCapsError(ValueError):
    """No mixture meets the bounds."""


def design(natural: Floats, count: int, seed: int, upper: Floats | None = None, *, natural_repeats: int = 2) -> Floats:
    """Mixtures [count, S] to train, each row summing to 1 with no ratio above its cap.

    `natural` [S] is the mix in proportion to tokens (brought under the caps where it exceeds one): the
    first row, and again the last `natural_repeats` rows, whose spread of losses is the noise of a run. Then
    come near-vertex and leave-one-source-out mixtures, largest source first, on at most half of the
    remaining runs. The others are drawn from Dirichlet distributions around the tempered natural mix: half
    chosen to lie far apart (maximin in the square roots of the ratios), half taken as they come, because
    pure maximin spends its runs on the rim of the simplex.

    Raises ValueError for bad arguments and InfeasibleCapsError where the caps sum to less than 1.
    """
    natural = np.asarray(natural, dtype=np.float64)
    sources = len(natural)
    if sources < 2:
        raise ValueError("a mixture needs at least two sources")
    if not (np.isfinite(natural).all() and (natural > 0).all()):
        raise ValueError(f"the natural mix needs a positive ratio for every source, got {natural.tolist()}")
    if count < 2 + natural_repeats:
        raise ValueError(
            f"{count} runs leave no room beside 1 + {natural_repeats} runs of the natural mix; ask for more"
        )
    caps = np.ones(sources) if upper is None else np.minimum(np.asarray(upper, dtype=np.float64), 1.0)
    natural = natural / natural.sum()
    rng = np.random.default_rng(seed)

    first = under_caps(natural[None, :], caps)
    free = count - 1 - natural_repeats
    corners = _corners(natural, caps)[: free // 2]
    drawn = free - len(corners)
    pool = under_caps(_draws(natural, POOL_PER_RUN * drawn, rng), caps)
    spread = _maximin(pool, drawn // 2, np.concatenate([first, corners]))
    plain = rng.choice(np.setdiff1d(np.arange(len(pool)), spread), drawn - drawn // 2, replace=False)
    return np.concatenate([first, corners, pool[spread], pool[plain], np.repeat(first, natural_repeats, axis=0)])


def under_caps(mixtures: Floats, caps: Floats) -> Floats:
    """Mixtures [K, S] with each ratio cut to its cap [S] and the excess shared by the others in proportion.

    Sources at zero take a share only when the others are full, then in proportion to their caps.
    Raises InfeasibleCapsError where the caps sum to less than 1.
    """
    if caps.sum() < 1.0 - 1e-9:
        raise InfeasibleCapsError(
            f"the caps on the ratios sum to {caps.sum():.4g}, less than 1: the sources fill only that "
            "part of the target tokens; lower the target, or allow more epochs or tokens"
        )
    ratios = mixtures / mixtures.sum(axis=1, keepdims=True)
    for _ in range(len(caps)):  # each round fills at least one more source, so S rounds end it
        ratios = np.minimum(ratios, caps)
        missing = 1.0 - ratios.sum(axis=1, keepdims=True)
        open_ratios = np.where(ratios < caps, ratios, 0.0)
        total = open_ratios.sum(axis=1, keepdims=True)
        share = np.divide(open_ratios, total, out=np.zeros_like(ratios), where=total > 0)
        ratios = ratios + missing * share
    ratios = np.minimum(ratios, caps)
    room = caps - ratios
    missing = 1.0 - ratios.sum(axis=1, keepdims=True)
    ratios = ratios + room * np.clip(missing / np.maximum(room.sum(axis=1, keepdims=True), 1e-12), 0.0, 1.0)
    return np.asarray(ratios)


def _corners(natural: Floats, caps: Floats) -> Floats:
    """Near-vertex and leave-one-out mixtures in turn, largest source first, without those that the caps
    rule out."""
    points = []
    for source in np.argsort(-natural, kind="stable"):
        others = np.where(np.arange(len(natural)) == source, 0.0, natural)
        others /= others.sum()
        vertex = (1.0 - VERTEX_RATIO) * others
        vertex[source] = VERTEX_RATIO
        points.append(under_caps(vertex[None, :], caps))
        remaining = np.where(np.arange(len(natural)) == source, 0.0, caps)
        if remaining.sum() >= 1.0:
            points.append(under_caps(others[None, :], remaining))
    return np.concatenate(points)


def _draws(natural: Floats, count: int, rng: np.random.Generator) -> Floats:
    """Mixtures [count, S] from Dirichlet distributions around the tempered natural mix, of log-uniform
    strength."""
    sources = len(natural)
    centre = natural**TEMPER / (natural**TEMPER).sum()
    strength = sources * np.exp(rng.uniform(np.log(STRENGTHS[0]), np.log(STRENGTHS[1]), size=(count, 1)))
    # A Dirichlet draw is a normalised row of gamma draws; the floor keeps a row of underflows divisible.
    draws = rng.gamma(strength * centre) + 1e-12
    draws /= draws.sum(axis=1, keepdims=True)
    draws[draws < SMALLEST_RATIO] = 0.0
    return np.asarray(draws / draws.sum(axis=1, keepdims=True))


def _maximin(pool: Floats, count: int, taken: Floats) -> NDArray[np.intp]:
    """Rows of `pool`, each in turn the farthest from all taken before it, in the square roots of the
    ratios."""
    roots = np.sqrt(pool)
    nearest = np.full(len(pool), np.inf)
    for point in np.sqrt(taken):
        nearest = np.minimum(nearest, ((roots - point) ** 2).sum(axis=1))
    chosen = np.empty(count, dtype=np.intp)
    for place in range(count):
        chosen[place] = np.argmax(nearest)
        nearest = np.minimum(nearest, ((roots - roots[chosen[place]]) ** 2).sum(axis=1))
    return chosen
