"""Small PDFs for the tests, made where they are needed."""

import textwrap
from pathlib import Path

from reportlab.lib.pagesizes import A4
from reportlab.lib.pdfencrypt import StandardEncryption
from reportlab.lib.utils import ImageReader
from reportlab.pdfgen.canvas import Canvas


def text_pdf(path: Path, pages: list[str], password: str | None = None) -> Path:
    """One page with a text layer for each text."""
    encrypt = StandardEncryption(password) if password else None
    canvas = Canvas(str(path), pagesize=A4, invariant=True, encrypt=encrypt)
    for text in pages:
        lines = canvas.beginText(72, 770)
        lines.setFont("Helvetica", 12)
        for line in text.split("\n"):
            lines.textLines(textwrap.wrap(line, 80))
        canvas.drawText(lines)
        canvas.showPage()
    canvas.save()
    return path


def image_pdf(path: Path, pages: list[str]) -> Path:
    """The same pages as scans: pictures without a text layer."""
    import pypdfium2 as pdfium

    written = pdfium.PdfDocument(text_pdf(path.with_suffix(".text.pdf"), pages))
    canvas = Canvas(str(path), pagesize=A4, invariant=True)
    for page in written:
        canvas.drawImage(ImageReader(page.render(scale=150 / 72).to_pil()), 0, 0, *A4)
        canvas.showPage()
    canvas.save()
    written.close()
    path.with_suffix(".text.pdf").unlink()
    return path
