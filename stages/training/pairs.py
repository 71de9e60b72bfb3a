"""The same mixtures at a second size of proxies: how much of what the small ones say holds for larger ones."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import Field

from pipeline.artifact import Artifact, Phase
from pipeline.errors import StageError
from pipeline.stage import Context, Result, Task
from stages.training.options import SizeOptions
from stages.training.proxies import RUNS_FILE, ProxyTraining, ProxyTrainingOptions, notes_of

PAIRS_FILE = "pairs.parquet"


class PairedSwarmConfig(SizeOptions, ProxyTrainingOptions):
    """How many mixtures are trained again at which size."""

    pairs: int = Field(16, ge=4)
    """Mixtures of the swarm that are trained again, far from one another."""


class PairedSwarm(ProxyTraining[PairedSwarmConfig]):
    """Train mixtures of a swarm again at a second size, with everything else equal."""

    name = "paired_swarm"
    config_type = PairedSwarmConfig
    accepts = ("tokens", "runs")
    produces: ClassVar[str] = "pairs"
    not_in_samples: ClassVar[str] = "its cost follows from the budget in the recipe"

    def plan(self, inputs: Mapping[str, Sequence[Artifact]], phases: Sequence[Phase]) -> list[Task]:
        c, (tokens,), (swarm,) = self.config, inputs["tokens"], inputs["runs"]
        if not phases:
            files = {"rows": tuple(swarm.file_paths(RUNS_FILE))}
            base = swarm.summary["parameters"]["trunk"]
            return [Task("choose", "choose", (tokens.digest, swarm.digest), files, {"base": base})]
        if phases[-1].name == "choose":
            return self.stacks("train", tokens, phases[-1].parts[0].summary["runs"], c.size, c.steps)
        if phases[-1].name == "train":
            content = tuple(phase.digest for phase in phases)
            files = {"rows": phases[-1].paths(RUNS_FILE)}
            return [Task("table", "table", content, files, {"notes": notes_of(phases)}, is_kept=True)]
        return []

    def work(self, task: Task, out: Path, context: Context) -> Result:
        if task.phase == "train":
            return self.train(task, out, context)
        rows = [row for path in task.files["rows"] for row in pq.read_table(path).to_pylist()]
        if task.phase == "choose":
            self._check_sizes(task.arguments["base"])
            return Result({"runs": self._chosen(rows)})
        pq.write_table(pa.Table.from_pylist(rows), out / PAIRS_FILE, compression="zstd")
        return Result(
            {
                "runs": len(rows),
                "diverged": sum(bool(row["diverged"]) for row in rows),
                "size": self.config.size,
                "steps": self.config.steps,
                "tokens_per_proxy": max(row["tokens"] for row in rows),
                "parameters": {name: rows[0][f"{name}_parameters"] for name in ("trunk", "embedding", "head")},
                "notes": task.arguments["notes"],
            }
        )

    def _check_sizes(self, base: int) -> None:
        """Slopes need base (the swarm's trunk parameters) < second size <= target: known before training."""
        from mixes.transfer import Sizes
        from proxy_models.model import parameter_counts, sized

        second = parameter_counts(sized(self.config.size, 1)).trunk
        try:
            Sizes(base, second, self.config.target.parameters or second)
        except ValueError as error:
            raise StageError(f"the two sizes of proxies cannot be compared: {error}") from error

    def _chosen(self, rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
        """Runs of the swarm, one of each mixture, as far apart as they come: the same mixtures with the same seeds."""
        from mixes.design import farthest

        finished = [row for row in rows if not row["diverged"] and row["purpose"] != "repeat"]
        if len(finished) < 4:
            raise StageError(f"only {len(finished)} proxies came to their end: too few for pairs of sizes")
        sources = [name for name in finished[0] if name.startswith("mixture.")]
        mixtures = np.array([[row[name] for name in sources] for row in finished])
        return [
            {
                "id": finished[i]["run"],
                "mixture": mixtures[i].tolist(),
                "seed": finished[i]["seed"],
                "learning_rate": None,
                "purpose": "pair",
                "round": 0,
            }
            for i in farthest(mixtures, min(self.config.pairs, len(finished)))
        ]
