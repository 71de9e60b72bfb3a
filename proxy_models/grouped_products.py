"""Products of rows that each go by one of several matrices: what a mixture of experts is made of."""

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor


class Permuted(torch.autograd.Function):
    """Rows in another order. Autograd's own gradient of x[order] adds into rows one by one, and on a GPU in any order.

    apply(x, order, inverse): order, inverse int64 [rows], each undoing the other.
    """

    @staticmethod
    def forward(ctx, x: Tensor, order: Tensor, inverse: Tensor) -> Tensor:  # type: ignore[no-untyped-def, override]
        ctx.save_for_backward(inverse)
        return x[order]

    @staticmethod
    def backward(ctx, grad: Tensor) -> tuple[Tensor, None, None]:  # type: ignore[no-untyped-def, override]
        return grad[ctx.saved_tensors[0]], None, None


def grouped_products(x: Tensor, weights: Tensor, counts: Tensor) -> Tensor:
    """The first counts[0] rows of x by weights[0], the next counts[1] by weights[1], ..., in one kernel.

    x [rows, in], weights [X, out, in], counts int64 [X]: [rows, out].
    """
    return F.grouped_mm(x, weights.transpose(1, 2), offs=counts.cumsum(0, dtype=torch.int32))


def looped_products(x: Tensor, weights: Tensor, counts: Tensor) -> Tensor:
    """The same one group after another. Reads the counts back from the device."""
    parts = zip(x.split(counts.tolist()), weights, strict=True)
    return torch.cat([F.linear(part, weight) for part, weight in parts])


def grouped_products_serve(x: Tensor, expert_width: int) -> bool:
    """Whether torch has a grouped kernel for x [rows, D]: from torch 2.10 on, for bfloat16 on a GPU since Ampere and
    rows of whole 16 bytes."""
    is_served = x.is_cuda and x.dtype == torch.bfloat16 and x.shape[1] % 8 == 0 and expert_width % 8 == 0
    return is_served and hasattr(F, "grouped_mm") and torch.cuda.get_device_capability(x.device) >= (8, 0)
