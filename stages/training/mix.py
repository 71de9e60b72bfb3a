"""The mixture: fitted to the proxies' losses, carried to the target's size, optimised under the tokens that each source
has, and tried in proxies of its own."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import numpy.typing as npt
import pyarrow.parquet as pq
from pydantic import Field, field_validator

from pipeline.artifact import Artifact, Phase
from pipeline.errors import StageError
from pipeline.stage import Composite, Context, Expansion, Result, Task
from stages.training.options import ObjectiveOptions, SizeOptions, metric_weights
from stages.training.pairs import PAIRS_FILE, PairedSwarmConfig
from stages.training.proxies import RUNS_FILE, ProxyTraining, ProxyTrainingOptions, notes_of
from stages.training.sources import shards_of, source_fingerprints, train_tokens
from stages.training.swarm import ProxySwarmConfig, runs_of, target_of

if TYPE_CHECKING:
    from mixes.limits import Limits
    from mixes.mix_file import Confirmation
    from mixes.optimum import Optimum
    from mixes.regression import Evidence
    from mixes.runs import Runs
    from mixes.signal import Signal
    from mixes.target import Target
    from mixes.transfer import Transfer

MIX_FILE = "mix.yaml"
FIT_FILE = "fit.json"
FOUND_FILE = "found.json"
EXPLORER_FILE = "explorer.json"  # read by the report
CONFIRMATION_SEEDS = 1000  # added to the seeds of confirming proxies, so that no proxy of the search has had them

Floats = npt.NDArray[np.float64]


class OptimizeMixConfig(ObjectiveOptions, ProxyTrainingOptions):
    """What the mixture shall be good at, within which limits, and how it is tried."""

    pessimism: float = Field(1.0, ge=0, le=100)
    """Standard deviations added to a prediction before it is minimised, against optima that are only guessed."""
    confirm: int = Field(3, ge=0)
    """Seeds under which the best and the natural mixture are trained against each other, at every size of proxies: 2 or
    more, or 0 for none."""

    @field_validator("confirm")
    @classmethod
    def _is_more_than_one(cls, seeds: int) -> int:
        if seeds == 1:
            raise ValueError("one seed confirms nothing: give 2 or more, or 0")
        return seeds


class OptimizeMix(ProxyTraining[OptimizeMixConfig]):
    """Fit losses to ratios, check the fit on mixtures left out of it, find the best ratios that the tokens allow, and
    train proxies on them and on the natural ones."""

    name = "optimize_mix"
    version: ClassVar[int] = 2
    config_type = OptimizeMixConfig
    accepts = ("tokens", "runs")
    produces: ClassVar[str] = "mix"
    not_in_samples: ClassVar[str] = "its cost follows from the budget in the recipe"
    may_take: ClassVar[tuple[str, ...]] = ("pairs",)

    def note(self) -> str | None:
        if self.config.target.parameters is None:
            return "target.parameters is not given: the mixture is the best for models of the proxies' (largest) size"
        return None

    def plan(self, inputs: Mapping[str, Sequence[Artifact]], phases: Sequence[Phase]) -> list[Task]:
        c, (tokens,), (swarm,), pairs = self.config, inputs["tokens"], inputs["runs"], inputs.get("pairs", [])
        shards = shards_of(inputs)
        if not phases:
            files = {"runs": tuple(swarm.file_paths(RUNS_FILE))}
            files |= {"pairs": tuple(path for artifact in pairs for path in artifact.file_paths(PAIRS_FILE))}
            content = (tokens.digest, swarm.digest, *(artifact.digest for artifact in pairs))
            about = {"unique": train_tokens(shards), "fingerprints": source_fingerprints(shards)}
            return [Task("optimum", "optimum", content, files, {**about, "rounds": swarm.summary["rounds"]})]
        last = phases[-1]
        if last.name == "mix":
            return []
        if last.name == "optimum" and c.confirm:
            tasks = []
            for artifact in (swarm, *pairs):
                size, steps = artifact.summary["size"], artifact.summary["steps"]
                for task in self.stacks("confirm", tokens, last.parts[0].summary["confirm"], size, steps):
                    tasks.append(replace(task, name=f"{size}, {task.name}"))
            return tasks
        files = {
            name: phases[0].paths(file)
            for name, file in (("found", FOUND_FILE), ("fit", FIT_FILE), ("explorer", EXPLORER_FILE), ("mix", MIX_FILE))
        }
        files |= {"rows": phases[1].paths(RUNS_FILE) if c.confirm else ()}
        notes = [note for made in (swarm, *pairs) for note in made.summary["notes"]] + notes_of(phases)
        content = tuple(phase.digest for phase in phases)
        return [Task("mix", "mix", content, files, {"notes": list(dict.fromkeys(notes))}, is_kept=True)]

    def work(self, task: Task, out: Path, context: Context) -> Result:
        if task.phase == "confirm":
            return self.train(task, out, context)
        if task.phase == "mix":
            return self._mix(task, out)
        return self._optimum(task, out, context)

    def _optimum(self, task: Task, out: Path, context: Context) -> Result:
        """Fit, carry to the target's size, solve. Writes the fit and all that is found; tells what to confirm."""
        from mixes.explorer import explorer
        from mixes.limits import InfeasibleLimitsError
        from mixes.mix_file import MixFile
        from mixes.optimum import response_curves, solve, weight_path
        from mixes.regression import BadRunsError, cross_validate, fit, learning_curve
        from mixes.signal import signal_to_noise
        from mixes.stored_fit import Scores, StoredFit

        c, unique = self.config, dict(task.arguments["unique"])
        rows = _rows(task.files["runs"])
        by_metric = metric_weights(c.evaluate, list(unique), sorted(c.answer_sets))
        runs = runs_of(rows, list(unique), list(by_metric))
        weights = np.array(list(by_metric.values()))
        target = target_of(c, unique, task.arguments["fingerprints"])
        try:
            limits = target.limits(list(unique))
            natural = limits.bring(target.natural(list(unique))[None, :])[0]
            fitted = fit(runs.mixtures, runs.values, list(runs.metrics), context.seed)
            context.progress(1, 4)
            evidence = cross_validate(runs.mixtures, runs.values, list(runs.metrics), context.seed)
            context.progress(2, 4)
            signal = signal_to_noise(runs.values, runs.mixtures, runs.metrics)
            used = weights if signal is None else signal.used(weights)
            transfer = self._transfer(rows, _rows(task.files["pairs"]), runs, used, evidence.noise, context.seed)
            slopes = None if transfer is None else transfer.extrapolated
            optimum = solve(
                fitted,
                used,
                limits,
                natural,
                context.seed,
                c.pessimism,
                unique_tokens=target.unique_tokens(list(unique)),
                target_tokens=target.target_tokens,
                slopes=slopes,
            )
            context.progress(3, 4)
            curves = response_curves(fitted, used, limits, optimum.best.ratios, slopes=slopes)
            paths = weight_path(fitted, used, limits, pessimism=c.pessimism, slopes=slopes)
            learned = learning_curve(runs.mixtures, runs.values, list(runs.metrics), used, context.seed)
        except (BadRunsError, InfeasibleLimitsError) as error:
            raise StageError(f"no mixture can be fitted: {error}") from error
        StoredFit(fitted, runs, Scores.of(evidence), context.seed, target, signal, transfer).save(out / FIT_FILE)
        found = {
            "sources": list(unique),
            "metrics": list(runs.metrics),
            "weights": weights.tolist(),
            "used_weights": used.tolist(),
            "diverged": len(rows) - len(runs.ids),
            "size": rows[0]["size"],
            "proxy": {
                "parameters": {part: rows[0][f"{part}_parameters"] for part in ("trunk", "embedding", "head")},
                "tokens": max(row["tokens"] for row in rows),
            },
            "signal": None if signal is None else _signal(signal),
            "runs": _runs(rows, runs, evidence),
            "evidence": _evidence(evidence),
            "learning_curve": learned,
            "rounds": task.arguments["rounds"],
            "transfer": None if transfer is None else _told_transfer(transfer, rows, _rows(task.files["pairs"]), runs),
            "optimum": _optimum(optimum, target, limits),
            "weight_path": [
                {
                    "metric": p.metric,
                    "points": [
                        {"share": a, "ratios": r} for a, r in zip(p.shares.tolist(), p.ratios.tolist(), strict=True)
                    ],
                }
                for p in paths
            ],
            "curves": [
                {"ratio": a.ratios.tolist(), "objective": a.objective.tolist(), "sd": a.sd.tolist()} for a in curves
            ],
        }
        (out / FOUND_FILE).write_text(json.dumps(found, allow_nan=False))
        explored = explorer(fitted, target, limits, used, slopes, c.pessimism, natural)
        (out / EXPLORER_FILE).write_text(json.dumps(explored, allow_nan=False))
        mix = MixFile.of(optimum, target, Scores.of(evidence), by_metric, signal=signal, transfer=transfer)
        mix.write(out / MIX_FILE)
        return Result({"confirm": self._to_confirm(optimum.best.ratios, natural, context.seed)})

    def _transfer(
        self,
        rows: Sequence[Mapping[str, Any]],
        pairs: Sequence[Mapping[str, Any]],
        runs: Runs,
        weights: Floats,
        noise: Floats | None,
        seed: int,
    ) -> Transfer | None:
        """Slopes from the runs that were trained at two sizes; None where there is one size."""
        from mixes.transfer import Sizes, fit_transfer

        if not pairs:
            return None
        base, second = _paired(rows, pairs, runs)
        trunks = rows[0]["trunk_parameters"], pairs[0]["trunk_parameters"]
        try:
            sizes = Sizes(*trunks, self.config.target.parameters or trunks[1])
            return fit_transfer(base, second, sizes, weights, seed, noise=noise)
        except ValueError as error:
            raise StageError(f"the two sizes of proxies cannot be compared: {error}") from error

    def _to_confirm(self, best: Floats, natural: Floats, seed: int) -> list[dict[str, Any]]:
        """The best and the natural mixture under seeds that no proxy of the search has had, the same for both."""
        return [
            {
                "id": f"{name}-{i}",
                "mixture": mixture.tolist(),
                "seed": seed + CONFIRMATION_SEEDS + i,
                "learning_rate": None,
                "purpose": name,
                "round": 0,
            }
            for i in range(self.config.confirm)
            for name, mixture in (("best", best), ("natural", natural))
        ]

    def _mix(self, task: Task, out: Path) -> Result:
        """Set what was predicted beside what the confirming proxies measured, and write mix.yaml."""
        from mixes.mix_file import MixFile

        shutil.copyfile(task.files["fit"][0], out / FIT_FILE)
        shutil.copyfile(task.files["explorer"][0], out / EXPLORER_FILE)
        found = json.loads(task.files["found"][0].read_text())
        confirmations = _confirmed(_rows(task.files["rows"]), found)
        mix = MixFile.read(task.files["mix"][0])
        mix.model_copy(update={"confirmation": [confirmation for confirmation, _ in confirmations]}).write(
            out / MIX_FILE
        )
        found["confirmation"] = [{**c.model_dump(mode="json"), **means} for c, means in confirmations]
        found["notes"] = task.arguments["notes"]
        return Result(found)


