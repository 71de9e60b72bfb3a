"""The text of a document from its pages."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Literal

from stages.pdf.document.furniture import is_sideways, without_furniture
from stages.pdf.document.headings import Style, style_of
from stages.pdf.document.words import HYPHENS, Joiner, cleaned, hyphenated_words
from stages.pdf.page import Block, Page

SENTENCE_END = (".", "!", "?", ":", ";", "\u3002", "\uff01", "\uff1f", "\u061f", "\u06d4")
MIN_BROKEN_PARAGRAPH = 30
"""Characters: what is shorter and lacks a full stop is a label or a line of a list, not half a paragraph."""
OCR_LANES = ("ocr", "ocr_layer")
"""In which sizes are those of boxes."""

_BULLET = re.compile(r"[•◦▪▫■□●○‣⁃∙·✓➢➤❖]\s*|[–—*-]\s+")
_NUMBER = re.compile(r"\(?(?:\d{1,3}|[A-Za-z]|[ivx]{1,5})[.)]\s|\[\d{1,3}\]")
_MARK = re.compile(r"([⁰¹²³⁴-⁹]{1,3}|\d{1,3}|[*†‡§¶#]{1,3})\s?")
_TO_DIGITS = str.maketrans("⁰¹²³⁴⁵⁶⁷⁸⁹", "0123456789")
_TO_SUPERSCRIPT = str.maketrans("0123456789", "⁰¹²³⁴⁵⁶⁷⁸⁹")

PieceKind = Literal["paragraph", "list", "heading", "table", "formula", "grid", "footnote", "label"]


@dataclass(frozen=True)
class Document:
    """A PDF as text."""

    text: str
    """Markdown: paragraphs a blank line apart; footnotes at the end."""
    furniture: tuple[tuple[int, str], ...] = ()
    """Running heads, page numbers and stamps that were taken out: (page from 0, text)."""
    footnotes: int = 0
    tables: int = 0
    lost_tables: int = 0
    """Tables whose cells could not be told apart: they stand in the text as lines."""
    lost_formulas: int = 0
    """Formulas, set apart, that a text layer or OCR cannot tell: what characters there are stand in the text."""
    repaired_hyphens: int = 0
    """Words that were broken at a line's end."""


@dataclass(slots=True)
class Piece:
    """A paragraph, or what stands in its place."""

    kind: PieceKind
    text: str
    page: int
    more: list[str] = field(default_factory=list)
    """What follows it on later pages; put together at the end, as a text that grows is copied each time."""


def assembled(pages: Sequence[Page]) -> Document:
    """The document that pages make, in the order of their numbers.

    Footnotes stand at the end, as Markdown has them (``[^1]: ...``) where the text has their mark: a note in the midst
    of a sentence would part it, and in a corpus nobody looks into a column of its own.
    """
    pages, furniture = without_furniture(sorted(pages, key=lambda page: page.number))
    joiner = Joiner(hyphenated_words(line.text for page in pages for block in page.blocks for line in block.lines))
    style = style_of((block, page.lane in OCR_LANES) for page in pages for block in page.blocks)
    pieces: list[Piece] = []
    notes: list[Piece] = []
    for page in pages:
        for piece in _pieces(page, style, joiner):
            if piece.kind == "footnote":
                notes.append(piece)
            else:
                _append(pieces, piece)
    for piece in pieces:
        if piece.more:
            parts = [piece.text, *piece.more]
            piece.text = "\n".join(parts) if piece.kind == "table" else joiner.joined(parts)
    linked = _linked(pieces, notes)
    kinds = [piece.kind for piece in pieces]
    return Document(
        text="\n\n".join(_together(pieces) + linked),
        furniture=tuple(furniture),
        footnotes=len(notes),
        tables=kinds.count("table"),
        lost_tables=kinds.count("grid"),
        lost_formulas=kinds.count("formula"),
        repaired_hyphens=joiner.repaired,
    )


def _pieces(page: Page, style: Style, joiner: Joiner) -> Iterator[Piece]:
    for block in page.blocks:
        lines = [text for line in block.lines if (text := cleaned(line.text))]
        if not lines:
            continue
        if block.kind == "markdown":
            yield from (
                _of_markdown(part, page.number) for part in re.split(r"\n{2,}", "\n".join(lines)) if part.strip()
            )
        elif block.kind in ("table", "grid"):
            yield Piece("table" if block.kind == "table" else "grid", "\n".join(map(_plain, lines)), page.number)
        elif block.kind in ("formula", "footnote"):
            kind: PieceKind = "formula" if block.kind == "formula" else "footnote"
            yield Piece(kind, joiner.joined(lines), page.number)
        elif any(map(is_sideways, block.lines)):
            yield Piece("label", joiner.joined(lines), page.number)
        else:
            yield _of_text(block, lines, page, style, joiner)


