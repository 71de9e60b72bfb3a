"""What one task does: read a part's input, run its stages, write the result, commit it. Knows nothing of Ray."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import compress, groupby
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from pipeline import isolation, storage, workspace
from pipeline.artifact import (
    DOCUMENTS_FILE,
    REMOVED_FILE,
    Artifact,
    ArtifactFolder,
    File,
    Part,
    file_record,
    read_tables,
)
from pipeline.errors import LedgerError, StageError
from pipeline.filter import Filter
from pipeline.ledger import Ledger
from pipeline.locations.objects import ObjectStore
from pipeline.progress import ProgressFile, StopSign
from pipeline.stage import (
    Context,
    Gather,
    Global,
    Map,
    Outcome,
    Removal,
    Service,
    ServiceProcess,
    Shuffle,
    Source,
    Split,
    Stage,
    StageConfig,
    Task,
    Verdict,
    removal,
    removals,
    without_private,
)
from pipeline.usage import Usage

BATCH_ROWS = 1024  # at most, of documents that are read back
BATCH_BYTES = 16 << 20  # about, as Parquet holds them before compression
ROW_GROUP_BYTES = 16 << 20  # rows are buffered up to about this size before they are written

REMOVED_SCHEMA = pa.schema(
    [
        (name, pa.string())
        for name in ("id", "source", "step", "verdict", "reason", "evidence", "excerpt", "url", "scores")
    ]
)


@dataclass(frozen=True)
class StepSpec:
    """A stage to run: all that a worker needs to build it."""

    label: str
    stage: type[Stage[Any]]
    config: StageConfig
    side: Mapping[str, Path]


@dataclass(frozen=True, slots=True)
class PartSpec:
    """A part to make."""

    run: Path
    artifact: str
    key: str
    name: str
    steps: tuple[StepSpec, ...]
    seed: int
    cpus: int = 1
    gpus: float = 0.0  # asked for where the cluster has any
    gpus_had: float = 0.0  # given by the cluster, with the task's share of those of its service
    split: Split | None = None  # input of a source
    source: str = ""  # name of a source's documents
    documents: tuple[Path, ...] = ()  # the documents files of upstream parts: of one for a map, of some to gather
    is_sliced: bool = False  # some of what its steps are given at their side is for this part alone
    artifacts: Mapping[str, Sequence[Artifact]] = field(default_factory=dict)  # input of a global stage, by kind
    task: Task | None = None  # of a shuffle
    store: ObjectStore | None = None  # of which the folder of the run is the mirror
    stop: Path | None = None  # file by which the driver has the task end
    service: Service | None = None  # to be there before the task starts
    processes: tuple[ServiceProcess, ...] = ()  # of that service, once they are there
    poison: tuple[isolation.Poison, ...] = ()  # documents that steps are not shown
    watch: Path | None = None  # folder in which each batch is put down before a step looks at it


def run_part(spec: PartSpec) -> Part:
    """Make and commit one part.

    Raises:
        SluiceError: an error for the user, with the part's name. Anything else is a bug of a stage.
        Stopped: the run's driver is ending it.
    """
    with workspace.ready(spec) as at_hand:
        return _part_of(at_hand)


_begun: set[tuple[Path, str, str]] = set()  # run, artifact and phase of the tasks of this process


def _part_of(spec: PartSpec) -> Part:
    usage = Usage()
    kind = (spec.run, spec.artifact, spec.task.phase if spec.task else "")
    is_first = kind not in _begun
    _begun.add(kind)
    stop = StopSign(spec.stop)
    stop.obey()
    folder = ArtifactFolder(spec.run, spec.artifact)
    attempt = folder.new_attempt(spec.key)
    try:
        with storage.explained_disk_errors(attempt):
            if spec.artifacts or spec.task:
                with workspace.kept([folder.work(spec.key), folder.answers]):
                    ledger, summary, files = _run_wide(spec, folder, attempt, stop)
            else:
                with workspace.kept([folder.answers], fetch=False):  # which are fetched as they are asked for
                    ledger, summary, files = _run_documents(spec, attempt, stop)
        part = Part(
            key=spec.key,
            name=spec.name,
            folder=attempt.relative_to(folder.folder).as_posix(),
            files=tuple(files),
            ledger=ledger,
            summary=summary,
            seconds=usage.seconds(),
            cpu_seconds=usage.cpu_seconds(),
            peak_memory_bytes=usage.peak_memory_bytes(),
            gpus=spec.gpus_had,
            is_first=is_first,
        )
        return folder.commit(part)
    except BaseException:
        folder.discard(spec.key, attempt)
        raise


def _run_wide(
    spec: PartSpec, folder: ArtifactFolder, attempt: Path, stop: StopSign
) -> tuple[Ledger, Mapping[str, Any], list[File]]:
    (step,) = spec.steps
    stage = step.stage(step.config)
    assert isinstance(stage, Global | Shuffle)
    progress = ProgressFile(spec.run, spec.artifact, spec.key)

    def report(done: int, total: int) -> None:
        stop.obey()
        if stage.tells_steps:
            progress.report(done, total)

    context = replace(_context(spec, step), work=folder.work(spec.key), progress=report)
    stage.setup(context)
    if spec.task is not None:
        assert isinstance(stage, Shuffle)
        result = stage.work(spec.task, attempt, context)
    else:
        assert isinstance(stage, Global)
        result = stage.run(spec.artifacts, attempt, context)
    ledger = Ledger()
    ledger.steps[step.label] = dict(result.counts)
    ledger.check(spec.artifact)
    paths = (path for path in sorted(attempt.rglob("*")) if path.is_file())
    files = [file_record(attempt, p, sha256=result.linked.get(p.relative_to(attempt).as_posix())) for p in paths]
    return ledger, result.summary, files


def _run_documents(spec: PartSpec, attempt: Path, stop: StopSign) -> tuple[Ledger, Mapping[str, Any], list[File]]:
    ledger = Ledger()
    for step in spec.steps:
        ledger.steps[step.label] = {}
    stages = [_ready_stage(step, spec) for step in spec.steps]
    kept = PartWriter(attempt / DOCUMENTS_FILE)
    removed = RemovedWriter(attempt / REMOVED_FILE, stages)
    with kept, removed:
        for table in _batches(spec, stages, ledger, removed, stop):
            kept.write(table)
    ledger.check(f"{spec.artifact}, part {spec.name}")
    files = [file_record(attempt, w.path, w.rows) for w in (kept, removed) if w.rows]
    return ledger, {}, files


def _batches(
    spec: PartSpec, stages: Sequence[Stage[Any]], ledger: Ledger, removed: RemovedWriter, stop: StopSign
) -> Iterator[pa.Table]:
    tables = _obeying(stop, _input_batches(spec, stages, ledger, removed))
    for steps in _units(spec, stages):
        tables = _without_poison(spec, steps[0][0].label, tables, ledger, removed)
        step, stage = steps[0]
        if isinstance(stage, Filter):
            tables = _filtered(spec, steps, tables, ledger, removed)
        else:
            tables = _mapped(spec, step, stage, tables, ledger, removed)
    for table in tables:
        if table.num_rows:
            yield without_private(table)


def _units(spec: PartSpec, stages: Sequence[Stage[Any]]) -> Iterator[list[tuple[StepSpec, Any]]]:
    """The maps of a task, each by itself; filters that follow one another together."""
    steps = [(step, stage) for step, stage in zip(spec.steps, stages, strict=True) if isinstance(stage, Map)]
    for is_filter, run in groupby(steps, key=lambda entry: isinstance(entry[1], Filter)):
        if is_filter:
            yield list(run)
        else:
            yield from ([entry] for entry in run)


def _without_poison(
    spec: PartSpec, label: str, tables: Iterator[pa.Table], ledger: Ledger, removed: RemovedWriter
) -> Iterator[pa.Table]:
    """The tables before a step without the documents that kill, or hang, a process there: those have failed."""
    for table, poison in isolation.watched(spec, label, tables):
        for row, found in poison:
            counts = ledger.counts(label, row["source"])
            counts.received += 1
            counts.failed[found.reason] += 1
        removed.add([(label, removal(row, "failed", found.reason, found.evidence)) for row, found in poison])
        yield table


def rehearse(spec: PartSpec) -> None:
    """Work on a part of documents without committing anything (pipeline.isolation)."""
    assert spec.watch is not None
    attempt = spec.watch / "attempt"
    attempt.mkdir(exist_ok=True)
    with workspace.ready(spec) as at_hand:
        _run_documents(at_hand, attempt, StopSign(None))


def show(spec: PartSpec, label: str) -> Callable[[pa.Table], None]:
    """What shows a table to the steps that stand together at a label."""
    stages = [_ready_stage(step, spec) for step in spec.steps]
    steps = next(steps for steps in _units(spec, stages) if steps[0][0].label == label)

    def look(table: pa.Table) -> None:
        ledger = Ledger()
        if isinstance(steps[0][1], Filter):
            rows = _FilteredRows(table)
            for step, stage in steps:
                rows.pass_through(spec, ledger, step, stage)
        else:
            steps[0][1].process(table)

    return look


def _obeying(stop: StopSign, tables: Iterator[pa.Table]) -> Iterator[pa.Table]:
    for table in tables:
        stop.obey()
        yield table


def _filtered(
    spec: PartSpec,
    filters: Sequence[tuple[StepSpec, Any]],
    tables: Iterator[pa.Table],
    ledger: Ledger,
    removed: RemovedWriter,
) -> Iterator[pa.Table]:
    """The tables behind filters that follow one another."""
    for table in tables:
        rows = _FilteredRows(table)
        for step, stage in filters:
            rows.pass_through(spec, ledger, step, stage)
        yield rows.settled(removed)


def _mapped(
    spec: PartSpec,
    step: StepSpec,
    stage: Map[Any],
    tables: Iterator[pa.Table],
    ledger: Ledger,
    removed: RemovedWriter,
) -> Iterator[pa.Table]:
    """The tables behind a map, which may have taken more of them than it has given back."""
    taken: deque[pa.Table] = deque()

    def batches() -> Iterator[pa.Table]:
        for table in tables:
            if table.num_rows:
                taken.append(table)
                yield table

    for outcome in stage.stream(batches()):
        batch = taken.popleft()
        _check_ids(spec, step, batch, outcome)
        _count(ledger, step.label, batch, outcome)
        removed.add([(step.label, r) for r in outcome.removed])
        yield outcome.kept
    if taken:
        raise LedgerError(
            f"{spec.artifact}, part {spec.name}: stage {step.label} gave no outcome for {len(taken)} batches. This is "
            "a bug of the stage; nothing of this part was committed"
        )


class _FilteredRows:
    """A batch on its way through filters. Rows that one has dropped stay beside the others, so that the filters after
    it measure them too and the scores of every document can answer what other thresholds would do. The first verdict
    stays."""

    def __init__(self, table: pa.Table) -> None:
        self.table = table
        self.endings: list[tuple[str, tuple[Verdict, str, str]] | None] = [None] * table.num_rows  # step and verdict

    def _alive(self) -> NDArray[np.bool_]:
        return np.fromiter((ending is None for ending in self.endings), np.bool_, len(self.endings))

    def pass_through(self, spec: PartSpec, ledger: Ledger, step: StepSpec, stage: Filter[Any]) -> None:
        """Have a filter measure the rows, decide about those not dropped yet, and count these."""
        alive = self._alive()
        if not alive.any() and not (stage.measures_dropped and len(alive)):
            return
        if not stage.measures_dropped and not alive.all():
            self._drop_to_the_end(alive)
            alive = self._alive()
            before = self.table.slice(0, int(alive.sum()))
        else:
            before = self.table
        measured = stage.measure(before)
        if not measured.column("id").equals(before.column("id")):
            raise LedgerError(
                f"{spec.artifact}, part {spec.name}: stage {step.label} did not return the documents that it was to "
                "measure, in their order. This is a bug of the stage; nothing of this part was committed"
            )
        there = alive[: measured.num_rows]
        verdicts = stage.verdicts(measured, there)
        _count_verdicts(ledger, step.label, measured.column("source").to_pylist(), there.tolist(), verdicts)
        if type(stage).noted is not Filter.noted:
            arrived = pa.array(there)
            for source, noted in stage.noted(before.filter(arrived), measured.filter(arrived)).items():
                ledger.counts(step.label, source).noted.update(noted)
        for i, verdict in enumerate(verdicts):
            if verdict is not None:
                self.endings[i] = (step.label, verdict)
        rest = self.table.slice(before.num_rows)  # what a costly filter leaves out has none of its columns
        self.table = pa.concat_tables([measured, rest], promote_options="default") if rest.num_rows else measured

    def _drop_to_the_end(self, alive: NDArray[np.bool_]) -> None:
        order = np.argsort(~alive, kind="stable")
        self.table = self.table.take(pa.array(order))
        self.endings = [self.endings[i] for i in order.tolist()]

    def settled(self, removed: RemovedWriter) -> pa.Table:
        """Write what was dropped; gives the rows that are kept."""
        alive = self._alive()
        if alive.all():
            return self.table
        gone = np.flatnonzero(~alive).tolist()
        endings = [ending for ending in self.endings if ending is not None]
        found = removals(self.table, gone, [verdict for _, verdict in endings])
        removed.add([(step, ended) for (step, _), ended in zip(endings, found, strict=True)])
        return self.table.filter(pa.array(alive))


def _input_batches(
    spec: PartSpec, stages: Sequence[Stage[Any]], ledger: Ledger, removed: RemovedWriter
) -> Iterator[pa.Table]:
    first = stages[0]
    if isinstance(first, Source):
        assert spec.split is not None
        outcomes = first.read(spec.split, spec.source, _context(spec))
    elif isinstance(first, Gather):
        outcomes = first.gather(_received(_upstream(spec), ledger, spec.steps[0].label), _context(spec))
    else:
        yield from _upstream(spec)
        return
    for outcome in outcomes:
        _count(ledger, spec.steps[0].label, None, outcome)
        removed.add([(spec.steps[0].label, r) for r in outcome.removed])
        yield outcome.kept


def _upstream(spec: PartSpec) -> Iterator[pa.Table]:
    for path in spec.documents:
        metadata = pq.read_metadata(path)
        size = sum(metadata.row_group(i).total_byte_size for i in range(metadata.num_row_groups))
        rows = BATCH_BYTES * metadata.num_rows // max(1, size)
        yield from read_tables(path, rows=max(1, min(rows, BATCH_ROWS)))


def _received(tables: Iterator[pa.Table], ledger: Ledger, label: str) -> Iterator[pa.Table]:
    for table in tables:
        for source, n in _by_source(table):
            ledger.counts(label, source).received += n
        yield table


_stages: dict[tuple[Any, ...], Stage[Any]] = {}  # ready stages of this process: models are loaded once


def _ready_stage(step: StepSpec, spec: PartSpec) -> Stage[Any]:
    of_run = ArtifactFolder(spec.run, spec.artifact).answers / str(spec.seed)
    key = (step.stage, step.config.model_dump_json(), repr(sorted(step.side.items())), of_run, spec.processes)
    if key not in _stages:
        stage = step.stage(step.config)
        stage.setup(_context(spec, step))
        if spec.is_sliced:
            return stage
        _stages[key] = stage
    return _stages[key]


def _context(spec: PartSpec, step: StepSpec | None = None) -> Context:
    answers = ArtifactFolder(spec.run, spec.artifact).answers
    side = step.side if step else {}
    return Context(spec.seed, side, cpus=spec.cpus, shared=spec.run / "hosts", answers=answers, service=spec.processes)


def _check_ids(spec: PartSpec, step: StepSpec, batch: pa.Table, outcome: Outcome) -> None:
    """Counts could agree while one document is lost and another doubled; ids cannot."""
    before = Counter(batch.column("id").to_pylist())
    after = Counter(outcome.kept.column("id").to_pylist())
    after.update(r.id for r in outcome.removed)
    lost, extra = before - after, after - before
    if lost or extra.total() != sum(outcome.created.values()):
        examples = ", ".join(sorted(lost or extra)[:3])
        raise LedgerError(
            f"{spec.artifact}, part {spec.name}: stage {step.label} lost {lost.total()} documents and returned "
            f"{extra.total()} new ones where it reports {sum(outcome.created.values())} created (for example "
            f"{examples}). This is a bug of the stage; nothing of this part was committed"
        )


def _count(ledger: Ledger, label: str, batch: pa.Table | None, outcome: Outcome) -> None:
    if batch is not None:
        for source, n in _by_source(batch):
            ledger.counts(label, source).received += n
    for source, n in outcome.created.items():
        ledger.counts(label, source).created += n
    for source, n in _by_source(outcome.kept):
        ledger.counts(label, source).kept += n
    for source, noted in outcome.noted.items():
        ledger.counts(label, source).noted.update(noted)
    for source, n in outcome.joined.items():
        ledger.counts(label, source).joined += n
    for r in outcome.removed:
        counts = ledger.counts(label, r.source)
        (counts.dropped if r.verdict == "dropped" else counts.failed)[r.reason] += 1


def _count_verdicts(
    ledger: Ledger,
    label: str,
    sources: Sequence[str],
    there: Sequence[bool],
    verdicts: Sequence[tuple[Verdict, str, str] | None],
) -> None:
    arrived = compress(zip(sources, verdicts, strict=True), there)
    tally = Counter((source, verdict and verdict[:2]) for source, verdict in arrived)
    for (source, verdict), n in tally.items():
        counts = ledger.counts(label, source)
        counts.received += n
        if verdict is None:
            counts.kept += n
        else:
            (counts.dropped if verdict[0] == "dropped" else counts.failed)[verdict[1]] += n


def _by_source(table: pa.Table) -> list[tuple[str, int]]:
    return sorted(Counter(table.column("source").to_pylist()).items()) if table.num_rows else []


class PartWriter:
    """Writes tables to one Parquet file in row groups of a useful size; writes no file if there are no rows."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.rows = 0
        self._buffer: list[pa.Table] = []
        self._writer: pq.ParquetWriter | None = None
        self._schema: pa.Schema | None = None

    def write(self, table: pa.Table) -> None:
        """Add rows.

        Raises:
            StageError: the columns differ from those of earlier rows.
        """
        self._schema = self._schema or table.schema
        if table.schema != self._schema:
            raise StageError(
                f"{self.path.name}: a stage returned batches with different columns: "
                f"{_difference(self._schema, table.schema)}"
            )
        self.rows += table.num_rows
        self._buffer.append(table)
        if sum(t.nbytes for t in self._buffer) >= ROW_GROUP_BYTES:
            self._flush()

    def _flush(self) -> None:
        if self._writer is None:
            self._writer = pq.ParquetWriter(
                self.path, self._schema, compression="zstd", compression_level=3, use_dictionary=["source"]
            )
        table = pa.concat_tables(self._buffer)
        self._writer.write_table(table, row_group_size=table.num_rows)
        self._buffer = []

    def __enter__(self) -> PartWriter:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None and self._buffer:
            self._flush()
        if self._writer is not None:
            self._writer.close()


class RemovedWriter(PartWriter):
    """Writes removals (REMOVED_SCHEMA). What the task's stages hide in texts, they hide in these as well."""

    def __init__(self, path: Path, stages: Sequence[Stage[Any]]) -> None:
        super().__init__(path)
        self._hiding = [s for s in stages if isinstance(s, Map) and type(s).redacted is not Map.redacted]

    def add(self, ended: Sequence[tuple[str, Removal]]) -> None:
        """Add removals, each with the label of the step that made it."""
        if ended:
            rows = [
                (
                    *(r.id, r.source, label, r.verdict, r.reason),
                    *(self._redacted(text, r) for text in (r.evidence, r.excerpt)),
                    *(r.url, orjson.dumps(dict(r.scores)).decode()),
                )
                for label, r in ended
            ]
            self.write(pa.table(list(map(list, zip(*rows, strict=True))), schema=REMOVED_SCHEMA))

    def _redacted(self, text: str, ended: Removal) -> str:
        for stage in self._hiding:
            text = stage.redacted(text, ended.scores.get("language"), ended.url)
        return text


def _difference(a: pa.Schema, b: pa.Schema) -> str:
    fields = set(map(str, a)) ^ set(map(str, b))
    return ", ".join(sorted(fields)) or "their order"
