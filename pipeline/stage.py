"""The contract between the runner and the stages: what a stage declares, receives and returns.

Stages import this module; it imports none of them. A stage is pure: same input and seed, same output. It never
touches Ray, never writes outside the folder it is given, and never lets a document vanish: each row of its input
is either in ``Outcome.kept`` or named in ``Outcome.removed`` with a reason.
"""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import repeat
from pathlib import Path
from typing import Annotated, Any, ClassVar, Generic, Literal, Protocol, TypeVar, get_origin

import pyarrow as pa
import pyarrow.compute as pc
from pydantic import BaseModel, BeforeValidator, ConfigDict, PlainSerializer, ValidationInfo, model_validator

from pipeline import storage
from pipeline.artifact import Artifact, DocumentPart, Phase
from pipeline.errors import InputError, RecipeError
from pipeline.fetched import fetched, location_of, not_fetched
from pipeline.ledger import Counts
from pipeline.locations.location import InputFile, absolute, base_of, is_url

DOCUMENT_SCHEMA = pa.schema(
    [
        pa.field("id", pa.string(), nullable=False),
        pa.field("text", pa.large_string()),
        pa.field("source", pa.string(), nullable=False),
        pa.field("url", pa.string()),
        pa.field("date", pa.string()),
        pa.field("language", pa.string()),
        pa.field("mime", pa.string()),
        pa.field(
            "origin",
            pa.struct(
                [
                    pa.field("path", pa.string()),
                    pa.field("offset", pa.int64()),
                    pa.field("length", pa.int64()),
                    pa.field("digest", pa.string()),
                ]
            ),
        ),
        pa.field("parent", pa.string()),
        pa.field("meta", pa.map_(pa.string(), pa.string())),
    ]
)
"""Columns that every document has, from intake to tokens. Stages add measured columns named ``<stage>.<measure>``."""

PAYLOAD = pa.field("payload", pa.large_binary())
"""Raw bytes (HTML, PDF) of a document whose text has not been extracted yet; extraction removes the column."""


def _on_this_machine(path: object, info: ValidationInfo) -> object:
    if not isinstance(path, str) and (not isinstance(path, Path) or path.is_absolute()):
        return path
    location = absolute(str(path), base_of(info.context))
    if is_url(location) and not info.context:
        return not_fetched(location)
    try:
        return fetched(location) if is_url(location) else Path(location)
    except InputError as error:
        raise ValueError(str(error)) from error


RecipePath = Annotated[Path, BeforeValidator(_on_this_machine), PlainSerializer(location_of, when_used="json")]
"""A path or URL in a recipe: relative ones are relative to the recipe file. May hold glob characters in its last parts.
What a URL names is fetched when the recipe is read, and before a task starts: the stage finds a path of its machine.
The options of a finished run are validated without a context: what they were may be gone, and nothing is fetched."""


def _in_place(path: object, info: ValidationInfo) -> object:
    if not isinstance(path, str) and (not isinstance(path, Path) or path.is_absolute()):
        return path
    location = absolute(str(path), base_of(info.context))
    try:
        return storage.store_path(location) if is_url(location) else Path(location)
    except RecipeError as error:
        raise ValueError(str(error)) from error


RecipeFolder = Annotated[Path, BeforeValidator(_in_place), PlainSerializer(storage.shown, when_used="json")]
"""A folder in a recipe that is read and written where it lies, on a file system or in an object store: by the functions
of pipeline.storage alone, which know its path for the mirror of one in a store."""


class Options(BaseModel):
    """Base of a group of options: strict, frozen, complete with defaults."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)

    @model_validator(mode="before")
    @classmethod
    def _one_is_a_list_of_one(cls, values: Any) -> Any:
        """Let a recipe say ``keep: en`` for ``keep: [en]``, for every option that takes a list."""
        if not isinstance(values, dict):
            return values
        lists = {name for name, option in cls.model_fields.items() if get_origin(option.annotation) is tuple}
        return {k: (v,) if k in lists and isinstance(v, str | Path | int) else v for k, v in values.items()}


class StageConfig(Options):
    """Base of every stage's options."""

    not_identity: ClassVar[frozenset[str]] = frozenset()
    """Fields that do not change what the stage produces (where files lie, which server answers, how many threads)."""

    model_files: ClassVar[frozenset[str]] = frozenset()
    """Fields that name a file whose content, not whose path, is part of the stage's identity."""

    def identity(self) -> dict[str, Any]:
        """Everything in this configuration that can change the stage's output, ready for JSON."""
        values = self.model_dump(mode="json", exclude=set(self.not_identity | self.model_files))
        for name in sorted(self.model_files):
            path = getattr(self, name)
            values[name] = None if path is None else hashlib.sha256(Path(path).read_bytes()).hexdigest()
        return values


Verdict = Literal["dropped", "failed"]


