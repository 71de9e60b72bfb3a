"""JSON Lines as documents, one a line; plain or compressed."""

from __future__ import annotations

import hashlib
import json
from codecs import BOM_UTF8
from collections.abc import Iterator
from typing import Any

from pydantic import Field

from pipeline.locations.location import InputFile, reason_of
from pipeline.stage import Context, Outcome, Removal, Source, Split
from stages.intake.batches import batched
from stages.intake.columns import ColumnsConfig, Row
from stages.intake.content import SUFFIXES as PACKED
from stages.intake.content import Content, content_of
from stages.intake.files import one_split_per_file

SUFFIXES = tuple(f".{name}{packed}" for name in ("jsonl", "ndjson", "json") for packed in PACKED)
ARRAY_EVIDENCE = "one JSON array, not a value a line: turn it into lines, for example with jq -c '.[]'"


class JsonLinesConfig(ColumnsConfig):
    """Options of ``json_lines``."""

    max_line_bytes: int = Field(100_000_000, gt=0)
    """Longer lines fail; their content is not held in memory."""


class JsonLines(Source[JsonLinesConfig]):
    """Read JSON Lines, plain or compressed (gzip, zstd, xz, bzip2).

    A document's id is the file and the line's first byte in the content, and so is its origin.
    """

    name = "json_lines"
    config_type = JsonLinesConfig

    def splits(self) -> list[Split]:
        return one_split_per_file(self.config.matching_files(SUFFIXES))

    def read(self, split: Split, source: str, context: Context) -> Iterator[Outcome]:
        return batched(source, (row for file in split.files for row in self._rows(file, source, context)))

    def _rows(self, file: InputFile, source: str, context: Context) -> Iterator[Row | Removal]:
        name = file.name
        offset = 0
        try:
            with content_of(self.config.opened(file.location, context)) as content:
                if content.peek().removeprefix(BOM_UTF8).lstrip()[:1] == b"[":
                    evidence = f"{name}: {ARRAY_EVIDENCE}"
                    yield Removal(f"{source}/{name}@0", source, "failed", "not_lines", evidence)
                    return
                for line, size in lines_of(content, self.config.max_line_bytes):
                    if line is None:
                        evidence = f"{name}: byte {offset} of its content: {size} bytes"
                        yield Removal(f"{source}/{name}@{offset}", source, "failed", "too_large", evidence)
                    elif line.strip():
                        yield self._document(line, name, offset, source)
                    offset += size
        except OSError as error:
            evidence = f"{name}: byte {offset} of its content: {error.strerror or error}"
            yield Removal(f"{source}/{name}@{offset}", source, "failed", reason_of(error), evidence)

    def _document(self, line: bytes, name: str, offset: int, source: str) -> Row | Removal:
        where = f"{name}: byte {offset} of its content"
        identity = f"{source}/{name}@{offset}"
        digest = hashlib.sha256(line).hexdigest()
        origin = {"path": name, "offset": offset, "length": len(line), "digest": digest}
        try:
            fields = parsed(line)
        except ValueError as error:
            return Removal(identity, source, "failed", "bad_json", f"{where}: {error}")
        return self.config.document({"id": identity, "source": source, "origin": origin}, fields, where)


def parsed(line: bytes) -> dict[str, Any]:
    """The object on a line.

    Raises:
        ValueError: not UTF-8, not JSON, not an object, or with half a surrogate pair (no UTF-8 for it).
    """
    try:
        fields = json.loads(line.removeprefix(BOM_UTF8).decode())
    except RecursionError as error:
        raise ValueError("nested too deeply") from error
    if not isinstance(fields, dict):
        raise ValueError(f"a {type(fields).__name__}, not an object")
    if b"\\u" in line:  # the only way to write half a pair
        json.dumps(fields, ensure_ascii=False).encode()
    return fields


def lines_of(content: Content, max_bytes: int) -> Iterator[tuple[bytes | None, int]]:
    """Lines with their "\\n" and their sizes in bytes; None for one of more than ``max_bytes``."""
    while line := content.readline(max_bytes + 1):
        size = len(line)
        if size <= max_bytes:
            yield line, size
            continue
        while line and not line.endswith(b"\n"):
            line = content.readline(max_bytes)
            size += len(line)
        yield None, size
