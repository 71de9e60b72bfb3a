"""Last step of dedup: take the duplicates out of the documents."""

from __future__ import annotations

from typing import ClassVar

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.stage import Context, Map, Outcome, StageConfig, Verdict, decide
from stages.dedup.clusters import DUPLICATES_FILE


class RemoveDuplicates(Map[StageConfig]):
    """Drop each document that lost to another one, naming the winner."""

    name = "dedup_remove"
    requires = ("id",)
    commits_output: ClassVar[bool] = True

    def setup(self, context: Context) -> None:
        rows = pq.read_table(context.side["duplicates"] / DUPLICATES_FILE).to_pylist()
        self._duplicates = {row["id"]: row for row in rows}

    def process(self, batch: pa.Table) -> Outcome:
        return decide(batch, [self._verdict(document_id) for document_id in batch.column("id").to_pylist()])

    def _verdict(self, document_id: str) -> tuple[Verdict, str, str] | None:
        row = self._duplicates.get(document_id)
        if row is None:
            return None
        return "dropped", row["reason"], f"similarity {row['similarity']:.3f} to {row['winner']}"
