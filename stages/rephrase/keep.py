"""Last step of rephrasing: take out what only the sight of all documents together could tell."""

from __future__ import annotations

import json
from typing import ClassVar

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.stage import Context, Map, Outcome, StageConfig, Verdict, decide
from stages.dedup.remove import COLUMNS, DUPLICATES_FILE
from stages.rephrase.choice import draw_of
from stages.rephrase.monitor import MONITOR_FILE, bin_of


class RephraseKeep(Map[StageConfig]):
    """Drop rephrased documents that are near-duplicates of another one, or over the synthetic share of their source.

    Which of a source are over its share follows from the draw of their parents, by which these were chosen: all that
    was written from one document stays or goes.
    """

    name = "rephrase_keep"
    requires = ("text", "rephrase.parent_source")
    commits_output: ClassVar[bool] = True

    def setup(self, context: Context) -> None:
        self._seed = context.seed
        self._sources = json.loads((context.side["monitor"] / MONITOR_FILE).read_bytes())["sources"]
        duplicates = pq.read_table(context.side["duplicates"] / DUPLICATES_FILE, columns=COLUMNS).to_pylist()
        self._winners = {row["id"]: (row["winner"], row["similarity"]) for row in duplicates}

    def process(self, batch: pa.Table) -> Outcome:
        """
        Raises:
            KeyError: a source that the monitor has not seen.
        """
        columns = (batch[name].to_pylist() for name in ("id", "parent", "rephrase.parent_source"))
        return decide(batch, [self._verdict(*row) for row in zip(*columns, strict=True)])

    def _verdict(self, document_id: str, parent: str, source_name: str) -> tuple[Verdict, str, str] | None:
        if document_id in self._winners:
            winner, similarity = self._winners[document_id]
            said = "" if similarity is None else f"similarity {similarity:.3f} "
            return "dropped", "duplicate_output", f"{said}to {winner}"
        source = self._sources[source_name]
        if bin_of(draw_of(parent, self._seed), source["planned_share"]) < source["kept_bins"]:
            return None
        room = f"{source['most_bytes']:,} of {source['synthetic_bytes']:,} bytes"
        return "dropped", "over_share", f"the synthetic share of {source_name} has room for {room}"
