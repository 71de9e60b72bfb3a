"""The whole search in worlds whose law, noise and optimum are known."""

import numpy as np
import pytest

from tests.benchmarks.mix_world import covered, one_shot, searched
from tests.mixes.worlds import World


@pytest.mark.parametrize("sources", [4, 8])
def test_the_worlds_optimum_is_better_than_every_random_mixture_and_within_the_limits(sources):
    world = World.drawn(sources, 1)
    best = world.best()
    draws = world.limits.bring(np.random.default_rng(0).dirichlet(np.full(sources, 0.7), 20_000))
    assert world.limits.hold(best[None, :]).all()
    assert world.objective(best) <= (world.losses(draws) @ world.weights).min()


def test_the_search_ends_with_a_regret_within_the_noise():
    found = [searched(World.drawn(4, seed), seed) for seed in range(3)]
    assert np.mean([one.regret for one in found]) < 1.0
    assert max(one.runs for one in found) <= 40
    assert all("regret" in one.reason for one in found)


@pytest.mark.slow
@pytest.mark.parametrize(("sources", "seeds"), [(4, 8), (8, 6)])
def test_one_shot_lightgbm_with_twice_the_runs_has_more_regret(sources, seeds):
    worlds = [World.drawn(sources, seed) for seed in range(seeds)]
    ours = [searched(world, seed) for seed, world in enumerate(worlds)]
    theirs = [one_shot(world, 2 * one.runs, seed) for (seed, world), one in zip(enumerate(worlds), ours, strict=True)]
    assert np.mean([one.regret for one in ours]) < np.mean(theirs)


@pytest.mark.slow
@pytest.mark.parametrize("sources", [4, 8])
def test_intervals_hold_the_truth_as_often_as_they_say(sources):
    found = [covered(World.drawn(sources, seed), seed) for seed in range(40)]
    # 80 % of 40 worlds, and two and a half standard errors of a binomial to both sides.
    assert 0.64 <= np.mean([one.gain for one in found]) <= 0.96
    assert 0.64 <= np.mean([one.ratios for one in found]) <= 0.96
