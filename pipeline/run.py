"""A run: its folder, the artifacts it has, and what is still to do.

RUN/recipe.yaml      the recipe as it was run, overrides applied, credentials left out
RUN/run.json         which artifact fingerprints belong to this run, and how it ended: written by the driver alone
RUN/inputs.json      content digests of input files, by path, size and time: so that they are read once
RUN/artifacts/       see pipeline.artifact
RUN/progress/        see pipeline.progress
RUN/log.jsonl        see pipeline.journal
RUN/report.html
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import yaml

from pipeline import storage
from pipeline.artifact import (
    Artifact,
    ArtifactFolder,
    DocumentPart,
    Part,
    Phase,
    digest_of,
    digests_behind,
    document_parts,
)
from pipeline.credentials import without_credentials
from pipeline.errors import InputError, RecipeError, StageError
from pipeline.graph import Graph, Node
from pipeline.ledger import check_edge, kept_by_source
from pipeline.locations.location import InputFile, is_url
from pipeline.stage import Gather, Map, Shuffle, Split
from pipeline.task import PartSpec, StepSpec

RUN_FILE = "run.json"
RECIPE_FILE = "recipe.yaml"


class InputDigests:
    """What tells an input file's content: SHA-256 of local files, remembered by path, size and modification time; of
    a file on a server its URL and the version that the server's listing gave, because reading it would cost as much
    as the run. Archives of crawls never change under one URL."""

    def __init__(self, run: Path) -> None:
        self._path = run / "inputs.json"
        self._known: dict[str, list[Any]] = (
            json.loads(storage.read_bytes(self._path)) if storage.exists(self._path) else {}
        )
        self._changed = False

    def of(self, file: InputFile) -> str:
        """Digest of the file's content, or its URL and version."""
        if is_url(file.location):
            return f"{file.name} {file.version or ''}" + _query(file.location)
        try:
            stat = Path(file.location).stat()
        except OSError as error:
            raise InputError(f"{file.location} cannot be read: {error.strerror}") from error
        size, time_ns, digest = self._known.get(file.location, (None, None, ""))
        if (size, time_ns) != (stat.st_size, stat.st_mtime_ns):
            digest = storage.sha256_of(Path(file.location))
            self._known[file.location] = [stat.st_size, stat.st_mtime_ns, digest]
            self._changed = True
        return str(digest)

    def save(self) -> None:
        """Keep what was learned for the next run."""
        if self._changed:
            storage.replace(self._path, json.dumps(self._known).encode())
            self._changed = False


_SIGNATURE = re.compile(
    r"x-(amz|goog)-.*|.*(signature|token|expires|policy|key-pair-id).*|sig|s[eprtv]|spr", re.IGNORECASE
)


def _query(url: str) -> str:
    """The query of a URL, which names leave out, as a digest and without signatures, which change by the hour."""
    said = [pair for pair in parse_qsl(urlsplit(url).query) if not _SIGNATURE.fullmatch(pair[0])]
    return f" {digest_of(said)}" if said else ""


@dataclass
class RunState:
    """run.json: what `status`, `explain` and `report` start from."""

    name: str
    status: str = "running"  # running, done, failed, interrupted
    message: str = ""
    artifacts: dict[str, str | None] = field(default_factory=dict)  # in graph order; fingerprint once sealed
    seconds: dict[str, float] = field(default_factory=dict)  # wall seconds per artifact, in the run that made it
    parts: dict[str, int] = field(default_factory=dict)  # planned parts
    notes: list[str] = field(default_factory=list)
    versions: dict[str, str] = field(default_factory=dict)


