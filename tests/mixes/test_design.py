"""What the runs of a swarm must be, whatever the sources."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mixes.design import InfeasibleCapsError, design, under_caps

SHARES = st.lists(st.floats(0.001, 1.0), min_size=2, max_size=12)


@st.composite
def naturals_and_caps(draw):
    """A natural mix and caps that leave room for it."""
    natural = np.array(draw(SHARES))
    natural /= natural.sum()
    slack = np.array(draw(st.lists(st.floats(1.0, 8.0), min_size=len(natural), max_size=len(natural))))
    return natural, np.minimum(natural * slack, 1.0)


@settings(max_examples=40)
@given(naturals_and_caps(), st.integers(4, 40), st.integers(0, 2**31))
def test_every_run_is_a_mixture_within_the_caps(world, count, seed):
    natural, caps = world
    runs = design(natural, count, seed, caps)
    assert runs.shape == (count, len(natural))
    assert (runs >= 0).all()
    assert np.allclose(runs.sum(axis=1), 1.0, atol=1e-12)
    assert (runs <= caps + 1e-12).all()


@settings(max_examples=20)
@given(naturals_and_caps(), st.integers(4, 40), st.integers(0, 3))
def test_natural_mix_comes_first_and_is_repeated_last(world, count, repeats):
    natural, caps = world
    runs = design(natural, max(count, repeats + 2), 0, caps, natural_repeats=repeats)
    assert np.allclose(runs[0], natural, atol=1e-12)
    assert (runs[len(runs) - repeats :] == runs[0]).all()


def test_same_seed_gives_the_same_runs_and_another_seed_gives_others():
    natural = np.array([0.6, 0.3, 0.1])
    assert design(natural, 16, 5).tobytes() == design(natural, 16, 5).tobytes()
    assert not np.array_equal(design(natural, 16, 5), design(natural, 16, 6))


def test_every_source_leads_one_run_and_is_absent_from_another():
    natural = np.array([0.6, 0.25, 0.1, 0.05])
    runs = design(natural, 32, 0)
    assert (runs.max(axis=0) >= 0.8).all()
    for source in range(4):
        others = np.where(np.arange(4) == source, 0.0, natural)
        assert np.isclose(runs, others / others.sum(), atol=1e-12).all(axis=1).any()


def test_runs_are_spread_wider_than_plain_draws_around_the_natural_mix():
    natural = np.array([0.5, 0.3, 0.15, 0.05])
    runs = np.unique(design(natural, 40, 0), axis=0)
    plain = np.random.default_rng(0).dirichlet(4 * natural, len(runs))

    def median_gap(mixtures):
        gaps = np.linalg.norm(np.sqrt(mixtures)[:, None] - np.sqrt(mixtures)[None, :], axis=2)
        return np.median(gaps[np.triu_indices(len(mixtures), 1)])

    assert median_gap(runs) > median_gap(plain)


def test_caps_that_no_mixture_meets_are_refused():
    with pytest.raises(InfeasibleCapsError, match=r"sum to 0\.7"):
        design(np.array([0.5, 0.5]), 16, 0, np.array([0.3, 0.4]))


@pytest.mark.parametrize(
    ("natural", "count", "message"),
    [([1.0], 16, "two sources"), ([0.5, 0.0], 16, "positive"), ([0.5, 0.5], 3, "no room")],
)
def test_arguments_that_make_no_design_are_refused(natural, count, message):
    with pytest.raises(ValueError, match=message):
        design(np.array(natural), count, 0)


def test_excess_over_a_cap_goes_to_the_others_in_proportion():
    # 0.6 is cut to 0.3; the 0.3 cut off goes to 0.3 and 0.1 as 3 : 1.
    assert np.allclose(under_caps(np.array([[0.6, 0.3, 0.1]]), np.array([0.3, 1.0, 1.0])), [[0.3, 0.525, 0.175]])


def test_absent_sources_take_a_share_only_when_the_present_ones_are_full():
    assert np.allclose(under_caps(np.array([[1.0, 0.0, 0.0]]), np.array([0.4, 0.9, 0.3])), [[0.4, 0.45, 0.15]])
