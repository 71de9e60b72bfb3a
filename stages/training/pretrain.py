"""Pretraining by the optimal ratios, and by the natural ones for comparison."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import Field

from pipeline.artifact import Artifact
from pipeline.errors import StageError
from pipeline.stage import Context, Global, Result, StageConfig
from stages.training.mix import MIX_FILE
from stages.training.model_card import model_card
from stages.training.sources import Size, shards_of, source_fingerprints

if TYPE_CHECKING:
    from mixes.mix_file import MixFile
    from proxy_models.pretrain import PretrainResult

CURVE_POINTS = 200


class PretrainConfig(StageConfig):
    """The model and its training; the number of tokens is the mix file's target."""

    size: Size = "demo"
    """Named size of the model."""
    batch: int = Field(16, ge=1)
    """Sequences per step."""
    learning_rate: float = Field(3e-3, gt=0)
    """Peak learning rate (AdamW, warmup-stable-decay)."""
    evaluations: int = Field(10, ge=1)
    """How often the held-out documents are evaluated during training."""
    checkpoint_every_s: float = Field(20.0, gt=0)
    """Seconds between checkpoints; a killed run goes on from the last one."""
    compare_natural: bool = True
    """Train a second model on the sources in proportion to their tokens, with everything else equal."""

    not_identity: ClassVar[frozenset[str]] = frozenset({"checkpoint_every_s"})


class Pretrain(Global[PretrainConfig]):
    """Train a decoder-only transformer on the token shards by the ratios of the mix; writes Hugging Face folders."""

    name = "pretrain"
    config_type = PretrainConfig
    accepts = ("tokens", "mix")
    produces: ClassVar[str] = "model"
    cpus: ClassVar[int] = 2

    def run(self, inputs: Mapping[str, Sequence[Artifact]], out: Path, context: Context) -> Result:
        from mixes.mix_file import MixFile, MixFileError, check_sources
        from proxy_models.checkpoints import CheckpointError
        from proxy_models.loader import MixtureError
        from proxy_models.pretrain import DivergenceError
        from proxy_models.shards import ShardError

        try:
            mix = MixFile.read(inputs["mix"][0].files_folder / MIX_FILE)
            if changed := check_sources(mix, source_fingerprints(shards_of(inputs))):
                raise StageError(
                    f"the mix was measured on other data than these shards hold, for {', '.join(changed)}: fit it again"
                )
            mixtures = {"optimal": mix.ratios}
            if self.config.compare_natural:
                mixtures["natural"] = {name: share.natural_ratio for name, share in mix.sources.items()}
            models = {}
            for i, (name, mixture) in enumerate(mixtures.items()):
                progress = _stretched(context.progress, i, len(mixtures))
                models[name] = self._train(name, mixture, mix, inputs["tokens"][0], out, context, progress)
        except (MixFileError, MixtureError, ShardError, CheckpointError, DivergenceError, ValueError) as error:
            raise StageError(f"pretraining stopped: {error}") from error
        return Result({"size": self.config.size, "weights": _weights(mix), "models": models})

    def _train(
        self,
        name: str,
        mixture: Mapping[str, float],
        mix: MixFile,
        shards: Artifact,
        out: Path,
        context: Context,
        progress: Callable[[int, int], None],
    ) -> dict[str, Any]:
        from proxy_models.export import export_huggingface
        from proxy_models.model import parameter_counts, sized
        from proxy_models.pretrain import PretrainConfig as LoopConfig
        from proxy_models.pretrain import pretrain
        from proxy_models.shards import open_tokens

        c = self.config
        tokens = open_tokens(shards.files_folder)
        tokens.verify_digests()
        model = sized(c.size, tokens.vocabulary)
        steps = mix.target_tokens // (c.batch * model.context)
        if steps < 1:
            raise StageError(
                f"the target of {mix.target_tokens} tokens is less than one batch of {c.batch} x {model.context} tokens"
            )
        loop = LoopConfig(
            model=model,
            steps=steps,
            batch=c.batch,
            seed=context.seed,
            learning_rate=c.learning_rate,
            evaluate_every=max(1, steps // c.evaluations),
            threads=context.cpus,
            checkpoint_every_s=c.checkpoint_every_s,
        )
        result = pretrain(tokens, loop, mixture, context.work / name, progress)
        parameters = parameter_counts(model)
        training = {
            "size": c.size,
            "parameters, without embedding and head": f"{parameters.trunk:,}",
            "parameters of embedding and head": f"{parameters.embedding + parameters.head:,}",
            "steps": result.steps,
            "tokens": result.tokens,
            "sequences a step": c.batch,
            "tokens a sequence": model.context,
            "peak learning rate": c.learning_rate,
            "seed": context.seed,
            "tokens' fingerprint": tokens.fingerprint,
        }
        end = {metric: value for metric, value in result.evaluations[-1].items() if metric != "step"}
        title = f"{c.size}, {name} mix"
        card = model_card(title, mixture, mix, shards.summary["sources"], training, end)
        export_huggingface(result.model, model, tokens, out / name, card)
        return {
            "ratios": dict(mixture),
            "parameters": parameters._asdict(),
            "steps": result.steps,
            "tokens": result.tokens,
            "evaluations": result.evaluations,
            "losses": _thinned(result),
            "messages": result.messages,
        }


def _weights(mix: MixFile) -> dict[str, float]:
    """Of held-out text, which is all that pretraining measures; equal where only answers count in the mix."""
    held_out = {name: metric.weight for name, metric in mix.evidence.metrics.items() if name.startswith("bpb.")}
    return held_out if any(held_out.values()) else dict.fromkeys(held_out, 1 / len(held_out))


def _stretched(progress: Callable[[int, int], None], i: int, of: int) -> Callable[[int, int], None]:
    return lambda done, total: progress(i * total + done, of * total)


def _thinned(result: PretrainResult) -> list[list[float]]:
    """About CURVE_POINTS points [step, mean training loss since the last point] of the loss curve."""
    width = max(1, len(result.losses) // CURVE_POINTS)
    chunks = [result.losses[i : i + width] for i in range(0, len(result.losses), width)]
    return [[i * width, sum(chunk) / len(chunk)] for i, chunk in enumerate(chunks)]
