"""Read a picture of a page: RapidOCR with the models in its wheel, one thread, and our order of reading."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

MIN_LINES_PER_COLUMN = 4
MIN_COLUMN_FILL = 0.6
"""Share of its column's width that the median line must fill: cells fill less; a table is read by row."""
MAX_CROSSING_SHARE = 0.25
"""Share of a page's lines (title, figures' captions) that may cross the gap between two columns."""


@dataclass(frozen=True)
class Line:
    """A run of text in a picture. Pixels, y downwards."""

    left: float
    top: float
    right: float
    bottom: float
    text: str
    score: float = 1.0  # 0 to 1

    @property
    def middle(self) -> float:
        return (self.top + self.bottom) / 2


class OcrEngine:
    """PP-OCRv6 small: Han, kana, Latin and Greek letters. Loading takes about 2 s, at the first page."""

    def __init__(self) -> None:
        import cv2
        from rapidocr import RapidOCR

        cv2.setNumThreads(1)
        self._engine = RapidOCR(
            params={
                "EngineConfig.onnxruntime.intra_op_num_threads": 1,
                "EngineConfig.onnxruntime.inter_op_num_threads": 1,
                "Global.log_level": "error",
            }
        )

    def read(self, picture: Any) -> tuple[str, float | None]:
        """Text and confidence of a (height, width, 3) blue-green-red picture; ("", None) if it shows none."""
        result = self._engine(picture)
        if result.boxes is None or not result.txts:
            return "", None
        lines = [
            _line(box, text, float(score))
            for box, text, score in zip(result.boxes, result.txts, result.scores, strict=True)
        ]
        characters = sum(len(line.text) for line in lines)
        confidence = sum(line.score * len(line.text) for line in lines) / characters
        return "\n".join(reading_order(lines)), confidence


def _line(corners: Any, text: str, score: float) -> Line:
    """The upright rectangle around a box of (4, 2) corners."""
    (left, top), (right, bottom) = corners.min(axis=0).tolist(), corners.max(axis=0).tolist()
    return Line(left, top, right, bottom, text, score)


def reading_order(lines: Sequence[Line]) -> list[str]:
    """Rows from top to bottom; two columns of prose are read one after the other.

    Lines that cross the gap between the columns (a title, a wide caption) end the columns above them.
    """
    gap = column_gap(lines)
    if gap is None:
        return _rows(lines)
    ordered: list[str] = []
    left: list[Line] = []
    right: list[Line] = []
    for line in sorted(lines, key=lambda line: line.middle):
        if line.right <= gap:
            left.append(line)
        elif line.left >= gap:
            right.append(line)
        else:
            ordered += [*_rows(left), *_rows(right), line.text]
            left, right = [], []
    return [*ordered, *_rows(left), *_rows(right)]


def column_gap(lines: Sequence[Line]) -> float | None:
    """The x that separates two columns of prose, or None for a page in one column."""
    if len(lines) < 2 * MIN_LINES_PER_COLUMN:
        return None
    start, end = min(line.left for line in lines), max(line.right for line in lines)
    # the middle third, at a step of a hundredth of the width of the text
    candidates = [start + (end - start) * step / 100 for step in range(34, 67)]
    crossings = [sum(line.left < x < line.right for line in lines) for x in candidates]
    fewest = min(crossings)
    if fewest > MAX_CROSSING_SHARE * len(lines):
        return None
    clear = [x for x, crossing in zip(candidates, crossings, strict=True) if crossing == fewest]
    gap = clear[len(clear) // 2]
    left = [line for line in lines if line.right <= gap]
    right = [line for line in lines if line.left >= gap]
    for column, width in ((left, gap - start), (right, end - gap)):
        if len(column) < MIN_LINES_PER_COLUMN:
            return None
        if median(line.right - line.left for line in column) < MIN_COLUMN_FILL * width:
            return None
    return gap


def _rows(lines: Sequence[Line]) -> list[str]:
    """Lines at one height joined from left to right."""
    rows: list[list[Line]] = []
    for line in sorted(lines, key=lambda line: line.middle):
        if rows and line.middle < rows[-1][0].bottom and line.top < rows[-1][0].middle:
            rows[-1].append(line)
        else:
            rows.append([line])
    return [" ".join(line.text for line in sorted(row, key=lambda line: line.left)) for row in rows]
