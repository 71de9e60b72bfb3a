"""Pretraining by Ray Train: each of its workers is a rank of proxy_models.train.

    python -m proxy_models.ray_train --workers 8 run.json
    python -m proxy_models.ray_train --workers 8 --address auto --max-failures 3 run.json

run.json is that of proxy_models.train. Its folders must be at the same path on all machines of the cluster. A worker
gets a GPU if the cluster has any; after a failure all start again and go on from the last checkpoint.
"""

import argparse
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from proxy_models.distributed import ranks
from proxy_models.train import MENDABLE, summary, train

SUMMARY = "summary.json"
NO_RAY_TRAIN = "training by Ray Train needs its packages: pip install 'ray[train]'"


def train_on_ray(
    settings: Mapping[str, Any],
    folder: Path,
    workers: int,
    is_on_gpus: bool | None = None,
    max_failures: int = 0,
    cpus: int = 1,
) -> dict[str, Any]:
    """Train what run.json says, on so many workers of the Ray cluster that this process is connected to. The first
    rank's summary.

    folder: that the settings' paths are relative to, on every machine. is_on_gpus: None for where there are any.
    cpus: for each worker. Raises ModuleNotFoundError without Ray Train, and what Ray Train raises for workers that
    failed.
    """
    try:
        import ray
        from ray.train import FailureConfig, RunConfig, ScalingConfig
        from ray.train.torch import TorchTrainer
    except ImportError as error:
        raise ModuleNotFoundError(NO_RAY_TRAIN) from error
    if is_on_gpus is None:
        is_on_gpus = ray.cluster_resources().get("GPU", 0) > 0
    work = (folder / settings["work"]).resolve()
    device = {"device": "cuda" if is_on_gpus else "cpu"} if settings.get("device", "auto") == "auto" else {}
    trainer = TorchTrainer(
        _rank,
        train_loop_config={"settings": {**settings, **device}, "folder": str(folder.resolve())},
        scaling_config=ScalingConfig(num_workers=workers, use_gpu=is_on_gpus, resources_per_worker={"CPU": cpus}),
        run_config=RunConfig(
            name="ray", storage_path=str(work), failure_config=FailureConfig(max_failures=max_failures)
        ),
    )
    (work / SUMMARY).unlink(missing_ok=True)
    trainer.fit()
    told: dict[str, Any] = json.loads((work / SUMMARY).read_text())
    return told


def _rank(config: Mapping[str, Any]) -> None:
    """What each worker does; its process group is there already."""
    settings, folder = config["settings"], Path(config["folder"])
    result = train(settings, folder)
    if ranks().rank == 0:  # Ray Train's own reports need a checkpoint in Ray's format to be kept
        (folder / settings["work"] / SUMMARY).write_text(json.dumps(summary(result)))


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, help="run.json")
    parser.add_argument("--workers", type=int, required=True)
    parser.add_argument("--cpus", type=int, default=1, help="cores for each worker")
    parser.add_argument("--address", help="of a cluster; without it, Ray starts on this machine")
    parser.add_argument("--max-failures", type=int, default=0)
    given = parser.parse_args(arguments)
    try:
        import ray
        from ray.train import TrainingFailedError
    except ImportError as error:
        raise SystemExit(NO_RAY_TRAIN) from error
    try:
        settings = json.loads(given.run.read_text())
        ray.init(given.address)
        told = train_on_ray(
            settings, given.run.resolve().parent, given.workers, max_failures=given.max_failures, cpus=given.cpus
        )
    except (*MENDABLE, TrainingFailedError) as error:
        raise SystemExit(f"{given.run}: {error}") from error
    print(json.dumps(told))


if __name__ == "__main__":
    main()
