"""The tokenizer: trained from the corpus, then applied to every document."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, cast

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import xxhash
from pydantic import Field

from pipeline.artifact import Artifact
from pipeline.errors import StageError
from pipeline.stage import DOCUMENT_SCHEMA, Context, Global, Map, Outcome, Result, StageConfig, with_columns
from stages.tokenize.byte_pair.description import Unsupported
from stages.tokenize.byte_pair.encoder import Encoded, encoder_of

if TYPE_CHECKING:
    from tokenizers import Tokenizer

TOKENIZER_FILE = "tokenizer.json"
END_OF_DOCUMENT = "<|endoftext|>"  # id 0
BYTES_OF_ALPHABET = 256


class TrainTokenizerConfig(StageConfig):
    """Size of the vocabulary and of the sample it is trained on."""

    vocabulary: int = Field(32768, gt=BYTES_OF_ALPHABET)
    """Entries, the 256 bytes and the end-of-document token included."""
    sample_bytes: int = Field(100_000_000, gt=0)
    """UTF-8 bytes of text to train on, taken evenly over the documents by a hash of their ids."""


class TrainTokenizer(Global[TrainTokenizerConfig]):
    """Train a byte-level BPE tokenizer on a sample of all documents.

    Digits stand alone (each is a token), whitespace stays with the word behind it, as in GPT-2.
    """

    name = "train_tokenizer"
    version = 2
    config_type = TrainTokenizerConfig
    produces: ClassVar[str] = "tokenizer"

    def run(self, inputs: Mapping[str, Sequence[Artifact]], out: Path, context: Context) -> Result:
        _limit_threads(context.cpus)
        from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

        share = self.config.sample_bytes / max(1, sum(_text_bytes(inputs["documents"])))
        tokenizer = Tokenizer(models.BPE())
        tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
            [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
        )
        tokenizer.decoder = decoders.ByteLevel()
        trainer = trainers.BpeTrainer(
            vocab_size=self.config.vocabulary,
            special_tokens=[END_OF_DOCUMENT],
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
            show_progress=False,
        )
        tokenizer.train_from_iterator(_sample(inputs["documents"], share, context.seed), trainer)
        entries = tokenizer.get_vocab_size()
        if entries < self.config.vocabulary:
            raise StageError(
                f"the documents have text for a vocabulary of {entries} only, not {self.config.vocabulary}: "
                f"set vocabulary to {entries} or less, or give more text"
            )
        tokenizer.save(str(out / TOKENIZER_FILE))
        return Result({"vocabulary": entries, "sampled_share": min(1.0, share)})


def _text_bytes(artifacts: Sequence[Artifact]) -> Iterator[int]:
    for artifact in artifacts:
        for table in artifact.tables(["text"]):
            yield sum(len((text or "").encode()) for text in table["text"].to_pylist())


def _sample(artifacts: Sequence[Artifact], share: float, seed: int) -> Iterator[str]:
    limit = int(min(1.0, share) * (2**64 - 1))
    for artifact in artifacts:
        for table in artifact.tables(["id", "text"]):
            for document_id, text in zip(table["id"].to_pylist(), table["text"].to_pylist(), strict=True):
                # Salted: the plain hash of the id chooses the held-out documents.
                if text and xxhash.xxh3_64_intdigest(f"tokenizer {document_id}", seed=seed) <= limit:
                    yield text


class Encode(Map[StageConfig]):
    """Turn each document's text into token ids, ended by the end-of-document token; the text is left out."""

    name = "encode"
    version = 2
    provides = ("tokens", "encode.bytes")
    commits_output: ClassVar[bool] = True

    def setup(self, context: Context) -> None:
        _limit_threads(context.cpus)
        path = context.side["tokenizer"] / TOKENIZER_FILE
        self._tokenizer = load_tokenizer(path)
        self._tokenizer.encode_special_tokens = True  # as plain text: a page that names the token must not end there
        self._end = cast("int", self._tokenizer.token_to_id(END_OF_DOCUMENT))  # load_tokenizer has seen it
        self._type = pa.uint16() if self._tokenizer.get_vocab_size() <= 2**16 else pa.uint32()
        encoder = encoder_of(path)
        self._encoder = None if isinstance(encoder, Unsupported) else encoder

    def process(self, batch: pa.Table) -> Outcome:
        texts = pc.fill_null(batch.column("text"), "")
        encoded = self._encoder.encode(texts) if self._encoder else self._encoded_by_library(texts)
        ids = np.insert(encoded.ids, encoded.ends, self._end).astype(self._type.to_pandas_dtype(), copy=False)
        starts = np.append(0, encoded.ends + np.arange(1, len(texts) + 1)).astype(np.int32)
        slim = batch.select([name for name in DOCUMENT_SCHEMA.names if name not in ("text", "origin", "meta")])
        columns = {
            "tokens": pa.ListArray.from_arrays(pa.array(starts), pa.array(ids)),
            "encode.bytes": pc.binary_length(texts).cast(pa.int64()),
        }
        return Outcome(with_columns(slim, columns))

    def _encoded_by_library(self, texts: pa.ChunkedArray) -> Encoded:
        """For tokenizers of other kinds: about twenty times slower."""
        found = self._tokenizer.encode_batch_fast(texts.to_pylist(), add_special_tokens=False)
        ids = [np.array(encoding.ids, np.uint32) for encoding in found]
        ends = np.cumsum([len(row) for row in ids], dtype=np.int64)
        return Encoded(np.concatenate([np.empty(0, np.uint32), *ids]), ends)


def load_tokenizer(path: Path) -> Tokenizer:
    """A tokenizer file.

    Raises:
        StageError: it is damaged, or has no end-of-document token.
    """
    from tokenizers import Tokenizer

    try:
        tokenizer = Tokenizer.from_file(str(path))
    except Exception as error:  # the library raises bare Exception
        raise StageError(f"{path} cannot be read as a tokenizer: {error}") from error
    if tokenizer.token_to_id(END_OF_DOCUMENT) is None:
        raise StageError(f"{path} has no token {END_OF_DOCUMENT}")
    return tokenizer


def _limit_threads(cpus: int) -> None:
    os.environ["RAYON_NUM_THREADS"] = str(cpus)  # read by the library when its first pool starts
