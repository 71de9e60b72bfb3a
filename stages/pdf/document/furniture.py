"""Running heads, running feet, page numbers and stamps in the margin: what belongs to pages, not to their text."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

from stages.pdf.page import Block, Line, Page

BAND = 0.085
"""Share of the page's height at its top and at its bottom that a running head reaches into. A wider one, of 0.11, found
no more heads and lost text."""
WIDE_BAND = 0.13
"""Likewise, of a first line with a page number, or of small print beside a running head, that stands far from text."""
MAX_ROWS_APART = 5
EDGE_LINES = 3
"""Rows at the top and at the bottom of a page among which lines that recur are looked for."""
MIN_PAGES = 3
MIN_SHARE = 0.25
"""A line is a running head if it stands at the edge of at least 3 pages and of a quarter of them: left and right pages
differ, and so do chapters."""
MIN_PITCH = 1.2
MIN_PITCH_WITHOUT_NUMBER = 1.5
MIN_PITCH_OF_SENTENCE = 2.5
"""Distance of a running head to the text, by that of the text's lines: less where a page number stands beside it, more
where it begins or ends as text does."""
MAX_SIZE = 1.15
"""Of a running head by the size of the text: titles are larger."""
MAX_CHARACTERS = 150
MIN_OTHER_ROWS = 4
"""A page of fewer rows is a title page or a slide: its lines stand apart everywhere."""
MIN_FULL_WIDTH = 0.8
"""Share of the text's width that a line of a paragraph fills, its last one aside."""
MARGIN = 0.12
"""Share of the page's width at its left and right in which text on its side is a stamp."""

MIN_NUMBER_GAP = 2.0
"""White space between a page number and the head beside it, in ems; the mark of a footnote stands close."""
SMALL_SIZE = 0.93
MANY_PAGES = 5
"""In a document of so many pages a running head recurs: a line that does not is one only if it has a page number, is
in small print or stands on the first page."""
MAX_RECURRING_SIZE = 1.3
"""Slides on one subject have one title."""

_NOT_HEAD = re.compile(
    r"(?:table|figure|fig\.?|tab\.?|abb\.?|tableau|tabelle|abbildung)\s*\d|[⁰¹²³⁴-⁹*†‡§]|.*=", re.IGNORECASE
)
"""How captions and footnotes begin, and what formulas have."""
_NUMBER = r"(?:\d{1,4}|[ivxlc]{1,7}|[IVXLC]{1,7}|[A-Z]{1,2}-?\d{1,3})"
_PAGE_NUMBER = re.compile(
    rf"[\-\u2013\u2014|.·\s]*(?:page|seite|p\.|pg\.?|página|страница)?\s*{_NUMBER}"
    rf"(?:\s*(?:/|of|von|de|из|\|)\s*{_NUMBER})?[\-\u2013\u2014|.·\s]*",
    re.IGNORECASE,
)

_YEAR = re.compile(r"(?:1[5-9]|20)\d\d")
_NUMBERED = re.compile(r"\d{1,3}\s+[^\W\d].*[^\W\d.,;:]|[^\W\d].*\s\d{1,3}")
"""A line with a number before or behind its words, which do not end as a sentence does; years have four digits."""


@dataclass(frozen=True, slots=True)
class Row:
    """Lines at one height of a page."""

    lines: tuple[Line, ...]

    @property
    def top(self) -> float:
        return min(line.top for line in self.lines)

    @property
    def bottom(self) -> float:
        return max(line.bottom for line in self.lines)

    @property
    def middle(self) -> float:
        return (self.top + self.bottom) / 2

    @property
    def text(self) -> str:
        return " ".join(line.text for line in self.lines)


def is_page_number(text: str) -> bool:
    return _PAGE_NUMBER.fullmatch(text.strip()) is not None


def without_furniture(pages: Sequence[Page]) -> tuple[list[Page], list[tuple[int, str]]]:
    """Pages without what recurs at their edges or stands apart there, and what was taken out: (page from 0, text)."""
    rows_of_pages = [_rows(page) for page in pages]
    heads = _recurring(rows_of_pages)
    recurs = sum(map(bool, rows_of_pages)) >= MANY_PAGES
    kept: list[Page] = []
    removed: list[tuple[int, str]] = []
    for page, rows in zip(pages, rows_of_pages, strict=True):
        lines = _furniture(page, rows, heads, recurs)
        kept.append(_without(page, lines))
        removed += [(page.number, line.text) for line in lines]
    return kept, removed


