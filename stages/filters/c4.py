"""C4's rules: lines that are no sentences are taken out of a document, and some documents are dropped."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from pydantic import Field

from pipeline.filter import Filter, Rule
from pipeline.stage import Context, StageConfig, documents, with_columns

if TYPE_CHECKING:
    from stages.text.words import Words

WORD_COUNTS = "_word_counts"
"""English words of each text as C4 has left it, for the filters after it: text is not split anew to count words."""

_UNLIMITED = 2**62


class C4Config(StageConfig):
    """Rules of Raffel et al. 2020 (arXiv:1910.10683, section 2.2) as datatrove 0.10.1 sets them; null: no rule."""

    split_by: Literal["lines", "sentences"] = "lines"
    """What the rules for lines look at. Sentences are joined by blanks, lines by newlines."""

    max_word_length: int | None = Field(1000, ge=0)
    """Characters; lines with a longer word are removed (not in the paper, but in its code)."""

    remove_citations: bool = True
    """Remove Wikipedia's ``[12]``, ``[]``, ``[edit]`` and ``[citation needed]`` from lines."""

    strip_after_citations: bool = False
    """Also remove white space that a removed citation leaves at the end of a line. datatrove does not, and then removes
    the line "It is known. [1]", because it seems to end with no punctuation."""

    remove_unpunctuated_lines: bool = True
    """Remove lines that do not end with ``.``, ``?``, ``!`` or a quotation mark, or end with ``...``."""

    min_words_per_line: int | None = Field(3, ge=0)
    """Lines with fewer words (by white space) are removed."""

    remove_javascript_lines: bool = True
    """Remove lines with "javascript", in any case."""

    remove_policy_lines: bool = True
    """Remove lines with "terms of use", "privacy policy", "cookie policy", "uses cookies", "use of cookies" or "use
    cookies", in any case (not in the paper, but in its code)."""

    max_lorem_ipsum_lines: int | None = Field(0, ge=0)
    """Lines with "lorem ipsum", in any case, that no rule above removes, at most."""

    max_curly_bracket_lines: int | None = Field(0, ge=0)
    """Lines with ``{`` that no rule for lines removes (that on policies apart), at most."""

    min_sentences: int | None = 5
    """Sentences left in the document, at least."""

    language: str = Field("en", min_length=1)
    """Language by whose rules sentences are split, as datatrove names it."""


