"""Where models are trained: the device, tokens that reside on it, and a step captured as one CUDA graph."""

from collections.abc import Callable, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from proxy_models.shards import TokenBody

# Steps that run one by one before the capture, as torch asks for: allocators, libraries and compiled code settle.
STEPS_BEFORE_CAPTURE = 3


def device_of(name: str) -> str:
    """ "cpu" or "cuda"; "auto" is a GPU where torch sees one. Raises ValueError for a GPU that torch does not see."""
    if name == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    if name == "cuda" and not torch.cuda.is_available():
        raise ValueError("device 'cuda', but torch sees no GPU; use 'auto', or a torch built with CUDA")
    if name not in ("cpu", "cuda"):
        raise ValueError(f"no device {name!r}; the devices are auto, cpu, cuda")
    return name


class ResidentTokens:
    """The training tokens of all sources in a device's memory, in as many bytes as on disk."""

    def __init__(self, bodies: Sequence[TokenBody], device: str) -> None:
        bits = 8 * bodies[0].dtype.itemsize
        self.mask = 2**bits - 1
        sizes = [body.tokens for body in bodies]
        self.first = np.concatenate([[0], np.cumsum(sizes)[:-1]]).astype(np.int64)  # of each source, [S]
        # Signed types of the same bits: torch indexes no uint16 and no uint32 on every device.
        self.tokens = torch.empty(sum(sizes), dtype={16: torch.int16, 32: torch.int32}[bits], device=device)
        at = 0
        for body in bodies:
            for file in body.files:
                read = torch.from_numpy(np.fromfile(file.path, dtype=body.dtype).view(f"<i{bits // 8}"))
                self.tokens[at : at + file.tokens].copy_(read)
                at += file.tokens

    def starts(self, source: NDArray[np.int64], sequence: NDArray[np.int64], context: int) -> NDArray[np.int64]:
        """Position of each sequence's first token: int64, of the arguments' shape."""
        return self.first[source] + sequence * context

    def gather(self, starts: Tensor, length: int) -> Tensor:
        """Tokens from each start on: int64 [*starts.shape, length]."""
        positions = starts[..., None] + torch.arange(length, device=starts.device)
        return self.tokens[positions].to(torch.int64) & self.mask


def fits(bodies: Sequence[TokenBody], device: str) -> bool:
    """Whether all training tokens take at most half of the GPU's free memory; the models need the rest."""
    if device != "cuda":
        return False
    free, _ = torch.cuda.mem_get_info()
    return bool(sum(body.tokens * body.dtype.itemsize for body in bodies) <= free // 2)


class CapturedStep:
    """A function without arguments and results, called once for each step; from the fourth call on as a CUDA graph.

    It must read and write the same tensors each time, with the same shapes, and read nothing back to the host.
    """

    def __init__(self, step: Callable[[], None]) -> None:
        self.step = step
        self.calls = 0
        self.graph: torch.cuda.CUDAGraph | None = None

    def __call__(self) -> None:
        self.calls += 1
        if self.calls <= STEPS_BEFORE_CAPTURE:
            side = torch.cuda.Stream()
            side.wait_stream(torch.cuda.current_stream())
            with torch.cuda.stream(side):
                self.step()
            torch.cuda.current_stream().wait_stream(side)
            return
        if self.graph is None:
            self.graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(self.graph):  # records the step, and does not run it
                self.step()
        self.graph.replay()
