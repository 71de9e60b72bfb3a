"""Proxies trained on the chosen mix and on the natural one: what was predicted, and what came of it."""

from __future__ import annotations

import statistics
from typing import Any

from pipeline.report.charts import Row, figure, legend, strips
from pipeline.report.markup import Markup, Node, element, plural, table
from pipeline.report.mix.summary import Mix, gains


def confirmation(mix: Mix) -> Node:
    """Nothing if no proxy was trained on the mix."""
    checks = mix.summary["confirmation"]
    if not checks:
        return None
    return [
        element("h3", "Trained on this mix, to check"),
        element(
            "p",
            "Dots are proxies. Each seed is trained on both mixes, and the mix wins where the 80 % interval of the "
            "seeds' mean gain lies above zero: by chance alone, in one case of ten. A measured gain near the one "
            "that was predicted before they were trained speaks for the regression.",
        ),
        legend(
            [
                ("optimal", "best mix"),
                ("natural", "natural mix"),
            ]
        ),
        element("div", [_seeds(check) for check in checks], class_="grid"),
        _sizes(checks),
    ]


def _seeds(check: Any) -> Markup:
    rows = [
        Row(f"{label} mix", [(objective, style) for objective in check[name]], [])
        for label, name, style in (("best", "best", "optimal"), ("natural", "natural", "natural"))
    ]
    values = [*check["best"], *check["natural"]]
    margin = 0.08 * (max(values) - min(values))
    chart = strips(
        f"Size {check['size']}: measured objective of each seed",
        rows,
        "objective, lower is better",
        (min(values) - margin, max(values) + margin),
    )
    return figure(chart, f"Size {check['size']}, {plural(check['seeds'], 'seed')}")


def _sizes(checks: Any) -> Markup:
    rows = []
    for check in checks:
        gain, low, high, predicted = gains(check["gain"], *check["gain_interval"], check["predicted_gain"])
        means = _mean(check["natural"]), _mean(check["best"])
        size, seeds = check["size"], str(check["seeds"])
        rows.append((size, seeds, *means, gain, f"{low} to {high}", predicted, check["verdict"]))
    columns = ("size", "#seeds", "#natural", "#best", "#measured gain", "#interval", "#predicted gain", "verdict")
    return table("Objective in training, mean ± standard deviation over seeds", columns, rows, "worded")


def _mean(values: list[float]) -> str:
    spread = f" ± {statistics.stdev(values):.3f}" if len(values) > 1 else ""
    return f"{statistics.fmean(values):.3f}{spread}"
