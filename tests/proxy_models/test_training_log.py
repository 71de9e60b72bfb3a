"""What a run tells can be read back: from JSON Lines, TensorBoard's event files, and Weights & Biases' own."""

import importlib.util
import json
import math
from pathlib import Path
from typing import Any

import pytest

from proxy_models.model import sized
from proxy_models.training_log import Clock, TrainingLog, mfu


def written(folder: Path, first_step: int = 0, steps: int = 3, **others: Any) -> None:
    with TrainingLog(folder, first_step, {"parameters": 7}, **others) as log:
        for step in range(first_step + 1, first_step + steps + 1):
            log.write(step, {"loss": 1 / step, "mfu": None})


def lines(folder: Path) -> list[dict[str, Any]]:
    def refused(constant: str) -> None:
        raise ValueError(f"{constant} is no JSON")

    return [json.loads(line, parse_constant=refused) for line in (folder / "log.jsonl").read_text().splitlines()]


def test_lines_are_read_back(tmp_path: Path) -> None:
    written(tmp_path, tensorboard=False)
    first, *others = lines(tmp_path)
    assert first == {"run": {"parameters": 7, "tensorboard": False, "wandb": False}}
    assert others == [{"step": step, "loss": 1 / step, "mfu": None} for step in (1, 2, 3)]
    assert [path.name for path in tmp_path.iterdir()] == ["log.jsonl"]


def test_a_resumed_run_writes_on_behind_its_checkpoint(tmp_path: Path) -> None:
    written(tmp_path, steps=4)
    with (tmp_path / "log.jsonl").open("a") as file:
        file.write('\0\0\0\0\n{"step": 2, "loss": 0.5}\nno JSON\n{"step": 5, "lo')  # of a machine that went down
    written(tmp_path, first_step=2, steps=1)
    assert [line["step"] for line in lines(tmp_path)[1:]] == [1, 2, 2, 3]


@pytest.mark.parametrize("loss", [math.nan, math.inf, -math.inf])
def test_what_is_not_finite_is_null(tmp_path: Path, loss: float) -> None:
    with TrainingLog(tmp_path, 0, {}) as log:
        log.write(1, {"loss": loss, "rate": 0.5})
    assert lines(tmp_path)[1] == {"step": 1, "loss": None, "rate": 0.5}


def test_other_ranks_write_nothing(tmp_path: Path) -> None:
    written(tmp_path / "work", is_writing=False)
    assert not (tmp_path / "work").exists()


@pytest.mark.parametrize(("package", "wanted"), [("tensorboard", {"tensorboard": True}), ("wandb", {"wandb": {}})])
def test_a_log_that_is_wanted_and_has_no_package_is_refused(
    tmp_path: Path, package: str, wanted: dict[str, Any]
) -> None:
    if importlib.util.find_spec(package):
        pytest.skip(f"{package} is installed")
    with pytest.raises(ModuleNotFoundError, match=f"pip install {package}"):
        written(tmp_path, **wanted)


def test_tensorboard_reads_what_was_written(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard", reason="needs pip install tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    written(tmp_path, steps=4)
    written(tmp_path, first_step=2, steps=1)  # step 3 is taken again, step 4 was cut off
    read = EventAccumulator(str(tmp_path / "tensorboard")).Reload()
    assert read.Tags()["scalars"] == ["loss"]
    found = [(event.step, event.value) for event in read.Scalars("loss")]
    assert found == [(step, pytest.approx(1 / step)) for step in (1, 2, 3)]
    assert lines(tmp_path)[0]["run"]["tensorboard"] is True


def test_weights_and_biases_takes_what_was_written(tmp_path: Path) -> None:
    wandb = pytest.importorskip("wandb", reason="needs pip install wandb")
    written(tmp_path, tensorboard=False, wandb={"project": "x", "mode": "offline"})
    assert wandb.run is None  # finished
    assert [path.stat().st_size > 0 for path in tmp_path.rglob("run-*.wandb")] == [True]


def test_the_share_of_waiting_is_of_the_steps_since_the_last_line() -> None:
    clock = Clock("", 1)
    clock.begin()
    clock.trained(100, sized("tiny", 50), waited_s=0.0)
    first = clock.lately()
    clock.began -= 1.0  # as if the step had begun a second earlier
    clock.trained(300, sized("tiny", 50), waited_s=0.25)
    then = clock.lately()
    assert first["loader_share"] == 0.0
    assert then["loader_share"] == pytest.approx(0.25, abs=0.02)
    assert then["tokens_per_s"] == pytest.approx(300, rel=0.05)
    assert (then["mfu"], clock.mfu) == (None, None)


def test_mfu_of_a_card_that_is_not_known_is_unknown() -> None:
    assert mfu(1e6, sized("1B", 32768), "NVIDIA GeForce RTX 3090") is None
    assert mfu(1e6, sized("1B", 32768), "") is None
