"""Tables from runs that stand in rows and columns."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from stages.pdf.layout.runs import Run

Row = list[Run]

_FIGURE = re.compile(
    r"[\s$€£¥(+\-\u2212\u2013~<>±≤≥]*\d[\d.,:/\s]*(?:[A-Za-z%)*†‡±]{0,3})[\d.,)\s]*|[-\u2013\u2014.]+|n/?a", re.I
)

MIN_COLUMNS = 3
MIN_ROWS = 4
MIN_FILLED = 0.5
"""Share of a table's cells that are filled."""
MIN_ALIGNED = 0.6
"""Share of a column's cells that share their left edges, their right edges or their middles with most others."""
MAX_ROW_GAP = 2.2
"""White space between two rows of a table, in heights of a row."""
MAX_HEADING_ROWS = 5
MAX_CELL_CHARACTERS = 120
"""Of a heading between rows."""
MAX_CELL_LINES = 6
"""Lines of a cell that go on below its row."""
CLOSE_LINES = 0.8
"""Distance of two lines in one cell by that of two rows."""
SAME_ROW = 0.8
"""Distance, in line heights, of lines that are of one row: two rows cannot stand so close."""
SIGNS_BEFORE = frozenset("$€£¥")
SIGNS_BEHIND = frozenset(("%", ")", ")%", "%)"))
MAX_CROSSING = 0.15
"""Share of a table's rows (headings over several columns) with a cell across the gap between two columns."""
_YEAR = re.compile(r"(?:19|20)\d\d")
_CAPTION = re.compile(r"(?:table|figure|fig\.?|tab\.?|abb\.?|tableau|tabelle|abbildung)\s*[\dIVX]", re.IGNORECASE)


@dataclass(slots=True)
class Piece:
    """The runs of a row that lie in one column of the page."""

    runs: Row
    has_prose: bool

    @property
    def is_prose(self) -> bool:
        """A line of running text across its column; prose beside other runs may be a cell."""
        return self.has_prose and len(self.runs) == 1

    @property
    def top(self) -> float:
        return min(run.top for run in self.runs)

    @property
    def bottom(self) -> float:
        return max(run.bottom for run in self.runs)

    @property
    def height(self) -> float:
        return max(run.height for run in self.runs)


def grid_ranges(pieces: Sequence[Piece]) -> list[tuple[int, int]]:
    """First and last + 1 of the pieces, in one column of the page from top to bottom, that may be a table."""
    ranges: list[tuple[int, int]] = []
    start: int | None = None
    last = 0  # the last piece with several runs
    for i, piece in enumerate(pieces):
        several = len(piece.runs) > 1 and not (start is None and _CAPTION.match(piece.runs[0].text))
        if start is not None and not _goes_on(pieces, last, i):
            ranges.append((start, last + 1))
            start = None
        if several:
            start, last = (i if start is None else start), i
    if start is not None:
        ranges.append((start, last + 1))
    return [(_with_headings(pieces, first), end) for first, end in ranges if end - first >= 2]


def _with_headings(pieces: Sequence[Piece], first: int) -> int:
    """The first row of a table's headings: what stands close above, over columns but not over the first, is one too."""
    spans = column_spans(pieces[first : first + MIN_ROWS])
    while first > 0 and len(spans) > 1:
        piece, below = pieces[first - 1], pieces[first]
        apart = below.top - piece.bottom > MAX_ROW_GAP * max(piece.height, below.height)
        if (
            piece.is_prose
            or apart
            or piece.runs[0].left < spans[0][1]
            or piece.runs[-1].right > spans[-1][1] + piece.height
        ):
            break
        first -= 1
    return first


def _goes_on(pieces: Sequence[Piece], last: int, i: int) -> bool:
    """Whether a table that has its last row of several cells at ``last`` may have the piece ``i``."""
    piece, above = pieces[i], pieces[i - 1]
    if piece.top - above.bottom > MAX_ROW_GAP * max(piece.height, above.height):
        return False
    if len(piece.runs) > 1:
        return True
    run = piece.runs[0]
    covered = sum(cell.left < run.right and cell.right > run.left for cell in pieces[last].runs)
    if covered <= 1 and run.left > pieces[last].runs[0].right:
        return i - last <= MAX_CELL_LINES
    return i - last <= 2 and not piece.is_prose and len(run.text) <= MAX_CELL_CHARACTERS


@dataclass(slots=True)
class GridRow:
    """A row of a table: its cells by column, and the runs that they were put together from."""

    texts: list[str]
    runs: list[Run]