@dataclass(frozen=True, slots=True)
class Removal:
    """A document that ends here. ``dropped`` is a decision of the stage, ``failed`` is bad input or an error."""

    id: str
    source: str
    verdict: Verdict
    reason: str  # short and stable, e.g. "too_few_words": the ledger counts by it
    evidence: str = ""  # what was measured against what, e.g. "12 words < 50"
    excerpt: str = ""  # first characters of the text, for the report
    url: str = ""
    scores: Mapping[str, Any] = field(default_factory=dict)  # measured columns so far, "<stage>.<measure>": value


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a batch: in + created = kept + dropped + failed + joined, by source."""

    kept: pa.Table
    removed: Sequence[Removal] = ()
    created: Mapping[str, int] = field(default_factory=dict)  # by source: rows that were not in the input batch
    noted: Mapping[str, Mapping[str, int]] = field(default_factory=dict)  # by source: what was done inside documents
    joined: Mapping[str, int] = field(default_factory=dict)  # by source: rows that created ones were made of


class ServiceProcess(Protocol):
    """One process of a service. Safe to use from several threads."""

    def call(self, method: str, *arguments: Any) -> Any:
        """What a method of the object in that process returns; the object must stand calls from several threads.

        Raises:
            ServiceGoneError: the process has died; it is being started again, with a new object.
            SluiceError: what the method has raised.
        """


@dataclass(frozen=True)
class Service:
    """What a stage needs running beside its tasks for as long as these run, such as engines on GPUs: processes that
    outlive a task and serve all of them."""

    make: Callable[[], Any]  # makes the object that a process holds; one with a method ``close`` is closed by it
    gpus: float = 0.0  # of each process, where the cluster has any
    processes: int = 0  # 0: as many as the GPUs of the cluster suffice for, one if it has none


@dataclass(frozen=True)
class Context:
    """What a stage is given besides its input."""

    seed: int  # the run's seed
    side: Mapping[str, Path] = field(default_factory=dict)  # role -> folder written by a global stage of this graph
    work: Path = Path()  # global stages, shuffles: survives a kill of the task, is removed once its part is committed
    progress: Callable[[int, int], None] = lambda done, total: None  # global stages and tasks of shuffles report steps
    cpus: int = 1  # cores that this task may use
    shared: Path | None = None  # folder in which the tasks of a run share what they know of the hosts they read from
    answers: Path | None = None  # folder of the artifact for dear results, kept through kills and changes of the recipe
    service: Sequence[ServiceProcess] = ()  # the processes that the stage has asked for


@dataclass(frozen=True, slots=True)
class Split:
    """A group of input files that one task reads."""

    files: tuple[InputFile, ...]


C = TypeVar("C", bound=StageConfig)


class Stage(ABC, Generic[C]):
    """Common part of all kinds of stage. The class docstring's first line is its help text."""

    name: ClassVar[str]
    version: ClassVar[int] = 1  # raise it whenever the output for the same input changes
    config_type: ClassVar[type[StageConfig]] = StageConfig
    produces: ClassVar[str] = "documents"  # kind of artifact
    not_in_samples: ClassVar[str] = ""  # why `sluice plan` neither runs it on a sample nor forecasts it, if it does not

    def __init__(self, config: C) -> None:
        self.config = config

    def setup(self, context: Context) -> None:
        """Load models and tables; called once per process before the first batch."""

    def note(self) -> str | None:
        """A sentence that the run must tell its user about this configuration (e.g. "off: no endpoint given")."""
        return None


class Source(Stage[C]):
    """Reads files into documents."""

    provides: tuple[str, ...] = ("text",)  # an instance may set its own

    @abstractmethod
    def splits(self) -> list[Split]:
        """List the input, in a stable order.

        Raises:
            InputError: nothing matches; the message names the pattern.
        """

    @abstractmethod
    def read(self, split: Split, source: str, context: Context) -> Iterator[Outcome]:
        """Yield batches (a few hundred documents). ``source`` is the name that the recipe gives these documents.

        A file that cannot be read, in whole or from some point on, is a ``failed`` removal, not an exception.
        """


class Map(Stage[C]):
    """Looks at one document at a time."""

    requires: tuple[str, ...] = ("text",)  # an instance may set its own, and what it provides
    provides: tuple[str, ...] = ()
    commits_output: ClassVar[bool] = False  # True: worth writing to disk, so that later changes do not repeat it
    gpus: float = 0.0  # of which it makes use where the cluster has any
    passes_on: ClassVar[bool] = True  # False: writes new documents only; those that come in stay where they were

    @abstractmethod
    def process(self, batch: pa.Table) -> Outcome:
        """Decide about each row of ``batch`` (DOCUMENT_SCHEMA plus measured columns)."""

    def stream(self, batches: Iterator[pa.Table]) -> Iterator[Outcome]:
        """The outcomes of a task's batches, in their order. A stage that waits for others, such as models, may take up
        batches before it is done with those ahead of them."""
        return map(self.process, batches)

    def service(self) -> Service | None:
        """The service that the stage works with, if it needs one."""
        return None

    def redacted(self, excerpt: str, language: str | None = None, url: str | None = None) -> str:
        """The excerpt or evidence of a removed document in this language, without what this stage hides in texts."""
        return excerpt


