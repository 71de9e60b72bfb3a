"""From fragments of a page to its blocks in reading order: lines, columns, tables, footnotes, formulas."""

from stages.pdf.layout.blocks import blocks_of

__all__ = ["blocks_of"]
