"""What all parts of the section read from the summary of a mix."""

from __future__ import annotations

import statistics
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from pipeline.report.facts import STYLES, metric_label
from pipeline.report.markup import signed

MOST_METRICS = 12  # that get charts of their own; tables hold all
MOST_SOURCES = 10
MOST_DOTS = 120  # proxies in a chart


@dataclass(frozen=True)
class Repeats:
    """How much the objective varies where nothing but the seed does."""

    sd: float  # standard deviation over proxies of one mixture, pooled
    runs: int  # proxies that it is estimated from


@dataclass(frozen=True)
class Mix:
    """The summary with the names and colours under which it is shown."""

    summary: Any
    sources: tuple[str, ...]
    styles: tuple[str, ...]  # [S]
    metrics: tuple[str, ...]  # for people

    @staticmethod
    def of(summary: Any, styles: Mapping[str, str]) -> Mix:
        """``styles``: of the sources, in the rest of the report; others get theirs by their place."""
        sources = tuple(summary["sources"])
        found = [styles.get(source, f"s{j % STYLES}") for j, source in enumerate(sources)]
        return Mix(summary, sources, tuple(found), tuple(map(metric_label, summary["metrics"])))

    @property
    def optimum(self) -> Any:
        return self.summary["optimum"]

    @property
    def transfer(self) -> Any:
        """None if no second size was trained."""
        return self.summary["transfer"]

    @property
    def runs(self) -> Any:
        return self.summary["runs"]

    @cached_property
    def weightiest(self) -> list[int]:
        """The metrics that get charts, most weight first; those without any only if all metrics fit."""
        used = self.summary["used_weights"]
        order = sorted(range(len(self.metrics)), key=lambda m: (-used[m], -self.summary["weights"][m], m))
        return order[:MOST_METRICS]

    @cached_property
    def largest(self) -> list[int]:
        """The sources that get rows or charts of their own where there are many, in their order."""
        best, natural = (self.optimum[name]["ratios"] for name in ("best", "natural"))
        order = sorted(range(len(self.sources)), key=lambda j: -max(best[j], natural[j]))
        return sorted(order[:MOST_SOURCES])

    @property
    def stride(self) -> int:
        """Charts show one proxy in so many."""
        return -(-len(self.runs) // MOST_DOTS)

    @cached_property
    def objectives(self) -> list[float]:
        """Of each proxy, as measured: what the optimum is the minimum of."""
        return weighted([run["measured"] for run in self.runs], objective_weights(self.summary))

    @cached_property
    def noise(self) -> Repeats | None:
        return repeat_noise(self.summary, objective_weights(self.summary))


def objective_weights(summary: Any) -> list[float]:
    """What each metric is multiplied with in the objective: its used weight, and how much of its differences is left
    at the target's size where that is known."""
    used: list[float] = summary["used_weights"]
    if summary["transfer"] is None:
        return used
    return [w * s for w, s in zip(used, summary["transfer"]["extrapolated"], strict=True)]


def weighted(rows: Sequence[Sequence[float]], weights: Sequence[float]) -> list[float]:
    """The weighted sum of each row."""
    return [sum(w * y for w, y in zip(weights, row, strict=True)) for row in rows]


def repeat_noise(summary: Any, weights: Sequence[float]) -> Repeats | None:
    """Of the metrics' sum under ``weights``, from the proxies whose mixture was trained more than once; None if there
    are none."""
    groups: dict[tuple[float, ...], list[float]] = defaultdict(list)
    for run, objective in zip(
        summary["runs"], weighted([r["measured"] for r in summary["runs"]], weights), strict=True
    ):
        groups[tuple(round(ratio, 9) for ratio in run["mixture"])].append(objective)
    repeated = [values for values in groups.values() if len(values) > 1]
    if not repeated:
        return None
    freedom = sum(len(values) - 1 for values in repeated)
    sd = (sum(statistics.variance(v) * (len(v) - 1) for v in repeated) / freedom) ** 0.5
    return Repeats(sd, sum(map(len, repeated)))


def gains(*values: float) -> list[str]:
    """With signs; all with as many digits as the first, which is what they are about, needs."""
    digits = 3 if abs(values[0]) >= 0.01 else 4
    return [signed(value, digits) for value in values]


def named(names: Sequence[str], most: int = 6) -> str:
    """A list for people: the first ones, and how many more there are."""
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more
