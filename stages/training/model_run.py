"""One model of `pretrain`, from its options to its folder: the part of the stage that needs torch.

Imported only where a model is trained, so that a recipe is checked without it.
"""

from __future__ import annotations

import math
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import Any

from mixes.mix_file import MixFile, MixFileError, check_sources
from pipeline.errors import StageError
from pipeline.stage import Context
from proxy_models.batches import Loader, LoaderStateError
from proxy_models.checkpoints import CheckpointError
from proxy_models.evaluation import AnswerSet, AnswerSetError, read_answer_set
from proxy_models.export import export_huggingface
from proxy_models.loader import MixtureError
from proxy_models.model import ModelConfig, parameter_counts, sized
from proxy_models.muon import Muon
from proxy_models.optimization import AdamW, Schedule
from proxy_models.plan import Plan, TrainingPhase, planned
from proxy_models.pretrain import DivergenceError, PretrainResult, pretrain
from proxy_models.pretrain import PretrainConfig as LoopConfig
from proxy_models.shards import ShardError, Tokens
from proxy_models.spikes import SpikeRule
from stages.training.model_card import model_card
from stages.training.pretrain_options import PhaseOptions, PretrainConfig

CURVE_POINTS = 200
LOGS = "logs"  # among the artifact's dear results: timings differ from run to run, and its files must not
SCHEDULES = {"wsd": "warmup_stable_decay", "cosine": "cosine"}
PACKINGS = {"concatenate": "concatenated", "best_fit": "best_fit"}
SETTINGS = (
    "learning_rate",
    "clip",
    "z_loss",
    "balance_loss",
    "accumulate",
    "evaluation_sequences",
    "log_every",
)
STEPS_ASKED = 10**9  # so many that each phase has some
# What a person can mend by the message alone: data, recipe, or a package that is not installed.
MENDABLE = (
    AnswerSetError,
    CheckpointError,
    DivergenceError,
    LoaderStateError,
    MixFileError,
    MixtureError,
    ShardError,
    FileNotFoundError,
    ModuleNotFoundError,
    ValueError,
)


@dataclass(frozen=True)
class ModelRun:
    """A model to train, with all that can be wrong with it looked at.

    loader: what the loop will read, for its epochs and what packing made of each source.
    """

    name: str
    model: ModelConfig
    loop: LoopConfig
    phases: tuple[TrainingPhase, ...]
    plan: Plan
    loader: Loader
    answer_sets: tuple[AnswerSet, ...]

    @property
    def mixture(self) -> dict[str, float]:
        """Source -> share of all tokens trained on."""
        segments = self.plan.segments
        if len(segments) == 1:
            return dict(segments[0].read.mixture)
        total = self.plan.tokens_before(self.plan.steps)
        shares: dict[str, float] = {}
        for segment in segments:
            of_segment = segment.steps * segment.step_tokens / total / sum(segment.read.mixture.values())
            for source, share in segment.read.mixture.items():
                shares[source] = shares.get(source, 0.0) + share * of_segment
        return shares


def model_runs(
    options: PretrainConfig, mix: MixFile, tokens: Tokens, fingerprints: Mapping[str, str], context: Context
) -> list[ModelRun]:
    """The models that the options ask for, with everything checked that can be before the first step.

    Raises:
        StageError: a mix file is of other data; the target is less than a batch.
        MENDABLE: what the loop says of its settings, the tokens, and the answer sets.
    """
    phases = _training_phases(options, mix, fingerprints)
    runs = [_model_run("optimal", phases, _max_epochs(options, mix), options, mix, tokens, context)]
    if options.compare_natural:
        natural = {name: share.natural_ratio for name, share in mix.sources.items()}
        alike = [replace(phase, mixture=natural, replay=0.0) for phase in phases]
        runs.append(_model_run("natural", alike, options.max_epochs, options, mix, tokens, context))
    return runs


def described_phases(options: PretrainConfig, mix: MixFile) -> tuple[PhaseOptions, ...]:
    """The recipe's phases, else those of the mix file, else one by its ratios."""
    return options.phases or tuple(PhaseOptions.of(phase) for phase in mix.phases) or (PhaseOptions(),)


def _training_phases(options: PretrainConfig, mix: MixFile, fingerprints: Mapping[str, str]) -> list[TrainingPhase]:
    phases = []
    for number, phase in enumerate(described_phases(options, mix), 1):
        mixture, replay = _mixture(phase, mix, fingerprints), phase.replay
        if number == 1 and replay and options.start is not None:
            # The loop knows of no data before its own first phase; what `start` was trained on is taken to be the mix.
            own = sum(mixture.values())
            mixture = {
                source: (1 - replay) * mixture.get(source, 0.0) / own + replay * share
                for source, share in mix.ratios.items()
            }
            replay = 0.0
        phases.append(
            TrainingPhase(mixture, phase.share, replay, phase.rates, phase.context, phase.rope_base, phase.batch)
        )
    return phases