def _rows(paths: Sequence[Path]) -> list[dict[str, Any]]:
    return [row for path in paths for row in pq.read_table(path).to_pylist()]


def _paired(rows: Sequence[Mapping[str, Any]], pairs: Sequence[Mapping[str, Any]], runs: Runs) -> tuple[Floats, Floats]:
    """Metrics [P, M] of the runs that came to their end at both sizes: at the first, and at the second."""
    place = {run: i for i, run in enumerate(runs.ids)}
    both = [row for row in pairs if not row["diverged"] and row["run"] in place]
    base = runs.values[[place[row["run"]] for row in both]]
    second = np.array([[row[metric] for metric in runs.metrics] for row in both], float)
    return base, second.reshape(base.shape)


def _confirmed(
    rows: Sequence[Mapping[str, Any]], found: Mapping[str, Any]
) -> list[tuple[Confirmation, dict[str, Any]]]:
    """For each size of proxy, the confirmation, and the mean of each metric by mixture for the report."""
    from mixes.mix_file import Confirmation

    confirmations = []
    for size in dict.fromkeys(row["size"] for row in rows):
        # What is predicted for the first size is expected at the second, times the slopes between them.
        slopes = 1.0 if size == found["size"] else np.array(found["transfer"]["slopes"])
        weights = np.array(found["used_weights"])
        ended = [row for row in rows if row["size"] == size and not row["diverged"]]
        seeds = set.intersection(*({r["seed"] for r in ended if r["purpose"] == name} for name in ("best", "natural")))
        if len(seeds) < 2:
            raise StageError(f"proxies of size {size} on the best or the natural mixture diverged: lower learning_rate")
        measured = {
            name: np.array(
                [
                    [r[metric] for metric in found["metrics"]]
                    for r in ended
                    if r["purpose"] == name and r["seed"] in seeds
                ]
            )
            for name in ("best", "natural")
        }
        best, natural = (np.array(found["optimum"][name]["metrics"]) for name in ("best", "natural"))
        means: dict[str, Any] = {f"metrics_{name}": values.mean(axis=0).tolist() for name, values in measured.items()}
        predicted = float((natural - best) * slopes @ weights)
        found_here = Confirmation.of(size, measured["best"] @ weights, measured["natural"] @ weights, predicted)
        lost = {n: sum(r["diverged"] for r in rows if r["size"] == size and r["purpose"] == n) for n in measured}
        if any(lost.values()):
            # A mixture that makes training diverge has lost there, whatever its other seeds gain.
            told = (
                f"{found_here.verdict}; diverged: {lost['best']} on the mixture, {lost['natural']} on the natural mix"
            )
            beats = found_here.beats_natural and not lost["best"]
            found_here = found_here.model_copy(update={"verdict": told, "beats_natural": beats})
        confirmations.append((found_here, means | {"diverged": lost}))
    return confirmations


