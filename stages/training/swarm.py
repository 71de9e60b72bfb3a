"""A swarm of proxies on designed mixtures: first spread over all that the tokens allow, then where the fit of the runs
so far expects the best mixture or knows least."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import Field

from pipeline.artifact import Artifact, Phase
from pipeline.errors import StageError
from pipeline.stage import Context, Result, Task
from stages.training.options import LimitOptions, ObjectiveOptions, SizeOptions, metric_weights
from stages.training.proxies import RUNS_FILE, ProxyTraining, ProxyTrainingOptions, notes_of
from stages.training.sources import train_tokens

if TYPE_CHECKING:
    from mixes.design import Design, Stop
    from mixes.runs import Runs
    from mixes.target import Target

REPEATS = 3  # further runs of the natural mixture, under other seeds: their spread is the noise of a run


class ProxySwarmConfig(ObjectiveOptions, SizeOptions, ProxyTrainingOptions):
    """How many proxies, how large, how long, and what they are to be good at."""

    runs: int | None = Field(None, ge=8)
    """Most proxies in all; 6 for each source, or those of the first round and four more if that is more, if absent."""
    first_runs: int | None = Field(None, ge=8)
    """Proxies of the first round, with the natural mixture and its repeats; 24, or 1.5 for each source, if absent."""
    round_runs: int = Field(8, ge=2)
    """Proxies of each further round, chosen by what the runs so far say."""

    def counts(self, sources: int) -> tuple[int, int]:
        """Proxies of the first round, and in all."""
        from mixes.design import first_count, most_runs

        first = self.first_runs or first_count(sources)
        most = self.runs or most_runs(sources, first, self.round_runs)
        return min(first, most), most


class ProxySwarm(ProxyTraining[ProxySwarmConfig]):
    """Train proxy models on designed mixtures and measure them on held-out documents of each source and on answers."""

    name = "proxy_swarm"
    config_type = ProxySwarmConfig
    accepts = ("tokens",)
    produces: ClassVar[str] = "runs"
    not_in_samples: ClassVar[str] = "its cost follows from the budget in the recipe"

    def plan(self, inputs: Mapping[str, Sequence[Artifact]], phases: Sequence[Phase]) -> list[Task]:
        c, (tokens,) = self.config, inputs["tokens"]
        kind, _, number = phases[-1].name.partition(" ") if phases else ("", "", "0")
        if kind == "table":
            return []
        if kind == "design" and (runs := phases[-1].parts[0].summary["runs"]):
            return self.stacks(f"train {number}", tokens, runs, c.size, c.steps)
        unique = train_tokens(tokens.summary["sources"])
        content = (tokens.digest, *(phase.digest for phase in phases))
        files = {"rows": tuple(path for phase in phases for path in phase.paths(RUNS_FILE))}
        rounds = [phase.parts[0].summary["told"] for phase in phases if phase.name.startswith("design")]
        if kind == "design":
            told = {"unique": unique, "rounds": rounds, "notes": notes_of(phases)}
            return [Task("table", "table", content, files, told, is_kept=True)]
        was_calm = bool(rounds and rounds[-1] and rounds[-1]["is_calm"])
        arguments = {"unique": unique, "round_": int(number), "was_calm": was_calm}
        return [Task(f"design {int(number) + 1}", "design", content, files, arguments)]

    def work(self, task: Task, out: Path, context: Context) -> Result:
        if task.phase.startswith("train"):
            return self.train(task, out, context)
        rows = [row for path in task.files["rows"] for row in pq.read_table(path).to_pylist()]
        if task.phase == "table":
            return self._table(rows, task, out)
        return self._design(rows, context.seed, **task.arguments)

    def _design(
        self, rows: list[dict[str, Any]], seed: int, unique: Mapping[str, int], round_: int, was_calm: bool
    ) -> Result:
        """The runs to train next, none if it is over; and what to tell of the round that has ended."""
        from mixes.design import first_runs, next_runs, stop_reason
        from mixes.regression import fit

        if len(unique) < 2:
            raise StageError(f"a mixture needs at least two sources; the tokens have only {', '.join(unique)}")
        c = self.config
        weights_by_metric = metric_weights(c.evaluate, list(unique), sorted(c.answer_sets))
        first, most = c.counts(len(unique))
        try:
            target = target_of(c, unique, {})
            limits = target.limits(list(unique))
            natural = limits.bring(target.natural(list(unique))[None, :])[0]
            if round_ == 0:
                design = first_runs(natural, first, seed, limits, natural_repeats=REPEATS)
                return Result({"runs": _planned(design, round_, 0, seed), "told": None})
            runs = runs_of(rows, list(unique), list(weights_by_metric))
            if len(rows) > 2 * len(runs.ids):
                raise StageError(f"{len(rows) - len(runs.ids)} of {len(rows)} proxies diverged: lower learning_rate")
            weights = used_weights(runs, np.array(list(weights_by_metric.values())))
            fitted = fit(runs.mixtures, runs.values, list(runs.metrics), seed)
            diverged = len(rows) - len(runs.ids)  # they count among the runs allowed
            stop = stop_reason(fitted, weights, limits, most - diverged, was_calm=was_calm)
            told = _told(rows, runs, weights, round_, stop, seed)
            if stop.is_over:
                return Result({"runs": [], "told": told})
            design = next_runs(fitted, weights, limits, natural, seed + round_, min(c.round_runs, most - len(rows)))
            return Result({"runs": _planned(design, round_, len(rows), seed), "told": told})
        except ValueError as error:
            raise StageError(f"no mixtures can be chosen for the proxies: {error}") from error

    def _table(self, rows: list[dict[str, Any]], task: Task, out: Path) -> Result:
        pq.write_table(pa.Table.from_pylist(rows), out / RUNS_FILE, compression="zstd")
        return Result(
            {
                "sources": list(task.arguments["unique"]),
                "runs": len(rows),
                "diverged": sum(bool(row["diverged"]) for row in rows),
                "rounds": [told for told in task.arguments["rounds"] if told is not None],
                "size": self.config.size,
                "steps": self.config.steps,
                "tokens_per_proxy": max(row["tokens"] for row in rows),
                "parameters": {name: rows[0][f"{name}_parameters"] for name in ("trunk", "embedding", "head")},
                "method": rows[0]["method"],
                "notes": task.arguments["notes"],
            }
        )


def target_of(config: LimitOptions, unique: Mapping[str, int], fingerprints: Mapping[str, str]) -> Target:
    """What the mixture is for, as the mix optimizer takes it. `unique`: training tokens by source.

    Raises:
        StageError: an option names a source that the tokens lack.
    """
    from mixes.target import GroupLimits, SourceLimits, Target

    def limits(source: str) -> dict[str, float]:
        if source in config.fixed:
            return {"fixed": config.fixed[source]}
        lowest, highest = config.bounds.get(source, (0.0, 1.0))
        return {"lowest": lowest, "highest": highest}

    named = [*config.bounds, *config.fixed, *(source for group in config.groups.values() for source in group.sources)]
    if unknown := sorted(set(named) - set(unique)):
        raise StageError(f"limits name {', '.join(unknown)}, but the tokens have the sources {', '.join(unique)}")
    return Target(
        target_tokens=config.target.tokens or sum(unique.values()),
        max_epochs=config.target.max_epochs,
        sources={
            source: SourceLimits(tokens=tokens, fingerprint=fingerprints.get(source), **limits(source))
            for source, tokens in unique.items()
        },
        groups={
            name: GroupLimits(members=list(group.sources), lowest=group.lowest, highest=group.highest)
            for name, group in config.groups.items()
        },
    )


def runs_of(rows: Sequence[Mapping[str, Any]], sources: Sequence[str], metrics: Sequence[str]) -> Runs:
    """The runs that a fit can use: those that did not diverge."""
    from mixes.runs import Runs

    finished = [row for row in rows if not row["diverged"]]
    return Runs(
        tuple(sources),
        tuple(metrics),
        tuple(row["run"] for row in finished),
        np.array([[row[f"mixture.{source}"] for source in sources] for row in finished]).reshape(-1, len(sources)),
        np.array([[row[metric] for metric in metrics] for row in finished], float).reshape(-1, len(metrics)),
    )


def used_weights(runs: Runs, weights: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """The weights [M] with those of metrics that are noise lowered."""
    from mixes.signal import signal_to_noise

    signal = signal_to_noise(runs.values, runs.mixtures, runs.metrics)
    return weights if signal is None else signal.used(weights)


def _planned(design: Design, round_: int, before: int, seed: int) -> list[dict[str, Any]]:
    """Fields of proxy_models.swarm.Run for each mixture. All have one seed, so that what two runs differ in is their
    mixture; repeats have seeds of their own, since they measure what a run differs by with nothing else changed."""
    return [
        {
            "id": f"{before + i:04d}",
            "mixture": mixture.tolist(),
            "seed": seed + (before + i + 1 if purpose == "repeat" else 0),
            "learning_rate": None,
            "purpose": purpose,
            "round": round_,
        }
        for i, (mixture, purpose) in enumerate(zip(design.mixtures, design.purposes, strict=True))
    ]


def _told(
    rows: Sequence[Mapping[str, Any]],
    runs: Runs,
    weights: npt.NDArray[np.float64],
    round_: int,
    stop: Stop,
    seed: int,
) -> dict[str, Any]:
    """For the report: how far the search is after this round, and how well the runs before it predicted it."""
    rank, within = _foreseen(rows, runs, weights, round_ - 1, seed)
    return {
        "round": round_ - 1,
        "runs": len(rows),
        "regret": stop.regret,
        "noise": stop.noise,
        "is_calm": stop.is_calm,
        "fresh_spearman": rank,
        "fresh_within": within,
        "reason": stop.reason,
    }


def _foreseen(
    rows: Sequence[Mapping[str, Any]], runs: Runs, weights: npt.NDArray[np.float64], last: int, seed: int
) -> tuple[float | None, float | None]:
    """Rank correlation and share within the stated 80 % of the objectives of the last round, as the rounds before it
    predict them; None for the first round."""
    from mixes.regression import fit, objective_sds, rank_correlation

    rounds = {row["run"]: row["round"] for row in rows}
    fresh = np.array([rounds[run] == last for run in runs.ids])
    if last == 0 or fresh.sum() < 2:
        return None, None
    before = fit(runs.mixtures[~fresh], runs.values[~fresh], list(runs.metrics), seed)
    means, deviations = before.predict(runs.mixtures[fresh])
    predicted, measured = means @ weights, runs.values[fresh] @ weights
    half = 1.2816 * objective_sds(deviations, weights)  # 80 % of a normal
    rank = float(rank_correlation(predicted[:, None], measured[:, None])[0])
    return rank, float((np.abs(predicted - measured) <= half).mean())
