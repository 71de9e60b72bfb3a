"""Whether the regression can be believed: predictions for proxies that it never saw, against what they measured."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pipeline.report.charts import Series, figure, legend, scatter
from pipeline.report.markup import Markup, Node, element, percent, table
from pipeline.report.mix.summary import Mix

OPEN = 4  # metrics whose charts are shown at once; the others are folded away
BASELINE = "linear"
FAMILIES = {
    "gp": "Gaussian process",
    "power_law": "power law",
    "exponent_law": "power law, own exponents",
    "linear": "straight line",
    "lightgbm": "LightGBM",
}


def fit(mix: Mix) -> Node:
    """Charts of the weightiest metrics, tables of all."""
    shown, rest = mix.weightiest[:OPEN], mix.weightiest[OPEN:]
    hidden = len(mix.metrics) - len(mix.weightiest)
    told = f" Charts show the {len(mix.weightiest)} metrics with most weight; tables hold all." if hidden else ""
    told += f" Of {len(mix.runs)} proxies they show one in {mix.stride}." if mix.stride > 1 else ""
    return [
        element("h3", "Can the regression be believed?"),
        element(
            "p",
            "Each proxy is predicted by a fit that never saw its mixture. On the diagonal, predictions are exact; "
            "grey points are those of a straight-line model, the baseline to beat. Proxies chosen by an earlier "
            f"fit, where it expected the best mix, have a colour of their own: there it counts most.{told}",
        ),
        legend(_keys(mix)),
        element("div", [_scatter(mix, m) for m in shown], class_="grid"),
        _folded(mix, rest),
        _tables(mix),
        _families(mix),
    ]


def _folded(mix: Mix, metrics: list[int]) -> Markup | None:
    if not metrics:
        return None
    shown = element("summary", "Predicted against measured, further metrics", element("small", f" {len(metrics)}"))
    return element("details", shown, element("div", [_scatter(mix, m) for m in metrics], class_="grid"))


def _scatter(mix: Mix, m: int) -> Markup:
    families, metric = mix.summary["evidence"]["families"], mix.metrics[m]

    def points(column: str, later: bool) -> list[tuple[float, float]]:
        return [(run["measured"][m], run[column][m]) for run in mix.runs[:: mix.stride] if (run["round"] > 0) == later]

    series = [
        Series("linear baseline", "linear", points(BASELINE, False) + points(BASELINE, True)),
        Series("regression", "optimal", points("left_out", False)),
        Series("regression, chosen later", "later", points("left_out", True)),
    ]
    checked = [
        Series(f"{name} mix, trained to check", style, [(check[f"metrics_{name}"][m], mix.optimum[name]["metrics"][m])])
        for check in _checks(mix)
        for name, style in (("best", "checked"), ("natural", "checked-natural"))
    ]
    chart = scatter(
        f"{metric}: predicted against measured bits per byte",
        series,
        "measured bits per byte",
        "predicted, left out",
        checked,
    )
    caption = (
        f"{metric} (weight {percent(mix.summary['used_weights'][m])}): rank correlation "
        f"{families['stack']['spearman'][m]:.3f}, straight line {families[BASELINE]['spearman'][m]:.3f}"
    )
    return figure(chart, caption)


def _keys(mix: Mix) -> list[tuple[str, str]]:
    keys = [("optimal", "regression"), ("linear", "straight line")]
    if any(run["round"] > 0 for run in mix.runs):
        keys.insert(1, ("later", "regression, proxies chosen later"))
    if _checks(mix):
        keys += [("checked", "best mix, trained to check"), ("checked-natural", "natural mix, trained to check")]
    return keys


def _checks(mix: Mix) -> list[Any]:
    """Those of the size that the fit predicts."""
    return [check for check in mix.summary["confirmation"] if check["size"] == mix.summary["size"]]


def _tables(mix: Mix) -> Node:
    rest = sorted(set(range(len(mix.metrics))) - set(mix.weightiest))
    told = (
        "Spearman and RMSE are over proxies left out of the fit, at random or, for RMSE by region, whole regions of "
        "mixtures at a time. Noise is the standard deviation of one mixture trained again; a metric whose mixtures "
        "differ by less than three times of it loses weight."
    )
    folded = element("summary", "The fit of further metrics", element("small", f" {len(rest)}"))
    return [
        _table(mix, mix.weightiest),
        element("p", told, class_="small"),
        element("details", folded, _table(mix, rest)) if rest else None,
    ]


def _table(mix: Mix, metrics: Sequence[int]) -> Markup:
    s, evidence = mix.summary, mix.summary["evidence"]
    stack, linear, signal = evidence["families"]["stack"], evidence["families"][BASELINE], s["signal"]
    rows = [
        (
            mix.metrics[m],
            percent(s["weights"][m]),
            percent(s["used_weights"][m]),
            "–" if signal is None else f"{signal['ratio'][m]:.1f}",
            "–" if evidence["noise"] is None else f"{evidence['noise'][m]:.4f}",
            f"{stack['spearman'][m]:.3f}",
            f"{linear['spearman'][m]:.3f}",
            f"{stack['rmse'][m]:.4f}",
            f"{linear['rmse'][m]:.4f}",
            f"{stack['region_rmse'][m]:.4f}",
            f"{linear['region_rmse'][m]:.4f}",
        )
        for m in metrics
    ]
    columns = (
        "metric",
        "#weight",
        "#used",
        "#signal to noise",
        "#noise",
        "#Spearman",
        "#straight line",
        "#RMSE",
        "#straight line",
        "#RMSE by region",
        "#straight line",
    )
    return table("The fit by metric, in bits per byte", columns, rows)


def _families(mix: Mix) -> Markup:
    """What the regression is made of."""
    evidence = mix.summary["evidence"]
    families = {name: scores for name, scores in evidence["families"].items() if name != "stack"}
    weights = evidence["family_weights"]

    def cell(name: str, m: int) -> str:
        share = f" ({percent(weights[name][m])})" if name in weights else ""
        return f"{families[name]['spearman'][m]:.3f}, {families[name]['rmse'][m]:.4f}{share}"

    rows = [(metric, *(cell(name, m) for name in families)) for m, metric in enumerate(mix.metrics)]
    columns = ("metric", *(f"#{FAMILIES.get(name, name.replace('_', ' '))}" for name in families))
    shown = element("summary", "What the regression is made of", element("small", f" {len(families)} kinds of law"))
    caption = "Each family alone: Spearman and RMSE on proxies left out, and its weight in the regression"
    return element("details", shown, table(caption, columns, rows))
