"""Options of semantic dedup."""

from __future__ import annotations

from pydantic import Field

from stages.dedup.options import RemovalConfig


class DedupSemanticConfig(RemovalConfig):
    """Options of dedup by embeddings; of duplicates, the document of the input named first in ``from`` is kept."""

    column: str = "embedding"
    """Column with a list of numbers a document, all by one model. Documents without one (null) stay."""

    threshold: float = Field(0.95, gt=0, le=1)
    """Cosine similarity from which two documents are duplicates. What it means depends on the model: read what was
    removed before you trust it. SemDeDup chooses it by the share of documents to remove; the example of NeMo Curator's
    guide is 0.93."""

    clusters: int | None = Field(None, ge=1)
    """Clusters of k-means. If absent, half the square root of the number of documents: finding the cluster of each
    document and comparing the documents of a cluster then cost about the same. Fewer find more duplicates; 1 all."""

    audit: int = Field(500, ge=0, le=4096)
    """Documents to compare with all others, for an estimate of how many duplicates lie in different clusters and so
    stay. It is in the summary as ``audit``."""
