"""mix.yaml: the mixture to train on, the data it was measured on, and the evidence for it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, Self

import numpy as np
import yaml
from numpy.typing import NDArray
from pydantic import Field, model_validator

from mixes.target import InputFileError, Strict, Target, TokenCount, read_as

if TYPE_CHECKING:
    from mixes.optimum import Optimum
    from mixes.signal import Signal
    from mixes.stored_fit import Scores
    from mixes.transfer import Transfer

Floats = NDArray[np.float64]
NotNegative = Annotated[float, Field(ge=0)]
Ratio = Annotated[float, Field(ge=0, le=1)]
Correlation = Annotated[float, Field(ge=-1, le=1)]
Interval = tuple[NotNegative, NotNegative]
SignedInterval = tuple[float, float]

STACK = "stack"
BASELINE = "linear"


class MixFileError(InputFileError):
    """A mix file that cannot be trusted; the message names the file and the key."""


class SourceShare(Strict):
    """One source of the mixture. Intervals of tokens and epochs are those of the ratio."""

    ratio: Ratio
    ratio_interval: Interval  # over the optima of bootstrap refits
    posterior_interval: Interval  # over the optima of draws from the fit's own uncertainty
    natural_ratio: NotNegative  # its share of all unique tokens, brought within the limits
    lowest: Ratio  # of the ratio, by the user
    highest: Ratio  # of the ratio, by the user and by tokens x max_epochs
    unique_tokens: TokenCount
    tokens: TokenCount  # to train on
    tokens_interval: Interval
    epochs: NotNegative  # passes over the unique tokens
    epochs_interval: Interval
    worth_of_epoch: NotNegative  # fall of the objective for one more epoch
    worth_of_billion_tokens: NotNegative  # fall of the objective for 1e9 more unique tokens
    fingerprint: Annotated[str, Field(min_length=1)] | None  # of the data of the runs; null where it was never taken

    @model_validator(mode="after")
    def _is_ordered(self) -> Self:
        for name in ("ratio_interval", "posterior_interval", "tokens_interval", "epochs_interval"):
            low, high = getattr(self, name)
            if low > high:
                raise ValueError(f"{name} runs from {low} down to {high}")
        if not self.lowest - 1e-6 <= self.ratio <= self.highest + 1e-6:
            raise ValueError(f"ratio {self.ratio:g} is not within {self.lowest:g} to {self.highest:g}")
        return self


class MetricEvidence(Strict):
    """One metric (lower is better). Spearman and RMSE are over runs left out of the fit."""

    weight: Ratio  # in the objective, as the user gave it, all in sum 1
    used_weight: Ratio  # after the noise had its say, all in sum 1
    spearman: Correlation
    rmse: NotNegative
    linear_spearman: Correlation  # of the linear baseline on the same left-out runs
    linear_rmse: NotNegative
    noise: NotNegative | None  # sd of a run over repeats of one mixture; null where none was repeated
    signal_to_noise: NotNegative | None
    slope: NotNegative | None  # of its differences from the proxies' size to the target's; null without a second size
    predicted: float  # at the mixture, at the proxies' size
    predicted_sd: NotNegative
    natural: float  # predicted at the natural mix
    natural_sd: NotNegative


class MixEvidence(Strict):
    """Why to believe the mixture. The objective is the sum of used weight x slope x metric."""

    runs: Annotated[int, Field(ge=1)]
    objective: float
    objective_sd: NotNegative
    natural_objective: float
    best_observed_objective: float
    gain: float  # of the mixture over the natural mix
    gain_interval: SignedInterval
    nearest_run_l1: NotNegative  # distance of the mixture to the nearest run
    warnings: list[str]
    metrics: Annotated[dict[str, MetricEvidence], Field(min_length=1)]


class TransferEvidence(Strict):
    """Whether larger models rank mixtures as the proxies do. Parameters are those of the trunk."""

    base_parameters: Annotated[int, Field(ge=1)]
    second_parameters: Annotated[int, Field(ge=1)]
    target_parameters: Annotated[int, Field(ge=1)]
    exponent: NotNegative
    agreement: Correlation  # of the objective between base and second size
    agreement_interval: SignedInterval
    confirmed: bool
    verdict: str


class Confirmation(Strict):
    """Proxies of one size trained on the mixture and on the natural mix after it was chosen.

    The gain is that of the objective, natural minus best, of each seed; its interval is Student's, of 80 %.
    """

    size: str
    seeds: Annotated[int, Field(ge=1)]
    best: list[float]  # objective of each seed
    natural: list[float]
    predicted_gain: float
    gain: float
    gain_interval: SignedInterval
    beats_natural: bool  # the whole interval is above zero
    verdict: str

    @model_validator(mode="after")
    def _has_its_seeds(self) -> Self:
        if not len(self.best) == len(self.natural) == self.seeds:
            raise ValueError(f"{len(self.best)} and {len(self.natural)} objectives are not those of {self.seeds} seeds")
        return self

    @classmethod
    def of(cls, size: str, best: Floats, natural: Floats, predicted_gain: float) -> Confirmation:
        """From the objectives [seeds] of both mixtures, in the order of the seeds. Raises ValueError below 2 seeds."""
        from scipy.stats import t

        seeds = len(best)
        if seeds < 2 or len(natural) != seeds:
            raise ValueError(
                f"{seeds} and {len(natural)} proxies confirm nothing: train both mixtures under 2 seeds or more"
            )
        gains = natural - best
        half = float(t.ppf(0.9, seeds - 1) * gains.std(ddof=1) / np.sqrt(seeds))
        gain, beats = float(gains.mean()), bool(gains.mean() > half)
        told = f"{seeds} proxies of size {size} each: {gain:+.4g} ({gain - half:+.4g} to {gain + half:+.4g})"
        verdict = (
            f"the mixture beats the natural mix: {told}, {predicted_gain:+.4g} was predicted"
            if beats
            else f"the mixture does not beat the natural mix beyond chance: {told}, {predicted_gain:+.4g} was predicted"
        )
        return cls(
            size=size,
            seeds=seeds,
            best=best.tolist(),
            natural=natural.tolist(),
            predicted_gain=predicted_gain,
            gain=gain,
            gain_interval=(gain - half, gain + half),
            beats_natural=beats,
            verdict=verdict,
        )


class MixPhase(Strict):
    """A part of the run, one after another; a person adds them to the file. What is absent stays as in the part before.

    share: of the run's steps, in proportion to the other phases'. ratios: by source, in any positive sum; the file's
    own if absent. replay: share of sequences by the ratios of the phase before. rates: learning rate at begin and end,
    as shares of the peak. context: tokens a sequence. rope_base: of the rotary positions. batch: sequences a step.
    """

    share: Annotated[float, Field(gt=0)] = 1.0
    ratios: dict[str, NotNegative] | None = None
    replay: Annotated[float, Field(ge=0, lt=1)] = 0.0
    rates: tuple[NotNegative, NotNegative] | None = None
    context: Annotated[int, Field(ge=2)] | None = None
    rope_base: Annotated[float, Field(gt=0)] | None = None
    batch: Annotated[int, Field(ge=1)] | None = None

    @model_validator(mode="after")
    def _reads_something(self) -> Self:
        if self.ratios is not None and not sum(self.ratios.values()) > 0:
            raise ValueError("the ratios must not all be zero")
        return self


class MixFile(Strict):
    """The whole file. Ratios sum to 1; tokens are ratio x target_tokens."""

    format: Literal[2] = 2
    target_tokens: Annotated[TokenCount, Field(ge=1)]
    max_epochs: Annotated[float, Field(gt=0)]
    sources: Annotated[dict[str, SourceShare], Field(min_length=1)]
    evidence: MixEvidence
    transfer: TransferEvidence | None
    confirmation: list[Confirmation]  # by size of proxy; empty if none was trained
    phases: tuple[MixPhase, ...] = ()  # of the run that trains by it; empty: one, by the ratios

    @model_validator(mode="after")
    def _adds_up(self) -> Self:
        total = sum(share.ratio for share in self.sources.values())
        if abs(total - 1.0) > 1e-6:
            raise ValueError(f"sources: the ratios sum to {total:.8g}, not to 1")
        for name, share in self.sources.items():
            if abs(share.tokens - share.ratio * self.target_tokens) > 1.0 + 1e-6 * self.target_tokens:
                raise ValueError(f"sources.{name}.tokens: {share.tokens} is not ratio x target_tokens")
            if abs(share.epochs * share.unique_tokens - share.tokens) > 1.0 + 1e-4 * share.tokens:
                raise ValueError(f"sources.{name}.epochs: {share.epochs:g} is not tokens / unique_tokens")
        for number, phase in enumerate(self.phases, 1):
            if unknown := sorted(set(phase.ratios or ()) - set(self.sources)):
                raise ValueError(f"phases: phase {number} names {', '.join(unknown)}, which is no source of the file")
        metrics = self.evidence.metrics.values()
        for kind in ("weight", "used_weight"):
            if abs(sum(getattr(metric, kind) for metric in metrics) - 1.0) > 1e-4:
                raise ValueError(f"evidence.metrics: the values of {kind} do not sum to 1")
        return self

    @property
    def ratios(self) -> dict[str, float]:
        return {name: share.ratio for name, share in self.sources.items()}

    @classmethod
    def of(
        cls,
        optimum: Optimum,
        target: Target,
        scores: Scores,
        weights: Mapping[str, float],
        *,
        signal: Signal | None = None,
        transfer: Transfer | None = None,
        confirmation: Sequence[Confirmation] = (),
    ) -> MixFile:
        """The file for an optimum of the sources of `target`, in its order, and the metrics of `weights` (all of them,
        as the user gave them)."""
        given = np.array(list(weights.values()), dtype=np.float64)
        given = given / given.sum()
        return cls(
            target_tokens=target.target_tokens,
            max_epochs=target.max_epochs,
            sources=_shares(optimum, target),
            evidence=MixEvidence(
                runs=scores.runs,
                objective=_short(optimum.best.objective),
                objective_sd=_short(optimum.best.objective_sd),
                natural_objective=_short(optimum.natural.objective),
                best_observed_objective=_short(optimum.best_observed.objective),
                gain=_short(optimum.gain),
                gain_interval=_interval(optimum.gain_interval),
                nearest_run_l1=_short(optimum.nearest_run_l1),
                warnings=[*optimum.warnings, *(signal.notes_on(given) if signal else ())],
                metrics=_metrics(list(weights), optimum, scores, given, signal, transfer),
            ),
            transfer=None if transfer is None else _transfer(transfer),
            confirmation=list(confirmation),
        )

    def write(self, path: Path) -> None:
        """Write the file as YAML, in one step; the same mixture gives the same bytes."""
        from mixes.optimum import INTERVAL
        from mixes.stored_fit import replacing

        header = (
            f"# Intervals span the {INTERVAL[0]:g}th to the {INTERVAL[1]:g}th percentile. Metrics: lower is better.\n"
        )
        plain = json.loads(self.model_dump_json(exclude=set() if self.phases else {"phases"}))
        with replacing(path) as temporary:
            temporary.write_text(header + yaml.safe_dump(plain, sort_keys=False, allow_unicode=True), encoding="utf-8")

    @classmethod
    def read(cls, path: Path) -> MixFile:
        """Raises MixFileError, naming the file and every wrong key."""
        try:
            return read_as(cls, path)
        except InputFileError as error:
            raise MixFileError(str(error)) from error


def check_sources(mix: MixFile, fingerprints: Mapping[str, str]) -> list[str]:
    """Sources whose data are not those that the mixture was measured on: changed, missing, or new. Empty if none.

    A source whose fingerprint was never taken cannot be told apart and counts as unchanged while it is there.
    """
    measured = {name: share.fingerprint for name, share in mix.sources.items()}
    return sorted(
        name
        for name in {*measured, *fingerprints}
        if name not in measured
        or (name not in fingerprints and mix.sources[name].ratio > 0)
        or (name in fingerprints and measured[name] not in (None, fingerprints[name]))
    )


def _shares(optimum: Optimum, target: Target) -> dict[str, SourceShare]:
    names = list(target.sources)
    unique, natural, limits = target.unique_tokens(names), optimum.natural.ratios, target.limits(names)
    shares = {}
    for j, name in enumerate(names):
        ratio = float(optimum.best.ratios[j])
        interval = (float(optimum.intervals[0][j]), float(optimum.intervals[1][j]))
        epochs = target.target_tokens / max(unique[j], 1.0)  # for each unit of ratio; a source that is gone has none
        shares[name] = SourceShare(
            ratio=ratio,
            ratio_interval=_interval(interval),
            posterior_interval=_interval(optimum.posterior_intervals[:, j]),
            natural_ratio=_short(natural[j]),
            lowest=_short(limits.lower[j]),
            highest=min(_short(limits.upper[j]), 1.0),
            unique_tokens=int(unique[j]),
            tokens=round(ratio * target.target_tokens),
            tokens_interval=(round(interval[0] * target.target_tokens), round(interval[1] * target.target_tokens)),
            epochs=_short(ratio * epochs),
            epochs_interval=_interval((interval[0] * epochs, interval[1] * epochs)),
            worth_of_epoch=_short(optimum.worth_of_epoch[j]),
            worth_of_billion_tokens=_short(optimum.worth_of_billion_tokens[j]),
            fingerprint=target.sources[name].fingerprint,
        )
    return shares


def _metrics(
    names: list[str], optimum: Optimum, scores: Scores, given: Floats, signal: Signal | None, transfer: Transfer | None
) -> dict[str, MetricEvidence]:
    used = given if signal is None else signal.used(given)
    return {
        name: MetricEvidence(
            weight=_short(given[m]),
            used_weight=_short(used[m]),
            spearman=_short(scores.spearman[STACK][m]),
            rmse=_short(scores.rmse[STACK][m]),
            linear_spearman=_short(scores.spearman[BASELINE][m]),
            linear_rmse=_short(scores.rmse[BASELINE][m]),
            noise=None if scores.noise is None else _short(scores.noise[m]),
            signal_to_noise=None if signal is None else _short(signal.ratio[m]),
            slope=None if transfer is None else _short(transfer.extrapolated[m]),
            predicted=_short(optimum.best.metrics[m]),
            predicted_sd=_short(optimum.best.metrics_sd[m]),
            natural=_short(optimum.natural.metrics[m]),
            natural_sd=_short(optimum.natural.metrics_sd[m]),
        )
        for m, name in enumerate(names)
    }


def _transfer(transfer: Transfer) -> TransferEvidence:
    second = transfer.agreements[0]
    return TransferEvidence(
        base_parameters=transfer.sizes.base,
        second_parameters=transfer.sizes.second,
        target_parameters=transfer.sizes.target,
        exponent=_short(transfer.exponent),
        agreement=_short(second.objective),
        agreement_interval=(_short(second.interval[0]), _short(second.interval[1])),
        confirmed=transfer.confirmed,
        verdict=transfer.verdict,
    )


def _interval(bounds: Floats | tuple[float, float]) -> tuple[float, float]:
    return _short(bounds[0]), _short(bounds[1])


def _short(number: float | np.float64) -> float:
    """Six significant digits: more than any evidence has, and a file that a person can read."""
    return float(f"{float(number):.6g}")
