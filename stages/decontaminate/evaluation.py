"""Evaluation sets from files: every text of every row, with its task and row. What cannot be read is an error."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import permutations
from pathlib import Path
from typing import Any

from pipeline.errors import InputError
from pipeline.locations.location import InputFile, RemoteOptions
from stages.dedup.shingles import words
from stages.intake.content import content_of
from stages.intake.files import matching_files
from stages.intake.json_lines import SUFFIXES as JSON_SUFFIXES
from stages.intake.json_lines import lines_of, parsed

SUFFIXES = (*JSON_SUFFIXES, ".parquet")
MAX_LINE_BYTES = 1 << 30
MAX_TEXTS_JOINED = 8  # of a row; more of them are a list of something else than answers
MAX_WORD_CHARACTERS = 30  # with what stands between it and the next: spares counting the words of long passages
Row = dict[str, Any]


@dataclass(frozen=True, slots=True)
class EvaluationText:
    """One text of a row: a question, a passage, a choice, an answer."""

    task: str  # the file's name without its ending
    row: int  # from 0: the line of JSON Lines, the row of Parquet
    text: str


def evaluation_files(patterns: Sequence[Path]) -> list[InputFile]:
    """The files that the patterns name, by name.

    Raises:
        InputError: a pattern matches nothing, or two files have one name.
    """
    return matching_files([str(pattern) for pattern in patterns], SUFFIXES, RemoteOptions())


def digests(files: Sequence[InputFile]) -> dict[str, str]:
    """SHA-256 (hex) of each file's content, by name."""
    return {file.name: hashlib.sha256(Path(file.location).read_bytes()).hexdigest() for file in files}


def evaluation_texts(files: Sequence[InputFile], fields: Sequence[str], min_words: int) -> Iterator[EvaluationText]:
    """The texts of all rows of all files, those of one row next to each other.

    Args:
        min_words: a row whose texts all have fewer words gives any two of them in a row instead, such as a short
            question with each of its answers.
        fields: the fields that hold them, dots leading into nested ones; of a list, all its strings. None: all fields.

    Raises:
        InputError: a row cannot be read or has none of the fields, or a file has no row: an evaluation question that
            was not read would be a leak that nobody finds.
    """
    for file in files:
        row = -1
        for row, values in _rows(file):
            texts = [text for value in _chosen(values, fields) for text in _strings(value)]
            if not texts:
                wanted = f"none of the fields {', '.join(fields)}" if fields else "no field with text"
                found = ", ".join(map(str, values)) or "nothing"
                raise InputError(f"{file.location}: row {row}: {wanted} (it has {found}): see the option 'fields'")
            for text in _joined(texts) if all(_is_short(text, min_words) for text in texts) else texts:
                yield EvaluationText(_task(file.name), row, text)
        if row < 0:
            raise InputError(f"{file.location}: no row in this evaluation set: take it out or repair it")


def _joined(texts: Sequence[str]) -> Sequence[str]:
    if not 2 <= len(texts) <= MAX_TEXTS_JOINED:
        return texts
    return [f"{first} {second}" for first, second in permutations(texts, 2)]


def _is_short(text: str, min_words: int) -> bool:
    return len(words(text[: MAX_WORD_CHARACTERS * min_words])) < min_words


def _task(name: str) -> str:
    suffix = max((suffix for suffix in SUFFIXES if name.lower().endswith(suffix)), key=len, default="")
    return name[: len(name) - len(suffix)]


def _rows(file: InputFile) -> Iterator[tuple[int, Row]]:
    path = Path(file.location)
    try:
        if path.suffix.lower() == ".parquet":
            yield from _rows_of_parquet(path)
            return
        with content_of(path.open("rb", buffering=0)) as content:
            for number, (line, size) in enumerate(lines_of(content, MAX_LINE_BYTES)):
                if line is None:
                    raise InputError(f"{path}: line {number + 1}: {size} bytes: is this JSON Lines?")
                if line.strip():
                    try:
                        yield number, parsed(line)
                    except ValueError as error:
                        raise InputError(
                            f"{path}: line {number + 1}: {error}. Repair the line or take it out: a question that is "
                            "not read is a leak that is not found"
                        ) from error
    except OSError as error:
        raise InputError(f"{path}: {error.strerror or error}: evaluation sets must be read whole") from error


def _rows_of_parquet(path: Path) -> Iterator[tuple[int, Row]]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    number = 0
    try:
        with pq.ParquetFile(path) as file:
            for batch in file.iter_batches():
                for values in batch.to_pylist():
                    yield number, values
                    number += 1
    except (pa.ArrowException, ValueError, OverflowError) as error:
        raise InputError(f"{path}: row {number}: {error}: evaluation sets must be read whole") from error


def _chosen(values: Row, fields: Sequence[str]) -> Iterator[Any]:
    if not fields:
        yield values
    for field in fields:
        if field in values:
            yield values[field]
        else:
            yield from _at(values, field.split("."))


def _at(value: Any, path: Sequence[str]) -> Iterator[Any]:
    """The values at the end of a path; through a list, those of all its members."""
    if isinstance(value, list):
        for member in value:
            yield from _at(member, path)
    elif not path:
        yield value
    elif isinstance(value, dict) and path[0] in value:
        yield from _at(value[path[0]], path[1:])


def _strings(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for member in value.values():
            yield from _strings(member)
    elif isinstance(value, list | tuple):
        for member in value:
            yield from _strings(member)