def _signal(signal: Signal) -> dict[str, Any]:
    arrays = {name: getattr(signal, name).tolist() for name in ("noise", "signal", "ratio", "factor")}
    return {**arrays, "notes": list(signal.notes)}


def _runs(rows: Sequence[Mapping[str, Any]], runs: Runs, evidence: Evidence) -> list[dict[str, Any]]:
    by_id = {row["run"]: row for row in rows}
    return [
        {
            "run": run,
            "round": by_id[run]["round"],
            "purpose": by_id[run]["purpose"],
            "mixture": runs.mixtures[i].tolist(),
            "measured": runs.values[i].tolist(),
            "left_out": evidence.left_out["stack"][i].tolist(),
            "linear": evidence.left_out["linear"][i].tolist(),
        }
        for i, run in enumerate(runs.ids)
    ]


def _evidence(evidence: Evidence) -> dict[str, Any]:
    families = {
        family: {name: getattr(evidence, name)[family].tolist() for name in ("spearman", "rmse", "region_rmse")}
        for family in evidence.spearman
    }
    return {
        "families": families,
        "family_weights": {family: weights.tolist() for family, weights in evidence.weights.items()},
        "noise": None if evidence.noise is None else evidence.noise.tolist(),
    }


def _told_transfer(
    transfer: Transfer, rows: Sequence[Mapping[str, Any]], pairs: Sequence[Mapping[str, Any]], runs: Runs
) -> dict[str, Any]:
    base, second = _paired(rows, pairs, runs)
    place = {run: i for i, run in enumerate(runs.ids)}
    mixtures = [runs.mixtures[place[r["run"]]].tolist() for r in pairs if not r["diverged"] and r["run"] in place]
    agreement = transfer.agreements[0]

    def proxy(row: Mapping[str, Any]) -> dict[str, int]:
        return {part: row[f"{part}_parameters"] for part in ("trunk", "embedding", "head")} | {"tokens": row["tokens"]}

    return {
        "base": proxy(rows[0]),
        "second": proxy(pairs[0]),
        "target_parameters": transfer.sizes.target,
        "exponent": transfer.exponent,
        "slopes": transfer.slopes.tolist(),
        "slope_sds": transfer.slope_sds.tolist(),
        "pooled_slope": transfer.pooled_slope,
        "extrapolated": transfer.extrapolated.tolist(),
        "spearman": agreement.metrics.tolist(),
        "intervals": agreement.intervals.T.tolist(),
        "objective_spearman": agreement.objective,
        "objective_interval": list(agreement.interval),
        "verdict": transfer.verdict,
        "confirmed": transfer.confirmed,
        "pairs": [
            {"mixture": m, "base": b, "second": t}
            for m, b, t in zip(mixtures, base.tolist(), second.tolist(), strict=True)
        ],
    }


