"""Losses in parts are the plain losses, and so are their gradients."""

from typing import NamedTuple

import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from proxy_models.cross_entropy import MeanCrossEntropy, head_losses, token_cross_entropy

TOKENS, WIDTH, VOCABULARY = 23, 6, 40


class Head(NamedTuple):
    hidden: Tensor
    table: Tensor
    targets: Tensor


@pytest.fixture
def head() -> Head:
    generator = torch.Generator().manual_seed(0)
    return Head(
        torch.randn(TOKENS, WIDTH, dtype=torch.float64, generator=generator).requires_grad_(),
        torch.randn(VOCABULARY, WIDTH, dtype=torch.float64, generator=generator).requires_grad_(),
        torch.randint(0, VOCABULARY, (TOKENS,), generator=generator),
    )


def plain(head: Head, z_loss: float) -> Tensor:
    logits = head.hidden @ head.table.T
    return F.cross_entropy(logits, head.targets) + z_loss * logits.logsumexp(-1).square().mean()


# One token at a time; 3, and 2 at the end; all.
@pytest.mark.parametrize("at_once", [1, 3 * VOCABULARY, 1 << 20])
@pytest.mark.parametrize("z_loss", [0.0, 0.1])
def test_the_mean_formed_in_parts_is_the_plain_one(head: Head, at_once: int, z_loss: float) -> None:
    total, cross_entropy = MeanCrossEntropy.apply(*head, at_once, z_loss)
    expected = plain(head, z_loss)
    assert total.item() == pytest.approx(expected.item(), abs=1e-12)
    assert cross_entropy.item() == pytest.approx(plain(head, 0.0).item(), abs=1e-12)
    found = torch.autograd.grad(3 * total, (head.hidden, head.table))
    for gradient, plain_gradient in zip(found, torch.autograd.grad(3 * expected, found_by(head)), strict=True):
        assert (gradient - plain_gradient).abs().max() <= 1e-12


@pytest.mark.parametrize("at_once", [1, 3 * VOCABULARY, 1 << 20])
def test_losses_of_tokens_formed_in_parts_are_the_plain_ones(head: Head, at_once: int) -> None:
    losses = token_cross_entropy(*head, at_once)
    expected = F.cross_entropy(head.hidden @ head.table.T, head.targets, reduction="none")
    assert (losses - expected).abs().max() <= 1e-12
    weights = torch.arange(TOKENS, dtype=torch.float64)
    found = torch.autograd.grad(losses @ weights, found_by(head))
    for gradient, plain_gradient in zip(found, torch.autograd.grad(expected @ weights, found_by(head)), strict=True):
        assert (gradient - plain_gradient).abs().max() <= 1e-12


# One token at a time; 3, and 2 at the end; all.
@pytest.mark.parametrize("at_once", [1, 3 * VOCABULARY, 1 << 20])
@pytest.mark.parametrize("z_loss", [0.0, 0.1])
def test_what_is_no_target_counts_for_nothing(head: Head, at_once: int, z_loss: float) -> None:
    is_target = torch.arange(TOKENS) % 3 > 0
    total, cross_entropy = MeanCrossEntropy.apply(*head, at_once, z_loss, is_target)
    counted = Head(head.hidden[is_target], head.table, head.targets[is_target])
    share = is_target.sum().item() / TOKENS  # the mean is over all tokens
    assert total.item() == pytest.approx(share * plain(counted, z_loss).item(), abs=1e-12)
    assert cross_entropy.item() == pytest.approx(share * plain(counted, 0.0).item(), abs=1e-12)
    found = torch.autograd.grad(total, found_by(head))
    expected = torch.autograd.grad(share * plain(counted, z_loss), found_by(head))
    for gradient, plain_gradient in zip(found, expected, strict=True):
        assert (gradient - plain_gradient).abs().max() <= 1e-12
    assert torch.equal(found[0][~is_target], torch.zeros_like(found[0][~is_target]))


def test_what_is_no_target_may_have_an_infinite_loss(head: Head) -> None:
    hidden = head.hidden.detach().clone()
    hidden[3] = torch.inf
    total, _ = MeanCrossEntropy.apply(
        hidden.requires_grad_(), head.table, head.targets, 1 << 20, 0.1, torch.arange(TOKENS) != 3
    )
    assert torch.isfinite(total)


def found_by(head: Head) -> tuple[Tensor, Tensor]:
    return head.hidden, head.table


class LargestTensor(torch.utils._python_dispatch.TorchDispatchMode):
    """Numbers in the largest tensor that any operation gave."""

    numbers = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]
        result = function(*args, **(kwargs or {}))
        if isinstance(result, Tensor):
            self.numbers = max(self.numbers, result.numel())
        return result


def test_logits_are_never_there_at_once() -> None:
    hidden = torch.randn(512, 4, requires_grad=True)
    table, targets = torch.randn(256, 4, requires_grad=True), torch.zeros(512, dtype=torch.int64)
    with LargestTensor() as largest:
        MeanCrossEntropy.apply(hidden, table, targets, 4096, 1e-4)[0].backward()
        token_cross_entropy(hidden, table, targets, 4096).mean().backward()
    assert largest.numbers == 4096


def test_a_float32_table_gets_a_float32_gradient_from_bfloat16_products(head: Head) -> None:
    hidden, table = head.hidden.detach()[None].float(), head.table.detach()[None].float()
    exact = head_losses(hidden, table, head.targets[None], 1, z_loss=1e-3)
    mixed = head_losses(hidden.bfloat16(), table, head.targets[None], 1, z_loss=1e-3)
    assert mixed.table_grad.dtype == torch.float32
    assert mixed.cross_entropy.item() == pytest.approx(exact.cross_entropy.item(), rel=0.01)
    assert (mixed.table_grad - exact.table_grad).norm() < 0.02 * exact.table_grad.norm()


def test_the_z_loss_is_felt_through_bfloat16() -> None:
    """Its part of the gradient is less than the rounding of one logit's, but not of all of them."""
    generator = torch.Generator().manual_seed(0)
    hidden, table = torch.randn(1, 512, 8, generator=generator), torch.randn(1, 1000, 8, generator=generator)
    targets = torch.zeros(1, 512, dtype=torch.int64)
    exact, mixed = (
        [head_losses(hidden.to(dtype), table, targets, 1 << 20, z).table_grad for z in (0.0, 1e-4)]
        for dtype in (torch.float32, torch.bfloat16)
    )
    felt, expected = mixed[1] - mixed[0], exact[1] - exact[0]
    assert (felt * expected).sum() / expected.square().sum() == pytest.approx(1, abs=0.4)
