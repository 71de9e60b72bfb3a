"""Quality classifiers, measured on documents they have not seen, and the cutoffs of the best shares."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pipeline.artifact import Artifact
from pipeline.report.charts import Plot, figure, histogram
from pipeline.report.facts import Facts
from pipeline.report.markup import Markup, Node, cards, element, note, number, percent, section, table

FEW_HELD_OUT = 50  # documents of a side below which precision and recall are anecdotes
UNEVEN = 3  # from so many documents of one side for one of the other, 0.5 is no fair line between them
GROUPS = 40  # of cutoffs that are shown, the largest ones
TIED = 1.01  # a kept share so many times the wanted one comes of equal scores

Summary = Mapping[str, Any]


def quality_section(facts: Facts) -> Markup | None:
    """How well each classifier tells its two sides apart, and where the best shares begin."""
    classifiers = [_classifier(artifact) for artifact in facts.of_kind("classifier")]
    cutoffs = [_cutoffs(artifact) for artifact in facts.of_kind("cutoffs")]
    if not classifiers and not cutoffs:
        return None
    return section("quality", "Quality", classifiers, cutoffs)


def _classifier(artifact: Artifact) -> Node:
    summary, config = artifact.summary, artifact.steps[0]["config"]
    sides = summary["documents"]
    rows = [
        (side, ", ".join(config.get(side, ())), number(sides[side]["training"]), number(sides[side]["held_out"]))
        for side in ("positive", "negative")
    ]
    return [
        element("h3", artifact.name),
        cards(
            [
                ("area under the ROC curve", f"{summary['auc']:.3f}"),
                ("average precision", f"{summary['average_precision']:.3f}"),
                ("precision at 0.5", percent(summary["precision"])),
                ("recall at 0.5", percent(summary["recall"])),
                ("Brier score", f"{summary['brier']:.3f} of {summary['brier_constant']:.3f}"),
            ]
        ),
        [note(warning, kind="warning") for warning in _warnings(summary)],
        element("div", _scores(artifact.name, summary), _calibration(artifact.name, summary), class_="grid"),
        table("Documents it learnt from", ("side", "artifacts", "#training", "#held out"), rows),
        _trials(summary) if summary["trials"] else None,
    ]


def _warnings(summary: Summary) -> list[str]:
    found = []
    held_out = [summary["documents"][side]["held_out"] for side in ("positive", "negative")]
    training = [summary["documents"][side]["training"] for side in ("positive", "negative")]
    if min(held_out) < FEW_HELD_OUT:
        found.append(
            f"Measured on only {held_out[0]:,} good and {held_out[1]:,} other documents: take these numbers as a hint."
        )
    if max(training) >= UNEVEN * min(training):
        found.append(
            f"It learnt from {training[0]:,} good and {training[1]:,} other documents: its scores are probabilities at "
            "that ratio, so 0.5 is no fair line between the two. Keep by top_share, or train with balance: true."
        )
    if summary["precision"] == 0 and summary["recall"] == 0:
        found.append("It calls no held-out good document good at 0.5: it has learnt nothing usable at that threshold.")
    return found


def _scores(name: str, summary: Summary) -> Markup:
    bins = len(summary["histogram"]["positive"])
    chart = histogram(
        f"{name}: scores of held-out documents",
        [(side, side, summary["histogram"][side]) for side in ("positive", "negative")],
        "probability of being good",
    )
    caption = f"Held-out documents of each side in {bins} bins of the score; the further apart, the better."
    return figure(chart, caption, [("positive", "positive"), ("negative", "negative")])


def _calibration(name: str, summary: Summary) -> Markup:
    bins = summary["calibration"]
    plot = Plot([0, 1], [0, 1], height=240)
    plot.x_axis("mean score of a bin")
    plot.y_axis("share of good documents")
    plot.path([(0, 0), (1, 1)], "diagonal", "score = share of good documents")
    plot.path([(one["score"], one["good"]) for one in bins], "positive", f"{name}: calibration")
    for one in bins:
        title = f"{number(one['documents'])} documents: mean score {one['score']:.3f}, {percent(one['good'])} good"
        plot.dot(one["score"], one["good"], "positive", title)
    caption = (
        "Calibration on held-out documents: on the dashed line, a score is the probability of being good. The Brier "
        "score is the mean squared error of the scores; of the second number, what one constant score would get."
    )
    return figure(plot.svg(f"{name}: calibration"), caption)


def _trials(summary: Summary) -> Markup:
    chosen = summary["settings"]
    rows = [
        (
            "chosen" if all(trial[name] == chosen[name] for name in chosen) else "",
            *(number(trial[name]) for name in chosen),
            f"{trial['auc']:.4f}",
            f"{trial['brier']:.4f}",
        )
        for trial in summary["trials"]
    ]
    columns = ("", *(f"#{name}" for name in chosen), "#area under the ROC curve", "#Brier score")
    return table("Settings tried, measured on a tenth of the training documents", columns, rows)


def _cutoffs(artifact: Artifact) -> Node:
    found = sorted(artifact.summary["cutoffs"], key=lambda c: (-c["documents"], c["source"] or "", c["language"] or ""))
    absent, shown = artifact.summary["absent_sources"], found[:GROUPS]
    rows = [
        (
            cutoff["source"] or "all",
            cutoff["language"] or "–",
            number(cutoff["documents"]),
            number(cutoff["documents"] - cutoff["scored"]),
            "–" if cutoff["score"] is None else f"{cutoff['score']:.4g}",
            number(cutoff["kept"]),
            percent(cutoff["share"]),
            percent(cutoff["kept"] / cutoff["scored"]) if cutoff["scored"] else "–",
        )
        for cutoff in shown
    ]
    columns = (
        "source",
        "language",
        "#documents",
        "#without score",
        "#cutoff",
        "#from there on",
        "#wanted share",
        "#reached share",
    )
    more = f" The {len(shown)} largest of {len(found):,} groups." if len(found) > len(shown) else ""
    tied = [c for c in found if c["scored"] and c["kept"] > max(1, TIED * c["share"] * c["scored"] + 1)]
    return [
        element("h3", artifact.name),
        [note(f"top_share names {name}, but no document is of that source.", kind="warning") for name in absent],
        note(
            f"In {len(tied):,} of {len(found):,} groups more documents are kept than wanted: many have the same score, "
            "and they stay or go together.",
            kind="warning",
        )
        if tied
        else None,
        table(f"Best shares by {artifact.summary['score']}, over all parts.{more}", columns, rows),
    ]
