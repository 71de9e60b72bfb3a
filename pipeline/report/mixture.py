"""The mix: designed mixtures, how well the regression predicts, the optimum and how far to believe it."""

from __future__ import annotations

import statistics
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from pipeline.artifact import Artifact
from pipeline.report.charts import Mark, Series, curve, figure, intervals, scatter, strips
from pipeline.report.facts import Facts, metric_label
from pipeline.report.markup import (
    Markup,
    Node,
    cards,
    element,
    note,
    number,
    percent,
    plural,
    rounded,
    section,
    signed,
    table,
)

SPEARMAN_WANTED = 0.9  # the rank correlation of linear baselines on public swarms: a fit below it earns no trust
HEAT = 5  # styles h0 (best) to h4 (worst)


def mix_section(facts: Facts) -> Markup | None:
    """All mixes of the run."""
    found = facts.of_kind("mix")
    if not found:
        return None
    return section("mix", "Mix", [_mix(artifact, facts) for artifact in found])


def _mix(artifact: Artifact, facts: Facts) -> Node:
    summary = artifact.summary
    return [
        _headline(summary),
        [note(text, kind="warning") for text in doubts(summary)],
        element("h3", "The best mix against the natural one"),
        element("div", _ratio_chart(summary, facts), _ratio_table(summary), class_="pair"),
        element("h3", "Can the regression be believed?"),
        element(
            "p",
            "Each proxy is predicted by a fit that never saw its mixture. On the diagonal, predictions are exact; "
            "grey points are those of a straight-line model, the baseline to beat.",
        ),
        element("div", [_scatter(summary, j) for j in range(len(summary["metrics"]))], class_="grid"),
        _fit_table(summary),
        element("h3", "What was tried"),
        element("div", _design(artifact, facts), class_="grid"),
        element("h3", "What more of one source would do"),
        element(
            "p",
            "The predicted objective as one source's ratio goes from none to its cap while the others keep their "
            "proportions. Lower is better; the surface is one standard deviation wide to either side.",
        ),
        element("div", _curves(summary, facts), class_="grid"),
    ]


def _headline(summary: Any) -> Markup:
    optimum = summary["optimum"]
    low, high = optimum["gain_interval"]
    return cards(
        [
            ("predicted gain, bits per byte", signed(optimum["gain"])),
            ("its interval", f"{signed(low)} to {signed(high)}"),
            ("proxies in the fit", number(len(summary["runs"]))),
            ("proxies that diverged", number(summary["diverged"])),
            ("distance to the nearest proxy", f"{optimum['nearest_run_l1']:.2f}"),
            ("to train on, tokens", rounded(optimum["target_tokens"])),
        ]
    )


def doubts(summary: Any) -> list[str]:
    """In plain words, why this mix may not be better than the natural one."""
    optimum, evidence = summary["optimum"], summary["evidence"]["families"]
    found = []
    low, high = optimum["gain_interval"]
    if low <= 0:
        found.append(
            f"The predicted gain of {signed(optimum['gain'])} has an interval from {signed(low)} to {signed(high)}: "
            "it includes no gain at all. Do not expect this mix to win."
        )
    elif not low <= optimum["gain"] <= high:
        found.append(
            f"The predicted gain of {signed(optimum['gain'])} lies outside its own interval "
            f"({signed(low)} to {signed(high)}): the fit changes much from one resample of the proxies to the next."
        )
    weak = [
        f"{metric_label(metric)} ({spearman:.2f})"
        for metric, weight, spearman in zip(
            summary["metrics"], summary["weights"], evidence["blend"]["spearman"], strict=True
        )
        if weight > 0 and spearman < SPEARMAN_WANTED
    ]
    if weak:
        found.append(
            f"The regression ranks unseen mixtures poorly for {', '.join(weak)}: a rank correlation below "
            f"{SPEARMAN_WANTED:g} is too little to choose between close mixtures. More or longer proxies would help."
        )
    worse = [
        metric_label(metric)
        for metric, ours, linear in zip(
            summary["metrics"], evidence["blend"]["rmse"], evidence["linear"]["rmse"], strict=True
        )
        if ours >= linear
    ]
    if worse:
        found.append(f"A straight-line model predicts {', '.join(worse)} at least as well as this regression.")
    noise = repeat_noise(summary)
    if noise is not None and 0 < optimum["gain"] < 2 * noise.sd:
        found.append(
            f"The predicted gain is less than twice the spread of one and the same mixture trained again "
            f"(standard deviation {noise.sd:.3f} over {noise.runs} proxies)."
        )
    spacing = _spacing([run["mixture"] for run in summary["runs"]])
    if spacing is not None and optimum["nearest_run_l1"] > 2 * spacing:
        found.append(
            f"No proxy was trained near the best mix: the nearest is {optimum['nearest_run_l1']:.2f} away, while "
            f"proxies lie {spacing:.2f} apart (sum of absolute differences of the ratios, median)."
        )
    return found


