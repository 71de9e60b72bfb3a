"""Products in fp8: rounding, range, and the three products of a layer, against plain ones in float32."""

import dataclasses

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from proxy_models.float8 import GRADIENTS, INPUTS, Float8Linear, quantized, use_float8
from proxy_models.model import Linear, ModelConfig, Transformer, init_weights
from proxy_models.optimization import AdamW

MODEL = ModelConfig(64, 32, 2, 2, 1, 16, 48, 16)
EXPERTS = dataclasses.replace(MODEL, experts=4, experts_per_token=2, expert_width=16)


def restored(x: Tensor, dtype: torch.dtype) -> Tensor:
    quantity, scale = quantized(x, dtype)
    return quantity.float() * scale


@pytest.mark.parametrize(("dtype", "mantissa"), [(INPUTS, 3), (GRADIENTS, 2)])
@given(st.integers(0, 1000), st.floats(-30, 30))
def test_large_numbers_keep_the_bits_of_the_mantissa(
    dtype: torch.dtype, mantissa: int, seed: int, power: float
) -> None:
    x = torch.randn(40, generator=torch.Generator().manual_seed(seed)) * 10.0 ** (power / 3)
    found = restored(x, dtype)
    far = x.abs() > x.abs().max() / 64  # below, e4m3 has fewer bits
    assert ((found - x).abs() <= x.abs() * 2.0 ** -(mantissa + 1) * 1.001)[far].all()
    assert found.abs().max() <= x.abs().max() * 1.001


@pytest.mark.parametrize("dtype", [INPUTS, GRADIENTS])
def test_zeros_are_zeros_and_what_is_not_finite_stays_so(dtype: torch.dtype) -> None:
    assert restored(torch.zeros(16), dtype).eq(0).all()
    assert not restored(torch.tensor([1.0, torch.inf]), dtype).isfinite().all()
    assert not restored(torch.tensor([1.0, torch.nan]), dtype).isfinite().all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_three_products_are_those_of_the_rounded_factors(dtype: torch.dtype) -> None:
    layer = Linear(32, 48)
    layer.__class__ = Float8Linear
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(4, 16, 32, generator=generator).to(dtype).requires_grad_()
    grad = torch.randn(4, 48, 16, generator=generator).to(dtype).transpose(1, 2)  # not contiguous
    found = layer(x)
    found.backward(grad)
    x8, weight8 = restored(x.detach().flatten(0, 1), INPUTS), restored(layer.weight.detach(), INPUTS)
    grad8 = restored(grad.flatten(0, 1), GRADIENTS)
    assert x.grad is not None
    assert layer.weight.grad is not None
    near = {"rtol": 1e-5 if dtype == torch.float32 else 8e-3, "atol": 1e-4}
    torch.testing.assert_close(found.flatten(0, 1).float(), x8 @ weight8.t(), **near)
    torch.testing.assert_close(x.grad.flatten(0, 1).float(), grad8 @ weight8, **near)
    torch.testing.assert_close(layer.weight.grad, grad8.t() @ x8, rtol=1e-5, atol=1e-4)
    assert (found.dtype, x.grad.dtype, layer.weight.grad.dtype) == (dtype, dtype, torch.float32)


@pytest.mark.parametrize("config", [MODEL, EXPERTS])
def test_a_model_trains_as_in_bfloat16(config: ModelConfig) -> None:
    losses = []
    for is_float8 in (False, True):
        model = Transformer(config, torch.bfloat16)
        init_weights(model, 0)
        names = list(model.state_dict())
        if is_float8:
            use_float8(model, 2 * 16)
            kinds = {name: type(module) for name, module in model.named_modules()}
            assert kinds["blocks.1.attention.output"] is Float8Linear
            assert kinds.get("blocks.0.feed_forward.router", Linear) is Linear
        assert list(model.state_dict()) == names
        optimizer = AdamW().of(model, 1e-2)
        sequences = torch.randint(64, (2, 17), generator=torch.Generator().manual_seed(0))
        for _ in range(30):
            optimizer.zero_grad()
            loss = model.training_loss(sequences)
            loss.total.backward()
            optimizer.step()
        losses.append(loss.cross_entropy.item())
    assert losses[0] < 2
    assert losses[1] == pytest.approx(losses[0], abs=0.3)
    assert losses[1] != losses[0]


def test_dimensions_that_no_tile_fits_are_refused() -> None:
    with pytest.raises(ValueError, match="multiples of 16 tokens in each part of a step, not 24"):
        use_float8(Transformer(MODEL), 24)
    with pytest.raises(ValueError, match=r"blocks.0.feed_forward.gate has 40 x 32: take a size of 30M or more"):
        use_float8(Transformer(dataclasses.replace(MODEL, ffn_width=40)), 32)
