"""The mix itself: ratios with intervals and limits, tokens and epochs, and what more of a source would be worth."""

from __future__ import annotations

from pipeline.report.charts import Bar, Mark, bars, figure, intervals
from pipeline.report.markup import Markup, Node, element, percent, rounded, signed, table
from pipeline.report.mix.summary import Mix


def ratios(mix: Mix) -> Node:
    """The chart and the table of ratios, then the worth of more tokens."""
    return [
        element("h3", "The best mix against the natural one"),
        element("div", _chart(mix), _worth(mix), class_="pair"),
        _table(mix),
        _metrics(mix),
    ]


def _chart(mix: Mix) -> Markup:
    o = mix.optimum
    rows = [
        Bar(
            source,
            mix.styles[j],
            o["best"]["ratios"][j],
            (o["intervals"][0][j], o["intervals"][1][j]),
            Mark("natural", "natural-mark", o["natural"]["ratios"][j]),
            (o["lower"][j], o["upper"][j]),
        )
        for j, source in enumerate(mix.sources)
    ]
    return figure(
        intervals("Ratios of the best mix with intervals, limits and natural ratios", rows, "share of the tokens"),
        "Bars: the best mix. Whiskers: where the best ratio lies in 80 % of refits to resampled proxies; a long one "
        "means that the ratio matters little or is little known. Pale: what tokens, epochs and your own bounds allow; "
        "a bar that fills it would be longer if it could.",
        [("natural-mark", "natural ratio"), ("allowed", "allowed")],
    )


def _worth(mix: Mix) -> Node:
    o = mix.optimum
    scarce = [j for j in range(len(mix.sources)) if o["worth_of_epoch"][j] > 0 or o["worth_of_billion_tokens"][j] > 0]
    if not scarce:
        return element("p", "No source is used up: more tokens or epochs of any of them would not lower the objective.")
    kinds = (("worth_of_epoch", "one more epoch"), ("worth_of_billion_tokens", "one billion more unique tokens"))
    charts = [
        figure(
            bars(
                f"Fall of the objective for {what} of a source",
                [(mix.sources[j], mix.styles[j], o[key][j]) for j in scarce],
                "predicted fall of the objective",
            ),
            f"What {what} of that source alone would gain.",
        )
        for key, what in kinds
    ]
    told = "At the present slope, so true for small steps; sources that are not used up would gain nothing."
    return element("div", charts, element("p", told, class_="small"))


def _table(mix: Mix) -> Markup:
    o = mix.optimum

    def between(name: str, j: int) -> str:
        return f"{percent(o[name][0][j])} – {percent(o[name][1][j])}"

    rows = [
        (
            source,
            percent(o["best"]["ratios"][j]),
            between("intervals", j),
            between("posterior_intervals", j),
            percent(o["natural"]["ratios"][j]),
            f"{percent(o['lower'][j])} – {percent(o['upper'][j])}",
            rounded(o["tokens"][j]),
            rounded(o["unique_tokens"][j]),
            f"{o['epochs'][j]:.2f}",
            _gain(o["worth_of_epoch"][j]),
            _gain(o["worth_of_billion_tokens"][j]),
        )
        for j, source in enumerate(mix.sources)
    ]
    columns = (
        "source",
        "#best",
        "#over refits",
        "#within the fit",
        "#natural",
        "#allowed",
        "#tokens",
        "#unique tokens",
        "#epochs",
        "#worth of an epoch",
        "#of 1 B tokens",
    )
    return table("Ratios with both their 80 % intervals, tokens and epochs by source", columns, rows)


def _gain(value: float) -> str:
    return f"{value:.2g}" if value > 0 else "–"


def _metrics(mix: Mix) -> Markup:
    """What the mix does to each metric; all at the size of the proxies but for the checks of other sizes."""
    best, natural = mix.optimum["best"], mix.optimum["natural"]
    checks = mix.summary["confirmation"]
    rows = [
        (
            metric,
            percent(mix.summary["used_weights"][m]),
            f"{natural['metrics'][m]:.3f}",
            f"{best['metrics'][m]:.3f} ± {best['metrics_sd'][m]:.3f}",
            signed(natural["metrics"][m] - best["metrics"][m]),
            *(signed(check["metrics_natural"][m] - check["metrics_best"][m]) for check in checks),
        )
        for m, metric in enumerate(mix.metrics)
    ]
    measured = (f"#measured gain, {check['size']}" for check in checks)
    columns = ("metric", "#weight", "#natural, predicted", "#best, predicted", "#predicted gain", *measured)
    lost = sum(best["metrics"][m] > natural["metrics"][m] for m in range(len(mix.metrics)))
    told = f" {lost} of {len(mix.metrics)} are predicted to be worse than with the natural mix"
    shown = element("summary", "What the mix does to each metric", element("small", told))
    caption = f"Bits per byte at the proxies' size, {mix.summary['size']}; a gain above zero is better"
    return element("details", shown, table(caption, columns, rows))
