"""What other thresholds would have kept: the rules of an artifact's filters, applied again to the stored scores.

No text is read. Documents that an earlier filter dropped have scores of the later filters too (pipeline.filter);
where one has not, because a stage that is no filter stands between or the filter is costly, it ends as ``unknown``
and is counted, never guessed.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray
from pydantic import ValidationError

from pipeline import storage
from pipeline.artifact import DOCUMENTS_FILE, REMOVED_FILE, Artifact, Part, digest_of, read_tables
from pipeline.errors import RecipeError
from pipeline.filter import Filter
from pipeline.progress import Tick, silent
from pipeline.recipe import parsed_value
from pipeline.registry import did_you_mean, stage_class
from pipeline.run import Run
from pipeline.stage import Context

UNKNOWN = "unknown"
SELECTION_SCHEMA = pa.schema(
    [(name, pa.string()) for name in ("id", "source", "verdict", "step", "reason", "evidence")]
)
"""One row a document: verdict kept, dropped, failed or unknown, and where and why it ended."""

Ending = tuple[str, str, str, str]  # verdict, step, reason, evidence
KEPT: Ending = ("kept", "", "", "")


@dataclass(frozen=True)
class DecidedStep:
    """A step of an artifact; ``filter`` is None where its decisions cannot be made again: it is no filter, or what it
    measured is no longer there."""

    label: str
    filter: Filter[Any] | None


@dataclass
class Selection:
    """What other thresholds keep. Counts are by (source, verdict, step, reason)."""

    path: Path
    steps: Sequence[str]  # labels, in the order of the chain
    before: Counter[tuple[str, str, str, str]] = field(default_factory=Counter)
    after: Counter[tuple[str, str, str, str]] = field(default_factory=Counter)


def rethreshold(
    folder: Path, name: str, changes: Sequence[str], out: Path | None = None, tick: Tick = silent
) -> Selection:
    """Decide again about every document that artifact ``name`` of a run has seen, and write the selection.

    Args:
        changes: ``stage.option=value``, options that a rule of a filter compares with.
        out: Parquet file to write; RUN/selections/<name>-<digest of the changes>.parquet if absent.

    Raises:
        RecipeError: no such run, artifact, stage or option; or an option that is no threshold.
    """
    run = Run.open(folder)
    artifacts = run.artifacts()
    if name not in artifacts or artifacts[name].kind != "documents":
        documents = {n: a for n, a in artifacts.items() if a.kind == "documents" and "." not in n}
        for whole, artifact in documents.items():
            if any(step["label"].partition(".")[0] == name for step in artifact.steps):
                raise RecipeError(f"'{name}' was run as part of '{whole}': give '{whole}' in its place")
        near = did_you_mean(name, list(documents))
        raise RecipeError(f"{storage.shown(folder)} has no finished artifact '{name}' of documents{near}")
    artifact = artifacts[name]
    steps = decided_steps(run, artifact, changes)
    path = out or run.folder / "selections" / f"{name}-{digest_of(list(changes))[:12]}.parquet"
    selection = Selection(path, [step.label for step in steps])
    if path.is_dir():
        raise RecipeError(f"--out {path} is a folder: name a file")
    storage.make_folder(path.parent)  # of this machine: the selection is written here, then moved
    unfinished = path.with_name(f".{path.name}.unfinished")
    schema = SELECTION_SCHEMA.with_metadata({"artifact": name, "fingerprint": artifact.fingerprint} | _said(changes))
    with pq.ParquetWriter(unfinished, schema, compression="zstd") as writer:
        for done, part in enumerate(artifact.parts):
            tick(done, len(artifact.parts))
            for rows, before in seen(artifact, steps, [part]):
                endings = _decided(steps, rows, before)
                writer.write_table(_table(rows, endings).replace_schema_metadata(schema.metadata))
                sources = rows.column("source").to_pylist()
                selection.before.update((source, *ending[:3]) for source, ending in zip(sources, before, strict=True))
                selection.after.update((source, *ending[:3]) for source, ending in zip(sources, endings, strict=True))
    storage.move(unfinished, path)
    return selection


def _said(changes: Sequence[str]) -> dict[str, str]:
    return {"changes": json.dumps(list(changes))}


def decided_steps(run: Run, artifact: Artifact, changes: Sequence[str] = ()) -> list[DecidedStep]:
    """The artifact's steps, filters with the changed options and ready to decide.

    Raises:
        RecipeError: a change names no filter or no threshold of it, or its value is not valid.
    """
    if not says_its_stages(artifact):
        raise RecipeError(f"{artifact.name} was made by an older Sluice, which kept no options: run it again")
    lost = _lost_measures(artifact)
    changed: dict[str, dict[str, Any]] = {str(step["label"]): {} for step in artifact.steps}
    for change in changes:
        stage, option, value = _parsed(change)
        changed[_label(artifact, stage, change)][option] = value
    steps = []
    sealed = run.artifacts()
    for step in artifact.steps:
        label = str(step["label"])
        kind = stage_class(step["class"])
        if not issubclass(kind, Filter):
            if changed[label]:
                raise RecipeError(f"{label} is no filter: it has no thresholds. Change its options and run again")
            steps.append(DecidedStep(label, None))
            continue
        if label in lost:
            if changed[label]:
                raise RecipeError(f"{label}: {lost[label]}: run the recipe with it")
            steps.append(DecidedStep(label, None))
            continue
        filter_ = _configured(kind, label, step["options"], changed[label])
        side = {role: sealed[name].files_folder for role, name in step["side"].items()}
        decided = DecidedStep(label, filter_)

        def documents(decided: DecidedStep = decided) -> Iterator[pa.Table]:
            return (rows for rows, _ in seen(artifact, [decided], artifact.parts))

        filter_.load_limits(Context(0, side), documents)
        steps.append(decided)
    return steps


def says_its_stages(artifact: Artifact) -> bool:
    """Whether its thresholds can be told: older releases of Sluice did not write down classes and options."""
    return all("class" in step for step in artifact.steps)


def _lost_measures(artifact: Artifact) -> dict[str, str]:
    """The filters whose measures are not stored as they saw them, by label, and why not."""
    path = next(artifact.file_paths(DOCUMENTS_FILE), None)
    stored = set(pq.read_schema(path).names) if path else None
    lost: dict[str, str] = {}
    written: dict[str, str] = {}  # columns that later steps write, and the step
    creator = ""  # a later step that makes documents, which have no measures of the steps before it
    for number, step in reversed(list(enumerate(artifact.steps))):
        label, kind = str(step["label"]), stage_class(step["class"])
        if issubclass(kind, Filter) and (looks_at := kind.looks_at()):
            if again := sorted(written.keys() & looks_at.keys()):
                lost[label] = f"{written[again[0]]} has written over {', '.join(again)}"
            elif creator:
                lost[label] = f"{creator} writes new documents, which {label} has not seen"
            elif stored is not None and (gone := sorted(looks_at.keys() - stored)):
                lost[label] = f"a later stage has taken away {', '.join(gone)}"
        written |= dict.fromkeys(getattr(kind, "provides", ()), label)
        if number and any(counts.created for counts in artifact.ledger.steps[label].values()):
            creator = label
    return lost


def _parsed(change: str) -> tuple[str, str, Any]:
    key, equals, text = change.partition("=")
    stage, dot, option = key.rpartition(".")
    if not equals or not dot:
        raise RecipeError(f"--set {change}: expected stage.option=value, for example --set gopher_quality.min_words=30")
    return stage, option, parsed_value(text)


def _label(artifact: Artifact, stage: str, change: str) -> str:
    names = {
        str(step["label"]): {step["label"], step["label"].partition(".")[2], step["stage"]} - {""}
        for step in artifact.steps
    }
    found = [label for label, known in names.items() if stage in known]
    if len(found) > 1:
        raise RecipeError(f"--set {change}: say which '{stage}' is meant: {' or '.join(found)}")
    if not found:
        known = sorted(set().union(*names.values()))
        raise RecipeError(f"--set {change}: {artifact.name} has no stage '{stage}'{did_you_mean(stage, known)}")
    return found[0]


def _configured(kind: type[Filter[Any]], label: str, options: dict[str, Any], changes: dict[str, Any]) -> Filter[Any]:
    thresholds = sorted({rule.option for rule in kind.rules} - kind.edits_by)
    for option in changes:
        if option in thresholds:
            continue
        if option in kind.config_type.model_fields:
            raise RecipeError(
                f"{label}: the option '{option}' changes what is measured, not what is kept: run the recipe with it. "
                f"Thresholds are {', '.join(thresholds)}"
            )
        raise RecipeError(f"{label}: unknown option '{option}'{did_you_mean(option, thresholds)}")
    try:
        return kind(kind.config_type.model_validate({**options, **changes}))
    except ValidationError as error:
        problems = "; ".join(f"{'.'.join(map(str, d['loc']))}: {d['msg']}" for d in error.errors())
        raise RecipeError(f"{label}: {problems}") from None


def seen(
    artifact: Artifact, steps: Sequence[DecidedStep], parts: Sequence[Part]
) -> Iterator[tuple[pa.Table, list[Ending]]]:
    """All documents that these parts have seen: id, source and what the filters look at; and how each ended."""
    types: dict[str, pa.DataType] = {}
    for step in steps:
        types |= step.filter.looks_at() if step.filter is not None else {}
    types.pop("source", None)
    for part in parts:
        names = {file.path for file in part.files}
        if DOCUMENTS_FILE in names:
            for rows in read_tables(artifact.folder / part.folder / DOCUMENTS_FILE, ["id", "source", *types], 8192):
                yield rows, [KEPT] * rows.num_rows
        path = artifact.folder / part.folder / REMOVED_FILE
        for removed in read_tables(path) if REMOVED_FILE in names else ():
            scores = [json.loads(text) for text in removed.column("scores").to_pylist()]
            columns = {name: pa.array([score.get(name) for score in scores], kind) for name, kind in types.items()}
            rows = pa.table({"id": removed.column("id"), "source": removed.column("source"), **columns})
            ended = [removed.column(name).to_pylist() for name in ("verdict", "step", "reason", "evidence")]
            yield rows, list(zip(*ended, strict=True))


def _decided(steps: Sequence[DecidedStep], rows: pa.Table, before: Sequence[Ending]) -> list[Ending]:
    """How each document ends now."""
    positions = {step.label: i for i, step in enumerate(steps)}
    ended = np.array([positions.get(ending[1], len(steps)) for ending in before], np.int64)
    endings: list[Ending] = [KEPT] * rows.num_rows
    alive = np.ones(rows.num_rows, np.bool_)

    def end(which: NDArray[np.int64], how: Sequence[Ending]) -> None:
        for i, ending in zip(which.tolist(), how, strict=True):
            endings[i] = ending
        alive[which] = False

    for position, step in enumerate(steps):
        if step.filter is None:
            here = np.flatnonzero(alive & (ended == position))
            end(here, [before[i] for i in here.tolist()])
        if step.filter is None or not step.filter.measures_dropped:
            unseen = np.flatnonzero(alive & (ended < position))
            end(unseen, [(UNKNOWN, step.label, "not_seen", f"{step.label} has not seen it")] * len(unseen))
        if step.filter is not None:
            there = np.flatnonzero(alive)
            verdicts = step.filter.verdicts(rows.take(pa.array(there)))
            broken = [i for i, verdict in enumerate(verdicts) if verdict is not None]
            end(there[broken], [(v[0], step.label, v[1], v[2]) for v in verdicts if v is not None])
    return endings


def _table(rows: pa.Table, endings: Sequence[Ending]) -> pa.Table:
    columns = [pa.array(values, pa.string()) for values in zip(*endings, strict=True)] if endings else [[]] * 4
    return pa.table([rows.column("id"), rows.column("source"), *columns], schema=SELECTION_SCHEMA)
