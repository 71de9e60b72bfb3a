"""Training proxies as tasks: the runs of a round are cut into stacks, and each stack is a task that may have a GPU."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar, TypeVar

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.artifact import Artifact, Phase
from pipeline.errors import StageError
from pipeline.stage import Context, Result, Shuffle, Task
from stages.training.options import LimitOptions, ProxyOptions
from stages.training.sources import train_tokens

RUNS_FILE = "runs.parquet"


class ProxyTrainingOptions(ProxyOptions, LimitOptions):
    """Options of every stage that trains proxies."""


C = TypeVar("C", bound=ProxyTrainingOptions)


class ProxyTraining(Shuffle[C]):
    """Part of a stage that trains proxies.

    Finished runs are kept among the artifact's dear results under a digest of all that decides them, so that another
    plan of the same stage (more runs, other weights, smaller stacks) trains only what is new.
    """

    cpus: ClassVar[int] = 2
    gpus: float = 1.0
    tells_steps: ClassVar[bool] = True

    def stacks(
        self, phase: str, tokens: Artifact, runs: Sequence[Mapping[str, Any]], size: str, steps: int
    ) -> list[Task]:
        """The tasks that train these runs (fields of proxy_models.swarm.Run)."""
        groups = [runs[i : i + self.config.stack] for i in range(0, len(runs), self.config.stack)]
        target_tokens = self.config.target.tokens or sum(train_tokens(tokens.summary["sources"]).values())
        return [
            Task(
                phase,
                f"stack {i + 1} of {len(groups)}",
                (tokens.digest,),
                {"tokens": (tokens.committed_folder,)},
                {
                    "runs": [dict(run) for run in group],
                    "size": size,
                    "steps": steps,
                    "target_tokens": target_tokens,
                },
            )
            for i, group in enumerate(groups)
        ]

    def train(self, task: Task, out: Path, context: Context) -> Result:
        """Train the runs of a task; their rows become RUNS_FILE, with the mixtures as they were asked for."""
        from proxy_models.checkpoints import CheckpointError
        from proxy_models.evaluation import AnswerSetError, read_answer_set
        from proxy_models.loader import MixtureError, matched_cut
        from proxy_models.model import sized
        from proxy_models.optimization import learning_rate_of
        from proxy_models.shards import ShardError, open_tokens
        from proxy_models.swarm import Run, SwarmConfig, train_swarm
        from proxy_models.vocabulary import cut_tokens, token_growth

        assert context.answers is not None
        c, size, steps = self.config, str(task.arguments["size"]), int(task.arguments["steps"])
        planned = task.arguments["runs"]
        try:
            tokens = all_tokens = open_tokens(task.files["tokens"][0])
            if c.vocabulary is not None:
                tokens = cut_tokens(all_tokens, c.vocabulary, context.work / "tokens")
            model = sized(size, tokens.vocabulary)
            # So much longer is a source in tokens of the small vocabulary; its share of a mixture grows alike.
            growth = token_growth(all_tokens, tokens)
            natural = np.array([all_tokens.train(source).tokens for source in all_tokens.sources], float)
            target_tokens = float(task.arguments["target_tokens"]) * float(natural @ growth) / natural.sum()
            sequences = [tokens.train(source).sequence_count(model.context) for source in tokens.sources]
            cut = matched_cut(tokens.sources, sequences, steps * c.batch * model.context / target_tokens)
            swarm = SwarmConfig(
                model=model,
                size=size,
                steps=steps,
                batch=c.batch,
                learning_rate=learning_rate_of(c.learning_rate, size),
                stack=c.stack,
                method=c.method,
                evaluation_sequences=c.evaluation_sequences,
                max_sequences=cut.sequences,
                threads=context.cpus,
                checkpoint_every_s=c.checkpoint_every_s,
            )
            sets = [
                replace(read_answer_set(path, tokens, model.context), name=name)
                for name, path in sorted(c.answer_sets.items())
            ]
            runs = [Run(**{**run, "mixture": _shares(np.array(run["mixture"]) * growth)}) for run in planned]
            notes = [
                *cut.notes,
                *(_cut_prompts(answers.name, answers.shortened) for answers in sets if answers.shortened),
            ]
            rows = train_swarm(tokens, swarm, runs, context.answers / "proxies", context.progress, sets, notes.append)
        except (ShardError, MixtureError, AnswerSetError, CheckpointError, ValueError) as error:
            raise StageError(f"the proxies cannot be trained: {error}") from error
        for row in rows:
            drawn = np.array([row[f"mixture.{source}"] for source in tokens.sources]) / growth
            row.update(zip([f"mixture.{source}" for source in tokens.sources], _shares(drawn), strict=True))
        pq.write_table(pa.Table.from_pylist(rows), out / RUNS_FILE, compression="zstd")
        return Result(
            {
                "runs": len(rows),
                "diverged": sum(bool(r["diverged"]) for r in rows),
                "notes": [f"proxies of size {size}: {note}" for note in notes],
            }
        )


def notes_of(phases: Sequence[Phase]) -> list[str]:
    """What the tasks of these phases tell of the proxies that they have trained, each thing once."""
    return sorted({note for phase in phases for part in phase.parts for note in part.summary.get("notes", ())})


def _cut_prompts(answers: str, shortened: int) -> str:
    return f"answer set {answers}: {shortened} prompts are longer than the context, and lost their beginning"


def _shares(amounts: npt.NDArray[np.float64]) -> tuple[float, ...]:
    return tuple((amounts / amounts.sum()).tolist())
