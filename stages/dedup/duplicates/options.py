"""Options of dedup by texts."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from stages.dedup.duplicates.settle import Rules
from stages.dedup.index.folder import Indexed
from stages.dedup.options import RemovalConfig
from stages.text.signatures import WordKind


class MatchConfig(RemovalConfig):
    """When two documents count as duplicates, and which one stays."""

    threshold: float = Field(0.8, gt=0, le=1)
    """Jaccard similarity of the shingles from which a document is a near-duplicate of its winner."""
    ngram: int = Field(5, ge=1)
    """Words in a shingle (FineWeb: 5)."""
    words: WordKind = "sluice"
    """Whose words: "datatrove" finds the candidates that datatrove's signatures find."""
    fuzzy: bool = True
    """False: equal texts only (and equal URLs, if asked for)."""
    verify: bool = True
    """False: what shares a band key is a duplicate, as in tools that do not look at the texts again."""
    by_url: bool = False
    """Documents of one URL are duplicates, whatever their texts."""
    within: Literal["all", "source"] = "all"
    """"source": documents of different sources are never duplicates."""


class DuplicatesConfig(MatchConfig):
    """Matching by signatures of this shape."""

    bands: int = Field(14, ge=1)
    """Bands of the signatures."""
    rows: int = Field(8, ge=1)
    """Hashes in a band."""
    indexed: Indexed | None = None
    """The generations of an index to compare with."""

    def identity(self) -> dict[str, Any]:
        return {**super().identity(), "indexed": self.indexed and self.indexed.digest}

    def rules(self) -> Rules:
        return Rules(
            threshold=self.threshold,
            fuzzy=self.fuzzy,
            verify=self.verify,
            by_url=self.by_url,
            within_source=self.within == "source",
            compare_parents=self.parents,
        )
