"""One decoder-only transformer in Qwen3's layout: RMSNorm before each block, rotary positions,
grouped-query attention with a norm on each head's queries and keys, SwiGLU, no biases. The layout makes the
export to transformers and vLLM a renaming (export.py).

Shapes in comments: B sequences, T positions, D width, H heads, G key-value heads, E head width,
F feed-forward width, V vocabulary.
"""

import math
from dataclasses import dataclass
from typing import NamedTuple

import torch
import torch.nn.functional as F  # noqa: N812 -- the name every torch code base uses
from torch import Tensor, nn

NORM_EPSILON = 1e-6


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

    def __post_init__(self) -> None:
        if self.heads % self.kv_heads:
            raise ValueError(f"heads ({self.heads}) must be a multiple of kv_heads ({self.kv_heads})")
        if self.head_width % 2:
            raise ValueError(f"head_width ({self.head_width}) must be even: rotary positions turn pairs")


# Everything but the vocabulary, which comes from the tokens. Trunks: S 1.2M, M 3.9M, L 13.8M parameters.
SIZES: dict[str, dict[str, int]] = {
    "tiny": {"width": 16, "layers": 2, "heads": 2, "kv_heads": 1, "head_width": 8, "ffn_width": 32, "context": 16},
    "nano": {"width": 48, "layers": 2, "heads": 2, "kv_heads": 1, "head_width": 24, "ffn_width": 144, "context": 64},
    "demo": {"width": 64, "layers": 2, "heads": 2, "kv_heads": 1, "head_width": 32, "ffn_width": 192, "context": 128},
    "S": {"width": 192, "layers": 3, "heads": 3, "kv_heads": 1, "head_width": 64, "ffn_width": 512, "context": 512},
    "M": {"width": 256, "layers": 5, "heads": 4, "kv_heads": 2, "head_width": 64, "ffn_width": 768, "context": 1024},
    "L": {"width": 384, "layers": 8, "heads": 6, "kv_heads": 2, "head_width": 64, "ffn_width": 1152, "context": 1024},
}


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
    attention = 2 * c.width * c.heads * c.head_width + 2 * c.width * c.kv_heads * c.head_width
    norms = 2 * c.width + 2 * c.head_width
    trunk = c.layers * (attention + 3 * c.width * c.ffn_width + norms) + c.width
    table = c.vocabulary * c.width
    return ParameterCounts(trunk, table, 0 if c.tied else table)


def flops_per_token(config: ModelConfig) -> int:
    """Training FLOPs per token: 6 * (matrix parameters, head included) + 12 * L * H * E * T.

    6 = 2 (multiply, add) x 3 (forward, gradient of inputs, gradient of weights); the second term is the
    same for scores and weighted values, without the causal half (PaLM, Chowdhery et al. 2022, appendix B).
    Looking up an embedding multiplies nothing.
    """
    c = config
    attention = 2 * c.width * c.heads * c.head_width + 2 * c.width * c.kv_heads * c.head_width
    matrices = c.layers * (attention + 3 * c.width * c.ffn_width) + c.vocabulary * c.width
    return 6 * matrices + 12 * c.layers * c.heads * c.head_width * c.context


def rotary_tables(config: ModelConfig) -> tuple[Tensor, Tensor]:
    """cos and sin of each position's angles, float64 [T, E]; the second half of E repeats the first."""
    pairs = torch.arange(0, config.head_width, 2, dtype=torch.float64) / config.head_width
    angles = torch.outer(torch.arange(config.context, dtype=torch.float64), config.rope_base**-pairs)
    angles = torch.cat([angles, angles], dim=-1)
    return angles.cos(), angles.sin()


