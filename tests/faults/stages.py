"""Stages with a fault on purpose, named in the tests' recipes as tests.faults.stages:Name."""

import ctypes
import os
import signal
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import ClassVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pipeline.artifact import Artifact, Phase, document_parts
from pipeline.errors import MachineError, ServiceGoneError
from pipeline.exchange import PartitionedWriter, read_partition
from pipeline.stage import (
    Composite,
    Context,
    Expansion,
    Map,
    Outcome,
    Result,
    Service,
    Shuffle,
    StageConfig,
    Task,
    decide,
    with_columns,
)
from stages.dedup.duplicates.stage import Duplicates, DuplicatesConfig
from stages.dedup.stage import Dedup, DedupConfig


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


class HangsConfig(StageConfig):
    documents: tuple[str, ...] = ("poison",)
    first: Path | None = None
    """File of which the absence is needed for the effect; it is made then."""


class Hangs(Map[HangsConfig]):
    """Never comes to an end with some documents."""

    name = "hangs"
    config_type = HangsConfig

    def process(self, batch: pa.Table) -> Outcome:
        if set(self.config.documents) & set(batch["text"].to_pylist()):
            if self.config.first is None:
                time.sleep(10_000)
            elif not self.config.first.exists():
                self.config.first.touch()
                time.sleep(10_000)
        return Outcome(batch)


class CrashesAt(Map[HangsConfig]):
    """Reads through a null pointer at some documents."""

    name = "crashes_at"
    config_type = HangsConfig

    def process(self, batch: pa.Table) -> Outcome:
        if set(self.config.documents) & set(batch["text"].to_pylist()):
            ctypes.string_at(0)
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
        while self.config.document in batch["text"].to_pylist() and not self.config.marker.exists():
            time.sleep(0.05)
        return Outcome(batch)


class SecondsConfig(StageConfig):
    not_identity: ClassVar[frozenset[str]] = frozenset({"seconds"})
    seconds: float
    """Of each batch."""


class TakesItsTime(Map[SecondsConfig]):
    """Hands each batch on, later."""

    name = "takes_its_time"
    config_type = SecondsConfig

    def process(self, batch: pa.Table) -> Outcome:
        time.sleep(self.config.seconds)
        return Outcome(batch)


class MemoryConfig(StageConfig):
    document: str
    """Text of the documents that have the effect."""
    megabytes: int
    """That one of them takes, a tenth at a time."""
    seconds: float
    """For how long it holds them."""


class TakesMemory(Map[MemoryConfig]):
    """Takes much memory for some documents."""

    name = "takes_memory"
    config_type = MemoryConfig

    def process(self, batch: pa.Table) -> Outcome:
        for _ in range(batch["text"].to_pylist().count(self.config.document)):
            held = []
            for _ in range(10):
                held.append(np.ones(self.config.megabytes * 100_000, np.uint8))
                time.sleep(0.2)
            time.sleep(self.config.seconds)
            del held
        return Outcome(batch)


class DropsShort(Map[StageConfig]):
    """Drops documents of fewer than three words."""

    name = "drops_short"

    def process(self, batch: pa.Table) -> Outcome:
        counts = [len(text.split()) for text in batch["text"].to_pylist()]
        return decide(batch, [("dropped", "short", f"{n} words < 3") if n < 3 else None for n in counts])


def die_in(marker: Path, phase: str) -> None:
    """Kill this worker if the marker names the phase, and remove the marker."""
    with suppress(FileNotFoundError):  # another task may have been faster
        if marker.read_text() == phase:
            marker.unlink()
            os.kill(os.getpid(), signal.SIGKILL)


