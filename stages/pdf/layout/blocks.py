"""The blocks of a page in reading order."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise

from stages.pdf.layout.columns import columns_of, gutters_of, is_full, prose_runs
from stages.pdf.layout.order import reading_order
from stages.pdf.layout.runs import WIDE_GAP_EM, Run, is_right_to_left, rows_of, runs_of
from stages.pdf.layout.tables import MIN_COLUMNS, MIN_ROWS, Piece, column_spans, grid_of, grid_ranges, markdown_rows
from stages.pdf.page import Block, BlockKind, Fragment, Line

MAX_FRAGMENTS = 20_000
"""Of more (maps, drawings), lines are kept in the file's order: no page of text has so many."""
MAX_LINE_GAP_EM = 4.0
"""White space within a line of text: after the number of a heading, before that of a formula."""
MIN_PAIRS = 3
"""Rows of two cells, names and values, from which each row is a line however far its cells stand apart."""
MAX_LEADING = 0.9
"""White space between two lines of one column, in line heights; more of it parts blocks."""
MIN_OVERLAP = 0.25
"""Share of its width that the narrower of two lines of one column has in common with the other."""
SAME_SIZE = 1.18
OCR_SIZES = 1.35
"""Boxes of lines in one size differ so much."""
LAYER_SIZES = 1.6
"""Boxes of single words, which old layers have."""
MAX_SIZES = 12
MIN_USUAL = 0.4
"""Print has fewer sizes than this on a page, or one in which so much of it is set."""
ASCENT, DESCENT = 0.75, 0.22
"""Of the boxes of a text layer, by the size of the font (stages.pdf.text_layer)."""
UNEVEN_GAP_EM = 1.5
"""As WIDE_GAP_EM, where sizes are those of words' boxes, which are lower than the font is."""
OCR_GAP_EM = 0.4
"""Likewise, of boxes of OCR: they are lines already, and wider than their text, so that columns stand close."""
MIN_BOLD = 0.9
"""Share of a bold line's characters: a paragraph may begin with some bold words."""
MIN_JOINED_EM = 5.0
"""Width of lines that may be broken by their column: shorter ones are labels, figures of an axis, entries."""
MIN_INDENT_EM = 0.7
PARAGRAPH_GAP = 0.25
"""White space beyond the page's usual leading that parts two paragraphs, in ems."""
FOOTNOTE_SIZE = 0.93
"""Footnotes are set in at most this share of the size of the text."""
MIN_FORMULA_SHARE = 0.5
"""Share of the characters of a formula that are set in fonts for formulas."""

SENTENCE_END = (".", "!", "?", ":", ";", ")", "\u201d", '"', "\u3002", "\uff01", "\uff1f")
LIST_MARK = re.compile(
    r"(?:[•◦▪▫■□●○‣⁃∙·✓➢➤❖–—*-]\s|\(?(?:\d{1,3}|[A-Za-z]|[ivx]{1,5})[.)]\s|\[\d{1,3}\]\s?)\S|[•●▪■➢❖]\S"
)
"""How the entries of lists begin."""
_FOOTNOTE_MARK = re.compile(r"(?:\d{1,3}|[*†‡§¶#]{1,3}|[⁰¹²³⁴-⁹]{1,3})\s?[^\W\d_\"“‘']|(?:[*†‡§¶⁰¹²³⁴-⁹]{1,3})\s?\S")
_NOTE_REFERENCE = re.compile(
    r"(?<=[^\W\d_][\s,.;:])[*†‡§](?=[\s,.;:)]|$)|(?<=[^\W\d_])[*†‡§](?=[\s,.;:)]|$)", re.MULTILINE
)


