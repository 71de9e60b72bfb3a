"""Texts become token ids."""

from __future__ import annotations

from dataclasses import replace
from typing import ClassVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from pydantic import Field

from pipeline.stage import DOCUMENT_SCHEMA, Context, Map, Outcome, StageConfig, Verdict, removals, with_columns
from stages.kernel import kernel
from stages.text.utf8 import bytes_and_offsets
from stages.tokenize.byte_pair.description import Unsupported
from stages.tokenize.byte_pair.encoder import Encoded, encoder_of
from stages.tokenize.tokenizer import END_OF_DOCUMENT, TOKENIZER_FILE, dtype_of, limit_threads, load_tokenizer

NAMES_THE_END = "names_the_end_of_document"


class EncodeConfig(StageConfig):
    """How a document ends."""

    end_of_document: str = Field(END_OF_DOCUMENT, min_length=1)
    """Token that is put behind each document."""


class Encode(Map[EncodeConfig]):
    """Turn each document's text into token ids, ended by the end-of-document token; the text is left out.

    Special tokens that a text names are plain text: a page about language models must not end where it names one. Where
    the tokenizer makes the end-of-document token of it all the same, the document fails.
    """

    name = "encode"
    version = 3
    config_type = EncodeConfig
    provides = ("tokens", "encode.bytes", "encode.words")
    commits_output: ClassVar[bool] = True

    def setup(self, context: Context) -> None:
        limit_threads(context.cpus)
        path = context.side["tokenizer"] / TOKENIZER_FILE
        loaded = load_tokenizer(path, self.config.end_of_document)
        self._tokenizer, self._end = loaded.tokenizer, loaded.end_of_document
        self._tokenizer.encode_special_tokens = True
        self._dtype = dtype_of(loaded.vocabulary)
        encoder = encoder_of(path)
        self._encoder = None if isinstance(encoder, Unsupported) else encoder

    def process(self, batch: pa.Table) -> Outcome:
        texts = pc.fill_null(batch.column("text"), "")
        encoded = self._encoder.encode(texts) if self._encoder else self._encoded_by_library(texts)
        if ended := self._ended_within(encoded):
            kept = batch.filter(pa.array(np.isin(np.arange(len(texts)), ended, invert=True)))
            evidence = f"{self.config.end_of_document} is a piece of text to this tokenizer"
            verdict: tuple[Verdict, str, str] = ("failed", NAMES_THE_END, evidence)
            return replace(self.process(kept), removed=removals(batch, ended, [verdict] * len(ended)))
        ids = np.insert(encoded.ids, encoded.ends, self._end).astype(self._dtype, copy=False)
        ends = encoded.ends + np.arange(1, len(texts) + 1)
        slim = batch.select([name for name in DOCUMENT_SCHEMA.names if name not in ("text", "origin", "meta")])
        columns = {
            "tokens": _as_bytes(ids, ends),
            "encode.bytes": pc.binary_length(texts).cast(pa.int64()),
            "encode.words": pa.array(word_counts(texts)),
        }
        return Outcome(with_columns(slim, columns))

    def _ended_within(self, encoded: Encoded) -> list[int]:
        """The documents whose own tokens hold the one that ends documents: readers would take them for two. Models
        other than byte-level BPE may have it among the pieces that texts are made of."""
        places = np.flatnonzero(encoded.ids == self._end)
        return sorted(set(np.searchsorted(encoded.ends, places, side="right").tolist()))

    def _encoded_by_library(self, texts: pa.ChunkedArray) -> Encoded:
        """For tokenizers of other kinds: about twenty times slower."""
        found = self._tokenizer.encode_batch_fast(texts.to_pylist(), add_special_tokens=False)
        ids = [np.array(encoding.ids, np.uint32) for encoding in found]
        ends = np.cumsum([len(row) for row in ids], dtype=np.int64)
        return Encoded(np.concatenate([np.empty(0, np.uint32), *ids]), ends)


def _as_bytes(ids: NDArray[np.unsignedinteger], ends: NDArray[np.int64]) -> pa.Array:
    """The ids of each text, little-endian: as they will lie in the shards. Parquet would give each of them four bytes.

    Args:
        ids: of all texts.
        ends: (texts,): where those of each text end.
    """
    offsets = np.append(0, ends) * ids.itemsize
    return pa.Array.from_buffers(pa.large_binary(), len(ends), [None, pa.py_buffer(offsets), pa.py_buffer(ids)])


def word_counts(texts: pa.Array | pa.ChunkedArray) -> NDArray[np.int64]:
    """Words of each text: runs of characters other than blanks, tabs and line ends. Of scripts that set no blanks
    between words this counts clauses."""
    data, offsets = bytes_and_offsets(texts)
    counts = np.empty(len(offsets) - 1, np.int64)
    _count_words(data, offsets, counts)
    return counts


@kernel
def _count_words(data: NDArray[np.uint8], offsets: NDArray[np.int64], counts: NDArray[np.int64]) -> None:
    for i in range(len(counts)):
        words, before = 0, True
        for at in range(offsets[i], offsets[i + 1]):
            byte = data[at]
            is_space = byte == 32 or 9 <= byte <= 13
            words += before and not is_space
            before = is_space
        counts[i] = words
