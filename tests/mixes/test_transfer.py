"""Slopes between sizes, in a world where they are known."""

import json
from dataclasses import dataclass, replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import spearmanr

from mixes.transfer import (
    CONFIRMED_AGREEMENT,
    FEWEST_PAIRS_FOR_VERDICT,
    SLOPE_RANGE,
    LoggedRuns,
    Sizes,
    Transfer,
    fit_transfer,
)

SIZES = Sizes(1_000_000, 60_000_000, 1_000_000_000)
METRICS, SOURCES = 13, 10
WEIGHTS = np.full(METRICS, 1.0 / METRICS)


@dataclass
class World:
    """300 mixtures, measured at three sizes; slopes of 13 metrics from 0.25 to 1.05, as on RegMix's runs."""

    slopes: np.ndarray  # to the second size
    target_slopes: np.ndarray
    base: np.ndarray
    second: np.ndarray
    target: np.ndarray
    truth: np.ndarray  # at the base size, without noise
    noise: np.ndarray

    @classmethod
    def of(cls, seed, misfit=0.1, noise=0.05):
        rng = np.random.default_rng(seed)
        mixtures = rng.dirichlet(np.full(SOURCES, 0.3), 300)
        effects = np.exp(rng.normal(0, 1.2, (METRICS, SOURCES))) / SOURCES
        truth = (0.05 + mixtures @ effects.T) ** -0.35
        truth = (truth - truth.mean(axis=0)) * np.exp(rng.normal(0, 0.4, METRICS))
        sds = truth.std(axis=0)
        slopes = np.exp(rng.uniform(np.log(0.25), np.log(1.05), METRICS))
        target_slopes = slopes ** SIZES.exponent(SIZES.second) * np.exp(rng.normal(0, 0.1, METRICS))

        def measured(factor, misfit):
            return 3.0 + factor * (truth + np.hypot(noise, misfit) * sds * rng.normal(size=truth.shape))

        base = truth + noise * sds * rng.normal(size=truth.shape)
        second, target = measured(slopes, misfit), measured(target_slopes, 1.5 * misfit)
        return cls(slopes, target_slopes, base, second, target, truth, noise * sds)

    def transfer(self, pairs=16, larger=0):
        logged = [LoggedRuns(SIZES.target, self.base[50 : 50 + larger], self.target[50 : 50 + larger], self.noise)]
        return fit_transfer(
            self.base[:pairs], self.second[:pairs], SIZES, WEIGHTS, 0, logged if larger else (), self.noise
        )

    def rank_at_target(self, slopes):
        """Of the average metric over 200 mixtures of which no run was seen."""
        return spearmanr(self.truth[100:] @ (WEIGHTS * slopes), self.target[100:] @ WEIGHTS).statistic


@pytest.fixture(scope="module")
def worlds():
    return [World.of(seed) for seed in range(8)]


def test_extrapolated_slopes_rank_the_objective_at_the_target_better_than_plain_sums(worlds):
    plain = np.mean([world.rank_at_target(np.ones(METRICS)) for world in worlds])
    second = np.mean([world.rank_at_target(world.transfer().slopes) for world in worlds])
    extrapolated = np.mean([world.rank_at_target(world.transfer().extrapolated) for world in worlds])
    true = np.mean([world.rank_at_target(world.target_slopes) for world in worlds])
    assert plain + 0.08 < extrapolated
    assert second < extrapolated
    assert extrapolated > true - 0.02


def test_eight_runs_at_the_target_improve_the_slopes(worlds):
    def error(larger):
        return np.mean([np.abs(np.log(w.transfer(16, larger).extrapolated / w.target_slopes)).mean() for w in worlds])

    assert error(8) < 0.8 * error(0)
    assert error(24) < 0.8 * error(8)


def test_slopes_lie_within_their_stated_deviations_as_often_as_they_should(worlds):
    off = np.array([np.abs(w.transfer().slopes - w.slopes) / w.transfer().slope_sds for w in worlds])
    assert 0.68 < (off < 1.28).mean() < 0.92  # 80 % of a normal distribution


