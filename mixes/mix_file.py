"""mix.yaml: the mixture to train on, the data it was measured on, and the evidence for it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Literal, Self

import numpy as np
import yaml
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from mixes.optimum import INTERVAL, Optimum
from mixes.regression import Evidence

Floats = NDArray[np.float64]
NotNegative = Annotated[float, Field(ge=0)]
Correlation = Annotated[float, Field(ge=-1, le=1)]


class MixFileError(ValueError):
    """A mix file that cannot be trusted; the message names the file and the key."""


class _Strict(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid", frozen=True, allow_inf_nan=False)


class SourceShare(_Strict):
    """One source of the mixture. Intervals span the 10th to the 90th percentile of the optima of bootstrap
    refits."""

    ratio: Annotated[float, Field(ge=0, le=1)]
    ratio_interval: tuple[NotNegative, NotNegative]
    natural_ratio: NotNegative  # its share of all tokens
    tokens: Annotated[int, Field(ge=0)]  # to train on
    tokens_interval: tuple[NotNegative, NotNegative]
    epochs: NotNegative  # passes over the source's unique tokens
    epochs_interval: tuple[NotNegative, NotNegative]
    shadow_price: NotNegative  # fall of the objective per unit of ratio by which the cap is lifted
    fingerprint: Annotated[str, Field(min_length=1)]  # of the data that the runs were trained on

    @model_validator(mode="after")
    def _intervals_are_ordered(self) -> Self:
        for name in ("ratio_interval", "tokens_interval", "epochs_interval"):
            low, high = getattr(self, name)
            if low > high:
                raise ValueError(f"{name} runs from {low} down to {high}")
        return self


class MetricEvidence(_Strict):
    """One metric (lower is better). Spearman and RMSE are over runs left out of the fit."""

    weight: NotNegative  # in the objective, as the user gave it
    spearman: Correlation
    rmse: NotNegative
    linear_spearman: Correlation  # of the linear baseline on the same left-out runs
    linear_rmse: NotNegative
    noise: NotNegative | None  # sd of a run over repeats of one mixture; null where none was repeated
    predicted: float  # at the mixture
    predicted_sd: NotNegative
    natural: float  # predicted at the natural mix
    natural_sd: NotNegative


class MixEvidence(_Strict):
    """Why to believe the mixture. The objective is the weighted mean of the metrics."""

    runs: Annotated[int, Field(ge=1)]
    objective: float
    objective_sd: NotNegative
    natural_objective: float
    best_observed_objective: float
    gain: float  # of the mixture over the natural mix
    gain_interval: tuple[float, float]
    nearest_run_l1: NotNegative  # distance of the mixture to the nearest run
    metrics: Annotated[dict[str, MetricEvidence], Field(min_length=1)]


class MixFile(_Strict):
    """The whole file. Ratios sum to 1; tokens are ratio x target_tokens."""

    format: Literal[1] = 1
    target_tokens: Annotated[int, Field(ge=1)]
    sources: Annotated[dict[str, SourceShare], Field(min_length=1)]
    evidence: MixEvidence

    @model_validator(mode="after")
    def _adds_up(self) -> Self:
        total = sum(share.ratio for share in self.sources.values())
        if abs(total - 1.0) > 1e-6:
            raise ValueError(f"sources: the ratios sum to {total:.8g}, not to 1")
        for name, share in self.sources.items():
            if abs(share.tokens - share.ratio * self.target_tokens) > 1.0 + 1e-6 * self.target_tokens:
                raise ValueError(f"sources.{name}.tokens: {share.tokens} is not ratio x target_tokens")
        if not any(metric.weight > 0 for metric in self.evidence.metrics.values()):
            raise ValueError("evidence.metrics: every weight is zero")
        return self

    @property
    def ratios(self) -> dict[str, float]:
        return {name: share.ratio for name, share in self.sources.items()}

    @classmethod
    def of(
        cls,
        optimum: Optimum,
        evidence: Evidence,
        weights: Floats,
        *,
        source_tokens: dict[str, int],
        fingerprints: dict[str, str],
        target_tokens: int,
    ) -> MixFile:
        """The file for an optimum. `source_tokens` (unique tokens) names the sources in the order of the
        ratios; `weights` [M] are those it was solved for."""
        unique = np.array(list(source_tokens.values()), dtype=np.float64)
        epochs = optimum.epochs(unique, target_tokens)
        low, high = optimum.intervals
        sources = {}
        for j, name in enumerate(source_tokens):
            sources[name] = SourceShare(
                ratio=float(optimum.best.ratios[j]),
                ratio_interval=(_short(low[j]), _short(high[j])),
                natural_ratio=_short(unique[j] / unique.sum()),
                tokens=round(float(optimum.best.ratios[j]) * target_tokens),
                tokens_interval=(round(float(low[j]) * target_tokens), round(float(high[j]) * target_tokens)),
                epochs=_short(epochs[j]),
                epochs_interval=(
                    _short(low[j] * target_tokens / unique[j]),
                    _short(high[j] * target_tokens / unique[j]),
                ),
                shadow_price=_short(optimum.shadow_prices[j]),
                fingerprint=fingerprints[name],
            )
        metrics = {}
        for m, name in enumerate(evidence.metrics):
            metrics[name] = MetricEvidence(
                weight=float(weights[m]),
                spearman=_short(evidence.spearman["blend"][m]),
                rmse=_short(evidence.rmse["blend"][m]),
                linear_spearman=_short(evidence.spearman["linear"][m]),
                linear_rmse=_short(evidence.rmse["linear"][m]),
                noise=None if evidence.noise is None else _short(evidence.noise[m]),
                predicted=_short(optimum.best.metrics[m]),
                predicted_sd=_short(optimum.best.metrics_sd[m]),
                natural=_short(optimum.natural.metrics[m]),
                natural_sd=_short(optimum.natural.metrics_sd[m]),
            )
        return cls(
            target_tokens=target_tokens,
            sources=sources,
            evidence=MixEvidence(
                runs=len(evidence.left_out["blend"]),
                objective=_short(optimum.best.objective),
                objective_sd=_short(optimum.best.objective_sd),
                natural_objective=_short(optimum.natural.objective),
                best_observed_objective=_short(optimum.best_observed.objective),
                gain=_short(optimum.gain),
                gain_interval=(_short(optimum.gain_interval[0]), _short(optimum.gain_interval[1])),
                nearest_run_l1=_short(optimum.nearest_run_l1),
                metrics=metrics,
            ),
        )

    def write(self, path: Path) -> None:
        """Write the file as YAML; the same mixture gives the same bytes."""
        span = f"{INTERVAL[0]:g}th to {INTERVAL[1]:g}th percentile over bootstrap refits"
        header = f"# Intervals: {span}. Metrics: lower is better.\n"
        plain = json.loads(self.model_dump_json())
        path.write_text(header + yaml.safe_dump(plain, sort_keys=False, allow_unicode=True), encoding="utf-8")

    @classmethod
    def read(cls, path: Path) -> MixFile:
        """Raises MixFileError, naming the file and every wrong key."""
        try:
            plain = yaml.safe_load(path.read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
            raise MixFileError(f"{path}: cannot be read as YAML: {error}") from error
        try:
            # Through JSON, because strict validation of Python values would refuse YAML's lists as tuples.
            return cls.model_validate_json(json.dumps(plain, default=str))
        except ValidationError as error:
            wrong = [
                f"{'.'.join(map(str, e['loc'])) or 'file'}: {e['msg']} (got {_excerpt(e['input'])})"
                for e in error.errors()
            ]
            raise MixFileError("\n".join(f"{path}: {line}" for line in wrong)) from error


def _short(number: float | np.float64) -> float:
    """Six significant digits: more than any evidence has, and a file that a person can read."""
    return float(f"{float(number):.6g}")


def _excerpt(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."
