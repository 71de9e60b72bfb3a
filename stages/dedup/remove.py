"""Last step of dedup: take the duplicates out of the documents."""

from __future__ import annotations

from typing import ClassVar

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pipeline.stage import Context, Map, Outcome, StageConfig, Verdict, removals

DUPLICATES_FILE = "duplicates.parquet"
"""In the slice of each part of the documents: those that go."""
COLUMNS = ["id", "reason", "winner", "winner_indexed", "similarity"]


class RemoveDuplicates(Map[StageConfig]):
    """Drop each document that lost to another one, naming the winner."""

    name = "dedup_remove"
    version = 2
    requires = ("id",)
    commits_output: ClassVar[bool] = True

    def setup(self, context: Context) -> None:
        path = context.side["duplicates"] / DUPLICATES_FILE
        self._duplicates = pq.read_table(path, columns=COLUMNS).combine_chunks()

    def process(self, batch: pa.Table) -> Outcome:
        places = pc.index_in(batch["id"], value_set=self._duplicates["id"].combine_chunks())
        gone = self._duplicates.take(places.drop_null()).to_pylist()
        endings: list[tuple[Verdict, str, str]] = [("dropped", row["reason"], _evidence(row)) for row in gone]
        which = [i for i, place in enumerate(places.to_pylist()) if place is not None]
        return Outcome(batch.filter(places.is_null()), removals(batch, which, endings))


def _evidence(row: dict[str, object]) -> str:
    similarity = "" if row["similarity"] is None else f"similarity {row['similarity']:.3f} "
    return f"{similarity}to {row['winner']}{' (in the index)' if row['winner_indexed'] else ''}"
