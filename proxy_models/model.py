"""One decoder-only transformer in Qwen3's layout: RMSNorm before each block, rotary positions,
grouped-query attention with a norm on each head's queries and keys, SwiGLU or a mixture of such experts, no biases.
The layout makes the export to transformers and vLLM a renaming (export.py).

Shapes in comments: B sequences, T positions, N = B * T tokens, D width, H heads, G key-value heads, E head width,
F feed-forward width, V vocabulary; X experts, of which each token uses C.
"""

import math
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import NamedTuple

import torch
import torch.nn.functional as F  # noqa: N812 -- the name every torch code base uses
from torch import Tensor, nn
from torch.nn.attention.flex_attention import BlockMask, create_block_mask, flex_attention

from proxy_models.cross_entropy import LOGITS_AT_ONCE, MeanCrossEntropy, token_cross_entropy
from proxy_models.grouped_products import Permuted, grouped_products, grouped_products_serve, looped_products

NORM_EPSILON = 1e-6
INITIAL_STD = 0.02


@dataclass(frozen=True)
class ModelConfig:
    vocabulary: int
    width: int
    layers: int
    heads: int
    kv_heads: int
    head_width: int
    ffn_width: int
    context: int  # positions trained on
    rope_base: float = 10_000.0
    tied: bool = True  # whether the output head is the embedding
    base_width: int = 0  # the width from which initialisation and learning rates transfer; 0: this model's own
    experts: int = 0  # in place of each feed-forward block; 0: none
    experts_per_token: int = 0
    expert_width: int = 0
    sliding_window: int = 0  # positions that a sliding layer sees, a token's own included; 0: all
    full_attention_every: int = 1  # with a sliding window: each so many-th layer sees all positions; 0: none does

    def __post_init__(self) -> None:
        if self.heads % self.kv_heads:
            raise ValueError(f"heads ({self.heads}) must be a multiple of kv_heads ({self.kv_heads})")
        if self.head_width % 2:
            raise ValueError(f"head_width ({self.head_width}) must be even: rotary positions turn pairs")
        if self.experts and not (1 <= self.experts_per_token <= self.experts and self.expert_width > 0):
            raise ValueError(
                f"{self.experts} experts need experts_per_token from 1 to {self.experts} and an expert_width, "
                f"not {self.experts_per_token} and {self.expert_width}"
            )
        if self.sliding_window and self.full_attention_every == 1:
            raise ValueError("full_attention_every: 1 leaves no layer to slide; give 0, or 2 and more")
        if self.experts and self.sliding_window and self.full_attention_every:
            raise ValueError("Qwen3-MoE has one kind of attention: with experts, full_attention_every must be 0")

    @property
    def width_ratio(self) -> float:
        """How much wider the model is than the one whose learning rate it takes."""
        return self.width / self.base_width if self.base_width else 1.0

    def window(self, layer: int) -> int:
        """Positions that a layer sees, 0 for all. layer: 0-based."""
        sees_all = self.full_attention_every > 0 and (layer + 1) % self.full_attention_every == 0
        return 0 if sees_all else self.sliding_window


