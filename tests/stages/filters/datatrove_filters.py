"""datatrove's heuristic filters with the settings of ours, and what their reasons are called here."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from datatrove.data import Document
from datatrove.pipeline.filters import (
    C4QualityFilter,
    FineWebQualityFilter,
    GopherQualityFilter,
    GopherRepetitionFilter,
)

from pipeline.filter import Filter
from pipeline.stage import Context, documents
from stages.filters.c4 import C4, C4Config
from stages.filters.fineweb import FineWeb, FineWebConfig
from stages.filters.gopher import GopherQuality, GopherQualityConfig
from stages.filters.gopher_repetition import GopherRepetition, GopherRepetitionConfig

FILTERS: tuple[type[Filter[Any]], ...] = (GopherRepetition, GopherQuality, C4, FineWeb)  # in FineWeb's order

REASONS = {
    "gopher_short_doc": "too_few_words",
    "gopher_long_doc": "too_many_words",
    "gopher_below_avg_threshold": "words_too_short",
    "gopher_above_avg_threshold": "words_too_long",
    "gopher_too_many_hashes": "too_many_hashes",
    "gopher_too_many_ellipsis": "too_many_ellipses",
    "gopher_too_many_bullets": "too_many_bullets",
    "gopher_too_many_end_ellipsis": "too_many_line_ellipses",
    "gopher_below_alpha_threshold": "too_few_alphabetic_words",
    "gopher_enough_stop_words": "too_few_stop_words",
    **{f"duplicated_{n}_n_grams": f"dup_{n}_gram" for n in range(5, 11)},
}
"""Ours by datatrove's; reasons that are not here have the same name."""

CRASHED = "datatrove crashed"


def ours(stage: type[Filter[Any]], options: dict[str, Any], texts: list[str]) -> list[tuple[str | None, str]]:
    """Reason and no text for each text that is dropped, None and the text after the filter for others."""
    made = stage(stage.config_type.model_validate(options))
    made.setup(Context(seed=1))
    measured = made.measure(documents({"id": str(i), "source": "s", "text": text} for i, text in enumerate(texts)))
    verdicts = made.verdicts(measured)
    return [(v[1], "") if v else (None, text) for v, text in zip(verdicts, measured["text"].to_pylist(), strict=True)]


def theirs(stage: type[Filter[Any]], options: dict[str, Any], texts: list[str]) -> list[tuple[str | None, str]]:
    """The same by datatrove. ``CRASHED`` where it divides by zero."""
    filter_ = datatrove_filter(stage, options)
    found = []
    for text in texts:
        document = Document(text=text, id="0")
        try:
            verdict = filter_.filter(document)
            reason = None if verdict is True else REASONS.get(verdict[1], verdict[1])
        except ZeroDivisionError:
            reason = CRASHED
        found.append((reason, "" if reason else document.text))
    return found


def datatrove_filter(stage: type[Filter[Any]], options: dict[str, Any]) -> Any:
    return _MADE_BY[stage](stage.config_type.model_validate(options))


def _quality(c: GopherQualityConfig) -> Any:
    return GopherQualityFilter(
        min_doc_words=c.min_words,
        max_doc_words=c.max_words,
        min_avg_word_length=c.min_mean_word_length,
        max_avg_word_length=c.max_mean_word_length,
        max_symbol_word_ratio=c.max_symbol_ratio,
        max_bullet_lines_ratio=c.max_bullet_lines,
        max_ellipsis_lines_ratio=c.max_ellipsis_lines,
        max_non_alpha_words_ratio=c.min_alphabetic_words,
        min_stop_words=c.min_stop_words,
        stop_words=list(c.stop_words),
        language=c.language,
    )


def _repetition(c: GopherRepetitionConfig) -> Any:
    top = {n: getattr(c, f"max_top_{n}_gram") for n in (2, 3, 4)}
    duplicate = {n: getattr(c, f"max_dup_{n}_gram") for n in range(5, 11)}
    return GopherRepetitionFilter(
        dup_line_frac=c.max_dup_line_frac,
        dup_para_frac=c.max_dup_para_frac,
        dup_line_char_frac=c.max_dup_line_char_frac,
        dup_para_char_frac=c.max_dup_para_char_frac,
        top_n_grams=tuple((n, limit) for n, limit in top.items() if limit is not None),
        dup_n_grams=tuple((n, limit) for n, limit in duplicate.items() if limit is not None),
        language=c.language,
    )


def _c4(c: C4Config) -> Any:
    return C4QualityFilter(
        split_paragraph=c.split_by == "lines",
        remove_citations=c.remove_citations,
        filter_no_terminal_punct=c.remove_unpunctuated_lines,
        min_num_sentences=-1 if c.min_sentences is None else c.min_sentences,
        min_words_per_line=-1 if c.min_words_per_line is None else c.min_words_per_line,
        max_word_length=-1 if c.max_word_length is None else c.max_word_length,
        filter_lorem_ipsum=c.max_lorem_ipsum_lines is not None,
        filter_javascript=c.remove_javascript_lines,
        filter_curly_bracket=c.max_curly_bracket_lines is not None,
        filter_policy=c.remove_policy_lines,
        language=c.language,
    )


def _fineweb(c: FineWebConfig) -> Any:
    return FineWebQualityFilter(
        line_punct_thr=-1 if c.min_line_punct_ratio is None else c.min_line_punct_ratio,
        line_punct_exclude_zero=c.line_punct_exclude_zero,
        stop_chars=c.stop_chars,
        short_line_thr=2 if c.max_short_line_ratio is None else c.max_short_line_ratio,
        short_line_length=c.short_line_length,
        char_duplicates_ratio=2 if c.max_char_dup_ratio is None else c.max_char_dup_ratio,
        new_line_ratio=float("inf") if c.max_list_ratio is None else c.max_list_ratio,
        language=c.language,
    )


_MADE_BY: dict[Any, Callable[[Any], Any]] = {
    GopherQuality: _quality,
    GopherRepetition: _repetition,
    C4: _c4,
    FineWeb: _fineweb,
}
