"""Runs that the search for the best mixture needs, beside one-shot LightGBM: worlds whose optimum is known.

    python -m tests.benchmarks.mix_world regret --sources 4 8 16 --seeds 5
    python -m tests.benchmarks.mix_world coverage --sources 4 8 --seeds 20

``regret``: in each world the whole loop runs (first runs, fit, next runs until it says stop, optimum), and one-shot
LightGBM as RegMix uses it gets 24, 48, 96 ... runs drawn at once: a model for each metric, 100,000 random mixtures
predicted, and the better of two answers, the mean of its best 128 (RegMix's) and its single best. Regret: how much
worse than the world's optimum the answer truly is, in standard deviations of a run's objective. Everything is within
the same limits. ``coverage``: how often the stated 80 % intervals hold the truth after one round of 32 runs.
"""

import argparse
import time
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mixes.design import first_count, first_runs, most_runs, next_runs, stop_reason
from mixes.optimum import solve
from mixes.regression import fit
from tests.mixes.worlds import World

Floats = NDArray[np.float64]

ONE_SHOT_RUNS = (24, 36, 48, 64, 96, 128, 192, 256, 384, 512)
ROUND_RUNS = 8
RANDOM_MIXTURES, AVERAGED = 100_000, 128


@dataclass(frozen=True)
class Searched:
    """How a search ended."""

    runs: int
    regret: float  # true, in sds of a run's objective
    reason: str


def searched(world: World, seed: int, most: int | None = None) -> Searched:
    """The whole loop in a world."""
    sources = len(world.natural)
    count = first_count(sources)
    most = most or most_runs(sources, count, ROUND_RUNS)
    mixtures = first_runs(world.natural, count, seed, world.limits).mixtures
    losses = world.measured(mixtures, seed)
    was_calm = False
    while True:
        fitted = fit(mixtures, losses, world.metrics, seed)
        stop = stop_reason(fitted, world.weights, world.limits, most, was_calm=was_calm)
        if stop.is_over:
            break
        was_calm = stop.is_calm
        fresh = next_runs(
            fitted,
            world.weights,
            world.limits,
            world.natural,
            seed + len(mixtures),
            min(ROUND_RUNS, most - len(mixtures)),
        ).mixtures
        losses = np.concatenate([losses, world.measured(fresh, seed + len(mixtures))])
        mixtures = np.concatenate([mixtures, fresh])
    ratios = solve(fitted, world.weights, world.limits, world.natural, seed).best.ratios
    return Searched(len(mixtures), world.regret(ratios), stop.reason)


def one_shot(world: World, runs: int, seed: int) -> float:
    """True regret of LightGBM with so many runs drawn at once, as RegMix draws them, in sds of a run's objective."""
    from lightgbm import LGBMRegressor

    rng = np.random.default_rng([seed, runs])
    tempered = world.natural**0.5 / (world.natural**0.5).sum()

    def drawn(count: int) -> Floats:
        strength = len(tempered) * np.exp(rng.uniform(np.log(0.1), np.log(5.0), (count, 1)))
        draws = rng.gamma(strength * tempered) + 1e-12
        return world.limits.bring(draws / draws.sum(axis=1, keepdims=True))

    mixtures, asked = drawn(runs), drawn(RANDOM_MIXTURES)
    losses = world.measured(mixtures, seed)
    predicted = np.zeros(len(asked))
    for weight, column in zip(world.weights, losses.T, strict=True):
        # RegMix's own rate and 600 trees, near its early stops; leaves of 20 rows would be constant with few runs.
        model = LGBMRegressor(
            n_estimators=600, learning_rate=0.01, min_child_samples=min(20, max(3, runs // 12)), verbose=-1, n_jobs=1
        )
        predicted += weight * np.asarray(model.fit(mixtures, column).predict(asked))
    order = np.argsort(predicted)
    return min(world.regret(asked[order[0]]), world.regret(asked[order[:AVERAGED]].mean(axis=0)))


@dataclass(frozen=True)
class Coverage:
    """Share of truths within their stated 80 % intervals."""

    ratios: float  # of the sources whose true best ratio is within
    gain: float  # 1 if the true gain over the natural mix is within


def covered(world: World, seed: int, runs: int = 32) -> Coverage:
    """After one round of runs: do the intervals hold the true optimum, and the true gain of the mixture recommended?"""
    mixtures = first_runs(world.natural, runs, seed, world.limits).mixtures
    fitted = fit(mixtures, world.measured(mixtures, seed), world.metrics, seed)
    optimum = solve(fitted, world.weights, world.limits, world.natural, seed)
    (low, high), truth = optimum.intervals, world.best()
    gain = world.objective(world.natural) - world.objective(optimum.best.ratios)
    # The true optimum is known to a thousandth.
    within = (truth >= low - 1e-3) & (truth <= high + 1e-3)
    return Coverage(float(within.mean()), float(optimum.gain_interval[0] <= gain <= optimum.gain_interval[1]))


def print_regret(sources: int, seeds: range) -> None:
    """Regret of the loop, and of LightGBM by number of runs, until it is as low."""
    worlds = {seed: World.drawn(sources, seed) for seed in seeds}
    started = time.process_time()
    ours = [searched(world, seed) for seed, world in worlds.items()]
    seconds = (time.process_time() - started) / len(seeds)
    runs, regret = np.mean([one.runs for one in ours]), np.mean([one.regret for one in ours])
    print(
        f"{sources} sources, Sluice: {runs:.0f} runs, regret {regret:.2f}, {seconds:.0f} CPU s for each search",
        flush=True,
    )
    print(f"  of each world: {', '.join(f'{one.regret:.2f} after {one.runs}' for one in ours)}", flush=True)
    for count in ONE_SHOT_RUNS:
        theirs = [one_shot(world, count, seed) for seed, world in worlds.items()]
        print(f"{sources} sources, LightGBM: {count} runs, regret {np.mean(theirs):.2f}", flush=True)
        if np.mean(theirs) <= regret:
            break


def main() -> None:
    """Print the table that is asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["regret", "coverage"])
    parser.add_argument("--sources", type=int, nargs="+", default=[4, 8, 16])
    parser.add_argument("--seeds", type=int, default=5, help="number of worlds")
    parser.add_argument("--first-seed", type=int, default=0)
    arguments = parser.parse_args()
    seeds = range(arguments.first_seed, arguments.first_seed + arguments.seeds)
    for sources in arguments.sources:
        if arguments.what == "regret":
            print_regret(sources, seeds)
        else:
            found = [covered(World.drawn(sources, seed), seed) for seed in seeds]
            ratios, gain = (np.mean([getattr(one, name) for one in found]) for name in ("ratios", "gain"))
            print(
                f"{sources} sources, {len(seeds)} worlds: ratios {ratios:.0%}, gain {gain:.0%} (stated 80 %)",
                flush=True,
            )


if __name__ == "__main__":
    main()
