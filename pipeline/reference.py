"""The reference of docs/reference/: recipe, stages, columns and commands, as the code's own types tell them.

python -m pipeline.reference            # writes docs/reference/
"""

from __future__ import annotations

import inspect
import json
import sys
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import typer

from pipeline.artifact import Part
from pipeline.catalog import Option, help_of, kind_of, options_of, recipe_schema, stage_lines
from pipeline.cli import app
from pipeline.filter import Filter
from pipeline.ledger import Counts
from pipeline.registry import stage_class
from pipeline.rethreshold import SELECTION_SCHEMA
from pipeline.stage import DOCUMENT_SCHEMA, Map
from pipeline.supervision import Supervision
from pipeline.task import REMOVED_SCHEMA

HELP_WIDTH = 100
WRITTEN = "<!-- Written by `python -m pipeline.reference`: change the code, not this page. -->\n\n"

AREAS: Mapping[str, tuple[str, str]] = {
    "intake": ("sources", "Sources: what is read"),
    "extract": ("extraction", "Extraction: main text of pages"),
    "pdf": ("pdf", "PDFs"),
    "filters": ("filters", "Filters"),
    "privacy": ("filters", "Filters"),
    "decontaminate": ("filters", "Filters"),
    "dedup": ("dedup", "Duplicates"),
    "rephrase": ("rephrasing", "Rephrasing"),
    "tokenize": ("tokens", "Tokens"),
    "training": ("training", "Mix and pretraining"),
}
"""Page and title of the stages of a folder of stages/."""

DOCUMENT_COLUMNS: Mapping[str, str] = {
    "id": "Stable name, from the origin: file and offset, digest and page, revision. Never a row number.",
    "text": "The text, in UTF-8. Null until a page is extracted.",
    "source": "The name by which counts, the mix and the shards know where it comes from.",
    "url": "Of the page, if it has one.",
    "date": "As the source states it, ISO 8601.",
    "language": "Code of the language, once `language` has measured it or the source states it.",
    "mime": "Media type.",
    "origin": "Where its bytes lie: path or URL, offset and length in bytes, digest.",
    "parent": "Id of the document that it was rephrased from, else null.",
    "meta": "What else the source states, as text: title, licence, headers.",
}

REMOVED_COLUMNS: Mapping[str, str] = {
    "id": "Of the document that ended here.",
    "source": "Of the document.",
    "step": "Artifact and stage that decided, as `clean.gopher_quality`.",
    "verdict": "`dropped`: a decision of the stage. `failed`: bad input, or an error.",
    "reason": "Short and stable; the ledger counts by it.",
    "evidence": "What was measured against what: `12 words < 50`.",
    "excerpt": "First characters of the text.",
    "url": "Of the document.",
    "scores": "JSON: all that was measured of it so far, by column.",
}

LEDGER_COLUMNS: Mapping[str, str] = {
    "in": "Documents that came in.",
    "created": "Documents that the step made: rows that no earlier step has counted.",
    "kept": "Documents that went on to the next step.",
    "dropped": "By reason: documents that the step decided against.",
    "failed": "By reason: documents that could not be read or worked on.",
    "noted": "By note: what was done inside documents, such as `email masked`. Not part of the balance.",
    "joined": "Documents that became part of another, as pages do of their document.",
}

PART_FIELDS: Mapping[str, str] = {
    "key": "Digest of the stages and of the input: what the part is of.",
    "name": "Input file or part, for people.",
    "folder": "Relative to the artifact's folder.",
    "files": "Path, size in bytes, SHA-256 and rows of each file.",
    "ledger": "Counts by step and source, as above.",
    "summary": "What the stage tells the report.",
    "seconds": "Wall time.",
    "cpu_seconds": "CPU time of the task and its processes.",
    "peak_memory_bytes": "Largest resident set.",
    "gpus": "GPUs that it had, or its share of those of a service.",
    "is_first": "Whether loading models is in its seconds.",
}

SELECTION_COLUMNS: Mapping[str, str] = {
    "id": "Of the document.",
    "source": "Of the document.",
    "verdict": "`kept`, `dropped`, `failed`, or `unknown` where scores cannot tell.",
    "step": "Where it would end.",
    "reason": "Why.",
    "evidence": "What was measured against what.",
}


def pages() -> dict[str, str]:
    """The reference: file name and text of each page."""
    stages: dict[str, list[str]] = {}
    titles = dict(AREAS.values())
    for name, sentence in stage_lines():
        page, _ = AREAS[stage_class(name).__module__.split(".")[1]]
        stages.setdefault(page, []).append(name)
        titles.setdefault(page, sentence)
    written = {f"{page}.md": _stages_page(titles[page], names) for page, names in stages.items()}
    written |= {"recipe.md": _recipe_page(), "columns.md": _columns_page(), "commands.md": _commands_page()}
    return {"README.md": _index(stages, titles), **written}


def _index(stages: Mapping[str, list[str]], titles: Mapping[str, str]) -> str:
    sentences = dict(stage_lines())
    lines = ["# Reference", "", "- [The recipe](recipe.md)", "- [Commands](commands.md)", "- [Columns](columns.md)"]
    for page in dict.fromkeys(page for page, _ in AREAS.values()):
        lines += ["", f"## [{titles[page]}]({page}.md)", ""]
        lines += [f"- [{name}]({page}.md#{name}): {_cell(sentences[name])}" for name in stages[page]]
    return _page(lines)


def _stages_page(title: str, names: Iterable[str]) -> str:
    lines = [f"# {title}"]
    for name in names:
        lines += ["", f"## {name}", "", f"*{kind_of(name).capitalize()}.*", "", help_of(name), "", *_looks(name)]
        lines += _options_table(options_of(stage_class(name).config_type))
    return _page(lines)


