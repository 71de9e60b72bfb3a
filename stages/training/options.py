"""Options that the stages around the mix share."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, field_validator

from pipeline.errors import StageError
from pipeline.stage import Options, RecipePath, StageConfig
from stages.training.sources import Size

HELD_OUT = "held_out"  # in `evaluate`: the held-out documents of every source, in equal shares


class Target(StageConfig):
    """The training that the mixture is for."""

    tokens: int | None = Field(None, gt=0)
    """Tokens that the big run will see; all training tokens once if absent."""
    max_epochs: float = Field(4.0, gt=0)
    """How often the big run may see a token of one source (Muennighoff et al. 2023: up to 4 epochs cost little)."""
    parameters: int | None = Field(None, gt=0)
    """Parameters of the big model without its vocabulary (embedding and head): where the slopes between two sizes of
    proxies are carried to. No slopes are carried beyond the second size if absent."""


class Group(Options):
    """Sources whose ratios are bounded together."""

    sources: tuple[str, ...] = Field(min_length=1)
    """Its members; a source is in one group at most."""
    lowest: float = Field(0.0, ge=0, le=1)
    """Least sum of their ratios."""
    highest: float = Field(1.0, ge=0, le=1)
    """Largest sum of their ratios."""


class LimitOptions(StageConfig):
    """What a mixture may be."""

    target: Target = Target()
    """The training that the mixture is for."""
    bounds: dict[str, tuple[float, float]] = Field(default_factory=dict)
    """By source: lowest and highest ratio."""
    fixed: dict[str, float] = Field(default_factory=dict)
    """By source: the ratio that it must have."""
    groups: dict[str, Group] = Field(default_factory=dict)
    """By name: sources whose ratios are bounded together."""


class ProxyOptions(StageConfig):
    """How the proxies are trained and what they are measured on."""

    batch: int = Field(4, ge=1)
    """Sequences per proxy and step."""
    learning_rate: Annotated[float, Field(gt=0, allow_inf_nan=False)] | Literal["standard", "low"] = "standard"
    """Peak learning rate (AdamW, warmup-stable-decay), or the name of a preset. "low" keeps more of the order of
    mixtures between sizes (arXiv 2512.24503), at the price of smaller differences."""
    stack: int = Field(64, ge=1)
    """Proxies trained at once as one stacked model; more runs than this make several stacks, one for each GPU."""
    method: Literal["auto", "stacked", "separate"] = "auto"
    """How they are trained: stacked, one after another, or on a CPU whichever of the two is measured to be faster."""
    vocabulary: int | None = Field(None, ge=257)
    """Tokens of the proxies' vocabulary: the first merges of the tokenizer, so that a small model does not consist of
    its vocabulary. All of them if absent."""
    evaluation_sequences: int = Field(128, ge=1)
    """Held-out sequences per source."""
    answer_sets: dict[str, RecipePath] = Field(default_factory=dict)
    """By name: JSON Lines of "prompt" and "answer"; measured are the bits per byte of the answers."""
    checkpoint_every_s: float = Field(20.0, gt=0)
    """Seconds between checkpoints; a killed swarm goes on from the last one."""

    not_identity: ClassVar[frozenset[str]] = frozenset({"checkpoint_every_s", "stack", "method"})

    @field_validator("answer_sets")
    @classmethod
    def _are_files(cls, sets: dict[str, Path]) -> dict[str, Path]:
        absent = [f"{name}: {path}" for name, path in sets.items() if not path.is_file()]
        if absent:
            raise ValueError(f"no such file: {', '.join(absent)}")
        if HELD_OUT in sets:
            raise ValueError(f"{HELD_OUT!r} means the held-out documents; give the answer set another name")
        return sets

    def identity(self) -> dict[str, Any]:
        digests = {name: hashlib.sha256(path.read_bytes()).hexdigest() for name, path in self.answer_sets.items()}
        return {**super().identity(), "answer_sets": digests}


class ObjectiveOptions(StageConfig):
    """What the mixture shall be good at."""

    evaluate: dict[str, float] = Field(default_factory=dict)
    """Weight of each source's held-out documents, of each answer set by its name, and of `held_out`, the held-out
    documents of all sources in equal shares (which is all that counts if this is empty)."""


class SizeOptions(StageConfig):
    """One size of proxies."""

    size: Size = "demo"
    """Named size of the proxies."""
    steps: int = Field(400, ge=8)
    """Optimizer steps of each proxy."""


def metric_weights(
    evaluate: Mapping[str, float], sources: Sequence[str], answer_sets: Sequence[str]
) -> dict[str, float]:
    """Weight of every metric, in sum 1.

    Raises:
        StageError: a name is neither a source nor an answer set, or the weights make no sense.
    """
    weights = {f"bpb.{source}": 0.0 for source in sources} | {f"answers.{name}": 0.0 for name in answer_sets}
    for name, weight in (evaluate or {HELD_OUT: 1.0}).items():
        if name == HELD_OUT:
            for source in sources:
                weights[f"bpb.{source}"] += weight / len(sources)
        elif name in answer_sets:
            weights[f"answers.{name}"] += weight
        elif name in sources:
            weights[f"bpb.{name}"] += weight
        else:
            sets = f", the answer sets {', '.join(answer_sets)}" if answer_sets else ""
            raise StageError(f"evaluate names {name}, but the tokens have the sources {', '.join(sources)}{sets}")
    if any(weight < 0 for weight in evaluate.values()) or not any(weights.values()):
        raise StageError(f"evaluate: weights must not be negative or all zero, got {dict(evaluate)}")
    if both := sorted(set(sources) & set(answer_sets) & set(evaluate)):
        raise StageError(f"evaluate: {', '.join(both)} is a source and an answer set; give the answer set another name")
    total = sum(weights.values())
    return {metric: weight / total for metric, weight in weights.items()}