def _optimum(optimum: Optimum, target: Target, limits: Limits) -> dict[str, Any]:
    def prediction(name: str) -> dict[str, Any]:
        found = getattr(optimum, name)
        return {
            "ratios": found.ratios.tolist(),
            "objective": found.objective,
            "objective_sd": found.objective_sd,
            "metrics": found.metrics.tolist(),
            "metrics_sd": found.metrics_sd.tolist(),
        }

    arrays = (
        "intervals",
        "posterior_intervals",
        "gain_interval",
        "shadow_prices",
        "worth_of_epoch",
        "worth_of_billion_tokens",
    )
    tokens = target.unique_tokens(list(target.sources))
    return {
        **{name: prediction(name) for name in ("best", "natural", "best_observed")},
        **{name: getattr(optimum, name).tolist() for name in arrays},
        "gain": optimum.gain,
        "nearest_run_l1": optimum.nearest_run_l1,
        "flat_directions": [
            {"direction": flat.direction.tolist(), "rise": flat.rise} for flat in optimum.flat_directions
        ],
        "warnings": optimum.warnings,
        "target_tokens": target.target_tokens,
        "unique_tokens": tokens.tolist(),
        "tokens": optimum.tokens(target.target_tokens).tolist(),
        "epochs": optimum.epochs(tokens, target.target_tokens).tolist(),
        "lower": limits.lower.tolist(),
        "upper": limits.upper.tolist(),
    }


