"""How weights are moved: the optimizer's constants and the learning-rate schedule, shared by swarm and
pretraining."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from proxy_models.model import Transformer


@dataclass(frozen=True)
class AdamW:
    """Decoupled weight decay (Loshchilov and Hutter 2019), on matrices only; norms are not decayed."""

    beta1: float = 0.9
    beta2: float = 0.95
    epsilon: float = 1e-8
    weight_decay: float = 0.1

    def of(self, model: Transformer, learning_rate: float) -> torch.optim.AdamW:
        """torch's optimizer over one model's parameters."""
        matrices = [p for p in model.parameters() if p.ndim >= 2]
        norms = [p for p in model.parameters() if p.ndim < 2]
        groups: Sequence[dict[str, Any]] = [
            {"params": matrices, "weight_decay": self.weight_decay},
            {"params": norms, "weight_decay": 0.0},
        ]
        betas = (self.beta1, self.beta2)
        return torch.optim.AdamW(groups, lr=learning_rate, betas=betas, eps=self.epsilon, fused=True)


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
