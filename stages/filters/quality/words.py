"""A document as a fastText classifier sees it: words on one line."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

from pydantic import Field, ValidationInfo, field_validator

from pipeline.errors import StageError
from pipeline.stage import StageConfig

CHARACTERS_A_WORD = 64  # a document is cut at so many times max_words before it is split: one line may have 10 MB
PUNCTUATION = ".!?,'/()"  # of fastText's supervised tutorial


class WordsConfig(StageConfig):
    """What a classifier sees of a document."""

    words: str = "punctuation"
    """How a document becomes words. ``punctuation``: lower case, and .!?,'/() are words of their own (fastText's
    tutorial; agrees best with human labels, see docs/decisions.md). ``whitespace``: lower case, split at white space.
    ``cased``: split at white space only (DCLM, arXiv:2406.11794). Or a language as datatrove names it, for example
    ``en``, ``deu`` or ``cmn``: lower case, split by its word splitter."""

    max_words: int | None = Field(2000, ge=1)
    """Words that the classifier sees, from the start of a document; null: all of them (DCLM)."""

    @field_validator("words")
    @classmethod
    def _can_be_split(cls, words: str, info: ValidationInfo) -> str:
        if info.context and words not in ("punctuation", "whitespace", "cased"):  # asked of a recipe only: it is slow
            try:
                word_splitter(words)
            except StageError as error:
                raise ValueError(str(error)) from error
        return words

    def words_of(self, text: str | None) -> str:
        """The words of a document with one space between them; empty if it has none.

        Raises:
            StageError: the language has no word splitter.
        """
        text = text or ""
        if self.max_words is not None:
            text = text[: self.max_words * CHARACTERS_A_WORD]
        found = self._split(text)
        if self.max_words is not None:
            found = found[: self.max_words]
        # fastText would take a label in the text for the answer, and a line for ended at its end-of-line word
        return " ".join(found).replace("__label__", "label").replace("</s>", "< /s>")

    def _split(self, text: str) -> list[str]:
        if self.words == "cased":
            return text.split()
        if self.words == "whitespace":
            return text.lower().split()
        if self.words == "punctuation":
            text = text.lower()
            for mark in PUNCTUATION:  # three times as fast as str.translate
                text = text.replace(mark, f" {mark} ")
            return text.split()
        return [part for word in word_splitter(self.words)(text) for part in word.lower().split()]


@cache
def word_splitter(language: str) -> Callable[[str], list[str]]:
    """The function that splits a text of a language into words.

    Raises:
        StageError: there is none, or a library that it needs is not installed.
    """
    from datatrove.utils.word_tokenizers import load_word_tokenizer

    try:
        splitter: Callable[[str], list[str]] = load_word_tokenizer(language).word_tokenize
        splitter("a b")  # loads what it needs
    except (ValueError, ImportError, LookupError) as error:
        raise StageError(
            f"{language!r} is none of whitespace, cased, punctuation, and as a language it has no word "
            f"splitter here: {error}"
        ) from error
    return splitter
