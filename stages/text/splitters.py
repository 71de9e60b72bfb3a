"""Word and sentence splitting by language."""

from __future__ import annotations

import importlib
from functools import cache
from typing import Protocol, cast

import pyarrow as pa

from pipeline.errors import InputError


class Splitter(Protocol):
    """What a language needs to be filtered by words and sentences."""

    def words(self, text: str) -> list[str]:
        """Words in order, punctuation among them, none empty or with whitespace at its ends."""
        ...

    def sentences(self, text: str) -> list[str]:
        """Sentences in order with the whitespace around them; joined, they are the text."""
        ...


@cache
def splitter(language: str) -> Splitter:
    """The splitter of a language: "en" by the kernels, others by the library that datatrove chooses for them.

    Args:
        language: code as datatrove knows it ("de", "deu_Latn"), or "module:name" of a class or function that returns a
            Splitter when called without arguments.

    Raises:
        InputError: nothing splits this language, or a package for it is not installed; the message names both.
    """
    if ":" in language:
        return _custom(language)
    return English() if language == "en" else Other(language)


class English:
    """Words of spaCy's blank English tokenizer, sentences of its sentencizer."""

    def words(self, text: str) -> list[str]:
        from stages.text.words import words_of

        return words_of(pa.array([text], pa.large_string())).of(0)

    def sentences(self, text: str) -> list[str]:
        from datatrove.utils.text import split_into_sentences

        return cast(list[str], split_into_sentences(text, "en"))


class Other:
    """Any language that datatrove has a tokenizer for."""

    def __init__(self, language: str) -> None:
        from datatrove.utils.word_tokenizers import load_word_tokenizer

        self._language = language
        try:
            load_word_tokenizer(language).word_tokenize("")
        except ImportError as error:
            raise InputError(f"words of language {language!r} cannot be split here: {error}") from error
        except ValueError as error:
            raise InputError(
                f"no word splitter for language {language!r}: use a code such as 'de' or 'deu_Latn', or name your own "
                "as 'module:name'"
            ) from error

    def words(self, text: str) -> list[str]:
        from datatrove.utils.text import split_into_words

        return cast(list[str], split_into_words(text, self._language))

    def sentences(self, text: str) -> list[str]:
        from datatrove.utils.text import split_into_sentences

        return cast(list[str], split_into_sentences(text, self._language))


def _custom(name: str) -> Splitter:
    module, _, attribute = name.partition(":")
    try:
        made = getattr(importlib.import_module(module), attribute)()
    except (ImportError, AttributeError) as error:
        raise InputError(f"word splitter {name!r} cannot be loaded: {error}") from error
    for method in ("words", "sentences"):
        if not callable(getattr(made, method, None)):
            raise InputError(f"word splitter {name!r} has no method {method}(text)")
    return cast(Splitter, made)