class Gather(Stage[C]):
    """Makes documents of rows that belong together, as the pages of a document do: they lie one behind the other,
    perhaps over several parts."""

    requires: tuple[str, ...] = ("text",)
    provides: tuple[str, ...] = ("text",)

    @abstractmethod
    def groups(self, parts: Sequence[DocumentPart]) -> list[list[DocumentPart]]:
        """The parts, in order, that one task each reads: rows that belong together must meet in one.

        Runs in the driver, so it looks at the records only.
        """

    @abstractmethod
    def gather(self, batches: Iterator[pa.Table], context: Context) -> Iterator[Outcome]:
        """The documents of a task's rows. ``created`` counts them, and ``joined`` the rows that they are made of."""


@dataclass(frozen=True)
class Result:
    """What a global stage reports: numbers for the report and, if it ends documents' way, their ledger."""

    summary: dict[str, Any] = field(default_factory=dict)  # JSON; goes into the manifest, read by the report
    counts: Mapping[str, Counts] = field(default_factory=dict)  # by source
    linked: Mapping[str, str] = field(default_factory=dict)  # SHA-256 of files that are links to committed ones


class Global(Stage[C]):
    """Sees whole artifacts at once and writes files."""

    accepts: ClassVar[tuple[str, ...]] = ("documents",)  # kinds of input artifact; "documents" may be several
    cpus: ClassVar[int] = 1
    gpus: ClassVar[float] = 0.0  # of which it makes use where the cluster has any
    tells_steps: ClassVar[bool] = True  # its progress is shown

    @abstractmethod
    def run(self, inputs: Mapping[str, Sequence[Artifact]], out: Path, context: Context) -> Result:
        """Read ``inputs`` (by kind) and write files under ``out``, an empty folder that is committed as a whole."""


@dataclass(frozen=True)
class Task:
    """One task of a phase of a shuffle."""

    phase: str  # "keys", "links", "round 3": the tasks of a phase share it
    name: str  # for people; unique within the phase
    content: tuple[str, ...]  # digests of what the files hold: with phase, arguments and configuration, its identity
    files: Mapping[str, tuple[Path, ...]] = field(default_factory=dict)  # role -> committed files that it reads
    arguments: Mapping[str, Any] = field(default_factory=dict)  # JSON
    is_kept: bool = False  # its part belongs to the artifact; other parts are removed once that is sealed


class Shuffle(Stage[C]):
    """Sees whole artifacts by many tasks, in phases: what the tasks of one phase write, those of the next read.

    The artifact consists of the parts of kept tasks, in order; its summary is that of the last one. A shuffle whose
    result a map applies keeps one part, a *slice*, for each part of the documents (``artifact.document_parts``), under
    that part's name: the map's tasks are given the slice of the part that they process.
    """

    accepts: ClassVar[tuple[str, ...]] = ("documents",)  # kinds of input artifact; "documents" may be several
    may_take: ClassVar[tuple[str, ...]] = ()  # kinds of which it makes use where there is one
    requires: tuple[str, ...] = ()  # columns of the documents
    cpus: ClassVar[int] = 1  # of each task
    gpus: float = 0.0  # of each task, which makes use of them where the cluster has any
    read_by_ranges: ClassVar[frozenset[str]] = frozenset()  # roles of files that tasks read by pipeline.exchange alone
    tells_steps: ClassVar[bool] = False  # True: tasks take so long that the progress of each is shown

    @abstractmethod
    def plan(self, inputs: Mapping[str, Sequence[Artifact]], phases: Sequence[Phase]) -> list[Task]:
        """The tasks of the phase behind those that are done; none if all is done.

        Runs in the driver, so it looks at records only: names, rows, digests, summaries. How many phases there are may
        depend on them. Equal inputs must give equal tasks, or a run that was killed would begin anew.
        """

    @abstractmethod
    def work(self, task: Task, out: Path, context: Context) -> Result:
        """Make the files of one task under ``out``, an empty folder. Equal tasks must give equal bytes."""

    def check_sealed(self, summary: Mapping[str, Any]) -> None:
        """Hold an artifact that an earlier run has sealed to what is not in its identity: limits, the outside world.

        Raises:
            StageError: it cannot be used as it is.
        """


