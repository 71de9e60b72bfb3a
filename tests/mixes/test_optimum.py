"""The best mixture under caps, in a world where it is known."""

import re
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mixes.design import InfeasibleCapsError, design
from mixes.optimum import ratio_caps, solve
from mixes.regression import Fit, fit
from tests.mixes.worlds import CAPS, METRICS, NATURAL, measured_losses, true_best, true_losses

WEIGHTS = np.array([1.0, 2.0, 1.0])
FREE = np.zeros(4)


@pytest.fixture(scope="module")
def fitted():
    mixtures = design(NATURAL, 32, 0, CAPS)
    return fit(mixtures, measured_losses(mixtures, 0), METRICS, seed=0)


@pytest.fixture(scope="module")
def optimum(fitted):
    return solve(fitted, WEIGHTS, FREE, CAPS, NATURAL, seed=0)


def true_objective(ratios):
    return float((true_losses(ratios[None, :]) @ WEIGHTS)[0] / WEIGHTS.sum())


def test_optimum_is_within_a_tenth_of_the_possible_gain_of_the_true_best(optimum):
    best = true_best(WEIGHTS / WEIGHTS.sum(), CAPS)
    regret = true_objective(optimum.best.ratios) - best
    assert regret < 0.1 * (true_objective(NATURAL) - best)


def test_optimum_is_a_mixture_within_its_bounds(fitted):
    lower = np.array([0.2, 0.0, 0.1, 0.05])
    ratios = solve(fitted, WEIGHTS, lower, CAPS, NATURAL, seed=0).best.ratios
    assert abs(ratios.sum() - 1.0) < 1e-9
    assert (ratios >= lower - 1e-9).all()
    assert (ratios <= CAPS + 1e-9).all()


def test_gain_over_the_natural_mix_is_the_true_one_and_its_interval_is_about_it(optimum):
    truth = true_objective(NATURAL) - true_objective(optimum.best.ratios)
    assert optimum.gain == pytest.approx(truth, rel=0.25)
    low, high = optimum.gain_interval
    assert low <= high
    assert 0 < low < truth * 1.25
    assert high > truth * 0.75


def test_intervals_enclose_the_optimum_nearly(optimum):
    low, high = optimum.intervals
    assert (low <= high).all()
    assert (optimum.best.ratios > low - 0.1).all()
    assert (optimum.best.ratios < high + 0.1).all()


def test_objective_is_the_weighted_mean_of_the_metrics(optimum):
    for prediction in (optimum.best, optimum.natural, optimum.best_observed):
        assert prediction.objective == pytest.approx(prediction.metrics @ WEIGHTS / WEIGHTS.sum())
    assert optimum.gain == pytest.approx(optimum.natural.objective - optimum.best.objective)


def test_best_observed_run_is_the_lowest_of_the_runs_within_the_bounds(fitted, optimum):
    row = np.argmin(fitted.losses @ WEIGHTS)
    assert np.array_equal(optimum.best_observed.ratios, fitted.mixtures[row])


def test_nearest_run_is_measured_in_l1(fitted, optimum):
    assert optimum.nearest_run_l1 == min(np.abs(run - optimum.best.ratios).sum() for run in fitted.mixtures)


def test_lifting_a_binding_cap_gains_what_its_shadow_price_says(fitted, optimum):
    binding = int(np.argmax(optimum.shadow_prices))
    assert optimum.best.ratios[binding] == pytest.approx(CAPS[binding], abs=1e-6)
    step = 0.01

    def penalised(caps):
        found = solve(fitted, WEIGHTS, FREE, caps, NATURAL, seed=0).best
        return found.objective + found.objective_sd

    lifted, lowered = CAPS.copy(), CAPS.copy()
    lifted[binding] += step
    lowered[binding] -= step
    gained = (penalised(lowered) - penalised(lifted)) / (2 * step)
    assert optimum.shadow_prices[binding] == pytest.approx(gained, rel=0.1)


def test_caps_that_do_not_bind_have_no_price(optimum):
    loose = optimum.best.ratios < CAPS - 1e-3
    assert loose.any()
    assert (optimum.shadow_prices[loose] == 0).all()


