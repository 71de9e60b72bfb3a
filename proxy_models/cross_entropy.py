"""The loss over a vocabulary without all logits at once: they would outweigh everything else in a step.

Shapes in comments: K models, N tokens, D width, V vocabulary.
"""

from typing import Any, NamedTuple

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor
from torch.utils.checkpoint import checkpoint

# Logits formed at once, in numbers. On a CPU 4 MiB of float32 stay in the cache between the passes over them; a GPU
# wants large products, and 2^28 are 0.5 GiB in bfloat16 with 1 GiB of float32 beside them.
LOGITS_AT_ONCE = {"cpu": 1 << 20, "cuda": 1 << 28}


class HeadLosses(NamedTuple):
    """cross_entropy, squared_logsumexp: means over each model's tokens, those that are no target counting 0, float32 or
    wider [K]; the second is 0 if it was not asked for. The gradients, by hidden [K, N, D] and table [K, V, D], are of
    their sum with z_loss as weight.
    """

    cross_entropy: Tensor
    squared_logsumexp: Tensor
    hidden_grad: Tensor
    table_grad: Tensor


def head_losses(
    hidden: Tensor,
    table: Tensor,
    targets: Tensor,
    at_once: int,
    z_loss: float = 0.0,
    is_target: Tensor | None = None,
) -> HeadLosses:
    """Losses and gradients of K heads, the gradient formed while the logits are there.

    hidden [K, N, D], table [K, V, D], targets [K, N]. at_once: most logits to hold; several models at a time if all
    their tokens fit, else some tokens of one model. A table of a wider type than hidden is rounded to
    hidden's for the products, and its gradient is summed in its own. z_loss: weight of the squared log of the softmax's
    denominator, which keeps logits from drifting (PaLM, Chowdhery et al. 2022, section 5: 1e-4). is_target: bool
    [K, N], False where a token has no target; None: all have one.
    """
    (models, tokens, _), vocabulary = hidden.shape, table.shape[1]
    models_at_once = min(models, max(1, at_once // (tokens * vocabulary)))
    tokens_at_once = min(tokens, max(1, at_once // vocabulary))
    wide = torch.promote_types(hidden.dtype, torch.float32)
    is_wide_table = table.dtype != hidden.dtype
    hidden_grad = torch.empty_like(hidden)
    table_grad = torch.zeros_like(table) if is_wide_table else torch.empty_like(table)
    table = table.to(hidden.dtype)
    losses = torch.zeros(models, dtype=wide, device=hidden.device)
    squares = torch.zeros_like(losses)
    # Written again and again: fresh ones would cost a CPU page faults.
    logits_buffer = hidden.new_empty(models_at_once, tokens_at_once, vocabulary)
    wide_buffer = torch.empty_like(logits_buffer, dtype=wide)
    for k in range(0, models, models_at_once):
        some = slice(k, min(k + models_at_once, models))
        for first in range(0, tokens, tokens_at_once):
            part = slice(first, min(first + tokens_at_once, tokens))
            logits = logits_buffer[: some.stop - k, : part.stop - first]
            log_probabilities = wide_buffer[: some.stop - k, : part.stop - first]
            column = targets[some, part, None]
            torch.bmm(hidden[some, part], table[some].transpose(1, 2), out=logits)
            torch.log_softmax(logits, dim=-1, dtype=wide, out=log_probabilities)
            target_log_probabilities = log_probabilities.gather(2, column)
            if z_loss:
                logsumexp = logits.gather(2, column).to(wide) - target_log_probabilities
            if is_target is not None:
                # Not a product with 0: the loss of what does not count may be infinite.
                is_none = ~is_target[some, part, None]
                target_log_probabilities = target_log_probabilities.masked_fill(is_none, 0.0)
                if z_loss:
                    logsumexp = logsumexp.masked_fill(is_none, 0.0)
            losses[some] -= target_log_probabilities.sum(dim=(1, 2)) / tokens
            if z_loss:
                squares[some] += logsumexp.square().sum(dim=(1, 2)) / tokens
            if z_loss:  # in the wide type: in bfloat16, 1.002 is 1
                logits.copy_(log_probabilities.exp_().mul_(1 + 2 * z_loss * logsumexp))
            else:
                torch.exp(log_probabilities, out=logits)
            logits.scatter_add_(2, column, torch.full_like(column, -1, dtype=logits.dtype))
            if is_target is not None:
                logits.masked_fill_(is_none, 0.0)
            ours = hidden_grad[some, part]
            torch.baddbmm(ours, logits, table[some], beta=0, alpha=1 / tokens, out=ours)
            table_part = table_grad[some]
            if is_wide_table:
                table_part.add_(torch.bmm(logits.transpose(1, 2), hidden[some, part]), alpha=1 / tokens)
            else:
                torch.baddbmm(
                    table_part,
                    logits.transpose(1, 2),
                    hidden[some, part],
                    beta=0 if first == 0 else 1,
                    alpha=1 / tokens,
                    out=table_part,
                )
    return HeadLosses(losses, squares, hidden_grad, table_grad)


class MeanCrossEntropy(torch.autograd.Function):
    """head_losses of one model as a differentiable function: no logit outlives the forward pass.

    apply(hidden [N, D], table [V, D], targets [N], at_once, z_loss, is_target [N] or None) gives two numbers: what is
    to be differentiated, and the cross-entropy in it, in nats per token, for logs.
    """

    @staticmethod
    def forward(  # type: ignore[override]
        ctx: Any,
        hidden: Tensor,
        table: Tensor,
        targets: Tensor,
        at_once: int,
        z_loss: float,
        is_target: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        is_target = None if is_target is None else is_target[None]
        found = head_losses(hidden[None], table[None], targets[None], at_once, z_loss, is_target)
        ctx.save_for_backward(found.hidden_grad[0], found.table_grad[0])
        total = found.cross_entropy[0] + z_loss * found.squared_logsumexp[0]
        cross_entropy = found.cross_entropy[0].clone()
        ctx.mark_non_differentiable(cross_entropy)
        return total, cross_entropy

    @staticmethod
    def backward(  # type: ignore[override]
        ctx: Any, grad: Tensor, _: Tensor
    ) -> tuple[Tensor, Tensor, None, None, None, None]:
        hidden_grad, table_grad = ctx.saved_tensors
        return hidden_grad * grad, table_grad * grad, None, None, None, None


def token_cross_entropy(hidden: Tensor, table: Tensor, targets: Tensor, at_once: int) -> Tensor:
    """Loss of each target in nats, [N]; for training with weights of its own on the tokens, and for measurements.

    hidden [N, D], table [V, D], targets [N]. at_once: most logits to hold. Where they are not all held,
    the backward pass forms each part's again.
    """
    tokens_at_once = max(1, at_once // table.shape[0])
    table = table.to(hidden.dtype)
    if len(targets) <= tokens_at_once:
        return _cross_entropy(hidden, table, targets)
    parts = zip(hidden.split(tokens_at_once), targets.split(tokens_at_once), strict=True)
    return torch.cat([checkpoint(_cross_entropy, h, table, t, use_reentrant=False) for h, t in parts])


def _cross_entropy(hidden: Tensor, table: Tensor, targets: Tensor) -> Tensor:
    logits = F.linear(hidden, table)
    return F.cross_entropy(logits.to(torch.promote_types(logits.dtype, torch.float32)), targets, reduction="none")
