"""A swarm of small proxy models, each on its own mixture: the measurements that a mixture is fitted to.

train_swarm trains them stacked (stacked.py) or one after another (separate.py), with the same data, schedule and
measurements, and with checkpoints that either continues.
"""

import dataclasses
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property, partial
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from proxy_models.checkpoints import fingerprint_of
from proxy_models.device import CapturedStep, ResidentTokens, device_of, fits
from proxy_models.evaluation import AnswerSet, bits_per_byte_on, held_out_texts
from proxy_models.loader import STEPS_PLANNED_AT_ONCE, MixtureError, Order, read_sequences
from proxy_models.model import ModelConfig, parameter_counts
from proxy_models.optimization import ANNEALED_AT, AdamW, annealed_ends, annealed_schedule
from proxy_models.run_store import Evaluations, Row, RunStore, Unfinished
from proxy_models.separate import Separate
from proxy_models.shards import TokenReader, Tokens, open_tokens
from proxy_models.stacked import PRECISIONS, Models, Stack, joined_states

Progress = Callable[[int, int], None]
Method = Literal["stacked", "separate"]

# Timed to choose the method, in turns; the first of each is thrown away.
TRIAL_STEPS = 4  # of the stack
TRIAL_MODELS = 4  # steps of one model for each of them


@dataclass(frozen=True)
class Run:
    """One proxy: what it is trained on, and how.

    mixture: share of each source, [S], in the order of the tokens' sources. seed: of initial weights and of the
    order of the data. learning_rate, clip: the swarm's if None. id, purpose and round say what it is for; they
    do not change it.
    """

    id: str
    mixture: tuple[float, ...]
    seed: int
    learning_rate: float | None = None
    purpose: str = ""
    round: int = 0
    clip: float | None = None


@dataclass(frozen=True)
class SwarmConfig:
    model: ModelConfig
    steps: int
    batch: int  # sequences for each model and step
    size: str = ""  # name of the model's size, for the rows
    learning_rate: float = 3e-3  # peak
    clip: float = 1.0  # largest gradient norm
    warmup: float = 0.05  # share of the steps
    decay: float = 0.3  # share of the steps up to each annealed end; see annealed_schedule
    optimizer: AdamW = field(default_factory=AdamW)
    max_epochs: float | None = None  # how often a model may read a source through
    max_sequences: tuple[int, ...] | None = None  # for each source; see Order
    evaluation_sequences: int = 16  # for each source
    precision: str = "auto"  # "float32", "float64" or "bfloat16"; auto is bfloat16 on a GPU, else float32

    # How it is computed; none of these is part of what identifies a run.
    method: str = "auto"  # "stacked" or "separate"; auto is stacked on a GPU, on a CPU the faster one in a trial
    stack: int = 16  # models trained at once
    device: str = "auto"  # "cpu" or "cuda"; auto is a GPU where there is one
    is_compiled: bool = False  # by torch.compile: minutes once for each shape, for fewer passes over memory
    is_captured: bool = True  # on a GPU: the step as one CUDA graph
    is_resident: bool | None = None  # training tokens in the device's memory; None: on a GPU where they fit
    threads: int = 2
    checkpoint_every_s: float = 60.0

    def __post_init__(self) -> None:
        choices = {"method": ("auto", "stacked", "separate"), "precision": ("auto", *PRECISIONS)}
        for name, allowed in choices.items():
            if getattr(self, name) not in allowed:
                raise ValueError(f"no {name} {getattr(self, name)!r}; there are {', '.join(allowed)}")
        if self.stack < 1 or self.batch < 1 or self.evaluation_sequences < 1:
            raise ValueError("stack, batch and evaluation_sequences must be at least 1")


# Raise it whenever the same run comes out otherwise, or a row has other columns: kept rows are then no longer found.
RESULTS = 1

NOT_IDENTITY = (
    "size",
    "method",
    "stack",
    "device",
    "is_compiled",
    "is_captured",
    "is_resident",
    "threads",
    "checkpoint_every_s",
)