def test_pessimism_keeps_the_optimum_where_the_fit_is_surer(fitted):
    bold, careful = (solve(fitted, WEIGHTS, FREE, np.ones(4), NATURAL, 0, pessimism=p).best for p in (0.0, 3.0))
    assert careful.objective_sd < bold.objective_sd
    assert careful.objective >= bold.objective - 1e-6


def test_stored_fit_is_solved_for_new_weights_in_under_a_second(fitted, optimum):
    stored = Fit.from_json(fitted.to_json())
    started = time.process_time()
    reweighted = solve(stored, np.array([5.0, 0.0, 0.0]), FREE, CAPS, NATURAL, seed=0)
    assert time.process_time() - started < 1.0
    # All weight on prose, whose best source is the first.
    assert reweighted.best.ratios[0] > optimum.best.ratios[0]


def test_same_seed_gives_the_same_optimum(fitted, optimum):
    again = solve(fitted, WEIGHTS, FREE, CAPS, NATURAL, seed=0)
    assert again.best.ratios.tobytes() == optimum.best.ratios.tobytes()
    assert again.intervals.tobytes() == optimum.intervals.tobytes()


def test_tokens_and_epochs_follow_from_the_ratios(optimum):
    source_tokens = np.array([1000.0, 500.0, 50.0, 200.0])
    assert optimum.tokens(2000.0).sum() == pytest.approx(2000.0)
    assert np.allclose(optimum.epochs(source_tokens, 2000.0) * source_tokens, optimum.tokens(2000.0))


def test_caps_are_the_lower_of_the_highest_ratio_and_the_epochs():
    caps = ratio_caps(np.array([1000.0, 100.0, 50.0]), 800.0, 4.0, np.array([0.7, 1.0, 1.0]))
    # 4 x 1000 / 800 = 5, limited to 0.7; 4 x 100 / 800 = 0.5; 4 x 50 / 800 = 0.25.
    assert np.allclose(caps, [0.7, 0.5, 0.25])


def test_infeasible_target_names_the_largest_feasible_one():
    # The first source fills half at most; 4 epochs of 100 + 50 tokens, 600, must be the other: 1200 in all.
    sources, highest = np.array([1000.0, 100.0, 50.0]), np.array([0.5, 1.0, 1.0])
    with pytest.raises(InfeasibleCapsError, match="largest feasible target is 1200 tokens"):
        ratio_caps(sources, 5000.0, 4.0, highest)
    assert ratio_caps(sources, 1200.0, 4.0, highest).sum() == pytest.approx(1.0)


@settings(max_examples=100)
@given(st.lists(st.tuples(st.floats(100, 1e9), st.floats(0.05, 1.0)), min_size=2, max_size=8), st.floats(0.5, 8))
def test_the_named_target_is_feasible_and_a_larger_one_is_not(sources, epochs):
    tokens, highest = np.array(sources).T
    if highest.sum() < 1.01:
        highest = np.ones(len(highest))
    with pytest.raises(InfeasibleCapsError) as refusal:
        ratio_caps(tokens, 1e15, epochs, highest)
    largest = int(re.search(r"target is (\d+) tokens", str(refusal.value))[1])
    assert ratio_caps(tokens, largest, epochs, highest).sum() >= 1.0 - 1e-9
    with pytest.raises(InfeasibleCapsError):
        ratio_caps(tokens, largest * 1.01 + 2, epochs, highest)


@pytest.mark.parametrize(
    ("lower", "upper", "message"),
    [
        ([0, 0, 0, 0], [0.2, 0.2, 0.2, 0.2], r"largest feasible target is 0\.8 of"),
        ([0.5, 0.5, 0.5, 0], [1, 1, 1, 1], "lower bounds sum to 1.5"),
        ([0, 0.4, 0, 0], [1, 0.3, 1, 1], r"sources \[1\]"),
    ],
)
def test_bounds_that_no_mixture_meets_are_refused(fitted, lower, upper, message):
    with pytest.raises(InfeasibleCapsError, match=message):
        solve(fitted, WEIGHTS, np.array(lower, float), np.array(upper, float), NATURAL, seed=0)


@pytest.mark.parametrize("weights", [[0, 0, 0], [1, -1, 1], [1, 1], [1, np.nan, 1]])
def test_weights_that_weigh_nothing_are_refused(fitted, weights):
    with pytest.raises(ValueError, match="weight"):
        solve(fitted, np.array(weights, float), FREE, CAPS, NATURAL, seed=0)