@dataclass(frozen=True)
class Expansion:
    """One node that a composite stage stands for. Names starting with "." are private to the composite."""

    name: str  # "" for the artifact itself, ".signatures" for a private one
    stage: str
    options: Mapping[str, Any]
    inputs: tuple[str, ...]  # artifact names, or private names of this composite
    side: Mapping[str, str] = field(default_factory=dict)  # role -> private name


class Composite(Stage[C]):
    """A convenience of the recipe: one name for several stages."""

    accepts: ClassVar[tuple[str, ...]] = ("documents",)
    reads_files: ClassVar[bool] = False  # True: takes no input but files, by an option of this name

    @abstractmethod
    def expand(self, inputs: tuple[str, ...]) -> list[Expansion]:
        """The nodes in any order; exactly one is named ""."""


def documents(rows: Iterable[Mapping[str, Any]], extra: Sequence[pa.Field] = ()) -> pa.Table:
    """Build a table with DOCUMENT_SCHEMA (plus ``extra`` columns) from dictionaries; absent keys become null."""
    schema = pa.schema([*DOCUMENT_SCHEMA, *extra])
    rows = list(rows)
    return pa.table({f.name: pa.array([row.get(f.name) for row in rows], f.type) for f in schema}, schema=schema)


def removal(row: Mapping[str, Any], verdict: Verdict, reason: str, evidence: str = "") -> Removal:
    """The removal of one document, with the start of its text for the report."""
    return Removal(
        id=row["id"],
        source=row["source"],
        verdict=verdict,
        reason=reason,
        evidence=evidence,
        excerpt=(row.get("text") or "")[:EXCERPT_CHARACTERS],
        url=row.get("url") or "",
        scores={n: v for n, v in row.items() if is_measured(n) and v is not None and not isinstance(v, bytes)},
    )


def removals(batch: pa.Table, which: Sequence[int], endings: Sequence[tuple[Verdict, str, str]]) -> list[Removal]:
    """The removals of these rows, by column: filters drop most of a crawl."""
    columns = batch.schema
    measured = [f.name for f in columns if is_measured(f.name) and not _is_no_score(f.type)]
    told = [name for name in ("id", "source", "url", "text", *measured) if name in batch.column_names]
    rows = batch.select(told).take(pa.array(which, pa.int64()))
    excerpts = pc.utf8_slice_codeunits(rows.column("text"), 0, EXCERPT_CHARACTERS)
    ids, sources = rows.column("id").to_pylist(), rows.column("source").to_pylist()
    urls = rows.column("url").to_pylist() if "url" in told else repeat("")
    scores = zip(*(rows.column(name).to_pylist() for name in measured), strict=True) if measured else repeat(())
    return [
        Removal(
            id=id_,
            source=source,
            verdict=verdict,
            reason=reason,
            evidence=evidence,
            excerpt=excerpt or "",
            url=url or "",
            scores={name: value for name, value in zip(measured, values, strict=True) if value is not None},
        )
        for id_, source, url, excerpt, values, (verdict, reason, evidence) in zip(
            ids, sources, urls, excerpts.to_pylist(), scores, endings, strict=False
        )
    ]


def _is_no_score(kind: pa.DataType) -> bool:
    """Whether a column holds embeddings or bytes, such as pictures: nothing to tell of each removed document."""
    if pa.types.is_binary(kind) or pa.types.is_large_binary(kind):
        return True
    is_list = pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind)
    return bool(is_list and pa.types.is_floating(kind.value_type))


def is_measured(column: str) -> bool:
    """Whether a column holds what a stage measured, such as ``gopher_quality.words``, or ``language``."""
    return "." in column or column == "language"


EXCERPT_CHARACTERS = 600


def decide(batch: pa.Table, verdicts: Sequence[tuple[Verdict, str, str] | None]) -> Outcome:
    """Split ``batch`` by one verdict a row: None keeps it, else (verdict, reason, evidence)."""
    kept = batch.filter(pa.array([verdict is None for verdict in verdicts], pa.bool_()))
    ended = [i for i, verdict in enumerate(verdicts) if verdict is not None]
    return Outcome(kept, removals(batch, ended, [verdict for verdict in verdicts if verdict is not None]))


def with_columns(batch: pa.Table, columns: Mapping[str, pa.Array]) -> pa.Table:
    """``batch`` with these columns added, or replaced where the name is taken.

    A new text makes what stages have noted about the old one for each other (columns named ``_...``) worthless.
    """
    if "text" in columns:
        batch = without_private(batch)
    for name, values in columns.items():
        if name in batch.column_names:
            batch = batch.set_column(batch.column_names.index(name), name, values)
        else:
            batch = batch.append_column(name, values)
    return batch


def without_private(batch: pa.Table) -> pa.Table:
    """``batch`` without the columns by which stages of one task spare each other work; they are never stored."""
    return batch.select([name for name in batch.column_names if not name.startswith("_")])
