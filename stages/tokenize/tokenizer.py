"""The tokenizer: trained from the corpus, or one that there is already."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
import pyarrow.compute as pc
import xxhash
from pydantic import Field

from pipeline.artifact import Artifact
from pipeline.errors import StageError
from pipeline.stage import Context, Global, RecipePath, Result, StageConfig
from stages.tokenize.byte_pair.description import Unsupported, described
from stages.tokenize.byte_pair.splitting import LLAMA3_PATTERN

if TYPE_CHECKING:
    from tokenizers import Tokenizer

TOKENIZER_FILE = "tokenizer.json"
END_OF_DOCUMENT = "<|endoftext|>"  # of tokenizers trained here: id 0
BYTES_OF_ALPHABET = 256


class TrainTokenizerConfig(StageConfig):
    """Size of the vocabulary and of the sample it is trained on."""

    vocabulary: int = Field(32768, gt=BYTES_OF_ALPHABET)
    """Entries, the 256 bytes and the end-of-document token included."""
    sample_bytes: int = Field(100_000_000, gt=0)
    """UTF-8 bytes of text to train on, taken evenly over the documents by a hash of their ids."""
    digits: Literal[1, 3] = 1
    """Most digits of a token. 1: each digit is one, and texts are cut into words as by GPT-2, where whitespace stays
    with the word behind it. 3: as by GPT-4 and Llama 3, where line ends stay with the punctuation before them."""


class TrainTokenizer(Global[TrainTokenizerConfig]):
    """Train a byte-level BPE tokenizer on a sample of all documents."""

    name = "train_tokenizer"
    version = 3
    config_type = TrainTokenizerConfig
    produces: ClassVar[str] = "tokenizer"

    def run(self, inputs: Mapping[str, Sequence[Artifact]], out: Path, context: Context) -> Result:
        limit_threads(context.cpus)
        from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

        share = self.config.sample_bytes / max(1, sum(_text_bytes(inputs["documents"])))
        tokenizer = Tokenizer(models.BPE())
        tokenizer.pre_tokenizer = _words(self.config.digits)
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
        return Result({**_facts(out / TOKENIZER_FILE, END_OF_DOCUMENT), "sampled_share": min(1.0, share)})


def _words(digits: int) -> Any:
    """How texts are cut before merges: no token reaches over such a cut."""
    from tokenizers import Regex, pre_tokenizers

    if digits == 1:
        return pre_tokenizers.Sequence(
            [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
        )
    return pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(LLAMA3_PATTERN), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )


def _text_bytes(artifacts: Sequence[Artifact]) -> Iterator[int]:
    for artifact in artifacts:
        for table in artifact.tables(["text"]):
            yield pc.sum(pc.binary_length(table["text"])).as_py() or 0


def _sample(artifacts: Sequence[Artifact], share: float, seed: int) -> Iterator[str]:
    limit = int(min(1.0, share) * (2**64 - 1))
    for artifact in artifacts:
        for table in artifact.tables(["id", "text"]):
            for document_id, text in zip(table["id"].to_pylist(), table["text"].to_pylist(), strict=True):
                # Salted: the plain hash of the id chooses the held-out documents.
                if text and xxhash.xxh3_64_intdigest(f"tokenizer {document_id}", seed=seed) <= limit:
                    yield text


class GivenTokenizerConfig(StageConfig):
    """A tokenizer that there is already."""

    tokenizer: RecipePath
    """A tokenizer.json as the tokenizers library writes it."""
    end_of_document: str = Field(END_OF_DOCUMENT, min_length=1)
    """Token that is put behind each document, one of the tokenizer's own."""

    model_files: ClassVar[frozenset[str]] = frozenset({"tokenizer"})


class GivenTokenizer(Global[GivenTokenizerConfig]):
    """Take a tokenizer from a file."""

    name = "given_tokenizer"
    config_type = GivenTokenizerConfig
    produces: ClassVar[str] = "tokenizer"

    def run(self, inputs: Mapping[str, Sequence[Artifact]], out: Path, context: Context) -> Result:
        shutil.copyfile(self.config.tokenizer, out / TOKENIZER_FILE)
        return Result(_facts(out / TOKENIZER_FILE, self.config.end_of_document))

    def note(self) -> str | None:
        found = described(self.config.tokenizer)
        if not isinstance(found, Unsupported):
            return None
        return (
            "texts are encoded by the tokenizers library, about twenty times slower than by the encoder for byte-level "
            f"BPE, which does not do {self.config.tokenizer.name}: {found.reason}"
        )


def _facts(path: Path, end_of_document: str) -> dict[str, Any]:
    loaded = load_tokenizer(path, end_of_document)
    return {"vocabulary": loaded.vocabulary, "eod": loaded.end_of_document}


@dataclass(frozen=True)
class LoadedTokenizer:
    """A tokenizer and what shards are to know of it."""

    tokenizer: Tokenizer
    vocabulary: int  # one more than the highest id: ids may have holes
    end_of_document: int  # id of the token


def load_tokenizer(path: Path, end_of_document: str = END_OF_DOCUMENT) -> LoadedTokenizer:
    """A tokenizer file. Texts are encoded whole, whatever the file says of truncation and padding.

    Raises:
        StageError: it is absent or damaged, or has no such end-of-document token.
    """
    from tokenizers import Tokenizer

    try:
        tokenizer = Tokenizer.from_file(str(path))
    except Exception as error:  # the library raises bare Exception
        raise StageError(f"{path} cannot be read as a tokenizer: {error}") from error
    end = tokenizer.token_to_id(end_of_document)
    if end is None:
        special = sorted(token.content for token in tokenizer.get_added_tokens_decoder().values() if token.special)
        raise StageError(
            f"{path} has no token {end_of_document}: set end_of_document to one that it has. Its special tokens: "
            f"{', '.join(special[:20]) or 'none'}"
        )
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return LoadedTokenizer(tokenizer, max(tokenizer.get_vocab().values()) + 1, end)


def dtype_of(vocabulary: int) -> np.dtype[Any]:
    """Of token ids on disk, little-endian."""
    return np.dtype("<u2" if vocabulary <= 2**16 else "<u4")


def limit_threads(cpus: int) -> None:
    """Have the tokenizers library use so many threads."""
    os.environ["RAYON_NUM_THREADS"] = str(cpus)  # read by the library when its first pool starts
