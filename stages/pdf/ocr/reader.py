"""A page's picture to runs of text: turned upright, levelled, at the resolution that its print needs."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import compress
from typing import Literal

import numpy as np

from stages.pdf.ocr.boxes import (
    LINE_HEIGHT,
    LONG,
    TALL,
    levelled,
    line_heights,
    line_picture,
    sideways_share,
    skew_of,
    turned,
)
from stages.pdf.ocr.engine import OcrEngine, Reading
from stages.pdf.ocr.models import Runtime
from stages.pdf.ocr.tesseract import Tesseract, TesseractLine
from stages.pdf.page import Fragment

Render = Callable[[float], np.ndarray]
"""From dots per inch to a (height, width, 3) uint8 blue-green-red picture of the page as shown."""

LOOK_PIXELS = 1_160_000
MAX_LOOK_DPI = 150
MIN_LOOK_DPI = 72
"""Lines are found in a picture of this area (A4: 109 dpi): with detection at 98 dpi as many words of clean pages were
read as at 150, at 75 fewer. Large sheets have larger pictures, up to MAX_SEARCH_PIXELS: fine print that is not seen at
all is not searched for either."""

MIN_FOUND_HEIGHT = 16
"""Pixels of a line's box (print of 8 points at 109 dpi); lower lines are searched for in a larger picture. At 13 pixels
detection loses and merges lines of blurred pages."""

READ_HEIGHT = 24
"""Pixels of the box of a line that is read. At 32 and 40 as many words of clean pages were read (13 born-digital pages:
word F1 0.995), and fewer of blurred ones (0.922 and less, 0.927 at 24)."""

SMALL_PRINT = 0.1
"""The share of lines, counted from the lowest, that may be lower than these heights."""

MAX_DPI = 600
MAX_SEARCH_PIXELS = 3_000_000
"""Of a picture in which lines are found. Detection takes 200 bytes a pixel."""

MIN_SIDEWAYS = 0.5
"""Of the lines by length. Upright pages had 0.00, sideways ones 0.90 and more."""

PROBES = 6
PROBE_WIDTH = 10 * LINE_HEIGHT
SURE = 0.9
"""A page stays as it is if the beginnings of its longest lines are read with this confidence: upright print has 0.95
and more, the same upside down 0.68 to 0.78."""

LEGIBLE = 0.8
"""A page is turned upside down only if its probes are read with this confidence then. Letters that the models do not
know have at most 0.78 upside down, and would be turned by chance."""

MIN_SCORE = 0.5
"""Lines of less are no text, or none that was read (RapidOCR's value)."""

MIN_DENSITY = 0.8
"""Characters, spaces excepted, in as much of a long line as it is high. Latin and Greek print has 1.3 to 3, Han 1.2. Of
letters that the models do not know they tell nothing: Cyrillic, Georgian, Armenian, Hebrew and Arabic print has 0.0 to
0.7, at confidences of up to 0.92."""

MIN_LONG_LINES = 20.0
"""Length of all long lines, in heights of a line, from which density is told: half a line of print."""

SIZE = 0.8
"""Size of the font by height of a line's box: 0.87 in the mean of 14 clean pages, 0.7 of the same pages degraded."""

TESSERACT_DPI = 300.0
"""As its manual recommends; fewer words are read at 150 (word F1 0.953 and 0.962)."""

TESSERACT_SURE = 0.7

EngineName = Literal["rapidocr", "tesseract"]


@dataclass(frozen=True)
class OcrPage:
    """What the picture of a page says. Points of the page once it stands upright."""

    fragments: tuple[Fragment, ...]
    confidence: float | None  # mean of the characters, 0 to 1; None without text
    rotation: int  # degrees clockwise by which the picture had to be turned
    width: float
    height: float
    dpi: float  # at which lines were read
    unknown_script: bool = False  # most letters are none that the models know


class PageReader:
    def __init__(
        self,
        max_page_pixels: int = 20_000_000,
        engine: EngineName = "rapidocr",
        languages: Sequence[str] = ("eng",),
        runtime: Runtime | None = None,
    ) -> None:
        """Loads the models.

        Args:
            max_page_pixels: no picture of a page is larger.
            engine: what reads lines. Lines are found, and pages turned, by the bundled models in any case.
            languages: of Tesseract.
            runtime: of the bundled models; None for the faster one of those that are installed.

        Raises:
            FileNotFoundError: the models are not installed.
            MachineError: Tesseract, or one of the languages, is not.
        """
        self._max_pixels = max_page_pixels
        self._tesseract = Tesseract(languages) if engine == "tesseract" else None
        self._engine = OcrEngine(runtime)

    def read(self, render: Render, width: float, height: float) -> OcrPage:
        """Reads one page.

        Args:
            render: draws it.
            width: points, as shown.
            height: points, as shown.
        """
        dpi = self._look_dpi(width, height)
        look = np.ascontiguousarray(render(dpi))
        found = self._engine.boxes(look)
        if not len(found):
            return OcrPage((), None, 0, width, height, dpi)
        if self._tesseract is not None:
            return self._read_by_tesseract(self._tesseract, render, width, height, found)

        quarters = self._quarters(look, found)
        lowest = float(np.quantile(line_heights(found), SMALL_PRINT))  # pixels
        enlarged = min(self._highest_dpi(width, height) / dpi, READ_HEIGHT / lowest)
        picture = np.ascontiguousarray(render(dpi * enlarged)) if enlarged > 1 else look
        scale = picture.shape[0] / look.shape[0]
        boxes = turned(found * (scale, scale, scale, scale, 1), quarters, picture.shape[1], picture.shape[0])
        picture = np.ascontiguousarray(np.rot90(picture, -quarters))
        if lowest < MIN_FOUND_HEIGHT and scale > 1:
            boxes = self._found_again(picture, lowest * scale)
        if quarters % 2:
            width, height = height, width
        return self._read_lines(picture, boxes, OcrPage((), None, quarters * 90, width, height, dpi * scale))

    def _highest_dpi(self, width: float, height: float) -> float:
        return min(MAX_DPI, _dpi(width, height, self._max_pixels))

    def _look_dpi(self, width: float, height: float) -> float:
        enough = max(_dpi(width, height, LOOK_PIXELS), min(MIN_LOOK_DPI, _dpi(width, height, MAX_SEARCH_PIXELS)))
        return min(enough, MAX_LOOK_DPI, self._highest_dpi(width, height))

    def _read_lines(self, picture: np.ndarray, boxes: np.ndarray, page: OcrPage) -> OcrPage:
        """The page with what the lines in these boxes of its upright picture say."""
        skew = skew_of(boxes)
        lines = [self._reading(picture, box, skew) for box in boxes]
        kept = [line.characters > 0 and line.score >= MIN_SCORE for line in lines]
        places = levelled(boxes, skew, picture.shape[1], picture.shape[0]) * (page.width / picture.shape[1])
        return replace(
            page,
            fragments=tuple(map(_fragment, compress(lines, kept), places[kept])),
            confidence=_confidence(list(compress(lines, kept))),
            unknown_script=_is_unknown_script(lines, boxes),
        )

    def _quarters(self, picture: np.ndarray, boxes: np.ndarray) -> int:
        """Quarters clockwise by which the picture must be turned to stand upright, by the longest lines."""
        height, width = picture.shape[:2]
        best, best_weight = 0, -1.0
        for quarters in _candidates(boxes):
            upright = turned(boxes, quarters, width, height)
            longest = upright[np.argsort(-upright[:, 2], kind="stable")[:PROBES]]
            page = np.ascontiguousarray(np.rot90(picture, -quarters))
            probes = [self._engine.read(line_picture(page, box)[:, :PROBE_WIDTH]) for box in longest]
            weight, confidence = sum(probe.weight for probe in probes), _confidence(probes) or 0.0
            if weight > best_weight and (quarters != 2 or confidence >= LEGIBLE):
                best, best_weight = quarters, weight
            if confidence >= SURE:
                break
        return best

    def _found_again(self, picture: np.ndarray, lowest: float) -> np.ndarray:
        """Lines of small print, searched at the resolution that its lowest lines (height in pixels) need."""
        import cv2

        area = picture.shape[0] * picture.shape[1]
        scale = min(1.0, MIN_FOUND_HEIGHT / lowest, (MAX_SEARCH_PIXELS / area) ** 0.5)
        boxes = self._engine.boxes(cv2.resize(picture, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA))
        boxes[:, :4] /= scale
        return boxes

    def _reading(self, picture: np.ndarray, box: np.ndarray, skew: float) -> Reading:
        """A tall box holds a line that runs up or down, or a narrow character: what reads best counts."""
        if box[2] < LONG * box[3] and abs(box[4] - skew) < 10:
            box = np.append(box[:4], skew)  # the angle of a short box is chance
        upright = line_picture(picture, box)
        if box[3] <= TALL * box[2]:
            return self._engine.read(upright)
        downward = line_picture(picture, box[[0, 1, 3, 2, 4]] + (0, 0, 0, 0, 90))
        upward = np.ascontiguousarray(downward[::-1, ::-1])
        return max((self._engine.read(line) for line in (upright, downward, upward)), key=lambda line: line.weight)

    def _read_by_tesseract(
        self, tesseract: Tesseract, render: Render, width: float, height: float, found: np.ndarray
    ) -> OcrPage:
        dpi = min(TESSERACT_DPI, self._highest_dpi(width, height))
        picture = np.ascontiguousarray(render(dpi))
        points = width / picture.shape[1]
        best: list[TesseractLine] = []
        best_quarters = 0
        for quarters in _candidates(found):
            lines = tesseract.lines(np.ascontiguousarray(np.rot90(picture, -quarters)), dpi)
            if not best or sum(line.weight for line in lines) > sum(line.weight for line in best):
                best, best_quarters = lines, quarters
            if (_confidence(best) or 0.0) >= TESSERACT_SURE:
                break
        if best_quarters % 2:
            width, height = height, width
        fragments = tuple(_fragment_of_tesseract(line, points) for line in best)
        return OcrPage(fragments, _confidence(best), best_quarters * 90, width, height, dpi)


def _dpi(width: float, height: float, pixels: int) -> float:
    """The resolution at which a page of these points has a picture of so many pixels."""
    return 72 * math.sqrt(pixels / max(1.0, width * height))


def _candidates(boxes: np.ndarray) -> tuple[int, int]:
    """Quarters clockwise by which the picture may have to be turned, the likelier one first."""
    return (1, 3) if sideways_share(boxes) >= MIN_SIDEWAYS else (0, 2)


def _fragment(line: Reading, box: np.ndarray) -> Fragment:
    x, y, width, height = box[:4].tolist()
    size = SIZE * min(width, height)
    return Fragment(x - width / 2, y - height / 2, x + width / 2, y + height / 2, line.text, size, score=line.score)


def _fragment_of_tesseract(line: TesseractLine, points: float) -> Fragment:
    return Fragment(
        line.left * points,
        line.top * points,
        line.right * points,
        line.bottom * points,
        line.text,
        (line.bottom - line.top) * points,
        score=line.weight / line.characters,
    )


def _confidence(lines: Sequence[Reading] | Sequence[TesseractLine]) -> float | None:
    characters = sum(line.characters for line in lines)
    return sum(line.weight for line in lines) / characters if characters else None


def _is_unknown_script(lines: Sequence[Reading], boxes: np.ndarray) -> bool:
    """Whether the long lines hold too few characters for their length."""
    is_long = boxes[:, 2] >= LONG * boxes[:, 3]
    length = float((boxes[is_long, 2] / boxes[is_long, 3]).sum())
    characters = sum(line.characters for line, long in zip(lines, is_long.tolist(), strict=True) if long)
    return length >= MIN_LONG_LINES and characters < MIN_DENSITY * length
