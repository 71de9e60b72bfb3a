"""The best mixture within limits, in a world where it is known."""

import time

import numpy as np
import pytest

from mixes.design import first_runs, stop_reason
from mixes.limits import Group, GroupBound, Limits
from mixes.objective import Objective, linear_constraints
from mixes.optimum import response_curves, solve, weight_path
from mixes.regression import Fit, fit
from mixes.sensitivity import flat_directions
from tests.mixes.worlds import CAPS, LIMITS, METRICS, NATURAL, measured_losses, true_best, true_losses

WEIGHTS = np.array([1.0, 2.0, 1.0])
ANY = Limits.none(4)
UNIQUE, TARGET = np.array([5000.0, 1200.0, 500.0, 1000.0]) * 1e6, 8e9


@pytest.fixture(scope="module")
def fitted():
    mixtures = first_runs(NATURAL, 32, 0, LIMITS).mixtures
    return fit(mixtures, measured_losses(mixtures, 0), METRICS, seed=0)


@pytest.fixture(scope="module")
def optimum(fitted):
    return solve(fitted, WEIGHTS, LIMITS, NATURAL, seed=0)


def penalised(fitted, limits):
    found = solve(fitted, WEIGHTS, limits, NATURAL, seed=0).best.ratios
    return Objective.of(fitted, WEIGHTS / WEIGHTS.sum(), 1.0)(found)[0]


def true_objective(ratios):
    return float((true_losses(ratios[None, :]) @ WEIGHTS)[0] / WEIGHTS.sum())


def test_optimum_is_within_a_tenth_of_the_possible_gain_of_the_true_best(optimum):
    best = true_best(WEIGHTS / WEIGHTS.sum(), LIMITS)
    regret = true_objective(optimum.best.ratios) - best
    assert regret < 0.1 * (true_objective(NATURAL) - best)


def test_optimum_is_a_mixture_within_bounds_and_groups(fitted):
    lower = np.array([0.2, 0.0, 0.1, 0.05])
    limits = Limits(lower, CAPS, (Group("rare", (2, 3), 0.2, 0.3),), LIMITS.sources, np.ones(4))
    found = solve(fitted, WEIGHTS, limits, NATURAL, seed=0)
    assert limits.hold(found.best.ratios[None, :]).all()
    free = solve(fitted, WEIGHTS, LIMITS, NATURAL, seed=0)
    assert found.best.objective + found.best.objective_sd >= free.best.objective + free.best.objective_sd - 1e-9


def test_gain_over_the_natural_mix_is_the_true_one_and_its_interval_is_about_it(optimum):
    truth = true_objective(NATURAL) - true_objective(optimum.best.ratios)
    assert optimum.gain == pytest.approx(truth, rel=0.25)
    low, high = optimum.gain_interval
    assert low <= high
    assert 0 < low < truth * 1.25
    assert high > truth * 0.75


@pytest.mark.parametrize("name", ["intervals", "posterior_intervals"])
def test_intervals_enclose_the_optimum_nearly(optimum, name):
    low, high = getattr(optimum, name)
    assert (low <= high).all()
    assert (optimum.best.ratios > low - 0.1).all()
    assert (optimum.best.ratios < high + 0.1).all()
    assert (low >= -1e-12).all()
    assert (high <= CAPS + 1e-9).all()


def test_objective_is_the_weighted_mean_of_the_metrics(optimum):
    for prediction in (optimum.best, optimum.natural, optimum.best_observed):
        assert prediction.objective == pytest.approx(prediction.metrics @ WEIGHTS / WEIGHTS.sum())
    assert optimum.gain == pytest.approx(optimum.natural.objective - optimum.best.objective)


def test_slopes_weigh_the_metrics_as_they_count_at_the_target(fitted):
    slopes = np.array([1.0, 0.2, 0.5])
    sloped = solve(fitted, WEIGHTS, LIMITS, NATURAL, seed=0, slopes=slopes)
    plain = solve(fitted, WEIGHTS * slopes, LIMITS, NATURAL, seed=0)
    assert np.abs(sloped.best.ratios - plain.best.ratios).max() < 0.02
    assert sloped.best.objective == pytest.approx(sloped.best.metrics @ (WEIGHTS / 4 * slopes))


