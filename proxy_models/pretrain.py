"""Pretraining of one model on one mixture: AdamW, warmup-stable-decay, clipping, evaluation, checkpoints,
resume."""

import dataclasses
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import torch

from proxy_models.checkpoints import Checkpoints, fingerprint_of
from proxy_models.evaluation import bits_per_byte_on, held_out_texts
from proxy_models.loader import MixtureError, Order, read_batches
from proxy_models.model import ModelConfig, Transformer, init_weights
from proxy_models.optimization import AdamW, warmup_stable_decay
from proxy_models.shards import Tokens


@dataclass(frozen=True)
class PretrainConfig:
    model: ModelConfig
    steps: int
    batch: int  # sequences for each step
    seed: int = 0  # of the initial weights and the order of the data
    learning_rate: float = 4e-3
    clip: float = 1.0  # largest gradient norm
    warmup: float = 0.1  # share of the steps
    decay: float = 0.3  # share of the steps
    optimizer: AdamW = field(default_factory=AdamW)
    max_epochs: float | None = None  # how often a source may be read through
    evaluate_every: int = 100  # steps; the last step is always evaluated
    evaluation_sequences: int = 64  # for each source
    threads: int = 2
    checkpoint_every_s: float = 60.0


@dataclass(frozen=True)
class PretrainResult:
    """A run as far as it went.

    losses: nats per token before each step, from step 0, those before a resume included.
    evaluations: {"step": steps done, "bpb.<source>": bits per byte of held-out text} of each evaluation.
    tokens: trained on in all. tokens_per_s: of this call's training steps, without evaluation and checkpoints.
    messages: what a person should know of, such as a damaged checkpoint that was passed over.
    """

    model: Transformer
    steps: int
    losses: list[float]
    evaluations: list[dict[str, float]]
    tokens: int
    tokens_per_s: float
    messages: list[str]


class DivergenceError(Exception):
    """A loss that is not finite. The message names the step and the remedy."""


def pretrain(
    tokens: Tokens,
    config: PretrainConfig,
    mixture: Mapping[str, float],
    work: Path,
    progress: Callable[[int, int], None],
    stop_after_step: int | None = None,
) -> PretrainResult:
    """Train a model on `mixture`, source -> share; a source that it does not name is not trained on.

    work: folder of the run's own checkpoints; the same call with the same folder continues where it stopped,
    on a CPU with the same bits. progress: called with steps done and steps in all.
    stop_after_step: return after so many steps, with nothing saved beyond what checkpoint_every_s has saved.

    Raises MixtureError, before the first step, for a source that the tokens lack or a mixture that they
    cannot serve under max_epochs; CheckpointError for a folder of another run; DivergenceError if the loss
    stops being finite.
    """
    unknown = sorted(set(mixture) - set(tokens.sources))
    if unknown:
        raise MixtureError(f"no tokens of {', '.join(unknown)}; the sources are {', '.join(tokens.sources)}")
    if config.model.vocabulary != tokens.vocabulary:
        raise ValueError(f"a model of {config.model.vocabulary} ids for tokens of {tokens.vocabulary}")
    torch.set_num_threads(config.threads)
    context = config.model.context
    bodies = [tokens.train(source) for source in tokens.sources]
    order = Order(
        ratios=tuple(float(mixture.get(source, 0.0)) for source in tokens.sources),
        available=tuple(body.sequence_count(context) for body in bodies),
        slots=config.steps * config.batch,
        seed=config.seed,
        max_epochs=config.max_epochs,
    )
    held_out = held_out_texts(tokens, context, config.evaluation_sequences)

    model = Transformer(config.model)
    init_weights(model, config.seed)
    optimizer = config.optimizer.of(model, config.learning_rate)
    losses: list[float] = []
    evaluations: list[dict[str, float]] = []

    settings = dataclasses.asdict(config)
    # Neither changes what is trained.
    del settings["threads"], settings["checkpoint_every_s"]
    checkpoints = Checkpoints(work, fingerprint_of(settings, tokens.fingerprint, dict(mixture)))
    first_step, state, messages = checkpoints.latest()
    if state is not None:
        model.load_state_dict(state["model"])
        optimizer.load_state_dict(state["optimizer"])
        torch.set_rng_state(state["random"])
        losses, evaluations = state["losses"], state["evaluations"]

    last_step = config.steps if stop_after_step is None else min(stop_after_step, config.steps)
    training_s = 0.0
    began = last_saved = time.monotonic()
    for step, rows in read_batches(bodies, [order], config.batch, context, first_step):
        if step >= last_step:
            break
        sequences = torch.from_numpy(rows[0])
        for group in optimizer.param_groups:
            group["lr"] = config.learning_rate * warmup_stable_decay(step, config.steps, config.warmup, config.decay)
        loss = model.token_losses(sequences).mean()
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), config.clip)
        optimizer.step()
        losses.append(loss.item())
        training_s += time.monotonic() - began
        if not torch.isfinite(loss):
            raise DivergenceError(
                f"the loss of step {step + 1} is {losses[-1]}: lower the learning rate ({config.learning_rate})"
            )
        if (step + 1) % config.evaluate_every == 0 or step + 1 == config.steps:
            measured = {f"bpb.{s}": bits_per_byte_on(model, text, config.batch)[0] for s, text in held_out.items()}
            evaluations.append({"step": step + 1, **measured})
        if time.monotonic() - last_saved >= config.checkpoint_every_s or step + 1 == config.steps:
            state = {
                "model": model.state_dict(),
                "optimizer": optimizer.state_dict(),
                "random": torch.get_rng_state(),
                "slot": (step + 1) * config.batch,
                "losses": losses,
                "evaluations": evaluations,
            }
            checkpoints.save(step + 1, state)
            last_saved = time.monotonic()
        progress(step + 1, config.steps)
        began = time.monotonic()

    steps = max(first_step, last_step)
    return PretrainResult(
        model=model,
        steps=steps,
        losses=losses,
        evaluations=evaluations,
        tokens=steps * config.batch * context,
        tokens_per_s=(steps - first_step) * config.batch * context / training_s if training_s else 0.0,
        messages=messages,
    )
