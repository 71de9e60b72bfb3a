"""Prose and the gutters between columns.

A line of prose was broken where the next word no longer fitted; a cell or a label ends where its author ended it. White
space with prose on both sides separates columns. Columns of lists or code are told by what a table has not: the file
has one after the other, or, where it has no order, their lines do not share rows. All else at one height belongs
together.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise

from stages.pdf.layout.runs import Run

Row = list[Run]

MIN_PROSE_LINES = 3
MIN_PROSE_WIDTH_EM = 9.0
"""The narrowest columns of newspapers have 20 characters."""
MIN_PROSE_CHARACTERS = 18
MIN_PROSE_WORDS = 2.5
"""A line; of a script without spaces, every character is a word."""
MIN_FILLED_WIDTH = 0.75
"""Share of a column's width that the mean line of prose fills, a paragraph's last one aside."""
MIN_FULL_SHARE = 0.6
"""Share of a paragraph's lines, its last one aside, whose next word would not have fitted."""
EDGE_LINES = 4
MAX_EDGE_MOVE_EM = 2.0
"""The longest of four lines is about as long as the longest of the next four, if they are of one column."""
MAX_LEADING = 1.5
"""Distance of two lines of a paragraph, by the usual one."""
CHARACTER_EM = 0.5
"""Mean width of a letter."""
MIN_GUTTER_EM = 0.7
MIN_GUTTER_PROSE = 0.4
"""Share of the lines at either side of a gutter that are prose: headings, formulas and lists are the others."""
MIN_ISLAND_ROWS = 12
MIN_ALONE_SHARE = 0.3
MIN_ISLAND_GAP_EM = 2.0
"""Two tables side by side, or two pages on one: of the rows at a wide gap so many have text at one side alone, and so
many at the other. The cells of a table share their rows."""
MIN_FLOW_ROWS = 15
"""Rows beside a narrow gutter between columns of lists or code: forms and tables of two columns are mostly shorter."""
MIN_FLOW_LINES = 8
"""That stand at either side of it."""
MIN_FLOW_WIDTH_SHARE = 0.5
"""Of the narrower column, by the wider one: headings in the margin have about a third of the text's width."""
MAX_FLOW_SWITCHES = 0.2
"""How often a file goes from one side of a gutter to the other, by the lines at the side that has fewer. Measured: 0.02
to 0.1 between columns, and 0.6 to 2 between the cells of rows."""
MAX_FURNITURE_SWITCHES = 2
"""More, for a running head and a folio."""
MAX_TABLE_SHARE = 0.5
"""Of rows with more than two runs: a table may be written column by column."""
MIN_FLOW_ALONE_SHARE = 0.12
"""As MIN_ALONE_SHARE, at a narrow gutter. Measured on boxes of OCR: 0.15 to 0.29 between columns that both go down to
the foot."""
MIN_OWN_LINES_SHARE = 0.45
OWN_LINE_EM = 0.15
"""Of the rows with text at both sides, so many whose base lines differ by more than this. Measured on boxes of OCR:
0.54 to 0.90 between columns, 0 to 0.31 between cells."""
MIN_FLUSH_SHARE = 0.25
MAX_FLUSH_MOVE_EM = 0.5
"""Of the lines behind a gutter so many begin at one x: lists and code are indented, labels in figures are anywhere."""
MAX_ROW_DISTANCE = 2.0
"""From line to line of one column, in line heights."""
ROWS_AHEAD = 6
"""The next line of a column stands within so many rows: columns side by side need not share their base lines."""


def prose_runs(rows: Sequence[Row]) -> set[int]:
    """``id`` of the runs that are lines of running text."""
    following = _next_lines(rows)
    followers = {id(run) for run in following.values()}
    prose: set[int] = set()
    for row in rows:
        for run in row:
            if id(run) in followers:
                continue
            stack = [run]
            while id(stack[-1]) in following:
                stack.append(following[id(stack[-1])])
            for piece in _sections(stack):
                if _is_prose(piece):
                    prose.update(map(id, piece))
    return prose


