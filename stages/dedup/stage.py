"""Dedup as a recipe names it: signatures, clusters, removal."""

from __future__ import annotations

from pydantic import Field

from pipeline.stage import Composite, Expansion
from stages.dedup.signatures import SignaturesConfig


class DedupConfig(SignaturesConfig):
    """Options of dedup; of duplicates, the document of the input named first in ``from`` is kept."""

    threshold: float = Field(0.8, gt=0, le=1)
    """Jaccard similarity of word n-grams from which a document is a near-duplicate."""


class Dedup(Composite[DedupConfig]):
    """Remove exact and near duplicates over all inputs at once."""

    name = "dedup"
    config_type = DedupConfig

    def expand(self, inputs: tuple[str, ...]) -> list[Expansion]:
        c = self.config
        return [
            Expansion(".signatures", "dedup_signatures", {"ngram": c.ngram, "bands": c.bands, "rows": c.rows}, inputs),
            Expansion(
                ".clusters", "dedup_clusters", {"threshold": c.threshold, "ngram": c.ngram}, (".signatures", *inputs)
            ),
            Expansion("", "dedup_remove", {}, inputs, side={"duplicates": ".clusters"}),
        ]