def _of_markdown(text: str, page: int) -> Piece:
    kind: PieceKind = "paragraph"
    if text.startswith(("|", "<table")):
        kind = "table"
    elif text.startswith("#"):
        kind = "heading"
    elif _BULLET.match(text) or _NUMBER.match(text):
        kind = "list"
    return Piece(kind, text.strip(), page)


def _of_text(block: Block, lines: Sequence[str], page: Page, style: Style, joiner: Joiner) -> Piece:
    text = joiner.joined(lines)
    level = style.level(block, page.lane in OCR_LANES)
    bullet = _BULLET.match(text)
    if bullet and bullet.end() < len(text):
        return Piece("list", f"- {text[bullet.end() :]}", page.number)
    if level:
        return Piece("heading", f"{'#' * level} {text}", page.number)
    return Piece("list" if _NUMBER.match(text) else "paragraph", text, page.number)


def _plain(line: str) -> str:
    return line.translate(dict.fromkeys(map(ord, HYPHENS), "-"))


def _append(pieces: list[Piece], piece: Piece) -> None:
    """Put a piece at the end: half a paragraph to its other half, the rest of a table to its beginning."""
    before = _last_text(pieces)
    if piece.kind == "paragraph" and before is not None and _continues(before, piece):
        before.more.append(piece.text)
        return
    last = pieces[-1] if pieces else None
    if piece.kind == "table" and last is not None and last.kind == "table" and last.page < piece.page:
        rows, more = last.text.split("\n"), piece.text.split("\n")
        if len(more) > 1 and rows[1:2] == more[1:2]:
            last.more += more[2:] if more[0] == rows[0] else [more[0], *more[2:]]
            last.page = piece.page
            return
    pieces.append(piece)


def _last_text(pieces: Sequence[Piece]) -> Piece | None:
    """The last paragraph, if only tables stand after it."""
    for piece in reversed(pieces[-3:]):
        if piece.kind in ("paragraph", "list"):
            return piece
        if piece.kind not in ("table", "grid"):
            return None
    return None


def _continues(before: Piece, piece: Piece) -> bool:
    """Whether a paragraph starts in the middle of a sentence that the one before leaves unfinished."""
    end = before.more[-1] if before.more else before.text
    if end[-1] in HYPHENS:
        return end[-2:-1].isalpha() and piece.text[0].islower()
    unfinished = len(before.text) + len(end) * bool(before.more) >= MIN_BROKEN_PARAGRAPH
    unfinished = unfinished and not end.endswith(SENTENCE_END)
    return unfinished and piece.text[0].islower()


def _together(pieces: Sequence[Piece]) -> list[str]:
    """Texts of paragraphs; the entries of a list follow each other without a blank line."""
    texts: list[str] = []
    for i, piece in enumerate(pieces):
        if i and piece.kind == pieces[i - 1].kind == "list":
            texts[-1] += f"\n{piece.text}"
        else:
            texts.append(piece.text)
    return texts


def _linked(pieces: Sequence[Piece], notes: Sequence[Piece]) -> list[str]:
    """Footnotes as Markdown; their marks in the text become references to them."""
    texts: list[str] = []
    number = 0
    on_page: dict[int, list[Piece]] = {}
    for piece in pieces:
        on_page.setdefault(piece.page, []).append(piece)
    for note in notes:
        mark = _MARK.match(note.text)
        holder = None
        if mark is not None:
            raised = mark[1].translate(_TO_SUPERSCRIPT)
            reference = re.compile(rf"(?<=[^\s⁰¹²³⁴-⁹]){re.escape(raised)}(?![⁰¹²³⁴-⁹])")
            holder = next(
                (p for p in on_page.get(note.page, ()) if p.kind != "table" and reference.search(p.text)), None
            )
        if mark is None or holder is None:
            texts.append(note.text)
            continue
        number += 1
        holder.text = reference.sub(f"[^{number}]", holder.text, count=1)
        texts.append(f"[^{number}]: {note.text[mark.end() :]}")
    return texts