class C4(Filter[C4Config]):
    """Remove lines that are not running text; drop placeholders, code and documents with few sentences (C4's rules).

    Documents that are dropped are edited like the others, so that the filters after this one measure what they would
    measure under other limits.
    """

    name = "c4"
    config_type = C4Config
    measures: ClassVar[Mapping[str, pa.DataType]] = {
        "c4.lines": pa.int32(),
        "c4.kept_lines": pa.int32(),
        "c4.long_word_lines": pa.int32(),
        "c4.unpunctuated_lines": pa.int32(),
        "c4.short_lines": pa.int32(),
        "c4.javascript_lines": pa.int32(),
        "c4.policy_lines": pa.int32(),
        "c4.sentences": pa.int32(),
        "c4.lorem_ipsum_lines": pa.int32(),
        "c4.curly_bracket_lines": pa.int32(),
        "c4.curly_bracket_first": pa.bool_(),  # a line with { is above the first with lorem ipsum
    }
    rules: ClassVar[tuple[Rule, ...]] = (
        Rule("lorem_ipsum", "c4.lorem_ipsum_lines", ">", "max_lorem_ipsum_lines", "lines with lorem ipsum"),
        Rule("curly_bracket", "c4.curly_bracket_lines", ">", "max_curly_bracket_lines", "lines with {"),
        Rule("too_few_sentences", "c4.sentences", "<", "min_sentences"),
    )

    def setup(self, context: Context) -> None:
        from stages.text.unicode_tables import character_table

        self._table = character_table()
        self.measure(documents([{"id": "", "source": "", "text": "Compiles the kernels [1]."}]))

    def measure(self, batch: pa.Table) -> pa.Table:
        from stages.text.c4_lines import COUNTS, SENTENCES, edit_lines
        from stages.text.words import scanned

        options = self.config
        batch, words = scanned(batch, options.language)
        is_english = options.language == "en"
        counts, kept_words, edited, starts, ends, rows, line_starts, line_ends = edit_lines(
            words.data,
            words.offsets,
            *self._lines(batch, words),
            words.starts,
            words.ends,
            words.firsts,
            self._table,
            _UNLIMITED if options.max_word_length is None else options.max_word_length,
            -1 if options.min_words_per_line is None else options.min_words_per_line,
            options.remove_unpunctuated_lines,
            options.remove_citations,
            options.strip_after_citations,
            options.remove_javascript_lines,
            options.remove_policy_lines,
            ord("\n" if options.split_by == "lines" else " "),
            options.split_by == "sentences",
            is_english,
        )
        if len(rows):
            sentences, words_in_lines = self._sentences(_texts(edited, line_starts, line_ends))
            np.add.at(counts[:, SENTENCES], rows, sentences)
            np.add.at(kept_words, rows, words_in_lines)
        columns = {
            f"c4.{name}": pa.array(counts[:, i]).cast(self.measures[f"c4.{name}"]) for i, name in enumerate(COUNTS)
        }
        texts = _texts(edited, starts, ends)
        if batch["text"].null_count:
            texts = pc.if_else(pc.is_null(batch["text"]), pa.scalar(None, pa.large_string()), texts)
        measured = with_columns(batch, {**columns, "text": texts})
        if is_english and options.split_by == "lines":
            measured = with_columns(measured, {WORD_COUNTS: pa.array(kept_words)})
        return measured

    def _lines(self, batch: pa.Table, words: Words) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
        """First byte and end of each line (or sentence) of the batch, and each text's first line."""
        from stages.text.c4_lines import split_lines
        from stages.text.sentences import split_sentences
        from stages.text.splitters import splitter

        if self.config.split_by == "lines":
            return split_lines(words.data, words.offsets)
        if self.config.language == "en":
            return split_sentences(words.data, words.offsets, words.starts, words.ends, words.firsts, self._table)
        split = splitter(self.config.language).sentences
        starts, ends, firsts = [], [], [0]
        for at, text in zip(words.offsets.tolist(), batch["text"].to_pylist(), strict=False):
            for sentence in split(text or ""):
                starts.append(at)
                at += len(sentence.encode())
                ends.append(at)
            firsts.append(len(starts))
        return np.array(starts, np.int64), np.array(ends, np.int64), np.array(firsts, np.int64)

    def _sentences(self, lines: pa.Array) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Number of sentences of each line, and of its words if they are English."""
        from stages.text.c4_lines import count_sentences_of_texts
        from stages.text.splitters import splitter
        from stages.text.words import words_of

        if self.config.language != "en":
            split = splitter(self.config.language).sentences
            return np.array([len(split(line)) for line in lines.to_pylist()], np.int64), np.zeros(len(lines), np.int64)
        words = words_of(lines)
        arrays = (words.data, words.offsets, words.starts, words.ends, words.firsts)
        return count_sentences_of_texts(*arrays, self._table), np.diff(words.firsts)

    def limit(self, rule: Rule, measured: pa.Table) -> Any:
        """The option; but where a line with a curly bracket drops the document first, lorem ipsum is not the reason."""
        limit, max_brackets = super().limit(rule, measured), self.config.max_curly_bracket_lines
        if rule.reason != "lorem_ipsum" or limit is None or max_brackets is None:
            return limit
        is_second = pc.and_(
            measured["c4.curly_bracket_first"], pc.greater(measured["c4.curly_bracket_lines"], max_brackets)
        )
        return pc.if_else(is_second, pa.scalar(None, pa.int32()), pa.scalar(limit, pa.int32()))


def _texts(edited: NDArray[np.uint8], starts: NDArray[np.int64], ends: NDArray[np.int64]) -> pa.Array:
    """The texts that lie in ``edited``."""
    from stages.text.c4_lines import cut_out

    data, offsets = cut_out(edited, starts, ends)
    return pa.LargeStringArray.from_buffers(len(offsets) - 1, pa.py_buffer(offsets), pa.py_buffer(data))
