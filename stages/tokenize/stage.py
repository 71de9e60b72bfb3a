"""Tokenizing as a recipe names it: take or train the tokenizer, encode, write shards."""

from __future__ import annotations

from pydantic import Field, model_validator

from pipeline.stage import Composite, Expansion, RecipePath
from stages.tokenize.shards import TokenShardsConfig
from stages.tokenize.tokenizer import END_OF_DOCUMENT, TrainTokenizerConfig, load_tokenizer


class TokenizeConfig(TokenShardsConfig, TrainTokenizerConfig):
    """Options of the tokenizer and of the shards."""

    tokenizer: RecipePath | None = None
    """A tokenizer.json to use; one is trained on the documents if absent."""
    end_of_document: str = Field(END_OF_DOCUMENT, min_length=1)
    """Token that is put behind each document; with a tokenizer of your own, one that it has."""

    @model_validator(mode="after")
    def _trains_or_takes(self) -> TokenizeConfig:
        training = sorted(self.model_fields_set & TrainTokenizerConfig.model_fields.keys())
        if self.tokenizer and training:
            raise ValueError(f"{', '.join(training)}: for a tokenizer that is trained, not for one from a file")
        if not self.tokenizer and self.end_of_document != END_OF_DOCUMENT:
            raise ValueError(f"end_of_document: a tokenizer that is trained here has {END_OF_DOCUMENT}")
        if self.tokenizer and not self.tokenizer.is_file():
            raise ValueError(f"tokenizer: no such file: {self.tokenizer}")
        return self


class Tokenize(Composite[TokenizeConfig]):
    """Write the documents as token shards, by a tokenizer that is trained on them or taken from a file."""

    name = "tokenize"
    config_type = TokenizeConfig

    def expand(self, inputs: tuple[str, ...]) -> list[Expansion]:
        c = self.config
        end = {"end_of_document": c.end_of_document}
        if c.tokenizer:
            load_tokenizer(c.tokenizer, c.end_of_document)  # refused before anything runs
            tokenizer = Expansion(".tokenizer", "given_tokenizer", {"tokenizer": c.tokenizer, **end}, inputs)
        else:
            training = {name: getattr(c, name) for name in TrainTokenizerConfig.model_fields}
            tokenizer = Expansion(".tokenizer", "train_tokenizer", training, inputs)
        shards = {name: getattr(c, name) for name in TokenShardsConfig.model_fields}
        return [
            tokenizer,
            Expansion(".encoded", "encode", end, inputs, side={"tokenizer": ".tokenizer"}),
            Expansion("", "token_shards", shards, (".encoded", ".tokenizer")),
        ]
