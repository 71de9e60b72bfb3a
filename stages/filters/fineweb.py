"""FineWeb's own quality rules."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import Field

from pipeline.filter import Filter, Rule
from pipeline.stage import Context, StageConfig, documents, with_columns
from stages.filters.c4 import WORD_COUNTS


class FineWebConfig(StageConfig):
    """Thresholds of Penedo et al. 2024 (arXiv:2406.17557, section 3.6) as datatrove 0.10.1 sets them; null: no rule."""

    min_lines: int | None = 1
    """Lines that are not blank, at least (datatrove drops documents without any)."""

    min_line_punct_ratio: float | None = 0.12
    """Share of lines that end with one of ``stop_chars``, at least."""

    line_punct_exclude_zero: bool = False
    """Keep documents in which no line does so: poems, code, languages with other punctuation."""

    stop_chars: tuple[Annotated[str, Field(min_length=1)], ...] | None = None
    """What a line may end with; null: datatrove's list of what ends a sentence in all scripts."""

    max_short_line_ratio: float | None = 0.67
    """Share of lines of at most ``short_line_length`` characters, at most."""

    short_line_length: int = Field(30, ge=0)
    """Characters of the longest line that is short."""

    max_char_dup_ratio: float | None = 0.01
    """Share of characters (newlines aside) in lines that occurred before, at most."""

    max_list_ratio: float | None = 0.3
    """Newlines per word, at most."""

    language: str = Field("en", min_length=1)
    """Language by whose rules words are split, as datatrove names it."""


class FineWeb(Filter[FineWebConfig]):
    """Drop documents that look like lists, menus or repeated boilerplate (FineWeb's rules)."""

    name = "fineweb"
    config_type = FineWebConfig
    measures: ClassVar[Mapping[str, pa.DataType]] = {
        "fineweb.lines": pa.int32(),
        "fineweb.line_punct_ratio": pa.float64(),
        "fineweb.short_line_ratio": pa.float64(),
        "fineweb.char_dup_ratio": pa.float64(),
        "fineweb.list_ratio": pa.float64(),
    }
    rules: ClassVar[tuple[Rule, ...]] = (  # in datatrove's order
        Rule("empty", "fineweb.lines", "<", "min_lines", "lines with text"),
        Rule("line_punct_ratio", "fineweb.line_punct_ratio", "<", "min_line_punct_ratio", "of lines end a sentence"),
        Rule("short_line_ratio", "fineweb.short_line_ratio", ">", "max_short_line_ratio", "of lines are short"),
        Rule("char_dup_ratio", "fineweb.char_dup_ratio", ">", "max_char_dup_ratio", "of characters in repeated lines"),
        Rule("list_ratio", "fineweb.list_ratio", ">", "max_list_ratio", "newlines per word"),
    )

    def setup(self, context: Context) -> None:
        from datatrove.utils.text import TERMINAL_PUNCTUATION

        from stages.text.web_lines import endings

        stop_chars = self.config.stop_chars
        self._endings = endings(TERMINAL_PUNCTUATION if stop_chars is None else stop_chars)
        self.measure(documents([{"id": "", "source": "", "text": "compiles the kernels"}]))

    def measure(self, batch: pa.Table) -> pa.Table:
        from stages.text.utf8 import bytes_and_offsets
        from stages.text.web_lines import RATIOS, web_lines
        from stages.text.words import scanned

        if WORD_COUNTS in batch.column_names and self.config.language == "en":
            data, offsets = bytes_and_offsets(batch["text"])
            word_counts = batch[WORD_COUNTS].to_numpy().copy()  # writable, as the other: kernels are compiled by kind
        else:
            batch, words = scanned(batch, self.config.language)
            data, offsets, word_counts = words.data, words.offsets, np.diff(words.firsts)
        ends = self._endings
        lines, ratios = web_lines(
            data,
            offsets,
            word_counts,
            ends.suffixes,
            ends.bounds,
            ends.by_last_byte,
            self.config.short_line_length,
        )
        columns = {f"fineweb.{name}": pa.array(ratios[:, i], from_pandas=True) for i, name in enumerate(RATIOS)}
        return with_columns(batch, {"fineweb.lines": pa.array(lines)} | columns)

    def limit(self, rule: Rule, measured: pa.Table) -> Any:
        """The option; none for the rows that ``line_punct_exclude_zero`` spares."""
        limit = super().limit(rule, measured)
        if rule.reason != "line_punct_ratio" or limit is None or not self.config.line_punct_exclude_zero:
            return limit
        return pc.if_else(pc.equal(measured[rule.measure], 0), pa.scalar(None, pa.float64()), float(limit))