def objectives(summary: Any, column: str = "measured") -> list[float]:
    """The weighted mean of the metrics for each proxy."""
    return [sum(w * y for w, y in zip(summary["weights"], run[column], strict=True)) for run in summary["runs"]]


@dataclass(frozen=True)
class Repeats:
    """How much the objective varies where nothing but the seed does."""

    sd: float  # standard deviation over proxies of one mixture, pooled
    runs: int  # proxies that it is estimated from


def repeat_noise(summary: Any) -> Repeats | None:
    """From the proxies whose mixture was trained more than once; None if there are none."""
    groups: dict[tuple[float, ...], list[float]] = defaultdict(list)
    for run, objective in zip(summary["runs"], objectives(summary), strict=True):
        groups[tuple(run["mixture"])].append(objective)
    repeated = [values for values in groups.values() if len(values) > 1]
    if not repeated:
        return None
    freedom = sum(len(values) - 1 for values in repeated)
    sd = (sum(statistics.variance(v) * (len(v) - 1) for v in repeated) / freedom) ** 0.5
    return Repeats(sd, sum(map(len, repeated)))


def _spacing(mixtures: Sequence[Sequence[float]]) -> float | None:
    """Median distance (L1) of a mixture to the next other one."""
    different = sorted({tuple(m) for m in mixtures})
    if len(different) < 2:
        return None
    nearest = [
        min(sum(abs(a - b) for a, b in zip(one, other, strict=True)) for other in different if other != one)
        for one in different
    ]
    return statistics.median(nearest)


def _ratio_chart(summary: Any, facts: Facts) -> Markup:
    optimum = summary["optimum"]
    rows = [
        (
            source,
            facts.sources.get(source, "s0"),
            optimum["best"]["ratios"][j],
            (optimum["intervals"][0][j], optimum["intervals"][1][j]),
            Mark("natural", "natural-mark", optimum["natural"]["ratios"][j]),
        )
        for j, source in enumerate(summary["sources"])
    ]
    return figure(
        intervals("Ratios of the best mix with intervals, and natural ratios", rows, "share of the training tokens"),
        "Bars: best mix, with the 10th to 90th percentile over refits to resampled proxies. Dashes: natural ratio.",
        [("natural-mark", "natural ratio")],
    )


def _ratio_table(summary: Any) -> Markup:
    o = summary["optimum"]
    rows = [
        (
            source,
            percent(o["best"]["ratios"][j]),
            f"{percent(o['intervals'][0][j])} – {percent(o['intervals'][1][j])}",
            percent(o["natural"]["ratios"][j]),
            rounded(o["tokens"][j]),
            rounded(o["unique_tokens"][j]),
            f"{o['epochs'][j]:.2f}",
        )
        for j, source in enumerate(summary["sources"])
    ]
    columns = ("source", "#best", "#interval", "#natural", "#tokens", "#unique tokens", "#epochs")
    return table("Ratios, tokens and epochs by source", columns, rows)


def _scatter(summary: Any, j: int) -> Markup:
    metric = metric_label(summary["metrics"][j])
    evidence = summary["evidence"]["families"]
    series = [
        Series(label, style, [(run["measured"][j], run[column][j]) for run in summary["runs"]])
        for label, style, column in (("linear baseline", "linear", "linear"), ("regression", "optimal", "left_out"))
    ]
    caption = (
        f"{metric}: rank correlation {evidence['blend']['spearman'][j]:.3f} "
        f"(linear {evidence['linear']['spearman'][j]:.3f})"
    )
    chart = scatter(
        f"{metric}: predicted against measured bits per byte", series, "measured bits per byte", "predicted, left out"
    )
    return figure(chart, caption, [("optimal", "regression"), ("linear", "linear baseline")])


