"""K transformers of one shape trained as one: a leading model axis on every tensor.

One `bmm` stands for K small matrix products, so the launches of a step do not grow with K. Nothing crosses
the model axis: model k's losses, gradients, clipping and optimizer state depend on row k alone, so a model
that diverges leaves the others' bits as they are.

Shapes in comments: K models, B sequences each, T positions, N = B * T, D width, H heads, E head width, V
vocabulary.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from proxy_models.model import NORM_EPSILON, ModelConfig, Transformer, init_weights, rotated
from proxy_models.optimization import AdamW

# Logits formed at once (4 MiB in float32): on a CPU they then stay in the cache between the passes over them.
LOGITS_AT_ONCE = 1 << 20


class _HeadLoss(torch.autograd.Function):
    """Mean cross-entropy of each model, [K], with the gradients formed in the forward pass.

    Some tokens of one model at a time: all the logits, K * N * V numbers, would outweigh all else in a step.
    """

    @staticmethod
    def forward(ctx: Any, hidden: Tensor, table: Tensor, targets: Tensor) -> Tensor:
        """hidden [K, N, D], table [K, V, D], targets [K, N]."""
        models, tokens, _ = hidden.shape
        vocabulary = table.shape[1]
        at_once = min(tokens, max(1, LOGITS_AT_ONCE // vocabulary))
        hidden_grad, table_grad = torch.empty_like(hidden), torch.zeros_like(table)
        losses = hidden.new_zeros(models)
        # Written again and again: fresh ones would cost page faults.
        buffers = hidden.new_empty(2, at_once, vocabulary)
        for k in range(models):
            for first in range(0, tokens, at_once):
                some = slice(first, min(first + at_once, tokens))
                logits, log_probabilities = buffers[:, : some.stop - first]
                column = targets[k, some, None]
                torch.mm(hidden[k, some], table[k].T, out=logits)
                torch.log_softmax(logits, dim=-1, out=log_probabilities)
                losses[k] -= log_probabilities.gather(1, column).sum() / tokens
                logits_grad = torch.exp(log_probabilities, out=logits)
                logits_grad.scatter_add_(1, column, torch.full_like(column, -1, dtype=logits_grad.dtype))
                torch.mm(logits_grad, table[k], out=hidden_grad[k, some])
                table_grad[k].addmm_(logits_grad.T, hidden[k, some])
        hidden_grad.div_(tokens)
        table_grad.div_(tokens)
        ctx.save_for_backward(hidden_grad, table_grad)
        return losses

    @staticmethod
    def backward(ctx: Any, loss_grad: Tensor) -> tuple[Tensor, Tensor, None]:
        hidden_grad, table_grad = ctx.saved_tensors
        return hidden_grad * loss_grad[:, None, None], table_grad * loss_grad[:, None, None], None


class Stack:
    """K models with their optimizer state.

    weights: Transformer's parameters by name, each with a leading K.
    alive: bool [K]; a model whose loss or gradient was not finite is dead: its weights stay as they were
    before that step, and it is trained no more. steps_alive: int64 [K], steps that each model took.
    """

    def __init__(self, config: ModelConfig, seeds: Sequence[int], dtype: torch.dtype = torch.float32) -> None:
        self.config = config
        template = Transformer(config).to(dtype)
        self.cos, self.sin = template.cos, template.sin
        self.weights = {
            name: torch.empty(len(seeds), *parameter.shape, dtype=dtype)
            for name, parameter in template.named_parameters()
        }
        for k, seed in enumerate(seeds):
            init_weights(template, int(seed))
            for name, parameter in template.named_parameters():
                self.weights[name][k] = parameter.detach()
        for weight in self.weights.values():
            weight.requires_grad_()
        self.means = {name: torch.zeros_like(weight) for name, weight in self.weights.items()}
        self.squares = {name: torch.zeros_like(weight) for name, weight in self.weights.items()}
        self.alive = torch.ones(len(seeds), dtype=torch.bool)
        self.steps_alive = torch.zeros(len(seeds), dtype=torch.int64)
        self.steps_taken = 0

    def state(self) -> dict[str, Any]:
        """Everything that a step changes, for load_state."""
        return {
            "weights": {name: weight.detach() for name, weight in self.weights.items()},
            "means": self.means,
            "squares": self.squares,
            "alive": self.alive,
            "steps_alive": self.steps_alive,
            "steps_taken": self.steps_taken,
        }

    @torch.no_grad()
    def load_state(self, state: Mapping[str, Any]) -> None:
        for name, weight in self.weights.items():
            weight.copy_(state["weights"][name])
            self.means[name].copy_(state["means"][name])
            self.squares[name].copy_(state["squares"][name])
        self.alive.copy_(state["alive"])
        self.steps_alive.copy_(state["steps_alive"])
        self.steps_taken = state["steps_taken"]

    def losses(self, sequences: Tensor) -> Tensor:
        """Mean loss of each model in nats per token, [K]. sequences: int64 [K, B, T + 1]."""
        models = sequences.shape[0]
        hidden = self._hidden(sequences[..., :-1])
        return _HeadLoss.apply(hidden, self._table(), sequences[..., 1:].reshape(models, -1))

    @torch.no_grad()
    def total_losses(self, sequences: Tensor) -> Tensor:
        """Summed loss in nats of each model over the same sequences, int64 [B, T + 1]: float64 [K]."""
        models = len(self.alive)
        targets = sequences[:, 1:].reshape(-1)
        hidden = self._hidden(sequences[:, :-1].expand(models, -1, -1))
        totals = []
        for k, table in enumerate(self._table()):
            totals.append(F.cross_entropy(hidden[k] @ table.T, targets, reduction="none").double().sum())
        return torch.stack(totals)

    def train_step(self, sequences: Tensor, learning_rates: Tensor, clips: Tensor, optimizer: AdamW) -> Tensor:
        """One step of every living model; returns the losses before it, [K].

        sequences: int64 [K, B, T + 1]. learning_rates [K]. clips [K]: the largest gradient norm of each
        model.
        """
        losses = self.losses(sequences)
        # Each model's loss reaches its own weights alone, so the gradient of the sum is every model's own
        # gradient.
        gradients = torch.autograd.grad(losses.sum(), list(self.weights.values()))
        grads = dict(zip(self.weights, gradients, strict=True))
        with torch.no_grad():
            squares = [grad.square().flatten(1).sum(dim=1) for grad in grads.values()]
            norms = torch.stack(squares).sum(dim=0).sqrt()
            self.alive &= torch.isfinite(losses) & torch.isfinite(norms)
            self.steps_alive += self.alive
            # The same factor as torch.nn.utils.clip_grad_norm_, for each model apart.
            scales = (clips / (norms + 1e-6)).clamp(max=1.0)
            self._update(grads, scales, learning_rates, optimizer)
        return losses.detach()

    def _update(self, grads: Mapping[str, Tensor], scales: Tensor, learning_rates: Tensor, optimizer: AdamW) -> None:
        """torch.optim's AdamW with a learning rate for each model. A dead model's rate and gradient are 0."""
        self.steps_taken += 1
        mean_bias = 1 - optimizer.beta1**self.steps_taken
        square_bias = 1 - optimizer.beta2**self.steps_taken
        rates = torch.where(self.alive, learning_rates, 0.0)
        for name, weight in self.weights.items():
            per_model = (-1,) + (1,) * (weight.ndim - 1)
            grad = grads[name].mul_(scales.view(per_model))
            # Not a product with 0: 0 * NaN is NaN.
            grad.masked_fill_(~self.alive.view(per_model), 0.0)
            if weight.ndim > 2:
                weight.mul_((1 - rates * optimizer.weight_decay).view(per_model))
            mean = self.means[name].lerp_(grad, 1 - optimizer.beta1)
            square = self.squares[name].mul_(optimizer.beta2).addcmul_(grad, grad, value=1 - optimizer.beta2)
            denominator = square.sqrt().div_(square_bias**0.5).add_(optimizer.epsilon)
            weight.sub_(mean.div(denominator).mul_((rates / mean_bias).view(per_model)))

    def _table(self) -> Tensor:
        return self.weights["embedding.weight" if self.config.tied else "head.weight"]

    def _hidden(self, tokens: Tensor) -> Tensor:
        """The last block's output after the final norm, [K, N, D]. tokens: int64 [K, B, T]."""
        c, w = self.config, self.weights
        models, batch, positions = tokens.shape
        cos, sin = self.cos[:positions], self.sin[:positions]
        # One lookup for all: model k's ids are moved to rows k * V .. of the K tables laid end to end.
        offsets = torch.arange(models, device=tokens.device).view(-1, 1, 1) * c.vocabulary
        x = F.embedding((tokens + offsets).view(models, -1), w["embedding.weight"].view(-1, c.width))
        for layer in range(c.layers):
            block = f"blocks.{layer}."
            attention, feed_forward = block + "attention.", block + "feed_forward."
            per_head = (models, batch, positions, -1, c.head_width)

            normed = _normed(x, w[block + "attention_norm.weight"][:, None])
            query = _linear(normed, w[attention + "query.weight"]).view(per_head)
            key = _linear(normed, w[attention + "key.weight"]).view(per_head)
            value = _linear(normed, w[attention + "value.weight"]).view(per_head)
            query = _normed(query, w[attention + "query_norm.weight"][:, None, None, None])
            key = _normed(key, w[attention + "key_norm.weight"][:, None, None, None])
            query, key, value = (h.flatten(0, 1).transpose(1, 2) for h in (query, key, value))
            mixed = F.scaled_dot_product_attention(  # [K * B, H, T, E]
                rotated(query, cos, sin), rotated(key, cos, sin), value, is_causal=True, enable_gqa=True
            )
            mixed = mixed.transpose(1, 2).reshape(models, batch * positions, -1)
            x = torch.baddbmm(x, mixed, w[attention + "output.weight"].transpose(1, 2))

            normed = _normed(x, w[block + "feed_forward_norm.weight"][:, None])
            gated = F.silu(_linear(normed, w[feed_forward + "gate.weight"]))
            gated = gated * _linear(normed, w[feed_forward + "up.weight"])
            x = torch.baddbmm(x, gated, w[feed_forward + "down.weight"].transpose(1, 2))
        return _normed(x, w["final_norm.weight"][:, None])


def _linear(x: Tensor, weight: Tensor) -> Tensor:
    """x [K, N, in] by weight [K, out, in]: [K, N, out]."""
    return torch.bmm(x, weight.transpose(1, 2))


def _normed(x: Tensor, weight: Tensor) -> Tensor:
    return F.rms_norm(x, x.shape[-1:], eps=NORM_EPSILON) * weight
