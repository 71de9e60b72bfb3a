"""Options of `pretrain`, spelled out so that a recipe is checked without torch."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import Field, field_validator, model_validator

from mixes.mix_file import MixPhase
from pipeline.stage import Options, RecipePath, StageConfig
from stages.training.options import HELD_OUT
from stages.training.sources import Size

START_FILES = ("*.checkpoint", "*.safetensors")
NotNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]


class PhaseOptions(Options):
    """A part of the run, with a mixture of its own."""

    share: Positive = 1.0
    """Of the steps, in proportion to the other phases' shares, which need not sum to 1."""
    mixture: Literal["mix", "natural"] | dict[str, NotNegative] = "mix"
    """The mix's ratios; or all sources in proportion to their tokens; or ratios by source, in any positive sum, where
    a source that is not named is not read."""
    mix_file: RecipePath | None = None
    """A second mix.yaml, whose ratios this phase follows. Its own phases are not read."""
    replay: float = Field(0.0, ge=0, lt=1)
    """Share of the phase's sequences that follow the mixture of the phase before it. In the first phase of a run that
    has a `start`: that follow the mix's ratios."""
    rates: tuple[NotNegative, NotNegative] | None = None
    """Learning rate at the begin and the end of the phase, as shares of the peak, linear in between. What the schedule
    has at these steps if absent."""
    context: int | None = Field(None, ge=2)
    """Tokens a sequence from here on; contexts at which one source is read must divide the longest of them."""
    rope_base: Positive | None = None
    """Base of the rotary positions from here on; a longer context needs a larger one."""
    batch: int | None = Field(None, ge=1)
    """Sequences per step; as many as keep the tokens of a step if absent."""

    @model_validator(mode="after")
    def _has_one_mixture(self) -> Self:
        if self.mix_file is not None:
            if "mixture" in self.model_fields_set:
                raise ValueError("give mixture or mix_file, not both")
            if not self.mix_file.is_file():
                raise ValueError(f"no such file: {self.mix_file}")
        if isinstance(self.mixture, dict) and not sum(self.mixture.values()) > 0:
            raise ValueError("the ratios of mixture must not all be zero")
        return self

    @classmethod
    def of(cls, phase: MixPhase) -> PhaseOptions:
        """A phase that a mix file carries."""
        values = {name: value for name, value in phase.model_dump().items() if name != "ratios"}
        return cls(mixture="mix" if phase.ratios is None else phase.ratios, **values)


class ModelOptions(Options):
    """What differs from the named size; what is absent does not."""

    context: int | None = Field(None, ge=2)
    """Tokens a sequence, in the first phase."""
    rope_base: Positive | None = None
    """Base of the rotary positions, in the first phase."""
    tied: bool | None = None
    """Whether the output head is the embedding."""
    experts: int | None = Field(None, ge=0)
    """Experts in place of each feed-forward block, as in Qwen3-MoE; none of them: 0."""
    experts_per_token: int | None = Field(None, ge=1)
    """Experts that a token meets."""
    expert_width: int | None = Field(None, ge=1)
    """Inner width of one expert."""
    sliding_window: int | None = Field(None, ge=0)
    """Tokens that a sliding layer sees, a token's own included; all of them: 0."""
    full_attention_every: int | None = Field(None, ge=0)
    """With a sliding window: each so many-th layer sees all tokens; none of them: 0."""


class AdamWOptions(Options):
    """AdamW's constants."""

    beta1: float = Field(0.9, ge=0, lt=1)
    """Decay of the mean of gradients."""
    beta2: float = Field(0.95, ge=0, lt=1)
    """Decay of the mean of squared gradients."""
    epsilon: Positive = 1e-8
    """Added to the root of that mean."""
    weight_decay: NotNegative = 0.1
    """Decoupled, of matrices only."""


class MuonOptions(Options):
    """Muon's constants, for hidden matrices; all other parameters are AdamW's."""

    momentum: float = Field(0.95, ge=0, lt=1)
    """Of the gradients, in Nesterov's form."""
    weight_decay: NotNegative = 0.1
    """Decoupled, of the hidden matrices."""


class ScheduleOptions(Options):
    """The learning rate over all steps; a phase with `rates` has its own."""

    kind: Literal["wsd", "cosine"] = "wsd"
    """Warmup-stable-decay, or half a cosine after the warmup."""
    warmup: float = Field(0.1, ge=0, le=1)
    """Share of the steps that rise to the peak."""
    decay: float = Field(0.3, ge=0, le=1)
    """Share of the steps that fall to 0 (wsd)."""
    floor: float = Field(0.1, ge=0, le=1)
    """Share of the peak that a cosine falls to."""

    @model_validator(mode="after")
    def _are_shares_of_one_run(self) -> Self:
        if self.warmup + self.decay > 1:
            raise ValueError(f"warmup and decay are shares of one run, not {self.warmup} and {self.decay}")
        return self


class SpikeOptions(Options):
    """What a loss spike is, and what is done about it."""

    response: Literal["skip", "rewind"] = "skip"
    """Leave the weights as they are at this step; or go back to the last checkpoint's and on behind the spike."""
    deviations: Positive = 10.0
    """Scaled median absolute deviations above the median of the last losses from which on a loss is a spike."""
    window: int = Field(128, ge=2)
    """How many last losses."""
    at_most: int = Field(10, ge=0)
    """Spikes in one run; one more ends it."""


