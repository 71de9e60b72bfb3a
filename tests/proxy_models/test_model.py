"""The transformer: counted as it is built, started from a seed, blind to the future, the same at any width."""

import math
from collections.abc import Iterator
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode
from transformers import Qwen3Config
from transformers.models.qwen3.modeling_qwen3 import Qwen3RMSNorm
from transformers.models.qwen3_moe.modeling_qwen3_moe import load_balancing_loss_func

from proxy_models import model as model_module
from proxy_models.grouped_products import grouped_products, looped_products
from proxy_models.model import (
    BASE_WIDTH,
    SIZES,
    Attention,
    Experts,
    FeedForward,
    ModelConfig,
    Norm,
    Transformer,
    attended,
    attention_mask,
    flops_per_token,
    init_weights,
    learning_rate_factor,
    parameter_counts,
    rotary_tables,
    rotated,
    sized,
)

TINY = sized("tiny", vocabulary=257)
UNTIED = ModelConfig(257, 24, 3, 4, 2, 10, 40, 12, rope_base=500.0, tied=False)
EXPERTS = replace(UNTIED, experts=6, experts_per_token=2, expert_width=8)
SLIDING = replace(UNTIED, sliding_window=3, full_attention_every=2)
CPU = torch.device("cpu")


def started(config: ModelConfig, seed: int = 0) -> Transformer:
    model = Transformer(config)
    init_weights(model, seed)
    return model


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Threads that wait for each other cost more than these models do."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def drawn(*shape: int, below: int = 257, seed: int = 0) -> Tensor:
    return torch.randint(0, below, shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("config", [TINY, UNTIED, EXPERTS], ids=["tied", "untied", "experts"])
def test_parameters_are_counted_as_they_are_built(config: ModelConfig) -> None:
    sizes = {name: parameter.numel() for name, parameter in Transformer(config).named_parameters()}
    embedding, head = sizes.pop("embedding.weight"), sizes.pop("head.weight", 0)
    assert parameter_counts(config) == (sum(sizes.values()), embedding, head)


@pytest.mark.parametrize(("size", "millions"), [("S", 1.2), ("M", 3.9), ("L", 13.8)])
def test_named_trunks_are_as_large_as_stated(size: str, millions: float) -> None:
    assert parameter_counts(sized(size, 8192)).trunk / 1e6 == pytest.approx(millions, abs=0.05)


@pytest.mark.parametrize("size", ["1M", "3M", "10M", "30M", "100M", "300M", "1B", "3B", "7B"])
def test_a_size_named_for_its_trunk_has_it(size: str) -> None:
    named = float(size[:-1]) * {"M": 1e6, "B": 1e9}[size[-1]]
    assert parameter_counts(sized(size, 32768)).trunk == pytest.approx(named, rel=0.06)


@pytest.mark.parametrize("size", ["30M", "100M", "300M", "1B", "3B", "7B"])
def test_dimensions_of_large_sizes_fill_tensor_cores(size: str) -> None:
    c = sized(size, 32768)
    assert all(number % 64 == 0 for number in (c.width, c.head_width, c.ffn_width, c.heads * c.head_width))
    assert c.head_width == (128 if size.endswith("B") else 64)


def test_an_unknown_size_is_refused_with_the_names() -> None:
    with pytest.raises(ValueError, match=", ".join(SIZES)):
        sized("XL", 100)


def test_flops_by_hand() -> None:
    # tiny: query and output 2*16*16, key and value 2*16*8, feed-forward 3*16*32: 2304 a layer.
    # Head 257*16 = 4112. 6 * (2*2304 + 4112) + 12 * 2 layers * 2 heads * 8 * 16 positions = 52,320 + 6,144.
    assert flops_per_token(TINY) == 58_464


@pytest.mark.parametrize("config", [TINY, UNTIED, EXPERTS], ids=["tied", "untied", "experts"])
def test_flops_are_those_that_torch_counts_in_a_step(config: ModelConfig) -> None:
    model, sequences = started(config), drawn(4, config.context + 1)
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        model.training_loss(sequences).total.backward()
    assert counter.get_total_flops() == flops_per_token(config) * 4 * config.context


def test_flops_of_the_experts_that_a_token_meets() -> None:
    # A layer: query and output 2*24*40, key and value 2*24*20, router 24*6, two experts 2*3*24*8: 4176. Head 257*24.
    # 6 * (3*4176 + 6168) + 12 * 3 layers * 4 heads * 10 * 12 positions.
    assert flops_per_token(EXPERTS) == 112_176 + 17_280


def test_flops_of_the_positions_that_a_layer_sees() -> None:
    # Layers 0 and 2 see 3 of 12 positions: 9 less each.
    assert flops_per_token(UNTIED) - flops_per_token(SLIDING) == 12 * 4 * 10 * 2 * 9
    assert flops_per_token(replace(SLIDING, sliding_window=99)) == flops_per_token(UNTIED)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"heads": 3}, "heads \\(3\\) must be a multiple of kv_heads"),
        ({"head_width": 9}, "head_width \\(9\\) must be even"),
        ({"experts": 4}, "4 experts need experts_per_token from 1 to 4 and an expert_width, not 0 and 0"),
        ({"experts": 4, "experts_per_token": 5, "expert_width": 8}, "from 1 to 4"),
        ({"sliding_window": 4}, "full_attention_every: 1 leaves no layer to slide"),
        (
            {"experts": 4, "experts_per_token": 1, "expert_width": 8, "sliding_window": 4, "full_attention_every": 2},
            "full_attention_every must be 0",
        ),
    ],
)
def test_a_configuration_that_cannot_be_built_is_refused(change: dict[str, int], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        replace(UNTIED, **change)


def test_a_fresh_model_is_as_unsure_as_its_vocabulary_is_large() -> None:
    sequences = torch.randint(0, 257, (8, 17), generator=torch.Generator().manual_seed(0))
    assert started(TINY).token_losses(sequences).mean().item() == pytest.approx(math.log(257), abs=0.05)


def test_the_seed_alone_decides_the_weights() -> None:
    torch.manual_seed(1)
    first = started(TINY, seed=7).state_dict()
    torch.manual_seed(2)
    again, other = started(TINY, seed=7).state_dict(), started(TINY, seed=8).state_dict()
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not torch.equal(first["embedding.weight"], other["embedding.weight"])


def test_weights_start_with_the_spread_that_their_place_asks_for() -> None:
    config = replace(CHECKED["untied"], width=256, heads=16, kv_heads=8, ffn_width=512, layers=8)  # r = 4
    spread = {name: p.std().item() for name, p in started(config).named_parameters() if p.ndim > 1}
    for name, std in spread.items():
        expected = 0.02 if name in ("embedding.weight", "head.weight") else 0.02 / 2
        expected /= 4 if name.endswith(("output.weight", "down.weight")) else 1  # sqrt(2 * 8 layers)
        assert std == pytest.approx(expected, rel=0.03), name
    assert all(torch.equal(p, torch.ones_like(p)) for p in started(config).parameters() if p.ndim == 1)


def test_the_spread_of_experts_is_that_of_a_feed_forward_block() -> None:
    feed_forward = started(replace(CHECKED["experts"], layers=8, width=128, heads=8, kv_heads=4)).blocks[0].feed_forward
    spread = [p.std().item() for p in (feed_forward.gate, feed_forward.up, feed_forward.down)]
    assert spread == pytest.approx([0.02 / math.sqrt(2), 0.02 / math.sqrt(2), 0.02 / math.sqrt(2) / 4], rel=0.03)


def test_heads_are_turned_as_complex_numbers_are() -> None:
    # Number i and number i + E/2 are real and imaginary part of one, turned by position * base^(-2 i / E).
    cos, sin = rotary_tables(UNTIED)  # 12 positions, 10 wide, base 500
    x = torch.randn(2, 12, 10, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    angles = torch.arange(12.0)[:, None] * 500.0 ** (-torch.arange(0, 10, 2) / 10)
    turned = torch.complex(x[..., :5], x[..., 5:]) * torch.polar(torch.ones_like(angles), angles)
    assert torch.allclose(rotated(x, cos, sin), torch.cat([turned.real, turned.imag], dim=-1), atol=1e-5)


def test_norms_are_those_of_qwen3() -> None:
    # Small, so that the epsilon tells.
    x = 1e-3 * torch.randn(5, 24, generator=torch.Generator().manual_seed(0))
    norm, theirs = Norm(24), Qwen3RMSNorm(24, Qwen3Config().rms_norm_eps)
    assert torch.allclose(norm(x), theirs(x), rtol=1e-5)


def test_a_prediction_does_not_see_later_tokens() -> None:
    model = started(UNTIED)
    tokens = torch.randint(0, 257, (1, 12), generator=torch.Generator().manual_seed(0))
    changed = tokens.clone()
    changed[0, 7] = (tokens[0, 7] + 1) % 257
    before, after = model(tokens), model(changed)
    assert torch.allclose(before[:, :7], after[:, :7], atol=1e-6)
    assert not torch.allclose(before[:, 7], after[:, 7], atol=1e-6)


def test_attention_depends_on_distance_not_on_place() -> None:
    model = started(TINY)
    tokens = torch.tensor([[5, 9, 4, 9, 5, 4]])
    expected = model(tokens)
    model.cos, model.sin = model.cos.roll(-3, 0), model.sin.roll(-3, 0)  # the tokens now stand at 3..8, not 0..5
    assert torch.allclose(model(tokens), expected, atol=1e-5)


def test_more_tokens_than_the_context_are_refused() -> None:
    with pytest.raises(ValueError, match="context 16"):
        started(TINY)(torch.zeros(1, 17, dtype=torch.int64))


def test_token_losses_are_the_cross_entropy_of_the_logits() -> None:
    model = started(TINY)
    sequences = torch.randint(0, 257, (3, 9), generator=torch.Generator().manual_seed(0))
    probabilities = model(sequences[:, :-1]).softmax(-1)
    expected = -probabilities.gather(2, sequences[:, 1:, None]).log()[..., 0]
    assert torch.allclose(model.token_losses(sequences), expected, atol=1e-5)


@pytest.mark.parametrize("config", [TINY, EXPERTS], ids=["tied", "experts"])
def test_products_in_bfloat16_are_nearly_those_of_the_float32_weights(config: ModelConfig) -> None:
    exact = started(config)
    mixed = Transformer(config, products=torch.bfloat16)
    mixed.load_state_dict(exact.state_dict())
    sequences = drawn(2, 9)
    assert mixed(sequences).dtype == torch.bfloat16
    losses = [model.training_loss(sequences) for model in (exact, mixed)]
    assert losses[1].total.dtype == torch.float32
    assert losses[1].total.item() == pytest.approx(losses[0].total.item(), rel=1e-3)
    for loss in losses:
        loss.total.backward()
    for name, parameter in mixed.named_parameters():
        expected = exact.get_parameter(name).grad
        assert parameter.grad.dtype == torch.float32
        assert (parameter.grad - expected).norm() < 0.1 * expected.norm(), name


def test_a_model_made_without_memory_starts_as_any_other() -> None:
    with torch.device("meta"):
        model = Transformer(EXPERTS)
    model.to_empty(device="cpu")
    init_weights(model, seed=3)
    assert torch.equal(model(drawn(1, 12)), started(EXPERTS, seed=3)(drawn(1, 12)))


@pytest.mark.slow
@pytest.mark.parametrize("config", [TINY, SLIDING], ids=["full", "sliding"])
def test_a_compiled_loss_without_graph_breaks_is_the_same(config: ModelConfig) -> None:
    model, sequences = started(config), drawn(2, 13)
    documents = (torch.arange(13) // 5).expand(2, -1)
    compiled = torch.compile(model.training_loss, fullgraph=True, dynamic=False)
    found = compiled(sequences, documents, z_loss=1e-4).total
    found.backward()
    gradients = [p.grad for p in model.parameters()]
    model.zero_grad()
    expected = model.training_loss(sequences, documents, z_loss=1e-4).total
    expected.backward()
    assert found.item() == pytest.approx(expected.item(), abs=1e-5)
    for gradient, parameter in zip(gradients, model.parameters(), strict=True):
        assert torch.allclose(gradient, parameter.grad, atol=1e-5)


# What attention sees.


def test_a_sliding_layer_sees_its_window_and_every_nth_layer_all() -> None:
    assert [SLIDING.window(layer) for layer in range(3)] == [3, 0, 3]
    assert [replace(SLIDING, full_attention_every=0).window(layer) for layer in range(3)] == [3, 3, 3]
    mask = attention_mask(None, 3, 5, CPU, by_blocks=False)
    assert mask[0, 0].int().tolist() == [
        [1, 0, 0, 0, 0],
        [1, 1, 0, 0, 0],
        [1, 1, 1, 0, 0],
        [0, 1, 1, 1, 0],
        [0, 0, 1, 1, 1],
    ]


def test_a_token_reaches_as_far_back_as_the_windows_of_all_layers() -> None:
    model = started(replace(SLIDING, full_attention_every=0))  # 3 layers of 2 positions back
    tokens = drawn(1, 12)
    changed = tokens.clone()
    changed[0, 2] = (tokens[0, 2] + 1) % 257
    apart = (model(tokens) - model(changed)).abs().amax(dim=(0, 2)) > 0
    assert apart.tolist() == [False] * 2 + [True] * 7 + [False] * 3


@pytest.mark.parametrize("config", [UNTIED, SLIDING, EXPERTS], ids=["full", "sliding", "experts"])
@pytest.mark.parametrize("by_blocks", [False, True])
@torch.no_grad()  # by blocks, a CPU has no gradients
def test_documents_in_one_sequence_are_read_as_if_alone(
    config: ModelConfig, by_blocks: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(model_module, "flex_attention_serves", lambda device, head_width: by_blocks)
    model = started(config).double()
    tokens = drawn(2, 12)
    ends = [[4, 5, 12], [7, 12]]
    documents = torch.stack([torch.bucketize(torch.arange(12), torch.tensor(e), right=True) for e in ends])
    together = model(tokens, documents)
    for row, row_ends in enumerate(ends):
        for begin, end in zip([0, *row_ends[:-1]], row_ends, strict=True):
            alone = model(tokens[row : row + 1, begin:end])[0]
            # The rotary tables are float32: turned further, a document is the same up to their rounding.
            assert torch.allclose(together[row, begin:end], alone, rtol=0, atol=1e-6)


def test_losses_within_documents_are_those_of_their_logits() -> None:
    model = started(UNTIED).double()
    sequences, documents = drawn(2, 13), (torch.arange(13) // 5).expand(2, -1)
    logits = model(sequences[:, :-1], documents[:, :-1])
    expected = nn.functional.cross_entropy(logits.flatten(0, 1), sequences[:, 1:].flatten())
    assert model.token_losses(sequences, documents).mean().item() == pytest.approx(expected.item(), abs=1e-12)
    assert model.training_loss(sequences, documents).total.item() == pytest.approx(expected.item(), abs=1e-12)
    assert model.training_loss(sequences).total.item() != pytest.approx(expected.item(), abs=1e-6)


def test_attention_by_blocks_is_attention_with_a_mask() -> None:
    generator = torch.Generator().manual_seed(0)
    query, key, value = (torch.randn(2, heads, 200, 16, generator=generator) for heads in (4, 2, 2))
    documents = torch.stack([torch.arange(200) // 70, torch.arange(200) // 190])
    masks = [attention_mask(documents, 150, 200, CPU, by_blocks) for by_blocks in (False, True)]
    masked, by_blocks = (attended(query, key, value, mask) for mask in masks)
    assert torch.allclose(masked, by_blocks, atol=1e-5)


# Experts.


def test_grouped_products_are_those_of_a_loop() -> None:
    generator = torch.Generator().manual_seed(0)
    x, weights = torch.randn(40, 24, generator=generator), torch.randn(5, 16, 24, generator=generator)
    counts = torch.tensor([7, 0, 23, 10, 0])
    found = []
    for products in (grouped_products, looped_products):
        leaves = x.clone().requires_grad_(), weights.clone().requires_grad_()
        result = products(*leaves, counts)
        result.square().sum().backward()
        found.append((result, leaves[0].grad, leaves[1].grad))
    for grouped, looped in zip(*found, strict=True):
        assert torch.allclose(grouped, looped, rtol=1e-5, atol=1e-5)


def test_a_mixture_is_the_sum_of_its_experts_by_their_shares() -> None:
    experts = started(EXPERTS).double().blocks[0].feed_forward
    assert isinstance(experts, Experts)
    x = torch.randn(1, 9, 24, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    mixed, _ = experts(x)
    for at, token in enumerate(x[0]):
        probabilities = (experts.router.weight @ token).softmax(0)
        best = probabilities.argsort(descending=True)[:2]
        results = [
            experts.down[e] @ (nn.functional.silu(experts.gate[e] @ token) * (experts.up[e] @ token)) for e in best
        ]
        shares = probabilities[best] / probabilities[best].sum()
        expected = shares[0] * results[0] + shares[1] * results[1]
        assert torch.allclose(mixed[0, at], expected, rtol=0, atol=1e-14)


def test_gradients_of_experts_are_those_of_finite_differences() -> None:
    experts = started(EXPERTS).double().blocks[0].feed_forward
    x = torch.randn(1, 5, 24, dtype=torch.float64, generator=torch.Generator().manual_seed(0), requires_grad=True)
    assert torch.autograd.gradcheck(experts, (x,))


def test_the_balance_of_experts_is_that_of_transformers() -> None:
    model = started(replace(EXPERTS, layers=1))
    sequences = drawn(3, 13)
    logits: list[Tensor] = []
    model.blocks[0].feed_forward.router.register_forward_hook(lambda *call: logits.append(call[2]))
    found = model.training_loss(sequences, balance_loss=0.5)
    expected = load_balancing_loss_func(tuple(logits), 6, 2)
    assert found.balance.item() == pytest.approx(expected.item(), rel=1e-6)
    assert found.total.item() == pytest.approx((found.cross_entropy + 0.5 * expected).item(), rel=1e-6)


def test_the_balance_of_a_model_is_the_mean_of_its_layers() -> None:
    model = started(EXPERTS)
    found: list[Tensor] = []
    for block in model.blocks:
        block.feed_forward.register_forward_hook(lambda *call: found.append(call[2][1]))
    loss = model.training_loss(drawn(3, 13), balance_loss=0.5)
    assert len(found) == 3
    assert loss.balance.item() == pytest.approx(sum(found).item() / 3, rel=1e-6)
    assert loss.total.item() == pytest.approx((loss.cross_entropy + sum(found) / 6).item(), rel=1e-6)


@pytest.mark.parametrize(
    "targets", [None, torch.tensor(10.0, dtype=torch.float64)], ids=["its own", "of a larger batch"]
)
def test_losses_of_a_padded_batch_are_means_over_its_targets(targets: Tensor | None) -> None:
    model = started(replace(EXPERTS, layers=1)).double()
    sequences, is_target = drawn(3, 13), torch.arange(12) < torch.tensor([[12], [5], [1]])
    logits: list[Tensor] = []
    model.blocks[0].feed_forward.router.register_forward_hook(lambda *call: logits.append(call[2]))
    found = model.training_loss(
        sequences, z_loss=0.1, balance_loss=0.5, is_target=is_target, targets=targets, chunk_tokens=7
    )
    plain_logits, plain_targets = model(sequences[:, :-1])[is_target], sequences[:, 1:][is_target]
    share = 1.0 if targets is None else 18 / 10  # the sum over 18 targets, divided by `targets`
    cross_entropy = share * nn.functional.cross_entropy(plain_logits, plain_targets)
    z = share * plain_logits.logsumexp(-1).square().mean()
    balance = load_balancing_loss_func((logits[0],), 6, 2, is_target)
    assert found.cross_entropy.item() == pytest.approx(cross_entropy.item(), rel=1e-12)
    assert found.balance.item() == pytest.approx(balance.item(), rel=1e-6)  # theirs is of float32
    assert found.total.item() == pytest.approx((cross_entropy + 0.1 * z + 0.5 * found.balance).item(), rel=1e-12)


@pytest.mark.parametrize("config", [UNTIED, EXPERTS], ids=["dense", "experts"])
def test_padding_changes_neither_a_loss_nor_a_gradient(config: ModelConfig) -> None:
    model, is_target = started(config), torch.arange(12) < torch.tensor([[12], [5]])
    found = []
    for seed in (1, 2):
        sequences = drawn(2, 13)
        sequences[1, 6:] = drawn(7, seed=seed)
        model.zero_grad()
        loss = model.training_loss(sequences, z_loss=0.1, balance_loss=0.5, is_target=is_target)
        loss.total.backward()
        found.append([*loss, *(p.grad.clone() for p in model.parameters())])
    assert all(torch.allclose(a, b, rtol=1e-4, atol=1e-7) for a, b in zip(*found, strict=True))


def test_a_part_of_a_batch_without_a_target_adds_nothing() -> None:
    model = started(EXPERTS)
    loss = model.training_loss(
        drawn(2, 13), z_loss=0.1, balance_loss=0.5, is_target=torch.zeros(2, 12, dtype=torch.bool)
    )
    loss.total.backward()
    assert loss.total.item() == 0
    assert all(torch.equal(p.grad, torch.zeros_like(p)) for p in model.parameters() if p.grad is not None)


def test_the_balance_loss_evens_out_the_use_of_experts() -> None:
    model = started(EXPERTS)
    with torch.no_grad():
        model.embedding.weight.add_(1.0)  # what all tokens share, the routers answer with the same experts
        for block in model.blocks:
            block.feed_forward.router.weight.mul_(10)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    before = model.training_loss(drawn(16, 13)).balance.item()
    for step in range(30):
        optimizer.zero_grad()
        model.training_loss(drawn(16, 13, seed=step), balance_loss=1.0).total.backward()
        optimizer.step()
    assert before > 2.2
    assert model.training_loss(drawn(16, 13)).balance.item() < 2.1


# Transfer over width.

WIDTHS = [32, 64, 128, 256, 512]
CHECKED = {
    "tied": ModelConfig(64, 64, 2, 4, 2, 16, 128, 32, base_width=64),
    "untied": ModelConfig(64, 64, 2, 4, 2, 16, 128, 32, base_width=64, tied=False),
    "experts": ModelConfig(
        64, 64, 2, 4, 2, 16, 128, 32, base_width=64, experts=4, experts_per_token=2, expert_width=64
    ),
}


def widened(config: ModelConfig, width: int) -> ModelConfig:
    """The same model at another width: more heads, all else in proportion."""
    return replace(
        config,
        width=width,
        heads=width // 16,
        kv_heads=width // 32,
        ffn_width=2 * width,
        expert_width=width * bool(config.experts),
    )


def activations(model: Transformer, tokens: Tensor) -> dict[str, Tensor]:
    found: dict[str, Tensor] = {}

    def keep(name: str, result: Tensor | tuple[Tensor, Tensor]) -> None:
        found[name] = result[0] if isinstance(result, tuple) else result

    watched = (nn.Linear, nn.Embedding, Attention, FeedForward, Experts)
    hooks = [
        module.register_forward_hook(lambda _, __, result, name=name: keep(name, result))
        for name, module in model.named_modules()
        if isinstance(module, watched)
    ]
    with torch.no_grad():
        found["logits"] = model(tokens)
    for hook in hooks:
        hook.remove()
    return found


def coordinates(config: ModelConfig, seed: int) -> dict[tuple[str, str], float]:
    """Root mean squares of activations at the start, and of what 5 steps of AdamW change of them."""
    model = started(config, seed)
    generator = torch.Generator().manual_seed(seed)
    *batches, last = ((torch.rand(8, 33, generator=generator) ** 3 * 64).long() for _ in range(6))
    groups = [{"params": [p], "lr": 3e-3 * learning_rate_factor(name, config)} for name, p in model.named_parameters()]
    optimizer = torch.optim.AdamW(groups, betas=(0.9, 0.95), weight_decay=0.0)
    probe = last[:, :-1]
    before = activations(model, probe)
    for batch in batches:
        optimizer.zero_grad()
        model.training_loss(batch).total.backward()
        optimizer.step()
    after = activations(model, probe)
    found = {(name, "scale"): x.square().mean().sqrt().item() for name, x in before.items()}
    return found | {(name, "change"): (after[name] - x).square().mean().sqrt().item() for name, x in before.items()}


def powers_of_width(config: ModelConfig) -> dict[tuple[str, str], float]:
    """The power of the width with which each coordinate grows, by least squares in logarithms; mean of two seeds."""
    logs = torch.tensor(
        [[list(coordinates(widened(config, width), seed).values()) for width in WIDTHS] for seed in range(2)]
    ).log2()
    places = torch.arange(len(WIDTHS)) - 2.0
    slopes = (logs.mean(dim=0) * places[:, None]).sum(dim=0) / places.square().sum()
    return dict(zip(coordinates(widened(config, 32), 0), slopes.tolist(), strict=True))


@pytest.mark.parametrize("name", CHECKED)
def test_activations_and_their_change_in_training_are_the_same_at_any_width(name: str) -> None:
    powers = powers_of_width(CHECKED[name])
    # Logits start smaller in wider models, as they do in muP: only their change is to be the same.
    assert -0.6 < powers.pop(("logits", "scale")) <= 0
    assert {coordinate: power for coordinate, power in powers.items() if abs(power) > 0.2} == {}


def test_the_check_sees_that_standard_initialisation_and_rates_do_not_transfer() -> None:
    powers = powers_of_width(replace(CHECKED["tied"], base_width=0))
    assert powers["blocks.0.attention.value", "scale"] > 0.4
    assert powers["blocks.0.attention.value", "change"] > 0.6
    assert powers["blocks.1.feed_forward", "change"] > 1
    assert powers["logits", "change"] > 0.4


def test_sizes_named_for_their_trunks_take_their_rates_from_one_width() -> None:
    factors = {size: learning_rate_factor("blocks.0.attention.query.weight", sized(size, 100)) for size in SIZES}
    assert factors == {size: BASE_WIDTH / sized(size, 100).width if size[0].isdigit() else 1.0 for size in SIZES}
    others = ("embedding.weight", "head.weight", "final_norm.weight", "blocks.0.attention.query_norm.weight")
    assert {learning_rate_factor(name, sized("1B", 100)) for name in others} == {1.0}
