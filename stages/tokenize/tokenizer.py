"""The tokenizer: trained from the corpus or given, then applied to every document."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal, Self

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import xxhash
from pydantic import Field, model_validator

from pipeline.artifact import Artifact
from pipeline.errors import StageError
from pipeline.stage import (
    DOCUMENT_SCHEMA,
    Context,
    Global,
    Map,
    Outcome,
    RecipePath,
    Result,
    StageConfig,
    with_columns,
)
from stages.tokenize.byte_pair.description import Unsupported
from stages.tokenize.byte_pair.encoder import Encoded, encoder_of

if TYPE_CHECKING:
    from tokenizers import Tokenizer

TOKENIZER_FILE = "tokenizer.json"
END_OF_DOCUMENT = "<|endoftext|>"  # id 0 of trained tokenizers
KNOWN_ENDS = (END_OF_DOCUMENT, "<|end_of_text|>", "</s>", "<eos>", "<|im_end|>")
BYTES_OF_ALPHABET = 256
GROUP_OF_DIGITS = r"\p{N}{1,3}"


class TrainTokenizerConfig(StageConfig):
    """A tokenizer to take, or the size of the vocabulary and of the sample that one is trained on."""

    model_files: ClassVar[frozenset[str]] = frozenset({"tokenizer"})

    tokenizer: RecipePath | None = None
    """A tokenizer.json of Hugging Face's tokenizers to use as it is, of any kind, instead of training one. Bits per byte
    of models, and so the proxy swarm, need a byte-level BPE."""
    end_of_document: str | None = None
    """Token behind each document; the first known one that the tokenizer has, if absent."""
    vocabulary: int = Field(32768, gt=BYTES_OF_ALPHABET)
    """Entries, the 256 bytes and the end-of-document token included."""
    sample_bytes: int = Field(100_000_000, gt=0)
    """UTF-8 bytes of text to train on, taken evenly over the documents by a hash of their ids."""
    digits: Literal["alone", "groups of three"] = "alone"
    """Each digit is a token of its own, or up to three digits, counted from the left, may be one."""

    @model_validator(mode="after")
    def _trains_or_takes(self) -> Self:
        set_in_vain = self.model_fields_set & {"vocabulary", "sample_bytes", "digits"}
        if self.tokenizer and set_in_vain:
            raise ValueError(f"{', '.join(sorted(set_in_vain))}: for a tokenizer that is trained; one is given")
        return self


class TrainTokenizer(Global[TrainTokenizerConfig]):
    """Train a byte-level BPE tokenizer on a sample of all documents, or take the one that is given.

    A trained one never joins digits to other characters; digits stand alone or in groups of up to three. Whitespace is
    GPT-2's: one space goes with the word behind it, other runs of whitespace are tokens of their own.
    """

    name = "train_tokenizer"
    version = 3
    config_type = TrainTokenizerConfig
    produces: ClassVar[str] = "tokenizer"

    def run(self, inputs: Mapping[str, Sequence[Artifact]], out: Path, context: Context) -> Result:
        if self.config.tokenizer is not None:
            return self._taken(self.config.tokenizer, out)
        _limit_threads(context.cpus)
        from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers

        c = self.config
        share = c.sample_bytes / max(1, sum(_text_bytes(inputs["documents"])))
        tokenizer = Tokenizer(models.BPE())
        alone = pre_tokenizers.Digits(individual_digits=True)
        groups = pre_tokenizers.Split(Regex(GROUP_OF_DIGITS), "isolated")
        digits = alone if c.digits == "alone" else groups
        tokenizer.pre_tokenizer = pre_tokenizers.Sequence([digits, pre_tokenizers.ByteLevel(add_prefix_space=False)])
        tokenizer.decoder = decoders.ByteLevel()
        trainer = trainers.BpeTrainer(
            vocab_size=c.vocabulary,
            special_tokens=[c.end_of_document or END_OF_DOCUMENT],
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
            show_progress=False,
        )
        tokenizer.train_from_iterator(_sample(inputs["documents"], share, context.seed), trainer)
        entries = tokenizer.get_vocab_size()
        if entries < c.vocabulary:
            raise StageError(
                f"the documents have text for a vocabulary of {entries} only, not {c.vocabulary}: "
                f"set vocabulary to {entries} or less, or give more text"
            )
        tokenizer.save(str(out / TOKENIZER_FILE))
        handling = {"digits": c.digits, "whitespace": "one space with the word behind it, other runs apart"}
        return Result({"vocabulary": entries, "sampled_share": min(1.0, share), **handling})

    def _taken(self, path: Path, out: Path) -> Result:
        tokenizer = load_tokenizer(path)
        end = end_of_document(tokenizer, path, self.config.end_of_document)
        shutil.copyfile(path, out / TOKENIZER_FILE)
        return Result({"vocabulary": entries_of(tokenizer), "given": path.name, "end_of_document": end})


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


class EncodeConfig(StageConfig):
    """How documents end."""

    end_of_document: str | None = None
    """Token behind each document; the first known one that the tokenizer has, if absent."""


class Encode(Map[EncodeConfig]):
    """Turn each document's text into token ids, ended by the end-of-document token; the text is left out."""

    name = "encode"
    version = 3
    config_type = EncodeConfig
    provides = ("tokens", "encode.bytes", "encode.words", "encode.tokens")
    commits_output: ClassVar[bool] = True

    def setup(self, context: Context) -> None:
        _limit_threads(context.cpus)
        path = context.side["tokenizer"] / TOKENIZER_FILE
        self._tokenizer = load_tokenizer(path)
        self._tokenizer.encode_special_tokens = True  # as plain text: a page that names the token must not end there
        self._end = self._tokenizer.token_to_id(end_of_document(self._tokenizer, path, self.config.end_of_document))
        self._type = pa.uint16() if entries_of(self._tokenizer) <= 2**16 else pa.uint32()

    def process(self, batch: pa.Table) -> Outcome:
        texts = [text or "" for text in batch.column("text").to_pylist()]
        ids = [[*e.ids, self._end] for e in self._tokenizer.encode_batch_fast(texts, add_special_tokens=False)]
        slim = batch.select([name for name in DOCUMENT_SCHEMA.names if name not in ("text", "origin", "meta")])
        columns = {
            "tokens": pa.array(ids, pa.list_(self._type)),
            "encode.bytes": pa.array([len(text.encode()) for text in texts], pa.int64()),
            "encode.words": pa.array([len(text.split()) for text in texts], pa.int64()),  # by white space
            "encode.tokens": pa.array([len(of_one) for of_one in ids], pa.int64()),
        }
        return Outcome(with_columns(slim, columns))


