"""What would change with the ratios, and what the ratios would change with: curves, directions and weights."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pipeline.report.charts import Mark, Series, areas, curve, figure, legend
from pipeline.report.facts import metric_label
from pipeline.report.markup import Markup, Node, element
from pipeline.report.mix.summary import Mix, named

MOVE = 0.05  # share of the tokens that a flat direction is told for: a sum of absolute differences of 0.1
LEAST_MOVE = 0.005
MOST_PATHS = 6
MOST_LAYERS = 7  # sources with colours of their own


def responses(mix: Mix) -> Node:
    """One-source curves, flat directions, and the optimum under other weights."""
    return [
        element("h3", "What more of one source would do"),
        element(
            "p",
            "The predicted objective as one source's ratio goes from none to its limit while the others keep their "
            "proportions. Lower is better; the surface is one standard deviation wide to either side. A flat curve: "
            "the ratio matters little." + _hidden(mix),
        ),
        legend([("best-mark", "best mix"), ("natural-mark", "natural mix")]),
        element("div", [_curve(mix, j) for j in mix.largest], class_="grid small-charts"),
        _flat(mix),
        _paths(mix),
    ]


def _hidden(mix: Mix) -> str:
    shown = len(mix.largest)
    return "" if shown == len(mix.sources) else f" The {shown} largest of {len(mix.sources)} sources."


def _curve(mix: Mix, j: int) -> Markup:
    shown = [mix.summary["curves"][i] for i in mix.largest]
    ends = [m + s * d for c in shown for m, d in zip(c["objective"], c["sd"], strict=True) for s in (-1, 1)]
    one, source = mix.summary["curves"][j], mix.sources[j]
    chart = curve(
        f"{source}: predicted objective by ratio",
        list(zip(one["ratio"], one["objective"], one["sd"], strict=True)),
        mix.styles[j],
        [
            Mark("best mix", "best-mark", mix.optimum["best"]["ratios"][j]),
            Mark("natural", "natural-mark", mix.optimum["natural"]["ratios"][j]),
        ],
        (min(ends), max(ends)),
        ("its ratio", "objective"),
    )
    return figure(chart, element("strong", source))


def _flat(mix: Mix) -> Node:
    found = [said for one in mix.optimum["flat_directions"] if (said := _in_words(mix, one))]
    if not found:
        return None
    noise = "" if mix.noise is None else f" For scale: one mixture trained again differs by {mix.noise.sd:.2g}."
    return [
        element("h3", "What you may change at little cost"),
        element("p", f"From the best mix, by the fit; the reverse costs about as much.{noise}"),
        element("ul", [element("li", said) for said in found]),
    ]


def _in_words(mix: Mix, flat: Any) -> str | None:
    """5 points from web to code cost 0.001; None for a direction that moves nothing."""
    length = sum(map(abs, flat["direction"]))
    if length == 0:
        return None
    moves = [2 * MOVE * part / length for part in flat["direction"]]
    gives, takes = _movers(mix, [-m for m in moves]), _movers(mix, moves)
    return f"{100 * MOVE:.0f} points from {gives} to {takes} cost {flat['rise']:.2g}"


def _movers(mix: Mix, moves: Sequence[float]) -> str:
    """The sources that move up, most first, with their points where there are several."""
    up = sorted(((move, source) for move, source in zip(moves, mix.sources, strict=True) if move > 0), reverse=True)
    told = [one for one in up if one[0] >= LEAST_MOVE] or up
    if len(told) == 1:
        return told[0][1]
    return named([f"{source} ({100 * move:.1f})" for move, source in told], 4)


def _paths(mix: Mix) -> Node:
    weightiest = {mix.summary["metrics"][m]: place for place, m in enumerate(mix.weightiest)}
    known = [path for path in mix.summary["weight_path"] if path["points"] and path["metric"] in weightiest]
    paths = sorted(known, key=lambda path: weightiest[path["metric"]])[:MOST_PATHS]
    if not paths:
        return None
    layers = _layers(mix, paths)
    rest = [("quiet", "all others")] if len(layers) < len(mix.sources) else []
    hidden = len(mix.metrics) - len(paths)
    return [
        element("h3", "How the mix would change with your weights"),
        element(
            "p",
            "The best mix as one metric's weight goes from nothing to all, the others keeping their proportions. Where "
            "colours change fast, the mix hangs on how much you want that metric: choose its weight with care. Other "
            "weights need no new proxies: sluice mix solve answers from the stored fit."
            + (f" The {len(paths)} metrics with most weight." if hidden else ""),
        ),
        legend([*((style, mix.sources[j]) for j, style in layers.items()), *rest, ("natural-mark", "weight now")]),
        element("div", [_path(mix, path, layers) for path in paths], class_="grid small-charts"),
    ]


def _layers(mix: Mix, paths: Sequence[Any]) -> dict[int, str]:
    """The sources that have most of any mix on these paths, with colours that differ."""
    highest = [max(p["ratios"][j] for path in paths for p in path["points"]) for j in range(len(mix.sources))]
    shown = sorted(sorted(range(len(mix.sources)), key=lambda j: -highest[j])[:MOST_LAYERS])
    own = [mix.styles[j] for j in shown]
    styles = own if len(set(own)) == len(own) else [f"s{place}" for place in range(len(shown))]
    return dict(zip(shown, styles, strict=True))


def _path(mix: Mix, path: Any, shown: Mapping[int, str]) -> Markup:
    points, metric = path["points"], metric_label(path["metric"])
    layers = [
        Series(mix.sources[j], style, [(point["share"], point["ratios"][j]) for point in points])
        for j, style in shown.items()
    ]
    if len(shown) < len(mix.sources):
        rest = [(point["share"], max(0.0, 1 - sum(point["ratios"][j] for j in shown))) for point in points]
        layers.append(Series("all others", "quiet", rest))
    now = mix.summary["weights"][mix.summary["metrics"].index(path["metric"])]
    chart = areas(f"{metric}: the best mix by its weight", layers, "its weight", "share of the tokens", now)
    return figure(chart, [element("strong", metric), f": weight now {now:.2f}"])
