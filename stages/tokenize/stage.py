"""Tokenizing as a recipe names it: train the tokenizer, encode, write shards."""

from __future__ import annotations

from pydantic import Field

from pipeline.stage import Composite, Expansion
from stages.tokenize.shards import TokenShardsConfig
from stages.tokenize.tokenizer import TrainTokenizerConfig


class TokenizeConfig(TokenShardsConfig, TrainTokenizerConfig):
    """Options of the tokenizer and of the shards."""

    vocabulary: int = Field(32768, gt=256)
    """Entries, the 256 bytes and the end-of-document token included."""


class Tokenize(Composite[TokenizeConfig]):
    """Train a tokenizer on the documents and write them as token shards."""

    name = "tokenize"
    config_type = TokenizeConfig

    def expand(self, inputs: tuple[str, ...]) -> list[Expansion]:
        c = self.config
        training = {"vocabulary": c.vocabulary, "sample_bytes": c.sample_bytes}
        shards = {"shard_tokens": c.shard_tokens, "held_out": c.held_out}
        return [
            Expansion(".tokenizer", "train_tokenizer", training, inputs),
            Expansion(".encoded", "encode", {}, inputs, side={"tokenizer": ".tokenizer"}),
            Expansion("", "token_shards", shards, (".encoded", ".tokenizer")),
        ]
