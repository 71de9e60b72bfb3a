"""Matrix products of the trunk in fp8, as torchao's float8 training with tensorwise scales does them.

It has never run on a GPU: tested is its arithmetic, on a CPU, for which torch has the same products. Its speed is
unknown; nanochat's log (dev/LOG.md) has a gain of about 5 % at equal quality.

Inputs and weights are rounded to e4m3 (3 bits of mantissa), gradients of outputs to e5m2 (2 bits, wider range); each is
first scaled so that its largest number is the format's largest (Micikevicius et al. 2022, arXiv 2209.05433). Products
are summed in float32. Weights and their gradients stay in the weights' own type; so do embedding, head, norms, router,
the scores of attention and matrices of experts, which are no Linear.
"""

from typing import Any

import torch
from torch import Tensor

from proxy_models.model import Linear, Transformer

INPUTS, GRADIENTS = torch.float8_e4m3fn, torch.float8_e5m2
TILE = 16  # each dimension that is summed over or written must be a multiple, torch._scaled_mm asks
SMALLEST = 1e-12  # of what scales are taken from: all may be 0


def check_float8(device: torch.device) -> None:
    """Raises ValueError for a device without fast products in fp8."""
    there = "this is a CPU"
    if device.type == "cuda":
        major, minor = torch.cuda.get_device_capability(device)
        if (major, minor) >= (8, 9):
            return
        there = f"{torch.cuda.get_device_name(device)} has {major}.{minor}"
    raise ValueError(
        f"products 'fp8' need a GPU of compute capability 8.9 or more (Ada, Hopper and later), and {there}; use "
        "'bfloat16'"
    )


def use_float8(model: Transformer, rows: int) -> None:
    """Let the Linear layers of all blocks multiply in fp8. rows: tokens of each call in training.

    Raises ValueError for dimensions that are no multiples of TILE.
    """
    if rows % TILE:
        raise ValueError(f"products 'fp8' need multiples of {TILE} tokens in each part of a step, not {rows}")
    for name, module in model.blocks.named_modules():
        if isinstance(module, Linear) and not name.endswith("router"):
            if module.in_features % TILE or module.out_features % TILE:
                raise ValueError(
                    f"products 'fp8' need matrices of multiples of {TILE}; blocks.{name} has {module.out_features} x "
                    f"{module.in_features}: take a size of 30M or more"
                )
            module.__class__ = Float8Linear  # the same parameter, under the same name


class Float8Linear(Linear):
    """A Linear whose three products are in fp8: outputs, gradients of inputs, gradients of weights."""

    def forward(self, x: Tensor) -> Tensor:
        return _Products.apply(x.flatten(0, -2), self.weight).view(*x.shape[:-1], -1)


def quantized(x: Tensor, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """x as fp8 and the float32 scale [] that gives it back by multiplication."""
    largest = torch.finfo(dtype).max
    scale = x.abs().amax().float().clamp(min=SMALLEST) / largest
    # A number beyond the largest would become NaN; rounding of the scale may put one there.
    return (x.float() / scale).clamp(-largest, largest).to(dtype).contiguous(), scale


class _Products(torch.autograd.Function):
    """apply(x [N, in], weight [out, in]): x @ weight.T [N, out], in the type of x."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor) -> Tensor:  # type: ignore[override]
        x8, of_x = quantized(x, INPUTS)
        weight8, of_weight = quantized(weight, INPUTS)
        ctx.save_for_backward(x8, of_x, weight8, of_weight)
        ctx.weight_dtype = weight.dtype
        return _scaled(x8, weight8.t(), of_x, of_weight, x.dtype)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor]:  # type: ignore[override]
        x8, of_x, weight8, of_weight = ctx.saved_tensors
        grad8, of_grad = quantized(grad, GRADIENTS)
        # Each first factor in rows, each second one in columns: cuBLAS multiplies fp8 in this layout alone.
        of_inputs = _scaled(grad8, _in_columns(weight8), of_grad, of_weight, grad.dtype)
        of_weights = _scaled(grad8.t().contiguous(), _in_columns(x8), of_grad, of_x, ctx.weight_dtype)
        return of_inputs, of_weights


def _scaled(a: Tensor, b: Tensor, of_a: Tensor, of_b: Tensor, dtype: torch.dtype) -> Tensor:
    """a [n, k] @ b [k, m], b in columns, times both scales."""
    return torch._scaled_mm(a, b, scale_a=of_a, scale_b=of_b, out_dtype=dtype)


def _in_columns(matrix: Tensor) -> Tensor:
    return matrix.t().contiguous().t()