def test_runs_at_the_target_outweigh_pairs_far_below_it_however_clear_these_are():
    rng = np.random.default_rng(0)
    base = rng.normal(size=(200, 3))
    sizes = Sizes(1_000_000, 2_000_000, 1_000_000_000)
    larger = base * 0.6 + 0.05 * rng.normal(size=base.shape)
    found = fit_transfer(base, 0.98 * base, sizes, np.ones(3), 0, [LoggedRuns(sizes.target, base, larger)])
    assert np.allclose(found.extrapolated, 0.6, atol=0.02)  # the pairs alone say 0.98 ** 10 = 0.82


def test_exponent_is_the_ratio_of_the_logarithms_of_the_sizes():
    assert SIZES.exponent(60_000_000) == pytest.approx(np.log(1000) / np.log(60))  # 1.69
    assert SIZES.exponent(1_000_000_000) == 1.0


def test_a_target_of_the_second_size_takes_the_slopes_as_they_are(worlds):
    world = worlds[0]
    sizes = Sizes(SIZES.base, SIZES.second, SIZES.second)
    found = fit_transfer(world.base[:16], world.second[:16], sizes, WEIGHTS, 0)
    assert np.allclose(found.extrapolated, found.slopes)


def test_known_noise_of_the_smaller_runs_corrects_the_slope_that_it_flattens():
    rng = np.random.default_rng(0)
    truth = rng.normal(size=(400, 3))
    base, second = truth + 0.7 * rng.normal(size=truth.shape), 0.8 * truth
    flat = fit_transfer(base, second, SIZES, np.ones(3), 0).slopes
    corrected = fit_transfer(base, second, SIZES, np.ones(3), 0, noise=np.full(3, 0.7)).slopes
    assert np.allclose(flat, 0.8 / 1.49, atol=0.05)
    assert np.allclose(corrected, 0.8, atol=0.08)


def test_a_metric_without_information_takes_the_pooled_slope_and_a_clear_one_keeps_its_own():
    rng = np.random.default_rng(1)
    base = rng.normal(size=(16, 5))
    slopes = np.array([0.3, 0.5, 0.7, 0.9, 0.5])
    second = base * slopes + np.array([0.01, 0.01, 0.01, 0.01, 8.0]) * rng.normal(size=base.shape)
    base[:, 4] *= 1e-3
    found = fit_transfer(base, second, SIZES, np.ones(5), 0)
    assert np.allclose(found.slopes[:4], slopes[:4], atol=0.03)
    assert found.slopes[4] == pytest.approx(found.pooled_slope, abs=0.02)
    assert found.slope_sds[4] > 5 * found.slope_sds[:4].max()


@settings(max_examples=30)
@given(st.integers(0, 2**31), st.integers(4, 20), st.integers(1, 5))
def test_slopes_are_finite_and_clipped_whatever_the_runs(seed, pairs, metrics):
    rng = np.random.default_rng(seed)
    base, second = rng.normal(size=(pairs, metrics)), rng.standard_cauchy(size=(pairs, metrics))
    found = fit_transfer(base, second, SIZES, np.ones(metrics), 0)
    assert (found.slopes >= SLOPE_RANGE[0]).all()
    assert (found.slopes <= SLOPE_RANGE[1]).all()
    assert np.isfinite(found.extrapolated).all()
    assert (found.extrapolated > 0).all()
    assert -1 <= found.agreements[0].objective <= 1


def ranked(agreement_noise, pairs, seed=0):
    rng = np.random.default_rng(seed)
    base = rng.normal(size=(pairs, 3))
    return fit_transfer(base, 2 + base + agreement_noise * rng.normal(size=base.shape), SIZES, np.ones(3), 0)


def test_agreement_of_a_metric_is_spearmans_with_an_interval_about_it():
    rng = np.random.default_rng(3)
    base = rng.normal(size=(20, 2))
    second = base + 0.5 * rng.normal(size=base.shape)
    [found] = fit_transfer(base, second, SIZES, np.ones(2), 0).agreements
    for m in range(2):
        assert found.metrics[m] == pytest.approx(spearmanr(base[:, m], second[:, m]).statistic)
        assert found.intervals[0, m] < found.metrics[m] < found.intervals[1, m]


def test_sizes_that_rank_alike_are_confirmed():
    found = ranked(0.02, 16)
    assert found.confirmed
    assert found.verdict.startswith("confirmed: 16 mixtures rank at 1M as at 60M trunk parameters")
    assert "the target is 17 times larger still" in found.verdict