@dataclass
class Chunk:
    """Lines below each other in one column, or a table."""

    lines: list[Run]
    rows: list[str] = field(default_factory=list)  # of a table, Markdown
    kind: BlockKind = "text"

    @property
    def left(self) -> float:
        return min(line.left for line in self.lines)

    @property
    def right(self) -> float:
        return max(line.right for line in self.lines)

    @property
    def top(self) -> float:
        return min(line.core_top for line in self.lines)

    @property
    def bottom(self) -> float:
        return max(line.core_bottom for line in self.lines)

    @property
    def index(self) -> int:
        return min(line.index for line in self.lines)


def blocks_of(fragments: Sequence[Fragment], width: float, height: float, is_ocr: bool) -> list[Block]:
    """The blocks of a page in reading order; no visible character is lost.

    Args:
        fragments: of a text layer in the order of the file, or of an OCR engine in any.
        width: of the page as shown, points.
        height: likewise.
        is_ocr: the fragments' order means nothing.
    """
    if len(fragments) > MAX_FRAGMENTS:
        lines = tuple(_line(run) for run in runs_of(fragments))
        return [Block("text", lines)] if lines else []
    wide_gap_em = OCR_GAP_EM if is_ocr else UNEVEN_GAP_EM if _is_uneven(fragments) else WIDE_GAP_EM
    if wide_gap_em != WIDE_GAP_EM:
        fragments = _in_one_size(fragments, is_ocr)
    runs = runs_of(fragments, wide_gap_em)
    if not runs:
        return []
    mirrored = is_right_to_left(runs)
    if mirrored:  # so that lines and columns run from left to right below
        mirror_images = [replace(f, left=width - f.right, right=width - f.left) for f in fragments]
        runs = runs_of(mirror_images, wide_gap_em)
    chunks = _chunks(runs, is_ocr)
    ordered = [chunks[i] for i in reading_order(chunks, by_place=is_ocr)]
    leading = _usual_leading(chunks)
    blocks = _with_kinds([part for chunk in ordered for part in _paragraphs(chunk, leading)], height)
    made = [_block(block) for block in blocks]
    return [_mirrored(block, width) for block in made] if mirrored else made


def _is_uneven(fragments: Sequence[Fragment]) -> bool:
    """Whether sizes are those of boxes that an OCR engine has drawn, as in the layers behind scans: print has few."""
    sizes: Counter[float] = Counter()
    for fragment in fragments:
        sizes[round(fragment.size, 1)] += len(fragment.text)
    return len(sizes) > MAX_SIZES and sizes.most_common(1)[0][1] < MIN_USUAL * sizes.total()


