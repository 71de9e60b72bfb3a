"""What two runs found to be the best mix, and how the models ended that were trained on it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from pipeline.artifact import Artifact
from pipeline.compare.counts import Change, both_of_kind
from pipeline.report.facts import Facts
from pipeline.report.training import objective


@dataclass(frozen=True)
class MixChange:
    """Two optima. Losses are in the metrics' own units, mostly bits per byte: lower is better."""

    artifact: str
    best: Mapping[str, Change]  # ratio by source
    intervals_a: Mapping[str, tuple[float, float]]  # in which the ratio may lie, by source
    intervals_b: Mapping[str, tuple[float, float]]
    natural: Mapping[str, Change]  # ratio by source
    predicted: Mapping[str, Change]  # loss at the run's own optimum, by metric
    gain: Change  # predicted, over the natural mix
    measured_gain: Change  # by the last proxies that confirmed it
    proxies: Change  # that the law was fitted to
    left_out_error: Change  # of the law's predictions of proxies it was not fitted to: mean over metrics of the rmse
    law_is_same: bool  # the stored fits are the same bytes

    @property
    def is_different(self) -> bool:
        changes = (*self.best.values(), *self.natural.values(), *self.predicted.values(), self.measured_gain)
        return not self.law_is_same or any(change.is_different for change in changes)

    @property
    def moved_most(self) -> tuple[str, Change]:
        """The source whose ratio differs most."""
        return max(self.best.items(), key=lambda ratio: abs((ratio[1].b or 0) - (ratio[1].a or 0)))


@dataclass(frozen=True)
class ModelChange:
    """The held-out losses with which one model ended, in bits per byte; and what it was trained on."""

    artifact: str
    model: str  # optimal, natural
    objective: Change  # weighted mean, each run by its own weights
    losses: Mapping[str, Change]  # by metric
    tokens: Change
    parameters: Change

    @property
    def is_different(self) -> bool:
        changes = (self.objective, *self.losses.values(), self.tokens, self.parameters)
        return any(change.is_different for change in changes)


def mix_changes(a: Facts, b: Facts) -> tuple[MixChange, ...]:
    """Each mix that both runs have found."""
    return tuple(_mix(name, mine, theirs) for name, mine, theirs in both_of_kind(a, b, "mix"))


def _mix(name: str, a: Artifact, b: Artifact) -> MixChange:
    both = (a.summary, b.summary)

    def change(value: Any) -> Change:
        return Change(*map(value, both))

    return MixChange(
        name,
        best=_by_name(*(_ratios(summary, "best") for summary in both)),
        intervals_a=_intervals(a.summary),
        intervals_b=_intervals(b.summary),
        natural=_by_name(*(_ratios(summary, "natural") for summary in both)),
        predicted=_by_name(*(_named(s["metrics"], s["optimum"]["best"]["metrics"]) for s in both)),
        gain=change(lambda summary: summary["optimum"]["gain"]),
        measured_gain=change(lambda summary: summary["confirmation"][-1]["gain"] if summary["confirmation"] else None),
        proxies=change(lambda summary: len(summary["runs"])),
        left_out_error=change(lambda summary: _mean(summary["evidence"]["families"]["stack"]["rmse"])),
        law_is_same=_fits(a) == _fits(b),
    )


def _named(names: list[str], values: list[Any]) -> dict[str, Any]:
    return dict(zip(names, values, strict=True))


def _ratios(summary: Any, mixture: str) -> dict[str, float]:
    return _named(summary["sources"], summary["optimum"][mixture]["ratios"])


def _intervals(summary: Any) -> dict[str, tuple[float, float]]:
    lows, highs = summary["optimum"]["intervals"]
    return _named(summary["sources"], list(zip(lows, highs, strict=True)))


def _by_name(a: Mapping[str, float], b: Mapping[str, float]) -> dict[str, Change]:
    return {name: Change(a.get(name), b.get(name)) for name in dict.fromkeys([*a, *b])}


def _mean(values: list[float]) -> float:
    return sum(values) / len(values)


def _fits(artifact: Artifact) -> list[str]:
    """Digests of the files that hold the fitted law."""
    return [file.sha256 for part in artifact.parts for file in part.files if file.path.endswith(".json")]


def held_out_is_same(a: Facts, b: Facts) -> bool:
    """Whether losses of the two runs are of the same texts: as many held-out documents and bytes of each source."""
    return _held_out(a) == _held_out(b)


def _held_out(facts: Facts) -> dict[tuple[str, str], tuple[int, int]]:
    """Held-out documents, and bytes of their text, of each source of each token artifact."""
    return {
        (artifact.name, source): (splits["held_out"]["documents"], splits["held_out"]["bytes"])
        for artifact in facts.of_kind("tokens")
        for source, splits in artifact.summary["sources"].items()
    }


def model_changes(a: Facts, b: Facts) -> tuple[ModelChange, ...]:
    """Each model that both runs have trained."""
    both = both_of_kind(a, b, "model")
    return tuple(change for name, mine, theirs in both for change in _models(name, mine, theirs))


def _models(name: str, a: Artifact, b: Artifact) -> Iterator[ModelChange]:
    in_a, in_b = a.summary["models"], b.summary["models"]
    for model in (model for model in in_a if model in in_b):
        both = (in_a[model], in_b[model])
        ends = (_end(trained) for trained in both)
        yield ModelChange(
            name,
            model,
            objective=Change(objective(a.summary, model), objective(b.summary, model)),
            losses=_by_name(*ends),
            tokens=Change(*(trained["tokens"] for trained in both)),
            parameters=Change(*(sum(trained["parameters"].values()) for trained in both)),
        )


def _end(trained: Any) -> dict[str, float]:
    """The last evaluation by metric; empty if there was none."""
    last = trained["evaluations"][-1] if trained["evaluations"] else {}
    return {metric: value for metric, value in last.items() if metric != "step"}
