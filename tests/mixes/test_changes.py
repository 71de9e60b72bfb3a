"""Runs of yesterday's sources are runs of today's."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mixes.changes import ChangeError, Merge, Split, adapted, merge_distance, never_tried, removed
from mixes.runs import Runs


def runs_of(sources, mixtures):
    rows = np.array(mixtures, dtype=np.float64)
    names = tuple(str(row) for row in range(len(rows)))
    return Runs(tuple(sources), ("loss",), names, rows, np.arange(len(rows), dtype=np.float64)[:, None])


@pytest.fixture
def runs():
    return runs_of(["web", "code", "books"], [[0.5, 0.3, 0.2], [0.0, 1.0, 0.0], [0.8, 0.0, 0.2]])


def test_a_new_source_was_in_no_run(runs):
    now = adapted(runs, ["web", "code", "books", "papers"])
    assert now.sources == ("web", "code", "books", "papers")
    assert now.mixtures.tolist() == [[0.5, 0.3, 0.2, 0.0], [0.0, 1.0, 0.0, 0.0], [0.8, 0.0, 0.2, 0.0]]
    assert never_tried(now) == ("papers",)


def test_a_removed_source_keeps_its_column_and_is_named(runs):
    now = adapted(runs, ["books", "web"])
    assert now.sources == ("books", "web", "code")
    assert now.mixtures[0].tolist() == [0.2, 0.5, 0.3]
    assert removed(now, ["books", "web"]) == ("code",)


def test_a_split_source_gives_its_parts_their_share_of_the_tokens(runs):
    now = adapted(runs, ["news", "forums", "code", "books"], [Split("web", {"news": 30, "forums": 10})])
    assert np.allclose(now.mixtures[0], [0.375, 0.125, 0.3, 0.2])
    assert removed(now, ["news", "forums", "code", "books"]) == ()


def test_merged_sources_add_up(runs):
    now = adapted(runs, ["text", "code"], [Merge("text", {"web": 3, "books": 1})])
    assert np.allclose(now.mixtures, [[0.7, 0.3], [0.0, 1.0], [1.0, 0.0]])


def test_a_merge_says_how_far_the_runs_were_from_the_merged_source(runs):
    # In the first run web : books is 0.5 : 0.2; in proportion 3 : 1 it would be 0.525 : 0.175. The third: 0.8 to 0.75.
    assert merge_distance(runs, Merge("text", {"web": 3, "books": 1})) == pytest.approx(0.05)
    assert merge_distance(runs, Merge("text", {"web": 4, "books": 1})) == pytest.approx(0.06)


def test_measurements_and_ids_stay(runs):
    now = adapted(runs, ["text", "code"], [Merge("text", {"web": 3, "books": 1})])
    assert now.ids == runs.ids
    assert np.array_equal(now.values, runs.values)


@given(st.integers(0, 2**31), st.lists(st.floats(1, 1e12), min_size=2, max_size=5))
def test_merging_the_parts_of_a_split_gives_the_runs_back(seed, tokens):
    before = runs_of(["a", "b"], np.random.default_rng(seed).dirichlet([1, 1], 5))
    parts = {f"part{i}": count for i, count in enumerate(tokens)}
    split = adapted(before, [*parts, "b"], [Split("a", parts)])
    assert np.allclose(split.mixtures.sum(axis=1), 1.0)
    assert merge_distance(split, Merge("a", parts)) < 1e-9
    assert np.allclose(adapted(split, ["a", "b"], [Merge("a", parts)]).mixtures, before.mixtures)


@pytest.mark.parametrize(
    ("now", "changes", "message"),
    [
        (["a", "b"], [Split("wbe", {"a": 1, "b": 1})], "split of wbe: the runs have the sources web, code, books"),
        (["code", "books"], [Split("web", {"code": 1, "rest": 1})], "split into code: .* of that name already"),
        (["web", "x"], [Merge("x", {"code": 1})], "needs at least two parts"),
        (["web", "x"], [Merge("x", {"code": 1, "books": 0})], "positive number of tokens"),
        (["web", "code", "books"], [Split("web", {"a": 1, "b": 1})], "a, b should come of a change"),
        (["web", "web"], [], "name one twice"),
    ],
)
def test_changes_that_lead_nowhere_are_refused(runs, now, changes, message):
    with pytest.raises(ChangeError, match=message):
        adapted(runs, now, changes)
