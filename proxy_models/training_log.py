"""What a run tells while it runs: JSON Lines always, TensorBoard and Weights & Biases where they are wanted."""

import json
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


class TrainingLog:
    """log.jsonl in a run's folder: a line that describes the run, then one {"step": steps done, ...} after another.

    first_step: what a resumed run has done; lines of later steps are of an attempt that was cut off, and go.
    tensorboard: event files in the folder `tensorboard` if the package is installed. wandb: arguments of wandb.init,
    such as {"project": "..."}. is_writing: False for all
    ranks but one: nothing is then written. Raises ModuleNotFoundError, with what to do, if wandb is wanted and not
    installed.
    """

    def __init__(
        self,
        folder: Path,
        first_step: int,
        run: Mapping[str, Any],
        tensorboard: bool = True,
        wandb: Mapping[str, Any] | None = None,
        is_writing: bool = True,
    ) -> None:
        self.file, self.tensorboard, self.wandb = None, None, None
        if not is_writing:
            return
        folder.mkdir(parents=True, exist_ok=True)
        self.path = folder / "log.jsonl"
        kept = [json.dumps({"run": dict(run)}) + "\n"]
        if self.path.exists():
            kept += [line for line in self.path.read_text().splitlines(keepends=True) if _is_before(line, first_step)]
        self.path.write_text("".join(kept))
        self.file = self.path.open("a", buffering=1)
        self.tensorboard = _summary_writer(folder / "tensorboard", first_step) if tensorboard else None
        self.wandb = _wandb_run(folder, run, wandb) if wandb is not None else None

    def write(self, step: int, values: Mapping[str, float | str | None]) -> None:
        """What is known after `step` steps. None is not shown by TensorBoard and Weights & Biases."""
        if self.file is None:
            return
        self.file.write(json.dumps({"step": step, **values}) + "\n")
        numbers = {name: value for name, value in values.items() if isinstance(value, float | int)}
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
    return line.endswith("\n") and 0 < json.loads(line).get("step", 0) <= first_step


def _summary_writer(folder: Path, first_step: int) -> Any:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ModuleNotFoundError:
        return None
    return SummaryWriter(str(folder), purge_step=first_step + 1)


def _wandb_run(folder: Path, run: Mapping[str, Any], settings: Mapping[str, Any]) -> Any:
    try:
        import wandb
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError("a log to Weights & Biases needs its package: pip install wandb") from error
    return wandb.init(dir=str(folder), config=dict(run), resume="allow", **settings)
