"""Last step of semantic dedup: take the duplicates out of the documents."""

from __future__ import annotations

from typing import Any, ClassVar

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.stage import Context, Map, Outcome, StageConfig, Verdict, decide
from stages.dedup.semantic.tasks import DUPLICATES_FILE


class RemoveSemanticDuplicates(Map[StageConfig]):
    """Drop each document that lost to another one, naming the winner; fail those with unusable embeddings."""

    name = "dedup_semantic_remove"
    requires = ("id",)
    commits_output: ClassVar[bool] = True

    def setup(self, context: Context) -> None:
        rows = pq.read_table(context.side["duplicates"] / DUPLICATES_FILE).to_pylist()
        self._verdicts = {row["id"]: _verdict(row) for row in rows}

    def process(self, batch: pa.Table) -> Outcome:
        return decide(batch, list(map(self._verdicts.get, batch.column("id").to_pylist())))


def _verdict(row: dict[str, Any]) -> tuple[Verdict, str, str]:
    if row["winner"] is None:
        return "failed", row["reason"], row["evidence"]
    return "dropped", row["reason"], f"similarity {row['similarity']:.3f} to {row['winner']}"
