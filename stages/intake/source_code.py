"""Source code as documents, one a file."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
from pydantic import Field

from pipeline.stage import Context, Outcome, Removal, Source, Split, Verdict, documents, removal
from stages.intake.files import FilesConfig, matching_files, splits_of_size

COLUMNS = (pa.field("source_code.lines", pa.int64()),)

LANGUAGES = {
    ".c": "c",
    ".h": "c",
    ".cc": "cpp",
    ".cpp": "cpp",
    ".cxx": "cpp",
    ".hpp": "cpp",
    ".hh": "cpp",
    ".cs": "csharp",
    ".clj": "clojure",
    ".dart": "dart",
    ".erl": "erlang",
    ".ex": "elixir",
    ".exs": "elixir",
    ".f90": "fortran",
    ".go": "go",
    ".hs": "haskell",
    ".java": "java",
    ".jl": "julia",
    ".js": "javascript",
    ".jsx": "javascript",
    ".mjs": "javascript",
    ".kt": "kotlin",
    ".lua": "lua",
    ".ml": "ocaml",
    ".mli": "ocaml",
    ".php": "php",
    ".pl": "perl",
    ".pm": "perl",
    ".py": "python",
    ".R": "r",
    ".r": "r",
    ".rb": "ruby",
    ".rs": "rust",
    ".scala": "scala",
    ".sh": "shell",
    ".bash": "shell",
    ".sql": "sql",
    ".swift": "swift",
    ".ts": "typescript",
    ".tsx": "typescript",
    ".zig": "zig",
}

MAX_MEAN_LINE_CHARACTERS = 100
MAX_LINE_CHARACTERS = 1000
"""Longer lines mean generated, minified or data files. From Codex (Chen et al. 2021, section 3.1), kept by
The Stack (Kocetkov et al. 2022)."""


class SourceCodeConfig(FilesConfig):
    """Options of ``source_code``."""

    max_file_bytes: int = Field(1_000_000, gt=0)
    """Larger files are dropped: they hold data or generated code."""

    suffixes: dict[str, str] = Field(LANGUAGES, min_length=1)
    """Programming language by file name suffix. Of a folder, only files with these suffixes are read."""


class SourceCode(Source[SourceCodeConfig]):
    """Read source files of some 30 programming languages."""

    name = "source_code"
    config_type = SourceCodeConfig
    provides = ("text", "source_code.lines")

    def splits(self) -> list[Split]:
        files = matching_files(self.config.files, tuple(self.config.suffixes))
        return splits_of_size(files, max_bytes=2_000_000, max_files=200)

    def read(self, split: Split, source: str, context: Context) -> Iterator[Outcome]:
        rows = []
        removed: list[Removal] = []
        for name, path in zip(split.names, split.paths, strict=True):
            language = self.config.suffixes.get(Path(name).suffix)
            if language is None:
                evidence = f"{name}: the suffix {Path(name).suffix!r} is not among the suffixes of code"
                removed.append(Removal(f"{source}/{name}#unread", source, "dropped", "not_code", evidence))
                continue
            try:
                size = path.stat().st_size
                if size > self.config.max_file_bytes:
                    evidence = f"{name}: {size} bytes > {self.config.max_file_bytes}"
                    removed.append(Removal(f"{source}/{name}#unread", source, "dropped", "too_large", evidence))
                    continue
                content = path.read_bytes()
            except OSError as error:
                evidence = f"{name}: {error.strerror}"
                removed.append(Removal(f"{source}/{name}#unread", source, "failed", "unreadable", evidence))
                continue
            digest = hashlib.sha256(content).hexdigest()
            row: dict[str, Any] = {
                "id": f"{source}/{name}#{digest[:12]}",
                "source": source,
                "mime": "text/plain",
                "origin": {"path": name, "offset": 0, "length": len(content), "digest": digest},
                "meta": {"code_language": language},
            }
            try:
                text = decoded(content)
            except ValueError as error:
                removed.append(removal(row, "failed", "not_text", f"{name}: {error}"))
                continue
            row |= {"text": text, "source_code.lines": len(_lines(text))}
            verdict = judged(text)
            if verdict is None:
                rows.append(row)
            else:
                removed.append(removal(row, verdict[0], verdict[1], f"{name}: {verdict[2]}"))
        yield Outcome(documents(rows, COLUMNS), removed, {source: len(split.names)})


def decoded(content: bytes) -> str:
    """The text of a source file in UTF-8, without a byte order mark.

    Raises:
        ValueError: not UTF-8, or it holds a NUL as binary files do; the message says at which byte.
    """
    if b"\0" in content:
        raise ValueError(f"a NUL at byte {content.index(0)}")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"not UTF-8 at byte {error.start}") from error


def judged(text: str) -> tuple[Verdict, str, str] | None:
    """None for a file worth keeping, else verdict, reason and evidence."""
    if not text.strip():
        return "dropped", "empty", "no visible character"
    lengths = [len(line) for line in _lines(text)]
    if max(lengths) > MAX_LINE_CHARACTERS:
        return "dropped", "longest_line", f"a line of {max(lengths)} characters > {MAX_LINE_CHARACTERS}"
    mean = sum(lengths) / len(lengths)
    if mean > MAX_MEAN_LINE_CHARACTERS:
        return "dropped", "mean_line", f"mean line {mean:.1f} characters > {MAX_MEAN_LINE_CHARACTERS}"
    return None


def _lines(text: str) -> list[str]:
    # not splitlines: a form feed or U+2028 inside a literal does not end a line of code
    lines = text.replace("\r\n", "\n").replace("\r", "\n").split("\n")
    return lines if lines[-1] else lines[:-1]
