"""Gopher's rules against repetition."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import pyarrow as pa
from pydantic import Field

from pipeline.filter import Filter, Rule
from pipeline.stage import Context, StageConfig, documents, with_columns

_CHARACTERS = "of characters are in"


class GopherRepetitionConfig(StageConfig):
    """Thresholds of Rae et al. 2021 (arXiv:2112.11446, table A1) as datatrove 0.10.1 sets them; null: no rule."""

    min_characters: int | None = 1
    """Characters, at least (datatrove drops empty documents)."""

    max_dup_para_frac: float | None = 0.30
    """Share of paragraphs that occurred before, at most."""

    max_dup_para_char_frac: float | None = 0.20
    """Share of characters in paragraphs that occurred before, at most."""

    max_dup_line_frac: float | None = 0.30
    """Share of lines that occurred before, at most."""

    max_dup_line_char_frac: float | None = 0.20
    """Share of characters in lines that occurred before, at most."""

    max_top_2_gram: float | None = 0.20
    """Share of characters in the most frequent run of 2 words, at most."""

    max_top_3_gram: float | None = 0.18
    """Share of characters in the most frequent run of 3 words, at most."""

    max_top_4_gram: float | None = 0.16
    """Share of characters in the most frequent run of 4 words, at most."""

    max_dup_5_gram: float | None = 0.15
    """Share of characters in runs of 5 words that occurred before, at most."""

    max_dup_6_gram: float | None = 0.14
    """Share of characters in runs of 6 words that occurred before, at most."""

    max_dup_7_gram: float | None = 0.13
    """Share of characters in runs of 7 words that occurred before, at most."""

    max_dup_8_gram: float | None = 0.12
    """Share of characters in runs of 8 words that occurred before, at most."""

    max_dup_9_gram: float | None = 0.11
    """Share of characters in runs of 9 words that occurred before, at most."""

    max_dup_10_gram: float | None = 0.10
    """Share of characters in runs of 10 words that occurred before, at most."""

    language: str = Field("en", min_length=1)
    """Language by whose rules words are split, as datatrove names it."""


def _rule(measure: str, unit: str) -> Rule:
    return Rule(measure, f"gopher_repetition.{measure}", ">", f"max_{measure}", unit)


class GopherRepetition(Filter[GopherRepetitionConfig]):
    """Drop documents that repeat lines, paragraphs or runs of words (Gopher's rules)."""

    name = "gopher_repetition"
    config_type = GopherRepetitionConfig
    rules: ClassVar[tuple[Rule, ...]] = (  # in datatrove's order
        Rule("empty", "gopher_repetition.characters", "<", "min_characters"),
        _rule("dup_para_frac", "of paragraphs are repeated"),
        _rule("dup_para_char_frac", f"{_CHARACTERS} repeated paragraphs"),
        _rule("dup_line_frac", "of lines are repeated"),
        _rule("dup_line_char_frac", f"{_CHARACTERS} repeated lines"),
        *(_rule(f"top_{n}_gram", f"{_CHARACTERS} one run of {n} words") for n in (2, 3, 4)),
        *(_rule(f"dup_{n}_gram", f"{_CHARACTERS} repeated runs of {n} words") for n in range(5, 11)),
    )
    measures: ClassVar[Mapping[str, pa.DataType]] = {"gopher_repetition.characters": pa.int64()} | {
        rule.measure: pa.float64() for rule in rules[1:]
    }

    def setup(self, context: Context) -> None:
        self.measure(documents([{"id": "", "source": "", "text": "compiles the kernels"}]))

    def measure(self, batch: pa.Table) -> pa.Table:
        from stages.text.repetition import MEASURES, repetition
        from stages.text.words import scanned

        batch, words = scanned(batch, self.config.language)
        characters, fractions = repetition(
            words.data, words.offsets, words.starts, words.ends, words.lengths, words.hashes, words.firsts
        )
        columns = {
            f"gopher_repetition.{name}": pa.array(fractions[:, i], from_pandas=True) for i, name in enumerate(MEASURES)
        }
        return with_columns(batch, {"gopher_repetition.characters": pa.array(characters)} | columns)
