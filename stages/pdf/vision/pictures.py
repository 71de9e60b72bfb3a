"""Pictures of pages: turned, halved, looked at for ink, and the texts of two halves made one."""

from __future__ import annotations

import io
import re
from collections.abc import Mapping
from difflib import SequenceMatcher
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

if TYPE_CHECKING:
    from PIL.Image import Image

HALF_OVERLAP = 0.1
"""Share of the page's height that both halves show: four to six lines of print, so that none is cut in both."""

MIN_COMMON_WORDS = 4
"""Words in a row at the end of one half and the start of the other that are taken for the same words of the page."""

OVERLAP_WORDS = 200
"""Words at each edge among which the common ones are looked for; a tenth of a densely set page has about 120."""

STRAY_WORDS = 40
"""Words outside of the common ones that may be dropped at an edge, where a line may be cut through: one to three
lines, and what stands beside them in other columns."""

INK_SIDE_PX = 420
INK_CONTRAST = 32
MIN_INK_SHARE = 0.0002
"""A picture is blank if fewer of its pixels differ from the median by so many of 255 grey levels, at the resolution
(an A4 page's 36 dpi) and with the bounds by which whole pages get the lane "blank": specks have faded there."""

_WORD = re.compile(r"\S+")


class UndrawnPageError(Exception):
    """There is no picture of this page."""


class PagePictures(Protocol):
    """Where pictures of pages come from. Safe to use from several threads."""

    def render(self, row: Mapping[str, Any], longest_side_px: int, rotation: int) -> bytes:
        """The picture of a row's page as PNG.

        Args:
            row: with the columns ``origin``, ``pdf.page`` and what else the pictures need.
            longest_side_px: length of the longer side.
            rotation: degrees (0, 90, 180, 270) by which the page as shown is turned clockwise.

        Raises:
            UndrawnPageError: the page cannot be drawn.
        """


class StoredPictures:
    """Pictures that the rows carry in a column, in any format that Pillow reads."""

    def __init__(self, column: str) -> None:
        self._column = column

    def render(self, row: Mapping[str, Any], longest_side_px: int, rotation: int) -> bytes:
        """See ``PagePictures``; a smaller picture stays as it is."""
        if not row[self._column]:
            raise UndrawnPageError(f"the row has no {self._column}")
        picture = _opened(row[self._column])
        if not rotation and max(picture.size) <= longest_side_px and picture.format == "PNG":
            return bytes(row[self._column])
        if rotation:
            picture = picture.rotate(-rotation, expand=True)  # Pillow counts degrees counter-clockwise
        picture.thumbnail((longest_side_px, longest_side_px))
        return _png(picture)


def halves_of(png: bytes) -> tuple[bytes, bytes]:
    """The upper and the lower half of a picture; both show the same strip in the middle."""
    picture = _opened(png)
    width, height = picture.size
    reach = round(height * (1 + HALF_OVERLAP) / 2)
    return _png(picture.crop((0, 0, width, reach))), _png(picture.crop((0, height - reach, width, height)))


def is_blank(png: bytes) -> bool:
    """Whether a picture has next to no ink."""
    picture = _opened(png).convert("L")
    picture.thumbnail((INK_SIDE_PX, INK_SIDE_PX))
    grey = np.asarray(picture, np.int16)
    return float(np.mean(np.abs(grey - np.median(grey)) > INK_CONTRAST)) < MIN_INK_SHARE


def stitched(upper: str, lower: str) -> str:
    """The text of a page from those of its halves, the lines that both show taken once.

    Where the end of one and the start of the other have no words in common, all of both is kept.
    """
    above, below = list(_WORD.finditer(upper))[-OVERLAP_WORDS:], list(_WORD.finditer(lower))[:OVERLAP_WORDS]
    words_above, words_below = ([match[0].casefold() for match in matches] for matches in (above, below))
    same = SequenceMatcher(None, words_above, words_below, autojunk=False).find_longest_match()
    strays = max(len(above) - same.a - same.size, same.b)
    if same.size < MIN_COMMON_WORDS or strays > STRAY_WORDS:
        return f"{upper.rstrip()}\n\n{lower.lstrip()}".strip()
    return upper[: above[same.a + same.size - 1].end()] + lower[below[same.b + same.size - 1].end() :]


def _opened(content: bytes) -> Image:
    from PIL import Image

    return Image.open(io.BytesIO(content))


def _png(picture: Image) -> bytes:
    content = io.BytesIO()
    picture.save(content, "PNG", compress_level=1)  # most of the time goes into compressing
    return content.getvalue()