def test_an_agreement_below_the_threshold_is_never_confirmed():
    for seed in range(20):
        found = ranked(0.8, 16, seed)
        assert (
            found.agreements[0].objective < CONFIRMED_AGREEMENT or found.agreements[0].interval[0] < CONFIRMED_AGREEMENT
        )
        assert not found.confirmed
        assert "confirmed" not in found.verdict


def test_an_agreement_above_the_threshold_whose_interval_reaches_below_stays_open():
    found = next(
        found
        for seed in range(200)
        if (found := ranked(0.35, 16, seed)).agreements[0].objective
        >= CONFIRMED_AGREEMENT
        > found.agreements[0].interval[0]
    )
    assert not found.confirmed
    assert found.verdict.startswith("open:")
    assert "confirmed" not in found.verdict


def test_few_pairs_confirm_nothing_however_well_they_agree():
    found = ranked(0.0, FEWEST_PAIRS_FOR_VERDICT - 1)
    assert found.agreements[0].objective == 1.0
    assert not found.confirmed
    assert "train 8 or more" in found.verdict


def test_verdict_is_about_the_largest_size_with_enough_runs(worlds):
    world = worlds[0]
    scrambled = world.target[np.random.default_rng(0).permutation(300)]
    larger = [LoggedRuns(SIZES.target, world.base[50:66], scrambled[50:66], world.noise)]
    good = replace(SIZES)
    found = fit_transfer(world.base[:16], world.second[:16], good, WEIGHTS, 0, larger, world.noise)
    assert found.agreements[0].objective > 0.8
    assert found.verdict.startswith("doubtful: 16 mixtures rank at 1M as at 1B")


def test_metrics_that_shrink_at_their_own_rates_are_ranked_with_slopes_that_the_pair_had_no_part_in(worlds):
    with_slopes = np.mean([w.transfer().agreements[0].objective for w in worlds])
    plain = np.mean([w.transfer().agreements[0].plain for w in worlds])
    assert with_slopes > plain


def test_same_seed_gives_the_same_intervals(worlds):
    assert worlds[0].transfer().to_plain() == worlds[0].transfer().to_plain()


def test_transfer_survives_json(worlds):
    found = worlds[0].transfer(16, 8)
    assert Transfer.from_plain(json.loads(json.dumps(found.to_plain()))).to_plain() == found.to_plain()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda base, second: (base[:3], second[:3]), "3 mixtures at 60000000 parameters are too few"),
        (lambda base, second: (base, second[:, :2]), r"are not \[pairs, 3\] both"),
        (lambda base, second: (base * np.nan, second), "not finite"),
        (lambda base, second: (base * 0.0, second), "no slope can be seen"),
    ],
)
def test_runs_without_slopes_are_refused(change, message):
    rng = np.random.default_rng(0)
    base, second = change(rng.normal(size=(10, 3)), rng.normal(size=(10, 3)))
    with pytest.raises(ValueError, match=message):
        fit_transfer(base, second, SIZES, np.ones(3), 0)


def test_the_verdict_is_that_of_the_weights_asked_for_and_the_slopes_stay():
    # The second metric ranks mixtures the other way round at the second size; the first agrees.
    base = np.random.default_rng(0).normal(size=(16, 2))
    second = base * [0.5, -0.5]
    found = fit_transfer(base, second, Sizes(10, 20, 40), np.array([1.0, 0.0]), 0)
    assert found.confirmed
    other = found.weighed(np.array([0.0, 1.0]), 0)
    assert not other.confirmed
    assert other.agreements[0].plain < -0.9
    assert other.slopes.tolist() == found.slopes.tolist()
    again = Transfer.from_plain(json.loads(json.dumps(other.to_plain()))).weighed(np.array([1.0, 0.0]), 0)
    assert (again.confirmed, again.verdict) == (found.confirmed, found.verdict)


@pytest.mark.parametrize("sizes", [(10, 10, 100), (10, 5, 100), (10, 20, 5)])
def test_sizes_in_the_wrong_order_are_refused(sizes):
    with pytest.raises(ValueError, match=r"larger than|smaller than"):
        Sizes(*sizes)
