"""A stage whose cost does not follow from its input."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import ClassVar

from pipeline.artifact import Artifact
from pipeline.stage import Context, Global, Result, StageConfig


class ByBudget(Global[StageConfig]):
    """Stands for training."""

    name = "by_budget"
    produces: ClassVar[str] = "model"
    not_in_samples: ClassVar[str] = "its cost follows from a budget"

    def run(self, inputs: Mapping[str, Sequence[Artifact]], out: Path, context: Context) -> Result:
        raise AssertionError("run on a sample")
