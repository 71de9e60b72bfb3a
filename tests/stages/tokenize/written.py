"""A stage that says of two documents that they were written from others."""

import pyarrow as pa

from pipeline.stage import Map, Outcome, StageConfig, with_columns


class Written(Map[StageConfig]):
    """Documents 4 and 5 of a batch were written from those before them: 5 from 4, and 4 from 3."""

    name = "written"
    provides = ("parent",)

    def process(self, batch: pa.Table) -> Outcome:
        ids = batch["id"].to_pylist()
        parents = [ids[i - 1] if i in (4, 5) else None for i in range(len(ids))]
        return Outcome(with_columns(batch, {"parent": pa.array(parents, pa.string())}))
