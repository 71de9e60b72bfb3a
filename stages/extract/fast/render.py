"""The chosen lines of a page as plain text or Markdown."""

from __future__ import annotations

import html
import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby
from typing import Literal

from stages.extract.fast.tags import HEADING, NAMES, PROPERTIES

_INVISIBLE = re.compile("[\0\xad\u200b\ufeff]")  # NUL, soft hyphen, zero-width space, byte order mark
_HEADINGS = frozenset(name for name, bits in zip(NAMES, PROPERTIES, strict=True) if bits & HEADING)
MAX_INDENTS = 8
_BLANK_LINES = re.compile(r"^(?:[^\S\n]*\n)+|\s+$")

Kind = Literal["text", "heading", "list", "table", "code"]


@dataclass(frozen=True, slots=True)
class Line:
    """A line of the source, with the elements that it stands in as numbers (-1 if none)."""

    source: bytes
    tag: str  # of the innermost block
    list_entry: int
    list_depth: int
    row: int
    cell: int  # its number in the row
    pre: int

    @property
    def block(self) -> tuple[Kind, int]:
        """Lines with the same value that follow each other belong together; those with -1 stand alone."""
        if self.pre >= 0:
            return "code", self.pre
        if self.row >= 0:
            return "table", self.row
        if self.tag in _HEADINGS:
            return "heading", -1
        return ("list", self.list_entry) if self.list_entry >= 0 else ("text", -1)


def folded(source: bytes) -> str:
    """Text of a piece of HTML source without tags: references resolved, white space folded."""
    return " ".join(unescaped(source).split())


def unescaped(source: bytes) -> str:
    """Text of a piece of HTML source without tags, references resolved."""
    return _INVISIBLE.sub("", html.unescape(source.decode("utf-8", "replace")))


def rendered(lines: list[Line], markdown: bool) -> str:
    """The lines as text: a list entry starts with "- ", the cells of a row are joined by " | ", code keeps its lines.

    With ``markdown`` headings start with "#", code is fenced, nested lists are indented, tables have a header line, and
    blocks are parted by blank lines.
    """
    blocks = [(kind, text) for kind, text in _blocks(lines, markdown) if text]
    if not markdown:
        return "\n".join(text for _, text in blocks)
    parts: list[str] = []
    for kind, group in groupby(blocks, key=lambda block: block[0]):
        texts = [text for _, text in group]
        if kind == "table":
            texts.insert(1, "|" + " --- |" * texts[0].replace("\\|", "").count("|", 1))
        parts.append(("\n" if kind in ("list", "table") else "\n\n").join(texts))
    return "\n\n".join(parts)


def _blocks(lines: list[Line], markdown: bool) -> Iterator[tuple[Kind, str]]:
    entry = -1
    for (kind, _), group in groupby(enumerate(lines), key=lambda pair: _block_key(*pair)):
        block = [line for _, line in group]
        if kind == "code":
            code = _BLANK_LINES.sub("", "\n".join(unescaped(line.source) for line in block))
            yield kind, f"```\n{code}\n```" if markdown and code else code
        elif kind == "table":
            yield kind, _row(block, markdown)
        elif kind == "heading":
            text = folded(block[0].source)
            yield kind, f"{'#' * int(block[0].tag[1])} {text}" if markdown and text else text
        elif kind == "list":
            indent = "  " * max(0, min(block[0].list_depth, MAX_INDENTS) - 1) if markdown else ""
            texts = [text for line in block if (text := folded(line.source))]
            mark = "  " if block[0].list_entry == entry else "- "
            if texts:
                entry = block[0].list_entry
                continued = f"\n{indent}  " if markdown else "\n"
                yield kind, indent + (mark if mark == "- " or markdown else "") + continued.join(texts)
        else:
            yield kind, folded(block[0].source)


def _block_key(number: int, line: Line) -> tuple[Kind, int]:
    kind, element = line.block
    return kind, element if element >= 0 else -2 - number


def _row(lines: list[Line], markdown: bool) -> str:
    cells = [""] * (lines[-1].cell + 1)
    for line in lines:
        cells[line.cell] = f"{cells[line.cell]} {folded(line.source)}".strip()
    if markdown:
        return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |" if any(cells) else ""
    return " | ".join(cell for cell in cells if cell)
