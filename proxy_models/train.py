"""Pretraining without the pipeline, on one device or many:

    python -m proxy_models.train run.json
    torchrun --nproc-per-node 8 -m proxy_models.train run.json
    python -m proxy_models.ray_train --workers 8 run.json

run.json: {"tokens": folder, "work": folder, "model": {"size": "1B", ...}, "phases": [{"mixture": {...}, ...}], ...}
with the fields of PretrainConfig and TrainingPhase by their names; paths are relative to the file. Also: "export", a
folder to write the model to in Hugging Face's format; "start", initial weights; "evaluation_sets", files of prompts
and answers; "optimizer": {"kind": "adamw" or "muon", ...}.
"""

import dataclasses
import json
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch.distributed as dist

from proxy_models.checkpoints import CheckpointError
from proxy_models.device import device_of
from proxy_models.distributed import join_ranks, ranks
from proxy_models.evaluation import AnswerSetError, read_answer_set
from proxy_models.export import export_huggingface
from proxy_models.loader import MixtureError
from proxy_models.model import SIZES, sized
from proxy_models.muon import Muon
from proxy_models.optimization import AdamW, Schedule, learning_rate_of
from proxy_models.plan import TrainingPhase, shortest_context
from proxy_models.pretrain import DivergenceError, PretrainConfig, PretrainResult, pretrain
from proxy_models.shards import ShardError, open_tokens
from proxy_models.spikes import SpikeRule

OWN_FIELDS = ("tokens", "work", "phases", "export", "start", "evaluation_sets")
OPTIMIZERS = {"adamw": AdamW, "muon": Muon}
# What a person can mend, by their messages alone.
MENDABLE = (AnswerSetError, CheckpointError, DivergenceError, MixtureError, ShardError, ValueError, ModuleNotFoundError)


def train(settings: Mapping[str, Any], folder: Path) -> PretrainResult:
    """Train what run.json says, its paths relative to `folder`. What torchrun and Ray Train run on each rank.

    Raises ValueError for a setting that there is not, ShardError for tokens that are not those of their manifest, and
    what pretrain raises.
    """
    if missing := [name for name in ("tokens", "work", "phases", "model", "steps", "batch") if name not in settings]:
        raise ValueError(f"no {', '.join(missing)} in the settings")
    tokens = open_tokens(folder / settings["tokens"])
    config = _config({name: value for name, value in settings.items() if name not in OWN_FIELDS}, tokens.vocabulary)
    phases = [_made(TrainingPhase, phase, f"phase {number}") for number, phase in enumerate(settings["phases"], 1)]
    context = shortest_context(phases, config.model)
    sets = [read_answer_set(folder / path, tokens, context) for path in settings.get("evaluation_sets", ())]
    if os.environ.get("LOCAL_RANK", "0") == "0":  # once on each machine, which may have files of its own
        tokens.verify_digests()
    join_ranks(device_of(config.device))
    if ranks().count > 1:
        dist.barrier()
    is_first = ranks().rank == 0
    result = pretrain(
        tokens,
        config,
        phases,
        folder / settings["work"],
        _print_progress if is_first else lambda done, steps: None,
        evaluation_sets=sets,
        start=folder / settings["start"] if "start" in settings else None,
    )
    if is_first and "export" in settings:
        model = result.model
        export_huggingface(model, model.config, tokens, folder / settings["export"], _card(settings, result))
    return result


def _config(settings: dict[str, Any], vocabulary: int) -> PretrainConfig:
    model = dict(settings["model"])
    size = model.pop("size", None)
    if size not in SIZES:
        raise ValueError(f"model: give a size, one of {', '.join(SIZES)}, not {size!r}")
    try:
        settings["model"] = dataclasses.replace(sized(size, vocabulary), **model)
    except TypeError as error:
        raise ValueError(f"model: {error}") from error
    settings["learning_rate"] = learning_rate_of(settings.get("learning_rate", "standard"), size)
    if "optimizer" in settings:
        entries = dict(settings["optimizer"])
        kind = entries.pop("kind", "adamw")
        if kind not in OPTIMIZERS:
            raise ValueError(f"no optimizer {kind!r}; there are {', '.join(OPTIMIZERS)}")
        if "adamw" in entries:
            entries["adamw"] = _made(AdamW, entries["adamw"], "optimizer.adamw")
        settings["optimizer"] = _made(OPTIMIZERS[kind], entries, "optimizer")
    for name, kind in (("schedule", Schedule), ("spikes", SpikeRule)):
        if settings.get(name) is not None:
            settings[name] = _made(kind, settings[name], name)
    return _made(PretrainConfig, settings, "settings")


def _made(kind: type[Any], entries: Mapping[str, Any], where: str) -> Any:
    """A dataclass of these entries. Raises ValueError for one that it does not have, or lacks."""
    fields = {field.name: field for field in dataclasses.fields(kind)}
    if unknown := sorted(set(entries) - set(fields)):
        raise ValueError(f"{where}: no {', '.join(unknown)}; there are {', '.join(fields)}")
    try:
        return kind(**{name: tuple(value) if isinstance(value, list) else value for name, value in entries.items()})
    except TypeError as error:
        raise ValueError(f"{where}: {error}") from error


def _card(settings: Mapping[str, Any], result: PretrainResult) -> str:
    end = "\n".join(f"- {name}: {value:.4f}" for name, value in result.evaluations[-1].items() if name != "step")
    return (
        "---\nlibrary_name: transformers\npipeline_tag: text-generation\n---\n\n"
        "# A model trained from a settings file\n\n"
        f"{result.tokens:,} tokens in {result.steps:,} steps.\n\n## Bits per byte\n\n{end}\n\n## Settings\n\n"
        f"```json\n{json.dumps(dict(settings), indent=2)}\n```\n"
    )


def _print_progress(done: int, steps: int) -> None:
    if done == steps or done % 10 == 0:
        print(f"step {done} of {steps}", file=sys.stderr, flush=True)


def summary(result: PretrainResult) -> dict[str, Any]:
    """What is told of a run that has come to its end."""
    return {
        "steps": result.steps,
        "tokens": result.tokens,
        "tokens_per_s": result.tokens_per_s,
        "mfu": result.mfu,
        "loader_share": result.loader_share,
        "evaluation": result.evaluations[-1] if result.evaluations else None,
        "messages": result.messages,
    }


def main(arguments: list[str]) -> None:
    if len(arguments) != 1:
        raise SystemExit(__doc__)
    path = Path(arguments[0])
    try:
        result = train(json.loads(path.read_text()), path.resolve().parent)
    except MENDABLE as error:
        raise SystemExit(f"{path}: {error}") from error
    if ranks().rank == 0:
        print(json.dumps(summary(result)))
    if dist.is_initialized():
        dist.barrier()  # a rank that goes first may take down what another still talks to
        dist.destroy_process_group()


if __name__ == "__main__":
    main(sys.argv[1:])