def grid_of(pieces: Sequence[Piece]) -> list[GridRow] | None:
    """The rows of a table, or None if the pieces are not surely one."""
    spans = column_spans(pieces)
    if len(spans) < MIN_COLUMNS or len(pieces) < MIN_ROWS:
        return None
    rows = [_cells(piece, spans) for piece in pieces]
    if not _is_aligned(rows, len(spans)) or not _is_filled(rows, len(spans)):
        return None
    headings = _heading_rows(rows)
    for n in range(headings):
        rows[n] = _widened(rows[n], rows[:n], rows[n + 1 : headings], spans)
    grid = [GridRow(_texts(row, len(spans), n < headings), [run for run, _, _ in row]) for n, row in enumerate(rows)]
    grid = _with_whole_cells(grid, rows, headings)
    _without_symbol_columns(grid)
    return grid


def _widened(
    row: Sequence[Cell],
    above: Sequence[Sequence[Cell]],
    below: Sequence[Sequence[Cell]],
    spans: Sequence[tuple[float, float]],
) -> list[Cell]:
    """Headings over several columns: they are centred over columns that have headings of their own below, not above."""
    filled = {column for other in below for _, first, end in other for column in range(first, end)}
    taken = {column for _, first, end in row for column in range(first, end)} | ({0} - filled)
    taken |= {first for other in above for _, first, end in other if end - first == 1}
    wide: list[Cell] = []
    for run, first, end in row:
        best = (first, end)
        for left in range(first, -1, -1):
            for right in range(end, len(spans) + 1):
                middle = (spans[left][0] + spans[right - 1][1]) / 2
                centred = abs(middle - (run.left + run.right) / 2) <= 0.1 * (spans[right - 1][1] - spans[left][0])
                new = {*range(left, first), *range(end, right)}
                if centred and new & filled and not new & taken and right - left > best[1] - best[0]:
                    best = (left, right)
        taken |= set(range(*best))
        wide.append((run, *best))
    return wide


def column_spans(pieces: Sequence[Piece]) -> list[tuple[float, float]]:
    """Left and right edges of the columns: what lies between the gaps that few rows cross."""
    several = [piece for piece in pieces if len(piece.runs) > 1]
    if not several:
        return []
    events: list[tuple[float, int]] = []
    for piece in several:
        for run in piece.runs:
            events += [(run.left, 1), (run.right, -1)]
    events.sort()
    allowed = MAX_CROSSING * len(several)
    spans: list[tuple[float, float]] = []
    depth, start = 0, None
    for x, step in events:
        depth += step
        if depth > allowed and start is None:
            start = x
        elif depth <= allowed and start is not None:
            spans.append((start, x))
            start = None
    merged: list[tuple[float, float]] = []
    size = several[0].runs[0].size
    for left, right in spans:
        if merged and left - merged[-1][1] < 0.3 * size:
            merged[-1] = (merged[-1][0], right)
        else:
            merged.append((left, right))
    return merged


Cell = tuple[Run, int, int]  # with the first and last + 1 of the columns that it lies over


def _cells(piece: Piece, spans: Sequence[tuple[float, float]]) -> list[Cell]:
    cells: list[Cell] = []
    for run in piece.runs:
        over = [
            i for i, (left, right) in enumerate(spans) if min(run.right, right) - max(run.left, left) > 0.2 * run.size
        ]
        if not over:
            middle = (run.left + run.right) / 2
            nearest = min(range(len(spans)), key=lambda i: abs((spans[i][0] + spans[i][1]) / 2 - middle))
            over = [nearest]
        cells.append((run, over[0], over[-1] + 1))
    return cells


def _is_aligned(rows: Sequence[Sequence[Cell]], count: int) -> bool:
    """Whether most columns are set flush left, flush right or centred."""
    aligned = 0
    for column in range(count):
        runs = [run for row in rows for run, first, end in row if first == column and end == column + 1]
        aligned += len(runs) >= 2 and _share_aligned(runs) >= MIN_ALIGNED
    return aligned >= max(MIN_COLUMNS - 1, 0.6 * count)


def _share_aligned(runs: Sequence[Run]) -> float:
    tolerance = 0.6 * runs[0].size
    best = 0
    for edges in (
        [run.left for run in runs],
        [run.right for run in runs],
        [(run.left + run.right) / 2 for run in runs],
    ):
        edges.sort()
        start = 0
        for end, edge in enumerate(edges):
            while edge - edges[start] > tolerance:
                start += 1
            best = max(best, end - start + 1)
    return best / len(runs)


def _is_filled(rows: Sequence[Sequence[Cell]], count: int) -> bool:
    several = [row for row in rows if len(row) > 1]
    filled = sum(end - first for row in several for _, first, end in row)
    return len(several) >= MIN_ROWS - 1 and filled >= MIN_FILLED * count * len(several)


