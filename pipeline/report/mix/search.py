"""How the mix was looked for: mixtures tried, what each round brought, and whether more proxies would help."""

from __future__ import annotations

from collections import Counter

from pipeline.report.charts import MANY_ROWS, Mark, Row, Series, figure, lines, strips
from pipeline.report.markup import Markup, Node, element, number, percent, table
from pipeline.report.mix.summary import Mix

HEAT = 5  # styles h0 (best) to h4 (worst)
BEST_RUNS = 5
PURPOSES = {
    "natural": "the natural mix",
    "user": "a mix of yours",
    "corner": "almost one source, or all but one",
    "spread": "far from the others",
    "drawn": "drawn at random",
    "repeat": "a mixture again, for its noise",
    "objective": "chosen where the best was expected",
    "variance": "chosen where least was known",
}


def search(mix: Mix) -> Node:
    """Strips, rounds, and the reason to stop."""
    rounds = mix.summary["rounds"]
    return [
        element("h3", "What was tried"),
        element("p", f"Why the search ended: {rounds[-1]['reason'].removesuffix('.')}.") if rounds else None,
        _charts(mix),
        _rounds_table(mix),
        _best_runs(mix),
    ]


def _charts(mix: Mix) -> Markup:
    """Side by side, unless the strips are so high that both others have room beside them."""
    others = [_rounds(mix), _learning(mix)]
    if len(mix.largest) > MANY_ROWS:
        return element("div", _strips(mix), element("div", others), class_="grid")
    return element("div", _strips(mix), others, class_="grid small-charts")


def _strips(mix: Mix) -> Markup:
    measured = mix.objectives
    rank = {i: place for place, i in enumerate(sorted(range(len(measured)), key=lambda i: measured[i]))}
    order = list(rank)[:: mix.stride][::-1]  # worst first, so that the best ones lie on top
    rows = [
        Row(
            mix.sources[j],
            [(mix.runs[i]["mixture"][j], f"h{rank[i] * HEAT // len(rank)}") for i in order],
            [
                Mark("best mix", "best-mark", mix.optimum["best"]["ratios"][j]),
                Mark("natural mix", "natural-mark", mix.optimum["natural"]["ratios"][j]),
            ],
        )
        for j in mix.largest
    ]
    top = max(value for row in rows for value in (*(x for x, _ in row.dots), *(mark.x for mark in row.marks)))
    x_label = "share of the source in a proxy's mixture"
    chart = strips("Mixtures of the proxies", rows, x_label, (0.0, min(1.0, 1.05 * top)))
    hidden = len(mix.sources) - len(rows)
    purposes = Counter(run["purpose"] for run in mix.runs if run["purpose"])
    told = "; ".join(f"{n} {PURPOSES.get(purpose, purpose)}" for purpose, n in purposes.most_common())
    caption = (
        f"{number(len(mix.runs))} proxies of size {mix.summary['size']}; each is one dot in "
        f"every row. Where the best fifth gathers, good mixtures lie.{f' {told}.' if told else ''}"
        + (f" The {len(rows)} largest of {len(mix.sources)} sources." if hidden else "")
        + (f" One proxy in {mix.stride} is shown." if mix.stride > 1 else "")
    )
    keys = [("h0", "best fifth by measured objective"), ("h4", "worst fifth"), ("best-mark", "best mix")]
    return figure(chart, caption, [*keys, ("natural-mark", "natural mix")])


def _rounds(mix: Mix) -> Markup | None:
    known = [one for one in mix.summary["rounds"] if one["regret"] is not None]
    if len(known) < 2:
        return None
    noise = [(one["runs"], one["noise"]) for one in known if one["noise"] is not None]
    series = [Series("expected regret", "optimal", [(one["runs"], one["regret"]) for one in known])]
    series += [Series("noise of a proxy", "natural", noise)] if noise else []
    chart = lines("Expected regret by number of proxies", series, "proxies", "objective", [0.0])
    caption = (
        "Regret: how much better than the mix recommended at that time another one may be, by the weights of that "
        "time and at the proxies' size. The search ends once it is below the noise of a proxy in two rounds in a row."
    )
    return figure(chart, caption, [("optimal", "expected regret"), ("natural", "noise of a proxy")])


def _learning(mix: Mix) -> Markup | None:
    curve = mix.summary["learning_curve"]
    if len(curve) < 2:
        return None
    series = [
        Series(label, style, [(point["runs"], point[name]) for point in curve])
        for label, style, name in (("straight line", "linear", "linear"), ("regression", "optimal", "stack"))
    ]
    chart = lines("Rank correlation by number of proxies", series, "proxies in the fit", "rank correlation")
    caption = (
        "How well fits to fewer proxies rank mixtures left out by their objective. A curve that still rises at "
        "its end promises something from more proxies."
    )
    return figure(chart, caption, [("optimal", "regression"), ("linear", "straight line")])


def _rounds_table(mix: Mix) -> Markup | None:
    rounds = mix.summary["rounds"]
    if not rounds:
        return None

    def shown(value: float | None, form: str) -> str:
        return "–" if value is None else format(value, form)

    def best(last: int) -> float:
        """By the objective of the optimum, whose weights no round knew yet: so rounds can be compared."""
        return min(y for y, run in zip(mix.objectives, mix.runs, strict=True) if run["round"] <= last)

    rows = [
        (
            str(one["round"]),
            number(one["runs"]),
            f"{best(one['round']):.3f}",
            shown(one["regret"], ".2g"),
            shown(one["noise"], ".2g"),
            shown(one["fresh_spearman"], ".2f"),
            "–" if one["fresh_within"] is None else percent(one["fresh_within"]),
            one["reason"],
        )
        for one in rounds
    ]
    columns = (
        "round",
        "#proxies so far",
        "#best measured",
        "#regret",
        "#noise",
        "#fresh: rank correlation",
        "#within 80 % interval",
        "judgement",
    )
    return table(
        "Rounds; fresh: predictions for a round's proxies, made before they were trained", columns, rows, "worded"
    )


def _best_runs(mix: Mix) -> Markup:
    best = sorted(zip(mix.objectives, mix.runs, strict=True), key=lambda found: found[0])[:BEST_RUNS]
    found = [(run["run"], f"{objective:.3f}", run["mixture"]) for objective, run in best]
    for name in ("best", "natural"):
        predicted = mix.optimum[name]
        said = f"{predicted['objective']:.3f} ± {predicted['objective_sd']:.3f}"
        found.append((f"{name} mix, predicted", said, predicted["ratios"]))
    rows = [(what, said, *(percent(ratios[j]) for j in mix.largest)) for what, said, ratios in found]
    columns = ("proxy", "#objective", *(f"#{mix.sources[j]}" for j in mix.largest))
    hidden = len(mix.sources) - len(mix.largest)
    caption = "The best proxies as measured, and the predictions"
    return table(f"{caption}; the {len(mix.largest)} largest sources" if hidden else caption, columns, rows)