# Everything but the vocabulary, which comes from the tokens. Trunks: S 1.2M, M 3.9M, L 13.8M parameters; the others
# are named for theirs. From 30M up all dimensions are multiples of 64, the tile of tensor cores, and ffn_width is about
# 3 times the width as in Qwen3; from 1B up so is the head width of 128. 7B is the trunk of Qwen3-8B.
SIZES: dict[str, dict[str, int]] = {
    "tiny": {"width": 16, "layers": 2, "heads": 2, "kv_heads": 1, "head_width": 8, "ffn_width": 32, "context": 16},
    "nano": {"width": 48, "layers": 2, "heads": 2, "kv_heads": 1, "head_width": 24, "ffn_width": 144, "context": 64},
    "demo": {"width": 64, "layers": 2, "heads": 2, "kv_heads": 1, "head_width": 32, "ffn_width": 192, "context": 128},
    "S": {"width": 192, "layers": 3, "heads": 3, "kv_heads": 1, "head_width": 64, "ffn_width": 512, "context": 512},
    "M": {"width": 256, "layers": 5, "heads": 4, "kv_heads": 2, "head_width": 64, "ffn_width": 768, "context": 1024},
    "L": {"width": 384, "layers": 8, "heads": 6, "kv_heads": 2, "head_width": 64, "ffn_width": 1152, "context": 1024},
}
_COLUMNS = ("width", "layers", "heads", "kv_heads", "head_width", "ffn_width", "context", "tied")
_ROWS = {
    "1M": (128, 5, 2, 1, 64, 384, 512, True),
    "3M": (192, 8, 3, 1, 64, 512, 1024, True),
    "10M": (320, 9, 5, 1, 64, 896, 1024, True),
    "30M": (512, 10, 8, 2, 64, 1536, 2048, True),
    "100M": (768, 16, 12, 4, 64, 2048, 2048, True),
    "300M": (1024, 25, 16, 4, 64, 3072, 2048, True),
    "1B": (2048, 20, 16, 8, 128, 6144, 2048, True),
    "3B": (3072, 30, 24, 8, 128, 8192, 4096, True),
    "7B": (4096, 36, 32, 8, 128, 12288, 4096, False),
}
# The width of M: its learning rate is theirs.
BASE_WIDTH = 256
SIZES |= {name: dict(zip(_COLUMNS, row, strict=True), base_width=BASE_WIDTH) for name, row in _ROWS.items()}


def sized(size: str, vocabulary: int) -> ModelConfig:
    """The configuration of a named size. Raises ValueError on a name that SIZES lacks."""
    if size not in SIZES:
        raise ValueError(f"no size {size!r}; the sizes are {', '.join(SIZES)}")
    return ModelConfig(vocabulary=vocabulary, **SIZES[size])


class ParameterCounts(NamedTuple):
    """Counted apart, because at proxy size the vocabulary outweighs the trunk and "1M" can mean either."""

    trunk: int
    embedding: int
    head: int  # 0 if tied


def parameter_counts(config: ModelConfig) -> ParameterCounts:
    c = config
    norms = c.layers * (2 * c.width + 2 * c.head_width) + c.width
    trunk = c.layers * _layer_matrices(c, c.experts) + norms
    table = c.vocabulary * c.width
    return ParameterCounts(trunk, table, 0 if c.tied else table)


def _layer_matrices(config: ModelConfig, experts: int) -> int:
    """Weights in a layer's matrices, with so many of its experts."""
    c = config
    attention = 2 * c.width * c.heads * c.head_width + 2 * c.width * c.kv_heads * c.head_width
    if not c.experts:
        return attention + 3 * c.width * c.ffn_width
    return attention + c.experts * c.width + experts * 3 * c.width * c.expert_width


def flops_per_token(config: ModelConfig) -> int:
    """Training FLOPs per token: 6 * (matrix parameters that a token meets, head included) + 12 * H * E * (positions
    seen, summed over layers).

    6 = 2 (multiply, add) x 3 (forward, gradient of inputs, gradient of weights); the second term is the
    same for scores and weighted values, without the causal half (PaLM, Chowdhery et al. 2022, appendix B). A token
    meets experts_per_token of the experts, and a sliding layer sees sliding_window positions.
    Looking up an embedding multiplies nothing.
    """
    c = config
    matrices = c.layers * _layer_matrices(c, c.experts_per_token) + c.vocabulary * c.width
    seen = sum(min(c.window(layer) or c.context, c.context) for layer in range(c.layers))
    return 6 * matrices + 12 * c.heads * c.head_width * seen


def rotary_tables(config: ModelConfig) -> tuple[Tensor, Tensor]:
    """cos and sin of each position's angles, float32 [T, E]; the second half of E repeats the first."""
    pairs = torch.arange(0, config.head_width, 2, dtype=torch.float64) / config.head_width
    angles = torch.outer(torch.arange(config.context, dtype=torch.float64), config.rope_base**-pairs)
    angles = torch.cat([angles, angles], dim=-1)
    return angles.cos().float(), angles.sin().float()


