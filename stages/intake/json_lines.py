"""JSON Lines as documents, one a line; plain or compressed with gzip, zstd or xz."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import lzma
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

from pydantic import Field

from pipeline.stage import Context, Outcome, Removal, Source, Split, documents, removal
from stages.intake.files import FilesConfig, matching_files, one_split_per_file

SUFFIXES = tuple(f".{name}{packed}" for name in ("jsonl", "ndjson", "json") for packed in ("", ".gz", ".zst", ".xz"))
COLUMN_FIELDS = ("url", "date", "language")
BATCH_ROWS = 500
BATCH_BYTES = 16_000_000
BUFFER_BYTES = 1 << 16
"""What a broken stream may cost: complete lines in a buffer that cannot be filled are lost."""


class JsonLinesConfig(FilesConfig):
    """Options of ``json_lines``."""

    text_field: str = Field("text", min_length=1)
    """Field of each line that holds the text."""

    id_field: str | None = "id"
    """Field that holds the origin's own id, kept as meta["id"]; the document's id is file and offset."""


class JsonLines(Source[JsonLinesConfig]):
    """Read JSON Lines, plain or compressed (gzip, zstd, xz)."""

    name = "json_lines"
    config_type = JsonLinesConfig

    def splits(self) -> list[Split]:
        return one_split_per_file(matching_files(self.config.files, SUFFIXES))

    def read(self, split: Split, source: str, context: Context) -> Iterator[Outcome]:
        for name, path in zip(split.names, split.paths, strict=True):
            yield from self._read_file(name, path, source)

    def _read_file(self, name: str, path: Path, source: str) -> Iterator[Outcome]:
        rows: list[dict[str, Any]] = []
        removed: list[Removal] = []
        offset = batch_bytes = 0
        for line in lines_of(path):
            if isinstance(line, UnreadableStream):
                evidence = f"{name}: byte {offset} of its content: {line.evidence}"
                removed.append(Removal(f"{source}/{name}@{offset}", source, "failed", "unreadable", evidence))
                break
            if line.strip():
                document = self._document(line, name, offset, source)
                if isinstance(document, Removal):
                    removed.append(document)
                else:
                    rows.append(document)
            offset += len(line)
            batch_bytes += len(line)
            if len(rows) + len(removed) >= BATCH_ROWS or batch_bytes >= BATCH_BYTES:
                yield Outcome(documents(rows), removed, {source: len(rows) + len(removed)})
                rows, removed, batch_bytes = [], [], 0
        yield Outcome(documents(rows), removed, {source: len(rows) + len(removed)})

    def _document(self, line: bytes, name: str, offset: int, source: str) -> dict[str, Any] | Removal:
        where = f"{name}: byte {offset} of its content"
        row: dict[str, Any] = {
            "id": f"{source}/{name}@{offset}",
            "source": source,
            "origin": {
                "path": name,
                "offset": offset,
                "length": len(line),
                "digest": hashlib.sha256(line).hexdigest(),
            },
        }
        try:
            fields = parsed(line)
        except ValueError as error:
            return removal(row, "failed", "bad_json", f"{where}: {error}")
        text = fields.pop(self.config.text_field, None)
        if not isinstance(text, str):
            found = ", ".join(sorted(fields)) or "none"
            evidence = f"{where}: no string in the field {self.config.text_field!r}; other fields: {found}"
            return removal(row, "failed", "no_text_field", evidence)
        if not text.strip():
            return removal(row, "dropped", "empty", "no visible character")
        meta = {}
        if self.config.id_field is not None and fields.get(self.config.id_field) is not None:
            meta["id"] = str(fields.pop(self.config.id_field))
        for key, value in fields.items():
            if key in COLUMN_FIELDS and isinstance(value, str):
                row[key] = value
            elif isinstance(value, str | int | float):
                meta.setdefault(key, value if isinstance(value, str) else json.dumps(value))
        return row | {"text": text, "meta": meta}


def parsed(line: bytes) -> dict[str, Any]:
    """The object on a line.

    Raises:
        ValueError: not UTF-8, not JSON, not an object, or with half a surrogate pair (no UTF-8 for it).
    """
    try:
        fields = json.loads(line.decode())
    except RecursionError as error:
        raise ValueError("nested too deeply") from error
    if not isinstance(fields, dict):
        raise ValueError(f"a {type(fields).__name__}, not an object")
    json.dumps(fields, ensure_ascii=False).encode()
    return fields


class UnreadableStream:
    """Ends ``lines_of`` where the file cannot be read any further."""

    def __init__(self, evidence: str) -> None:
        self.evidence = evidence


def lines_of(path: Path) -> Iterator[bytes | UnreadableStream]:
    """Lines with their "\\n"; an UnreadableStream comes last if the file breaks off."""
    try:
        with open(path, "rb") as file, io.BufferedReader(_decompressed(file), BUFFER_BYTES) as stream:
            while line := stream.readline():
                yield line
    except (OSError, EOFError, zlib.error, lzma.LZMAError) as error:
        yield UnreadableStream(str(error))


def _decompressed(file: BinaryIO) -> Any:
    """The content of a file by its first bytes: names lie about compression."""
    start = file.read(6)
    file.seek(0)
    if start.startswith(b"\x1f\x8b"):
        return gzip.GzipFile(fileobj=file)
    if start.startswith(b"\x28\xb5\x2f\xfd"):
        import pyarrow as pa

        # this reader raises at a frame that breaks off; zstandard's takes it for the end
        return pa.CompressedInputStream(pa.PythonFile(file), "zstd")
    if start == b"\xfd7zXZ\x00":
        return lzma.LZMAFile(file)
    return file