def _looks(name: str) -> Iterator[str]:
    """What a filter measures, and what it drops for."""
    cls = stage_class(name)
    if issubclass(cls, Filter) and cls.rules:
        yield from _table(
            ("drops as", "where", "is", "option"),
            ((f"`{r.reason}`", f"`{r.measure}`", f"`{r.drops}`", f"`{r.option}`") for r in cls.rules),
        )
    columns = cls.provides if issubclass(cls, Map) else ()
    if columns:
        yield from ("Columns: " + ", ".join(f"`{column}`" for column in columns) + ".", "")


def _options_table(options: Iterable[Option]) -> Iterator[str]:
    rows = [(f"`{o.name}`", o.type, f"`{o.default}`" if o.default else "", o.meaning) for o in options]
    if rows:
        yield from _table(("option", "type", "default", "meaning"), rows)


ARTIFACTS = """An artifact is one of:

```yaml
pages: {stage: json_lines, files: texts/*.jsonl}                      # a source
short: {stage: gopher_quality, from: pages, min_words: 20}            # one stage
clean: {from: pages, chain: [language: {keep: en}, gopher_quality]}   # several, document by document
mine:  {stage: "my_package.stages:MyStage", from: clean}              # a class of your own
```

`from` names one artifact or a list. Paths start at the recipe's folder; URLs do as well."""


def _recipe_page() -> str:
    keys = json.loads(recipe_schema())["properties"]
    verdicts = " or ".join(f"`{verdict}`" for verdict in keys["on_failed"]["enum"])
    rows = [
        ("`name`", "Of the run; the file's name if absent."),
        ("`seed`", f"{keys['seed']['description']} Default {keys['seed']['default']}."),
        ("`on_failed`", f"{keys['on_failed']['description']} {verdicts}."),
        ("`supervision`", inspect.cleandoc(Supervision.__doc__ or "")),
        ("`artifacts`", "By name, what is made."),
    ]
    about = "A YAML file. `sluice new` writes one to begin with, `sluice validate` checks it."
    return _page(
        [
            *("# The recipe", "", about, "", *_table(("key", "meaning"), rows)),
            *("## Artifacts", "", ARTIFACTS, "", "## supervision", "", *_options_table(options_of(Supervision))),
        ]
    )


def _columns_page() -> str:
    counts = Counts().to_json() | {"noted": {}, "joined": 0}  # which are written where they are not empty
    part = [name for name in inspect.signature(Part).parameters if name != "digest_as_made"]
    sections = {
        "Documents": (
            "`documents.parquet` of each part. Stages add columns named after them, such as `gopher_quality.words`.",
            _schema_table(DOCUMENT_SCHEMA, DOCUMENT_COLUMNS),
        ),
        "Removed documents": (
            "`removed.parquet` of each part: a row for each document that ended there.",
            _schema_table(REMOVED_SCHEMA, REMOVED_COLUMNS),
        ),
        "The ledger": (
            "By step and source, in every commit record: in + created = kept + dropped + failed + joined.",
            _meanings_table("column", counts, LEDGER_COLUMNS),
        ),
        "Commit records and manifests": (
            "`commits/<key>.json` of an artifact holds one part, `manifests/<fingerprint>.jsonl` a part a line.",
            _meanings_table("field", part, PART_FIELDS),
        ),
        "Selections": ("What `sluice rethreshold` writes.", _schema_table(SELECTION_SCHEMA, SELECTION_COLUMNS)),
    }
    lines = ["# Columns", ""]
    for title, (sentence, table) in sections.items():
        lines += [f"## {title}", "", sentence, "", *table]
    return _page(lines)


def _schema_table(schema: pa.Schema, meanings: Mapping[str, str]) -> Iterator[str]:
    _check(schema.names, meanings)
    return _table(("column", "type", "meaning"), ((f"`{f.name}`", f"`{f.type}`", meanings[f.name]) for f in schema))


def _meanings_table(head: str, names: Iterable[str], meanings: Mapping[str, str]) -> Iterator[str]:
    _check(names, meanings)
    return _table((head, "meaning"), ((f"`{name}`", meanings[name]) for name in names))


def _check(names: Iterable[str], meanings: Mapping[str, str]) -> None:
    """Raise unless the code has these columns and no other."""
    if set(names) != set(meanings):
        raise ValueError(f"columns without meaning, or that are gone: {sorted(set(names) ^ set(meanings))}")


def _commands_page() -> str:
    group: Any = typer.main.get_command(app)
    lines = ["# Commands", "", "As `sluice COMMAND --help` prints it."]
    for name, command in _commands("sluice", group):
        context = command.make_context(name, [], resilient_parsing=True, terminal_width=HELP_WIDTH)
        help_lines = (line.rstrip() for line in command.get_help(context).strip().splitlines())
        lines += ["", f"## {name}", "", "```text", *help_lines, "```"]
    return _page(lines)


def _commands(name: str, command: Any) -> Iterator[tuple[str, Any]]:
    yield name, command
    for inner, one in getattr(command, "commands", {}).items():
        yield from _commands(f"{name} {inner}", one)


def _table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> Iterator[str]:
    head = list(head)
    yield f"| {' | '.join(head)} |"
    yield "|" + "---|" * len(head)
    for row in rows:
        yield f"| {' | '.join(map(_cell, row))} |"
    yield ""


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("``", "`").replace("|", "\\|")


def _page(lines: Iterable[str]) -> str:
    return WRITTEN + "\n".join(lines).rstrip() + "\n"


def main() -> None:
    """Write the pages to docs/reference/, or to the folder that is given."""
    folder = Path(sys.argv[1] if len(sys.argv) > 1 else "docs/reference")
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in pages().items():
        (folder / name).write_text(text)


if __name__ == "__main__":
    main()