class CountFirstWords(Shuffle[MarkerConfig]):
    """Counts first words over all documents: by partition of the word, in two phases, then a slice a part.

    The file ``marker`` names the phase in which the worker of the first task dies; it is gone afterwards.
    """

    name = "count_first_words"
    config_type = MarkerConfig
    produces: ClassVar[str] = "counts"

    SCHEMA = pa.schema([("id", pa.string()), ("word", pa.string())])
    COUNTS = pa.schema([("id", pa.string()), ("count", pa.int64())])

    def plan(self, inputs: Mapping[str, Sequence[Artifact]], phases: Sequence[Phase]) -> list[Task]:
        parts = document_parts(inputs["documents"])
        if not phases:
            return [Task("words", part.name, (part.digest,), {"documents": (part.path,)}) for part in parts]
        *_, last = phases
        if last.name == "words":
            files = {"words": last.paths("words.parquet")}
            return [Task("counts", f"partition {i}", (last.digest,), files, {"partition": i}) for i in range(2)]
        if last.name == "counts":
            files = {"counts": last.paths("counts.parquet")}
            return [
                Task("slices", p.name, (last.digest, p.digest), {**files, "documents": (p.path,)}, is_kept=True)
                for p in parts
            ]
        if last.name == "slices":
            return [Task("summary", "all", (), arguments={"slices": len(last.parts)}, is_kept=True)]
        return []

    def work(self, task: Task, out: Path, context: Context) -> Result:
        die_in(self.config.marker, task.phase)
        if task.phase == "words":
            table = pq.read_table(task.files["documents"][0], columns=["id", "text"])
            words = [text.split()[0] for text in table["text"].to_pylist()]
            rows = pa.table({"id": table["id"], "word": pa.array(words, pa.string())}, schema=self.SCHEMA)
            with PartitionedWriter(out / "words.parquet", self.SCHEMA, 2) as writer:
                writer.write(rows, np.array([len(word) % 2 for word in words]))
        elif task.phase == "counts":
            rows = read_partition(task.files["words"], task.arguments["partition"])
            counts = Counter(rows["word"].to_pylist())
            found = pa.table({"id": rows["id"], "count": [counts[w] for w in rows["word"].to_pylist()]})
            with PartitionedWriter(out / "counts.parquet", self.COUNTS, 1) as writer:
                writer.write(found.cast(self.COUNTS), np.zeros(found.num_rows, np.int64))
        elif task.phase == "slices":
            ids = pq.read_table(task.files["documents"][0], columns=["id"])["id"]
            found = read_partition(task.files["counts"], 0)
            pq.write_table(found.filter(pc.is_in(found["id"], ids.combine_chunks())), out / "counts.parquet")
        return Result(dict(task.arguments))


class DropsByCount(Map[StageConfig]):
    """Drops documents whose first word occurs more than four times."""

    name = "drops_by_count"
    commits_output: ClassVar[bool] = True

    def setup(self, context: Context) -> None:
        table = pq.read_table(context.side["counts"] / "counts.parquet")
        self._counts = dict(zip(table["id"].to_pylist(), table["count"].to_pylist(), strict=True))

    def process(self, batch: pa.Table) -> Outcome:
        counts = [self._counts[i] for i in batch["id"].to_pylist()]  # a slice of another part would not do
        return decide(batch, [("dropped", "frequent", f"{n} times") if n > 4 else None for n in counts])


class DropFrequent(Composite[MarkerConfig]):
    """A shuffle and the map that applies it."""

    name = "drop_frequent"
    config_type = MarkerConfig

    def expand(self, inputs: tuple[str, ...]) -> list[Expansion]:
        options = {"marker": str(self.config.marker)}
        return [
            Expansion(".counts", "tests.faults.stages:CountFirstWords", options, inputs),
            Expansion("", "tests.faults.stages:DropsByCount", {}, inputs, side={"counts": ".counts"}),
        ]


class DyingDuplicatesConfig(DuplicatesConfig):
    marker: Path
    """File that names the phase in which the worker of the first task dies; it is gone afterwards."""


class DyingDuplicates(Duplicates):
    """Dedup whose worker is killed in one phase, when it has written its files."""

    name = "dying_duplicates"
    config_type = DyingDuplicatesConfig

    def work(self, task: Task, out: Path, context: Context) -> Result:
        result = super().work(task, out, context)
        marker: Path = self.config.marker  # type: ignore[attr-defined]
        with marker.with_suffix(".log").open("a") as log:
            log.write(f"{task.name}\n")
        die_in(marker, task.phase)
        return result


class DyingDedupConfig(DedupConfig):
    marker: Path
    """As in DyingDuplicatesConfig."""


class DyingDedup(Dedup):
    """Dedup with a worker that dies."""

    name = "dying_dedup"
    config_type = DyingDedupConfig

    def expand(self, inputs: tuple[str, ...]) -> list[Expansion]:
        return [
            replace(node, stage="tests.faults.stages:DyingDuplicates") if node.stage == "dedup_duplicates" else node
            for node in super().expand(inputs)
        ]


class Echo:
    """What the service of ``AsksItsService`` holds: answers with its process's id, and dies at poison, once."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def answer(self, text: str) -> str:
        if text == "poison" and not self.marker.exists():
            self.marker.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        if text.startswith("refused"):
            raise MachineError("the service refuses this")
        return f"{text} {os.getpid()}"


class AsksItsService(Map[MarkerConfig]):
    """Has each text answered by a process that outlives the tasks; asks again when that has died."""

    name = "asks_its_service"
    config_type = MarkerConfig
    commits_output: ClassVar[bool] = True

    def service(self) -> Service:
        return Service(partial(Echo, self.config.marker))

    def setup(self, context: Context) -> None:
        (self._process,) = context.service

    def process(self, batch: pa.Table) -> Outcome:
        answers = [self._answer(text) for text in batch["text"].to_pylist()]
        return Outcome(with_columns(batch, {"text": pa.array(answers, pa.large_string())}))

    def _answer(self, text: str) -> str:
        for _ in range(100):
            try:
                return str(self._process.call("answer", text))
            except ServiceGoneError:
                time.sleep(0.1)
        raise MachineError("the service did not come back")