def _in_one_size(fragments: Sequence[Fragment], is_ocr: bool) -> list[Fragment]:
    """Boxes of OCR are as high as the ascenders and descenders in them: what is near the usual size has that size."""
    usual = sorted(f.size for f in fragments for _ in range(len(f.text) // 8 + 1))
    size = usual[len(usual) // 2] if usual else 0.0
    even: list[Fragment] = []
    for fragment in fragments:
        allowed = OCR_SIZES if is_ocr else LAYER_SIZES
        near = size / allowed <= fragment.size <= size * allowed or (not is_ocr and len(fragment.text.strip()) < 3)
        if near and not is_ocr:  # the baseline is told, and the box made from it
            baseline = fragment.bottom - DESCENT * fragment.size
            fragment = replace(fragment, top=baseline - ASCENT * size, bottom=baseline + DESCENT * size)
        even.append(replace(fragment, size=size) if near else fragment)
    return even


def _chunks(runs: Sequence[Run], is_ocr: bool) -> list[Chunk]:
    """Tables, and lines that follow each other in a column."""
    upright = [run for run in runs if run.is_upright]
    chunks = [Chunk([run]) for run in runs if not run.is_upright]
    rows = rows_of(upright)
    prose = prose_runs(rows)
    gutters = gutters_of(rows, prose, is_ocr)
    columns: dict[tuple[float, float], list[Piece]] = defaultdict(list)
    for number, row in enumerate(rows):
        for limits, piece in columns_of(number, row, gutters):
            columns[limits].append(Piece(piece, any(id(run) in prose for run in piece)))
    for pieces in columns.values():
        chunks += _of_column(pieces, prose)
    return chunks


def _of_column(pieces: Sequence[Piece], prose: set[int]) -> list[Chunk]:
    """The chunks of one column, from its rows from top to bottom."""
    chunks: list[Chunk] = []
    lines: list[Run] = []
    end = 0
    for first, last in grid_ranges(pieces):
        grid = pieces[first:last]
        lines += [line for piece in pieces[end:first] for line in _lines(piece, prose)]
        end = last
        table = grid_of(grid)
        if table is not None:
            chunks.append(Chunk([_joined(row.runs) for row in table], markdown_rows(table), "table"))
        elif len(grid) >= MIN_ROWS and len(column_spans(grid)) >= MIN_COLUMNS:
            chunks.append(Chunk([_joined(piece.runs) for piece in grid], kind="grid"))
        elif len(grid) < MIN_PAIRS or any(piece.has_prose for piece in grid) or _is_by_column(grid):
            lines += [line for piece in grid for line in _lines(piece, prose)]
        else:
            lines += [_row(piece) for piece in grid]
    lines += [line for piece in pieces[end:] for line in _lines(piece, prose)]
    return chunks + _stacked(lines)


def _row(piece: Piece) -> Run:
    """A row of names and values as one line."""
    is_row = len(piece.runs) > 1
    line = _joined(piece.runs)
    line.is_row = is_row
    return line


def _is_by_column(grid: Sequence[Piece]) -> bool:
    """Whether the file has what stands in columns column by column: lists side by side, not names and values."""
    rows = [piece.runs for piece in grid if len(piece.runs) > 1]
    return 2 * sum(below[0].index < above[1].index for above, below in pairwise(rows)) > len(rows) - 1


def _joined(runs: Sequence[Run]) -> Run:
    line = runs[0]
    text = " ".join(run.text for run in runs)
    for run in runs[1:]:
        line.join(run, space=True)
    line.text = text
    return line


def _lines(piece: Piece, prose: set[int]) -> list[Run]:
    """The lines that a row of a column holds: labels far from each other are lines of their own."""
    lines = [[piece.runs[0]]]
    for before, run in pairwise(piece.runs):
        gap = (run.left - before.right) / max(before.size, run.size)
        is_side_heading = id(run) in prose and id(before) not in prose and _differ(before, run)
        if gap > MAX_LINE_GAP_EM or (gap > WIDE_GAP_EM and is_side_heading):
            lines.append([])
        lines[-1].append(run)
    return [_joined(runs) for runs in lines]


def _differ(run: Run, other: Run) -> bool:
    """Whether two runs are set in different type."""
    return run.font != other.font or not 0.95 <= run.size / max(0.1, other.size) <= 1.05


def _stacked(lines: Sequence[Run]) -> list[Chunk]:
    """Lines, from top to bottom, that follow each other without a gap and in one size."""
    chunks: list[Chunk] = []
    open_chunks: list[Chunk] = []
    for line in lines:
        best: Chunk | None = None
        for chunk in open_chunks:
            last = chunk.lines[-1]
            overlap = min(line.right, last.right) - max(line.left, last.left)
            gap = line.core_top - last.core_bottom
            ratio = max(line.size, last.size) / max(0.1, min(line.size, last.size))
            near = -0.6 * last.height <= gap <= MAX_LEADING * max(line.height, last.height)
            enough = MIN_OVERLAP * min(line.width, last.width)
            if near and overlap > enough and ratio <= SAME_SIZE and line.middle > last.middle + 0.3 * last.height:
                best = chunk
        if best is None:
            best = Chunk([])
            chunks.append(best)
            open_chunks.append(best)
        best.lines.append(line)
        open_chunks = [c for c in open_chunks if line.core_top - c.lines[-1].core_bottom <= 2 * c.lines[-1].height][
            -20:
        ]
    return chunks


def _usual_leading(chunks: Sequence[Chunk]) -> dict[float, float]:
    """Distance from line to line that is the commonest on the page, in ems, by size of the font."""
    seen: dict[float, Counter[float]] = defaultdict(Counter)
    for chunk in chunks:
        for above, line in pairwise(chunk.lines):
            seen[round(line.size)][round((line.middle - above.middle) / line.size, 1)] += 1
    return {size: counts.most_common(1)[0][0] for size, counts in seen.items()}


def _paragraphs(chunk: Chunk, leading: dict[float, float]) -> list[Chunk]:
    """A chunk of text cut where paragraphs and entries of lists begin."""
    if chunk.rows or chunk.kind != "text" or len(chunk.lines) == 1:
        return [chunk]
    lines = chunk.lines
    left, right = chunk.left, chunk.right
    em = lines[0].size
    indented = [line.left - left > MIN_INDENT_EM * em for line in lines]
    hanging = sum(indented) > len(lines) / 2 or LIST_MARK.match(lines[0].text) is not None
    usual = leading.get(round(em), 1.2)
    parts = [[lines[0]]]
    for i in range(1, len(lines)):
        above, line = lines[i - 1], lines[i]
        gap = (line.middle - above.middle) / line.size - usual > PARAGRAPH_GAP
        ended = line.is_row or right - left < MIN_JOINED_EM * em or not is_full(above, line, right)
        begins = indented[i - 1] and not indented[i] if hanging else indented[i] and not indented[i - 1]
        begins = begins and above.text.endswith(SENTENCE_END)
        bold = _is_bold(above) and not line.bold
        if gap or begins or ended or bold or LIST_MARK.match(line.text):
            parts.append([])
        parts[-1].append(line)
    return [Chunk(part) for part in parts]


def _with_kinds(parts: Sequence[Chunk], height: float) -> list[Chunk]:
    """Footnotes and formulas told from text."""
    body = _body_size(parts)
    marks = set(_NOTE_REFERENCE.findall("\n".join(line.text for part in parts for line in part.lines)))
    in_notes = False
    for part in parts:
        if part.kind != "text":
            in_notes = False
            continue
        first = part.lines[0]
        small = first.size <= FOOTNOTE_SIZE * body and part.top > 0.5 * height
        is_referred_to = (
            part.top > 0.5 * height and first.text[:1] in marks and not LIST_MARK.match(first.text[1:].strip())
        )
        in_notes = is_referred_to or (small and (in_notes or _FOOTNOTE_MARK.match(first.text) is not None))
        if in_notes:
            part.kind = "footnote"
        elif _is_formula(part):
            part.kind = "formula"
    return list(parts)


def _is_formula(part: Chunk) -> bool:
    characters = sum(line.characters for line in part.lines)
    return sum(line.math for line in part.lines) >= MIN_FORMULA_SHARE * characters and characters >= 3


def _body_size(parts: Sequence[Chunk]) -> float:
    sizes: Counter[float] = Counter()
    for part in parts:
        for line in part.lines:
            sizes[round(line.size, 1)] += line.characters
    return sizes.most_common(1)[0][0]


def _block(chunk: Chunk) -> Block:
    lines = [_line(run) for run in chunk.lines]
    if chunk.rows:
        boxes = [lines[0], *lines]  # the separator stands under the headings
        lines = [replace(box, text=text) for box, text in zip(boxes, chunk.rows, strict=True)]
    return Block(chunk.kind, tuple(lines))


def _line(run: Run) -> Line:
    return Line(run.left, run.top, run.right, run.bottom, run.text, run.size, _is_bold(run))


def _is_bold(run: Run) -> bool:
    return run.bold >= MIN_BOLD * run.characters


def _mirrored(block: Block, width: float) -> Block:
    lines = (replace(line, left=width - line.right, right=width - line.left) for line in block.lines)
    return replace(block, lines=tuple(lines))