def test_best_observed_run_is_the_lowest_of_the_runs_within_the_limits(fitted, optimum):
    row = np.argmin(fitted.losses @ WEIGHTS)
    assert np.array_equal(optimum.best_observed.ratios, fitted.mixtures[row])


def test_nearest_run_is_measured_in_l1(fitted, optimum):
    assert optimum.nearest_run_l1 == min(np.abs(run - optimum.best.ratios).sum() for run in fitted.mixtures)


def test_lifting_a_binding_cap_gains_what_its_shadow_price_says(fitted, optimum):
    binding = int(np.argmax(optimum.shadow_prices))
    assert optimum.best.ratios[binding] == pytest.approx(CAPS[binding], abs=1e-6)
    step = 0.01
    lowered, lifted = (penalised(fitted, LIMITS.allowing(binding, CAPS[binding] + side * step)) for side in (-1, 1))
    assert optimum.shadow_prices[binding] == pytest.approx((lowered - lifted) / (2 * step), rel=0.1)


def test_caps_that_do_not_bind_have_no_price(optimum):
    loose = optimum.best.ratios < CAPS - 1e-3
    assert loose.any()
    assert (optimum.shadow_prices[loose] == 0).all()


@pytest.mark.parametrize("group", [Group("web and code", (0, 2), 0.0, 0.3), Group("rare", (2, 3), 0.3, 1.0)])
def test_a_binding_group_changes_the_price_of_a_cap_within(fitted, group):
    # Code stands on its cap: with the group full, or no more than it must be, more code replaces others of the group.
    def limits(cap):
        return Limits(np.array([0, 0, 0, 0.02]), np.array([1, 0.6, cap, 0.5]), (group,), LIMITS.sources, np.ones(4))

    found = solve(fitted, WEIGHTS, limits(0.2), NATURAL, seed=0)
    total = found.best.ratios[list(group.members)].sum()
    assert min(abs(total - group.lower), abs(total - group.upper)) < 1e-6
    gained = (penalised(fitted, limits(0.19)) - penalised(fitted, limits(0.21))) / 0.02
    assert found.shadow_prices[2] == pytest.approx(gained, rel=0.1)


def test_a_group_of_all_but_one_source_is_a_bound_on_that_one(fitted):
    grouped = Limits(np.zeros(4), CAPS, (Group("others", (1, 2, 3), 0.2, 0.45),), LIMITS.sources, np.ones(4))
    bounded = Limits(np.array([0.55, 0, 0, 0]), np.array([0.8, *CAPS[1:]]), (), LIMITS.sources, np.ones(4))
    assert penalised(fitted, grouped) == pytest.approx(penalised(fitted, bounded), abs=1e-6)


def test_constraints_of_a_group_are_met_inside_and_broken_outside():
    limits = Limits(np.zeros(4), np.ones(4), (Group("rare", (2, 3), 0.2, 0.4),), LIMITS.sources, np.ones(4))
    origin = np.array([0.5, 0.3, 0.1, 0.1])
    _, group = linear_constraints(limits, origin)
    for mixture, is_inside in [
        ([0.5, 0.2, 0.2, 0.1], True),
        ([0.5, 0.4, 0.1, 0.0], False),
        ([0.2, 0.2, 0.6, 0.0], False),
    ]:
        assert (group["fun"](np.array(mixture) - origin) >= 0).all() == is_inside


@pytest.mark.parametrize(("epochs", "tokens"), [(1.0, 0.0), (0.0, 1e9)])
def test_one_more_epoch_or_billion_tokens_is_worth_what_solving_again_gains(fitted, epochs, tokens):
    def limits(more_epochs, more_tokens, source):
        there = np.arange(4) == source
        lifted = Limits.of(LIMITS.sources, UNIQUE + more_tokens * there, TARGET, 4.0, bounds={"dialogue": (0.0, 0.5)})
        return lifted.allowing(source, lifted.upper[source] + more_epochs * UNIQUE[source] / TARGET)

    now = limits(0, 0, 0)
    found = solve(fitted, WEIGHTS, now, NATURAL, seed=0, unique_tokens=UNIQUE, target_tokens=TARGET)
    worth = found.worth_of_epoch if epochs else found.worth_of_billion_tokens
    assert worth.max() > 1e-3
    for source in range(4):
        gained = penalised(fitted, now) - penalised(fitted, limits(epochs, tokens, source))
        assert worth[source] == pytest.approx(gained, rel=0.05, abs=2e-5)


