"""K transformers of one shape trained as one: a leading model axis on every tensor.

One `bmm` stands for K small matrix products, so the launches of a step do not grow with K. Nothing crosses
the model axis: model k's losses, gradients, clipping and optimizer state depend on row k alone, so a model
that diverges leaves the others' bits as they are.

A step reads nothing back from the device and has the same shapes every time: step number, rates and the mask of
living models are tensors, so a step can be compiled and captured as a CUDA graph.

Shapes in comments: K models, B sequences each, T positions, N = B * T, D width, H query heads, G key-value heads,
E head width, F feed-forward width, V vocabulary, P parameters of a model.
"""

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from proxy_models.cross_entropy import LOGITS_AT_ONCE, head_losses
from proxy_models.model import NORM_EPSILON, ModelConfig, Transformer, init_weights, learning_rate_factor, rotated
from proxy_models.optimization import AdamW

# A model that knows nothing, as all do at the start, has a loss of ln V. Norms and clipping keep the loss of one whose
# rate is far too high finite for long; at so many times ln V it has diverged all the same.
LOST_AT = 2.0


class Precision(NamedTuple):
    """weights: of the masters, their gradients and the optimizer's state. products: of everything else."""

    weights: torch.dtype
    products: torch.dtype


PRECISIONS = {
    "float64": Precision(torch.float64, torch.float64),
    "float32": Precision(torch.float32, torch.float32),
    "bfloat16": Precision(torch.float32, torch.bfloat16),
}


class Layout:
    """Where each parameter of a Transformer stands in a flat row of all of them.

    Matrices first, in the model's order, then norms: weight decay is then one range. Query, key and value
    stand next to each other, as do gate and up, so each group is also one matrix.
    """

    def __init__(self, config: ModelConfig) -> None:
        if config.experts or config.sliding_window:
            raise ValueError("a swarm trains dense models that see all positions: no experts, no sliding_window")
        self.config = config
        parameters = list(Transformer(config).named_parameters())
        matrices = [(name, p) for name, p in parameters if p.ndim > 1]
        norms = [(name, p) for name, p in parameters if p.ndim == 1]
        self.shapes = {name: p.shape for name, p in matrices + norms}
        self.places: dict[str, range] = {}
        at = 0
        for name, shape in self.shapes.items():
            self.places[name] = range(at, at + shape.numel())
            at += shape.numel()
        self.parameters = at
        self.matrices = sum(p.numel() for _, p in matrices)

    def learning_rate_factors(self) -> Tensor | None:
        """Of each parameter in a row, [P]; None if all are 1."""
        factors = {name: learning_rate_factor(name, self.config) for name in self.places}
        if set(factors.values()) == {1.0}:
            return None
        return torch.cat(
            [torch.full((len(self.places[name]),), factor, dtype=torch.float64) for name, factor in factors.items()]
        )

    def views(self, rows: Tensor) -> dict[str, Tensor]:
        """Each parameter of each model, by Transformer's names: [K, *shape], parts of `rows` [K, P]."""
        return {
            name: rows[:, place.start : place.stop].unflatten(1, self.shapes[name])
            for name, place in self.places.items()
        }

    def merged(self, rows: Tensor) -> dict[str, Tensor]:
        """As views, but query, key and value are one matrix [K, (H + 2 G) E, D], gate and up one [K, 2 F, D]."""
        merged = {}
        for name, view in self.views(rows).items():
            if name.endswith(("query.weight", "gate.weight")):
                last = name.replace("query.weight", "value.weight").replace("gate.weight", "up.weight")
                together = rows[:, self.places[name].start : self.places[last].stop]
                merged[name] = together.unflatten(1, (-1, self.config.width))
            elif not name.endswith(("key.weight", "value.weight", "up.weight")):
                merged[name] = view
        return merged


