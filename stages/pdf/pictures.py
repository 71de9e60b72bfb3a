"""A page's picture, for a model that reads pictures."""

from __future__ import annotations

import io
from pathlib import Path


def picture_of(path: Path, number: int, longest_side_px: int, rotation: int) -> bytes:
    """The page as PNG, in the colours in which it is shown.

    Args:
        number: of the page, from 0.
        longest_side_px: pixels of the picture's longer side; small pages are enlarged to it.
        rotation: degrees (0, 90, 180, 270) by which the page as shown is turned clockwise.

    Raises:
        UnreadablePdf: encrypted, unreadable, no_pages; or the page cannot be drawn ("unreadable").
    """
    import pypdfium2 as pdfium

    from stages.pdf.reading import UnreadablePdf, opened

    with opened(path) as document:
        try:
            page = document[number]
            scale = longest_side_px / max(*page.get_size(), 1.0)
            picture = page.render(scale=scale, rotation=rotation).to_pil()
        except pdfium.PdfiumError as error:
            raise UnreadablePdf("unreadable", f"page {number + 1}: {error}") from error
        content = io.BytesIO()
        picture.save(content, "PNG", compress_level=1)  # a quarter of the time of level 6, a few percent larger
        return content.getvalue()
