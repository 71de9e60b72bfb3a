"""What the commands of the command line do. Nothing here parses arguments or formats help."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from rich.console import Console
from rich.table import Table

from pipeline import storage
from pipeline.artifact import Artifact, Part
from pipeline.errors import MachineError, RecipeError, SluiceError
from pipeline.executors import OnRay
from pipeline.fetched import told
from pipeline.graph import Graph, build_graph
from pipeline.ledger import Counts
from pipeline.locations.location import SERVER_REASONS, shown
from pipeline.progress import Display, StageProgress, reported_steps, say, say_last, table_of, working
from pipeline.recipe import load_recipe
from pipeline.report import write_report
from pipeline.rethreshold import UNKNOWN, Selection
from pipeline.run import RUN_FILE, InputDigests, Run
from pipeline.runner import Scheduler, installed_versions, sealed_artifacts, stage_progress
from pipeline.take_down import TOLD, Change, Found, Rewrite, find
from pipeline.take_down import notes as taken_down_notes
from pipeline.take_down import take_down as take_documents_down


def run_recipe(
    recipe: str | Path,
    overrides: Sequence[str],
    out: Path | None,
    address: str | None,
    console: Console,
    retry: bool = False,
    is_verbose: bool = False,
) -> Run:
    """Validate a recipe, run what is missing, write the report.

    Args:
        recipe: path or URL of its file.
        console: a quiet one is still given the last line.
        retry: read again the parts in which a server's file could not be had in an earlier run.
        is_verbose: tell of each part as it is handed out and as it ends.

    Raises:
        RecipeError: the recipe is wrong; nothing was started.
        SluiceError: the run stopped; giving the same command again goes on from there.
    """
    started = time.monotonic()
    graph = build_graph(load_recipe(recipe, overrides))
    run = Run((out or Path("runs") / graph.recipe.name).resolve())
    storage.check(run.folder)
    with run.at_work():
        _run_graph(run, graph, address, console, retry, is_verbose, started)
    return run


def _run_graph(
    run: Run, graph: Graph, address: str | None, console: Console, retry: bool, is_verbose: bool, started: float
) -> None:
    if retry:
        for node in graph.nodes:
            if node.is_source and (parts := run.artifact_folder(node.name).forget(_was_not_served)):
                console.print(f"{node.name}: {parts} parts are read again")
    digests = InputDigests(run.folder)
    sealed = sealed_artifacts(run, graph, digests)
    fingerprints = {name: artifact.fingerprint for name, artifact in sealed.items()}
    if len(sealed) == len(graph.nodes) and _is_finished(run, graph, fingerprints):
        say_last(
            console,
            f"{storage.shown(run.folder)} is complete: all {len(sealed)} artifacts are there, nothing was run "
            f"({time.monotonic() - started:.1f} s). Report: {storage.shown(run.folder / 'report.html')}",
        )
        _tell_taken_down(run, sealed, console)
        return
    run.begin(graph, installed_versions())
    run.state.artifacts.update(fingerprints)
    run.save_state()
    for note in run.state.notes:
        say(console, f"note: {note}")
    display = Display(console, stage_progress(graph, sealed), is_verbose)
    try:
        if len(sealed) < len(graph.nodes):
            if sealed:
                console.print(f"{len(sealed)} of {len(graph.nodes)} artifacts are there already; going on")
            with display.shown():
                Scheduler(run, graph, sealed, digests, display).execute(OnRay(address, graph.recipe.supervision))
        run.state.status = "done"
    except SluiceError as error:
        run.state.status, run.state.message = "failed", shown(told(str(error)))
        if not isinstance(error, MachineError):  # on a full disk the report could not be written either
            write_report(run)
        raise
    except KeyboardInterrupt:
        run.state.status = "interrupted"
        console.print("interrupted; the same command goes on where this one was")
        raise  # the command line exits with status 130
    finally:
        run.save_state()
    with working("writing the report", console.quiet) as tick:
        report = write_report(run, tick)
    console.print(summary_table(run))
    _tell_taken_down(run, run.artifacts(), console)
    say_last(console, f"done in {time.monotonic() - started:.0f} s. Report: {storage.shown(report)}")


def _tell_taken_down(run: Run, artifacts: Mapping[str, Artifact], console: Console) -> None:
    for note in taken_down_notes(run, artifacts):
        say(console, f"note: {note}")


def _was_not_served(part: Part) -> bool:
    counts = (counts for sources in part.ledger.steps.values() for counts in sources.values())
    return any(SERVER_REASONS & counted.failed.keys() for counted in counts)


def _is_finished(run: Run, graph: Graph, fingerprints: Mapping[str, str]) -> bool:
    """Whether the run has ended well and its report tells of this very recipe: options that change no artifact, such as
    prices, are in the recipe alone."""
    try:
        state = Run.open(run.folder).state
    except RecipeError:
        return False
    is_same = run.has_recipe(graph) and state.artifacts == fingerprints
    return state.status == "done" and is_same and storage.exists(run.folder / "report.html")


def validate(recipe: str | Path, overrides: Sequence[str], full: bool, as_json: bool) -> str:
    """What to print for a valid recipe: a summary, or the whole recipe with every default; YAML, or JSON.

    Raises:
        RecipeError: all problems.
    """
    graph = build_graph(load_recipe(recipe, overrides))
    if as_json:
        return json.dumps(_plain(graph) | {"notes": graph.notes()}, indent=1, ensure_ascii=False)
    if full:
        return yaml.safe_dump(_plain(graph), sort_keys=False)
    parts = sum(len(node.splits) for node in graph.nodes)
    lines = [f"{shown(str(recipe))} is valid: {len(graph.nodes)} artifacts, {parts} input parts"]
    for node in graph.nodes:
        stages = " -> ".join(step.stage.name for step in node.steps)
        inputs = f" from {', '.join(node.inputs)}" if node.inputs else f" ({len(node.splits)} parts)"
        lines.append(f"  {node.name}: {stages}{inputs}")
    return "\n".join([*lines, *(f"note: {note}" for note in graph.notes())])


def _plain(graph: Graph) -> dict[str, Any]:
    """The recipe with every option and its value."""
    nodes = {
        node.name: {
            "from": list(node.inputs),
            "stages": [{step.stage.name: step.stage.config.model_dump(mode="json")} for step in node.steps],
        }
        for node in graph.nodes
    }
    return {
        "name": graph.recipe.name,
        "seed": graph.recipe.seed,
        "on_failed": graph.recipe.on_failed,
        "supervision": graph.recipe.supervision.model_dump(mode="json"),
        "artifacts": nodes,
    }


def summary_table(run: Run) -> Table:
    """In, kept, dropped, failed per step and source, from the ledger; "joined" where rows became part of others."""
    rows = list(ledger_rows(run))
    joins = any(counts.joined for _, _, counts in rows)
    table = Table(box=None, padding=(0, 1), title="ledger", title_justify="left")
    for heading in ("stage", "source", "in", "created", "kept", "dropped", "failed", *("joined",) * joins):
        table.add_column(heading, justify="left" if heading in ("stage", "source") else "right", overflow="fold")
    for label, source, counts in rows:
        table.add_row(
            label,
            source,
            *(f"{n:,}" for n in (counts.received, counts.created, counts.kept)),
            f"{counts.dropped.total():,}",
            f"{counts.failed.total():,}",
            *(f"{counts.joined:,}",) * joins,
        )
    return table


def ledger_rows(run: Run) -> Iterator[tuple[str, str, Counts]]:
    """Step label, source and counts, in graph order."""
    for artifact in run.artifacts().values():
        for label, sources in artifact.ledger.steps.items():
            for source, counts in sorted(sources.items()):
                yield label, source, counts


def selection_json(selection: Selection) -> str:
    """What other thresholds keep, for programs: documents by source, step and reason, before and now."""
    keys = sorted({*selection.before, *selection.after})
    named = ("source", "verdict", "step", "reason")
    ends = [
        dict(zip(named, key, strict=True)) | {"before": selection.before[key], "now": selection.after[key]}
        for key in keys
    ]
    return json.dumps({"selection": str(storage.shown(selection.path)), "documents": ends}, indent=1)


def selection_told(selection: Selection) -> tuple[str, tuple[Table, Table]]:
    """What other thresholds keep: a sentence, documents by source, and documents by reason."""
    sources = Table(box=None, padding=(0, 1), title="documents by source", title_justify="left")
    for heading in ("source", "seen", "kept before", "kept now", "unknown"):
        sources.add_column(heading, justify="left" if heading == "source" else "right", overflow="fold")
    for source in sorted({key[0] for key in selection.before}):
        numbers = (
            sum(n for key, n in selection.before.items() if key[0] == source),
            _total(selection.before, source, "kept"),
            _total(selection.after, source, "kept"),
            _total(selection.after, source, UNKNOWN),
        )
        sources.add_row(source, *(f"{n:,}" for n in numbers))
    reasons = Table(box=None, padding=(0, 1), title="where documents end", title_justify="left")
    for heading in ("stage", "reason", "before", "now"):
        reasons.add_column(heading, justify="right" if heading in ("before", "now") else "left", overflow="fold")
    ends: dict[tuple[str, str], list[int]] = {}
    for column, counts in enumerate((selection.before, selection.after)):
        for (_, verdict, step, reason), n in counts.items():
            if verdict != "kept":
                ends.setdefault((step, reason), [0, 0])[column] += n
    for (step, reason), both in sorted(ends.items(), key=lambda e: (selection.steps.index(e[0][0]), -e[1][0])):
        reasons.add_row(step, reason, *(f"{n:,}" for n in both))
    unknown = sum(n for key, n in selection.after.items() if key[1] == UNKNOWN)
    place = storage.shown(selection.path)
    message = f"The selection is in {place}: 'select' takes it, or run the recipe with these thresholds"
    if unknown:
        message += (
            f"\n{unknown:,} documents are unknown: they were dropped before a stage that measures only what comes to "
            "it. Run the recipe with these thresholds to know"
        )
    return message, (sources, reasons)


def _total(counts: Mapping[tuple[str, str, str, str], int], source: str, verdict: str) -> int:
    return sum(n for key, n in counts.items() if key[:2] == (source, verdict))


def status(run: Run) -> tuple[str, Table]:
    """One sentence on a run and a table of its stages."""
    stages = _stages_of(run)
    done = sum(stage.state == "done" for stage in stages.values())
    state = {"running": "is running, or was killed"}.get(run.state.status, run.state.status)
    message = f"{run.state.name}: {state}, {done} of {len(stages)} artifacts are there"
    return message + (f"\n{run.state.message}" if run.state.message else ""), table_of(stages)


def status_json(run: Run) -> str:
    """The same for programs."""
    told = ("state", "parts_done", "parts", "records", "documents", "seconds")
    stages = {name: {key: getattr(stage, key) for key in told} for name, stage in _stages_of(run).items()}
    state = run.state
    return json.dumps(
        {"run": state.name, "status": state.status, "message": state.message, "artifacts": stages}, indent=1
    )


def _stages_of(run: Run) -> dict[str, StageProgress]:
    sealed = run.artifacts()
    return {name: _stage_status(run, name, sealed.get(name)) for name in run.state.artifacts}


def _stage_status(run: Run, name: str, artifact: Artifact | None) -> StageProgress:
    seconds = run.state.seconds.get(name, 0.0)
    if artifact is None:
        parts = run.state.parts.get(name, 0)
        commits = run.artifact_folder(name).committed_count()
        state = "started" if parts else "waiting"
        return StageProgress(state, min(commits, parts), parts, seconds=seconds, steps=reported_steps(run.folder, name))
    return StageProgress(
        "done",
        len(artifact.parts),
        len(artifact.parts),
        documents=sum(c.kept for c in artifact.ledger.last().values()),
        records=sum(c.received + c.created for c in artifact.ledger.first()[1].values()),
        seconds=seconds,
    )


def tokens_folder(folder: Path, artifact: str | None) -> Path:
    """The folder of a run's tokens; any other folder stands for itself.

    Raises:
        RecipeError: the run has no finished tokens of this name, or several and none is named.
    """
    if not storage.exists(folder / RUN_FILE):
        return storage.fetched_folder(folder)
    found = {name: a for name, a in Run.open(folder).artifacts().items() if a.kind == "tokens"}
    if artifact is None and len(found) == 1:
        return next(iter(found.values())).files_folder
    if artifact not in found:
        raise RecipeError(
            f"{folder}: name one of its finished token artifacts by --artifact; there are {', '.join(found) or 'none'}"
        )
    return found[artifact].files_folder


def take_down(
    folder: Path,
    ids: Sequence[str],
    ids_file: Path | None,
    urls_file: Path | None,
    rewrite: Rewrite,
    dry_run: bool = False,
    allow_absent: bool = False,
    is_quiet: bool = False,
) -> tuple[dict[str, Any], list[str]]:
    """Take documents out of a run's token shards; without any, finish or repeat what was asked for before.

    Returns:
        What was done (or would be done), as JSON values, and in lines.

    Raises:
        RecipeError: no such run, a file that cannot be read, or documents that the run has not seen.
        StageError: another command is at work on the run, or nothing could tell, as in a store; or shards are damaged.
    """
    run = Run.open(folder)
    place = storage.shown(folder)
    is_told_only = dry_run and storage.store_of(folder) is not None  # nothing changes: others may be at work
    wanted_ids, urls = [*ids, *_lines_of(ids_file)], _lines_of(urls_file)
    if (ids_file or urls_file) and not (wanted_ids or urls):
        raise RecipeError(f"{ids_file or urls_file} names no document")
    with run.at_work(alone=not is_told_only):
        with working("looking for the documents", is_quiet) as tick:
            found = find(run, wanted_ids, urls, tick)
        if found.absent and not allow_absent:
            more = f" and {len(found.absent) - TOLD:,} more" if len(found.absent) > TOLD else ""
            raise RecipeError(
                f"{place} has seen no document of these ids and URLs: {', '.join(found.absent[:TOLD])}{more}. URLs "
                "are compared letter by letter. Nothing was changed; --allow-absent takes down the others"
            )
        if dry_run:
            changes: Sequence[Change] = found.in_shards
        else:
            with working("writing shards without them", is_quiet) as tick:
                changes = take_documents_down(run, found, rewrite, tick)
        told = taken_down_notes(run, run.artifacts())
    values = {
        "dry_run": dry_run,
        "documents_asked": len(found.documents) - found.written_from,
        "documents_written_from_them": found.written_from,
        "absent": list(found.absent),
        "changed": [vars(change) for change in changes],
        "text_remains_in": dict(found.in_artifacts),
        "notes": told,
    }
    return values, [*_taken_down_lines(place, found, changes, dry_run), *(f"note: {note}" for note in told)]


def _lines_of(path: Path | None) -> list[str]:
    """The lines of a file that hold anything."""
    if path is None:
        return []
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise RecipeError(f"{path} cannot be read: {error}") from error
    return [line.strip() for line in text.splitlines() if line.strip()]


def _taken_down_lines(place: str, found: Found, changes: Sequence[Change], dry_run: bool) -> Iterator[str]:
    would = "would be " if dry_run else ""
    yield (
        f"{len(found.documents) - found.written_from:,} documents were asked for, {found.written_from:,} were written "
        "from them"
    )
    if found.absent:
        yield f"{len(found.absent):,} ids and URLs are in none of the run's artifacts"
    for change in changes:
        by_source = ", ".join(f"{source}: {n['documents']:,}" for source, n in sorted(change.by_source.items()))
        yield (
            f"{change.artifact}: {change.documents:,} documents, {change.tokens:,} tokens {would}taken out "
            f"({by_source})"
        )
        for split in change.emptied:
            yield f"{change.artifact}: nothing is left of {split}"
    if not changes:
        yield f"no token shards of {place} hold any of them"
    if found.in_artifacts:
        yield "their text remains in earlier artifacts, where it was read, cleaned and encoded:"
        for name, documents in found.in_artifacts.items():
            yield f"  {name}: {documents:,} documents in {place}/artifacts/{name}"
        yield (
            "to be rid of it, delete these folders; the shards stay. A later 'sluice run' makes them again from the "
            "input, so take the documents out of the input files too. Exports, and answers of models under "
            "artifacts/*/answers, hold what they were made of: delete them, and export again"
        )
