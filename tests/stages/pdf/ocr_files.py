"""Printed pages as OCR sees them: made by reportlab, drawn by PDFium at whatever resolution is asked for."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import cv2
import numpy as np
import pypdfium2 as pdfium
from reportlab.pdfbase import pdfmetrics
from reportlab.pdfbase.ttfonts import TTFont
from reportlab.pdfgen.canvas import Canvas

PROSE = (
    "Curation begins with reading. A page that was scanned years ago carries",
    "stains, shadows and a slight tilt, yet its sentences are worth keeping",
    "when every word survives the journey from paper to plain characters.",
    "Columns must stay apart, headings must stay whole, and numbers such as",
    "1729 or 3.1416 must arrive unchanged, or the table below is worthless.",
)
DEJAVU = Path("/usr/share/fonts/truetype/dejavu/DejaVuSans.ttf")


@dataclass(frozen=True)
class Paper:
    """A page; lengths are points, y downwards."""

    width: float
    height: float
    content: bytes  # of a PDF
    quarters: int = 0  # clockwise by which it lies turned
    skew: float = 0.0  # degrees clockwise
    asked: list[float] = field(default_factory=list)  # resolutions, dots per inch

    def render(self, dpi: float) -> np.ndarray:
        self.asked.append(dpi)
        document = pdfium.PdfDocument(self.content)
        picture = document[0].render(scale=dpi / 72).to_numpy()[:, :, :3]
        document.close()
        if self.skew:
            height, width = picture.shape[:2]
            turn = cv2.getRotationMatrix2D((width / 2, height / 2), -self.skew, 1)
            picture = cv2.warpAffine(picture, turn, (width, height), borderValue=(255, 255, 255))
        return np.rot90(picture, -self.quarters)

    def turned(self, quarters: int) -> Paper:
        sides = (self.width, self.height) if quarters % 2 == 0 else (self.height, self.width)
        return replace(self, width=sides[0], height=sides[1], quarters=quarters)


def paper(draw: Callable[[Canvas], None], width: float = 420, height: float = 300) -> Paper:
    content = io.BytesIO()
    canvas = Canvas(content, pagesize=(width, height), invariant=True, bottomup=1)
    draw(canvas)
    canvas.showPage()
    canvas.save()
    return Paper(width, height, content.getvalue())


def printed(lines: Sequence[str], size: float = 11, left: float = 30, top: float = 40, pitch: float = 1.3) -> Paper:
    """Lines below each other; ``top`` is the first baseline's distance from the top."""

    def draw(canvas: Canvas) -> None:
        canvas.setFont("Times-Roman", size)
        for number, line in enumerate(lines):
            canvas.drawString(left, 300 - top - number * pitch * size, line)

    return paper(draw)


def printed_in_dejavu(lines: Sequence[str], size: float = 11) -> Paper:
    """The same in a font that has Cyrillic letters."""
    pdfmetrics.registerFont(TTFont("DejaVu", str(DEJAVU)))

    def draw(canvas: Canvas) -> None:
        canvas.setFont("DejaVu", size)
        for number, line in enumerate(lines):
            canvas.drawString(20, 260 - number * 1.5 * size, line)

    return paper(draw)
