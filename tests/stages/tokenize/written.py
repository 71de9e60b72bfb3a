"""Stages around the shards: one says of two documents that they were written from others, one stands for training."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import ClassVar

import pyarrow as pa

from pipeline.artifact import Artifact
from pipeline.stage import Context, Global, Map, Outcome, Result, StageConfig, with_columns


class Written(Map[StageConfig]):
    """Documents 4 and 5 of a batch were written from those before them: 5 from 4, and 4 from 3."""

    name = "written"
    provides = ("parent",)

    def process(self, batch: pa.Table) -> Outcome:
        ids = batch["id"].to_pylist()
        parents = [ids[i - 1] if i in (4, 5) else None for i in range(len(ids))]
        return Outcome(with_columns(batch, {"parent": pa.array(parents, pa.string())}))


class Trained(Global[StageConfig]):
    """Stands for a model: writes how many tokens it saw."""

    name = "trained"
    accepts = ("tokens",)
    produces: ClassVar[str] = "model"

    def run(self, inputs: Mapping[str, Sequence[Artifact]], out: Path, context: Context) -> Result:
        tokens = {name: splits["train"]["tokens"] for name, splits in inputs["tokens"][0].summary["sources"].items()}
        (out / "model.json").write_text(json.dumps(tokens))
        return Result({"tokens": tokens})
