"""Decontamination: documents that share passages with evaluation sets are dropped, or the passages cut out.

Two measures, both from one index of n-grams (8 words; published practice in brackets):

- longest_match: words of the longest passage that a document shares with a text of an evaluation row (GPT-3,
  arXiv:2005.14165, appendix C: one 13-gram in common is a collision);
- overlap: largest share of the n-grams of an evaluation text that occur in the document (PaLM, arXiv:2204.02311,
  section 8: at least 70 % of the 8-grams), which also finds questions shorter than 13 words and edited ones.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, TypeVar

import numpy as np
import pyarrow as pa
from pydantic import Field

from pipeline.errors import InputError
from pipeline.filter import Filter, Rule
from pipeline.locations.location import InputFile, RemoteOptions
from pipeline.stage import Context, RecipePath, StageConfig, with_columns
from stages.decontaminate.cutting import cut
from stages.decontaminate.evaluation import digests, evaluation_files, evaluation_texts
from stages.decontaminate.index import NgramIndex, ngram_index
from stages.decontaminate.matching import Matcher, Matches
from stages.intake.files import matching_files

MATCH = pa.struct(
    [
        ("task", pa.string()),
        ("row", pa.int64()),  # from 0: line of JSON Lines, row of Parquet
        ("start", pa.int32()),  # characters, before anything was cut
        ("end", pa.int32()),
        ("words", pa.int32()),
        ("overlap", pa.float64()),  # share of that evaluation text's n-grams that the document holds
    ]
)
MAX_MATCHES = 100  # kept of a document, the longest ones


class EvaluationSetsConfig(StageConfig):
    """Which evaluation sets to look for, and what counts as a leak."""

    files: tuple[RecipePath, ...] = Field(min_length=1)
    """Evaluation sets: JSON Lines (plain, gzip, zstd, xz, bzip2) or Parquet; files, folders or glob patterns. A file
    is a task and is called by its name."""

    fields: tuple[str, ...] = ()
    """Fields of a row to look for, each text on its own; dots lead into nested ones, lists give all their texts.
    Empty: every text of a row. A row with none of them is an error."""

    ngram: int = Field(8, ge=3, le=50)
    """Words in an n-gram; shorter passages are not seen. A character of a script without spaces is a word."""

    match_words: int | None = Field(13, ge=3)
    """A passage of so many words in common with an evaluation text is a leak (GPT-3: 13); null: no matter how long.
    Here two characters of a script without spaces are a word."""

    match_overlap: float | None = Field(0.7, gt=0, le=1)
    """So large a share of an evaluation text's n-grams is a leak (PaLM: 0.7); null: no matter how large."""

    max_rows_per_ngram: int | None = Field(10, ge=1)
    """N-grams in more rows of the evaluation sets are instructions and other common text, and do not count (GPT-3
    ignores those with more than 10 matches); null: all count."""

    ignore: tuple[RecipePath, ...] = ()
    """Text files with passages that are no leak, such as famous quotations and licences: their n-grams do not count."""

    not_identity: ClassVar[frozenset[str]] = frozenset({"files", "ignore"})

    def identity(self) -> dict[str, Any]:
        """The options, with the content of the files in place of their paths."""
        ignored = sorted(digests(_ignored_files(self.ignore)).values())
        return super().identity() | {"files": digests(evaluation_files(self.files)), "ignore": ignored}

    def index(self) -> NgramIndex:
        """The n-grams to look for.

        Raises:
            InputError: a file cannot be read whole, or there is nothing to look for.
        """
        texts = list(evaluation_texts(evaluation_files(self.files), self.fields, self.ngram))
        ignored = [_ignored_text(file) for file in _ignored_files(self.ignore)]
        index = ngram_index(texts, self.ngram, self.max_rows_per_ngram, ignored)
        if not len(index.hashes):
            raise InputError(
                f"decontaminate: no text of the evaluation sets ({', '.join(index.tasks)}) has {self.ngram} words that "
                "count: nothing would be looked for. See 'fields', 'ngram' and 'max_rows_per_ngram'"
            )
        return index


