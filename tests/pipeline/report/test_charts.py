"""Charts: where values come to lie."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st
from lxml import etree

from pipeline.report.charts import (
    Mark,
    Plot,
    Series,
    curve,
    histogram,
    intervals,
    lines,
    scatter,
    share_bar,
    strips,
    ticks,
)

FINITE = st.floats(-1e6, 1e6, allow_nan=False)


def _all(svg: str, tag: str) -> list[etree._Element]:
    return etree.fromstring(svg).findall(f".//{tag}")


@given(FINITE, st.floats(1e-3, 1e6))
def test_ticks_are_evenly_spaced_and_inside_the_range(low: float, span: float) -> None:
    found = ticks(low, low + span)
    assert 2 <= len(found) <= 11
    assert all(low - span * 1e-6 <= t <= low + span * (1 + 1e-6) for t in found)
    steps = [b - a for a, b in itertools.pairwise(found)]
    assert max(steps) - min(steps) < span * 1e-6


def test_ticks_are_round_numbers() -> None:
    assert ticks(0, 1) == pytest.approx([0, 0.2, 0.4, 0.6, 0.8, 1.0])
    assert ticks(97, 512) == [100, 200, 300, 400, 500]


@given(st.lists(FINITE, min_size=1, max_size=5), st.lists(FINITE, min_size=1, max_size=5))
def test_every_value_lies_inside_the_frame(xs: list[float], ys: list[float]) -> None:
    plot = Plot(xs, ys)
    assert all(plot.left - 0.01 <= plot.x(x) <= 448.01 for x in xs)
    assert all(13.99 <= plot.y(y) <= 258.01 for y in ys)


def test_a_share_bar_is_filled_in_proportion() -> None:
    bar = share_bar([("kept", 30, "kept"), ("dropped", 60, "dropped"), ("failed", 0, "failed")], 120, "step")
    assert [(float(r.get("x")), float(r.get("width"))) for r in _all(bar, "rect")] == [(0, 25), (25, 50)]


def test_a_share_bar_of_nothing_is_empty() -> None:
    assert _all(share_bar([("kept", 0, "kept")], 0, "step"), "rect") == []


def test_a_scatter_has_a_point_a_run_and_a_perfect_prediction_lies_on_the_diagonal() -> None:
    svg = scatter("t", [Series("fit", "optimal", [(1.0, 1.0), (2.0, 1.5), (3.0, 3.0)])], "x", "y")
    start, end = _all(svg, "path")[0].get("d").removeprefix("M").split(" L")
    (x0, y0), (x1, y1) = (map(float, point.split()) for point in (start, end))
    offsets = [
        float(dot.get("cy")) - (y0 + (float(dot.get("cx")) - x0) * (y1 - y0) / (x1 - x0)) for dot in _all(svg, "circle")
    ]
    assert offsets[0] == pytest.approx(0, abs=0.5)
    assert offsets[1] > 10  # predicted too low: below the diagonal, and y grows downwards
    assert offsets[2] == pytest.approx(0, abs=0.5)


def test_a_falling_loss_is_drawn_downwards() -> None:
    (path,) = _all(lines("t", [Series("a", "optimal", [(0, 5.0), (10, 3.0)])], "step", "loss"), "path")
    heights = [float(point.split()[1]) for point in path.get("d").removeprefix("M").split(" L")]
    assert heights[1] > heights[0]


def test_a_histogram_shows_shares_of_each_series() -> None:
    bars = _all(histogram("t", [("good", "positive", [0, 10]), ("bad", "negative", [100, 100])], "score"), "rect")
    good, *bad = (float(bar.get("height")) for bar in bars)
    assert bad == [pytest.approx(good / 2, abs=0.02)] * 2


def test_empty_and_constant_series_are_drawn() -> None:
    flat = [(0.0, 1.0), (1.0, 1.0)]
    for svg in (
        lines("t", [Series("none", "optimal", [])], "x", "y"),
        lines("t", [Series("flat", "optimal", flat)], "x", "y"),
        curve("t", [(0.0, 1.0, 0.0)], "s0", [Mark("m", "best-mark", 0.0)], (1.0, 1.0), ("x", "y")),
        strips("t", [("a", [(0.0, "h0", "p")], [])], "x"),
        intervals("t", [("a", "s0", 0.0, (0.0, 0.0), Mark("natural", "natural-mark", 0.0))], "x"),
    ):
        assert etree.fromstring(svg).get("viewBox")
