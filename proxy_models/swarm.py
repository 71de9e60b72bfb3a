"""A swarm of small proxy models, each on its own mixture: the measurements that a mixture is fitted to.

train_swarm trains them stacked; train_separately trains the same models one after another with the plain
Transformer and torch's own optimizer, and is what the stack is held to in the tests.
"""

import dataclasses
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from proxy_models.checkpoints import Checkpoints, fingerprint_of
from proxy_models.evaluation import bits_per_byte, held_out_sequences, total_loss
from proxy_models.loader import MixtureError, Order, read_batches
from proxy_models.model import ModelConfig, Transformer, init_weights, parameter_counts
from proxy_models.optimization import AdamW, warmup_stable_decay
from proxy_models.shards import Tokens
from proxy_models.stacked import Stack

Progress = Callable[[int, int], None]
Row = dict[str, Any]

EVALUATE_AT = (0.25, 0.5, 1.0)  # shares of the steps


@dataclass(frozen=True)
class SwarmConfig:
    model: ModelConfig
    steps: int
    batch: int  # sequences for each model and step
    learning_rate: float | tuple[float, ...] = 4e-3  # one for all models, or one for each
    clip: float | tuple[float, ...] = 1.0  # largest gradient norm; one for all models, or one for each
    warmup: float = 0.1  # share of the steps
    decay: float = 0.3  # share of the steps
    optimizer: AdamW = field(default_factory=AdamW)
    max_epochs: float | None = None  # how often a model may read a source through
    max_sequences: tuple[int, ...] | None = None  # for each source; see Order
    evaluation_sequences: int = 16  # for each source
    stack: int = 16  # models trained at once
    precision: str = "float32"  # or "float64"
    threads: int = 2
    checkpoint_every_s: float = 60.0


def train_swarm(
    tokens: Tokens,
    config: SwarmConfig,
    mixtures: NDArray[np.float64],
    seeds: NDArray[np.int64],
    work: Path,
    progress: Progress,
) -> list[Row]:
    """Train a model on each mixture, `config.stack` at a time, and measure it on each source's held-out text.

    mixtures: [K, S], in the order of tokens.sources.
    seeds: [K], of initial weights and of the order of the data.
    work: folder of the swarm's own checkpoints; the same call with the same folder continues where it stopped.
    progress: called with steps done and steps in all, over all stacks.

    A row holds run, mixture.<source> (the share of the sequences drawn), seed, learning_rate, diverged,
    trunk_parameters, embedding_parameters, head_parameters, tokens (trained on), and bits per byte of
    held-out text after 25, 50 and 100 % of the steps: bpb.<source>@25, bpb.<source>@50, bpb.<source>. From
    a model's divergence on they are None. All are of the weights as they are at that step: at 25 and 50 %
    the learning rate has not decayed, so these are not what runs of a quarter or half the length would end
    with.

    Raises MixtureError before the first step if the tokens cannot serve a mixture under max_epochs.
    """
    plan = _Plan(tokens, config, mixtures, seeds)
    checkpoints = Checkpoints(work, plan.fingerprint)
    done, state, _ = checkpoints.latest()
    rows: list[Row] = state["rows"] if state else []
    starts = range(0, len(plan.orders), config.stack)
    last_saved = time.monotonic()
    for group, first in enumerate(starts):
        models = range(first, min(first + config.stack, len(plan.orders)))
        before = group * config.steps
        if done >= before + config.steps:
            continue
        stack = Stack(config.model, [plan.seeds[k] for k in models], plan.dtype)
        evaluations: dict[str, list[float]] = {}
        if done > before:
            assert state is not None
            stack.load_state(state["stack"])
            evaluations = state["evaluations"]
        learning_rates = torch.tensor([plan.learning_rates[k] for k in models], dtype=plan.dtype)
        clips = torch.tensor([plan.clips[k] for k in models], dtype=plan.dtype)
        for step, sequences in plan.batches(models, stack.steps_taken):
            stack.train_step(sequences, learning_rates * plan.schedule(step), clips, config.optimizer)
            if (suffix := plan.evaluations.get(step + 1)) is not None:
                for source, held_out in plan.held_out.items():
                    evaluations[f"bpb.{source}{suffix}"] = plan.stacked_bits_per_byte(stack, source, held_out)
            if step + 1 == config.steps:
                rows += plan.rows(models, stack.steps_alive.tolist(), evaluations)
                checkpoints.save(before + step + 1, {"rows": rows})
                last_saved = time.monotonic()
            elif time.monotonic() - last_saved >= config.checkpoint_every_s:
                partial = {"rows": rows, "stack": stack.state(), "evaluations": evaluations}
                checkpoints.save(before + step + 1, partial)
                last_saved = time.monotonic()
            progress(before + step + 1, len(starts) * config.steps)
    return rows


