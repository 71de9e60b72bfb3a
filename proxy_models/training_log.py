"""What a run tells while it runs: JSON Lines always, TensorBoard and Weights & Biases where they are wanted."""

import json
import math
import os
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from proxy_models.model import ModelConfig, flops_per_token

MFU_FORMULA = "MFU = tokens/s * (6 * matrix parameters + 12 * layers * heads * head width * positions) / peak FLOP/s"
# Dense bfloat16 products per second by the vendors' data sheets, without sparsity; the first name that a card's holds.
PEAK_FLOPS = {
    "B200": 2250e12,
    "GH200": 989e12,
    "H200": 989e12,
    "H100 PCIe": 756e12,
    "H100": 989e12,
    "A100": 312e12,
    "L40S": 362e12,
    "L4": 121e12,
}


def mfu(tokens_per_s: float, config: ModelConfig, card: str, cards: int = 1) -> float | None:
    """Model FLOPs utilisation by MFU_FORMULA, in [0, 1]; None for a card whose peak is not known, such as a CPU."""
    peak = next((flops for name, flops in PEAK_FLOPS.items() if name in card), None)
    return None if peak is None else tokens_per_s * flops_per_token(config) / (peak * cards)


class Clock:
    """Where a run's time goes: steps, and in them waiting for batches; evaluation and checkpoints are not counted."""

    def __init__(self, card: str, cards: int) -> None:
        self.card, self.cards = card, cards
        self.loading_s = self.training_s = 0.0
        self.tokens = 0
        self.ideal_s = 0.0  # that the work would take at the peak
        self.told: tuple[float, int, float, float] = (0.0, 0, 0.0, 0.0)

    def begin(self) -> None:
        self.began = time.perf_counter()

    def trained(self, tokens: int, config: ModelConfig, waited_s: float) -> None:
        """A step has come to its end. waited_s: for batches, since the run began."""
        self.training_s += time.perf_counter() - self.began
        self.loading_s = waited_s
        self.tokens += tokens
        self.ideal_s += mfu(tokens, config, self.card, self.cards) or 0.0

    def lately(self) -> dict[str, float | None]:
        """Of the steps since the last call."""
        now = (self.training_s, self.tokens, self.ideal_s, self.loading_s)
        seconds, tokens, ideal_s, loading_s = (b - a for a, b in zip(self.told, now, strict=True))
        self.told = now
        return {
            "tokens_per_s": tokens / seconds,
            "mfu": ideal_s / seconds if self.ideal_s else None,
            "loader_share": loading_s / seconds,
        }

    @property
    def tokens_per_s(self) -> float:
        return self.tokens / self.training_s if self.training_s else 0.0

    @property
    def mfu(self) -> float | None:
        return self.ideal_s / self.training_s if self.ideal_s else None

    @property
    def loader_share(self) -> float:
        return self.loading_s / self.training_s if self.training_s else 0.0


class TrainingLog:
    """log.jsonl in a run's folder: a line that describes the run, then one {"step": steps done, ...} after another;
    numbers that are not finite are null.

    first_step: what a resumed run has done; lines of later steps are of an attempt that was cut off, and go.
    tensorboard: event files in the folder `tensorboard`; None: if the package is installed, and the first line says
    whether it is. wandb: arguments of wandb.init, such as {"project": "..."}. is_writing: False for all ranks but one:
    nothing is then written. Raises ModuleNotFoundError, with what to do, for what is wanted and not installed.
    """

    def __init__(
        self,
        folder: Path,
        first_step: int,
        run: Mapping[str, Any],
        tensorboard: bool | None = None,
        wandb: Mapping[str, Any] | None = None,
        is_writing: bool = True,
    ) -> None:
        self.file, self.tensorboard, self.wandb = None, None, None
        if not is_writing:
            return
        folder.mkdir(parents=True, exist_ok=True)
        if tensorboard is not False:
            self.tensorboard = _summary_writer(folder / "tensorboard", first_step, is_needed=tensorboard is True)
        self.wandb = _wandb_run(folder, run, wandb) if wandb is not None else None
        path, rewritten = folder / "log.jsonl", folder / f"log.jsonl.{os.getpid()}.writing"
        shown = {"tensorboard": self.tensorboard is not None, "wandb": self.wandb is not None}
        kept = [json.dumps({"run": {**run, **shown}}) + "\n"]
        if path.exists():
            lines = path.read_text(errors="replace").splitlines(keepends=True)
            kept += [line for line in lines if _is_before(line, first_step)]
        rewritten.write_text("".join(kept))
        os.replace(rewritten, path)
        self.file = path.open("a", buffering=1)

    def write(self, step: int, values: Mapping[str, float | str | None]) -> None:
        """What is known after `step` steps. None is not shown by TensorBoard and Weights & Biases."""
        if self.file is None:
            return
        numbers = {name: value for name, value in values.items() if isinstance(value, float | int)}
        unknown = {name: None for name, value in numbers.items() if not math.isfinite(value)}  # NaN is no JSON
        self.file.write(json.dumps({"step": step, **values, **unknown}) + "\n")
        if self.tensorboard is not None:
            for name, value in numbers.items():
                self.tensorboard.add_scalar(name, value, step)
        if self.wandb is not None:
            self.wandb.log(numbers, step=step)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.file is not None:
            self.file.close()
        if self.tensorboard is not None:
            self.tensorboard.close()
        if self.wandb is not None:
            self.wandb.finish(exit_code=0 if error is None else 1)


def _is_before(line: str, first_step: int) -> bool:
    """Whether a line is whole, and of a step that a resumed run does not take again."""
    try:
        return line.endswith("\n") and 0 < json.loads(line).get("step", 0) <= first_step
    except ValueError:  # cut off, or never written out by a machine that went down
        return False


def _summary_writer(folder: Path, first_step: int, is_needed: bool) -> Any:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ModuleNotFoundError as error:
        if is_needed:
            raise ModuleNotFoundError("a log to TensorBoard needs its package: pip install tensorboard") from error
        return None
    return SummaryWriter(str(folder), purge_step=first_step + 1)


def _wandb_run(folder: Path, run: Mapping[str, Any], settings: Mapping[str, Any]) -> Any:
    try:
        import wandb
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError("a log to Weights & Biases needs its package: pip install wandb") from error
    return wandb.init(dir=str(folder), config=dict(run), resume="allow", **settings)