def train_swarm(
    tokens: Tokens,
    config: SwarmConfig,
    runs: Sequence[Run],
    work: Path,
    progress: Progress,
    evaluation_sets: Sequence[AnswerSet] = (),
    tell: Callable[[str], None] = print,
) -> list[Row]:
    """Train a model for each run and measure it on each source's held-out text and each set of answers.

    work: folder of what is finished and of checkpoints. It may be shared by calls with other runs, one after
    another or in several processes at once if no two train the same run: a run is found again by what decides
    its result (see RunStore), so a call trains only what is not finished, and continues with the same bits,
    on a CPU, what was stopped, in a stack of whichever runs are left.
    progress: called after each step with steps done and steps in all, summed over the runs.
    tell: called with what a person should know of, such as a damaged checkpoint that was passed over.

    A row, in the order of `runs`, holds run, round, purpose, size, mixture.<source> (share of the sequences drawn),
    epochs.<source> (how often the run reads the source, cut to max_sequences, through), seed,
    learning_rate, steps, tokens (trained on), diverged, diverged_at_step (1-based, None if it did not),
    trunk_parameters, embedding_parameters, head_parameters, vocabulary, tokens_fingerprint, method, and the
    bits per byte of held-out text and of answers after 25, 50 and 100 % of the steps, each at the end of an
    anneal: bpb.<source>@25, bpb.<source>@50, bpb.<source>, answers.<set>@25, ... From a model's divergence on
    they are None.

    Raises MixtureError before the first step if the tokens cannot serve a mixture under max_epochs; ValueError for
    settings that do not fit; CheckpointError if all checkpoints of a stack are damaged.
    """
    if not runs:
        return []
    swarm = _Swarm(tokens, config, runs, evaluation_sets)
    store = RunStore(work)
    store.clear(swarm.keys)
    waiting = [key for key in dict.fromkeys(swarm.keys) if store.finished(key) is None]
    begun, messages = store.unfinished(waiting)
    for message in messages:
        tell(message)
    if waiting:
        method = swarm.method(store, waiting)
        todo = {key: config.steps - (begun[key].step if key in begun else 0) for key in waiting}
        total = len(set(swarm.keys)) * config.steps
        done = total - sum(todo.values())
        for group in _groups(waiting, todo, config.stack if method == "stacked" else 1):
            swarm.train(method, group, begun, store, partial(_told_after, progress, done, total))
            done += sum(todo[key] for key in group)
    store.clear(swarm.keys)
    return [swarm.told(run, store.finished(key)) for run, key in zip(runs, swarm.keys, strict=True)]


def train_group(
    token_folder: Path,
    config: SwarmConfig,
    runs: Sequence[Run],
    work: Path,
    evaluation_sets: Sequence[AnswerSet] = (),
) -> list[Row]:
    """train_swarm for a process of its own, such as one of several with a GPU each: all arguments can be pickled.

    After a kill, the same call in any process that sees `work` continues.
    """
    return train_swarm(open_tokens(token_folder), config, runs, work, lambda done, total: None, evaluation_sets)


def _told_after(progress: Progress, before: int, total: int, steps: int) -> None:
    progress(before + steps, total)


def _groups(keys: Sequence[str], todo: dict[str, int], at_once: int) -> list[list[str]]:
    """Stacks of at most `at_once` runs with equally many steps to go; those closest to their end first."""
    groups = []
    for steps in sorted(set(todo.values())):
        same = [key for key in keys if todo[key] == steps]
        groups += [same[first : first + at_once] for first in range(0, len(same), at_once)]
    return groups


