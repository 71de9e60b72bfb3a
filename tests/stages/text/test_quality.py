"""Kernels that measure what Gopher's quality rules look at, against plain Python."""

import pyarrow as pa
from hypothesis import example, given
from hypothesis import strategies as st

from stages.text import reference
from stages.text.quality import COUNTS, RATIOS, quality, stop_word_table
from stages.text.words import words_of
from tests.stages.text.nasty import WORDS, texts


@example(["of of the .... ..... ......\n• of…\n\u3000- of...."], ["of", "the"])
@given(st.lists(texts(), min_size=1, max_size=4), st.lists(st.sampled_from([*WORDS, "", "…", "absent"]), max_size=8))
def test_measures_are_those_of_the_reference(batch, stop_words):
    from datatrove.utils.text import PUNCTUATION_SET

    words = words_of(pa.array(batch, pa.large_string()))
    counts, ratios = quality(
        words.data, words.offsets, words.lengths, words.hashes, words.flags, words.firsts, stop_word_table(stop_words)
    )
    for i, text in enumerate(batch):
        found = dict(zip(COUNTS, counts[i].tolist(), strict=True)) | dict(zip(RATIOS, ratios[i].tolist(), strict=True))
        found = {name: None if value != value else value for name, value in found.items()}  # NaN: not measured
        assert found == reference.quality(text, words.of(i), stop_words, PUNCTUATION_SET)


def test_no_two_stop_words_share_a_slot():
    many = [f"word{i}" for i in range(300)]
    table = stop_word_table(many)
    assert (table != 0).sum() == 300
    assert len(stop_word_table([])) == 2