class PretrainConfig(StageConfig):
    """The model and its training; the number of tokens is the mix file's target."""

    size: Size = "demo"
    """Named size of the model."""
    model: ModelOptions = ModelOptions()
    """What differs from it."""
    start: RecipePath | None = None
    """Weights to start from: a checkpoint, a folder of checkpoints, or a folder in Hugging Face's format that this
    stage has written. From the seed if absent."""
    mix_file: RecipePath | None = None
    """A mix file to train by in place of that of the mix, such as one that `sluice mix solve` wrote, or the mix's own
    with `phases` written into it."""
    phases: tuple[PhaseOptions, ...] = ()
    """Parts of the run, one after another. Those of the mix file if absent, or one by its ratios if it has none."""
    max_epochs: Positive | None = None
    """How often a source may be read in the whole run. If absent: the mix's own limit in a run with a mixture that is
    not the mix's, which keeps to it; none otherwise."""
    batch: int = Field(16, ge=1)
    """Sequences per step, in the first phase."""
    accumulate: int = Field(1, ge=1)
    """Parts that a step's batch is cut into, so that a part fits in memory."""
    packing: Literal["concatenate", "best_fit"] = "concatenate"
    """Documents one behind the other, cut at the context; or whole documents packed together, padded."""
    document_masks: bool = False
    """Keep attention within a document."""
    learning_rate: float = Field(3e-3, gt=0)
    """Peak learning rate, at the width from which the size's rates transfer."""
    schedule: ScheduleOptions = ScheduleOptions()
    """Of the learning rate."""
    optimizer: Literal["adamw", "muon"] = "adamw"
    """Muon moves the hidden matrices only, and AdamW the rest."""
    adamw: AdamWOptions = AdamWOptions()
    """Constants of AdamW."""
    muon: MuonOptions = MuonOptions()
    """Constants of Muon."""
    clip: Positive = 1.0
    """Largest norm of the gradient."""
    z_loss: NotNegative = 0.0
    """Weight of the squared logarithm of the softmax's sum in the loss."""
    balance_loss: NotNegative = 0.0
    """Weight of the experts' balance in the loss; Qwen3-MoE's is 0.001."""
    spikes: SpikeOptions | None = None
    """How loss spikes are answered. If absent, only a loss that is not finite counts, and ends the run."""
    precision: Literal["float32", "bfloat16", "fp8"] = "float32"
    """Type of the products; weights, gradients and the optimizer are float32. fp8: those of the blocks, the rest in
    bfloat16, on a GPU of compute capability 8.9 or more."""
    compile: bool = False
    """Compile each block by torch.compile."""
    evaluations: int = Field(10, ge=1)
    """How often the held-out documents are evaluated during training."""
    evaluation_sequences: int = Field(64, ge=1)
    """Held-out sequences per source."""
    answer_sets: dict[str, RecipePath] = Field(default_factory=dict)
    """By name: JSON Lines of "prompt" and "answer"; measured with the held-out documents are the answers' bits per
    byte."""
    checkpoint_every_s: float = Field(20.0, gt=0)
    """Seconds between checkpoints; a killed run goes on from the last one."""
    checkpoint_every_steps: int = Field(0, ge=0)
    """Steps between checkpoints in place of seconds, which a rewind needs; by time: 0."""
    log_every: int = Field(10, ge=1)
    """Steps between lines of the log."""
    wandb: dict[str, Any] | None = None
    """Arguments of wandb.init, such as {project: NAME}, to log to Weights & Biases too."""
    compare_natural: bool = True
    """Train a second model on the sources in proportion to their tokens in all phases, with everything else equal."""

    not_identity: ClassVar[frozenset[str]] = frozenset({"checkpoint_every_s", "log_every", "wandb"})

    @field_validator("answer_sets")
    @classmethod
    def _are_files(cls, sets: dict[str, Path]) -> dict[str, Path]:
        if absent := [f"{name}: {path}" for name, path in sets.items() if not path.is_file()]:
            raise ValueError(f"no such file: {', '.join(absent)}")
        if HELD_OUT in sets:
            raise ValueError(f"{HELD_OUT!r} means the held-out documents; give the answer set another name")
        return sets

    @field_validator("start", "mix_file")
    @classmethod
    def _is_there(cls, path: Path | None) -> Path | None:
        if path is not None and not path.exists():
            raise ValueError(f"no such file or folder: {path}")
        return path

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if self.spikes is not None and self.spikes.response == "rewind" and not self.checkpoint_every_steps:
            raise ValueError("spikes: a rewind needs checkpoint_every_steps, since no two runs have the same by time")
        if self.phases and self.phases[0].replay and self.start is None:
            raise ValueError("the first phase has nothing before it to replay: give `start`, or name it in its mixture")
        return self

    def identity(self) -> dict[str, Any]:
        values = super().identity()
        values["answer_sets"] = {name: _digest([path]) for name, path in sorted(self.answer_sets.items())}
        values["mix_file"] = None if self.mix_file is None else _digest([self.mix_file])
        values["start"] = None if self.start is None else _digest(_start_files(self.start))
        for phase, described in zip(self.phases, values["phases"], strict=True):
            described["mix_file"] = None if phase.mix_file is None else _digest([phase.mix_file])
        return values


def _start_files(start: Path) -> list[Path]:
    if start.is_file():
        return [start]
    return sorted(path for pattern in START_FILES for path in start.glob(pattern))


def _digest(paths: list[Path]) -> str:
    total = hashlib.sha256()
    for path in paths:
        with path.open("rb") as file:
            total.update(hashlib.file_digest(file, "sha256").digest())
    return total.hexdigest()
