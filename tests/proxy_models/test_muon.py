"""Muon: updates are nearly orthogonal, and the optimizer does what its plain definition says."""

import dataclasses
import math

import pytest
import torch

from proxy_models.model import ModelConfig, Transformer, init_weights, is_hidden_matrix, sized
from proxy_models.muon import ADAMW_RMS, SINGULAR_VALUES, Muon, orthogonalized

EXPERTS = dataclasses.replace(sized("tiny", 61), experts=4, experts_per_token=2, expert_width=8)


@pytest.mark.parametrize("shape", [(16, 16), (16, 48), (48, 16), (3, 24, 40)])
def test_singular_values_come_close_to_1_and_directions_stay(shape: tuple[int, ...]) -> None:
    matrices = torch.randn(shape, generator=torch.Generator().manual_seed(1)) * 1e-3
    found = orthogonalized(matrices)
    left, values, right = torch.linalg.svd(found, full_matrices=False)
    # Square Gaussian matrices have singular values under 1 % of the largest, which five rounds do not bring up.
    original = torch.linalg.svdvals(matrices)
    lifted = original / original.norm(dim=-1, keepdim=True) > 0.01
    assert SINGULAR_VALUES[0] < values.flip(-1)[lifted.flip(-1)].min()
    assert values.max() < SINGULAR_VALUES[1]
    # U^T M V of the true decomposition is diagonal still.
    left, _, right = torch.linalg.svd(matrices.double(), full_matrices=False)
    turned = left.mT @ found.double() @ right.mT
    assert (turned - torch.diag_embed(turned.diagonal(dim1=-2, dim2=-1))).abs().max() < 1e-4


def trained(config: ModelConfig, muon: Muon, steps: int) -> tuple[Transformer, list[dict[str, torch.Tensor]]]:
    """The model after some steps, and the gradients of each."""
    model = Transformer(config)
    init_weights(model, 0)
    optimizers = muon.of(model, 1e-2)
    gradients = []
    for step in range(steps):
        sequences = torch.randint(61, (2, 17), generator=torch.Generator().manual_seed(step))
        model.zero_grad()
        model.training_loss(sequences).total.backward()
        gradients.append({name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None})
        for optimizer in optimizers:
            optimizer.step()
    return model, gradients


@pytest.mark.parametrize("config", [sized("tiny", 61), EXPERTS, dataclasses.replace(sized("tiny", 61), base_width=4)])
def test_hidden_matrices_move_as_the_definition_says(config: ModelConfig) -> None:
    muon = Muon(weight_decay=0.3)
    model, gradients = trained(config, muon, steps=3)
    begin = Transformer(config)
    init_weights(begin, 0)
    rate = 1e-2 / math.sqrt(config.width_ratio)
    for name, weight in begin.state_dict().items():
        if not is_hidden_matrix(name):
            continue
        expected, momentum = weight.clone(), torch.zeros_like(weight)
        for gradient in (step[name] for step in gradients):
            momentum = 0.95 * momentum + 0.05 * gradient
            update = orthogonalized(0.05 * gradient + 0.95 * momentum)
            expected -= 1e-2 * 0.3 * expected
            expected -= rate * ADAMW_RMS * math.sqrt(max(weight.shape[-2:])) * update
        torch.testing.assert_close(model.state_dict()[name], expected, rtol=1e-4, atol=1e-6)


def test_embedding_and_norms_are_moved_by_adamw() -> None:
    muon = Muon()
    model, gradients = trained(sized("tiny", 61), muon, steps=1)
    begin = Transformer(sized("tiny", 61))
    init_weights(begin, 0)
    alone = muon.adamw.of(begin, 1e-2)
    for name, parameter in begin.named_parameters():
        parameter.grad = gradients[0][name]
    alone.step()
    for name, weight in begin.state_dict().items():
        assert torch.equal(model.state_dict()[name], weight) != is_hidden_matrix(name), name


def test_every_parameter_has_one_optimizer() -> None:
    model = Transformer(EXPERTS)
    owned = [p for optimizer in Muon().of(model, 1.0) for group in optimizer.param_groups for p in group["params"]]
    assert sorted(map(id, owned)) == sorted(map(id, model.parameters()))
