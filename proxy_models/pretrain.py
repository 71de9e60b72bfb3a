"""Pretraining of one model: the loop, from its settings to the trained weights."""

import dataclasses
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from proxy_models.batches import Batch, Loader, LoaderState, LoaderStateError
from proxy_models.checkpoints import BackgroundSaves, CheckpointError, Checkpoints, fingerprint_of
from proxy_models.device import device_of
from proxy_models.distributed import (
    Ranks,
    clip_gradients,
    load_training_state,
    local_device,
    ranks,
    release,
    shard,
    training_state,
    whole,
)
from proxy_models.evaluation import AnswerSet, EvaluationText, bits_per_byte_on, held_out_texts
from proxy_models.float8 import check_float8, use_float8
from proxy_models.initial_weights import initial_weights
from proxy_models.model import ModelConfig, Transformer, flops_per_token, init_weights, rotary_tables
from proxy_models.muon import Muon
from proxy_models.optimization import AdamW, Schedule
from proxy_models.plan import TrainingPhase, planned, shortest_context
from proxy_models.prefetch import Prefetched
from proxy_models.shards import Tokens
from proxy_models.spikes import SpikeRule
from proxy_models.training_log import MFU_FORMULA, Clock, TrainingLog

PRODUCTS = {"float32": None, "bfloat16": torch.bfloat16, "fp8": torch.bfloat16}  # the trunk's matrices apart, float8.py
# What may differ from the run that a checkpoint is of: it changes no result, or only by rounding.
NOT_IDENTITY = frozenset(
    {
        "accumulate",  # balance_loss aside; fewer ranks need more parts
        "threads",
        "checkpoint_every_s",
        "keep_checkpoints",
        "keep_each_steps",
        "device",
        "is_compiled",
        "log_every",
        "is_on_tensorboard",
        "wandb",
    }
)


@dataclass(frozen=True)
class PretrainConfig:
    """What a run is, besides its data.

    accumulate: parts that each rank's share of a step's batch is cut into, so that a part fits in memory; balance_loss
    is over a part, all else over the batch. products: type of everything but
    weights, gradients and optimizer, which are float32; "fp8" on a GPU that
    has it, see float8.py. masks_documents: attention stays within a document.
    checkpoint_every_steps: 0 for checkpoints by time. keep_each_steps: checkpoints at each multiple stay for good.
    """

    model: ModelConfig
    steps: int
    batch: int  # sequences for each step, over all ranks
    seed: int = 0  # of the initial weights and the order of the data
    learning_rate: float = 4e-3  # at base width, see learning_rate_factor
    optimizer: AdamW | Muon = field(default_factory=AdamW)
    schedule: Schedule = field(default_factory=Schedule)
    clip: float = 1.0  # largest gradient norm
    z_loss: float = 0.0
    balance_loss: float = 0.0  # of experts; Qwen3-MoE's default is 1e-3
    accumulate: int = 1
    products: str = "float32"
    max_epochs: float | None = None  # how often a source may be read through
    packing: Literal["concatenated", "best_fit"] = "concatenated"
    masks_documents: bool = False
    spikes: SpikeRule | None = None
    evaluate_every: int = 100  # steps; the last step is always evaluated
    evaluation_sequences: int = 64  # for each source
    device: str = "auto"
    is_compiled: bool = False  # each block by torch.compile
    threads: int = 2
    checkpoint_every_s: float = 60.0
    checkpoint_every_steps: int = 0
    keep_checkpoints: int = 2
    keep_each_steps: int = 0
    log_every: int = 10  # steps
    is_on_tensorboard: bool | None = None  # None: if the package is installed
    wandb: Mapping[str, Any] | None = None  # arguments of wandb.init

    def __post_init__(self) -> None:
        if self.products not in PRODUCTS:
            raise ValueError(f"no products {self.products!r}; there are {', '.join(PRODUCTS)}")
        if min(self.steps, self.batch, self.accumulate, self.evaluate_every, self.log_every, self.keep_checkpoints) < 1:
            raise ValueError("steps, batch, accumulate, evaluate_every, log_every, keep_checkpoints must be at least 1")
        if self.spikes is not None and self.spikes.response == "rewind" and not self.checkpoint_every_steps:
            raise ValueError("a rewind needs checkpoint_every_steps: of checkpoints by time, no two runs have the same")


