"""First step of dedup: a content hash and the band keys of a MinHash signature for each document."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
import pyarrow as pa
import xxhash
from pydantic import Field

from pipeline.stage import DOCUMENT_SCHEMA, Map, Outcome, StageConfig, with_columns
from stages.dedup.shingles import content_hash, shingles, words

SEED = 1  # of the permutations; part of the stage's version: indexes of another seed cannot be compared


class SignaturesConfig(StageConfig):
    """How similar documents are found: two of Jaccard similarity s meet with probability 1-(1-s**rows)**bands."""

    ngram: int = Field(5, ge=1)
    """Words in a shingle (FineWeb: 5)."""
    bands: int = Field(14, ge=1)
    """Bands of the signature (FineWeb: 14)."""
    rows: int = Field(8, ge=1)
    """Hashes in a band (FineWeb: 8). 14 bands of 8 find 92 % of pairs of similarity 0.8 and 56 % at 0.7."""


class Signatures(Map[SignaturesConfig]):
    """Hash each document for dedup; the text is left out."""

    name = "dedup_signatures"
    version = 2
    config_type = SignaturesConfig
    provides = ("dedup.content_hash", "dedup.bands")
    commits_output: ClassVar[bool] = True

    def process(self, batch: pa.Table) -> Outcome:
        texts = [text or "" for text in batch.column("text").to_pylist()]
        found = [words(text) for text in texts]
        bands = [self._bands(document) for document in found]
        # Texts of signs alone (arrows, emoji) have no words and are equal only if their signs are.
        hashes = [content_hash(document or text.split()) for document, text in zip(found, texts, strict=True)]
        slim = batch.select([name for name in DOCUMENT_SCHEMA.names if name not in ("text", "origin", "meta")])
        columns = {
            "dedup.content_hash": pa.array(hashes, pa.string()),
            "dedup.bands": pa.array(bands, pa.list_(pa.uint64())),
        }
        return Outcome(with_columns(slim, columns))

    def _bands(self, document: list[str]) -> list[int]:
        """One 64-bit key a band: documents that share any key are candidates. Empty documents have none."""
        from datasketch import MinHash

        found = shingles(document, self.config.ngram)
        if not found:
            return []
        signature = MinHash(
            num_perm=self.config.bands * self.config.rows,
            seed=SEED,
            scheme="affine32",
            hashfunc=xxhash.xxh32_intdigest,
        )
        signature.update_batch(found)
        rows = np.ascontiguousarray(signature.hashvalues, "<u4").reshape(self.config.bands, self.config.rows)
        return [xxhash.xxh3_64_intdigest(row.tobytes(), seed=band) for band, row in enumerate(rows)]
