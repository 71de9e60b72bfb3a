"""Pretraining by the optimal ratios, and by the natural ones for comparison."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from pipeline.artifact import Artifact
from pipeline.errors import StageError
from pipeline.stage import Context, Global, Result
from stages.training.mix import MIX_FILE
from stages.training.pretrain_options import PretrainConfig
from stages.training.sources import shards_of, source_fingerprints

if TYPE_CHECKING:
    from mixes.mix_file import MixFile


class Pretrain(Global[PretrainConfig]):
    """Train a decoder-only transformer on the token shards by the ratios of the mix; writes Hugging Face folders."""

    name = "pretrain"
    config_type = PretrainConfig
    accepts = ("tokens", "mix")
    produces: ClassVar[str] = "model"
    not_in_samples: ClassVar[str] = "its cost follows from the budget in the recipe"
    cpus: ClassVar[int] = 2
    gpus: ClassVar[float] = 1.0

    def run(self, inputs: Mapping[str, Sequence[Artifact]], out: Path, context: Context) -> Result:
        try:
            from stages.training.model_run import MENDABLE, check_measured_here, model_runs, train_model
        except ModuleNotFoundError as error:
            raise StageError(f"pretraining needs the package {error.name}: pip install {error.name}") from error
        from mixes.mix_file import MixFile
        from proxy_models.shards import open_tokens

        c, shards = self.config, inputs["tokens"][0]
        try:
            mix = MixFile.read(c.mix_file or inputs["mix"][0].files_folder / MIX_FILE)
            fingerprints = source_fingerprints(shards_of(inputs))
            check_measured_here(mix, fingerprints, "the mix")
            tokens = open_tokens(shards.files_folder)
            tokens.verify_digests()
            runs = model_runs(c, mix, tokens, fingerprints, context)
            models = {
                run.name: train_model(
                    run, c, mix, tokens, shards_of(inputs), out, context, _stretched(context.progress, i, len(runs))
                )
                for i, run in enumerate(runs)
            }
        except MENDABLE as error:
            raise StageError(f"pretraining stopped: {error}") from error
        mix_file = None if c.mix_file is None else c.mix_file.name
        return Result({"size": c.size, "weights": _weights(mix), "mix_file": mix_file, "models": models})


def _weights(mix: MixFile) -> dict[str, float]:
    """Of held-out text, which all models are measured on; equal where only answers count in the mix."""
    held_out = {name: metric.weight for name, metric in mix.evidence.metrics.items() if name.startswith("bpb.")}
    return held_out if any(held_out.values()) else dict.fromkeys(held_out, 1 / len(held_out))


def _stretched(progress: Callable[[int, int], None], i: int, of: int) -> Callable[[int, int], None]:
    return lambda done, total: progress(i * total + done, of * total)
