"""One model on several devices: FSDP2 over the ranks that torchrun or Ray Train started, and its state in one piece.

The state is the same for any number of ranks, so a run may be resumed on another number of them.
"""

import os
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FSDPModule, MixedPrecisionPolicy, fully_shard, register_fsdp_forward_method
from torch.distributed.tensor import DTensor, distribute_tensor

from proxy_models.model import Transformer

TrainingState = dict[str, dict[str, Tensor]]  # parameter's name -> "weight" and what its optimizer keeps


class Ranks(NamedTuple):
    """This process among those that train one model together."""

    rank: int
    count: int

    def sum(self, value: Tensor) -> Tensor:
        """Of all ranks' values, the same bits on all."""
        if self.count > 1:
            dist.all_reduce(value)
        return value

    def mean(self, value: Tensor) -> Tensor:
        """Of all ranks' values, the same bits on all."""
        return self.sum(value).div_(self.count) if self.count > 1 else value

    def first(self, value: Tensor) -> Tensor:
        """The first rank's value."""
        if self.count > 1:
            dist.broadcast(value, 0)
        return value


ALONE = Ranks(0, 1)


def ranks() -> Ranks:
    """Of the process group if there is one; one rank otherwise."""
    return Ranks(dist.get_rank(), dist.get_world_size()) if dist.is_initialized() else ALONE


def join_ranks(device: str) -> None:
    """Join the ranks that torchrun's environment names, gloo on CPUs and nccl on GPUs; nothing without torchrun."""
    if "WORLD_SIZE" in os.environ and not dist.is_initialized():
        dist.init_process_group("nccl" if device == "cuda" else "gloo")


def local_device(device: str) -> torch.device:
    """The GPU of this rank on its machine, or the CPU."""
    if device != "cuda":
        return torch.device("cpu")
    index = int(os.environ.get("LOCAL_RANK", "0")) % torch.cuda.device_count()
    torch.cuda.set_device(index)
    return torch.device("cuda", index)


def shard(model: Transformer, device: torch.device, count: int) -> None:
    """Split a model's weights over all ranks, each block gathered when its turn comes. Nothing on one rank.

    Weights and gradients stay float32; the model itself casts for its products, after the gathering.
    """
    if count == 1:
        return
    mesh = init_device_mesh(device.type, (count,))
    for block in model.blocks:
        fully_shard(block, mesh=mesh, mp_policy=MixedPrecisionPolicy())
    fully_shard(model, mesh=mesh, mp_policy=MixedPrecisionPolicy())
    for method in ("training_loss", "token_losses"):
        register_fsdp_forward_method(model, method)


def release(model: Transformer) -> None:
    """Split again what a forward pass without a backward pass left gathered: embedding, final norm and head."""
    if isinstance(model, FSDPModule):
        model.reshard()


def clip_gradients(model: Transformer, clip: float) -> Tensor:
    """Scale the gradients so that their norm over all ranks is at most `clip`; the norm before that, a tensor []."""
    parameters = list(model.parameters())
    norm = torch.nn.utils.get_total_norm([p.grad for p in parameters if p.grad is not None])
    if isinstance(norm, DTensor):
        norm = norm.full_tensor()
    torch.nn.utils.clip_grads_with_norm_(parameters, clip, norm)
    return norm


@torch.no_grad()
def training_state(
    model: Transformer, optimizers: Sequence[torch.optim.Optimizer], group: Ranks = ALONE
) -> TrainingState:
    """A copy on the CPU of all weights and what the optimizers keep of each. Every rank must call it; the first has it
    all, the others have nothing.

    A DTensor is gathered one after another, so a device holds one whole tensor more at most.
    """
    state: TrainingState = {}
    for name, parameter, kept in _kept(model, optimizers):
        for key, value in {"weight": parameter, **kept}.items():
            gathered = value.full_tensor() if isinstance(value, DTensor) else value
            if group.rank == 0:
                state.setdefault(name, {})[key] = gathered.detach().to("cpu", copy=True)
    return state


@torch.no_grad()
def load_training_state(
    model: Transformer, optimizers: Sequence[torch.optim.Optimizer], state: Mapping[str, Mapping[str, Tensor]]
) -> None:
    """Take up a training_state of any number of ranks."""
    for name, parameter, kept in _kept(model, optimizers):
        parameter.copy_(_like(state[name]["weight"], parameter))
        kept.clear()
        kept |= {key: _like(value, parameter) for key, value in state[name].items() if key != "weight"}


def _kept(
    model: Transformer, optimizers: Sequence[torch.optim.Optimizer]
) -> list[tuple[str, torch.nn.Parameter, dict[str, Any]]]:
    """Each parameter with its name and its optimizer's state, if it has one."""
    owner = {
        parameter: optimizer
        for optimizer in optimizers
        for group in optimizer.param_groups
        for parameter in group["params"]
    }
    return [
        (name, parameter, owner[parameter].state[parameter] if parameter in owner else {})
        for name, parameter in model.named_parameters()
    ]


def _like(value: Tensor, parameter: Tensor) -> Tensor:
    """On the parameter's device, and split as it is if it is of its shape; a count of steps is not."""
    value = value.to(parameter.device)
    if isinstance(parameter, DTensor) and value.shape == parameter.shape:
        return distribute_tensor(value, parameter.device_mesh, parameter.placements)
    return value


def whole(model: Transformer, group: Ranks) -> Transformer:
    """The model in one piece on the CPU, for an export. Every rank must call it; the others keep their own."""
    weights = training_state(model, [], group)
    if group.rank:
        return model
    copy = Transformer(model.config, model.products)
    copy.load_state_dict({name: kept["weight"] for name, kept in weights.items()})
    return copy
