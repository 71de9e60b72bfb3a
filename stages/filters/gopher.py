"""Gopher's quality rules."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import pyarrow as pa
from pydantic import Field

from pipeline.filter import Filter, Rule
from pipeline.stage import Context, StageConfig, documents, with_columns

STOP_WORDS = ("the", "be", "to", "of", "and", "that", "have", "with")


class GopherQualityConfig(StageConfig):
    """Thresholds of Rae et al. 2021 (arXiv:2112.11446, appendix A.1.1) as datatrove 0.10.1 sets them; null: no rule."""

    min_words: int | None = 50
    """Words that are not only punctuation, at least."""

    max_words: int | None = 100_000
    """Words that are not only punctuation, at most."""

    min_mean_word_length: float | None = 3
    """Characters per word that is not only punctuation, on average at least."""

    max_mean_word_length: float | None = 10
    """Characters per word that is not only punctuation, on average at most."""

    max_symbol_ratio: float | None = 0.1
    """Number signs per word, and ellipses per word, at most."""

    max_bullet_lines: float | None = 0.9
    """Share of lines that start with a bullet or hyphen, at most."""

    max_ellipsis_lines: float | None = 0.3
    """Share of lines that end with an ellipsis, at most."""

    min_alphabetic_words: float | None = 0.8
    """Share of words with a letter, at least."""

    min_stop_words: int | None = 2
    """Different ones of ``stop_words`` in the document, at least."""

    stop_words: tuple[str, ...] = STOP_WORDS
    """Words that running English text contains; compared as written."""

    language: str = Field("en", min_length=1)
    """Language by whose rules words are split, as datatrove names it."""


class GopherQuality(Filter[GopherQualityConfig]):
    """Drop documents that break Gopher's quality rules for English."""

    name = "gopher_quality"
    version = 2
    config_type = GopherQualityConfig
    measures: ClassVar[Mapping[str, pa.DataType]] = {
        "gopher_quality.words": pa.int32(),
        "gopher_quality.stop_words": pa.int32(),
        "gopher_quality.mean_word_length": pa.float64(),
        "gopher_quality.hash_ratio": pa.float64(),
        "gopher_quality.ellipsis_ratio": pa.float64(),
        "gopher_quality.bullet_lines": pa.float64(),
        "gopher_quality.ellipsis_lines": pa.float64(),
        "gopher_quality.alphabetic_words": pa.float64(),
    }
    rules: ClassVar[tuple[Rule, ...]] = (  # in datatrove's order
        Rule("too_few_words", "gopher_quality.words", "<", "min_words"),
        Rule("too_many_words", "gopher_quality.words", ">", "max_words"),
        Rule("words_too_short", "gopher_quality.mean_word_length", "<", "min_mean_word_length", "characters per word"),
        Rule("words_too_long", "gopher_quality.mean_word_length", ">", "max_mean_word_length", "characters per word"),
        Rule("too_many_hashes", "gopher_quality.hash_ratio", ">", "max_symbol_ratio", "number signs per word"),
        Rule("too_many_ellipses", "gopher_quality.ellipsis_ratio", ">", "max_symbol_ratio", "ellipses per word"),
        Rule(
            "too_many_bullets", "gopher_quality.bullet_lines", ">", "max_bullet_lines", "of lines start with a bullet"
        ),
        Rule(
            "too_many_line_ellipses",
            "gopher_quality.ellipsis_lines",
            ">",
            "max_ellipsis_lines",
            "of lines end with an ellipsis",
        ),
        Rule(
            "too_few_alphabetic_words",
            "gopher_quality.alphabetic_words",
            "<",
            "min_alphabetic_words",
            "of words have a letter",
        ),
        Rule("too_few_stop_words", "gopher_quality.stop_words", "<", "min_stop_words", "different stop words"),
    )

    def setup(self, context: Context) -> None:
        from stages.text.quality import stop_word_table

        self._stop_words = stop_word_table(self.config.stop_words)
        self.measure(documents([{"id": "", "source": "", "text": "compiles the kernels"}]))

    def measure(self, batch: pa.Table) -> pa.Table:
        from stages.text.quality import COUNTS, RATIOS, quality
        from stages.text.words import scanned

        batch, words = scanned(batch, self.config.language)
        counts, ratios = quality(
            words.data, words.offsets, words.lengths, words.hashes, words.flags, words.firsts, self._stop_words
        )
        columns = {f"gopher_quality.{name}": pa.array(counts[:, i]) for i, name in enumerate(COUNTS)}
        columns |= {f"gopher_quality.{name}": pa.array(ratios[:, i], from_pandas=True) for i, name in enumerate(RATIOS)}
        return with_columns(batch, columns)
