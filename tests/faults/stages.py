"""Stages with a fault on purpose, named in the tests' recipes as tests.faults.stages:Name."""

import os
import signal
from pathlib import Path

import pyarrow as pa

from pipeline.stage import Map, Outcome, StageConfig, decide


class LosesOne(Map[StageConfig]):
    """Lets the first document of each batch vanish without a word."""

    name = "loses_one"

    def process(self, batch: pa.Table) -> Outcome:
        return Outcome(batch.slice(1))


class DoublesOne(Map[StageConfig]):
    """Returns the first document twice and loses the second, so that the counts agree."""

    name = "doubles_one"

    def process(self, batch: pa.Table) -> Outcome:
        return Outcome(pa.concat_tables([batch.slice(0, 1), batch.slice(0, 1), batch.slice(2)]))


class MarkerConfig(StageConfig):
    marker: Path
    """File that tells whether the fault has happened already."""
    document: str = "poison"
    """Text of the document that has the effect."""


class KillsItsWorkerOnce(Map[MarkerConfig]):
    """Kills the worker process at one document, the first time only."""

    name = "kills_its_worker_once"
    config_type = MarkerConfig

    def process(self, batch: pa.Table) -> Outcome:
        if self.config.document in batch["text"].to_pylist() and not self.config.marker.exists():
            self.config.marker.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return Outcome(batch)


class AlwaysKillsItsWorker(Map[MarkerConfig]):
    """Kills the worker process at one document, every time."""

    name = "always_kills_its_worker"
    config_type = MarkerConfig

    def process(self, batch: pa.Table) -> Outcome:
        if self.config.document in batch["text"].to_pylist():
            os.kill(os.getpid(), signal.SIGKILL)
        return Outcome(batch)


class HasABug(Map[StageConfig]):
    """Raises an exception that no stage should raise."""

    name = "has_a_bug"

    def process(self, batch: pa.Table) -> Outcome:
        raise ZeroDivisionError("one over nothing")


class WaitsForTheMarker(Map[MarkerConfig]):
    """Blocks at one document until the marker file exists."""

    name = "waits_for_the_marker"
    config_type = MarkerConfig

    def process(self, batch: pa.Table) -> Outcome:
        import time

        while self.config.document in batch["text"].to_pylist() and not self.config.marker.exists():
            time.sleep(0.05)
        return Outcome(batch)


class DropsShort(Map[StageConfig]):
    """Drops documents of fewer than three words."""

    name = "drops_short"

    def process(self, batch: pa.Table) -> Outcome:
        counts = [len(text.split()) for text in batch["text"].to_pylist()]
        return decide(batch, [("dropped", "short", f"{n} words < 3") if n < 3 else None for n in counts])
