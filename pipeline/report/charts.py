"""Charts as inline SVG. Colours and line styles are classes of report.css, so that they follow light and dark."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from pipeline.report.markup import Markup, Node, element, number, signed

Point = tuple[float, float]
WIDTH = 460.0  # user units; about as many pixels on a screen, so that text stays readable on a phone
LEFT, RIGHT, TOP, BOTTOM = 58.0, 18.0, 14.0, 42.0
MOST_DIGITS = 6  # behind the point of a tick's label
MANY_ROWS = 8  # more are drawn closer together


@dataclass(frozen=True)
class Series:
    """Named points; ``style`` is a class of report.css (s0 to s7 for sources, optimal, natural, linear)."""

    label: str
    style: str
    points: Sequence[Point]


@dataclass(frozen=True)
class Mark:
    """A vertical line at ``x``."""

    label: str
    style: str
    x: float


@dataclass(frozen=True)
class Row:
    """One line of a chart of rows: values (value, style), the interval they stem from, and lines to compare with."""

    label: str
    dots: Sequence[tuple[float, str]]
    marks: Sequence[Mark] = ()
    interval: tuple[float, float] | None = None


@dataclass(frozen=True)
class Bar:
    """One bar of a chart of intervals. ``limits``: between which the value may lie."""

    label: str
    style: str
    value: float
    interval: tuple[float, float]
    mark: Mark
    limits: tuple[float, float] = (0.0, 1.0)


def ticks(low: float, high: float, count: int = 5) -> list[float]:
    """Round numbers (steps of 1, 2 or 5 times a power of ten) within [low, high], about ``count`` of them."""
    if high <= low:
        return [low]
    raw = (high - low) / count
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(power * m for m in (1, 2, 5, 10) if power * m >= raw * 0.999)
    first = math.ceil(low / step - 1e-9)
    found = []
    while first * step <= high + step * 1e-9:
        found.append(first * step)
        first += 1
    return found


def _tick_label(value: float, step: float) -> str:
    digits = max(0, -math.floor(math.log10(step))) if step > 0 else 2
    if abs(value) <= step / 1e6:
        return "0"
    return f"{value:,.{digits}f}" if digits <= MOST_DIGITS else f"{value:.1e}"


class Plot:
    """A frame with two axes; knows where a value lies in it."""

    def __init__(self, xs: Iterable[float], ys: Iterable[float], height: float = 300.0, left: float = 0.0) -> None:
        self.x_low, self.x_high = _padded(list(xs), 0.0)
        self.y_low, self.y_high = _padded(list(ys), 0.06)
        values = ticks(self.y_low, self.y_high)
        widest = max(len(_tick_label(value, _step(values))) for value in values)
        self.height, self.left = height, left or max(LEFT, 34.0 + 9.0 * widest)
        self.parts: list[Markup] = []

    def x(self, value: float) -> float:
        return self.left + (value - self.x_low) / (self.x_high - self.x_low) * (WIDTH - self.left - RIGHT)

    def y(self, value: float) -> float:
        span = self.height - TOP - BOTTOM
        return self.height - BOTTOM - (value - self.y_low) / (self.y_high - self.y_low) * span

    def x_axis(self, label: str) -> None:
        values = ticks(self.x_low, self.x_high)
        bottom = self.height - BOTTOM
        self._grid(f"M{self.x(value):.0f} {TOP:.0f}V{bottom:.0f}" for value in values)
        for value in values:
            self.parts.append(_text(self.x(value), bottom + 16, _tick_label(value, _step(values)), "middle"))
        self.parts.append(element("line", x1=self.left, x2=WIDTH - RIGHT, y1=bottom, y2=bottom, class_="axis"))
        self.parts.append(_text((self.left + WIDTH - RIGHT) / 2, self.height - 6, label, "middle", "label"))

    def y_axis(self, label: str) -> None:
        values = ticks(self.y_low, self.y_high)
        self._grid(f"M{self.left:.0f} {self.y(value):.0f}H{WIDTH - RIGHT:.0f}" for value in values)
        for value in values:
            self.parts.append(_text(self.left - 6, self.y(value) + 4, _tick_label(value, _step(values)), "end"))
        middle = (TOP + self.height - BOTTOM) / 2
        self.parts.append(
            element(
                "text",
                label,
                x=13,
                y=middle,
                class_="label",
                text_anchor="middle",
                transform=f"rotate(-90 13 {middle:.0f})",
            )
        )

    def _grid(self, steps: Iterable[str]) -> None:
        self.parts.append(element("path", d="".join(steps), class_="grid"))

    def path(self, points: Sequence[Point], style: str, title: str) -> None:
        steps = " ".join(f"{'M' if i == 0 else 'L'}{self.x(x):.1f} {self.y(y):.1f}" for i, (x, y) in enumerate(points))
        self.parts.append(element("path", element("title", title), d=steps, class_=f"line {style}"))

    def band(self, points: Sequence[tuple[float, float, float]], style: str) -> None:
        """A surface between two lines: (x, low, high)."""
        there = [f"{self.x(x):.0f} {self.y(low):.1f}" for x, low, _ in points]
        back = [f"{self.x(x):.0f} {self.y(high):.1f}" for x, _, high in reversed(points)]
        self.parts.append(element("path", d=f"M{' L'.join(there + back)}Z", class_=f"band {style}"))

    def dot(self, x: float, y: float, style: str, title: str, radius: float = 4.0) -> None:
        self.parts.append(
            element("circle", element("title", title), cx=self.x(x), cy=self.y(y), r=radius, class_=f"dot {style}")
        )

    def dots(self, points: Iterable[Point], style: str) -> None:
        """Points without titles of their own: seven bytes each, so that there may be thousands.

        From left to right, each by its distance from the last; of several on one pixel there is one.
        """
        steps, last = "", (0, 0)
        for x, y in sorted({(round(self.x(x)), round(self.y(y))) for x, y in points}):
            steps += f"m{x - last[0]}{y - last[1]:+d}h0"
            last = (x, y)
        if steps:
            self.parts.append(element("path", d=f"M0 0{steps}", class_=f"dots {style}"))

    def whisker(self, low: float, high: float, y: float) -> None:
        """An interval at the height ``y`` of the chart."""
        x0, x1 = self.x(low), self.x(high)
        steps = f"M{x0:.1f} {y - 5:.1f}v10M{x1:.1f} {y - 5:.1f}v10M{x0:.1f} {y:.1f}H{x1:.1f}"
        self.parts.append(element("path", element("title", f"{low:.3f} to {high:.3f}"), d=steps, class_="whisker"))

    def mark(self, mark: Mark) -> None:
        x = self.x(mark.x)
        self.parts.append(
            element(
                "line",
                element("title", f"{mark.label}: {number(round(mark.x, 4))}"),
                x1=x,
                x2=x,
                y1=TOP,
                y2=self.height - BOTTOM,
                class_=f"line {mark.style}",
            )
        )

    def svg(self, title: str) -> Markup:
        return _svg(title, self.height, self.parts)


def _svg(title: str, height: float, parts: Iterable[Node]) -> Markup:
    return element(
        "svg",
        element("title", title),
        *parts,
        viewBox=f"0 0 {WIDTH:.0f} {height:.0f}",
        role="img",
        aria_label=title,
        class_="chart",
    )


def _text(x: float, y: float, text: str, anchor: str, style: str | None = None) -> Markup:
    return element("text", text, x=round(x), y=round(y), text_anchor=anchor, class_=style)


def _step(values: Sequence[float]) -> float:
    return values[1] - values[0] if len(values) > 1 else 0.0


def _padded(values: Sequence[float], share: float) -> tuple[float, float]:
    low, high = min(values, default=0.0), max(values, default=1.0)
    if high == low:
        return low - 0.5, high + 0.5
    margin = share * (high - low)
    return low - margin, high + margin


def share_bar(shares: Sequence[tuple[str, float, str]], whole: float, title: str) -> Markup:
    """A bar as wide as its cell: (label, value, style) one after another, ``whole`` is the full width."""
    at = 0.0
    parts: list[Markup] = []
    for label, value, style in shares:
        width = 100 * value / whole if whole else 0.0
        if value > 0:
            width = max(width, 0.4)  # one document among millions is still there
            parts.append(
                element(
                    "rect",
                    element("title", f"{label}: {number(value)}"),
                    x=round(at, 3),
                    y=0,
                    width=round(width, 3),
                    height=10,
                    class_=f"fill {style}",
                )
            )
            at += width
    return element(
        "svg", *parts, viewBox="0 0 100 10", preserveAspectRatio="none", role="img", aria_label=title, class_="bar"
    )


def scatter(
    title: str, series: Sequence[Series], x_label: str, y_label: str, singled_out: Sequence[Series] = ()
) -> Markup:
    """Points (measured, predicted) against the diagonal on which both agree; each one ``singled_out`` has a title."""
    values = [v for s in (*series, *singled_out) for point in s.points for v in point]
    low, high = _padded(values, 0.04)
    plot = Plot([low, high], [low, high], height=340)
    plot.y_low, plot.y_high = low, high
    plot.x_axis(x_label)
    plot.y_axis(y_label)
    plot.path([(low, low), (high, high)], "diagonal", "predicted = measured")
    for one in series:
        plot.dots(one.points, one.style)
    for one in singled_out:
        for x, y in one.points:
            plot.dot(x, y, one.style, f"{one.label}: measured {x:.3f}, predicted {y:.3f} ({signed(y - x)})")
    return plot.svg(title)


def cloud(title: str, points: Sequence[Point], style: str, x_label: str, y_label: str) -> Markup:
    """Points of two measures that need not be equal."""
    plot = Plot([*_padded([x for x, _ in points], 0.06)], [y for _, y in points])
    plot.x_axis(x_label)
    plot.y_axis(y_label)
    plot.dots(points, style)
    return plot.svg(title)


def areas(title: str, layers: Sequence[Series], x_label: str, y_label: str, now: float) -> Markup:
    """Shares of a whole, one upon another, with a mark where x is ``now``.

    All layers have the same xs, and their values add up to 1.
    """
    plot = Plot([x for x, _ in layers[0].points], [0, 1], height=240)
    plot.y_low, plot.y_high = 0.0, 1.0
    bottom, top, shapes = f"{plot.y(0):.0f}", [0.0] * len(layers[0].points), []
    for layer in layers:
        top = [low + y for low, (_, y) in zip(top, layer.points, strict=True)]
        edge = "L".join(f"{plot.x(x):.0f} {plot.y(y):.0f}" for (x, _), y in zip(layer.points, top, strict=True))
        shape = f"M{edge}V{bottom}H{plot.x(layer.points[0][0]):.0f}Z"
        shapes.append(element("path", element("title", layer.label), d=shape, class_=f"area {layer.style}"))
    plot.parts += reversed(shapes)  # each reaches down to zero, and those below it lie on top of it
    plot.x_axis(x_label)
    plot.y_axis(y_label)
    plot.mark(Mark("now", "natural-mark", now))
    return plot.svg(title)


def lines(
    title: str,
    series: Sequence[Series],
    x_label: str,
    y_label: str,
    y_range: Sequence[float] = (),
    marks: Sequence[Mark] = (),
) -> Markup:
    """One line a series; each ends in a dot. Values of ``y_range`` lie within the frame whatever the points are."""
    points = [point for s in series for point in s.points]
    plot = Plot([x for x, _ in points], [*y_range, *(y for _, y in points)])
    plot.x_axis(x_label)
    plot.y_axis(y_label)
    for mark in marks:
        if plot.x_low <= mark.x <= plot.x_high:
            plot.mark(mark)
    for one in series:
        if one.points:
            plot.path(one.points, one.style, one.label)
            x, y = one.points[-1]
            plot.dot(x, y, one.style, f"{one.label}: {y:.3f} at {number(x)}", 3.5)
    return plot.svg(title)


def curve(
    title: str,
    points: Sequence[tuple[float, float, float]],
    style: str,
    marks: Sequence[Mark],
    y_range: tuple[float, float],
    labels: tuple[str, str],
) -> Markup:
    """A curve with its uncertainty: (x, mean, standard deviation); ``y_range`` is common to several charts."""
    plot = Plot([x for x, _, _ in points], y_range, height=240)
    plot.x_axis(labels[0])
    plot.y_axis(labels[1])
    plot.band([(x, mean - sd, mean + sd) for x, mean, sd in points], style)
    for mark in marks:
        if plot.x_low <= mark.x <= plot.x_high:
            plot.mark(mark)
    plot.path([(x, mean) for x, mean, _ in points], style, title)
    return plot.svg(title)


def histogram(
    title: str, series: Sequence[tuple[str, str, Sequence[int]]], x_label: str, of: str = "of the side"
) -> Markup:
    """Counts over equal bins from 0 to 1, as shares of each series: (label, style, counts)."""
    bins = len(series[0][2])
    plot = Plot([0, 1], [0, 1], height=240)
    plot.y_low, plot.y_high = 0.0, 1.0
    plot.x_axis(x_label)
    plot.y_axis(f"share {of}")
    width = (plot.x(1) - plot.x(0)) / bins
    for i, (label, style, counts) in enumerate(series):
        for k, n in enumerate(counts):
            y = plot.y(n / max(1, sum(counts)))
            if n:
                plot.parts.append(
                    element(
                        "rect",
                        element("title", f"{label}: {n:,} from {k / bins:g} to {(k + 1) / bins:g}"),
                        x=plot.x(k / bins) + 1 + i * (width - 2) / len(series),
                        y=y,
                        width=(width - 2) / len(series),
                        height=plot.height - BOTTOM - y,
                        class_=f"fill {style}",
                    )
                )
    return plot.svg(title)


def strips(title: str, rows: Sequence[Row], x_label: str, x_range: Sequence[float] = (0.0, 1.0)) -> Markup:
    """The values of each row on a line; those of one style are drawn together, in the order of first appearance."""
    plot = _rows_plot([row.label for row in rows], x_range, x_label)
    by_style: dict[str, list[Point]] = {}
    for i, row in enumerate(rows):
        if row.interval is not None:
            plot.whisker(*row.interval, plot.y(-i))
        spread = 0.2 if len(row.dots) > 1 else 0.0  # up and down, so that dots do not cover each other
        for k, (value, style) in enumerate(row.dots):
            by_style.setdefault(style, []).append((value, -i + spread * ((k * 7) % 5 - 2) / 2))
    for style, points in by_style.items():
        plot.dots(points, style)
    for i, row in enumerate(rows):
        _row_marks(plot, i, row.marks)
    return plot.svg(title)


def intervals(title: str, bars: Sequence[Bar], x_label: str) -> Markup:
    """A bar with its interval for each row, beside a mark and over the range that its limits leave it."""
    top = max(max(bar.value, bar.interval[1], bar.mark.x) for bar in bars)
    plot = _rows_plot([bar.label for bar in bars], [0, min(1.0, top * 1.08)], x_label)
    for i, bar in enumerate(bars):
        y, (low, high) = plot.y(-i), bar.interval
        allowed = [min(max(limit, 0.0), plot.x_high) for limit in bar.limits]
        said = f"{bar.label}: {bar.value:.3f}, interval {low:.3f} to {high:.3f}"
        plot.parts += [
            _bar(
                plot, allowed[0], allowed[1], y, 11, "allowed", f"allowed: {bar.limits[0]:.3f} to {bar.limits[1]:.3f}"
            ),
            _bar(plot, 0.0, bar.value, y, 7, bar.style, said),
        ]
        plot.whisker(low, high, y)
        _row_marks(plot, i, [bar.mark])
    return plot.svg(title)


def bars(title: str, rows: Sequence[tuple[str, str, float]], x_label: str) -> Markup:
    """A bar for each row: (label, style, value), none below zero."""
    plot = _rows_plot([label for label, _, _ in rows], [0.0, 1.1 * max(value for *_, value in rows) or 1.0], x_label)
    for i, (label, style, value) in enumerate(rows):
        plot.parts.append(_bar(plot, 0.0, value, plot.y(-i), 7, style, f"{label}: {value:.4g}"))
    return plot.svg(title)


def _bar(plot: Plot, low: float, high: float, y: float, half: float, style: str, title: str) -> Markup:
    x0, x1 = plot.x(low), plot.x(high)
    return element(
        "rect", element("title", title), x=x0, y=y - half, width=x1 - x0, height=2 * half, class_=f"fill {style}"
    )


def _rows_plot(labels: Sequence[str], xs: Sequence[float], x_label: str) -> Plot:
    row_height = 38.0 if len(labels) <= MANY_ROWS else 28.0
    height = TOP + BOTTOM + row_height * len(labels)
    plot = Plot(xs, [0.5, -len(labels) + 0.5], height=height, left=96.0)
    plot.y_low, plot.y_high = -len(labels) + 0.5, 0.5
    plot.x_axis(x_label)
    for i, label in enumerate(labels):
        shown = label if len(label) <= 12 else f"{label[:4]}…{label[-6:]}"  # names differ at their ends
        plot.parts.append(element("text", element("title", label), shown, x=88, y=plot.y(-i) + 4, text_anchor="end"))
    return plot


def _row_marks(plot: Plot, row: int, marks: Sequence[Mark]) -> None:
    y = plot.y(-row)
    for mark in marks:
        line = f"M{plot.x(mark.x):.1f} {y - 13:.1f}v26"
        title = element("title", f"{mark.label}: {mark.x:.3f}")
        plot.parts.append(element("path", title, d=line, class_=f"line {mark.style}"))


def figure(chart: Markup, caption: Node, keys: Sequence[tuple[str, str]] = ()) -> Markup:
    """A chart with its legend and what to see in it."""
    return element("figure", legend(keys) if keys else None, chart, element("figcaption", caption))


def legend(keys: Sequence[tuple[str, str]]) -> Markup:
    """What styles stand for, (style, label), in one chart or in several beside each other."""
    spans = [
        element("span", element("span", class_=f"key {style}", aria_hidden="true"), label) for style, label in keys
    ]
    return element("div", spans, class_="legend")
