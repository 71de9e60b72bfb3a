"""Gopher's quality rules, in plain Python.

This is the reference for what the rules mean: it counts words with datatrove's own tokenizer and decides as
datatrove 0.10.1 does. A faster kernel is held against it, document by document; it stays when such a kernel exists.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import pyarrow as pa

from pipeline.stage import Context, Map, Outcome, StageConfig, Verdict, decide, with_columns

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


class Measures(NamedTuple):
    """What the rules look at. Ratios are null where there is nothing to divide by."""

    words: int
    mean_word_length: float | None
    hash_ratio: float | None
    ellipsis_ratio: float | None
    bullet_lines: float | None
    ellipsis_lines: float | None
    alphabetic_words: float | None
    stop_words: int


MEASURE_TYPES = {name: pa.int32() if name in ("words", "stop_words") else pa.float64() for name in Measures._fields}


def measured(text: str, words: list[str], stop_words: frozenset[str], punctuation: frozenset[str]) -> Measures:
    """The measures of a text that was split into ``words``."""
    lengths = [len(word) for word in words if not punctuation.issuperset(word)]
    lines = text.splitlines()

    def ratio(count: float, of: int) -> float | None:
        return count / of if of else None

    return Measures(
        words=len(lengths),
        mean_word_length=ratio(sum(lengths), len(lengths)),
        hash_ratio=ratio(text.count("#"), len(words)),
        ellipsis_ratio=ratio(text.count("...") + text.count("…"), len(words)),
        bullet_lines=ratio(sum(line.lstrip().startswith(("•", "-")) for line in lines), len(lines)),
        ellipsis_lines=ratio(sum(line.rstrip().endswith(("...", "…")) for line in lines), len(lines)),
        alphabetic_words=ratio(sum(any(map(str.isalpha, word)) for word in words), len(words)),
        stop_words=len(stop_words.intersection(words)),
    )


class GopherQuality(Map[GopherQualityConfig]):
    """Drop documents that break Gopher's quality rules for English."""

    name = "gopher_quality"
    config_type = GopherQualityConfig
    provides = tuple(f"gopher_quality.{name}" for name in Measures._fields)

    def setup(self, context: Context) -> None:
        from datatrove.utils.text import PUNCTUATION_SET, split_into_words

        self._split: Callable[[str], list[str]] = split_into_words  # spaCy's blank English tokenizer
        self._punctuation = frozenset(PUNCTUATION_SET)
        self._stop_words = frozenset(self.config.stop_words)

    def process(self, batch: pa.Table) -> Outcome:
        rows = [
            measured(text, self._split(text), self._stop_words, self._punctuation)
            for text in (text or "" for text in batch["text"].to_pylist())
        ]
        columns = {
            f"gopher_quality.{name}": pa.array([getattr(row, name) for row in rows], type_)
            for name, type_ in MEASURE_TYPES.items()
        }
        return decide(with_columns(batch, columns), [self.verdict(row) for row in rows])

    def verdict(self, m: Measures) -> tuple[Verdict, str, str] | None:
        """The first rule that is broken, in datatrove's order."""
        c = self.config
        rules: tuple[tuple[float | None, str, float | None, str, str], ...] = (
            (m.words, "<", c.min_words, "too_few_words", "words"),
            (m.words, ">", c.max_words, "too_many_words", "words"),
            (m.mean_word_length, "<", c.min_mean_word_length, "words_too_short", "characters per word"),
            (m.mean_word_length, ">", c.max_mean_word_length, "words_too_long", "characters per word"),
            (m.hash_ratio, ">", c.max_symbol_ratio, "too_many_hashes", "number signs per word"),
            (m.ellipsis_ratio, ">", c.max_symbol_ratio, "too_many_ellipses", "ellipses per word"),
            (m.bullet_lines, ">", c.max_bullet_lines, "too_many_bullets", "of lines start with a bullet"),
            (m.ellipsis_lines, ">", c.max_ellipsis_lines, "too_many_line_ellipses", "of lines end with an ellipsis"),
            (m.alphabetic_words, "<", c.min_alphabetic_words, "too_few_alphabetic_words", "of words have a letter"),
            (m.stop_words, "<", c.min_stop_words, "too_few_stop_words", "different stop words"),
        )
        for value, sign, threshold, reason, unit in rules:
            if value is None or threshold is None:
                continue
            if value < threshold if sign == "<" else value > threshold:
                shown = str(value) if isinstance(value, int) else f"{value:.4g}"
                return "dropped", reason, f"{shown} {unit} {sign} {threshold:g}"
        return None