def _fit_table(summary: Any) -> Markup:
    families, noise = summary["evidence"]["families"], summary["evidence"]["noise"]
    optimum = summary["optimum"]
    rows = [
        (
            metric_label(metric),
            percent(summary["weights"][j]),
            f"{families['blend']['spearman'][j]:.3f}",
            f"{families['linear']['spearman'][j]:.3f}",
            f"{families['blend']['rmse'][j]:.4f}",
            f"{families['linear']['rmse'][j]:.4f}",
            "–" if noise is None else f"{noise[j]:.4f}",
            f"{optimum['natural']['metrics'][j]:.3f}",
            f"{optimum['best']['metrics'][j]:.3f} ± {optimum['best']['metrics_sd'][j]:.3f}",
        )
        for j, metric in enumerate(summary["metrics"])
    ]
    columns = (
        "held-out source",
        "#weight",
        "#Spearman",
        "#linear",
        "#RMSE",
        "#linear",
        "#noise of a repeat",
        "#predicted, natural",
        "#predicted, best",
    )
    return table("The fit, on proxies left out of it (bits per byte)", columns, rows)


def _design(artifact: Artifact, facts: Facts) -> Node:
    summary = artifact.summary
    measured = objectives(summary)
    order = sorted(measured)
    optimum = summary["optimum"]

    def style(objective: float) -> str:
        return f"h{min(HEAT - 1, order.index(objective) * HEAT // len(order))}"

    rows = []
    for j, source in enumerate(summary["sources"]):
        values = [
            (run["mixture"][j], style(y), f"{source} {percent(run['mixture'][j])}: objective {y:.3f}")
            for run, y in zip(summary["runs"], measured, strict=True)
        ]
        marks = [
            Mark("best mix", "best-mark", optimum["best"]["ratios"][j]),
            Mark("natural mix", "natural-mark", optimum["natural"]["ratios"][j]),
        ]
        rows.append((source, values, marks))
    swarms = [facts.artifacts[name].summary for name in artifact.inputs if _is_swarm(facts, name)]
    trained = [
        f" Each proxy has {rounded(sum(s['parameters'].values()))} parameters and saw {rounded(s['tokens_per_proxy'])} "
        "tokens."
        for s in swarms
    ]
    chart = strips("Mixtures of the proxies", rows, "share of the source in a proxy's mixture")
    caption = f"{plural(len(measured), 'mixture')}; a proxy is one point in each row.{''.join(trained)}"
    keys = [("h0", "best fifth by measured objective"), ("h4", "worst fifth"), ("best-mark", "best mix")]
    return [figure(chart, caption, [*keys, ("natural-mark", "natural mix")]), _best_runs(summary, measured)]


def _is_swarm(facts: Facts, name: str) -> bool:
    return name in facts.artifacts and facts.artifacts[name].kind == "runs"


def _best_runs(summary: Any, measured: Sequence[float]) -> Markup:
    best = sorted(zip(measured, (run["mixture"] for run in summary["runs"]), strict=True))[:5]
    rows = [(f"{objective:.3f}", *(percent(ratio) for ratio in mixture)) for objective, mixture in best]
    optimum = summary["optimum"]
    for name in ("best", "natural"):
        said = f"{optimum[name]['objective']:.3f} ± {optimum[name]['objective_sd']:.3f}, {name} mix, predicted"
        rows.append((said, *(percent(ratio) for ratio in optimum[name]["ratios"])))
    columns = ("objective", *(f"#{source}" for source in summary["sources"]))
    return table("The five best proxies as measured, and the predictions", columns, rows)


def _curves(summary: Any, facts: Facts) -> list[Markup]:
    curves = summary["curves"]
    ends = [m + s * d for c in curves for m, d in zip(c["objective"], c["sd"], strict=True) for s in (-1, 1)]
    optimum = summary["optimum"]
    keys = [("best-mark", "best mix"), ("natural-mark", "natural")]
    return [
        figure(
            curve(
                f"{source}: predicted objective by ratio",
                list(zip(one["ratio"], one["objective"], one["sd"], strict=True)),
                facts.sources.get(source, "s0"),
                [
                    Mark("best mix", "best-mark", optimum["best"]["ratios"][j]),
                    Mark("natural", "natural-mark", optimum["natural"]["ratios"][j]),
                ],
                (min(ends), max(ends)),
                (f"ratio of {source}", "objective"),
            ),
            element("strong", source),
            keys,
        )
        for j, (source, one) in enumerate(zip(summary["sources"], curves, strict=True))
    ]