@dataclass(frozen=True)
class PretrainResult:
    """A run as far as it went.

    model: on one rank the model itself; of several, on the first a whole copy on the CPU, on the others their share.
    Its config is that of the last phase trained. losses: nats per token before each step, from step 0, those before a
    resume included. evaluations: {"step": steps done, "bpb.<source>": bits per byte of held-out text, "answers.<set>":
    of an answer set} of each evaluation. spikes: {"step": steps done before it, "loss", "resumed_from": steps of the
    checkpoint that a rewind went back to} of each. tokens: trained on in all. tokens_per_s: of this call's training
    steps, without evaluation and checkpoints. mfu: by MFU_FORMULA, None where the peak is unknown. loader_share: of the
    training time, spent waiting for batches, which are read ahead. messages: what a person should know of, such as a
    damaged checkpoint that was passed over.
    """

    model: Transformer
    steps: int
    losses: list[float]
    evaluations: list[dict[str, float]]
    tokens: int
    tokens_per_s: float
    messages: list[str]
    spikes: list[dict[str, float]]
    mfu: float | None
    loader_share: float


class DivergenceError(Exception):
    """A loss that is not finite, or too many spikes. The message names the step and the remedy."""


def pretrain(
    tokens: Tokens,
    config: PretrainConfig,
    phases: Mapping[str, float] | Sequence[TrainingPhase],
    work: Path,
    progress: Callable[[int, int], None],
    stop_after_step: int | None = None,
    evaluation_sets: Sequence[AnswerSet] = (),
    start: Path | None = None,
) -> PretrainResult:
    """Train a model on a mixture, source -> share, or on one phase after another; on all ranks of torch.distributed's
    process group if there is one.

    work: folder of the run's own checkpoints and log, the same for all ranks; the same call with the same folder
    continues where it stopped, on one device with the same bits (a GPU needs torch.use_deterministic_algorithms for
    that), on another number of ranks with the same data. progress: called with steps done and steps in all.
    stop_after_step: return after so many steps, with nothing saved beyond what the checkpoint rule has saved.
    start: initial weights, see initial_weights; None: from the seed.

    Raises, before the first step, MixtureError for a source that the tokens lack or phases that they cannot serve;
    CheckpointError for a folder of another run, or one that ranks do not share; ValueError for settings that contradict
    each other. DivergenceError if the loss stops being finite; CheckpointError for a checkpoint that cannot be written.
    """
    if isinstance(phases, Mapping):
        phases = [TrainingPhase(phases)]
    if config.model.vocabulary != tokens.vocabulary:
        raise ValueError(f"a model of {config.model.vocabulary} ids for tokens of {tokens.vocabulary}")
    torch.set_num_threads(config.threads)
    plan = planned(phases, config.model, config.steps, config.batch)
    group = ranks()
    for segment in plan.segments:
        _check_batch(segment.read.batch, config.accumulate, group)
    reads = [segment.read for segment in plan.segments]
    loader = Loader(tokens, reads, config.seed, config.max_epochs, config.packing, config.masks_documents)

    device = local_device(device_of(config.device))
    model = Transformer(config.model, PRODUCTS[config.products])
    start_digest, start_messages = None, []
    if start is None:
        init_weights(model, config.seed)
    else:
        weights, start_digest, start_messages = initial_weights(start, model)
        model.load_state_dict(weights)
    model.to(device)
    if config.products == "fp8":
        check_float8(device)
        for segment in plan.segments:
            use_float8(model, segment.step_tokens // (group.count * config.accumulate))
    shard(model, device, group.count)
    if config.is_compiled:
        for block in model.blocks:
            block.compile()
    optimizers = _optimizers(config, model)

    # All phases are evaluated on the same sequences, so that evaluations compare.
    context = shortest_context(phases, config.model)
    texts: dict[str, EvaluationText] = {
        f"bpb.{name}": text for name, text in held_out_texts(tokens, context, config.evaluation_sequences).items()
    }
    for answers in evaluation_sets:
        if answers.counted.shape[1] > context:
            raise ValueError(f"answer set {answers.name} is longer than the shortest context of all phases, {context}")
        texts[f"answers.{answers.name}"] = answers
    texts = {column: text.to(device) for column, text in texts.items()}

    settings = {name: value for name, value in dataclasses.asdict(config).items() if name not in NOT_IDENTITY}
    settings["optimizer"]["kind"] = type(config.optimizer).__name__
    identity = fingerprint_of(  # the data's own is in the loader's state
        settings,
        [{**dataclasses.asdict(phase), "mixture": None, "replay": None} for phase in phases],
        [(answers.name, answers.fingerprint) for answers in evaluation_sets],
        start_digest,
    )
    checkpoints = Checkpoints(work, identity, config.keep_checkpoints, config.keep_each_steps)
    losses: list[float] = []
    evaluations: list[dict[str, float]] = []
    spikes: list[dict[str, float]] = []
    first_step, state, messages = checkpoints.latest(sets_aside=group.rank == 0)
    messages = [*start_messages, *messages]
    _check_same_checkpoint(first_step, group, device, work)
    if state is not None:
        first_step = _resumed_step(loader, state, work)
        load_training_state(model, optimizers, state["training"])
        losses, evaluations, spikes = state["losses"], state["evaluations"], state["spikes"]
        _adapt(model, plan.at(first_step - 1).model)
    last_step = config.steps if stop_after_step is None else min(stop_after_step, config.steps)

    log = TrainingLog(
        work,
        first_step,
        {
            "parameters": sum(p.numel() for p in model.parameters()),
            "flops_per_token": flops_per_token(config.model),
            "mfu": MFU_FORMULA,
        },
        config.is_on_tensorboard,
        config.wandb,
        is_writing=group.rank == 0,
    )
    clock = Clock(torch.cuda.get_device_name(device) if device.type == "cuda" else "", group.count)
    with (
        BackgroundSaves(checkpoints) as saves,
        log,
        Prefetched(loader.batches(first_step, group.rank, group.count)) as batches,
    ):
        last_saved = time.monotonic()
        for step in range(first_step, last_step):
            clock.begin()
            batch = next(batches)
            saves.raise_errors()
            segment = plan.at(step)
            _adapt(model, segment.model)

            rate = config.learning_rate * plan.rate_share(step, config.schedule)
            for optimizer in optimizers:
                for group_of_parameters in optimizer.param_groups:
                    group_of_parameters["lr"] = rate * group_of_parameters["factor"]
                optimizer.zero_grad()
            loss = group.mean(_loss_with_gradients(model, batch, config, group, device))
            norm = clip_gradients(model, config.clip)
            losses.append(loss.item())
            is_sound = bool(torch.isfinite(loss) & torch.isfinite(norm))
            if config.spikes is None:
                if not is_sound:
                    raise DivergenceError(
                        f"the loss of step {step + 1} is {losses[-1]} and its gradient's norm {norm.item()}: lower "
                        f"the learning rate ({config.learning_rate}), or have spikes skipped"
                    )
                is_spike = False
            else:
                usual = _usual(losses, spikes, config.spikes, segment.first_step)
                is_spike = not is_sound or losses[-1] > config.spikes.limit(usual)
            if not is_spike:
                for optimizer in optimizers:
                    optimizer.step()
            else:
                saves.wait()
                group.first(loss)  # nobody goes back before the first rank has written where to
                messages += _answer_spike(step, losses[-1], spikes, config, checkpoints, model, optimizers, group)
                messages.append(_told(spikes[-1], rate))
            clock.trained(segment.step_tokens, segment.model, batches.waited_s)

            done = step + 1
            if done % config.log_every == 0 or done == last_step or is_spike:
                told = {"loss": losses[-1], "learning_rate": rate, "gradient_norm": norm.item(), **clock.lately()}
                log.write(done, {**told, "tokens": plan.tokens_before(done), "is_spike": float(is_spike)})
            if done % config.evaluate_every == 0 or done == config.steps:
                rows = segment.read.batch // (group.count * config.accumulate)
                evaluations.append({"step": done, **_measured(model, texts, rows, group)})
                log.write(done, {name: value for name, value in evaluations[-1].items() if name != "step"})
            if _is_to_save(done, config, time.monotonic() - last_saved, group, device):
                state = {
                    "training": training_state(model, optimizers, group),
                    "loader": loader.state(done).to_dict(),
                    "losses": list(losses),
                    "evaluations": list(evaluations),
                    "spikes": list(spikes),
                }
                if group.rank == 0:
                    saves.save(done, state)
                last_saved = time.monotonic()
            progress(done, config.steps)

    return PretrainResult(
        model=model if group.count == 1 else whole(model, group),
        steps=max(first_step, last_step),
        losses=losses,
        evaluations=evaluations,
        tokens=plan.tokens_before(max(first_step, last_step)),
        tokens_per_s=clock.tokens_per_s,
        messages=messages,
        spikes=spikes,
        mfu=clock.mfu,
        loader_share=clock.loader_share,
    )


def _check_batch(batch: int, accumulate: int, group: Ranks) -> None:
    if batch % (group.count * accumulate):
        raise ValueError(
            f"a batch of {batch} sequences for {group.count} ranks, {accumulate} parts each: take a multiple of "
            f"{group.count * accumulate}"
        )


def _optimizers(config: PretrainConfig, model: Transformer) -> list[torch.optim.Optimizer]:
    if isinstance(config.optimizer, Muon):
        return config.optimizer.of(model, config.learning_rate)
    return [config.optimizer.of(model, config.learning_rate)]


def _check_same_checkpoint(step: int, group: Ranks, device: torch.device, work: Path) -> None:
    """A rank that sees other files would train another model, or wait for ever."""
    of_first = int(group.first(torch.tensor(step, device=device)))
    if group.sum(torch.tensor(int(step != of_first), device=device)):
        raise CheckpointError(
            f"{work}: rank {group.rank} finds a checkpoint of step {step} there, the first one of step {of_first}: "
            "give a folder that all ranks share"
        )


def _resumed_step(loader: Loader, state: Mapping[str, Any], work: Path) -> int:
    """The step to go on with, if the checkpoint's data is this run's."""
    try:
        return loader.step_of(LoaderState.from_dict(state["loader"]))
    except LoaderStateError as error:
        raise CheckpointError(f"{work}: {error}; for that, delete the folder or give another one") from error


def _adapt(model: Transformer, config: ModelConfig) -> None:
    """Go on with another context or base of the rotary positions; no weight depends on them."""
    if model.config == config:
        return
    model.config = config
    model.cos, model.sin = (table.to(model.cos.device) for table in rotary_tables(config))


def _loss_with_gradients(
    model: Transformer, batch: Batch, config: PretrainConfig, group: Ranks, device: torch.device
) -> Tensor:
    """Mean cross-entropy of this rank's share of a batch, in nats per token, with the gradients left in the model.

    The mean over ranks and parts is that of the batch: the sum over a part's targets is divided by their mean number.
    """
    sequences = _on(batch.sequences, device)
    documents = None if batch.documents is None else _on(batch.documents, device)
    is_target = None if batch.is_target is None else _on(batch.is_target, device)
    targets = None if is_target is None else group.mean(is_target.sum().float()) / config.accumulate
    rows = len(sequences) // config.accumulate
    cross_entropy = torch.zeros((), device=device)
    for first in range(0, len(sequences), rows):
        part = slice(first, first + rows)
        loss = model.training_loss(
            sequences[part],
            None if documents is None else documents[part],
            config.z_loss,
            config.balance_loss,
            is_target=None if is_target is None else is_target[part],
            targets=targets,
        )
        (loss.total / config.accumulate).backward()
        cross_entropy += loss.cross_entropy / config.accumulate
    return cross_entropy


def _on(array: Any, device: torch.device) -> Tensor:
    """Rows of a batch on the device; from page-locked memory, so that a GPU need not be waited for."""
    rows = torch.from_numpy(array)
    return rows.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else rows


def _usual(losses: list[float], spikes: list[dict[str, float]], rule: SpikeRule, begin: int) -> list[float]:
    """The last losses before this step's that were none of `spikes`, from step `begin` on: another phase has other
    losses."""
    left_out = {int(spike["step"]) for spike in spikes}
    steps = range(max(begin, len(losses) - 1 - rule.window - len(left_out)), len(losses) - 1)
    return [losses[step] for step in steps if step not in left_out]


def _answer_spike(
    step: int,
    loss: float,
    spikes: list[dict[str, float]],
    config: PretrainConfig,
    checkpoints: Checkpoints,
    model: Transformer,
    optimizers: Sequence[torch.optim.Optimizer],
    group: Ranks,
) -> list[str]:
    """Leave the weights as they are, or go back to the last checkpoint's; put down which. Messages of damage."""
    assert config.spikes is not None
    messages: list[str] = []
    if len(spikes) == config.spikes.at_most:
        raise DivergenceError(
            f"the loss of step {step + 1}, {loss}, is a spike after {len(spikes)} others, the last at step "
            f"{spikes[-1]['step'] + 1 if spikes else 0:.0f}: lower the learning rate ({config.learning_rate}), or "
            f"allow more than {config.spikes.at_most}"
        )
    spike: dict[str, float] = {"step": step, "loss": loss}
    if config.spikes.response == "rewind":
        resumed_from, state, messages = checkpoints.latest(sets_aside=group.rank == 0)
        if state is None:
            raise DivergenceError(
                f"the loss of step {step + 1}, {loss}, is a spike, and there is no checkpoint to go back to: lower the "
                f"learning rate ({config.learning_rate}) or checkpoint_every_steps"
            )
        load_training_state(model, optimizers, state["training"])
        spike["resumed_from"] = resumed_from
    spikes.append(spike)
    return messages


def _told(spike: Mapping[str, float], rate: float) -> str:
    answer = (
        f"weights are again those of step {spike['resumed_from']:.0f}" if "resumed_from" in spike else "batch skipped"
    )
    return f"loss spike of {spike['loss']:.4g} at step {spike['step'] + 1:.0f}, learning rate {rate:.3g}: {answer}"


def _measured(model: Transformer, texts: Mapping[str, EvaluationText], batch: int, group: Ranks) -> dict[str, float]:
    """Bits per byte of each text, which ranks share, `batch` sequences each at a time."""
    measured = {column: bits_per_byte_on(model, text, batch, group)[0] for column, text in texts.items()}
    release(model)
    return measured


def _is_to_save(done: int, config: PretrainConfig, since_s: float, group: Ranks, device: torch.device) -> bool:
    """By steps, or by the first rank's clock; the last step always is, and those that are kept for good."""
    if done == config.steps or (config.keep_each_steps and done % config.keep_each_steps == 0):
        return True
    if config.checkpoint_every_steps:
        return done % config.checkpoint_every_steps == 0
    is_time = torch.tensor(float(since_s >= config.checkpoint_every_s), device=device)
    return bool(group.first(is_time))
