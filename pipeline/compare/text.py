"""A comparison as lines for the terminal."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from rich.cells import cell_len

from pipeline.compare.comparison import Comparison
from pipeline.compare.documents import Membership, to_read
from pipeline.compare.tables import Grid, ended_title, remarks, sections
from pipeline.compare.words import sentence
from pipeline.report.markup import SPACE, clean

CELL_CHARACTERS = 60
EXCERPT_CHARACTERS = 160
ENDINGS_SAMPLED = 3  # of each artifact and direction
SAMPLES_SHOWN = 2  # of each ending


def lines(comparison: Comparison) -> Iterator[str]:
    """The whole text. Nothing that documents hold can steer the terminal: control characters are taken out."""
    for letter, side in (("A", comparison.a), ("B", comparison.b)):
        yield f"{letter}  {_line(side.folder)}  ({_line(side.name)}, {side.status})"
    yield ""
    yield _line(sentence(comparison))
    yield from map(_line, remarks(comparison))
    if comparison.is_same:
        return
    for told in sections(comparison):
        yield from ("", told.title.upper())
        yield from map(_line, told.words)
        for grid in told.grids:
            yield from ("", *_grid(grid))
        if told.anchor == "documents":
            yield from _samples(comparison.memberships)


def _line(text: str) -> str:
    return " ".join(clean(text).replace(SPACE, " ").split())


def _grid(grid: Grid) -> Iterator[str]:
    yield f"{_line(grid.caption)}:"
    names = [name.lstrip("#") for name in grid.columns]
    rows = [names, *([_cut(_line(cell), CELL_CHARACTERS) for cell in row] for row in grid.rows)]
    widths = [max(cell_len(row[i]) for row in rows) for i in range(len(names))]
    is_number = [name.startswith("#") for name in grid.columns]
    for row in rows:
        yield _aligned(row, widths, is_number)


def _aligned(row: Sequence[str], widths: Sequence[int], is_number: Sequence[bool]) -> str:
    cells = []
    for cell, width, right in zip(row, widths, is_number, strict=True):
        blanks = " " * (width - cell_len(cell))
        cells.append(blanks + cell if right else cell + blanks)
    return ("  " + "  ".join(cells)).rstrip()


def _cut(text: str, most: int) -> str:
    return text if len(text) <= most else f"{text[: most - 1]}…"


def _samples(memberships: Sequence[Membership]) -> Iterator[str]:
    for one, said, other, _, endings in to_read(memberships):
        for ended in endings[:ENDINGS_SAMPLED]:
            yield from ("", f"{one.artifact}: {said}; {_line(ended_title(ended, other))}; for example:")
            for sample in ended.samples[:SAMPLES_SHOWN]:
                evidence = f"  ({_line(sample.evidence)})" if sample.evidence else ""
                yield f"  {_line(sample.id)}{evidence}"
                yield f"    {_cut(_line(sample.excerpt), EXCERPT_CHARACTERS)}"
    for one in memberships:
        for document, text_a, text_b in one.edited.samples[:SAMPLES_SHOWN] if one.edited is not None else ():
            yield from ("", f"{one.artifact}: another text; {_line(document)}:")
            for letter, text in (("A", text_a), ("B", text_b)):
                yield f"  {letter}  {_cut(_line(text), EXCERPT_CHARACTERS)}"
