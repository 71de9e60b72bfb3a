"""Repairs of trafilatura's Markdown, so that parsers of CommonMark with tables read what the page showed."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

_FENCE = re.compile(r"\s*(```+|~~~+)")
_CELL_END = re.compile(r"(?<!\\)\|")
_DELIMITERS = re.compile(r"\|(?:\s*:?-+:?\s*\|)+\s*$")
_CODE = re.compile(r"^```.*?^```", re.MULTILINE | re.DOTALL)
_HEADING = re.compile(r"^# \S", re.MULTILINE)
_SPECIAL = re.compile(r"([\\`*_\[\]<>#])")


_BLANK_LINE = re.compile(r"\n[ \t\r]*(?=\n)")
_EMPTY_LINE_SIGN = "\u2424"  # trafilatura's own sign for a line break that it must not remove; it ends as an empty line


def mark_blank_lines_of_code(tree: Any) -> None:
    """Keep trafilatura from removing the blank lines of <pre> elements; changes ``tree``, one of lxml."""
    for block in tree.iter("pre"):
        for element in block.iter():
            if element.text:
                element.text = _BLANK_LINE.sub(f"\n{_EMPTY_LINE_SIGN}", element.text)
            if element.tail and element is not block:
                element.tail = _BLANK_LINE.sub(f"\n{_EMPTY_LINE_SIGN}", element.tail)


def repaired(markdown: str, title: str | None) -> str:
    """``markdown`` with valid tables and, if the text has no heading of the first level, the title as one.

    trafilatura writes a table without header cells as lines of cells, which Markdown reads as a paragraph. The first
    row becomes the header, as most parsers' own converters have it; all rows get the width of the widest, because
    cells beyond the header's are not shown. A single column is layout, not a table.
    """
    lines: list[str] = []
    for line, is_code in _lines(markdown.split("\n")):
        if line or is_code or lines[-1:] != [""]:
            lines.append(line)
    text = "\n".join(lines).strip("\n")
    if title and not _HEADING.search(_CODE.sub("", text)):
        escaped = _SPECIAL.sub(r"\\\1", title)
        text = f"# {escaped}\n\n{text}"
    return text


def _lines(lines: list[str]) -> Iterator[tuple[str, bool]]:
    """The lines with tables repaired, and whether each is code."""
    fence = ""
    rows: list[str] = []
    for line in [*lines, ""]:
        if not fence and line.startswith("|"):
            rows.append(line)
            continue
        yield from ((row, False) for row in _table(rows))
        rows = []
        if match := _FENCE.match(line):
            if not fence:
                fence = match[1]
            elif match[1].startswith(fence) and line.strip() == match[1]:
                fence = ""
        yield line, bool(fence)


def _table(rows: list[str]) -> Iterator[str]:
    if not rows:
        return
    cells = [_cells(row) for row in rows if not _DELIMITERS.match(row)]
    width = max(map(len, cells), default=0)
    if width < 2:
        yield from (line for row in cells for line in (*row, ""))
        return
    yield ""
    for i, row in enumerate(cells):
        yield f"| {' | '.join(row + [''] * (width - len(row)))} |"
        if i == 0:
            yield f"|{' --- |' * width}"
    yield ""


def _cells(row: str) -> list[str]:
    """The cells of a line that starts with a bar."""
    cells = [cell.strip() for cell in _CELL_END.split(row)[1:]]
    return cells[:-1] if cells[-1] == "" else cells
