"""Training a swarm of proxy models, each on its own mixture of the sources."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import ClassVar

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import Field

from pipeline.artifact import Artifact
from pipeline.errors import StageError
from pipeline.stage import Context, Global, Result, StageConfig
from stages.training.sources import Size, shards_of, train_tokens

RUNS_FILE = "runs.parquet"
REPEATS = 3  # further runs of the natural mixture, under other seeds


class Target(StageConfig):
    """The training that the mixture is for."""

    tokens: int | None = Field(None, gt=0)
    """Tokens that the big run will see; all training tokens once if absent."""
    max_epochs: float = Field(4.0, gt=0)
    """How often the big run may see a token of one source (Muennighoff et al. 2023: up to 4 epochs cost little)."""


class ProxySwarmConfig(StageConfig):
    """How many proxies, how large, how long."""

    runs: int = Field(40, ge=8)
    """Mixtures to train, the natural one and its repeats included."""
    size: Size = "demo"
    """Named size of the proxies."""
    steps: int = Field(400, ge=8)
    """Optimizer steps of each proxy."""
    batch: int = Field(4, ge=1)
    """Sequences per proxy and step."""
    learning_rate: float = Field(3e-3, gt=0)
    """Peak learning rate (AdamW, warmup-stable-decay)."""
    stack: int = Field(64, ge=1)
    """Proxies trained at once as one stacked model; more runs than this make several stacks."""
    evaluation_sequences: int = Field(128, ge=1)
    """Held-out sequences per source."""
    checkpoint_every_s: float = Field(20.0, gt=0)
    """Seconds between checkpoints; a killed swarm goes on from the last one."""
    target: Target = Target()
    """The training that the mixture is for; proxies repeat each source as often as it would."""

    not_identity: ClassVar[frozenset[str]] = frozenset({"checkpoint_every_s"})


class ProxySwarm(Global[ProxySwarmConfig]):
    """Train proxy models on designed mixtures and measure bits per byte on held-out documents of each source."""

    name = "proxy_swarm"
    config_type = ProxySwarmConfig
    accepts = ("tokens",)
    produces: ClassVar[str] = "runs"
    cpus: ClassVar[int] = 2

    def run(self, inputs: Mapping[str, Sequence[Artifact]], out: Path, context: Context) -> Result:
        from mixes.design import InfeasibleCapsError, design
        from mixes.optimum import ratio_caps
        from proxy_models.loader import MixtureError
        from proxy_models.model import sized
        from proxy_models.shards import ShardError, open_tokens
        from proxy_models.swarm import SwarmConfig, train_swarm

        c = self.config
        available = train_tokens(shards_of(inputs))
        if len(available) < 2:
            raise StageError(f"a mixture needs at least two sources; the tokens have only {', '.join(available)}")
        unique = np.array(list(available.values()), float)
        target_tokens = c.target.tokens or int(unique.sum())
        try:
            tokens = open_tokens(inputs["tokens"][0].files_folder)
            model = sized(c.size, tokens.vocabulary)
            caps = ratio_caps(unique, target_tokens, c.target.max_epochs)
            mixtures = design(unique / unique.sum(), c.runs, context.seed, caps, natural_repeats=REPEATS)
            proxy_tokens = c.steps * c.batch * model.context
            sequences = [tokens.train(source).sequence_count(model.context) for source in available]
            matched = tuple(max(1, min(n, round(n * proxy_tokens / target_tokens))) for n in sequences)
            swarm = SwarmConfig(
                model=model,
                steps=c.steps,
                batch=c.batch,
                learning_rate=c.learning_rate,
                stack=c.stack,
                evaluation_sequences=c.evaluation_sequences,
                max_sequences=matched,
                threads=context.cpus,
                checkpoint_every_s=c.checkpoint_every_s,
            )
            seeds = np.full(c.runs, context.seed)  # one for all: what two mixtures differ in is then the mixture
            seeds[-REPEATS:] += 1 + np.arange(REPEATS)  # but not for the repeats, which measure the noise of a run
            rows = train_swarm(tokens, swarm, mixtures, seeds, context.work, context.progress)
        except (ShardError, MixtureError, InfeasibleCapsError, ValueError) as error:
            raise StageError(f"the proxies cannot be trained: {error}") from error
        pq.write_table(pa.Table.from_pylist(rows), out / RUNS_FILE, compression="zstd")
        summary = {
            "sources": list(available),
            "runs": len(rows),
            "diverged": sum(bool(row["diverged"]) for row in rows),
            "target_tokens": target_tokens,
            "tokens_per_proxy": proxy_tokens,
            "parameters": {name: rows[0][f"{name}_parameters"] for name in ("trunk", "embedding", "head")},
        }
        return Result(summary)