def _texts(row: Sequence[Cell], count: int, is_heading: bool) -> list[str]:
    """A row's cells by column. A heading over several columns stands in each, so that each says what it holds."""
    texts = [""] * count
    for run, first, end in row:
        for column in range(first, end if is_heading else first + 1):
            texts[column] = f"{texts[column]} {run.text.removesuffix(' ...')}".strip()
    return texts


def _heading_rows(rows: Sequence[Sequence[Cell]]) -> int:
    """Rows above the first that has figures in most of its cells; one if no row has."""
    for number, row in enumerate(rows[: MAX_HEADING_ROWS + 1]):
        figures = sum(bool(_FIGURE.fullmatch(run.text)) and not _YEAR.fullmatch(run.text) for run, _, _ in row)
        if len(row) > 2 and figures >= 0.5 * (len(row) - 1):
            return number
    return 1


def _with_whole_cells(grid: Sequence[GridRow], rows: Sequence[Sequence[Cell]], headings: int) -> list[GridRow]:
    """Put lines of one cell together: they stand closer than the rows do."""
    close = CLOSE_LINES * _pitch(rows)
    whole: list[GridRow] = []
    last: dict[int, tuple[float, GridRow]] = {}  # by column: middle of the last line, and its row
    waiting: list[tuple[Run, int]] = []  # lines of cells that stand above the others of their row, with their columns
    for number, (made, row) in enumerate(zip(grid, rows, strict=True)):
        run, column, end = row[0]
        if number >= headings and len(row) == 1 and end - column == 1:
            following = rows[number + 1] if number + 1 < len(rows) else ()
            distance = run.middle - last[column][0] if column in last else float("inf")
            if _is_above(run, column, following, min(close, distance)):
                waiting.append((run, column))
                continue
            above = _row_above(run, column, last, close)
            if above is not None:
                above.texts[column] = f"{above.texts[column]} {run.text}".strip()
                above.runs.append(run)
                last[column] = (run.middle, above)
                continue
        for line, at in reversed(waiting):
            made.texts[at] = f"{line.text} {made.texts[at]}".strip()
            made.runs.append(line)
        waiting = []
        whole.append(made)
        for cell, first, _ in row:
            last[first] = (cell.middle, made)
    return whole


def _is_above(run: Run, column: int, following: Sequence[Cell], close: float) -> bool:
    """Whether a line is of a cell of the next row: it stands close above that cell, or the row is centred on it."""
    if len(following) < 2:
        return False
    for cell, first, _ in following:
        if first == column:
            return cell.middle - run.middle < close
    return following[0][0].middle - run.middle < SAME_ROW * run.height


def _row_above(run: Run, column: int, last: dict[int, tuple[float, GridRow]], close: float) -> GridRow | None:
    """The row above, if a line is of one of its cells."""
    if column in last and run.middle - last[column][0] < close:
        return last[column][1]
    middle, row = max(last.values(), key=lambda found: found[0], default=(float("-inf"), None))
    return row if run.middle - middle < SAME_ROW * run.height else None


def _pitch(rows: Sequence[Sequence[Cell]]) -> float:
    """Usual distance between two rows of several cells."""
    middles = [min(run.middle for run, _, _ in row) for row in rows if len(row) > 1]
    distances = sorted(below - above for above, below in pairwise(middles))
    return distances[len(distances) // 4] if distances else 0.0  # rows with cells of several lines stand farther apart


def _without_symbol_columns(grid: Sequence[GridRow]) -> None:
    """Put currency signs that stand in a column of their own before their figures, and percent signs behind."""
    column = 0
    while column < len(grid[0].texts):
        signs = {row.texts[column] for row in grid[1:]} - {""}
        before, behind = bool(signs) and signs <= SIGNS_BEFORE, bool(signs) and signs <= SIGNS_BEHIND
        to = column + 1 if before else column - 1
        if not (before or behind) or not 0 <= to < len(grid[0].texts):
            column += 1
            continue
        for row in grid:
            both = (row.texts[column], row.texts[to]) if before else (row.texts[to], row.texts[column])
            row.texts[to] = " ".join(filter(None, both if both[0] != both[1] else both[:1]))
            del row.texts[column]


def markdown_rows(grid: Sequence[GridRow]) -> list[str]:
    """A row of headings, the separator, the other rows."""
    lines = ["".join(f"| {text} " if text else "| " for text in _escaped(row.texts)) + "|" for row in grid]
    return [lines[0], "|" + " --- |" * len(grid[0].texts), *lines[1:]]


def _escaped(texts: Sequence[str]) -> list[str]:
    return [text.replace("|", "\\|") for text in texts]