def rotated(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """x [..., T, E] turned by its position (RoPE, Su et al. 2021); i is paired with i + E/2 as in Qwen3."""
    first, second = x.chunk(2, dim=-1)
    return x * cos + torch.cat([-second, first], dim=-1) * sin


class Attention(nn.Module):
    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        c = config
        self.config = c
        self.query = nn.Linear(c.width, c.heads * c.head_width, bias=False)
        self.key = nn.Linear(c.width, c.kv_heads * c.head_width, bias=False)
        self.value = nn.Linear(c.width, c.kv_heads * c.head_width, bias=False)
        self.output = nn.Linear(c.heads * c.head_width, c.width, bias=False)
        self.query_norm = nn.RMSNorm(c.head_width, NORM_EPSILON)
        self.key_norm = nn.RMSNorm(c.head_width, NORM_EPSILON)

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        batch, positions, _ = x.shape
        per_head = (batch, positions, -1, self.config.head_width)
        query = self.query_norm(self.query(x).view(per_head)).transpose(1, 2)  # [B, H, T, E]
        key = self.key_norm(self.key(x).view(per_head)).transpose(1, 2)  # [B, G, T, E]
        value = self.value(x).view(per_head).transpose(1, 2)  # [B, G, T, E]
        mixed = F.scaled_dot_product_attention(
            rotated(query, cos, sin), rotated(key, cos, sin), value, is_causal=True, enable_gqa=True
        )
        return self.output(mixed.transpose(1, 2).reshape(batch, positions, -1))


class FeedForward(nn.Module):
    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.gate = nn.Linear(config.width, config.ffn_width, bias=False)
        self.up = nn.Linear(config.width, config.ffn_width, bias=False)
        self.down = nn.Linear(config.ffn_width, config.width, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.down(F.silu(self.gate(x)) * self.up(x))


class Block(nn.Module):
    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.attention_norm = nn.RMSNorm(config.width, NORM_EPSILON)
        self.attention = Attention(config)
        self.feed_forward_norm = nn.RMSNorm(config.width, NORM_EPSILON)
        self.feed_forward = FeedForward(config)

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        x = x + self.attention(self.attention_norm(x), cos, sin)
        return x + self.feed_forward(self.feed_forward_norm(x))


class Transformer(nn.Module):
    cos: Tensor
    sin: Tensor

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        self.embedding = nn.Embedding(config.vocabulary, config.width)
        self.blocks = nn.ModuleList(Block(config) for _ in range(config.layers))
        self.final_norm = nn.RMSNorm(config.width, NORM_EPSILON)
        self.head = None if config.tied else nn.Linear(config.width, config.vocabulary, bias=False)
        cos, sin = rotary_tables(config)
        dtype = self.embedding.weight.dtype
        self.register_buffer("cos", cos.to(dtype), persistent=False)
        self.register_buffer("sin", sin.to(dtype), persistent=False)

    def forward(self, tokens: Tensor) -> Tensor:
        """Logits [B, T, V] of the next token at each position. tokens: int64 [B, T], T <= context."""
        positions = tokens.shape[1]
        if positions > self.config.context:
            raise ValueError(f"{positions} tokens in a model of context {self.config.context}")
        x = self.embedding(tokens)
        for block in self.blocks:
            x = block(x, self.cos[:positions], self.sin[:positions])
        table = self.embedding.weight if self.head is None else self.head.weight
        return F.linear(self.final_norm(x), table)

    def token_losses(self, sequences: Tensor) -> Tensor:
        """Loss of each target in nats, [B, T]. sequences: int64 [B, T + 1]."""
        logits = self(sequences[:, :-1])
        targets = sequences[:, 1:]
        return F.cross_entropy(logits.flatten(0, 1), targets.flatten(), reduction="none").view_as(targets)


@torch.no_grad()
def init_weights(model: Transformer, seed: int) -> None:
    """Set every weight, from the seed alone.

    Drawn in float64 in the order of named_parameters, so a model starts the same at any precision:

        embedding, head, query, key, value, gate, up   normal, std 0.02 (GPT-2)
        output, down (they write to the residual)      normal, std 0.02 / sqrt(2 L), L layers (GPT-2)
        norms                                          1
    """
    generator = torch.Generator().manual_seed(seed)
    for name, parameter in model.named_parameters():
        if parameter.ndim == 1:
            parameter.fill_(1.0)
            continue
        std = 0.02
        if name.endswith(("attention.output.weight", "feed_forward.down.weight")):
            std /= math.sqrt(2 * model.config.layers)
        drawn = torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
        parameter.copy_(drawn * std)
