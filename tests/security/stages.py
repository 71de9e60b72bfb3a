"""Stages that only these tests use."""

import pyarrow as pa

from pipeline.stage import Map, Outcome, StageConfig


class RaisesConfig(StageConfig):
    message: str


class Raises(Map[RaisesConfig]):
    """Fails with a message, as a library does that names what it was asked for."""

    name = "raises"
    config_type = RaisesConfig

    def process(self, batch: pa.Table) -> Outcome:
        raise ZeroDivisionError(self.config.message)
