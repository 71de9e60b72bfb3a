"""`sluice try`: a stage run on a few files in this process, to get to know it."""

from __future__ import annotations

import json
import re
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rich.console import Console

from pipeline.artifact import Artifact
from pipeline.errors import RecipeError
from pipeline.executors import InProcess
from pipeline.graph import Graph, build_graph
from pipeline.progress import Display, now_and_then
from pipeline.recipe import parsed_value, recipe_of
from pipeline.registry import stage_class, whole_of
from pipeline.run import InputDigests, Run
from pipeline.runner import Scheduler, stage_progress
from pipeline.stage import Composite, Map, Source, is_measured

PACKINGS = ("", ".gz", ".zst", ".xz", ".bz2")
INTAKE = {
    (".warc", ".warc.gz", ".warc.zst", ".arc", ".arc.gz"): "common_crawl",
    (".wet", ".wet.gz"): "common_crawl_text",
    (".html", ".htm", ".xhtml"): "html_files",
    (".pdf",): "pdf",
    (".epub",): "epub",
    tuple(f".{kind}{packed}" for kind in ("jsonl", "ndjson", "json") for packed in PACKINGS): "json_lines",
    tuple(f".{kind}{packed}" for kind in ("csv", "tsv", "tab") for packed in PACKINGS): "tables",
    (".parquet", ".arrow", ".arrows", ".feather", ".ipc"): "tables",
    tuple(f".xml{packed}" for packed in PACKINGS): "mediawiki",
    (".7z",): "stack_exchange",
    tuple(f".{kind}{packed}" for kind in ("txt", "text") for packed in PACKINGS): "plain_text",
}
"""Which stage reads a file given to `sluice try`, by the end of its name; all other files are source code."""


def try_stage(name: str, files: Sequence[str], options: Sequence[str], is_quiet: bool = True) -> Iterator[str]:
    """Run one stage on a few files, in this process; yields one JSON line a document.

    Raises:
        RecipeError: unknown stage or option, files that this stage cannot read, or a stage that cannot be tried alone.
    """
    graph = _try_graph(name, files, options)
    folder = Path(tempfile.mkdtemp(prefix="sluice-try-"))
    try:
        run = Run(folder)
        run.begin(graph, {})
        sealed: dict[str, Artifact] = {}
        display = _Fleeting(Console(stderr=True, quiet=is_quiet), stage_progress(graph, {}))
        with display.shown():
            Scheduler(run, graph, sealed, InputDigests(run.folder), display).execute(InProcess())
        yield from (line for _, line in sorted(_try_lines(graph, sealed)))
    finally:
        if not (folder / "error.log").exists():  # which an error's message names
            shutil.rmtree(folder)


class _Fleeting(Display):
    """Shows how far the stages are, and leaves nothing behind: a few files need no line a stage."""

    is_transient = True

    @contextmanager
    def shown(self) -> Iterator[None]:
        """Show progress inside the block, also while a part holds up this process, which does all the work."""
        with super().shown(), now_and_then(self.tick):
            yield

    def say(self, message: str) -> None:
        """Not told."""

    def stage_ended(self, name: str) -> None:
        """Not told."""


def _try_graph(name: str, files: Sequence[str], options: Sequence[str]) -> Graph:
    """The stage behind those that make documents of the files.

    Raises:
        RecipeError: in one line.
    """
    stage = stage_class(name)
    if whole := whole_of(name):
        raise RecipeError(
            f"'{name}' works with what other parts of '{whole}' have made: try '{whole}', or run it in a recipe"
        )
    if not issubclass(stage, Composite) and stage.produces != "documents":
        raise RecipeError(f"'{name}' does not return documents but {stage.produces}: try it in a recipe")
    recipe = recipe_of(Path.cwd() / f"try {name}", _try_values(name, files, options))
    try:
        graph = build_graph(recipe, fuse=False)
    except RecipeError as error:
        raise RecipeError("; ".join(str(error).splitlines())) from error
    if (kind := next(node.produces for node in graph.nodes if node.name == "try")) != "documents":
        raise RecipeError(f"'{name}' does not return documents but {kind}: try it in a recipe")
    return graph


def _try_values(name: str, files: Sequence[str], options: Sequence[str]) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for option in options:
        key, equals, text = option.partition("=")
        if not equals:
            raise RecipeError(f"--set {option}: expected key=value, for example --set min_words=20")
        values[key] = parsed_value(text)
    stage = stage_class(name)
    if issubclass(stage, Source) or (issubclass(stage, Composite) and stage.reads_files):
        return {"name": "try", "artifacts": {"try": {"stage": name, "files": list(files), **values}}}
    intakes = {_intake(file) for file in files}
    if len(intakes) > 1:
        raise RecipeError(f"give files of one kind at a time: these are for {' and '.join(sorted(intakes))}")
    (intake,) = intakes
    artifacts: dict[str, Any] = {"input": {"stage": intake, "files": list(files), "source": "try"}}
    upstream = "input"
    wants = stage.requires if issubclass(stage, Map) else ("text",)
    if "text" in wants and "text" not in getattr(stage_class(intake), "provides", ("text",)):
        artifacts["extracted"] = {"stage": "extract_html", "from": upstream}
        upstream = "extracted"
    artifacts["try"] = {"stage": name, "from": upstream, **values}
    return {"name": "try", "artifacts": artifacts}


def _intake(file: str) -> str:
    for suffixes, stage in INTAKE.items():
        if file.lower().endswith(suffixes):
            return stage
    return "source_code"


def _try_lines(graph: Graph, sealed: Mapping[str, Artifact]) -> Iterator[tuple[list[str | int], str]]:
    """For each document a key that sorts ids as people do, and its line."""
    texts: dict[str, str] = {}
    for node in graph.nodes:
        artifact = sealed[node.name]
        for table in artifact.removed():
            for gone in table.to_pylist():
                scores = json.loads(gone.pop("scores"))
                yield _line(gone["id"], gone, scores, texts.get(gone["id"], gone["excerpt"]))
        if node.name not in ("input", "extracted", "try"):
            continue  # private to a composite
        for table in artifact.tables():
            if node.name == "try":
                for row in table.to_pylist():
                    scores = {column: value for column, value in row.items() if is_measured(column)}
                    yield _line(row["id"], {"verdict": "kept"}, scores, row.get("text", texts.get(row["id"])))
            else:
                texts.update(zip(table["id"].to_pylist(), table["text"].to_pylist(), strict=True))


def _line(
    document: str, ending: Mapping[str, Any], scores: Mapping[str, Any], text: str | None
) -> tuple[list[str | int], str]:
    values = {
        "id": document,
        "kept": ending["verdict"] == "kept",
        "verdict": ending["verdict"],
        "reason": ending.get("reason"),
        "evidence": ending.get("evidence"),
        "scores": scores,
        "text": text,
    }
    key = [int(piece) if piece.isdecimal() else piece for piece in re.split(r"(\d+)", document)]
    return key, json.dumps(values, ensure_ascii=False, default=str)