def _ignored_files(patterns: Sequence[Path]) -> list[InputFile]:
    return matching_files([str(path) for path in patterns], (".txt",), RemoteOptions()) if patterns else []


def _ignored_text(file: InputFile) -> str:
    try:
        return Path(file.location).read_text("utf-8")
    except (OSError, ValueError) as error:
        raise InputError(f"{file.location}: {error}: passages to ignore are text in UTF-8") from error


S = TypeVar("S", bound=EvaluationSetsConfig)


class _Searching(Filter[S]):
    """What both stages have in common: the index, and what they tell of it."""

    def setup(self, context: Context) -> None:
        self._matcher = Matcher(self.config.index())

    def note(self) -> str | None:
        return self._note

    @cached_property
    def _note(self) -> str:
        return _described(self.config.index(), self.config)


class DecontaminateConfig(EvaluationSetsConfig):
    """Options of decontaminate."""


class Decontaminate(_Searching[DecontaminateConfig]):
    """Drop documents that share passages with evaluation sets."""

    name = "decontaminate"
    version = 2
    config_type = DecontaminateConfig
    measures: ClassVar[Mapping[str, pa.DataType]] = {
        "decontaminate.longest_match": pa.int32(),
        "decontaminate.overlap": pa.float64(),
        "decontaminate.task": pa.string(),  # of the longest match
        "decontaminate.matches": pa.list_(MATCH),
    }
    rules = (
        Rule("evaluation_passage", "decontaminate.longest_match", ">=", "match_words", "words in common"),
        Rule("evaluation_text", "decontaminate.overlap", ">=", "match_overlap", "of an evaluation text"),
    )

    def measure(self, batch: pa.Table) -> pa.Table:
        matches = self._matcher.matches(batch["text"])
        rows = batch.num_rows
        longest = np.zeros(rows, np.int32)
        overlap = np.zeros(rows, np.float64)
        np.maximum.at(longest, matches.text, matches.words)
        np.maximum.at(overlap, matches.text, matches.overlap)
        index = self._matcher.index
        task = np.full(rows, -1, np.int32)
        longest_first = np.lexsort((np.arange(len(matches.text)), -matches.words))
        task[matches.text[longest_first[::-1]]] = index.task[matches.evaluation_text[longest_first[::-1]]]
        columns = {
            "decontaminate.longest_match": pa.array(longest),
            "decontaminate.overlap": pa.array(overlap),
            "decontaminate.task": pa.array(index.tasks, pa.string()).take(pa.array(task, mask=task < 0)),
            "decontaminate.matches": _column(matches, index, rows),
        }
        return with_columns(batch, columns)

    def evidence(self, rule: Rule, row: Mapping[str, Any], limit: Any) -> str:
        """As for all filters, with the evaluation row."""
        field = "words" if rule.reason == "evaluation_passage" else "overlap"
        where = next((m for m in row["decontaminate.matches"] if m[field] == row[rule.measure]), None)
        return super().evidence(rule, row, limit) + (f": {where['task']}, row {where['row']}" if where else "")


class DecontaminateCutConfig(EvaluationSetsConfig):
    """Options of decontaminate_cut."""

    margin_characters: int = Field(200, ge=0)
    """Cut on both sides of a passage (GPT-3: 200)."""

    min_piece_characters: int = Field(200, ge=1)
    """Shorter pieces between cuts, or before the first or behind the last, go too (GPT-3: 200)."""

    max_cuts: int | None = Field(9, ge=0)
    """With more cuts a document is dropped whole (GPT-3: if split into more than 10 pieces); null: never."""