def test_nothing_is_worth_anything_where_tokens_are_unknown(optimum):
    assert not optimum.worth_of_epoch.any()
    assert not optimum.worth_of_billion_tokens.any()


def test_flat_directions_cost_what_they_say(fitted, optimum):
    objective = Objective.of(fitted, WEIGHTS / WEIGHTS.sum(), 1.0)
    before = objective(optimum.best.ratios)[0]
    assert optimum.flat_directions
    for flat in optimum.flat_directions:
        assert flat.direction.sum() == pytest.approx(0.0, abs=1e-9)
        assert np.abs(flat.direction).sum() == pytest.approx(0.1)
        moved = optimum.best.ratios + flat.direction
        assert LIMITS.hold(moved[None, :]).all()
        assert objective(moved)[0] - before <= flat.rise + 1e-12
        assert flat.rise < optimum.best.objective_sd


def test_no_direction_is_flat_that_may_cost_nothing(fitted, optimum):
    objective = Objective.of(fitted, WEIGHTS / WEIGHTS.sum(), 1.0)
    assert flat_directions(objective, LIMITS, optimum.best.ratios, 0.0) == []


def test_pessimism_keeps_the_optimum_where_the_fit_is_surer(fitted):
    bold, careful = (solve(fitted, WEIGHTS, ANY, NATURAL, 0, pessimism=p).best for p in (0.0, 3.0))
    assert careful.objective_sd < bold.objective_sd
    assert careful.objective >= bold.objective - 1e-6


def test_an_optimum_far_from_all_runs_is_warned_of_with_runs_that_would_help(fitted):
    away = Limits(np.array([0.0, 0.0, 0.0, 0.9]), np.ones(4), (), LIMITS.sources, np.ones(4))  # no run has 0.9 dialogue
    found = solve(fitted, WEIGHTS, away, NATURAL, seed=0)
    assert any("from the nearest run" in warning for warning in found.warnings)
    assert any("no run is within the limits" in warning for warning in found.warnings)
    assert 1 <= len(found.helpful_runs) <= 8
    assert np.array_equal(found.helpful_runs[0], found.best.ratios)
    assert away.hold(found.helpful_runs).all()


def test_an_optimum_among_the_runs_is_not_warned_of(fitted, optimum):
    near = Limits(optimum.best.ratios - 0.01, np.minimum(optimum.best.ratios + 0.01, 1), (), LIMITS.sources, np.ones(4))
    near = Limits(np.maximum(near.lower, 0), near.upper, (), LIMITS.sources, np.ones(4))
    mixtures = np.concatenate([fitted.mixtures, optimum.best.ratios[None, :]])
    found = solve(fit(mixtures, measured_losses(mixtures, 0), METRICS, seed=0), WEIGHTS, near, NATURAL, seed=0)
    assert not [warning for warning in found.warnings if "nearest run" in warning]
    assert len(found.helpful_runs) == 0


def test_stored_fit_is_solved_for_new_weights_in_under_a_second(fitted, optimum):
    stored = Fit.from_json(fitted.to_json())
    started = time.process_time()
    reweighted = solve(stored, np.array([5.0, 0.0, 0.0]), LIMITS, NATURAL, seed=0)
    assert time.process_time() - started < 1.0
    # All weight on prose, whose best source is the first.
    assert reweighted.best.ratios[0] > optimum.best.ratios[0]


def test_same_seed_gives_the_same_optimum(fitted, optimum):
    again = solve(fitted, WEIGHTS, LIMITS, NATURAL, seed=0)
    assert again.best.ratios.tobytes() == optimum.best.ratios.tobytes()
    assert again.intervals.tobytes() == optimum.intervals.tobytes()


