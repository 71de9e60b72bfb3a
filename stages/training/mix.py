"""The mixture: fitted to the proxies' losses, optimised under the tokens that each source has."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import numpy.typing as npt
import pyarrow.parquet as pq
from pydantic import Field

from pipeline.artifact import Artifact
from pipeline.errors import StageError
from pipeline.stage import Composite, Context, Expansion, Global, Result, StageConfig
from stages.training.sources import shards_of, source_fingerprints, train_tokens
from stages.training.swarm import RUNS_FILE, ProxySwarmConfig, Target

if TYPE_CHECKING:
    from mixes.optimum import Optimum
    from mixes.regression import Evidence, Fit

MIX_FILE = "mix.yaml"
FIT_FILE = "fit.json"
CURVE_POINTS = 21

Floats = npt.NDArray[np.float64]


class OptimizeMixConfig(StageConfig):
    """What the mixture shall be good at, and within which limits."""

    evaluate: dict[str, float] = Field(default_factory=dict)
    """Weight of each source's held-out documents; equal weights for all sources if empty."""
    pessimism: float = Field(1.0, ge=0)
    """Standard deviations added to a prediction before it is minimised, against optima that are only guessed."""
    target: Target = Target()
    """The training that the mixture is for."""


class OptimizeMix(Global[OptimizeMixConfig]):
    """Fit losses to ratios, check the fit on mixtures left out of it, find the best ratios that the tokens allow."""

    name = "optimize_mix"
    config_type = OptimizeMixConfig
    accepts = ("tokens", "runs")
    produces: ClassVar[str] = "mix"

    def run(self, inputs: Mapping[str, Sequence[Artifact]], out: Path, context: Context) -> Result:
        from mixes.design import InfeasibleCapsError
        from mixes.mix_file import MixFile
        from mixes.optimum import ratio_caps, solve
        from mixes.regression import BadRunsError, cross_validate, fit

        sources = shards_of(inputs)
        unique = train_tokens(sources)
        weights = self._weights(list(unique))
        metrics = [f"bpb.{source}" for source in unique]
        runs = pq.read_table(inputs["runs"][0].files_folder / RUNS_FILE).to_pylist()
        finished = [run for run in runs if not run["diverged"]]
        mixtures = np.array([[run[f"mixture.{source}"] for source in unique] for run in finished])
        losses = np.array([[run[metric] for metric in metrics] for run in finished])
        tokens = np.array(list(unique.values()), float)
        target_tokens = self.config.target.tokens or int(tokens.sum())
        try:
            caps = ratio_caps(tokens, target_tokens, self.config.target.max_epochs)
            fitted = fit(mixtures, losses, metrics, context.seed)
            evidence = cross_validate(mixtures, losses, metrics, context.seed)
            optimum = solve(
                fitted, weights, np.zeros(len(unique)), caps, tokens / tokens.sum(), context.seed, self.config.pessimism
            )
        except (BadRunsError, InfeasibleCapsError) as error:
            raise StageError(f"no mixture can be fitted: {error}") from error
        mix = MixFile.of(
            optimum,
            evidence,
            weights,
            source_tokens=unique,
            fingerprints=source_fingerprints(sources),
            target_tokens=target_tokens,
        )
        mix.write(out / MIX_FILE)
        (out / FIT_FILE).write_text(fitted.to_json())
        return Result(
            {
                "sources": list(unique),
                "metrics": metrics,
                "weights": weights.tolist(),
                "diverged": len(runs) - len(finished),
                "runs": [
                    {"mixture": m.tolist(), "measured": y.tolist(), "left_out": p.tolist(), "linear": q.tolist()}
                    for m, y, p, q in zip(
                        mixtures, losses, evidence.left_out["blend"], evidence.left_out["linear"], strict=True
                    )
                ],
                "evidence": _evidence(evidence),
                "optimum": _optimum(optimum, tokens, target_tokens),
                "curves": _response_curves(fitted, weights, optimum, caps),
            }
        )

    def _weights(self, sources: list[str]) -> Floats:
        given = self.config.evaluate or dict.fromkeys(sources, 1.0)
        unknown = sorted(set(given) - set(sources))
        if unknown:
            raise StageError(
                f"evaluate names {', '.join(unknown)}, but the tokens have the sources {', '.join(sources)}"
            )
        weights = np.array([given.get(source, 0.0) for source in sources])
        if (weights < 0).any() or not weights.any():
            raise StageError(f"evaluate: weights must not be negative or all zero, got {given}")
        normalised: Floats = weights / weights.sum()
        return normalised


def _evidence(evidence: Evidence) -> dict[str, Any]:
    families = {
        family: {"spearman": evidence.spearman[family].tolist(), "rmse": evidence.rmse[family].tolist()}
        for family in evidence.spearman
    }
    return {"families": families, "noise": None if evidence.noise is None else evidence.noise.tolist()}


def _optimum(optimum: Optimum, tokens: Floats, target_tokens: int) -> dict[str, Any]:
    def prediction(name: str) -> dict[str, Any]:
        found = getattr(optimum, name)
        return {
            "ratios": found.ratios.tolist(),
            "objective": found.objective,
            "objective_sd": found.objective_sd,
            "metrics": found.metrics.tolist(),
            "metrics_sd": found.metrics_sd.tolist(),
        }

    return {
        **{name: prediction(name) for name in ("best", "natural", "best_observed")},
        "intervals": optimum.intervals.tolist(),
        "gain": optimum.gain,
        "gain_interval": optimum.gain_interval.tolist(),
        "nearest_run_l1": optimum.nearest_run_l1,
        "shadow_prices": optimum.shadow_prices.tolist(),
        "target_tokens": target_tokens,
        "unique_tokens": tokens.tolist(),
        "tokens": optimum.tokens(target_tokens).tolist(),
        "epochs": optimum.epochs(tokens, target_tokens).tolist(),
    }


def _response_curves(fitted: Fit, weights: Floats, optimum: Optimum, caps: Floats) -> list[dict[str, list[float]]]:
    """For each source: the predicted objective as its ratio goes from 0 to its cap, the others in proportion."""
    curves = []
    for j, cap in enumerate(caps):
        ratios = np.linspace(0.0, cap, CURVE_POINTS)
        others = np.delete(optimum.best.ratios, j)
        rest = others / others.sum() if others.sum() > 0 else np.full(len(others), 1 / len(others))
        mean, sd = fitted.predict(np.array([np.insert(rest * (1 - r), j, r) for r in ratios]))
        curves.append({"ratio": ratios.tolist(), "objective": (mean @ weights).tolist(), "sd": (sd @ weights).tolist()})
    return curves


class MixConfig(OptimizeMixConfig, ProxySwarmConfig):
    """Options of the swarm and of the optimum."""


class Mix(Composite[MixConfig]):
    """Find the best ratios of the sources: train a proxy swarm, regress, optimise."""

    name = "mix"
    config_type = MixConfig
    accepts = ("tokens",)

    def expand(self, inputs: tuple[str, ...]) -> list[Expansion]:
        values = self.config.model_dump()
        swarm = {name: values[name] for name in ProxySwarmConfig.model_fields}
        optimum = {name: values[name] for name in OptimizeMixConfig.model_fields}
        return [
            Expansion(".swarm", "proxy_swarm", swarm, inputs),
            Expansion("", "optimize_mix", optimum, (*inputs, ".swarm")),
        ]
