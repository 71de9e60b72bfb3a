"""Options that all dedup of documents has: which of two duplicates stays, and how much loss is too much."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field

from pipeline.stage import Options, StageConfig


class Preference(Options):
    """Which of two duplicates stays: by source, then the higher score, then by date, then the smaller id."""

    sources: tuple[str, ...] = ()
    """Names of sources, most wanted first; others follow in the order of 'from'."""
    score: str | None = None
    """Column with a score; the higher one stays."""
    date: Literal["newest", "oldest"] = "newest"
    """Documents without a date come behind those with one."""


class RemovalConfig(StageConfig):
    """What is kept of duplicates, and when their number is an alarm."""

    not_identity: ClassVar[frozenset[str]] = frozenset({"max_loss", "alarm", "task_memory_mb"})

    prefer: Preference = Preference()
    """Which of two duplicates stays."""
    parents: bool = False
    """True: a rephrasing may be the duplicate of the document that it was made from."""
    max_loss: float = Field(0.8, gt=0, le=1)
    """Share of the documents of one source or language, of those with at least 100, whose loss is an alarm."""
    alarm: Literal["stop", "warn"] = "stop"
    """What an alarm does: "stop" ends the run before anything is removed, "warn" tells it in the report."""
    task_memory_mb: int = Field(1000, ge=64)
    """Memory that a task of dedup takes, about; a larger corpus makes more tasks."""

    @property
    def task_memory_bytes(self) -> int:
        """Memory of a task."""
        return self.task_memory_mb << 20
