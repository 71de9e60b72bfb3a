"""Repositories of source code as documents."""

from stages.intake.source_code.stage import SourceCode, SourceCodeConfig

__all__ = ["SourceCode", "SourceCodeConfig"]