def test_tokens_and_epochs_follow_from_the_ratios(optimum):
    source_tokens = np.array([1000.0, 500.0, 50.0, 200.0])
    assert optimum.tokens(2000.0).sum() == pytest.approx(2000.0)
    assert np.allclose(optimum.epochs(source_tokens, 2000.0) * source_tokens, optimum.tokens(2000.0))


@pytest.mark.parametrize("weights", [[0, 0, 0], [1, -1, 1], [1, 1], [1, np.nan, 1]])
def test_weights_that_weigh_nothing_are_refused(fitted, weights):
    with pytest.raises(ValueError, match="weight"):
        solve(fitted, np.array(weights, float), LIMITS, NATURAL, seed=0)


@pytest.mark.parametrize("slopes", [[1, 1], [1, -1, 1], [1, np.inf, 1]])
def test_slopes_that_are_none_are_refused(fitted, slopes):
    with pytest.raises(ValueError, match="slope"):
        solve(fitted, WEIGHTS, LIMITS, NATURAL, seed=0, slopes=np.array(slopes, float))


def test_weight_path_goes_from_the_others_to_one_metric_alone(fitted):
    paths = weight_path(fitted, WEIGHTS, LIMITS, points=5)
    assert [path.metric for path in paths] == METRICS
    for path in paths:
        assert LIMITS.hold(path.ratios).all()
        assert np.allclose(path.shares, [0, 0.25, 0.5, 0.75, 1])
    alone = solve(fitted, np.array([1.0, 0.0, 0.0]), LIMITS, NATURAL, seed=0).best.ratios
    assert np.abs(paths[0].ratios[-1] - alone).max() < 0.02
    # Code has half of the weight: the middle of its path is the optimum for the weights given.
    now = solve(fitted, WEIGHTS, LIMITS, NATURAL, seed=0).best.ratios
    assert np.abs(paths[1].ratios[2] - now).max() < 0.02


def test_weight_path_of_the_only_weighted_metric_starts_from_the_others_in_equal_parts(fitted):
    path = weight_path(fitted, np.array([0.0, 1.0, 0.0]), LIMITS, points=2)[1]
    others = solve(fitted, np.array([1.0, 0.0, 1.0]), LIMITS, NATURAL, seed=0).best.ratios
    assert np.abs(path.ratios[0] - others).max() < 0.02


def test_response_curves_pass_through_the_optimum_and_end_at_the_limits(fitted, optimum):
    group = {"rare": GroupBound(("code", "dialogue"), 0.1, 0.6)}
    limits = Limits.of(LIMITS.sources, UNIQUE, TARGET, 4.0, groups=group)
    for source, curve in enumerate(response_curves(fitted, WEIGHTS, limits, optimum.best.ratios)):
        assert (curve.ratios[0], curve.ratios[-1]) == pytest.approx(limits.range_of(source))
        there = np.interp(optimum.best.ratios[source], curve.ratios, curve.objective)
        assert there == pytest.approx(optimum.best.objective, abs=0.01)
        assert (curve.sd > 0).all()


def test_the_others_keep_their_proportions_along_a_response_curve(fitted):
    mixture = np.array([0.4, 0.3, 0.2, 0.1])
    curve = response_curves(fitted, WEIGHTS, ANY, mixture, points=3)[1]
    mean, _ = fitted.predict(np.array([[4 / 7, 0.0, 2 / 7, 1 / 7], [2 / 7, 0.5, 1 / 7, 0.5 / 7], [0.0, 1.0, 0.0, 0.0]]))
    assert np.allclose(curve.objective, mean @ WEIGHTS / WEIGHTS.sum())


def test_the_level_of_the_losses_moves_no_optimum():
    mixtures = first_runs(NATURAL, 24, 0, LIMITS).mixtures
    losses, weights = measured_losses(mixtures, 0), np.array([1.0, 2.0, 1.0])
    here, there = (fit(mixtures, losses + level, METRICS, seed=0) for level in (0.0, 1e6))
    near, far = (solve(fitted, weights, ANY, NATURAL, seed=0).best.ratios for fitted in (here, there))
    assert np.abs(near - far).max() < 0.02
    left, right = (stop_reason(fitted, weights, ANY, 100).regret for fitted in (here, there))
    assert right == pytest.approx(left, rel=0.1)