def rotated(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """x [..., T, E] turned by its position (RoPE, Su et al. 2021); i is paired with i + E/2 as in Qwen3."""
    first, second = x.chunk(2, dim=-1)
    return x * cos + torch.cat([-second, first], dim=-1) * sin


class Linear(nn.Linear):
    """Weights of any type, products in the type of x."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__(inputs, outputs, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x, self.weight.to(x.dtype))


class Norm(nn.RMSNorm):
    """Weights of any type, the result in the type of x."""

    def __init__(self, width: int) -> None:
        super().__init__(width, NORM_EPSILON)

    def forward(self, x: Tensor) -> Tensor:
        return F.rms_norm(x, self.normalized_shape, self.weight.to(x.dtype), self.eps)


# What attention may see: all before (None), bool [B or 1, 1, T, T], or the same by blocks for flex_attention.
Mask = Tensor | BlockMask | None


def attention_mask(
    documents: Tensor | None, window: int, positions: int, device: torch.device, by_blocks: bool
) -> Mask:
    """What each position may see: itself and those before it, of its own document and less than `window` away.

    documents: int [B, T], equal where two positions are of one document; None: all are. window: 0 for no limit.
    by_blocks: as flex_attention takes it, which passes over blocks of 128 x 128 that nothing is seen in.
    """
    if documents is None and not 0 < window < positions:
        return None

    def sees(sequence: Tensor, _: Tensor, query: Tensor, key: Tensor) -> Tensor:
        seen = key <= query
        if window:
            seen = seen & (query - key < window)
        if documents is not None:
            seen = seen & (documents[sequence, query] == documents[sequence, key])
        return seen

    sequences = 1 if documents is None else len(documents)
    if by_blocks:
        return create_block_mask(sees, sequences, None, positions, positions, device=device)
    at = torch.arange(positions, device=device)
    sequence = torch.arange(sequences, device=device).view(-1, 1, 1, 1)
    return sees(sequence, sequence, at[:, None], at).expand(sequences, 1, -1, -1)


@cache
def _compiled_flex_attention() -> Callable[..., Tensor]:
    return torch.compile(flex_attention, dynamic=False)


@torch.compiler.assume_constant_result
@cache
def flex_attention_serves(device: torch.device, head_width: int) -> bool:
    """Whether flex_attention can be compiled for the device, found by doing so; a warning says why if it cannot be."""
    if device.type != "cuda":
        return False
    positions = 256
    x = torch.zeros(1, 1, positions, head_width, device=device, dtype=torch.bfloat16, requires_grad=True)
    mask = attention_mask(None, 100, positions, device, by_blocks=True)
    try:
        with torch.enable_grad():
            _compiled_flex_attention()(x, x, x, block_mask=mask, enable_gqa=True).sum().backward()
    except Exception as error:  # whatever a compiler may raise
        warnings.warn(f"masks cost {device} memory: flex_attention does not compile there: {error}", stacklevel=2)
        return False
    return True


def attended(query: Tensor, key: Tensor, value: Tensor, mask: Mask) -> Tensor:
    """Softmax attention, [B, H, T, E]. query [B, H, T, E]; key, value [B, G, T, E]."""
    if isinstance(mask, BlockMask):
        attend = _compiled_flex_attention() if query.is_cuda else flex_attention
        return attend(query, key, value, block_mask=mask, enable_gqa=True)
    return F.scaled_dot_product_attention(query, key, value, attn_mask=mask, is_causal=mask is None, enable_gqa=True)


class Attention(nn.Module):
    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        c = config
        self.config = c
        self.query = Linear(c.width, c.heads * c.head_width)
        self.key = Linear(c.width, c.kv_heads * c.head_width)
        self.value = Linear(c.width, c.kv_heads * c.head_width)
        self.output = Linear(c.heads * c.head_width, c.width)
        self.query_norm = Norm(c.head_width)
        self.key_norm = Norm(c.head_width)

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor, mask: Mask) -> Tensor:
        batch, positions, _ = x.shape
        per_head = (batch, positions, -1, self.config.head_width)
        query = self.query_norm(self.query(x).view(per_head)).transpose(1, 2)  # [B, H, T, E]
        key = self.key_norm(self.key(x).view(per_head)).transpose(1, 2)  # [B, G, T, E]
        value = self.value(x).view(per_head).transpose(1, 2)  # [B, G, T, E]
        # Turned in the tables' type: bfloat16 cannot tell the angles of far positions apart.
        query, key = (rotated(heads, cos, sin).to(value.dtype) for heads in (query, key))
        mixed = attended(query, key, value, mask)
        return self.output(mixed.transpose(1, 2).reshape(batch, positions, -1))


class FeedForward(nn.Module):
    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.gate = Linear(config.width, config.ffn_width)
        self.up = Linear(config.width, config.ffn_width)
        self.down = Linear(config.ffn_width, config.width)

    def forward(self, x: Tensor) -> Tensor:
        return self.down(F.silu(self.gate(x)) * self.up(x))


class Experts(nn.Module):
    """A mixture of experts as in Qwen3-MoE: each token goes through the C experts that the router holds most
    probable for it, and their results are added with these probabilities, scaled to sum to 1. No token is dropped."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        c = config
        self.config = c
        self.router = Linear(c.width, c.experts)
        self.gate = nn.Parameter(torch.empty(c.experts, c.expert_width, c.width))
        self.up = nn.Parameter(torch.empty(c.experts, c.expert_width, c.width))
        self.down = nn.Parameter(torch.empty(c.experts, c.width, c.expert_width))

    def forward(self, x: Tensor, is_target: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """The result, [B, T, D], and how unevenly the experts are used: sum over experts of X * (experts chosen per
        token) * (mean probability), C if all are used alike (Switch Transformers, Fedus et al. 2021, equation 4,
        scaled as in Qwen3-MoE). is_target: bool [B, T], the tokens that the latter is of; None: all."""
        c = self.config
        tokens = x.flatten(0, 1)
        logits = self.router(tokens)
        probabilities = logits.softmax(dim=-1, dtype=torch.promote_types(logits.dtype, torch.float32))  # [N, X]
        shares, chosen = probabilities.topk(c.experts_per_token)  # [N, C]
        shares = shares / shares.sum(dim=-1, keepdim=True)

        places = chosen.flatten()
        counts = torch.zeros(c.experts, dtype=torch.int64, device=x.device)
        counts = counts.scatter_add(0, places, torch.ones_like(places))
        order = places.argsort(stable=True)
        inverse = order.argsort()
        products = grouped_products if grouped_products_serve(tokens, c.expert_width) else looped_products
        gate, up, down = (weights.to(x.dtype) for weights in (self.gate, self.up, self.down))
        # [N * C, D], the tokens of the first expert first
        rows = Permuted.apply(tokens.repeat_interleave(c.experts_per_token, dim=0), order, inverse)
        rows = products(F.silu(products(rows, gate, counts)) * products(rows, up, counts), down, counts)
        results = Permuted.apply(rows, inverse, order).view(-1, c.experts_per_token, c.width)
        mixed = (results * shares[..., None].to(results.dtype)).sum(dim=1)

        if is_target is None:
            return mixed.view_as(x), c.experts * (counts / len(tokens) * probabilities.mean(dim=0)).sum()
        is_counted = is_target.flatten().to(probabilities.dtype)
        uses = torch.zeros_like(probabilities[0]).scatter_add(
            0, places, is_counted.repeat_interleave(c.experts_per_token)
        )
        counted = is_counted.sum().clamp(min=1)
        return mixed.view_as(x), c.experts * (uses / counted * (is_counted @ probabilities / counted)).sum()


class Block(nn.Module):
    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.attention_norm = Norm(config.width)
        self.attention = Attention(config)
        self.feed_forward_norm = Norm(config.width)
        self.feed_forward = Experts(config) if config.experts else FeedForward(config)

    def forward(
        self, x: Tensor, cos: Tensor, sin: Tensor, mask: Mask, is_target: Tensor | None
    ) -> tuple[Tensor, Tensor | None]:
        """x after the block, and the balance of its experts (None without experts)."""
        x = x + self.attention(self.attention_norm(x), cos, sin, mask)
        normed = self.feed_forward_norm(x)
        change, balance = (
            self.feed_forward(normed, is_target) if self.has_experts else (self.feed_forward(normed), None)
        )
        return x + change, balance

    @property
    def has_experts(self) -> bool:
        return isinstance(self.feed_forward, Experts)


class TrainingLoss(NamedTuple):
    """total is what to differentiate; the others are for logs and carry no gradient."""

    total: Tensor
    cross_entropy: Tensor  # nats per token
    balance: Tensor  # of experts, mean of the layers: experts_per_token at best; 0 without experts


class Transformer(nn.Module):
    cos: Tensor
    sin: Tensor

    def __init__(self, config: ModelConfig, products: torch.dtype | None = None) -> None:
        """products: type of everything but the weights, such as bfloat16 over float32 weights; None: that of the
        weights. Weights are those of init_weights after its call, and arbitrary before."""
        super().__init__()
        self.config, self.products = config, products
        self.embedding = nn.Embedding(config.vocabulary, config.width)
        self.blocks = nn.ModuleList(Block(config) for _ in range(config.layers))
        self.final_norm = Norm(config.width)
        self.head = None if config.tied else Linear(config.width, config.vocabulary)
        cos, sin = rotary_tables(config)
        self.register_buffer("cos", cos, persistent=False)
        self.register_buffer("sin", sin, persistent=False)

    def forward(self, tokens: Tensor, documents: Tensor | None = None) -> Tensor:
        """Logits [B, T, V] of the next token at each position. tokens: int64 [B, T], T <= context.

        documents: int [B, T], the document of each token; no token then sees another document's. Positions run on from
        one document to the next: attention depends on distances alone.
        """
        hidden = self.hidden(tokens, documents)
        return F.linear(hidden, self.head_table.to(hidden.dtype))

    @property
    def head_table(self) -> Tensor:
        """By which hidden gives logits, [V, D]."""
        return self.embedding.weight if self.head is None else self.head.weight

    def hidden(self, tokens: Tensor, documents: Tensor | None = None) -> Tensor:
        """What the head turns into logits, [B, T, D]. Arguments as in forward."""
        return self._hidden_and_balances(tokens, documents)[0]

    def _hidden_and_balances(
        self, tokens: Tensor, documents: Tensor | None, is_target: Tensor | None = None
    ) -> tuple[Tensor, list[Tensor]]:
        c, positions = self.config, tokens.shape[1]
        if positions > c.context:
            raise ValueError(f"{positions} tokens in a model of context {c.context}")
        x = self.embedding(tokens)
        if self.products is not None:
            x = x.to(self.products)
        windows = [c.window(layer) for layer in range(c.layers)]
        is_masked = documents is not None or any(windows)
        by_blocks = is_masked and flex_attention_serves(x.device, c.head_width)
        masks = {w: attention_mask(documents, w, positions, x.device, by_blocks) for w in set(windows)}
        cos, sin = self.cos[:positions], self.sin[:positions]
        balances = []
        for block, window in zip(self.blocks, windows, strict=True):
            x, balance = block(x, cos, sin, masks[window], is_target)
            if balance is not None:
                balances.append(balance)
        x = self.final_norm(x)
        return (x if c.width_ratio == 1 else x / c.width_ratio), balances

    def token_losses(
        self, sequences: Tensor, documents: Tensor | None = None, chunk_tokens: int | None = None
    ) -> Tensor:
        """Loss of each target in nats, [B, T]. sequences: int64 [B, T + 1]; documents: the same shape, as in forward.

        chunk_tokens: tokens whose logits are there at once; None: as many as give LOGITS_AT_ONCE["cuda"].
        """
        hidden = self.hidden(sequences[:, :-1], None if documents is None else documents[:, :-1])
        targets = sequences[:, 1:]
        at_once = LOGITS_AT_ONCE["cuda"] if chunk_tokens is None else chunk_tokens * self.config.vocabulary
        return token_cross_entropy(hidden.flatten(0, 1), self.head_table, targets.flatten(), at_once).view_as(targets)

    def training_loss(
        self,
        sequences: Tensor,
        documents: Tensor | None = None,
        z_loss: float = 0.0,
        balance_loss: float = 0.0,
        chunk_tokens: int | None = None,
        is_target: Tensor | None = None,
        targets: Tensor | None = None,
    ) -> TrainingLoss:
        """The mean of token_losses with what keeps training stable, in less memory and time: the logits' gradient is
        formed with them. It costs more than token_losses where no gradient is wanted.

        z_loss, balance_loss: weights of the terms of head_losses and of Experts; Qwen3-MoE's default of the latter is
        1e-3. chunk_tokens: tokens whose logits are there at once; None: as many as give LOGITS_AT_ONCE.
        is_target: bool [B, T], False where a target is padding, which no mean then counts; None: all count. targets: []
        by what the sums of losses over targets are divided, such as their mean number in the parts of a batch; None: by
        how many there are here.
        """
        documents = None if documents is None else documents[:, :-1]
        hidden, balances = self._hidden_and_balances(sequences[:, :-1], documents, is_target)
        c = self.config
        at_once = LOGITS_AT_ONCE[hidden.device.type] if chunk_tokens is None else chunk_tokens * c.vocabulary
        counts = None if is_target is None else is_target.flatten()
        total, cross_entropy = MeanCrossEntropy.apply(
            hidden.flatten(0, 1), self.head_table, sequences[:, 1:].flatten(), at_once, z_loss, counts
        )
        if is_target is not None:
            share = is_target.numel() / (is_target.sum().clamp(min=1) if targets is None else targets)
            total, cross_entropy = total * share, cross_entropy * share
        balance = torch.stack(balances).mean() if balances else torch.zeros_like(cross_entropy)
        return TrainingLoss(total + balance_loss * balance, cross_entropy, balance.detach())


def is_hidden_matrix(name: str) -> bool:
    """Whether a parameter of Transformer is a matrix of a block: all but embedding, head and norms."""
    return name.startswith("blocks.") and not name.endswith("norm.weight")


def learning_rate_factor(name: str, config: ModelConfig) -> float:
    """What AdamW's learning rate is multiplied with for a parameter; see init_weights. Weight decay is not: as a share
    of the weights for each step it is best the same at all widths (Wortsman et al. 2023, arXiv 2309.14322; torch
    multiplies the two, so a group takes weight_decay / factor)."""
    return 1 / config.width_ratio if is_hidden_matrix(name) else 1.0


@torch.no_grad()
def init_weights(model: Transformer, seed: int) -> None:
    """Set every weight, from the seed alone, and the rotary tables (to_empty leaves a model made on "meta" without).

    Drawn in float64 in the order of named_parameters, so a model starts the same at any precision. L layers; r =
    width / base_width:

                                                   std                       AdamW's learning rate   output
        embedding, head                            0.02                      1                       logits / r
        query, key, value, gate, up, router        0.02 / sqrt(r)            1 / r
        output, down (they write to the residual)  0.02 / sqrt(r) / sqrt(2L) 1 / r
        norms                                      all are 1                 1

    At r = 1 this is GPT-2's initialisation. The powers of r are muP's, in the form for Adam (Tensor Programs V, Yang et
    al. 2022, arXiv 2203.03466, table 8, with tied embeddings): what a matrix adds to its outputs, at the start and with
    each step, is then the same at all widths, and so is the best learning rate. std ~ 1 / sqrt(fan-in), because all
    fan-ins but the experts' grow with the width; nanochat and modded-nanogpt start their matrices so too, and give head
    and embedding rates of their own. The attention's 1 / sqrt(E) stays, since E does not grow and queries and keys
    are normed. export.py puts the logits' divisor into the final norm.
    """
    c = model.config
    generator = torch.Generator().manual_seed(seed)
    for name, parameter in model.named_parameters():
        if parameter.ndim == 1:
            parameter.fill_(1.0)
            continue
        std = INITIAL_STD / math.sqrt(c.width_ratio) if is_hidden_matrix(name) else INITIAL_STD
        if name.endswith(("attention.output.weight", "feed_forward.down.weight", "feed_forward.down")):
            std /= math.sqrt(2 * c.layers)
        drawn = torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
        parameter.copy_(drawn * std)
    cos, sin = rotary_tables(c)
    model.cos.copy_(cos)
    model.sin.copy_(sin)