def _mixture(phase: PhaseOptions, mix: MixFile, fingerprints: Mapping[str, str]) -> dict[str, float]:
    if phase.mix_file is not None:
        other = MixFile.read(phase.mix_file)
        check_measured_here(other, fingerprints, str(phase.mix_file))
        return other.ratios
    if phase.mixture == "natural":
        return {name: share.natural_ratio for name, share in mix.sources.items()}
    if isinstance(phase.mixture, dict):
        return dict(phase.mixture)
    return mix.ratios


def check_measured_here(mix: MixFile, fingerprints: Mapping[str, str], name: str) -> None:
    """Raises StageError for a mix that was measured on other data than the shards'."""
    if changed := check_sources(mix, fingerprints):
        raise StageError(
            f"{name} was measured on other data than these shards hold, for {', '.join(changed)}: fit it again"
        )


def _max_epochs(options: PretrainConfig, mix: MixFile) -> float | None:
    """The mix's ratios and the natural ones keep to its limit by themselves, but for the rounding to sequences."""
    phases = described_phases(options, mix)
    is_checked = all(phase.mix_file is None and isinstance(phase.mixture, str) for phase in phases)
    return options.max_epochs or (None if is_checked else mix.max_epochs)


def _model_run(
    name: str,
    phases: Sequence[TrainingPhase],
    max_epochs: float | None,
    options: PretrainConfig,
    mix: MixFile,
    tokens: Tokens,
    context: Context,
) -> ModelRun:
    model = replace(sized(options.size, tokens.vocabulary), **options.model.model_dump(exclude_none=True))
    steps = _steps(phases, model, options.batch, mix.target_tokens)
    if steps < 1:
        raise StageError(
            f"the target of {mix.target_tokens} tokens is less than one batch of {options.batch} x {model.context} "
            "tokens"
        )
    loop = _loop_config(options, model, steps, max_epochs, context)
    plan = planned(phases, model, steps, options.batch)
    reads = [segment.read for segment in plan.segments]
    try:
        loader = Loader(tokens, reads, context.seed, max_epochs, loop.packing, loop.masks_documents)
    except MixtureError as error:
        hint = "" if max_epochs is None else "; or set max_epochs, to have sources read more often"
        raise MixtureError(f"{name} mix: {error}{hint}") from error
    shortest = min(segment.model.context for segment in plan.segments)
    sets = tuple(
        replace(read_answer_set(path, tokens, shortest), name=set_name)
        for set_name, path in sorted(options.answer_sets.items())
    )
    return ModelRun(name, model, loop, tuple(phases), plan, loader, sets)


def _steps(phases: Sequence[TrainingPhase], model: ModelConfig, batch: int, target_tokens: int) -> int:
    """The most steps whose tokens are within the target; exact where all phases have as many tokens a step."""
    segments = planned(phases, model, STEPS_ASKED, batch).segments
    shares = [Fraction(phase.share) for phase in phases]
    tokens = sum(share * segment.step_tokens for share, segment in zip(shares, segments, strict=True))
    return int(target_tokens * sum(shares) / tokens)


