"""Headings told by their size, weight and numbers over a whole document."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from stages.pdf.page import Block

MIN_SIZE = 1.15
"""Of a heading by the size of the text, unless it is bold."""
MIN_OCR_SIZE = 1.35
"""Boxes of OCR tell the size of a line within some 15 %, by its ascenders and descenders."""
MAX_CHARACTERS = 160
MAX_LINES = 4
MAX_LEVEL = 6
COMMON_SIZE = 0.2
"""Share of a document's characters in one size from which it is that of running text: references may be smaller."""

_CAPTION = re.compile(r"(?:table|figure|fig\.?|abb\.?|tab\.?|tableau|abbildung|tabelle)\s*\d", re.IGNORECASE)


@dataclass(frozen=True)
class Style:
    """What is common in a document."""

    body_size: float
    body_is_bold: bool
    sizes: tuple[float, ...]  # of its headings, largest first

    def level(self, block: Block, is_ocr: bool) -> int:
        """1 to 6, or 0 for a block that is no heading."""
        if not _may_be_heading(block):
            return 0
        size = max(line.size for line in block.lines)
        if _is_large(size, self.body_size, is_ocr):
            return min(MAX_LEVEL, 1 + sum(round(size * 2) < round(other * 2) for other in self.sizes))
        if is_ocr:
            return 0
        text = _text(block)
        is_bold = all(line.is_bold for line in block.lines) and not self.body_is_bold
        stands_out = is_bold or (text.isupper() and len(block.lines) == 1 and sum(map(str.isalpha, text)) >= 4)
        small = size < 0.93 * self.body_size
        if not stands_out or small or len(block.lines) > 2 or text.endswith((".", ",", ";", ":")):
            return 0
        return min(MAX_LEVEL, 1 + len(self.sizes))


def style_of(blocks: Iterable[tuple[Block, bool]]) -> Style:
    """Of blocks, each with whether OCR has read it."""
    kept = [(block, is_ocr) for block, is_ocr in blocks if block.kind == "text"]
    sizes: Counter[float] = Counter()
    bold = characters = 0
    for block, _ in kept:
        for line in block.lines:
            sizes[round(line.size * 2) / 2] += len(line.text)
            characters += len(line.text)
            bold += len(line.text) if line.is_bold else 0
    body = max((size for size, count in sizes.items() if count >= COMMON_SIZE * characters), default=0.0)
    large = {
        round(size * 2) / 2
        for block, is_ocr in kept
        if _may_be_heading(block) and _is_large(size := max(line.size for line in block.lines), body, is_ocr)
    }
    return Style(body, bold > 0.5 * characters, tuple(sorted(large, reverse=True)[: MAX_LEVEL - 1]))


def _is_large(size: float, body: float, is_ocr: bool) -> bool:
    return size >= (MIN_OCR_SIZE if is_ocr else MIN_SIZE) * body


def _may_be_heading(block: Block) -> bool:
    if block.kind != "text" or len(block.lines) > MAX_LINES:
        return False
    text = _text(block)
    letters = sum(map(str.isalpha, text))
    if not 3 <= len(text) <= MAX_CHARACTERS or letters < 0.5 * len(text.replace(" ", "")) or letters < 3:
        return False
    return not _CAPTION.match(text)


def _text(block: Block) -> str:
    return " ".join(line.text for line in block.lines)
