"""How weights are moved: the optimizer's constants, learning rates and their schedules, shared by swarm and
pretraining."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import torch

from proxy_models.model import BASE_WIDTH, SIZES, Transformer, learning_rate_factor

# Shares of a swarm run at whose end the learning rate has come down, so that what is measured there is what a
# run of that length ends with.
ANNEALED_AT = (0.25, 0.5, 1.0)

# Peak rates by size. S, M and L: the law of DeepSeek LLM (Bi et al. 2024), 0.3118 * C^-0.125 at the C = 6 N D FLOPs
# of 200M tokens, is 4.0e-3, 3.4e-3 and 2.9e-3 for its batches of 26k tokens and more; at the 8k tokens of a
# proxy's step it is lowered by the square root of the ratio. The smaller ones lie outside of the law: 3e-3 is
# what they were found to be stable at.
STANDARD_RATES = {"tiny": 3e-3, "nano": 3e-3, "demo": 3e-3, "S": 2e-3, "M": 1.7e-3, "L": 1.4e-3}
# Sizes that transfer from BASE_WIDTH, the width of M, have M's rate; at what rate they train best is unmeasured.
STANDARD_RATES |= {name: STANDARD_RATES["M"] for name, size in SIZES.items() if size.get("base_width") == BASE_WIDTH}
# Mixtures keep their order from proxies to large tuned models better at "sufficiently small" rates, one to two
# orders of magnitude under the usual ones (Wang et al., arXiv 2512.24503). A tenth, because what is read off the
# runs is a difference between mixtures, and it shrinks with what a short run at a small rate learns.
LOW_SHARE = 0.1


def learning_rate_of(rate: float | str, size: str) -> float:
    """The peak rate that "standard" or "low" stands for at a named size; a number stands for itself.

    Raises ValueError for another name, of a rate or of a size.
    """
    if not isinstance(rate, str):
        return rate
    shares = {"standard": 1.0, "low": LOW_SHARE}
    if rate not in shares:
        raise ValueError(f"no learning rate {rate!r}; give a number, or one of {', '.join(shares)}")
    if size not in STANDARD_RATES:
        raise ValueError(f"no size {size!r}; the sizes are {', '.join(SIZES)}")
    return shares[rate] * STANDARD_RATES[size]


@dataclass(frozen=True)
class AdamW:
    """Decoupled weight decay (Loshchilov and Hutter 2019), on matrices only; norms are not decayed."""

    beta1: float = 0.9
    beta2: float = 0.95
    epsilon: float = 1e-8
    weight_decay: float = 0.1

    def of(
        self, model: Transformer, learning_rate: float | torch.Tensor, takes: Callable[[str], bool] = lambda name: True
    ) -> torch.optim.AdamW:
        """torch's optimizer over the parameters of one model whose names it `takes`.

        A group's learning rate is `learning_rate` times its "factor", which transfers it over width; torch multiplies
        weight decay with the rate, and the factor is not meant for that.
        """
        alike: dict[tuple[bool, float], list[torch.nn.Parameter]] = {}
        for name, parameter in model.named_parameters():
            if takes(name):
                is_norm = parameter.ndim < 2
                alike.setdefault((is_norm, learning_rate_factor(name, model.config)), []).append(parameter)
        groups: list[dict[str, Any]] = [
            {
                "params": parameters,
                "factor": factor,
                "lr": learning_rate * factor,
                "weight_decay": 0.0 if is_norm else self.weight_decay / factor,
            }
            for (is_norm, factor), parameters in sorted(alike.items(), key=lambda kind: kind[0])
        ]
        betas = (self.beta1, self.beta2)
        return torch.optim.AdamW(groups, lr=learning_rate, betas=betas, eps=self.epsilon, fused=True)


@dataclass(frozen=True)
class Schedule:
    """How the learning rate runs over all steps, as a pure function of the step.

    warmup: share of the steps that rise to the full rate. decay: share that falls, linearly to 0, in a
    warmup-stable-decay run; a cosine falls from the warmup to the end, to the share `floor` of the full rate.
    """

    kind: Literal["warmup_stable_decay", "cosine"] = "warmup_stable_decay"
    warmup: float = 0.1
    decay: float = 0.3
    floor: float = 0.1

    def __post_init__(self) -> None:
        if self.kind not in ("warmup_stable_decay", "cosine"):
            raise ValueError(f"no schedule {self.kind!r}; the schedules are warmup_stable_decay and cosine")
        if not (self.warmup >= 0 and self.decay >= 0 and self.warmup + self.decay <= 1 and 0 <= self.floor <= 1):
            raise ValueError(f"warmup and decay are shares of one run, floor is one of the rate, not {self}")

    def share(self, step: int, steps: int) -> float:
        """Of the full learning rate, at a 0-based step of `steps`."""
        if self.kind == "cosine":
            return warmup_cosine(step, steps, self.warmup, self.floor)
        return warmup_stable_decay(step, steps, self.warmup, self.decay)


def warmup_stable_decay(step: int, steps: int, warmup: float, decay: float) -> float:
    """The share of the full learning rate at a step, in (0, 1] (WSD, Hu et al. 2024).

    step: 0-based, of `steps`. warmup, decay: shares of the run that rise from 0 to 1 and fall to 0, both
    linear; the first step is the first above 0 and the last step the last above 0.
    """
    rising = round(warmup * steps)
    falling = round(decay * steps)
    up = (step + 1) / rising if step < rising else 1.0
    down = (steps - step) / (falling + 1) if step >= steps - falling else 1.0
    return min(up, down)


def warmup_cosine(step: int, steps: int, warmup: float, floor: float) -> float:
    """The share of the full learning rate at a step: up linearly as in warmup_stable_decay, then down half a cosine
    to `floor` (Loshchilov and Hutter 2017), which the step after the last would have."""
    rising = round(warmup * steps)
    if step < rising:
        return (step + 1) / rising
    return floor + (1 - floor) * (1 + math.cos(math.pi * (step - rising) / (steps - rising))) / 2


def annealed_ends(steps: int) -> tuple[int, ...]:
    """Steps done at each of ANNEALED_AT. Raises ValueError for a run too short to have them all apart."""
    ends = tuple(round(share * steps) for share in ANNEALED_AT)
    if steps < 4:
        raise ValueError(f"a run of {steps} steps has no quarter, half and whole; train at least 4 steps")
    return ends


def annealed_schedule(step: int, steps: int, warmup: float, decay: float) -> float:
    """The share of the full learning rate at a step of a run that comes down at each of annealed_ends.

    WSD-S (Wen et al. 2024, arXiv 2410.05192): one run instead of one for each length. Each part of the run ends with
    a fall to 0 over the share `decay` of that part; the next step goes on from the annealed weights and the
    optimizer's state at the full rate at once, without a second warmup. warmup: share of the whole run, in
    the first part only.
    """
    ends = annealed_ends(steps)
    begin = max((end for end in ends if end <= step), default=0)
    end = min(end for end in ends if end > step)
    return warmup_stable_decay(step - begin, end - begin, warmup * steps / end if begin == 0 else 0.0, decay)
