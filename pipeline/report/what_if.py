"""What other thresholds would keep: each score's histogram with its threshold, which the page's script lets one move.

A sample of documents goes into the page with all its scores, so that several thresholds can be moved together.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from pipeline.artifact import Artifact
from pipeline.filter import Filter, Rule
from pipeline.report.charts import BOTTOM, RIGHT, TOP, WIDTH, Plot
from pipeline.report.facts import Facts
from pipeline.report.markup import Markup, Node, breakable, element, number
from pipeline.report.script import data_block
from pipeline.rethreshold import DecidedStep, Ending

Floats = NDArray[np.float64]

DOCUMENTS = 2000  # in the page, of each artifact: about a hundred bytes each, and a share known to 1 %
BINS = 40
EDGES = (0.005, 0.995)  # quantiles that a histogram spans; what lies outside is in its first and last bin
HEIGHT = 190.0

FREE, LOST, UNSEEN = 0, 1, 2
"""What else decides about a document: nothing, something that no threshold here can change, or a step that has not seen
it since an earlier one dropped it."""


@dataclass(frozen=True)
class Score:
    """A rule that compares one number of each document with one limit."""

    step: DecidedStep
    rule: Rule
    limit: float


@dataclass
class Sample:
    """Scores of all documents that are looked at."""

    steps: Sequence[DecidedStep]  # filters
    scores: dict[tuple[str, str], Score] = field(default_factory=dict)  # by label and reason
    values: dict[tuple[str, str], list[Floats]] = field(default_factory=dict)
    states: list[NDArray[np.int8]] = field(default_factory=list)

    def add(self, rows: pa.Table, endings: Sequence[Ending]) -> None:
        """Documents of one part, and how each ended."""
        by_rule = {
            (step.label, rule.reason): number_
            for number_, step in enumerate(self.steps)
            if step.filter is not None
            for rule in step.filter.rules
        }
        ended = np.array(
            [
                len(self.steps) if verdict == "kept" else by_rule.get((step, reason), -1)
                for verdict, step, reason, _ in endings
            ]
        )
        state = np.where(ended < 0, LOST, FREE).astype(np.int8)
        for number_, step in enumerate(self.steps):
            assert step.filter is not None
            if not step.filter.measures_dropped:
                state[(ended >= 0) & (ended < number_)] = UNSEEN
            for rule, broken in step.filter.broken(rows):
                key, limit = (step.label, rule.reason), _limit(step.filter, rule, rows)
                column = rows.column(rule.measure)
                if limit is None:
                    state[broken] = LOST
                    continue
                self.scores.setdefault(key, Score(step, rule, limit))
                values = column.cast(pa.float64()).to_numpy(zero_copy_only=False)
                self.values.setdefault(key, []).append(values)
        self.states.append(state)


def _limit(filter_: Filter[Any], rule: Rule, rows: pa.Table) -> float | None:
    """The one number that the rule compares numbers with; None if it is switched off or compares anything else."""
    kind = rows.column(rule.measure).type
    limit = filter_.limit(rule, rows)
    is_number = isinstance(limit, int | float) and not isinstance(limit, bool)
    if not is_number or rule.drops not in ("<", "<=", ">", ">=") or rule.option in filter_.edits_by:
        return None
    return float(limit) if pa.types.is_integer(kind) or pa.types.is_floating(kind) else None


def what_if(facts: Facts, artifact: Artifact, sample: Sample) -> Node:
    """A histogram for each score, and the sample for the script; None where no rule compares a number."""
    states = np.concatenate([np.empty(0, np.int8), *sample.states])
    whole = {key: np.concatenate(values) for key, values in sample.values.items()}
    # A rule that is switched off for some parts alone has no score for all documents.
    scores = {key: score for key, score in sample.scores.items() if len(whole[key]) == len(states)}
    if not scores or not len(states):
        return None
    broken = {key: _broken(score, whole[key]) for key, score in scores.items()}
    others = np.sum(list(broken.values()), axis=0) + (states == LOST)
    rng = np.random.default_rng(int(facts.seed) if facts.seed.isdigit() else 1)
    chosen = np.sort(rng.choice(len(states), min(DOCUMENTS, len(states)), replace=False))
    anchor = f"what-if-{artifact.name}"
    told = {
        "documents": len(states),
        "states": "".join(map(str, states[chosen].tolist())),
        "command": f"sluice rethreshold {facts.run.folder.name} {artifact.name}",
        "rules": [
            {
                "option": f"{score.step.label.removeprefix(artifact.name + '.')}.{score.rule.option}",
                "drops": score.rule.drops,
                "limit": score.limit,
                "values": [None if np.isnan(v) else float(f"{v:.5g}") for v in whole[key][chosen].tolist()],
            }
            for key, score in scores.items()
        ],
    }
    figures = [
        _figure(score, whole[key], broken[key], others - broken[key] > 0, number_)
        for number_, (key, score) in enumerate(scores.items())
    ]
    return [
        element("p", class_="what-if remark", data_from=anchor),
        element("div", figures, class_="rules", data_from=anchor),
        data_block(anchor, told),
    ]


def _broken(score: Score, values: Floats) -> NDArray[np.bool_]:
    compared = {"<": np.less, "<=": np.less_equal, ">": np.greater, ">=": np.greater_equal}[score.rule.drops]
    return np.asarray(compared(values, score.limit))  # false where nothing was measured


def _figure(
    score: Score, values: Floats, broken: NDArray[np.bool_], lost_otherwise: NDArray[np.bool_], number_: int
) -> Markup:
    measured = ~np.isnan(values)
    title = f"{score.step.label}: {score.rule.named()}"
    caption = element("figcaption", element("strong", breakable(score.step.label)), f" {score.rule.named()}")
    if not measured.any():
        return element("figure", caption, element("p", "Nothing was measured.", class_="small"))
    low, high = np.quantile(values[measured], EDGES).tolist()
    if high <= low:
        low, high = min(low, score.limit), max(high, score.limit)
    if high <= low:
        low, high = low - 0.5, high + 0.5
    span = high - low
    if low - span <= score.limit <= high + span:  # one far away would squeeze the histogram: its line is at the edge
        low, high = min(low, score.limit), max(high, score.limit)
    edges = np.linspace(low, high, BINS + 1)
    inside = np.clip(values, low, high)
    here, elsewhere = (np.histogram(inside[measured & side], edges)[0] for side in (~lost_otherwise, lost_otherwise))
    plot = Plot([low, high], [0.0, float((here + elsewhere).max())], height=HEIGHT)
    plot.y_low = 0.0
    plot.x_axis(score.rule.named())
    plot.y_axis("documents")
    plot.parts.append(_bars(plot, edges, np.zeros(BINS), elsewhere, "dropped", "dropped by another rule as well"))
    plot.parts.append(_bars(plot, edges, elsewhere, here, "kept", "this rule alone decides"))
    x = plot.x(min(max(score.limit, low), high))
    plot.parts.append(
        element(
            "line",
            element("title", f"drops {score.rule.drops} {score.limit:g}"),
            x1=x, x2=x, y1=TOP, y2=HEIGHT - BOTTOM, class_="threshold",
        )
    )  # fmt: skip
    return element(
        "figure",
        caption,
        plot.svg(f"{title}, drops {score.rule.drops} {score.limit:g}"),
        element(
            "p",
            f"drops {score.rule.drops} {score.limit:g}: {number(int(broken.sum()))} documents",
            class_="small",
        ),
        data_rule=number_,
        data_low=repr(low),
        data_high=repr(high),
        data_left=f"{plot.left:.2f}",
        data_width=f"{WIDTH - RIGHT - plot.left:.2f}",
    )


def _bars(plot: Plot, edges: Floats, base: Floats, counts: Floats, style: str, title: str) -> Markup:
    steps = "".join(
        f"M{plot.x(left):.1f} {plot.y(low):.1f}V{plot.y(low + count):.1f}H{plot.x(right) - 0.6:.1f}V{plot.y(low):.1f}Z"
        for left, right, low, count in zip(edges, edges[1:], base, counts, strict=False)
        if count
    )
    return element("path", element("title", title), d=steps or "M0 0", class_=f"fill {style}")
