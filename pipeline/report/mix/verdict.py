"""Whether the mix is better than the natural one, in one line; the numbers to know; and every reason to doubt."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from pipeline.report.markup import Node, cards, element, note, number, percent, plural, rounded
from pipeline.report.mix.summary import Mix, gains, named

SPEARMAN_WANTED = 0.9  # the rank correlation of linear baselines on public swarms: a fit below it earns no trust
COVERAGE = 0.8  # the rate at which stated intervals should hold


def verdict(mix: Mix) -> Node:
    """The top of the section."""
    text, kind = conclusion(mix)
    return [
        note(element("strong", text), kind=kind),
        cards(_headlines(mix)),
        element("p", _objective_in_words(mix), class_="small"),
        [note(doubt, kind="warning") for doubt in doubts(mix)],
    ]


def conclusion(mix: Mix) -> tuple[str, str]:
    """What is known of the mix against the natural one, and the kind of remark that this makes."""
    checks = mix.summary["confirmation"]
    if not checks:
        text = "Not checked in training: no proxy was trained on this mix after it was chosen. The gain is a prediction"
        if mix.optimum["gain_interval"][0] > 0:
            return f"{text}.", "warning"
        return f"{text}, and its interval includes no gain at all: do not expect this mix to win.", "warning"
    told = "; ".join(_measured(check) for check in checks)
    if not any(check["beats_natural"] for check in checks):
        return f"In training the mix did not beat the natural mix: {told}.", "warning"
    if not all(check["beats_natural"] for check in checks):
        return f"In training the mix beat the natural mix at one size and not at another: {told}.", "warning"
    text = f"Confirmed in training on proxies: the mix beats the natural mix ({told})."
    if mix.transfer is None:
        return f"{text} Whether larger proxies rank mixtures alike was not measured.", "success"
    if not mix.transfer["confirmed"]:
        return f"{text} Whether larger models rank mixtures alike is open.", "warning"
    return f"{text} Larger proxies rank mixtures alike; from them to the target's size it is extrapolated.", "success"


def _measured(check: Any) -> str:
    gain, low, high = gains(check["gain"], *check["gain_interval"])
    better = "better" if check["gain"] > 0 else "worse"
    seeds = plural(check["seeds"], "seed")
    lost = "".join(f", {n} on the {name} mix diverged" for name, n in check["diverged"].items() if n)
    return f"size {check['size']}: {gain.lstrip('+−')} {better}, interval {low} to {high}, {seeds}{lost}"


def _headlines(mix: Mix) -> list[tuple[str, Node]]:
    optimum, checks, transfer = mix.optimum, mix.summary["confirmation"], mix.transfer
    shown: list[tuple[str, Node]] = []
    if checks:
        last = checks[-1]
        shown.append((f"measured gain, proxies of size {last['size']}", _gain(last)))
    at_target = "" if transfer is None else f" at {rounded(transfer['target_parameters'])} parameters"
    shown += [
        (f"predicted gain{at_target}", _gain(optimum)),
        ("distance to the nearest proxy", f"{optimum['nearest_run_l1']:.2f}"),
        ("to train on, tokens", rounded(optimum["target_tokens"])),
        ("proxies in the fit", number(len(mix.runs))),
    ]
    if mix.summary["diverged"]:
        shown.append(("proxies that diverged", number(mix.summary["diverged"])))
    if transfer is None:
        return [*shown, ("do larger proxies agree?", "not measured")]
    low, high = transfer["objective_interval"]
    agreement = [f"{transfer['objective_spearman']:.2f}", element("small", f" {low:.2f} to {high:.2f}")]
    said = "confirmed, " if transfer["confirmed"] else "open, "
    return [*shown, ("do larger proxies agree?", [said, *agreement])]


def _gain(found: Any) -> Node:
    gain, low, high = gains(found["gain"], *found["gain_interval"])
    return [gain, element("small", f" {low} to {high}")]


def _objective_in_words(mix: Mix) -> str:
    sized = (
        "Predictions for the target's size count each metric by as much of its differences as is expected to be left "
        "there; gains measured on proxies are those of the proxies themselves. "
        if mix.transfer
        else ""
    )
    return (
        "Gains are in bits per byte, the metrics' mean by weight: above zero is better than the natural mix, in which "
        f"each source has its share of all tokens as far as your limits allow. {sized}Intervals hold in 80 % of cases. "
        "Distance: the sum of the absolute differences of the ratios, at most 2."
    )


def doubts(mix: Mix) -> list[str]:
    """In plain words, why this mix may not be better than the natural one, or not by as much."""
    found = [
        *_of_gain(mix),
        *_of_metrics(mix),
        *_of_fit(mix),
        *_of_search(mix),
        *_of_transfer(mix),
        *mix.summary["notes"],
    ]
    return [f"{text[0].upper()}{text[1:].removesuffix('.')}." for text in found]


def _of_gain(mix: Mix) -> Iterator[str]:
    optimum = mix.optimum
    low, high = optimum["gain_interval"]
    if low > 0 and not low <= optimum["gain"] <= high:
        gain, *ends = gains(optimum["gain"], low, high)
        yield (
            f"The predicted gain of {gain} lies outside its own interval ({' to '.join(ends)}): the fit changes much "
            "from one resample of the proxies to the next"
        )
    if mix.noise is None:
        yield "No mixture was trained more than once, so it is unknown how much of any difference is chance"
    elif 0 < optimum["gain"] < 2 * mix.noise.sd:
        yield (
            "The predicted gain is less than twice the spread of one and the same mixture trained again "
            f"(standard deviation {mix.noise.sd:.2g} over {mix.noise.runs} proxies)"
        )


def _of_metrics(mix: Mix) -> Iterator[str]:
    signal = mix.summary["signal"]
    if signal is None:
        return
    weights, used, factor = mix.summary["weights"], mix.summary["used_weights"], signal["factor"]

    def fate(m: int) -> str:
        if factor[m] > 0:
            return f"{percent(factor[m])} of its weight kept"
        return "used for want of a better one" if used[m] > 0 else "left out"

    quiet = [
        f"{mix.metrics[m]} ({signal['ratio'][m]:.1f} times its noise: {fate(m)})"
        for m, weight in enumerate(weights)
        if weight > 0 and factor[m] < 1
    ]
    if quiet:
        yield f"Mixtures hardly differ beyond noise in {named(quiet)}. More or longer proxies would tell them apart"
    yield from signal["notes"]


def _of_fit(mix: Mix) -> Iterator[str]:
    families, weights = mix.summary["evidence"]["families"], mix.summary["used_weights"]
    stack, linear = families["stack"], families["linear"]
    weak = [
        f"{mix.metrics[m]} ({rho:.2f})"
        for m, rho in enumerate(stack["spearman"])
        if weights[m] > 0 and rho < SPEARMAN_WANTED
    ]
    if weak:
        yield (
            f"The regression ranks unseen mixtures poorly for {named(weak)}: a rank correlation below "
            f"{SPEARMAN_WANTED:g} is too little to choose between close mixtures. More or longer proxies would help"
        )
    worse = [mix.metrics[m] for m, rmse in enumerate(stack["rmse"]) if weights[m] > 0 and rmse >= linear["rmse"][m]]
    if worse:
        yield f"A straight-line model predicts {named(worse)} at least as well as this regression"
    yield from mix.optimum["warnings"]


def _of_search(mix: Mix) -> Iterator[str]:
    rounds = mix.summary["rounds"]
    if rounds and None not in (regret := (rounds[-1]["regret"], rounds[-1]["noise"])) and regret[0] > regret[1]:
        yield (
            f"The search ended before its expected regret ({regret[0]:.2g}) fell below the noise of a proxy "
            f"({regret[1]:.2g}): a better mix than this one may well be found with more proxies"
        )
    held, fresh = _coverage(rounds)
    if fresh and held / fresh < COVERAGE - 2 * (COVERAGE * (1 - COVERAGE) / fresh) ** 0.5:
        yield (
            f"The fit is surer than it should be: of {fresh} predictions for proxies that it had not seen, "
            f"{percent(held / fresh)} fell within intervals meant to hold {percent(COVERAGE)}. Read all intervals as "
            "wider than they are drawn"
        )


def _coverage(rounds: Any) -> tuple[float, int]:
    """How many fresh proxies fell within their stated intervals, and of how many."""
    held, fresh, before = 0.0, 0, 0
    for one in rounds:
        if one["fresh_within"] is not None:
            held += one["fresh_within"] * (one["runs"] - before)
            fresh += one["runs"] - before
        before = one["runs"]
    return held, fresh


def _of_transfer(mix: Mix) -> Iterator[str]:
    transfer = mix.transfer
    if transfer is None:
        yield "No second size of proxies was trained: how larger models rank mixtures is not measured"
    elif not transfer["confirmed"]:
        yield f"That larger models rank mixtures as the proxies do is not shown: {transfer['verdict']}"
