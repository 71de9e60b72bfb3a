"""Charts: where values come to lie."""

import itertools
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from lxml import etree

from pipeline.report.charts import (
    Bar,
    Mark,
    Plot,
    Row,
    Series,
    areas,
    bars,
    cloud,
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
    assert all(plot.left - 0.01 <= plot.x(x) <= 442.01 for x in xs)
    assert all(13.99 <= plot.y(y) <= 258.01 for y in ys)


def test_tiny_values_have_short_labels_that_leave_room_for_the_plot() -> None:
    plot = Plot([0.0], [0.0, 1e-206])
    assert plot.left < 150
    plot.y_axis("y")
    assert all(len(text.text) <= 8 for text in _all(plot.svg("t"), "text"))


def test_a_share_bar_is_filled_in_proportion() -> None:
    bar = share_bar([("kept", 30, "kept"), ("dropped", 60, "dropped"), ("failed", 0, "failed")], 120, "step")
    assert [(float(r.get("x")), float(r.get("width"))) for r in _all(bar, "rect")] == [(0, 25), (25, 50)]


def test_a_share_bar_of_nothing_is_empty() -> None:
    assert _all(share_bar([("kept", 0, "kept")], 0, "step"), "rect") == []


def _places(path: str) -> list[tuple[int, int]]:
    """Of dots: each is given by its distance from the last."""
    steps = re.findall(r"m(-?\d+)([+-]\d+)h0", path)
    xs, ys = zip(*((int(x), int(y)) for x, y in steps), strict=True)
    return list(zip(itertools.accumulate(xs), itertools.accumulate(ys), strict=True))


def test_a_scatter_has_a_point_a_run_and_a_perfect_prediction_lies_on_the_diagonal() -> None:
    svg = scatter("t", [Series("fit", "optimal", [(1.0, 1.0), (2.0, 1.5), (3.0, 3.0)])], "x", "y")
    (diagonal,) = [path for path in _all(svg, "path") if path.get("class") == "line diagonal"]
    (dots,) = [path for path in _all(svg, "path") if path.get("class") == "dots optimal"]
    start, end = diagonal.get("d").removeprefix("M").split(" L")
    (x0, y0), (x1, y1) = (map(float, point.split()) for point in (start, end))
    offsets = [y - (y0 + (x - x0) * (y1 - y0) / (x1 - x0)) for x, y in _places(dots.get("d"))]
    assert offsets[0] == pytest.approx(0, abs=1.2)  # dots lie on whole pixels
    assert offsets[1] > 10  # predicted too low: below the diagonal, and y grows downwards
    assert offsets[2] == pytest.approx(0, abs=1.2)


def test_points_that_are_singled_out_have_titles() -> None:
    checks = [Series("check", "checked", [(1.5, 1.25)])]
    (dot,) = _all(scatter("t", [Series("fit", "optimal", [(1.0, 1.0), (2.0, 2.0)])], "x", "y", checks), "circle")
    assert dot.findtext("title") == "check: measured 1.500, predicted 1.250 (−0.250)"


def test_points_on_one_pixel_are_drawn_once() -> None:
    plot = Plot([0, 1], [0, 1])
    plot.dots([(0.5, 0.5), (0.5, 0.5000001), (0.9, 0.1)], "optimal")
    (dots,) = _all(plot.svg("t"), "path")
    assert _places(dots.get("d")) == [
        (round(plot.x(0.5)), round(plot.y(0.5))),
        (round(plot.x(0.9)), round(plot.y(0.1))),
    ]


def test_layers_of_areas_reach_to_the_sum_of_those_below_them() -> None:
    layers = [Series("a", "s0", [(0, 0.25), (1, 1.0)]), Series("b", "s1", [(0, 0.75), (1, 0.0)])]
    plot = Plot([0, 1], [0, 1], height=240)
    top, bottom = (p.get("d") for p in _all(areas("t", layers, "x", "y", 0.5), "path")[:2])
    first, last = top.removeprefix("M").split("V")[0].split("L")
    assert first.split()[1] == last.split()[1]  # all of it at both ends
    assert float(bottom.removeprefix("M").split("L")[0].split()[1]) > float(first.split()[1])
    assert plot.height == 240


def test_bars_are_as_long_as_their_values() -> None:
    widths = [float(r.get("width")) for r in _all(bars("t", [("a", "s0", 1.0), ("b", "s1", 4.0)], "x"), "rect")]
    assert widths[1] == pytest.approx(4 * widths[0], rel=0.001)


def test_a_falling_loss_is_drawn_downwards() -> None:
    paths = _all(lines("t", [Series("a", "optimal", [(0, 5.0), (10, 3.0)])], "step", "loss"), "path")
    (path,) = [path for path in paths if path.get("class") == "line optimal"]
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
        strips("t", [Row("a", [(0.0, "h0")])], "x"),
        intervals("t", [Bar("a", "s0", 0.0, (0.0, 0.0), Mark("natural", "natural-mark", 0.0))], "x"),
        bars("t", [("a", "s0", 0.0)], "x"),
        cloud("t", [(1.0, 1.0)], "optimal", "x", "y"),
    ):
        assert etree.fromstring(svg).get("viewBox")