def _next_lines(rows: Sequence[Row]) -> dict[int, Run]:
    """For each run the one that goes on below it, flush with it and in its size."""
    following: dict[int, Run] = {}
    taken: set[int] = set()
    for i, row in enumerate(rows):
        for run in row:
            below = _below(run, rows[i + 1 : i + 1 + ROWS_AHEAD], taken)
            if below is not None:
                following[id(run)] = below
                taken.add(id(below))
    return following


def _below(run: Run, rows: Sequence[Row], taken: set[int]) -> Run | None:
    for row in rows:
        if row[0].core_top - run.core_bottom > 1.2 * run.height:
            return None
        for other in row:
            if other.left > run.right:
                break
            overlap = min(run.right, other.right) - max(run.left, other.left)
            if overlap <= 0 or id(other) in taken:
                continue
            flush = abs(other.left - run.left) <= 3 * run.size
            same_size = 0.85 * run.size <= other.size <= 1.18 * run.size
            if flush and same_size and other.middle > run.middle + 0.5 * run.height:
                return other
            if overlap > 0.3 * min(run.width, other.width):
                return None
    return None


def _sections(stack: Sequence[Run]) -> list[list[Run]]:
    """A stack of lines, cut where its right edge moves, as between a caption and a column, and at wider gaps."""
    if len(stack) <= MIN_PROSE_LINES:
        return [list(stack)]
    distances = sorted(following.middle - run.middle for run, following in pairwise(stack))
    widest_gap = MAX_LEADING * distances[len(distances) // 2]
    sections = [[stack[0]]]
    for i in range(1, len(stack)):
        before = max(line.right for line in sections[-1][-EDGE_LINES:])
        after = max(line.right for line in stack[i : i + EDGE_LINES])
        moves = abs(after - before) > MAX_EDGE_MOVE_EM * stack[i].size
        if moves or stack[i].middle - stack[i - 1].middle > widest_gap:
            sections.append([])
        sections[-1].append(stack[i])
    return sections


def _is_prose(lines: Sequence[Run]) -> bool:
    if len(lines) < MIN_PROSE_LINES:
        return False
    edge, start = max(line.right for line in lines), min(line.left for line in lines)
    width, size, count = edge - start, lines[0].size, len(lines)
    characters = sum(len(line.text) for line in lines) / count
    if width < MIN_PROSE_WIDTH_EM * size or characters < MIN_PROSE_CHARACTERS:
        return False
    if sum(map(_words, lines)) < MIN_PROSE_WORDS * count:
        return False
    pairs = list(pairwise(lines))
    full = [line for line, following in pairs if is_full(line, following, edge)]
    filled = sum(line.right - start for line in full)
    return len(full) >= MIN_FULL_SHARE * len(pairs) and filled >= MIN_FILLED_WIDTH * width * len(full)


def _words(line: Run) -> int:
    return line.text.count(" ") + 1 + sum("\u2e80" <= character <= "\ua4cf" for character in line.text)


def is_full(line: Run, following: Run, edge: float) -> bool:
    """Whether the first word of the next line would not have fitted into this one."""
    first, _, _ = following.text.partition(" ")
    room = edge - line.right
    return room < CHARACTER_EM * line.size * (min(len(first), 14) + 1) + 0.3 * line.size


@dataclass(slots=True)
class Gutter:
    """White space from a row to a row, between x and x."""

    left: float
    right: float
    first_row: int
    last_row: int
    before: list[Run] = field(default_factory=list)  # that end at it
    after: list[Run] = field(default_factory=list)  # that begin at it
    first_alone: int = 0  # rows without text behind it
    second_alone: int = 0  # rows without text before it

    def take(self, number: int, left: float, right: float, before: Run | None, after: Run | None) -> None:
        """Go on over a row, between x and x of it and the runs that stand there."""
        self.left, self.right, self.last_row = left, right, number
        self.before += [before] if before is not None else []
        self.after += [after] if after is not None else []
        self.first_alone += after is None
        self.second_alone += before is None


def gutters_of(rows: Sequence[Row], prose: set[int], is_ocr: bool) -> list[Gutter]:
    """Stretches of white space that separate columns; the order of OCR's boxes means nothing."""
    found: list[Gutter] = []
    active: list[Gutter] = []
    for number, row in enumerate(rows):
        edges: list[tuple[float, float, Run | None, Run | None]] = [(float("-inf"), row[0].left, None, row[0])]
        edges += [(a.right, b.left, a, b) for a, b in pairwise(row)]
        edges.append((row[-1].right, float("inf"), row[-1], None))
        minimum = MIN_GUTTER_EM * min(run.size for run in row)
        goes_on: list[Gutter] = []
        for gutter in active:
            for left, right, before, after in edges:
                low, high = max(left, gutter.left), min(right, gutter.right)
                if high - low >= minimum:
                    gutter.take(number, low, high, before, after)
                    goes_on.append(gutter)
                    break
            else:
                found.append(gutter)
        for left, right, before, after in edges[1:-1]:
            inside = any(g.left < right and left < g.right for g in goes_on)
            if right - left >= minimum and not inside and before is not None and after is not None:
                goes_on.append(Gutter(left, right, number, number, [before], [after]))
        active = goes_on[:40]  # of a wide table; columns of prose are few
    found += active
    gutters = [
        gutter
        for gutter in found
        if _separates_prose(gutter, prose) or _separates_islands(gutter) or _separates_flows(gutter, rows, is_ocr)
    ]
    return [_lengthened(_without_tables(gutter, rows, prose, is_ocr), rows) for gutter in gutters]


def _separates_prose(gutter: Gutter, prose: set[int]) -> bool:
    for side in (gutter.before, gutter.after):
        lines = sum(id(run) in prose for run in side)
        if lines < MIN_PROSE_LINES or lines < MIN_GUTTER_PROSE * len(side):
            return False
    return True


def _separates_islands(gutter: Gutter) -> bool:
    rows = gutter.last_row - gutter.first_row + 1
    alone = min(gutter.first_alone, gutter.second_alone)
    size = max(gutter.before[0].size, gutter.after[0].size)
    wide = gutter.right - gutter.left >= MIN_ISLAND_GAP_EM * size
    return wide and rows >= MIN_ISLAND_ROWS and alone >= MIN_ALONE_SHARE * rows


def _separates_flows(gutter: Gutter, rows: Sequence[Row], is_ocr: bool) -> bool:
    """Whether lists or code go down at either side: by the file's order, or, where it has none, by their places."""
    count = gutter.last_row - gutter.first_row + 1
    fewer = min(len(gutter.before), len(gutter.after))
    if count < MIN_FLOW_ROWS or fewer < MIN_FLOW_LINES:
        return False
    size = gutter.before[0].size
    narrower, wider = sorted(
        max(r.right for r in side) - min(r.left for r in side) for side in (gutter.before, gutter.after)
    )
    if narrower < MIN_PROSE_WIDTH_EM * size or narrower < MIN_FLOW_WIDTH_SHARE * wider:
        return False
    crowded = sum(len(row) > 2 for row in rows[gutter.first_row : gutter.last_row + 1])
    if crowded > MAX_TABLE_SHARE * count or not _is_flush(gutter.after):
        return False
    if not is_ocr:
        return _switches(gutter) <= MAX_FLOW_SWITCHES * fewer + MAX_FURNITURE_SWITCHES
    alone = min(gutter.first_alone, gutter.second_alone)
    return alone >= MIN_FLOW_ALONE_SHARE * count and _own_lines(gutter, rows[gutter.first_row : gutter.last_row + 1])


def _switches(gutter: Gutter) -> int:
    """How often the file goes from one side of a gutter to the other."""
    order = sorted([(run.index, 0) for run in gutter.before] + [(run.index, 1) for run in gutter.after])
    return sum(side != next_side for (_, side), (_, next_side) in pairwise(order))


def _is_flush(lines: Sequence[Run]) -> bool:
    """Whether a good share of lines begin at one x."""
    lefts = sorted(line.left for line in lines)
    enough = max(2, round(MIN_FLUSH_SHARE * len(lefts)))
    reach = MAX_FLUSH_MOVE_EM * lines[0].size
    return any(last - first <= reach for first, last in zip(lefts, lefts[enough - 1 :], strict=False))


def _without_tables(gutter: Gutter, rows: Sequence[Row], prose: set[int], is_ocr: bool) -> Gutter:
    """Leave out a table above or below the columns: rows of several cells beyond the lines of prose."""
    numbers = range(gutter.first_row, gutter.last_row + 1)
    with_prose = [n for n in numbers if any(id(run) in prose for run in rows[n])]
    if not with_prose:
        return gutter
    above = [n for n in numbers if n < with_prose[0] and len(rows[n]) > 2]
    below = [n for n in numbers if n > with_prose[-1] and len(rows[n]) > 2]
    first = above[-1] + 1 if len(above) > 1 else gutter.first_row
    last = below[0] - 1 if len(below) > 1 else gutter.last_row
    top, bottom = rows[gutter.first_row : first], rows[last + 1 : gutter.last_row + 1]
    before, after = _sides(gutter, rows[first : last + 1])
    # the file has the left column to its foot before it has the right one, but a table before or after both
    if not (_own_lines(gutter, top) if is_ocr else _precede(before, _sides(gutter, top)[1])):
        gutter.first_row = first
    if not (_own_lines(gutter, bottom) if is_ocr else _precede(_sides(gutter, bottom)[0], after)):
        gutter.last_row = last
    return gutter


def _sides(gutter: Gutter, rows: Sequence[Row]) -> tuple[list[Run], list[Run]]:
    """The runs of some rows before a gutter, and those behind it."""
    before = [run for row in rows for run in row if run.right <= gutter.left]
    return before, [run for row in rows for run in row if run.left >= gutter.right]


def _precede(runs: Sequence[Run], others: Sequence[Run]) -> bool:
    """Whether the file has some runs before others, by their medians."""
    first, second = (sorted(run.index for run in side) for side in (runs, others))
    return bool(first and second) and first[len(first) // 2] < second[len(second) // 2]


def _own_lines(gutter: Gutter, rows: Sequence[Row]) -> bool:
    """Whether the lines at either side of a gutter have base lines of their own."""
    sides = [_sides(gutter, [row]) for row in rows]
    pairs = [(before[-1], after[0]) for before, after in sides if before and after]
    return sum(_differ_in_line(*pair) for pair in pairs) >= MIN_OWN_LINES_SHARE * len(pairs)


def _differ_in_line(run: Run, other: Run) -> bool:
    return abs(run.middle - other.middle) > OWN_LINE_EM * min(run.size, other.size)


def _lengthened(gutter: Gutter, rows: Sequence[Row]) -> Gutter:
    """Go on over rows above and below that lie at one side of the gutter: columns need not share their base lines."""
    while gutter.first_row > 0 and _is_beside(rows[gutter.first_row - 1], rows[gutter.first_row], gutter):
        gutter.first_row -= 1
    while gutter.last_row + 1 < len(rows) and _is_beside(rows[gutter.last_row + 1], rows[gutter.last_row], gutter):
        gutter.last_row += 1
    return gutter


def _is_beside(row: Row, next_row: Row, gutter: Gutter) -> bool:
    near = abs(row[0].middle - next_row[0].middle) <= MAX_ROW_DISTANCE * max(row[0].height, next_row[0].height)
    return near and (row[-1].right <= gutter.left or row[0].left >= gutter.right)


def columns_of(row_number: int, row: Row, gutters: Sequence[Gutter]) -> list[tuple[tuple[float, float], Row]]:
    """A row cut at the gutters: (left and right limit of the column, its runs)."""
    cuts = sorted((g.left + g.right) / 2 for g in gutters if g.first_row <= row_number <= g.last_row)
    limits = [float("-inf"), *cuts, float("inf")]
    pieces: list[tuple[tuple[float, float], Row]] = []
    for left, right in pairwise(limits):
        runs = [run for run in row if left <= (run.left + run.right) / 2 < right]
        if runs:
            pieces.append(((left, right), runs))
    return pieces
