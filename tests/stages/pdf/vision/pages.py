"""Rows of pages as they come to the vision-language lane, with small pictures that tell which page they show."""

import io
from pathlib import Path
from typing import Any

import orjson
import pyarrow as pa
from PIL import Image, ImageDraw

from pipeline.stage import Context, Outcome, documents
from stages.pdf.page import Block, Line, Page
from stages.pdf.vision.stage import PdfVision, PdfVisionConfig

WIDTH, HEIGHT = 200, 280
TOP = (255, 0, 0)  # of the pixels along the upper edge

COLUMNS = (
    pa.field("pdf.page", pa.int32()),
    pa.field("pdf.lane", pa.string()),
    pa.field("pdf.reason", pa.string()),
    pa.field("pdf.hard", pa.string()),
    pa.field("pdf.confidence", pa.float64()),
    pa.field("pdf.layout", pa.large_binary()),
    pa.field("pdf.picture", pa.large_binary()),
)

WORDS = (
    "The council met in the old town hall on a cold morning in March to hear about the harbour wall. Engineers had "
    "measured the cracks for three winters and found them wider after every storm. Repairs, they said, would cost "
    "forty thousand pounds and take until autumn; waiting another year would double the price and put the fishing "
    "fleet at risk. After two hours of questions the members agreed to begin the work as soon as the spring tides "
    "were over, and to pay for it from the reserve."
)
"""More than the forty words that a witness needs."""


def picture(number: int, lower_half_is_blank: bool = False) -> bytes:
    """A page with bars for lines of print; its corners and its upper edge tell which page it is, and how it lies."""
    page = Image.new("RGB", (WIDTH, HEIGHT), "white")
    draw = ImageDraw.Draw(page)
    for y in range(20, HEIGHT // 2 - 20 if lower_half_is_blank else HEIGHT - 10, 12):
        draw.rectangle((20, y, WIDTH - 20, y + 5), "black")
    draw.line((1, 0, WIDTH - 2, 0), TOP)
    for corner in ((0, 0), (WIDTH - 1, 0), (0, HEIGHT - 1), (WIDTH - 1, HEIGHT - 1)):
        page.putpixel(corner, (number, 7, 7))
    content = io.BytesIO()
    page.save(content, "PNG")
    return content.getvalue()


def row(
    number: int, text: str = "", lane: Any = "ocr", confidence: float | None = 0.8, **values: Any
) -> dict[str, Any]:
    """Page ``number`` (up to 255) of one document. Hard, unless told otherwise."""
    lines = tuple(Line(50, 50 + 12 * i, 400, 60 + 12 * i, line, 10) for i, line in enumerate(text.split("\n")))
    hard = values.get("pdf.hard", "low_confidence")
    page = Page(number, lane, "few_characters", 595, 842, (Block("text", lines),) if text else (), confidence, hard)
    return {
        "id": f"papers/a.pdf#0123456789ab@{number}",
        "text": text,
        "source": "papers",
        "origin": {"path": "a.pdf", "offset": 0, "length": 1, "digest": "0123456789ab"},
        "pdf.page": number,
        "pdf.lane": lane,
        "pdf.reason": "few_characters",
        "pdf.hard": hard,
        "pdf.confidence": confidence,
        "pdf.layout": orjson.dumps(page.to_json()),
        "pdf.picture": picture(number),
        **values,
    }


def table(*rows: dict[str, Any]) -> pa.Table:
    return documents(rows, COLUMNS)


def stage(*urls: str, answers: Path | None = None, **options: Any) -> PdfVision:
    """The stage, ready, with limits that suit tests."""
    defaults = {"model": "small", "concurrency": 4, "timeout_s": 5.0, "max_outage_s": 5.0, "endpoints": urls}
    made = PdfVision(PdfVisionConfig(**defaults | options))
    made.setup(Context(seed=1, answers=answers))
    return made


def seen(outcome: Outcome) -> dict[int, dict[str, Any]]:
    """The kept rows by page."""
    return {kept["pdf.page"]: kept for kept in outcome.kept.to_pylist()}


def page_of(kept: dict[str, Any]) -> Page:
    return Page.from_json(orjson.loads(kept["pdf.layout"]))
