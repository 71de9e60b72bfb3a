"""What the runs of a swarm must be, whatever the sources."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mixes.design import farthest, first_count, first_runs, most_runs, next_runs, objective_noise, stop_reason
from mixes.limits import Group, Limits
from mixes.regression import fit
from tests.mixes.worlds import LIMITS, METRICS, NATURAL, NOISE, measured_losses

SHARES = st.lists(st.floats(0.001, 1.0), min_size=2, max_size=12)
WEIGHTS = np.array([1.0, 2.0, 1.0])
ANY = Limits.none(4)


@st.composite
def naturals_and_limits(draw):
    """A natural mix and caps that leave room for it."""
    natural = np.array(draw(SHARES))
    natural /= natural.sum()
    slack = np.array(draw(st.lists(st.floats(1.0, 8.0), min_size=len(natural), max_size=len(natural))))
    names = tuple(f"s{source}" for source in range(len(natural)))
    upper = np.minimum(natural * slack, 1.0)
    return natural, Limits(np.zeros(len(natural)), upper, (), names, np.ones(len(natural)))


@settings(max_examples=40)
@given(naturals_and_limits(), st.integers(5, 40), st.integers(0, 2**31))
def test_every_run_is_a_mixture_within_the_limits(world, count, seed):
    natural, limits = world
    design = first_runs(natural, count, seed, limits)
    assert design.mixtures.shape == (count, len(natural))
    assert len(design.purposes) == count
    assert (design.mixtures >= 0).all()
    assert np.allclose(design.mixtures.sum(axis=1), 1.0, atol=1e-9)
    assert limits.hold(design.mixtures).all()


@settings(max_examples=20)
@given(naturals_and_limits(), st.integers(4, 40), st.integers(0, 3))
def test_natural_mix_comes_first_and_is_repeated_last(world, count, repeats):
    natural, limits = world
    design = first_runs(natural, max(count, repeats + 2), 0, limits, natural_repeats=repeats)
    assert np.allclose(design.mixtures[0], natural, atol=1e-9)
    assert (design.mixtures[len(design.mixtures) - repeats :] == design.mixtures[0]).all()
    assert design.purposes[0] == "natural"
    assert design.purposes.count("repeat") == repeats


def test_natural_mix_is_repeated_three_times():
    assert first_runs(NATURAL, 24, 0, LIMITS).purposes.count("repeat") == 3


def test_same_seed_gives_the_same_runs_and_another_seed_gives_others():
    one, same, other = (first_runs(NATURAL, 16, seed, ANY).mixtures for seed in (5, 5, 6))
    assert one.tobytes() == same.tobytes()
    assert not np.array_equal(one, other)


def test_every_source_leads_one_run_and_is_absent_from_another():
    natural = np.array([0.6, 0.25, 0.1, 0.05])
    runs = first_runs(natural, 32, 0, ANY).mixtures
    assert (runs.max(axis=0) >= 0.8).all()
    for source in range(4):
        others = np.where(np.arange(4) == source, 0.0, natural)
        assert np.isclose(runs, others / others.sum(), atol=1e-12).all(axis=1).any()


def test_runs_are_spread_wider_than_plain_draws_around_the_natural_mix():
    natural = np.array([0.5, 0.3, 0.15, 0.05])
    runs = np.unique(first_runs(natural, 40, 0, ANY).mixtures, axis=0)
    plain = np.random.default_rng(0).dirichlet(4 * natural, len(runs))

    def median_gap(mixtures):
        gaps = np.linalg.norm(np.sqrt(mixtures)[:, None] - np.sqrt(mixtures)[None, :], axis=2)
        return np.median(gaps[np.triu_indices(len(mixtures), 1)])

    assert median_gap(runs) > median_gap(plain)


def test_mixes_of_the_user_are_run_within_the_limits():
    wanted = np.array([[0.1, 0.7, 0.1, 0.1], [0.25, 0.25, 0.25, 0.25]])
    design = first_runs(NATURAL, 24, 0, LIMITS, user=wanted)
    chosen = design.mixtures[[purpose == "user" for purpose in design.purposes]]
    assert np.array_equal(chosen, LIMITS.bring(wanted))


@pytest.mark.parametrize(
    ("natural", "count", "message"),
    [([1.0], 16, "two sources"), ([0.5, 0.0], 16, "positive"), ([0.5, 0.5], 4, "no room")],
)
def test_arguments_that_make_no_design_are_refused(natural, count, message):
    with pytest.raises(ValueError, match=message):
        first_runs(np.array(natural), count, 0, Limits.none(len(natural)))


def test_farthest_rows_come_in_turn():
    pool = np.array([[0.5, 0.5], [1.0, 0.0], [0.6, 0.4], [0.0, 1.0]])
    assert farthest(pool, 2, taken=pool[:1]).tolist() == [1, 3]
    assert sorted(farthest(pool, 3).tolist()) == [0, 1, 3]


@pytest.fixture(scope="module")
def fitted():
    mixtures = first_runs(NATURAL, 24, 0, LIMITS).mixtures
    return fit(mixtures, measured_losses(mixtures, 0), METRICS, seed=0)


@pytest.fixture(scope="module")
def batch(fitted):
    return next_runs(fitted, WEIGHTS, LIMITS, NATURAL, seed=1)


def test_a_batch_is_five_low_two_unsure_and_one_repeat(batch, fitted):
    assert batch.purposes == ["objective"] * 5 + ["variance"] * 2 + ["repeat"]
    assert LIMITS.hold(batch.mixtures).all()
    assert (np.abs(fitted.mixtures - batch.mixtures[-1]).sum(axis=1) == 0).any()


def test_runs_of_a_batch_keep_apart_from_one_another_and_from_the_runs_before(batch, fitted):
    fresh = batch.mixtures[:-1]
    others = np.abs(fresh[:, None, :] - fresh[None, :, :]).sum(axis=2) + 9 * np.eye(len(fresh))
    assert others.min() > 0.02
    assert np.abs(fresh[:, None, :] - fitted.mixtures[None, :, :]).sum(axis=2).min() > 0.01


def test_runs_for_the_objective_are_predicted_lower_and_the_others_less_surely(batch, fitted):
    mean, deviation = fitted.predict(batch.mixtures)
    before, _ = fitted.predict(fitted.mixtures)
    low, unsure = (np.array([p == name for p in batch.purposes]) for name in ("objective", "variance"))
    assert (mean[low] @ WEIGHTS).mean() < np.percentile(before @ WEIGHTS, 25)
    assert (deviation[unsure] @ WEIGHTS).mean() > (deviation[low] @ WEIGHTS).mean()


def test_a_batch_follows_the_weights(fitted):
    prose, code = (next_runs(fitted, np.array(w), LIMITS, NATURAL, seed=1).mixtures[:5] for w in ([1, 0, 0], [0, 1, 0]))
    assert prose[:, 0].mean() > code[:, 0].mean()
    assert code[:, 2].mean() > prose[:, 2].mean()


def test_a_batch_of_any_size_is_within_groups_and_the_same_for_the_same_seed(fitted):
    limits = Limits(np.zeros(4), np.ones(4), (Group("small", (2, 3), 0.3, 0.4),), LIMITS.sources, np.ones(4))
    for count in (1, 3, 5, 12):
        batch = next_runs(fitted, WEIGHTS, limits, NATURAL, seed=1, count=count)
        assert batch.mixtures.shape == (count, 4)
        assert limits.hold(batch.mixtures).all()
    again = next_runs(fitted, WEIGHTS, limits, NATURAL, seed=1, count=12)
    assert again.mixtures.tobytes() == batch.mixtures.tobytes()


def test_search_is_over_when_the_regret_is_below_the_noise_twice_in_a_row(fitted):
    first = stop_reason(fitted, WEIGHTS, LIMITS, max_runs=100, noise=1.0)
    assert (first.is_calm, first.is_over) == (True, False)
    assert 0 <= first.regret < 1.0
    assert "below the noise of a run, 1, for the first time" in first.reason
    second = stop_reason(fitted, WEIGHTS, LIMITS, max_runs=100, noise=1.0, was_calm=first.is_calm)
    assert second.is_over
    assert "twice in a row" in second.reason


def test_search_goes_on_while_the_regret_is_above_the_noise(fitted):
    stop = stop_reason(fitted, WEIGHTS, LIMITS, max_runs=100, noise=1e-9, was_calm=True)
    assert (stop.is_calm, stop.is_over) == (False, False)
    assert "above the noise" in stop.reason


def test_search_is_over_when_the_runs_are_spent(fitted):
    stop = stop_reason(fitted, WEIGHTS, LIMITS, max_runs=24, noise=1e-9)
    assert stop.is_over
    assert "after 24 runs" in stop.reason
    assert "more runs are not allowed" in stop.reason


@pytest.mark.parametrize(("sources", "first", "most"), [(4, 24, 56), (8, 24, 56), (16, 24, 96), (40, 60, 240)])
def test_six_runs_a_source_and_four_rounds_at_least(sources, first, most):
    assert (first_count(sources), most_runs(sources, first, round_runs=8)) == (first, most)


def test_noise_of_the_objective_is_that_of_a_run(fitted):
    weights = WEIGHTS / WEIGHTS.sum()
    # Four runs of one mixture tell a standard deviation to about 40 %.
    expected = NOISE * np.sqrt((weights**2).sum())
    assert 0.3 * expected < objective_noise(fitted, weights) < 2 * expected
    assert stop_reason(fitted, WEIGHTS, LIMITS, 100).noise == objective_noise(fitted, weights)


def test_noise_that_was_never_measured_is_said_to_be_unknown():
    mixtures = first_runs(NATURAL, 24, 0, LIMITS, natural_repeats=0).mixtures
    unrepeated = fit(mixtures, measured_losses(mixtures, 0), METRICS, seed=0)
    stop = stop_reason(unrepeated, WEIGHTS, LIMITS, max_runs=100)
    assert stop.noise is None
    assert not stop.is_over
    assert "no mixture was repeated" in stop.reason