def _loop_config(
    options: PretrainConfig, model: ModelConfig, steps: int, max_epochs: float | None, context: Context
) -> LoopConfig:
    o = options
    adamw = AdamW(**o.adamw.model_dump())
    schedule = o.schedule.model_dump() | {"kind": SCHEDULES[o.schedule.kind]}
    return LoopConfig(
        model=model,
        steps=steps,
        batch=o.batch,
        seed=context.seed,
        optimizer=adamw if o.optimizer == "adamw" else Muon(**o.muon.model_dump(), adamw=adamw),
        schedule=Schedule(**schedule),
        products=o.precision,
        max_epochs=max_epochs,
        packing=PACKINGS[o.packing],  # type: ignore[arg-type]  # one of its two
        masks_documents=o.document_masks,
        spikes=None if o.spikes is None else SpikeRule(**o.spikes.model_dump()),
        evaluate_every=max(1, steps // o.evaluations),
        is_compiled=o.compile,
        threads=context.cpus,
        checkpoint_every_s=o.checkpoint_every_s,
        checkpoint_every_steps=o.checkpoint_every_steps,
        wandb=o.wandb,
        **{name: getattr(o, name) for name in SETTINGS},
    )


def train_model(
    run: ModelRun,
    options: PretrainConfig,
    mix: MixFile,
    tokens: Tokens,
    sources: Mapping[str, Any],
    out: Path,
    context: Context,
    progress: Callable[[int, int], None],
) -> dict[str, Any]:
    """Train and export a model to `out`/name; its part of the artifact's summary, which holds no timings.

    sources: what the token shards hold of each, see shards_of. The log with the timings goes to `log_folder`.
    """
    assert context.answers is not None
    work = context.work / run.name
    result = pretrain(
        tokens, run.loop, run.phases, work, progress, evaluation_sets=run.answer_sets, start=options.start
    )
    kept = context.answers / LOGS / context.work.name / run.name
    kept.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(work / "log.jsonl", kept / "log.jsonl")
    if (work / "tensorboard").is_dir():
        shutil.copytree(work / "tensorboard", kept / "tensorboard", dirs_exist_ok=True)
    last = run.plan.segments[-1].model
    parameters = parameter_counts(last)
    end = {metric: value for metric, value in result.evaluations[-1].items() if metric != "step"}
    title = f"{options.size}, {run.name} mix"
    card = model_card(title, run.mixture, mix, sources, _training(run, options, tokens, result), end, _phase_rows(run))
    export_huggingface(result.model, last, tokens, out / run.name, card)
    return {
        "ratios": run.mixture,
        "parameters": parameters._asdict(),
        "steps": result.steps,
        "tokens": result.tokens,
        "evaluations": result.evaluations,
        "losses": thinned(result.losses),
        "messages": [*_shortened(run), *result.messages],
        "phases": _phase_rows(run),
        "spikes": [_as_json(spike) for spike in result.spikes],
        "epochs": run.loader.order.epochs,
        "packing": [
            {"source": source, "context": width, **asdict(report)}
            for (source, width), report in run.loader.reports().items()
        ],
    }


def _training(run: ModelRun, options: PretrainConfig, tokens: Tokens, result: PretrainResult) -> dict[str, Any]:
    """What the model card tells of the training, in its order."""
    first = run.plan.segments[0]
    parameters = parameter_counts(run.model)
    told = {
        "size": options.size,
        "parameters, without embedding and head": f"{parameters.trunk:,}",
        "parameters of embedding and head": f"{parameters.embedding + parameters.head:,}",
        "steps": result.steps,
        "tokens": result.tokens,
        "sequences a step": first.read.batch,
        "tokens a sequence": first.model.context,
        "peak learning rate": options.learning_rate,
        "seed": run.loop.seed,
        "tokens' fingerprint": tokens.fingerprint,
    }
    defaults = PretrainConfig()
    for name in ("model", "optimizer", "schedule", "precision", "packing", "document_masks", "z_loss", "balance_loss"):
        value = getattr(options, name)
        if value != getattr(defaults, name):
            told[name.replace("_", " ")] = _told(value)
    if options.start is not None:
        told["started from weights of"] = options.start.name
    if result.spikes:
        told["loss spikes"] = len(result.spikes)
    return told


def _told(value: Any) -> str:
    if hasattr(value, "model_dump"):
        given = value.model_dump(exclude_none=True)
        return ", ".join(f"{name.replace('_', ' ')} {entry}" for name, entry in given.items())
    return str(value)


def _phase_rows(run: ModelRun) -> list[dict[str, Any]]:
    return [
        {
            "first_step": segment.first_step,
            "steps": segment.steps,
            "tokens": segment.steps * segment.step_tokens,
            "ratios": dict(segment.read.mixture),
            "batch": segment.read.batch,
            "context": segment.model.context,
            "rope_base": segment.model.rope_base,
            "replay": described.replay,
            "rates": None if described.rates is None else list(described.rates),
        }
        for segment, described in zip(run.plan.segments, run.phases, strict=True)
    ]


def _shortened(run: ModelRun) -> list[str]:
    return [
        f"answer set {answers.name}: {answers.shortened} prompts are longer than the context and lost their beginning"
        for answers in run.answer_sets
        if answers.shortened
    ]


def thinned(losses: Sequence[float]) -> list[list[float]]:
    """About CURVE_POINTS points [step, mean training loss since the last point] of the loss curve. Losses that are not
    finite, of spikes, are left out of the means."""
    width = max(1, len(losses) // CURVE_POINTS)
    points = []
    for first in range(0, len(losses), width):
        finite = [loss for loss in losses[first : first + width] if math.isfinite(loss)]
        if finite:
            points.append([first, sum(finite) / len(finite)])
    return points


def _as_json(spike: Mapping[str, float]) -> dict[str, float | None]:
    return {name: value if math.isfinite(value) else None for name, value in spike.items()}
