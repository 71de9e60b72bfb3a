"""First step of dedup: what each document is compared by, without its text."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
import pyarrow as pa
import xxhash
from numpy.typing import NDArray
from pydantic import Field

from pipeline.errors import StageError
from pipeline.stage import DOCUMENT_SCHEMA, Map, Outcome, StageConfig, with_columns
from stages.dedup.url_keys import url_hashes
from stages.text.signatures import Signatures as TextSignatures
from stages.text.signatures import WordKind, signed

CONTENT_HASH_BYTES = 16
_LEFT_OUT = ("text", "origin", "meta")


class SignaturesConfig(StageConfig):
    """How similar documents are found: two of Jaccard similarity s meet with probability 1-(1-s**rows)**bands."""

    ngram: int = Field(5, ge=1)
    """Words in a shingle (FineWeb: 5)."""
    bands: int = Field(14, ge=1)
    """Bands of the signature (FineWeb: 14)."""
    rows: int = Field(8, ge=1)
    """Hashes in a band (FineWeb: 8). 14 bands of 8 find 92 % of pairs of similarity 0.8 and 56 % at 0.7."""
    words: WordKind = "sluice"
    """Whose words and hashes: those of datatrove 0.10.1 give its signatures bit for bit (English rules for all texts;
    one of fewer than ngram words has none), but all numbers count as equal and they take three times as long."""
    carry: tuple[str, ...] = ()
    """Measured columns to keep, such as a quality score by which the winner is chosen."""


class Signatures(Map[SignaturesConfig]):
    """Hash each document for dedup; the text is left out.

    Columns:
        dedup.content_hash: 128 bits of the words (as ``stages.dedup.shingles.words``), so that case, space and
            punctuation make no difference; of a text without words, of its signs.
        dedup.url_hash: of the URL as ``stages.dedup.url_keys.normalized_url``; null without one.
        dedup.bands: a key for each band; null for a text without words.
        dedup.audit: one more hash, independent of the bands: two texts of Jaccard similarity s share it with
            probability s, so pairs that share it tell how many of them the bands find. Null as the bands.
    """

    name = "dedup_signatures"
    version = 6
    config_type = SignaturesConfig
    provides = ("dedup.content_hash", "dedup.url_hash", "dedup.bands", "dedup.audit")
    commits_output: ClassVar[bool] = True

    def __init__(self, config: SignaturesConfig) -> None:
        super().__init__(config)
        self.requires = ("text", *config.carry)

    def process(self, batch: pa.Table) -> Outcome:
        c = self.config
        absent = [name for name in c.carry if name not in batch.column_names]
        if absent:
            raise StageError(f"dedup_signatures: carry names columns that no stage before has measured: {absent}")
        found = signed(batch.column("text"), c.ngram, c.bands, c.rows, c.words)
        kept = [name for name in DOCUMENT_SCHEMA.names if name not in _LEFT_OUT]
        columns = {
            "dedup.content_hash": _content_hashes(batch.column("text"), found),
            "dedup.url_hash": url_hashes(batch.column("url")),
            "dedup.bands": _bands(found),
            "dedup.audit": pa.array(found.audits, pa.uint64(), mask=~found.has_shingles),
        }
        return Outcome(with_columns(batch.select(list(dict.fromkeys([*kept, *c.carry]))), columns))


def _content_hashes(texts: pa.ChunkedArray, found: TextSignatures) -> pa.Array:
    hashes: NDArray[np.uint8] = found.content_hashes.astype("<u8", copy=False).view(np.uint8)
    for row in np.flatnonzero(found.words == 0).tolist():
        hashes[row] = np.frombuffer(hash_of_signs(texts[row].as_py() or ""), np.uint8)
    return pa.FixedSizeBinaryArray.from_buffers(
        pa.binary(CONTENT_HASH_BYTES), len(hashes), [None, pa.py_buffer(hashes.tobytes())]
    )


def _bands(found: TextSignatures) -> pa.Array:
    keys = pa.array(found.keys.ravel(), pa.uint64())
    kind = pa.list_(pa.uint64(), found.keys.shape[1])
    return pa.FixedSizeListArray.from_arrays(keys, type=kind, mask=pa.array(~found.has_shingles))


def hash_of_signs(text: str) -> bytes:
    """128-bit hash of a text of signs alone (arrows, emoji), which has no words; runs of whitespace count as one."""
    return xxhash.xxh3_128_digest(" ".join(text.split()).encode())