class Models:
    """K models with their optimizer state, in flat rows: what Stack and Separate train.

    rows, means, squares: [K, P], the weights and AdamW's two moments. weights: parts of `rows` by
    Transformer's names. alive: bool [K]; a model whose loss was not below `lost`, or whose gradient was not finite, is
    dead: its weights stay as they were before that step, and it is trained no more. steps_alive: int64 [K], steps that
    each model took. steps_taken: int64 [], of all together.
    """

    def __init__(self, config: ModelConfig, models: int, optimizer: AdamW, precision: str, device: str) -> None:
        self.config, self.optimizer, self.precision = config, optimizer, PRECISIONS[precision]
        self.device = torch.device(device)
        self.lost = LOST_AT * math.log(config.vocabulary)  # nats per token
        self.layout = Layout(config)
        self.rows, self.means, self.squares = (
            torch.zeros(models, self.layout.parameters, dtype=self.precision.weights, device=self.device)
            for _ in range(3)
        )
        self.weights = self.layout.views(self.rows)
        self.alive = torch.ones(models, dtype=torch.bool, device=self.device)
        self.steps_alive = torch.zeros(models, dtype=torch.int64, device=self.device)
        self.steps_taken = torch.zeros((), dtype=torch.int64, device=self.device)

    def start(self, seeds: Sequence[int]) -> None:
        """Begin anew with initial weights from each model's seed."""
        self.load_state(initial_state(self.layout, seeds, self.precision.weights))

    def state(self) -> dict[str, Tensor]:
        """Copies on the CPU of everything that a step changes; but for steps_taken, row k is all that is model k's."""
        names = ("rows", "means", "squares", "alive", "steps_alive", "steps_taken")
        return {name: getattr(self, name).to("cpu", copy=True) for name in names}

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        for name, value in state.items():
            getattr(self, name).copy_(value)

    def train_step(self, sequences: Tensor, learning_rates: Tensor, clips: Tensor) -> Tensor:
        """One step of every living model; returns the losses before it in nats per token, [K].

        sequences: int64 [K, B, T + 1]. learning_rates [K]. clips [K]: the largest gradient norm of each
        model.
        """
        raise NotImplementedError

    def token_losses(self, sequences: Tensor) -> Tensor:
        """Loss of each target in nats under each model, [K, B, T]. sequences: int64 [B, T + 1], the same for all."""
        raise NotImplementedError


