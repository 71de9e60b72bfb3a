"""Muon (Jordan et al. 2024, kellerjordan.github.io/posts/muon): the momentum of each hidden matrix is made nearly
orthogonal before it moves the weights. Embedding, head and norms are left to AdamW."""

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from torch.distributed.tensor import DTensor, distribute_tensor

from proxy_models.model import Transformer, is_hidden_matrix
from proxy_models.optimization import AdamW

# Of x -> a x + b x^3 + c x^5 on singular values: five rounds bring all of (0.01, 1] into SINGULAR_VALUES. Steeper at 0
# than a polynomial that ends at 1, because small singular values matter more than an exact 1 (Jordan et al.).
NEWTON_SCHULZ = (3.4445, -4.7750, 2.0315)
ROUNDS = 5
SINGULAR_VALUES = (0.65, 1.25)
# The root mean square of AdamW's updates, measured by Moonlight (Liu et al. 2025, arXiv 2502.16982, section 2.2):
# with it Muon takes AdamW's learning rate and weight decay.
ADAMW_RMS = 0.2


def orthogonalized(matrices: Tensor) -> Tensor:
    """U V^T of the singular value decomposition of each matrix [..., out, in], with singular values only near 1.

    Newton-Schulz rounds in bfloat16 on a GPU, whose products are fast in it, and in the matrices' own type elsewhere.
    """
    a, b, c = NEWTON_SCHULZ
    x = matrices.bfloat16() if matrices.is_cuda else matrices
    is_tall = x.shape[-2] > x.shape[-1]
    if is_tall:
        x = x.mT  # x @ x.mT is then the smaller of the two products
    x = x / x.norm(dim=(-2, -1), keepdim=True).clamp(min=1e-7)  # no singular value above 1
    for _ in range(ROUNDS):
        squares = x @ x.mT
        x = a * x + (b * squares + c * squares @ squares) @ x
    return (x.mT if is_tall else x).to(matrices.dtype)


class MuonOptimizer(torch.optim.Optimizer):
    """Nesterov momentum, orthogonalized, with decoupled weight decay. A parameter is one matrix [out, in], or several
    [X, out, in]; one that is sharded over ranks is gathered for its update, which every rank computes."""

    def __init__(self, groups: list[dict[str, Any]], learning_rate: float, momentum: float) -> None:
        super().__init__(groups, {"lr": learning_rate, "momentum": momentum})

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is None:
                    continue
                state = self.state[parameter]
                if not state:
                    state["momentum"] = torch.zeros_like(parameter)
                state["momentum"].lerp_(parameter.grad, 1 - group["momentum"])
                direction = parameter.grad.lerp(state["momentum"], group["momentum"])
                if isinstance(direction, DTensor):
                    update = distribute_tensor(
                        orthogonalized(direction.full_tensor()), direction.device_mesh, direction.placements
                    )
                else:
                    update = orthogonalized(direction)
                rms = ADAMW_RMS * math.sqrt(max(parameter.shape[-2:]))  # an orthogonal matrix has 1 / sqrt(longer side)
                parameter.mul_(1 - group["lr"] * group["weight_decay"])
                parameter.add_(update, alpha=-group["lr"] * rms)


@dataclass(frozen=True)
class Muon:
    """weight_decay: of the hidden matrices, as AdamW's. adamw: for all other parameters."""

    momentum: float = 0.95
    weight_decay: float = 0.1
    adamw: AdamW = field(default_factory=AdamW)

    def of(self, model: Transformer, learning_rate: float) -> list[torch.optim.Optimizer]:
        """Optimizers over all of a model's parameters, the hidden matrices first.

        Over width the rate of hidden matrices falls with 1 / sqrt(width / base_width): an update's largest singular
        value is rate * ADAMW_RMS * sqrt(width), and is to stay (Bernstein and Newhouse 2024, arXiv 2410.21265).
        """
        factor = 1 / math.sqrt(model.config.width_ratio)
        group = {
            "params": [p for name, p in model.named_parameters() if is_hidden_matrix(name)],
            "factor": factor,
            "lr": learning_rate * factor,
            "weight_decay": self.weight_decay / factor,
        }
        hidden = MuonOptimizer([group], learning_rate, self.momentum)
        return [hidden, self.adamw.of(model, learning_rate, lambda name: not is_hidden_matrix(name))]
