"""Whether larger models would rank mixtures as the proxies do: two sizes of proxies compared."""

from __future__ import annotations

from typing import Any

from pipeline.report.charts import Mark, Row, cloud, figure, strips
from pipeline.report.markup import Markup, Node, element, note, number, plural, rounded, table
from pipeline.report.mix.summary import Mix, weighted

NORMAL_80 = 1.2816  # standard deviations to either side that hold 80 % of a normal distribution


def transfer(mix: Mix) -> Node:
    """The verdict, slopes by metric, and the pairs; one sentence where there are none."""
    found = mix.transfer
    if found is None:
        return [
            element("h3", "Do larger proxies agree?"),
            note("Proxies of one size only: nothing is known of how larger models rank these mixtures."),
        ]
    low, high = found["objective_interval"]
    exponent = f"{found['exponent']:.2f}"
    return [
        element("h3", "Do larger proxies agree?"),
        note(_sentence(found["verdict"]), kind="success" if found["confirmed"] else "warning"),
        element(
            "p",
            f"{plural(len(found['pairs']), 'mixture')} were trained at two sizes. The objective ranks them alike with "
            f"a correlation of {found['objective_spearman']:.2f} ({low:.2f} to {high:.2f}); only where all of the "
            "interval lies above 0.9 does this report speak of agreement. A slope is the part of a metric's "
            "differences between mixtures that is left at the second size. Counted in factors, the way from the base "
            f"to the target's {rounded(found['target_parameters'])} parameters is {exponent} times that way, so "
            f"slopes are raised to the power of {exponent}.",
        ),
        element("div", _slopes(mix), _pairs(mix), class_="pair"),
        _metrics(mix),
    ]


def _sentence(text: str) -> str:
    return f"{text[0].upper()}{text[1:].removesuffix('.')}."


def _slopes(mix: Mix) -> Markup:
    found, shown = mix.transfer, mix.weightiest
    rows = [
        Row(
            mix.metrics[m],
            [(found["slopes"][m], "optimal")],
            [Mark("at the target's size", "best-mark", found["extrapolated"][m])],
            _between(found, m),
        )
        for m in shown
    ]
    ends = [end for m in shown for end in (*_between(found, m), found["extrapolated"][m])]
    chart = strips("Slopes of the metrics between sizes", rows, "slope", (min(0.0, *ends), max(1.0, *ends) * 1.04))
    hidden = len(mix.metrics) - len(shown)
    caption = (
        "Dots: what is left at the second size, with 80 % intervals; 1 is all of it. Lines: what is expected at the "
        f"target's size. All slopes together: {found['pooled_slope']:.2f}. Metrics with small slopes count less."
        + (f" The {len(shown)} metrics with most weight." if hidden else "")
    )
    return figure(chart, caption, [("optimal", "base to second size"), ("best-mark", "base to target, extrapolated")])


def _between(found: Any, m: int) -> tuple[float, float]:
    slope, sd = found["slopes"][m], found["slope_sds"][m]
    return slope - NORMAL_80 * sd, slope + NORMAL_80 * sd


def _pairs(mix: Mix) -> Markup | None:
    """The base size is weighted as the objective is: by slopes too, which are those to the second size here."""
    found, used = mix.transfer, mix.summary["used_weights"]
    if not found["pairs"]:
        return None
    scaled = [w * slope for w, slope in zip(used, found["slopes"], strict=True)]
    base = weighted([pair["base"] for pair in found["pairs"]], scaled)
    second = weighted([pair["second"] for pair in found["pairs"]], used)
    chart = cloud(
        "The objective of each mixture at both sizes",
        list(zip(base, second, strict=True)),
        "optimal",
        "base size, weighted by slopes",
        "second size",
    )
    return figure(
        chart,
        f"A dot is a mixture that was trained at both sizes: {_size(found['base'])}, and {_size(found['second'])}. "
        "Dots on one rising line: the sizes agree. A dot far to the right and low: the second size likes a mixture "
        "that the proxies do not.",
    )


def _size(size: Any) -> str:
    parts = ", ".join(f"{rounded(n)} {name}" for name, n in size.items() if name != "tokens")
    return f"{parts} parameters, {rounded(size['tokens'])} tokens" if "tokens" in size else f"{parts} parameters"


def _metrics(mix: Mix) -> Markup:
    found = mix.transfer
    rows = [
        (
            metric,
            f"{found['spearman'][m]:.2f}",
            " to ".join(f"{end:.2f}" for end in found["intervals"][m]),
            f"{found['slopes'][m]:.2f} ± {found['slope_sds'][m]:.2f}",
            f"{found['extrapolated'][m]:.2f}",
        )
        for m, metric in enumerate(mix.metrics)
    ]
    columns = ("metric", "#rank agreement", "#interval", "#slope", "#at the target's size")
    shown = element("summary", "Both sizes by metric", element("small", f" {number(len(rows))}"))
    caption = "Agreement of both sizes by metric: Spearman correlation with its interval, and slopes"
    return element("details", shown, table(caption, columns, rows))