def load_tokenizer(path: Path) -> Tokenizer:
    """A tokenizer file.

    Raises:
        StageError: it is absent or damaged.
    """
    from tokenizers import Tokenizer

    try:
        return Tokenizer.from_file(str(path))
    except Exception as error:  # the library raises bare Exception
        raise StageError(f"{path} cannot be read as a tokenizer: {error}") from error


def end_of_document(tokenizer: Tokenizer, path: Path, named: str | None = None) -> str:
    """The token behind each document: the one named, else the first of KNOWN_ENDS that the tokenizer has.

    Raises:
        StageError: it has none of them.
    """
    for token in (named,) if named else KNOWN_ENDS:
        if tokenizer.token_to_id(token) is not None:
            return token
    if named:
        raise StageError(f"{path} has no token {named}, which end_of_document names")
    raise StageError(f"{path} has none of the tokens {', '.join(KNOWN_ENDS)}: name its own by end_of_document")


def entries_of(tokenizer: Tokenizer) -> int:
    """One more than the highest id, added tokens included; a foreign tokenizer may leave ids out."""
    return max(tokenizer.get_vocab().values()) + 1


def _limit_threads(cpus: int) -> None:
    os.environ["RAYON_NUM_THREADS"] = str(cpus)  # read by the library when its first pool starts
