"""Kernels that measure repetition, against plain Python."""

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stages.text import reference
from stages.text.repetition import MEASURES, repetition
from stages.text.words import words_of
from tests.stages.text.nasty import texts


def measured(batch):
    """Measures by name, and the words, of each text."""
    words = words_of(pa.array(batch, pa.large_string()))
    characters, fractions = repetition(
        words.data, words.offsets, words.starts, words.ends, words.lengths, words.hashes, words.firsts
    )
    rows = [dict(zip(MEASURES, row, strict=True)) for row in fractions.tolist()]
    for row, count in zip(rows, characters.tolist(), strict=True):
        row["characters"] = count
    return rows, [words.of(i) for i in range(len(batch))]


def assert_as_reference(batch):
    rows, words = measured(batch)
    for text, row, own in zip(batch, rows, words, strict=True):
        found = {name: None if value != value else value for name, value in row.items()}  # NaN: not measured
        assert found == reference.repetition(text, own)


@given(st.lists(texts(), min_size=1, max_size=4))
def test_measures_are_those_of_the_reference(batch):
    assert_as_reference(batch)


@given(st.lists(st.lists(st.sampled_from("ab"), max_size=200).map(" ".join), min_size=1, max_size=3))
def test_texts_of_two_words_repeat_themselves_everywhere(batch):
    assert_as_reference(batch)


@given(st.lists(st.sampled_from(["a nother ", "an other ", "day ", "can not ", "cannot ", "1 2 3 4 5 "]), max_size=60))
def test_n_grams_are_equal_whatever_words_they_are_made_of(parts):
    assert_as_reference(["".join(parts)])


def test_equal_characters_are_a_duplicate_though_the_words_differ():
    """datatrove joins the words of an n-gram without spaces: 'a nother' and 'an other' are the same nine letters."""
    text = "a nother day is here, an other day is here"
    [row], [words] = measured([text])
    assert words[:2] == ["a", "nother"]
    assert row["dup_5_gram"] == len("anotherdayishere") / len(text)


def test_short_n_grams_are_equal_whatever_words_they_are_made_of():
    """Of "1 2 3 4 5 6789" the first five words have 5 bytes, of "12 34 56 7 8 9" they have 8."""
    assert_as_reference(["1 2 3 4 5 6789 and 12 34 56 7 8 9 or", "12 34 56 7 8 9 and 1 2 3 4 5 6789 or"])


@pytest.mark.parametrize("size", [7, 8, 9, 15, 16, 17, 40])
def test_words_of_any_length_are_compared_whole(size):
    """The windows by which n-grams are found are 16 bytes, read 8 at a time."""
    long = "x" * size
    assert_as_reference([f"{long} b c d {long}y e f g {long} b c d {long}y e f g {long} b c d {long}z e f"])


def test_of_equally_frequent_n_grams_the_first_counts():
    [row], _ = measured(["ab cd xyz ab cd xyz w"])
    assert row["top_2_gram"] == 2 * len("ab cd") / 21
    [row], _ = measured(["one two three"])
    assert row["top_2_gram"] == len("one two") / 13