class Run:
    """A run folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._read: dict[tuple[str, str], Artifact] = {}  # manifests of many parts take seconds to read

    @staticmethod
    def open(folder: Path) -> Run:
        """An existing run.

        Raises:
            RecipeError: there is none in this folder.
        """
        if not storage.exists(folder / RUN_FILE):
            raise RecipeError(f"{storage.shown(folder)} is not the folder of a run: it has no {RUN_FILE}")
        return Run(folder)

    @cached_property
    def state(self) -> RunState:
        return RunState(**json.loads(storage.read_bytes(self.folder / RUN_FILE)))

    def begin(self, graph: Graph, versions: Mapping[str, str]) -> None:
        """Write the recipe and a fresh state, keeping how long earlier artifacts took."""
        seconds = self.state.seconds if storage.exists(self.folder / RUN_FILE) else {}
        storage.replace(self.folder / RECIPE_FILE, _recipe_of(graph))
        self.state = RunState(
            graph.recipe.name,
            artifacts={node.name: None for node in graph.nodes},
            seconds=dict(seconds),
            notes=graph.notes(),
            versions=dict(versions),
        )
        self.save_state()

    def has_recipe(self, graph: Graph) -> bool:
        """Whether the recipe was last run as it is now."""
        path = self.folder / RECIPE_FILE
        return storage.exists(path) and storage.read_bytes(path) == _recipe_of(graph)

    def save_state(self) -> None:
        """Write run.json."""
        storage.replace(self.folder / RUN_FILE, json.dumps(vars(self.state), indent=1).encode())

    @contextmanager
    def at_work(self, alone: bool = False) -> Iterator[None]:
        """Hold the run while working on it. The kernel lets go of it when the process ends, however it ends.

        Args:
            alone: what is there is to be changed, which no other process may be reading.

        Raises:
            StageError: another process is at work on the run, and one of the two wants to be alone.
            OSError: the file system knows no locks, and this one wants to be alone.
        """
        if alone and storage.store_of(self.folder):
            raise StageError(
                f"{storage.shown(self.folder)}: in an object store nothing tells whether other machines are at work on "
                "the run, so it is changed in a copy: when nobody is, copy it to a folder, give this command for that "
                "folder, and bring it back, deleting in the store what was deleted in it (docs/object-stores.md)"
            )
        with storage.held(self.folder, alone):
            yield

    def artifact_folder(self, name: str) -> ArtifactFolder:
        return ArtifactFolder(self.folder, name)

    def artifacts(self) -> dict[str, Artifact]:
        """The sealed artifacts of this run, in graph order."""
        found = (
            (name, self.sealed(name, fingerprint)) for name, fingerprint in self.state.artifacts.items() if fingerprint
        )
        return {name: artifact for name, artifact in found if artifact is not None}

    def sealed(self, name: str, fingerprint: str) -> Artifact | None:
        """The artifact of this name and fingerprint, if it is complete; read once.

        Raises:
            StageError: its manifest is damaged.
        """
        if (name, fingerprint) not in self._read:
            artifact = self.artifact_folder(name).sealed(fingerprint)
            if artifact is None:
                return None
            self._read[name, fingerprint] = artifact
        return self._read[name, fingerprint]

    def seal(self, artifact: Artifact) -> None:
        """Make an artifact complete by its manifest."""
        self.artifact_folder(artifact.name).seal(artifact)
        self._read[artifact.name, artifact.fingerprint] = artifact

    def read_anew(self) -> None:
        """Forget what was read: manifests have been replaced."""
        self._read.clear()


def _recipe_of(graph: Graph) -> bytes:
    return yaml.safe_dump(without_credentials(graph.recipe.values), sort_keys=False).encode()


@dataclass(frozen=True)
class Plan:
    """All parts of one node, once its inputs are sealed; of a shuffle, those of the phase at hand."""

    node: Node
    fingerprint: str
    specs: tuple[PartSpec, ...]
    inputs: Mapping[str, str]

    def artifact(self, run: Run, parts: Sequence[Part], phases: Sequence[Phase] = ()) -> Artifact:
        """The artifact that these parts make up; ``phases``: those of a shuffle."""
        steps = tuple(
            {
                "label": step.label,
                "stage": step.stage.name,
                "version": step.stage.version,
                "config": without_credentials(step.stage.config.identity()),
                "class": f"{type(step.stage).__module__}:{type(step.stage).__qualname__}",
                "options": without_credentials(step.stage.config.model_dump(mode="json")),
                "side": dict(step.side),
            }
            for step in self.node.steps
        )
        notes = tuple(f"{step.label}: {note}" for step in self.node.steps if (note := step.stage.note()))
        return Artifact(
            self.node.name,
            self.node.produces,
            self.fingerprint,
            run.artifact_folder(self.node.name).folder,
            steps,
            self.inputs,
            tuple(parts),
            notes,
            tuple(phase.costs() for phase in phases),
        )


def plan_node(run: Run, graph: Graph, node: Node, sealed: Mapping[str, Artifact], digests: InputDigests) -> Plan:
    """Keys and inputs of all parts of a node whose dependencies are sealed; of a shuffle, those of its first phase.

    A part's key is a digest of its stages (name, version, configuration, models) and of its input's content: paths,
    resources and the number of workers are not in it.
    """
    upstream = [sealed[name] for name in node.inputs]
    stage = node.steps[0].stage
    base = _identity(graph, node, sealed)
    key_of = digests_behind(base)
    has_slices = any(_is_shuffle(graph, name) for step in node.steps for name in step.side.values())
    steps = () if has_slices else _steps(graph, node, sealed)
    gpus = max(getattr(step.stage, "gpus", 0.0) for step in node.steps)
    # at most one: a stage with a service commits its output, so nothing is fused behind it
    service = next((s for step in node.steps if isinstance(step.stage, Map) and (s := step.stage.service())), None)

    def spec(content: object, name: str, document_part: str = "", **inputs: Any) -> PartSpec:
        key = key_of(content)[:32]
        own = steps or _steps(graph, node, sealed, document_part)
        return PartSpec(run.folder, node.name, key, name, own, graph.recipe.seed, gpus=gpus, service=service, **inputs)

    specs: list[PartSpec]
    if node.is_source:
        source = node.source_name
        specs = [
            spec([source, _split_content(split, digests)], split_name(split), split=split, source=source)
            for split in node.splits
        ]
    elif node.is_shuffle:
        specs = plan_phase(run, graph, node, sealed, ())
    elif isinstance(stage, Gather):
        specs = [
            spec([part.digest for part in group], _group_name(group), documents=tuple(part.path for part in group))
            for group in stage.groups(document_parts(upstream))
        ]
    elif node.is_global:
        content = [[artifact.name, artifact.digest] for artifact in upstream]
        specs = [spec(content, "all", artifacts=_by_kind(upstream), cpus=getattr(stage, "cpus", 1))]
    else:
        sliced = [name for role, name in sorted(node.steps[0].side.items()) if _is_shuffle(graph, name)]
        specs = [
            spec(
                [document.digest, *(sealed[name].part_named(document.name).digest for name in sliced)],
                f"{document.artifact}/{document.part}",
                document.name,
                documents=(document.path,),
                is_sliced=bool(sliced),
            )
            for document in document_parts(upstream)
        ]
    keys = [] if node.is_shuffle else [s.key for s in specs]  # its tasks follow from settings that change no result
    fingerprint = digest_of([base, node.name, keys, [a.digest for a in upstream]])[:32]
    return Plan(node, fingerprint, tuple(specs), {a.name: a.digest for a in upstream})


def plan_phase(
    run: Run, graph: Graph, node: Node, sealed: Mapping[str, Artifact], phases: Sequence[Phase]
) -> list[PartSpec]:
    """The tasks of a shuffle behind the phases that are done; none if all is done.

    Raises:
        StageError: two of them have one name, or there is not one phase.
    """
    stage = node.steps[0].stage
    assert isinstance(stage, Shuffle)
    tasks = stage.plan(_by_kind([sealed[name] for name in node.inputs]), phases)
    if len({task.name for task in tasks}) < len(tasks) or len({task.phase for task in tasks}) > 1:
        names = ", ".join(sorted({f"{task.phase}: {task.name}" for task in tasks})[:5])
        raise StageError(f"{node.name}: stage {stage.name} plans tasks that are not to be told apart ({names}): a bug")
    base = _identity(graph, node, sealed)
    return [
        PartSpec(
            run.folder,
            node.name,
            digest_of([base, task.phase, task.name, task.content, task.arguments])[:32],
            task.name,
            _steps(graph, node, sealed),
            graph.recipe.seed,
            cpus=stage.cpus,
            gpus=stage.gpus,
            task=task,
        )
        for task in tasks
    ]


def _identity(graph: Graph, node: Node, sealed: Mapping[str, Artifact]) -> dict[str, Any]:
    """What all parts of a node have in common; slices are each part's own."""
    return {
        "seed": graph.recipe.seed,
        "steps": [
            [s.stage.name, s.stage.version, s.stage.config.identity()]
            + [[role, sealed[name].digest] for role, name in sorted(s.side.items()) if not _is_shuffle(graph, name)]
            for s in node.steps
        ],
    }


