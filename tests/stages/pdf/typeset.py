"""Pages as a typesetter makes them: fragments of text with the widths that Helvetica gives them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from reportlab.lib.utils import simpleSplit
from reportlab.pdfbase.pdfmetrics import stringWidth

from stages.pdf.layout import blocks_of
from stages.pdf.page import Block, Fragment, Lane, Page

WIDTH, HEIGHT = 595.0, 842.0
LEADING = 1.2

WORDS = """the quick brown fox jumps over a lazy dog while seven wizards make toxic brew for an evil queen and her jolly
knights who never quite believed that any of this could happen in such a quiet little town near old mountains"""


def prose(words: int, start: int = 0) -> str:
    """A sentence of so many words."""
    known = WORDS.split()
    chosen = [known[(start + i * 7) % len(known)] for i in range(words)]
    return " ".join(chosen).capitalize() + "."


def line(text: str, left: float, baseline: float, size: float = 10, bold: bool = False, font: str = "") -> Fragment:
    """A line of text whose baseline lies so far from the page's top."""
    width = stringWidth(text, "Helvetica-Bold" if bold else "Helvetica", size)
    font = font or ("Helvetica-Bold" if bold else "Helvetica")
    return Fragment(left, baseline - 0.75 * size, left + width, baseline + 0.22 * size, text, size, font, bold)


def lines(texts: Iterable[str], left: float, baseline: float, size: float = 10, bold: bool = False) -> list[Fragment]:
    return [line(text, left, baseline + i * LEADING * size, size, bold) for i, text in enumerate(texts)]


def paragraph(
    text: str, left: float, baseline: float, width: float, size: float = 10, indent: float = 0
) -> list[Fragment]:
    """Lines of a paragraph, broken where the next word does not fit."""
    if not indent:
        return lines(simpleSplit(text, "Helvetica", size, width), left, baseline, size)
    first = simpleSplit(text, "Helvetica", size, width - indent)[0]
    rest = simpleSplit(text[len(first) :].strip(), "Helvetica", size, width)
    return [line(first, left + indent, baseline, size), *lines(rest, left, baseline + LEADING * size, size)]


def table(rows: Sequence[Sequence[str]], lefts: Sequence[float], baseline: float, pitch: float = 14) -> list[Fragment]:
    """Cells flush left; empty ones are not there."""
    return [
        line(cell, left, baseline + number * pitch)
        for number, row in enumerate(rows)
        for cell, left in zip(row, lefts, strict=True)
        if cell
    ]


def below(fragments: Sequence[Fragment], points: float = 0) -> float:
    """The baseline of the line that follows, or of one so much lower."""
    last = fragments[-1]
    return last.bottom - 0.22 * last.size + LEADING * last.size + points


def blocks(fragments: Sequence[Fragment], is_ocr: bool = False) -> list[Block]:
    return blocks_of(fragments, WIDTH, HEIGHT, is_ocr)


def page(fragments: Sequence[Fragment], number: int = 0, lane: Lane = "text") -> Page:
    made = tuple(blocks(fragments, is_ocr=lane == "ocr"))
    return Page(number, lane, "sound", WIDTH, HEIGHT, made)


def text_of(made: Iterable[Block]) -> list[str]:
    """The text of each block, lines joined."""
    return [" ".join(line.text for line in block.lines) for block in made]


def markdown(texts: Sequence[str], number: int = 0) -> Page:
    """A page that a model has read."""
    written = [replace(b, kind="markdown") for b in blocks(lines(texts, 72, 100))]
    return Page(number, "vision", "", WIDTH, HEIGHT, tuple(written))
