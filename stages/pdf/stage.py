"""PDFs as a recipe names them: pages read, looked at by a vision-language model if there is one, put together."""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field

from pipeline.stage import Composite, Expansion
from stages.pdf.documents import PdfDocumentsConfig
from stages.pdf.pages import PdfReadingConfig
from stages.pdf.vision.stage import PdfVisionConfig


class PdfConfig(PdfReadingConfig, PdfDocumentsConfig):
    """Options of pdf."""

    vision: PdfVisionConfig | None = Field(None)
    """A vision-language model for the pages that are too hard for the CPU: {endpoints, model, profile, pages, ...}."""


class Pdf(Composite[PdfConfig]):
    """Read PDFs page by page, by their text layer, by OCR or by a vision-language model, each page the cheapest way
    that gives good text."""

    name = "pdf"
    config_type = PdfConfig
    reads_files: ClassVar[bool] = True
    provides: ClassVar[tuple[str, ...]] = ("text",)

    def expand(self, inputs: tuple[str, ...]) -> list[Expansion]:
        config = self.config
        given = config.model_dump(exclude={"vision"}, exclude_unset=True)
        reading = {name: value for name, value in given.items() if name in PdfReadingConfig.model_fields}
        putting_together = {name: value for name, value in given.items() if name in PdfDocumentsConfig.model_fields}
        if config.vision is None:
            return [
                Expansion(".pages", "pdf_pages", reading, ()),
                Expansion("", "pdf_documents", putting_together, (".pages",)),
            ]
        if config.vision.is_on:
            reading |= {"pictures": config.vision.pages, "picture_side": config.vision.longest_side_px()}
        return [
            Expansion(".pages", "pdf_pages", reading, ()),
            Expansion(".seen", "pdf_vision", config.vision.model_dump(exclude_unset=True), (".pages",)),
            Expansion("", "pdf_documents", putting_together, (".seen",)),
        ]
