"""Options of dedup_substrings."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field

from pipeline.stage import StageConfig


class RepeatedSpansConfig(StageConfig):
    """Which passages count as repeated, and which of their occurrences is kept.

    A token here is a normalised word: letter case, punctuation and whitespace do not count, and a Chinese or Japanese
    character is a word of its own. Of the occurrences of a passage the one in the document of the
    input named first in ``from`` is kept, then by date, then by a hash of the document's id.
    """

    not_identity: ClassVar[frozenset[str]] = frozenset({"task_memory_mb"})

    min_tokens: int = Field(50, ge=10, le=10_000)
    """A passage of so many tokens or more that occurs again is repeated (Lee et al. 2022: 50)."""

    scope: Literal["all", "source"] = "all"
    """all: occurrences anywhere count; source: only those in documents of the same source."""

    only: tuple[str, ...] = ()
    """Sources whose documents are looked at; empty: all. Other documents are neither cut nor compared with."""

    newest_first: bool = True
    """Of documents from one input, the newest keeps a passage; false: the oldest."""

    within_document: bool = True
    """Whether a passage that one document repeats is cut behind its first occurrence there."""

    parents: bool = False
    """Whether a rephrasing and the document that it was made from are cut for what they have in common. If not, a
    document and its rephrasings count as one; rephrasings of those do not belong to them."""

    task_memory_mb: int = Field(1000, ge=64)
    """Memory of a task, in MB, by which the number of partitions is chosen."""


class CutConfig(StageConfig):
    """What becomes of repeated passages."""

    action: Literal["cut", "drop"] = "cut"
    """cut: repeated passages are cut out; drop: documents that mostly consist of them are dropped, others stay as they
    are."""

    max_share: float = Field(0.5, ge=0, lt=1)
    """With ``action: drop``, the share of a document's tokens that may be repeated."""


class DedupSubstringsConfig(CutConfig, RepeatedSpansConfig):
    """Options of dedup_substrings; of equal passages, the one in the input named first in ``from`` is kept."""