class DecontaminateCut(_Searching[DecontaminateCutConfig]):
    """Cut passages of evaluation sets out of documents."""

    name = "decontaminate_cut"
    version = 2
    config_type = DecontaminateCutConfig
    measures: ClassVar[Mapping[str, pa.DataType]] = {
        "decontaminate_cut.cuts": pa.int32(),
        "decontaminate_cut.characters_cut": pa.int64(),
        "decontaminate_cut.characters_left": pa.int64(),  # null where nothing was cut
        "decontaminate_cut.matches": pa.list_(MATCH),  # that were cut, by their places before
    }
    rules = (
        Rule("too_many_cuts", "decontaminate_cut.cuts", ">", "max_cuts"),
        Rule("nothing_left", "decontaminate_cut.characters_left", "<", "min_piece_characters"),
    )
    edits_by = frozenset({"min_piece_characters"})

    def measure(self, batch: pa.Table) -> pa.Table:
        matches = self._matcher.matches(batch["text"]).only(self.config.match_words, self.config.match_overlap)
        rows = batch.num_rows
        text = batch["text"]
        cuts = np.zeros(rows, np.int32)
        size = np.zeros(rows, np.int64)
        left = np.full(rows, -1, np.int64)
        edited: dict[int, str] = {}
        for row in np.unique(matches.text).tolist():
            here = slice(*np.searchsorted(matches.text, [row, row + 1]))
            passages = list(zip(matches.start[here].tolist(), matches.end[here].tolist(), strict=True))
            before = text[row].as_py()
            edited[row], cuts[row] = cut(
                before, passages, self.config.margin_characters, self.config.min_piece_characters
            )
            left[row] = len(edited[row])
            size[row] = len(before) - left[row]
        columns = {
            "decontaminate_cut.cuts": pa.array(cuts),
            "decontaminate_cut.characters_cut": pa.array(size),
            "decontaminate_cut.characters_left": pa.array(left, mask=left < 0),
            "decontaminate_cut.matches": _column(matches, self._matcher.index, rows),
        }
        if edited:
            texts = [edited.get(row, whole) for row, whole in enumerate(text.to_pylist())]
            columns["text"] = pa.array(texts, pa.large_string())
        return with_columns(batch, columns)


def _column(matches: Matches, index: NgramIndex, rows: int) -> pa.ListArray:
    """The longest matches of each document, in order of their places."""
    order = np.lexsort((-matches.words, matches.text))
    rank = np.arange(len(order)) - np.searchsorted(matches.text, matches.text[order])
    chosen = np.sort(order[rank < MAX_MATCHES])
    found = matches.evaluation_text[chosen]
    values = pa.StructArray.from_arrays(
        [
            pa.array(index.tasks, pa.string()).take(pa.array(index.task[found])),
            pa.array(index.row[found]),
            pa.array(matches.start[chosen]),
            pa.array(matches.end[chosen]),
            pa.array(matches.words[chosen]),
            pa.array(matches.overlap[chosen]),
        ],
        fields=list(MATCH),
    )
    offsets = np.searchsorted(matches.text[chosen], np.arange(rows + 1)).astype(np.int32)
    return pa.ListArray.from_arrays(pa.array(offsets), values)


def _described(index: NgramIndex, config: EvaluationSetsConfig) -> str:
    """What is looked for and what is not: a user must be able to see a question that slips through."""
    sets = f"{len(index.tasks)} evaluation set" + "s" * (len(index.tasks) > 1)
    parts = [f"looks for {sum(index.rows.values()):,} rows of {sets}"]
    missed = {task: rows for task, rows in index.rows_not_looked_for.items() if rows}
    if missed:
        shown = ", ".join(f"{task} ({rows:,} of {index.rows[task]:,})" for task, rows in missed.items())
        parts.append(f"but not for rows with no text of {config.ngram} words that count: {shown}")
    if index.ignored_ngrams:
        examples = ", ".join(f'"{ngram}"' for ngram in index.ignored_examples)
        parts.append(
            f"ignores {index.ignored_ngrams:,} n-grams that are in more than {config.max_rows_per_ngram} rows or in "
            f"'ignore', such as {examples}"
        )
    return "; ".join(parts)
