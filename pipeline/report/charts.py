"""Charts as inline SVG. Colours and line styles are classes of report.css, so that they follow light and dark."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from pipeline.report.markup import Markup, Node, element, number, signed

Point = tuple[float, float]
WIDTH = 460.0  # user units; about as many pixels on a screen, so that text stays readable on a phone
LEFT, RIGHT, TOP, BOTTOM = 58.0, 12.0, 14.0, 42.0


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
    return f"{value:,.{digits}f}" if abs(value) > step / 1e6 else "0"


class Plot:
    """A frame with two axes; knows where a value lies in it."""

    def __init__(self, xs: Iterable[float], ys: Iterable[float], height: float = 300.0, left: float = LEFT) -> None:
        self.x_low, self.x_high = _padded(list(xs), 0.0)
        self.y_low, self.y_high = _padded(list(ys), 0.06)
        self.height, self.left = height, left
        self.parts: list[Markup] = []

    def x(self, value: float) -> float:
        return self.left + (value - self.x_low) / (self.x_high - self.x_low) * (WIDTH - self.left - RIGHT)

    def y(self, value: float) -> float:
        span = self.height - TOP - BOTTOM
        return self.height - BOTTOM - (value - self.y_low) / (self.y_high - self.y_low) * span

    def x_axis(self, label: str) -> None:
        values = ticks(self.x_low, self.x_high)
        bottom = self.height - BOTTOM
        for value in values:
            x = self.x(value)
            self.parts.append(element("line", x1=x, x2=x, y1=TOP, y2=bottom, class_="grid"))
            self.parts.append(_text(x, bottom + 16, _tick_label(value, _step(values)), "middle"))
        self.parts.append(element("line", x1=self.left, x2=WIDTH - RIGHT, y1=bottom, y2=bottom, class_="axis"))
        self.parts.append(_text((self.left + WIDTH - RIGHT) / 2, self.height - 6, label, "middle", "label"))

    def y_axis(self, label: str) -> None:
        values = ticks(self.y_low, self.y_high)
        for value in values:
            y = self.y(value)
            self.parts.append(element("line", x1=self.left, x2=WIDTH - RIGHT, y1=y, y2=y, class_="grid"))
            self.parts.append(_text(self.left - 6, y + 4, _tick_label(value, _step(values)), "end"))
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

    def path(self, points: Sequence[Point], style: str, title: str) -> None:
        steps = " ".join(f"{'M' if i == 0 else 'L'}{self.x(x):.1f} {self.y(y):.1f}" for i, (x, y) in enumerate(points))
        self.parts.append(element("path", element("title", title), d=steps, class_=f"line {style}"))

    def band(self, points: Sequence[tuple[float, float, float]], style: str) -> None:
        """A surface between two lines: (x, low, high)."""
        there = [f"{self.x(x):.1f} {self.y(low):.1f}" for x, low, _ in points]
        back = [f"{self.x(x):.1f} {self.y(high):.1f}" for x, _, high in reversed(points)]
        self.parts.append(element("path", d=f"M{' L'.join(there + back)}Z", class_=f"band {style}"))

    def dot(self, x: float, y: float, style: str, title: str, radius: float = 4.0) -> None:
        self.parts.append(
            element("circle", element("title", title), cx=self.x(x), cy=self.y(y), r=radius, class_=f"dot {style}")
        )

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
    return element("text", text, x=x, y=y, text_anchor=anchor, class_=style)


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


def scatter(title: str, series: Sequence[Series], x_label: str, y_label: str) -> Markup:
    """Points against the diagonal on which prediction and measurement agree."""
    values = [v for s in series for point in s.points for v in point]
    low, high = _padded(values, 0.04)
    plot = Plot([low, high], [low, high], height=340)
    plot.y_low, plot.y_high = low, high
    plot.x_axis(x_label)
    plot.y_axis(y_label)
    plot.path([(low, low), (high, high)], "diagonal", "predicted = measured")
    for one in series:
        for x, y in one.points:
            plot.dot(x, y, one.style, f"{one.label}: measured {x:.3f}, predicted {y:.3f} ({signed(y - x)})")
    return plot.svg(title)


def lines(title: str, series: Sequence[Series], x_label: str, y_label: str) -> Markup:
    """One line a series; each ends in a dot."""
    points = [point for s in series for point in s.points]
    plot = Plot([x for x, _ in points], [y for _, y in points])
    plot.x_axis(x_label)
    plot.y_axis(y_label)
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


def strips(
    title: str, rows: Sequence[tuple[str, Sequence[tuple[float, str, str]], Sequence[Mark]]], x_label: str
) -> Markup:
    """For each row, values between 0 and 1 on a line: (label, [(value, style, title)], marks)."""
    plot = _rows_plot([label for label, _, _ in rows], 38.0, [0, 1], x_label)
    for i, (_, values, marks) in enumerate(rows):
        for k, (value, style, tooltip) in enumerate(values):
            plot.dot(value, -i + 0.2 * ((k * 7) % 5 - 2) / 2, style, tooltip, 3.6)
        _row_marks(plot, i, marks)
    return plot.svg(title)


def intervals(
    title: str,
    rows: Sequence[tuple[str, str, float, tuple[float, float], Mark]],
    x_label: str,
) -> Markup:
    """A bar with its interval for each row, beside a mark: (label, style, value, interval, mark)."""
    top = max(max(value, interval[1], mark.x) for _, _, value, interval, mark in rows)
    plot = _rows_plot([label for label, *_ in rows], 40.0, [0, min(1.0, top * 1.08)], x_label)
    for i, (label, style, value, (low, high), mark) in enumerate(rows):
        y, said = plot.y(-i), f"{label}: {value:.3f}, interval {low:.3f} to {high:.3f}"
        x0 = plot.x(0)
        plot.parts += [
            element(
                "rect",
                element("title", said),
                x=x0,
                y=y - 9,
                width=plot.x(value) - x0,
                height=18,
                class_=f"fill {style}",
            ),
            element("line", x1=plot.x(low), x2=plot.x(high), y1=y, y2=y, class_="whisker"),
            *(
                element("line", x1=plot.x(end), x2=plot.x(end), y1=y - 5, y2=y + 5, class_="whisker")
                for end in (low, high)
            ),
        ]
        _row_marks(plot, i, [mark])
    return plot.svg(title)


def _rows_plot(labels: Sequence[str], row_height: float, xs: Sequence[float], x_label: str) -> Plot:
    height = TOP + BOTTOM + row_height * len(labels)
    plot = Plot(xs, [0.5, -len(labels) + 0.5], height=height, left=96.0)
    plot.y_low, plot.y_high = -len(labels) + 0.5, 0.5
    plot.x_axis(x_label)
    for i, label in enumerate(labels):
        shown = label if len(label) <= 13 else label[:12] + "…"
        plot.parts.append(element("text", element("title", label), shown, x=88, y=plot.y(-i) + 4, text_anchor="end"))
    return plot


def _row_marks(plot: Plot, row: int, marks: Sequence[Mark]) -> None:
    for mark in marks:
        plot.parts.append(
            element(
                "line",
                element("title", f"{mark.label}: {mark.x:.3f}"),
                x1=plot.x(mark.x),
                x2=plot.x(mark.x),
                y1=plot.y(-row) - 14,
                y2=plot.y(-row) + 14,
                class_=f"line {mark.style}",
            )
        )


def figure(chart: Markup, caption: Node, keys: Sequence[tuple[str, str]] = ()) -> Markup:
    """A chart with its legend, (style, label), and what to see in it."""
    legend = [
        element("span", element("span", class_=f"key {style}", aria_hidden="true"), label) for style, label in keys
    ]
    return element(
        "figure",
        element("div", legend, class_="legend") if keys else None,
        chart,
        element("figcaption", caption),
    )