class Stack(Models):
    """K models as one."""

    def __init__(
        self,
        config: ModelConfig,
        models: int,
        optimizer: AdamW,
        precision: str = "float32",
        device: str = "cpu",
        is_compiled: bool = False,
    ) -> None:
        super().__init__(config, models, optimizer, precision, device)
        self.gradient_rows = torch.zeros_like(self.rows)
        factors = self.layout.learning_rate_factors()
        self.learning_rate_factors = None if factors is None else factors.to(self.rows)
        self.logits_at_once = LOGITS_AT_ONCE[self.device.type]
        template = Transformer(config)  # its tables are float32 at any precision, and so are these
        self.cos = template.cos.to(self.device, self.precision.products)
        self.sin = template.sin.to(self.device, self.precision.products)
        self._hidden, self._head, self._moved = _hidden, head_losses, self._move
        if is_compiled:
            self._hidden, self._head, self._moved = (
                torch.compile(part, fullgraph=True, dynamic=False) for part in (_hidden, head_losses, self._move)
            )

    def gradients(self, sequences: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """Mean loss of each model in nats per token, [K], and its gradients by Layout.merged's names.

        sequences: int64 [K, B, T + 1].
        """
        masters = self.layout.merged(self.rows)
        products = {name: master.to(self.precision.products) for name, master in masters.items()}
        tokens = sequences[..., :-1].flatten(1)
        embedded = _looked_up(products["embedding.weight"], tokens).requires_grad_()
        leaves = {name: p.detach().requires_grad_() for name, p in products.items() if name.startswith("blocks.")}
        leaves["final_norm.weight"] = products["final_norm.weight"].detach().requires_grad_()
        batch = sequences.shape[1]
        hidden = self._hidden(self.config, leaves, embedded, batch, self.cos, self.sin)
        table = "embedding.weight" if self.config.tied else "head.weight"
        with torch.no_grad():
            head = self._head(hidden.detach(), products[table], sequences[..., 1:].flatten(1), self.logits_at_once)
        names = list(leaves)
        found = torch.autograd.grad(hidden, [leaves[name] for name in names] + [embedded], head.hidden_grad)
        gradients = dict(zip(names, found[:-1], strict=True)) | {table: head.table_grad}
        with torch.no_grad():
            if not self.config.tied:
                gradients["embedding.weight"] = torch.zeros_like(products["embedding.weight"])
            # Into the wide type first: many small gradients of a frequent token are summed.
            lookup_grad = gradients["embedding.weight"].to(self.precision.weights)
            ids = tokens + _first_rows(tokens, self.config.vocabulary)
            lookup_grad.view(-1, self.config.width).index_add_(
                0, ids.view(-1), found[-1].flatten(0, 1).to(lookup_grad.dtype)
            )
            gradients["embedding.weight"] = lookup_grad
        return head.cross_entropy, gradients

    def train_step(self, sequences: Tensor, learning_rates: Tensor, clips: Tensor) -> Tensor:
        losses, gradients = self.gradients(sequences)
        with torch.no_grad():
            self._moved(losses, gradients, learning_rates, clips)
        return losses

    @torch.no_grad()
    def token_losses(self, sequences: Tensor) -> Tensor:
        batch, positions = sequences.shape[0], sequences.shape[1] - 1
        models = len(self.alive)
        products = {n: w.to(self.precision.products) for n, w in self.layout.merged(self.rows).items()}
        tokens = sequences[:, :-1].reshape(1, -1).expand(models, -1)
        embedded = _looked_up(products["embedding.weight"], tokens)
        # Not the compiled one: each length of an answer set would be compiled, and torch allows eight shapes.
        hidden = _hidden(self.config, products, embedded, batch, self.cos[:positions], self.sin[:positions])
        table = products["embedding.weight" if self.config.tied else "head.weight"]
        targets = sequences[:, 1:].reshape(-1)
        tokens_at_once = max(1, self.logits_at_once // self.config.vocabulary)
        wide = torch.promote_types(hidden.dtype, torch.float32)
        losses = torch.empty(models, targets.numel(), dtype=wide, device=self.device)
        for k in range(models):
            for first in range(0, targets.numel(), tokens_at_once):
                part = slice(first, first + tokens_at_once)
                logits = (hidden[k, part] @ table[k].T).to(wide)
                losses[k, part] = F.cross_entropy(logits, targets[part], reduction="none")
        return losses.view(models, batch, positions)

    def _move(self, losses: Tensor, gradients: Mapping[str, Tensor], learning_rates: Tensor, clips: Tensor) -> None:
        """torch.optim's AdamW with a learning rate for each model. A dead model's rate and gradient are 0.

        A parameter's factor on the rate is none on its decay; see learning_rate_factor.
        """
        c = self.optimizer
        dtype = self.precision.weights
        squares = [_squared_norms(gradient.to(dtype)) for gradient in gradients.values()]
        norms = torch.stack(squares, dim=1).sum(dim=1).sqrt()
        self.alive &= (losses < self.lost) & torch.isfinite(norms)  # NaN is not below either
        self.steps_alive += self.alive
        self.steps_taken += 1
        # The same factor as torch.nn.utils.clip_grad_norm_, for each model apart.
        scales = (clips / (norms + 1e-6)).clamp(max=1.0)
        for name, row in self.layout.merged(self.gradient_rows).items():
            row.copy_(gradients[name])
            row.mul_(scales.view(-1, *[1] * (row.ndim - 1)))
        gradient = self.gradient_rows
        # Not a product with 0: 0 * NaN is NaN.
        gradient.masked_fill_(~self.alive[:, None], 0.0)
        taken = self.steps_taken.to(torch.float64)
        mean_bias = (1 - c.beta1**taken).to(dtype)
        square_bias = (1 - c.beta2**taken).to(dtype)
        rates = torch.where(self.alive, learning_rates.to(dtype), 0.0)[:, None]
        self.rows[:, : self.layout.matrices].mul_(1 - rates * c.weight_decay)
        self.means.lerp_(gradient, 1 - c.beta1)
        self.squares.mul_(c.beta2).addcmul_(gradient, gradient, value=1 - c.beta2)
        denominator = self.squares.sqrt().div_(square_bias.sqrt()).add_(c.epsilon)
        steps = self.means * (rates / mean_bias)
        if self.learning_rate_factors is not None:
            steps.mul_(self.learning_rate_factors)
        self.rows.addcdiv_(steps, denominator, value=-1)


def initial_state(layout: Layout, seeds: Sequence[int], dtype: torch.dtype) -> dict[str, Tensor]:
    """What Stack.load_state starts from: each model as init_weights leaves it under its seed, no step taken."""
    rows = torch.empty(len(seeds), layout.parameters, dtype=dtype)
    views = layout.views(rows)
    template = Transformer(layout.config).to(dtype)
    for k, seed in enumerate(seeds):
        init_weights(template, int(seed))
        for name, parameter in template.named_parameters():
            views[name][k] = parameter.detach()
    return {
        "rows": rows,
        "means": torch.zeros_like(rows),
        "squares": torch.zeros_like(rows),
        "alive": torch.ones(len(seeds), dtype=torch.bool),
        "steps_alive": torch.zeros(len(seeds), dtype=torch.int64),
        "steps_taken": torch.zeros((), dtype=torch.int64),
    }


def rows_of_state(state: Mapping[str, Tensor], rows: Sequence[int]) -> dict[str, Tensor]:
    """The state of some models of a stack."""
    return {name: value if name == "steps_taken" else value[list(rows)] for name, value in state.items()}


def joined_states(states: Sequence[Mapping[str, Tensor]]) -> dict[str, Tensor]:
    """The state of one stack of all these models, which have taken equally many steps."""
    return {
        name: value if name == "steps_taken" else torch.cat([state[name] for state in states])
        for name, value in states[0].items()
    }


def _first_rows(tokens: Tensor, vocabulary: int) -> Tensor:
    """Row of each model's first id when K tables are laid end to end: [K, 1]."""
    return torch.arange(tokens.shape[0], device=tokens.device)[:, None] * vocabulary


def _looked_up(table: Tensor, tokens: Tensor) -> Tensor:
    """Each model's own vectors, [K, N, D]. table [K, V, D], tokens int64 [K, N]."""
    models = torch.arange(tokens.shape[0], device=tokens.device)[:, None]
    return table[models, tokens]


def _hidden(
    config: ModelConfig, weights: Mapping[str, Tensor], x: Tensor, batch: int, cos: Tensor, sin: Tensor
) -> Tensor:
    """The last block's output after the final norm, [K, N, D].

    x: embedded tokens [K, N, D]. weights: by Layout.merged's names. cos, sin [T, E].
    """
    c = config
    models, positions = x.shape[0], x.shape[1] // batch
    heads = [c.heads, c.kv_heads]
    for layer in range(c.layers):
        block = f"blocks.{layer}."
        attention, feed_forward = block + "attention.", block + "feed_forward."

        normed = _normed(x, weights[block + "attention_norm.weight"][:, None])
        together = _linear(normed, weights[attention + "query.weight"])
        together = together.view(models, batch, positions, -1, c.head_width)
        query_and_key, value = together.split([sum(heads), c.kv_heads], dim=3)
        scale = torch.cat(
            [
                weights[attention + f"{name}_norm.weight"][:, None].expand(-1, count, -1)
                for name, count in zip(("query", "key"), heads, strict=True)
            ],
            dim=1,
        )
        query_and_key = _normed(query_and_key, scale[:, None, None])
        turned = rotated(query_and_key.flatten(0, 1).transpose(1, 2), cos, sin)  # [K * B, H + G, T, E]
        query, key = turned.split(heads, dim=1)
        mixed = F.scaled_dot_product_attention(
            query, key, value.flatten(0, 1).transpose(1, 2), is_causal=True, enable_gqa=True
        )
        mixed = mixed.transpose(1, 2).reshape(models, batch * positions, -1)
        x = torch.baddbmm(x, mixed, weights[attention + "output.weight"].transpose(1, 2))

        normed = _normed(x, weights[block + "feed_forward_norm.weight"][:, None])
        gate, up = _linear(normed, weights[feed_forward + "gate.weight"]).chunk(2, dim=-1)
        x = torch.baddbmm(x, F.silu(gate) * up, weights[feed_forward + "down.weight"].transpose(1, 2))
    x = _normed(x, weights["final_norm.weight"][:, None])
    return x if c.width_ratio == 1 else x / c.width_ratio


def _squared_norms(gradient: Tensor) -> Tensor:
    """Sum of squares of each model, [K]. gradient [K, out, D] or [K, D].

    Over `out` first: the order in which a CPU sums a column to a single number depends on the columns beside it and on
    the threads, and a model in a stack of one would get other bits than in a larger one.
    """
    squares = gradient.square()
    return squares.sum(dim=1).sum(dim=1) if gradient.ndim == 3 else squares.sum(dim=1)


def _linear(x: Tensor, weight: Tensor) -> Tensor:
    """x [K, N, in] by weight [K, out, in]: [K, N, out]."""
    return torch.bmm(x, weight.transpose(1, 2))


def _normed(x: Tensor, weight: Tensor) -> Tensor:
    return F.rms_norm(x, x.shape[-1:], eps=NORM_EPSILON) * weight