class _Swarm:
    """What both methods share: which model reads what, at which rate, and when it is measured."""

    def __init__(
        self, tokens: Tokens, config: SwarmConfig, runs: Sequence[Run], evaluation_sets: Sequence[AnswerSet]
    ) -> None:
        for run in runs:
            if len(run.mixture) != len(tokens.sources):
                raise MixtureError(
                    f"run {run.id}: a mixture of {len(run.mixture)} shares for {len(tokens.sources)} sources"
                )
        if config.model.vocabulary != tokens.vocabulary:
            raise ValueError(f"a model of {config.model.vocabulary} ids for tokens of {tokens.vocabulary}")
        torch.set_num_threads(config.threads)
        self.tokens, self.config = tokens, config
        self.device = device_of(config.device)
        self.precision = config.precision
        if self.precision == "auto":
            self.precision = "bfloat16" if self.device == "cuda" else "float32"
        self.bodies = [tokens.train(source) for source in tokens.sources]
        self.reader = TokenReader(self.bodies)
        held_out = held_out_texts(tokens, config.model.context, config.evaluation_sequences)
        # Column -> what it is measured on.
        self.texts = {f"bpb.{source}": text.to(self.device) for source, text in held_out.items()}
        self.texts |= {f"answers.{answers.name}": answers.to(self.device) for answers in evaluation_sets}
        # Step -> suffix of its columns.
        ends = annealed_ends(config.steps)
        self.ends = {
            end: "" if share == 1.0 else f"@{share * 100:.0f}" for end, share in zip(ends, ANNEALED_AT, strict=True)
        }
        settings = {name: value for name, value in dataclasses.asdict(config).items() if name not in NOT_IDENTITY}
        settings["precision"] = self.precision
        sets = [(answers.name, answers.fingerprint) for answers in evaluation_sets]
        self.identity = fingerprint_of(settings, RESULTS, ANNEALED_AT, tokens.fingerprint, sets)
        self.runs: dict[str, Run] = {}
        self.keys: list[str] = []
        for run in runs:
            key = fingerprint_of(self.identity, list(run.mixture), run.seed, self.learning_rate(run), self.clip(run))
            self.keys.append(key)
            self.runs[key] = run
        self.orders = {key: self._order(run) for key, run in self.runs.items()}
        self.trainers: dict[tuple[str, int], _Trainer] = {}

    def learning_rate(self, run: Run) -> float:
        return self.config.learning_rate if run.learning_rate is None else run.learning_rate

    def clip(self, run: Run) -> float:
        return self.config.clip if run.clip is None else run.clip

    def _order(self, run: Run) -> Order:
        try:
            return Order(
                ratios=tuple(run.mixture),
                available=tuple(body.sequence_count(self.config.model.context) for body in self.bodies),
                slots=self.config.steps * self.config.batch,
                seed=run.seed,
                max_epochs=self.config.max_epochs,
                max_sequences=self.config.max_sequences,
            )
        except MixtureError as error:
            raise MixtureError(f"run {run.id}: {error}") from error

    @cached_property
    def resident(self) -> ResidentTokens | None:
        wanted = self.config.is_resident
        if wanted or (wanted is None and fits(self.bodies, self.device)):
            return ResidentTokens(self.bodies, self.device)
        return None

    def method(self, store: RunStore, waiting: Sequence[str]) -> Method:
        """What config.method says; auto is decided once for a swarm's folder, so that it is resumed as it began."""
        if self.config.method != "auto":
            return "stacked" if self.config.method == "stacked" else "separate"
        if self.device == "cuda":
            return "stacked"
        decided = store.decided("method", self.identity)
        if decided is None:
            decided = self._faster(waiting[: self.config.stack])
            store.remember("method", self.identity, decided)
        return "stacked" if decided == "stacked" else "separate"

    def _faster(self, keys: Sequence[str]) -> Method:
        """Both train the first steps of these runs and are timed in turns; nothing of it is kept."""
        stack, separate = self.trainer("stacked", len(keys)), self.trainer("separate", 1)
        stack.load([self.runs[key] for key in keys], [self.orders[key] for key in keys], None)
        separate.load([self.runs[keys[0]]], [self.orders[keys[0]]], None)
        seconds: dict[Method, list[float]] = {"stacked": [], "separate": []}
        for step in range(min(TRIAL_STEPS, self.config.steps // TRIAL_MODELS)):
            began = time.perf_counter()
            stack.step(step)
            between = time.perf_counter()
            for separate_step in range(step * TRIAL_MODELS, (step + 1) * TRIAL_MODELS):
                separate.step(separate_step)
            ended = time.perf_counter()
            seconds["stacked"].append((between - began) / len(keys))
            seconds["separate"].append((ended - between) / TRIAL_MODELS)
        return min(seconds, key=lambda method: min(seconds[method][1:] or seconds[method]))

    def trainer(self, method: Method, models: int) -> "_Trainer":
        """Kept, so that each shape is compiled and captured once."""
        if (method, models) not in self.trainers:
            c = self.config
            made: Models = (
                Stack(c.model, models, c.optimizer, self.precision, self.device, c.is_compiled)
                if method == "stacked"
                else Separate(c.model, c.optimizer, self.precision, self.device, c.is_compiled)
            )
            self.trainers[method, models] = _Trainer(self, made)
        return self.trainers[method, models]

    def train(
        self,
        method: Method,
        keys: Sequence[str],
        begun: dict[str, Unfinished],
        store: RunStore,
        progress: Callable[[int], None],
    ) -> None:
        """Train runs that have all taken equally many steps to their end; their rows go to the store."""
        trainer = self.trainer(method, len(keys))
        first_step, state, evaluations = 0, None, {}
        if keys[0] in begun:
            first_step = begun[keys[0]].step
            state = joined_states([begun[key].alone() for key in keys])
            measured = [begun[key].measured() for key in keys]
            evaluations = {column: [values[column] for values in measured] for column in measured[0]}
        trainer.load([self.runs[key] for key in keys], [self.orders[key] for key in keys], state)
        last_saved = time.monotonic()
        for step in range(first_step, self.config.steps):
            trainer.step(step)
            done = step + 1
            if done in self.ends:
                evaluations |= self.measured(trainer.models, self.ends[done])
            if done == self.config.steps:
                for k, (key, alive) in enumerate(zip(keys, trainer.models.steps_alive.tolist(), strict=True)):
                    store.finish(key, self.row(key, method, alive, {c: v[k] for c, v in evaluations.items()}))
            elif time.monotonic() - last_saved >= self.config.checkpoint_every_s:
                store.save(keys, done, trainer.models.state(), evaluations)
                last_saved = time.monotonic()
            progress((done - first_step) * len(keys))

    def measured(self, models: Models, suffix: str) -> Evaluations:
        """Bits per byte of each model on each source and each set, as they are now."""
        return {
            f"{column}{suffix}": bits_per_byte_on(models, text, self.config.batch)
            for column, text in self.texts.items()
        }

    def row(self, key: str, method: Method, steps_alive: int, evaluations: dict[str, float]) -> Row:
        run, order, c = self.runs[key], self.orders[key], self.config
        counts = parameter_counts(c.model)
        sources = self.tokens.sources
        epochs = order.totals / np.maximum(order.sequences, 1)
        # A last step may leave weights that no later step finds out about: then what is measured is not finite.
        sound = {
            end: end <= steps_alive and all(math.isfinite(evaluations[f"{column}{suffix}"]) for column in self.texts)
            for end, suffix in self.ends.items()
        }
        diverged = not sound[c.steps]
        row: Row = {f"mixture.{name}": float(n / order.slots) for name, n in zip(sources, order.totals, strict=True)}
        row |= {f"epochs.{name}": float(n) for name, n in zip(sources, epochs, strict=True)}
        row |= {
            "seed": run.seed,
            "learning_rate": self.learning_rate(run),
            "steps": c.steps,
            "tokens": steps_alive * c.batch * c.model.context,
            "diverged": diverged,
            "diverged_at_step": min(steps_alive + 1, c.steps) if diverged else None,
            "trunk_parameters": counts.trunk,
            "embedding_parameters": counts.embedding,
            "head_parameters": counts.head,
            "vocabulary": c.model.vocabulary,
            "tokens_fingerprint": self.tokens.fingerprint,
            "method": method,
        }
        for end, suffix in self.ends.items():
            columns = [f"{column}{suffix}" for column in self.texts]
            row |= {column: evaluations[column] if sound[end] else None for column in columns}
        return row

    def told(self, run: Run, finished: Row | None) -> Row:
        assert finished is not None
        return {"run": run.id, "round": run.round, "purpose": run.purpose, "size": self.config.size, **finished}


class _Trainer:
    """Models with the data that they read: one call is one step."""

    def __init__(self, swarm: _Swarm, models: Models) -> None:
        c, k = swarm.config, len(models.alive)
        self.swarm, self.models = swarm, models
        self.context, self.batch = c.model.context, c.batch
        device, dtype = models.device, torch.float64
        self.schedule = torch.tensor(
            [annealed_schedule(step, c.steps, c.warmup, c.decay) for step in range(c.steps)], dtype=dtype, device=device
        )
        self.learning_rates = torch.zeros(k, dtype=dtype, device=device)
        self.clips = torch.zeros(k, dtype=models.precision.weights, device=device)
        self.resident = swarm.resident
        if self.resident is None:
            self.sequences = torch.zeros(k, c.batch, self.context + 1, dtype=torch.int64, device=device)
        # What the next steps read: first tokens in the resident pool.
        self.starts = torch.zeros(STEPS_PLANNED_AT_ONCE, k, c.batch, dtype=torch.int64, device=device)
        self.planned = range(0)
        is_captured = c.is_captured and device.type == "cuda"
        self._train: Callable[[], None] = CapturedStep(self._train_step) if is_captured else self._train_step

    def load(self, runs: Sequence[Run], orders: Sequence[Order], state: dict[str, Tensor] | None) -> None:
        """Take up other runs, from this state or from their seeds."""
        if state is None:
            self.models.start([run.seed for run in runs])
        else:
            self.models.load_state(state)
        self.orders, self.planned = orders, range(0)
        self.learning_rates.copy_(torch.tensor([self.swarm.learning_rate(run) for run in runs], dtype=torch.float64))
        self.clips.copy_(torch.tensor([self.swarm.clip(run) for run in runs], dtype=torch.float64))

    def step(self, step: int) -> None:
        if step not in self.planned:
            self._plan(step)
        if self.resident is None:
            now = slice((step - self.planned.start) * self.batch, (step - self.planned.start + 1) * self.batch)
            rows = read_sequences(
                self.swarm.reader, self.source[:, now].ravel(), self.sequence[:, now].ravel(), self.context
            )
            self.sequences.copy_(torch.from_numpy(rows).view(self.sequences.shape))
        self._train()

    def _plan(self, step: int) -> None:
        """What steps are to read, from the last multiple of STEPS_PLANNED_AT_ONCE on."""
        first = step - step % STEPS_PLANNED_AT_ONCE
        self.planned = range(first, min(first + STEPS_PLANNED_AT_ONCE, self.swarm.config.steps))
        slots = self.planned.start * self.batch, self.planned.stop * self.batch
        draws = [order.block(*slots) for order in self.orders]
        self.source: NDArray[np.int64] = np.stack([d.source for d in draws])  # [K, planned steps * B]
        self.sequence: NDArray[np.int64] = np.stack([d.sequence for d in draws])
        if self.resident is not None:
            starts = self.resident.starts(self.source, self.sequence, self.context)
            by_step = starts.reshape(len(draws), len(self.planned), self.batch).swapaxes(0, 1)
            self.starts[: len(self.planned)].copy_(torch.from_numpy(np.ascontiguousarray(by_step)))

    def _train_step(self) -> None:
        """Reads and writes tensors on the device alone; see CapturedStep."""
        now = self.models.steps_taken.view(1)
        if self.resident is None:
            sequences = self.sequences
        else:
            # Not self.starts[now]: an index that is a tensor of one number is read back to the host.
            starts = self.starts.index_select(0, now % STEPS_PLANNED_AT_ONCE)[0]
            sequences = self.resident.gather(starts, self.context + 1)
        rates = self.learning_rates * self.schedule.index_select(0, now)
        self.models.train_step(sequences, rates, self.clips)