class SecondSize(SizeOptions):
    """A second size of proxies."""

    pairs: int = Field(16, ge=4)
    """Mixtures of the swarm that are trained again at this size."""


class MixConfig(OptimizeMixConfig, ProxySwarmConfig):
    """Options of the swarm and of the optimum."""

    second: SecondSize | None = None
    """A second, larger size at which some mixtures are trained again, to learn how what the proxies say changes with
    size; without it nobody knows."""


class Mix(Composite[MixConfig]):
    """Find the best ratios of the sources: train a proxy swarm, regress, optimise, confirm."""

    name = "mix"
    config_type = MixConfig
    accepts = ("tokens",)

    def expand(self, inputs: tuple[str, ...]) -> list[Expansion]:
        values = self.config.model_dump(exclude={"second"})
        swarm = {name: values[name] for name in ProxySwarmConfig.model_fields}
        optimum = {name: values[name] for name in OptimizeMixConfig.model_fields}
        swarms = [Expansion(".swarm", "proxy_swarm", swarm, inputs)]
        if second := self.config.second:
            paired = {name: values[name] for name in PairedSwarmConfig.model_fields if name in values}
            paired |= second.model_dump()
            swarms.append(Expansion(".second", "paired_swarm", paired, (*inputs, ".swarm")))
        return [*swarms, Expansion("", "optimize_mix", optimum, (*inputs, *(swarm.name for swarm in swarms)))]
