"""What a fastText classifier sees of a document."""

from pathlib import Path

import fasttext
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from pipeline.errors import StageError
from stages.filters.quality.training import MODEL_FILE
from stages.filters.quality.words import CHARACTERS_A_WORD, WordsConfig


def seen(text: str | None, **options: object) -> str:
    return WordsConfig.model_validate(options).words_of(text)


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("whitespace", "don't stop, (at 3.5)"),
        ("cased", "Don't STOP, (at 3.5)"),
        ("punctuation", "don ' t stop , ( at 3 . 5 )"),
        ("en", "do n't stop , ( at 3.5 )"),
    ],
)
def test_a_document_becomes_words_as_the_option_says(words: str, expected: str) -> None:
    assert seen("Don't  STOP,\n\t(at 3.5) ", words=words) == expected


def test_a_language_without_a_splitter_is_refused_with_the_choices_named() -> None:
    with pytest.raises(StageError, match="'klingon' is none of whitespace, cased, punctuation, and as a language"):
        seen("text", words="klingon")


def test_a_recipe_with_such_a_language_is_refused_before_it_runs(tmp_path: Path) -> None:
    with pytest.raises(ValidationError, match="'klingon' is none of whitespace"):
        WordsConfig.model_validate({"words": "klingon"}, context={"base": tmp_path})


@pytest.mark.parametrize("words", ["whitespace", "cased", "punctuation", "en"])
def test_only_the_first_words_are_seen(words: str) -> None:
    assert seen("a b c " * 100, words=words, max_words=4) == "a b c a"


def test_no_limit_shows_all_words() -> None:
    assert seen("a " * 5000, max_words=None).count("a") == 5000


def test_ten_megabytes_in_one_line_are_cut() -> None:
    assert len(seen("x" * 10_000_000, max_words=10)) == 10 * CHARACTERS_A_WORD


@pytest.mark.parametrize("text", [None, "", " \n\t\u2028 "])
def test_a_document_without_words_is_empty(text: str | None) -> None:
    assert seen(text) == ""


@given(text=st.text(), words=st.sampled_from(["cased", "whitespace", "punctuation"]))
def test_fasttext_reads_a_line_to_its_end_and_finds_no_label_in_it(classifier: Path, text: str, words: str) -> None:
    line = seen(f"{text} __label__good </s> __LABEL__bad end", words=words)
    read, labels = fasttext.load_model(str(classifier / MODEL_FILE)).get_line(line)
    assert read[-2:] == ["end", "</s>"]
    assert labels == []
