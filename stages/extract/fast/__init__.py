"""Extraction of main text at the speed of a parser: one pass over the bytes, arrays instead of a tree, a few rules."""

from stages.extract.fast.page import FastExtract, FastOptions, FastPage, extract

__all__ = ["FastExtract", "FastOptions", "FastPage", "extract"]
