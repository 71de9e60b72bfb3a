"""Dedup as a recipe names it: signatures, duplicates, removal."""

from __future__ import annotations

import math
from typing import Any

from pydantic import Field, model_validator

from pipeline.stage import Composite, Expansion, RecipeFolder
from stages.dedup.duplicates.options import MatchConfig
from stages.dedup.index.folder import indexed_before
from stages.dedup.index.stage import signature_options

LEAST_RECALL = 0.92  # at the threshold
MOST_HASHES = 128


class DedupConfig(MatchConfig):
    """Options of dedup; of duplicates, the document of the input named first in ``from`` is kept."""

    bands: int | None = Field(None, ge=1)
    """Bands of the signatures. By default as many as find 92 % of the pairs at the threshold: at 0.8 FineWeb's 14."""
    rows: int | None = Field(None, ge=1)
    """Hashes in a band; at 0.8, by default, FineWeb's 8."""

    against: RecipeFolder | None = None
    """Folder (or URL in a store) of an index of earlier runs: a document that one of theirs is a duplicate of goes."""
    add_as: str | None = Field(None, min_length=1)
    """Add the documents that stay to this index, under a name that is new there, such as the crawl's."""

    @model_validator(mode="after")
    def _index_of_its_own(self) -> DedupConfig:
        if self.add_as is not None and self.against is None:
            raise ValueError("'add_as' goes with 'against', the folder of the index")
        return self

    @model_validator(mode="after")
    def _found_at_all(self) -> DedupConfig:
        if self.bands is None:
            bands, rows = bands_for(self.threshold)
            if 1 - (1 - self.threshold**rows) ** bands < LEAST_RECALL:
                raise ValueError(
                    f"{MOST_HASHES} hashes cannot find {LEAST_RECALL:.0%} of the pairs at a threshold of "
                    f"{self.threshold:g}: give 'bands' and 'rows'"
                )
        return self

    @model_validator(mode="after")
    def _both_or_none(self) -> DedupConfig:
        if (self.bands is None) != (self.rows is None):
            raise ValueError("'bands' and 'rows' go together: give both, or none to have them follow from 'threshold'")
        return self

    def shape(self) -> tuple[int, int]:
        """Bands, and hashes in a band."""
        if self.bands is not None and self.rows is not None:
            return self.bands, self.rows
        return bands_for(self.threshold)


class Dedup(Composite[DedupConfig]):
    """Remove exact and near duplicates over all inputs at once."""

    name = "dedup"
    config_type = DedupConfig

    def expand(self, inputs: tuple[str, ...]) -> list[Expansion]:
        config = self.config
        bands, rows = config.shape()
        carry = (config.prefer.score,) if config.prefer.score else ()
        signatures = {"ngram": config.ngram, "words": config.words, "bands": bands, "rows": rows, "carry": carry}
        matching = config.model_dump(exclude={"bands", "rows", "against", "add_as"})
        options: dict[str, Any] = {**matching, "bands": bands, "rows": rows}
        index: list[Expansion] = []
        if config.against is not None:
            kind = signature_options(config.ngram, config.words, bands, rows)
            indexed = indexed_before(config.against.resolve(), config.add_as, kind)
            options["indexed"] = indexed
            if config.add_as is not None:
                added = {**signatures, "indexed": indexed, "add_as": config.add_as}
                index.append(Expansion(".index", "dedup_index", added, (".signatures", *inputs, ".duplicates")))
        return [
            Expansion(".signatures", "dedup_signatures", signatures, inputs),
            Expansion(".duplicates", "dedup_duplicates", options, (".signatures", *inputs)),
            *index,
            Expansion("", "dedup_remove", {}, inputs, side={"duplicates": ".duplicates"}),
        ]


def bands_for(threshold: float) -> tuple[int, int]:
    """Bands, and hashes in a band, that find at least LEAST_RECALL of the pairs at this similarity.

    Of all such shapes of at most MOST_HASHES hashes, the one with most hashes in a band: it finds least below the
    threshold; at 0.8 that is FineWeb's 14 of 8. A pair of similarity s is found with probability 1-(1-s**rows)**bands.
    """
    shape = (1, 1)
    for rows in range(1, MOST_HASHES + 1):
        missed = 1 - threshold**rows  # by one band
        bands = 1 if missed <= 0 else math.ceil(math.log(1 - LEAST_RECALL) / math.log(missed)) if missed < 1 else None
        if bands is None or bands * rows > MOST_HASHES:
            break
        shape = (bands, rows)
    return shape
