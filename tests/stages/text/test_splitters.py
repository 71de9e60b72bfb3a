"""Each language is split by the splitter that it is given."""

import pyarrow as pa
import pytest
from datatrove.utils.text import split_into_sentences, split_into_words

from pipeline.errors import InputError
from stages.text.splitters import splitter
from stages.text.words import words_of
from stages.text.words_hash import hash_of

GERMAN = "Das ist z.B. ein Satz. Und „noch einer“, u.a. mit 3,5 kg!"


def test_english_words_come_from_the_kernels_and_are_those_of_datatrove() -> None:
    text = "They're here. (Don't wait...)"
    assert splitter("en").words(text) == split_into_words(text, "en")


@pytest.mark.parametrize("language", ["en", "de"])
def test_sentences_are_those_of_datatrove_and_joined_they_are_the_text(language: str) -> None:
    sentences = splitter(language).sentences(GERMAN)
    assert sentences == split_into_sentences(GERMAN, language)
    assert "".join(sentences) == GERMAN


def test_other_languages_are_split_by_the_library_that_datatrove_chooses() -> None:
    words = words_of(pa.array(["ein Wort", GERMAN, None], pa.large_string()), "de")
    assert words.of(1) == split_into_words(GERMAN, "de") == splitter("de").words(GERMAN)
    assert words.firsts.tolist()[-2:] == [len(words.starts)] * 2
    assert all(length == len(word) for length, word in zip(words.lengths[2:], words.of(1), strict=True))


class Shouting:
    """A splitter of one's own: words are not in the text as they are."""

    def words(self, text: str) -> list[str]:
        return [word.upper() for word in text.split()]

    def sentences(self, text: str) -> list[str]:
        return [text]


def test_a_splitter_of_ones_own_may_alter_words() -> None:
    words = words_of(pa.array(["ein É Wort", "A"], pa.large_string()), f"{__name__}:Shouting")
    assert [words.of(0), words.of(1)] == [["EIN", "É", "WORT"], ["A"]]
    assert words.hashes.tolist() == [
        hash_of(words.data, *place) for place in zip(words.starts, words.ends, strict=True)
    ]


@pytest.mark.parametrize(
    ("language", "message"),
    [
        ("no-such", "no word splitter for language 'no-such'.*'module:name'"),
        ("no_such_module:Splitter", "'no_such_module:Splitter' cannot be loaded"),
        (f"{__name__}:Missing", "Missing"),
        ("collections:OrderedDict", r"has no method words\(text\)"),
    ],
)
def test_an_unknown_splitter_is_named(language: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        splitter(language)


@pytest.mark.parametrize(("language", "package"), [("bo", "botok"), ("my", "pyidaungsu"), ("km", "khmer")])
def test_a_missing_package_is_named_with_its_language(language: str, package: str) -> None:
    with pytest.raises(InputError, match=f"'{language}'(.|\n)*{package}"):
        splitter(language)