def _lines(page: Page) -> Iterator[Line]:
    for block in page.blocks:
        if block.kind not in ("table", "markdown"):
            yield from block.lines


def _rows(page: Page) -> list[Row]:
    """A page's upright lines by height."""
    rows: list[list[Line]] = []
    for line in sorted(
        (line for line in _lines(page) if not is_sideways(line)), key=lambda line: line.top + line.bottom
    ):
        last = rows[-1][0] if rows else None
        if last and abs(line.top + line.bottom - last.top - last.bottom) < 0.8 * min(
            line.bottom - line.top, last.bottom - last.top
        ):
            rows[-1].append(line)
        else:
            rows.append([line])
    return [Row(tuple(sorted(row, key=lambda line: line.left))) for row in rows]


def is_sideways(line: Line) -> bool:
    return len(line.text) >= 4 and line.bottom - line.top > 2 * (line.right - line.left)


def _masked(text: str) -> str:
    return re.sub(r"\d+", "#", re.sub(r"\s+", " ", text)).strip().casefold()


def _edge_rows(rows: Sequence[Row]) -> list[tuple[str, Row]]:
    # a third at most at either end: pages of a form or of slides may be alike from top to bottom
    reach = min(EDGE_LINES, len(rows) // 3)
    return [("top", row) for row in rows[:reach]] + [("foot", row) for row in rows[len(rows) - reach :]]


def _recurring(rows_of_pages: Sequence[Sequence[Row]]) -> set[tuple[str, str]]:
    seen: Counter[tuple[str, str]] = Counter()
    for rows in rows_of_pages:
        largest = MAX_RECURRING_SIZE * _body_size(rows)
        lines = [(edge, line) for edge, row in _edge_rows(rows) for line in row.lines]
        seen.update({(edge, _masked(line.text)) for edge, line in lines if line.size <= largest})
    written = sum(bool(rows) for rows in rows_of_pages)
    least = max(MIN_PAGES, MIN_SHARE * written)
    return {key for key, count in seen.items() if count >= least and _may_be_head(key[1])}


def _may_be_head(masked: str) -> bool:
    # rows of a table that runs over pages are numbers too; a page number has one or two ("3 / 12")
    return any(character.isalpha() for character in masked) or masked.count("#") <= 2


def _furniture(page: Page, rows: Sequence[Row], heads: set[tuple[str, str]], recurs: bool) -> list[Line]:
    found = [line for edge, row in _edge_rows(rows) for line in row.lines if (edge, _masked(line.text)) in heads]
    taken = {id(line) for line in found}
    rows = [row for row in rows if not taken >= set(map(id, row.lines))]
    if page.height and rows:
        body, pitch = _body_size(rows), _pitch(page, rows)
        for at_top in (True, False):
            ordered = rows if at_top else rows[::-1]
            for row in ordered[: _apart(page, ordered, body, pitch, at_top, recurs)]:
                found += [line for line in row.lines if id(line) not in taken]
                taken.update(map(id, row.lines))
    for line in _lines(page):
        outside = line.right < MARGIN * page.width or line.left > (1 - MARGIN) * page.width
        if is_sideways(line) and outside and id(line) not in taken:
            found.append(line)
    return found


def _apart(page: Page, rows: Sequence[Row], body: float, pitch: float, at_top: bool, recurs: bool) -> int:
    """How many rows, counted from an edge of the page, stand apart from its text as running heads do."""
    band = BAND * page.height
    apart = 0
    for count, row in enumerate(rows[:MAX_ROWS_APART], start=1):
        reach = row.top if at_top else page.height - row.bottom
        in_band = reach <= band
        if not in_band and reach <= WIDE_BAND * page.height:
            distance = _distance(row, rows[count:])
            is_small = apart == count - 1 > 0 and max(line.size for line in row.lines) <= SMALL_SIZE * body
            in_band = is_small and distance >= MIN_PITCH_OF_SENTENCE * pitch
            in_band |= count == 1 and _has_page_number(row, body) and distance >= MIN_PITCH_WITHOUT_NUMBER * pitch
        is_number = count == 1 and is_page_number(row.text) and (in_band or _is_folio(row, body))
        if not is_number and not (in_band and _may_stand_apart(row, body, recurs and page.number > 0)):
            break
        if count == len(rows):
            return count if is_number else 0
        if count - apart > 1 and _goes_on(rows[count - 2], row, rows, body, pitch):
            continue
        enough = is_number or len(rows) - count >= MIN_OTHER_ROWS
        if enough and _distance(row, rows[count:]) >= _least_distance(row, body) * pitch:
            apart = count
    return apart


def _is_folio(row: Row, body: float) -> bool:
    """Whether a number far from the page's edge may be the page's: a year, or a chapter's number, larger than text, is
    none."""
    return max(line.size for line in row.lines) <= MAX_SIZE * body and _YEAR.fullmatch(row.text.strip()) is None


def _goes_on(row: Row, following: Row, rows: Sequence[Row], body: float, pitch: float) -> bool:
    """Whether two neighbouring rows, the outer one first, are lines of one paragraph: the upper one is full."""
    upper = min(row, following, key=lambda one: one.top)
    width = max(line.right for one in rows for line in one.lines) - min(one.lines[0].left for one in rows)
    is_full = len(upper.lines) == 1 and upper.lines[0].right - upper.lines[0].left >= MIN_FULL_WIDTH * width
    sizes = [line.size for one in (row, following) for line in one.lines]
    is_body = min(sizes) > SMALL_SIZE * body and max(sizes) <= MAX_SIZE * body
    return is_full and is_body and abs(following.middle - row.middle) < MIN_PITCH_WITHOUT_NUMBER * pitch


def _may_stand_apart(row: Row, body: float, recurs: bool) -> bool:
    size = max(line.size for line in row.lines)
    if size > MAX_SIZE * body or len(row.text) > MAX_CHARACTERS or _NOT_HEAD.match(row.text):
        return False
    if all(line.is_bold for line in row.lines) and not _has_page_number(row, body):
        return False
    return not recurs or size <= SMALL_SIZE * body or _has_page_number(row, body)


def _has_page_number(row: Row, body: float) -> bool:
    """Whether a page number stands at an end of the row, apart from the rest or in small print."""
    if len(row.lines) == 1:
        is_small = row.lines[0].size <= SMALL_SIZE * body
        return is_page_number(row.text) or (is_small and _NUMBERED.fullmatch(row.text) is not None)
    (first, second), (before, last) = row.lines[:2], row.lines[-2:]
    starts = is_page_number(first.text) and second.left - first.right >= MIN_NUMBER_GAP * second.size
    return starts or (is_page_number(last.text) and last.left - before.right >= MIN_NUMBER_GAP * before.size)


def _distance(row: Row, others: Sequence[Row]) -> float:
    """Of a row to the nearest that lies above or below it."""
    left, right = row.lines[0].left, max(line.right for line in row.lines)
    for other in others:
        if any(line.left < right and line.right > left for line in other.lines):
            return abs(other.middle - row.middle)
    return float("inf")


def _least_distance(row: Row, body: float) -> float:
    """From a running head to the text, by the distance of the text's lines."""
    if _has_page_number(row, body):
        return MIN_PITCH
    text = row.text
    is_sentence = text[0].islower() or text.endswith((".", ",", ";", "-", "\x02", "\u3002"))
    return MIN_PITCH_OF_SENTENCE if is_sentence else MIN_PITCH_WITHOUT_NUMBER


def _pitch(page: Page, rows: Sequence[Row]) -> float:
    """Usual distance of a page's lines."""
    middles = [[line.top + line.bottom for line in block.lines] for block in page.blocks if block.kind == "text"]
    distances = sorted(abs(b - a) / 2 for block in middles for a, b in pairwise(block))
    distances = distances or sorted(abs(b.middle - a.middle) for a, b in pairwise(rows))
    return distances[len(distances) // 2] if distances else 0.0


def _body_size(rows: Sequence[Row]) -> float:
    sizes: Counter[float] = Counter()
    for row in rows:
        for line in row.lines:
            sizes[round(line.size, 1)] += len(line.text)
    return sizes.most_common(1)[0][0] if sizes else 0.0


def _without(page: Page, lines: Sequence[Line]) -> Page:
    if not lines:
        return page
    taken = {id(line) for line in lines}
    blocks = [Block(block.kind, tuple(line for line in block.lines if id(line) not in taken)) for block in page.blocks]
    return replace(page, blocks=tuple(block for block in blocks if block.lines))
