"""What is known of a page between its reading and its document: runs of text, blocks in reading order, the lane.

Lengths are points (1/72 inch) on the page as it is shown: rotation applied, origin at the top left, y downwards.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

LINE_END_HYPHEN = "\x02"
"""In lines of text layers: a hyphen at which PDFium says that a word was broken."""

Lane = Literal["text", "ocr_layer", "ocr", "vision", "blank", "unread", "failed"]
"""How a page was read: its text layer; a text layer that an earlier OCR has put behind a picture; our OCR; a
vision-language model; nothing is on it; it needs OCR, which is off; it cannot be loaded or drawn."""

BlockKind = Literal["text", "table", "grid", "footnote", "formula", "markdown"]
"""``text``: lines of a paragraph, a heading, a list (told apart when the document is put together); ``table``: the
rows of a Markdown table; ``grid``: rows of what may be a table, but not surely; ``formula``: set apart, and not
readable as text; ``markdown``: a model's answer."""


@dataclass(frozen=True, slots=True)
class Fragment:
    """A run of text in one line and one font of a text layer, or one box of an OCR engine."""

    left: float
    top: float
    right: float
    bottom: float
    text: str
    size: float  # of the font, as shown; of OCR, estimated from the box
    font: str = ""  # without the prefix of a subset
    is_bold: bool = False
    score: float = 1.0  # of OCR, 0 to 1


@dataclass(frozen=True, slots=True)
class Line:
    """A line as a reader sees it, within its column."""

    left: float
    top: float
    right: float
    bottom: float
    text: str
    size: float  # of the font in which most of it is set
    is_bold: bool = False  # most of it


@dataclass(frozen=True, slots=True)
class Block:
    """Lines that belong together, without a gap between them."""

    kind: BlockKind
    lines: tuple[Line, ...]


@dataclass(frozen=True, slots=True)
class Page:
    """A page as read."""

    number: int  # from 0
    lane: Lane
    reason: str = ""  # short and stable: the rule that chose the lane
    width: float = 0.0
    height: float = 0.0
    blocks: tuple[Block, ...] = ()  # in reading order
    confidence: float | None = None  # of OCR, averaged by character, 0 to 1
    hard: str = ""  # why a vision-language model should read it, if there is one: "" if it need not
    garbage: int = 0  # characters that no writer wrote: unmapped, control, private use, replacement
    characters: int = 0  # not white space, of the text that was taken

    @property
    def text(self) -> str:
        """Lines as they stand, blocks a blank line apart."""
        text = "\n\n".join("\n".join(line.text for line in block.lines) for block in self.blocks)
        return text.replace(LINE_END_HYPHEN, "-")

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @staticmethod
    def from_json(values: dict[str, Any]) -> Page:
        """Of what ``to_json`` gave."""
        blocks = tuple(Block(b["kind"], tuple(Line(**line) for line in b["lines"])) for b in values["blocks"])
        return replace(Page(**values), blocks=blocks)
