"""Sentences are those of datatrove: spaCy's sentencizer over the English tokenizer."""

import pyarrow as pa
import pytest
from datatrove.utils.text import split_into_sentences
from hypothesis import assume, given

from stages.text import reference
from stages.text.c4_lines import count_sentences_of_texts
from stages.text.sentences import split_sentences
from stages.text.unicode_tables import character_table
from stages.text.words import words_of
from tests.stages.text.nasty import texts


def sentences(text):
    """By the kernel that splits; the one that counts must agree."""
    words = words_of(pa.array([text], pa.large_string()))
    arrays = (words.data, words.offsets, words.starts, words.ends, words.firsts, character_table())
    starts, ends, firsts = split_sentences(*arrays)
    assert firsts.tolist() == [0, len(starts)]
    assert count_sentences_of_texts(*arrays).tolist() == [len(starts)]
    found = [words.data[a:b].tobytes().decode() for a, b in zip(starts, ends, strict=True)]
    assert found == reference.sentences(text, words.of(0))
    return found


@given(texts())
def test_sentences_are_datatroves(text):
    assume("IS_ALPHA" not in text)  # spaCy fails on it now and then, and datatrove then leaves it out
    assert sentences(text) == split_into_sentences(text)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", [""]),
        ("No end", ["No end"]),
        ('He said "Go." Then he went...', ['He said "Go."', " Then he went..."]),
        ("What?! No.", ["What?!", " No."]),
        ("One.  Two", ["One.", "  Two"]),  # two blanks are a token
        ("One. ", ["One. "]),
        ("One.\n", ["One.", "\n"]),
        ("一。二。", ["一。二。"]),  # no token ends at the mark
    ],
)
def test_what_ends_a_sentence(text, expected):
    assert sentences(text) == expected == split_into_sentences(text)
