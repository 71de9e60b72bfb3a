"""From the pages of a PDF to one text: running heads out, words and paragraphs whole again, in Markdown."""

from stages.pdf.document.assembly import Document, assembled

__all__ = ["Document", "assembled"]