def train_separately(
    tokens: Tokens,
    config: SwarmConfig,
    mixtures: NDArray[np.float64],
    seeds: NDArray[np.int64],
    work: Path,
    progress: Progress,
) -> list[Row]:
    """The reference: the same models as train_swarm, one after another, with the rows it would return.

    It checkpoints whole models only: a call that is stopped trains the model it was at from its first step
    again.
    """
    plan = _Plan(tokens, config, mixtures, seeds)
    checkpoints = Checkpoints(work, plan.fingerprint)
    done, state, _ = checkpoints.latest()
    rows: list[Row] = state["rows"] if state else []
    for k in range(done, len(plan.orders)):
        model = Transformer(config.model).to(plan.dtype)
        init_weights(model, plan.seeds[k])
        optimizer = config.optimizer.of(model, plan.learning_rates[k])
        evaluations: dict[str, list[float]] = {}
        steps_alive = 0
        for step, sequences in plan.batches(range(k, k + 1), 0):
            for group in optimizer.param_groups:
                group["lr"] = plan.learning_rates[k] * plan.schedule(step)
            loss = model.token_losses(sequences[0]).mean()
            optimizer.zero_grad()
            loss.backward()
            norm = torch.nn.utils.clip_grad_norm_(model.parameters(), plan.clips[k])
            if not (torch.isfinite(loss) and torch.isfinite(norm)):
                break
            optimizer.step()
            steps_alive += 1
            if (suffix := plan.evaluations.get(step + 1)) is not None:
                for source, held_out in plan.held_out.items():
                    nats = total_loss(model, held_out, config.batch)
                    evaluations[f"bpb.{source}{suffix}"] = [plan.bits_per_byte(source, nats)]
            progress(k * config.steps + step + 1, len(plan.orders) * config.steps)
        rows += plan.rows(range(k, k + 1), [steps_alive], evaluations)
        checkpoints.save(k + 1, {"rows": rows})
    return rows


class _Plan:
    """What both ways of training share: which model reads what, at which rate, and when it is measured."""

    def __init__(
        self,
        tokens: Tokens,
        config: SwarmConfig,
        mixtures: NDArray[np.float64],
        seeds: NDArray[np.int64],
    ) -> None:
        if mixtures.ndim != 2 or mixtures.shape != (len(seeds), len(tokens.sources)):
            raise MixtureError(
                f"mixtures are {mixtures.shape}, not ({len(seeds)} seeds, {len(tokens.sources)} sources)"
            )
        if config.model.vocabulary != tokens.vocabulary:
            raise ValueError(f"a model of {config.model.vocabulary} ids for tokens of {tokens.vocabulary}")
        torch.set_num_threads(config.threads)
        self.tokens, self.config = tokens, config
        self.seeds = [int(seed) for seed in seeds]
        self.learning_rates = _for_each(config.learning_rate, len(seeds), "learning rates")
        self.clips = _for_each(config.clip, len(seeds), "clips")
        self.dtype = {"float32": torch.float32, "float64": torch.float64}[config.precision]
        self.bodies = [tokens.train(source) for source in tokens.sources]
        available = tuple(body.sequence_count(config.model.context) for body in self.bodies)
        self.orders = [
            Order(
                ratios=tuple(mixture.tolist()),
                available=available,
                slots=config.steps * config.batch,
                seed=seed,
                max_epochs=config.max_epochs,
                max_sequences=config.max_sequences,
            )
            for mixture, seed in zip(mixtures, self.seeds, strict=True)
        ]
        self.held_out = held_out_sequences(tokens, config.model.context, config.evaluation_sequences)
        # Step -> suffix of its columns. A run of under 4 steps has fewer marks; the later of two at a step
        # names it.
        self.evaluations = {
            max(1, round(share * config.steps)): "" if share == 1.0 else f"@{share * 100:.0f}" for share in EVALUATE_AT
        }
        settings = dataclasses.asdict(config)
        # Neither changes a result.
        del settings["threads"], settings["checkpoint_every_s"]
        self.fingerprint = fingerprint_of(settings, tokens.fingerprint, mixtures.tolist(), self.seeds)

    def schedule(self, step: int) -> float:
        return warmup_stable_decay(step, self.config.steps, self.config.warmup, self.config.decay)

    def batches(self, models: range, first_step: int) -> Iterator[tuple[int, Tensor]]:
        """Step and its sequences, int64 [K, B, T + 1], from first_step to the end."""
        orders = [self.orders[k] for k in models]
        batch, context = self.config.batch, self.config.model.context
        for step, rows in read_batches(self.bodies, orders, batch, context, first_step):
            yield step, torch.from_numpy(rows)

    def bits_per_byte(self, source: str, nats: float) -> float:
        targets = self.held_out[source][:, 1:].numel()
        return bits_per_byte(nats, targets, self.tokens.held_out(source).bytes_per_token)

    def stacked_bits_per_byte(self, stack: Stack, source: str, held_out: Tensor) -> list[float]:
        """Of each model of the stack, [K]."""
        nats = [stack.total_losses(some) for some in held_out.split(self.config.batch)]
        return [self.bits_per_byte(source, total) for total in torch.stack(nats).sum(dim=0).tolist()]

    def rows(self, models: range, steps_alive: Sequence[int], evaluations: dict[str, list[float]]) -> list[Row]:
        """evaluations: column -> bits per byte of each of `models`."""
        counts = parameter_counts(self.config.model)
        rows = []
        for position, k in enumerate(models):
            shares = self.orders[k].totals / self.orders[k].slots
            alive_steps = steps_alive[position]
            row: Row = {"run": k}
            row |= {f"mixture.{name}": float(s) for name, s in zip(self.tokens.sources, shares, strict=True)}
            row |= {
                "seed": self.seeds[k],
                "learning_rate": self.learning_rates[k],
                "diverged": alive_steps < self.config.steps,
                "trunk_parameters": counts.trunk,
                "embedding_parameters": counts.embedding,
                "head_parameters": counts.head,
                "tokens": alive_steps * self.config.batch * self.config.model.context,
            }
            for step, suffix in self.evaluations.items():
                for source in self.tokens.sources:
                    column = f"bpb.{source}{suffix}"
                    row[column] = evaluations[column][position] if step <= alive_steps else None
            rows.append(row)
        return rows


def _for_each(value: float | tuple[float, ...], models: int, name: str) -> list[float]:
    values = list(value) if isinstance(value, tuple) else [value] * models
    if len(values) != models:
        raise ValueError(f"{len(values)} {name} for {models} models")
    return values
