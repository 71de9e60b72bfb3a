"""Weights that a run starts from: of another run's checkpoint, or of a folder in Hugging Face's format."""

import hashlib
from pathlib import Path
from typing import NamedTuple

import torch
from safetensors import safe_open
from torch import Tensor

from proxy_models.checkpoints import CheckpointError, damage_message, read_checkpoint
from proxy_models.export import IN_BLOCK, OF_EXPERTS, TOP_LEVEL
from proxy_models.model import Transformer


class InitialWeights(NamedTuple):
    """weights: by the model's names. digest: sha256 of what they were read from. messages: one for each damaged
    checkpoint passed over."""

    weights: dict[str, Tensor]
    digest: str
    messages: list[str]


def initial_weights(start: Path, model: Transformer) -> InitialWeights:
    """Weights to start from.

    start: a checkpoint file; a folder of checkpoints, of which the newest undamaged one is taken; or a folder that
    export_huggingface wrote. Raises CheckpointError for anything else, and for weights of another model.
    """
    paths = [start] if start.is_file() else sorted(start.glob("step-*.checkpoint"), reverse=True)
    for number, path in enumerate(paths):
        checkpoint = read_checkpoint(path)
        if checkpoint is not None:
            weights = {name: kept["weight"] for name, kept in checkpoint["state"]["training"].items()}
            messages = [damage_message(damaged, path) for damaged in paths[:number]]
            return InitialWeights(_checked(weights, model, path), _digest_of([path]), messages)
    if paths:
        raise CheckpointError(f"{start}: every checkpoint is damaged; start from another one")
    if files := sorted(start.glob("*.safetensors")):
        return InitialWeights(_checked(_from_qwen3(files, model), model, start), _digest_of(files), [])
    raise CheckpointError(f"{start} is neither a checkpoint, nor a folder of checkpoints or of *.safetensors")


def _digest_of(files: list[Path]) -> str:
    total = hashlib.sha256()
    for path in files:
        with path.open("rb") as file:
            total.update(hashlib.file_digest(file, "sha256").digest())
    return total.hexdigest()


def _from_qwen3(files: list[Path], model: Transformer) -> dict[str, Tensor]:
    """The reverse of export.py's renaming."""
    found: dict[str, Tensor] = {}
    for path in files:
        with safe_open(path, framework="pt") as file:
            found |= {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 -- not a mapping
    weights = {name: weight for name in model.state_dict() if (weight := _taken(name, found, model)) is not None}
    # What is left over has no place in the model: its name tells of what kind the other one is.
    return weights | found


def _taken(name: str, found: dict[str, Tensor], model: Transformer) -> Tensor | None:
    """One of our weights, taken out of Qwen3's; None if it is not, or not wholly, among them."""
    if name in TOP_LEVEL:
        weight = found.pop(TOP_LEVEL[name], None)
        # export.py divides it, since Qwen3 does not divide its logits.
        return weight * model.config.width_ratio if weight is not None and name == "final_norm.weight" else weight
    _, layer, within = name.split(".", 2)
    block = f"model.layers.{layer}."
    if within not in OF_EXPERTS:
        return found.pop(block + IN_BLOCK[within], None)
    parts = [found.pop(block + OF_EXPERTS[within].format(x), None) for x in range(model.config.experts)]
    whole = [part for part in parts if part is not None]
    return torch.stack(whole) if len(whole) == len(parts) else None


def _checked(weights: dict[str, Tensor], model: Transformer, where: Path) -> dict[str, Tensor]:
    wanted = {name: tuple(weight.shape) for name, weight in model.state_dict().items()}
    found = {name: tuple(weight.shape) for name, weight in weights.items()}
    for name in sorted(wanted.keys() | found.keys()):
        if wanted.get(name) != found.get(name):
            raise CheckpointError(
                f"{where} is of another model: {name} has shape {found.get(name, 'none')}, this model's has "
                f"{wanted.get(name, 'none')}; give the model the size that the weights were trained with"
            )
    return weights