def _steps(graph: Graph, node: Node, sealed: Mapping[str, Artifact], document_part: str = "") -> tuple[StepSpec, ...]:
    """The stages of a task, each with the folders it is given at its side: of a shuffle, the slice of this part."""

    def folder(name: str) -> Path:
        artifact = sealed[name]
        if _is_shuffle(graph, name):
            return artifact.folder / artifact.part_named(document_part).folder
        return artifact.committed_folder

    return tuple(
        StepSpec(
            step.label,
            type(step.stage),
            step.stage.config,
            {role: folder(name) for role, name in sorted(step.side.items())},
        )
        for step in node.steps
    )


def _is_shuffle(graph: Graph, name: str) -> bool:
    return any(node.name == name and node.is_shuffle for node in graph.nodes)


def _by_kind(artifacts: Iterable[Artifact]) -> dict[str, list[Artifact]]:
    by_kind: dict[str, list[Artifact]] = {}
    for artifact in artifacts:
        by_kind.setdefault(artifact.kind, []).append(artifact)
    return by_kind


def _split_content(split: Split, digests: InputDigests) -> list[list[str]]:
    return [[file.name, digests.of(file)] for file in split.files]


def split_name(split: Split) -> str:
    more = f" and {len(split.files) - 1} more" if len(split.files) > 1 else ""
    return split.files[0].name + more


def _group_name(group: Sequence[DocumentPart]) -> str:
    more = f" and {len(group) - 1} more" if len(group) > 1 else ""
    return f"{group[0].artifact}/{group[0].part}{more}"


def check_edges(artifact: Artifact, node: Node, sealed: Mapping[str, Artifact]) -> None:
    """Raise unless this artifact received what its inputs kept.

    Raises:
        LedgerError: documents were lost or doubled between two artifacts.
    """
    artifact.ledger.check(artifact.name)
    label, counts = artifact.ledger.first()
    if not counts and node.is_global:
        return  # looked at documents without being their next stop
    if node.inputs:
        documents = [sealed[name] for name in node.inputs if sealed[name].kind == "documents"]
        kept = kept_by_source(a.ledger.last() for a in documents)
        check_edge(artifact.name, " and ".join(a.name for a in documents), kept, label, counts)
