"""Totals told from samples hold the truth as often as they say."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.forecast.estimates import Interval, distinct_total, grown, ratio_total

TRIALS = 300


def share_held(files_of_each: list[np.ndarray], files: int, drawn: int) -> float:
    """How often the interval holds the number of distinct documents, over draws of files.

    Args:
        files_of_each: of each distinct document, the files that it lies in.
    """
    chance, held = np.random.default_rng(7), 0
    documents = np.repeat(np.arange(len(files_of_each)), [len(f) for f in files_of_each])
    where = np.concatenate(files_of_each)
    for _ in range(TRIALS):
        is_drawn = np.zeros(files, bool)
        is_drawn[chance.choice(files, drawn, replace=False)] = True
        spread = np.bincount(documents[is_drawn[where]], minlength=len(files_of_each))
        told = distinct_total(spread[spread > 0].tolist(), drawn, drawn / files, 0.9)
        held += told.low <= len(files_of_each) <= told.high
    return held / TRIALS


def scattered(counts: np.ndarray, files: int) -> list[np.ndarray]:
    """Documents that each lie in so many of the files, drawn at random."""
    chance = np.random.default_rng(11)
    return [chance.choice(files, int(c), replace=False) for c in counts]


def test_a_ratio_holds_the_truth_about_as_often_as_its_level_says() -> None:
    chance = np.random.default_rng(3)
    sizes = chance.lognormal(0, 0.4, 400)
    amounts = sizes * chance.normal(5, 1, 400)
    held = 0
    for _ in range(TRIALS):
        chosen = chance.choice(400, 20, replace=False)
        told = ratio_total(sizes[chosen], amounts[chosen], 400, sizes.sum(), 0.9)
        held += told.low <= amounts.sum() <= told.high
    assert 0.84 <= held / TRIALS <= 0.96  # three standard errors of 300 trials are 0.05


@given(st.lists(st.tuples(st.floats(1, 1e6), st.floats(0, 1e6)), min_size=1, max_size=20))
def test_a_sample_of_everything_is_the_truth(clusters: list[tuple[float, float]]) -> None:
    sizes, amounts = zip(*clusters, strict=True)
    told = ratio_total(sizes, amounts, len(clusters), sum(sizes), 0.9)
    assert told == Interval.exactly(float(np.sum(amounts)))


@given(st.lists(st.tuples(st.floats(1, 1e6), st.floats(0, 1e6)), min_size=2, max_size=20), st.floats(1.1, 1000))
def test_the_whole_is_never_told_to_be_less_than_the_sample(clusters: list[tuple[float, float]], times: float) -> None:
    sizes, amounts = zip(*clusters, strict=True)
    told = ratio_total(sizes, amounts, len(clusters) + 1, sum(sizes) * times, 0.9)
    assert sum(amounts) * (1 - 1e-9) <= told.low <= told.value * (1 + 1e-9)
    assert told.value <= told.high


def test_one_cluster_of_many_sets_no_upper_bound() -> None:
    assert ratio_total([1], [10], 10, 10, 0.9) == Interval(10, 100, math.inf)


@pytest.mark.parametrize(
    ("name", "counts", "least"),
    [
        ("no duplicates: the truth lies on the bound", np.ones(3000, int), 0.85),
        ("each document in three files: on the other bound", np.full(2000, 3), 0.85),
        ("most alone, some everywhere", np.r_[np.ones(2000, int), np.full(400, 6), np.full(50, 60)], 0.9),
        ("a heavy tail", np.minimum(np.random.default_rng(1).zipf(1.8, 2500), 100), 0.9),
    ],
)
@pytest.mark.parametrize("drawn", [10, 30])
def test_distinct_documents_are_held_however_they_lie(name: str, counts: np.ndarray, least: float, drawn: int) -> None:
    assert share_held(scattered(counts, 100), 100, drawn) >= least


def test_copies_that_lie_side_by_side_in_one_file_tell_nothing_of_other_files() -> None:
    told = distinct_total([1] * 1000, files=10, share=0.1, level=0.9)
    assert told.value == pytest.approx(10_000, rel=1e-6)  # all that was seen lies in one file: each file has its own


def test_what_lies_in_all_files_does_not_grow() -> None:
    told = distinct_total([10] * 1000, files=10, share=0.1, level=0.9)
    assert told.value == pytest.approx(1000, rel=0.05)


def test_growth_goes_on_as_from_half_of_the_files_to_all() -> None:
    # 2 files: of "a" in both half of the draws of one file see 1; of "b" and "c" in one file, half each: 1 + 2 / 2 = 2
    # of 3 documents, so that doubling files multiplies documents by 1.5, and four times as much by 1.5 squared
    assert grown(np.array([2, 1, 1]), files=2, times=4.0) == pytest.approx(3 * 1.5**2)


@given(st.tuples(*[st.floats(0, 1e9)] * 3), st.tuples(*[st.floats(0, 1e9)] * 3))
def test_sums_and_products_of_intervals_stay_in_order(one: tuple[float, ...], other: tuple[float, ...]) -> None:
    a, b = Interval(*sorted(one)), Interval(*sorted(other))
    for result in (Interval.sum([a, b]), a.times(b), a.scaled(2.0), a.widened(0.25)):
        assert result.low <= result.value <= result.high
