"""Kernels that measure what FineWeb's rules look at, against plain Python."""

import numpy as np
import pyarrow as pa
from hypothesis import example, given
from hypothesis import strategies as st

from stages.text import reference
from stages.text.web_lines import RATIOS, endings, web_lines
from stages.text.words import words_of
from tests.stages.text.nasty import SIGNS, texts

suffixes = st.lists(
    st.sampled_from([*SIGNS, "other.", "…", "é", "x" * 40]) | st.text(min_size=1, max_size=2), max_size=9
)


@example(["a\nb"], ("\nb",), 1)
@given(
    st.lists(texts(), min_size=1, max_size=4),
    suffixes.map(lambda found: tuple(s for s in found if s.isascii() or s.encode("utf-8", "ignore").decode() == s)),
    st.integers(0, 40),
)
def test_measures_are_those_of_the_reference(batch, stop_characters, short_characters):
    words = words_of(pa.array(batch, pa.large_string()))
    ends = endings(stop_characters)
    lines, ratios = web_lines(
        words.data,
        words.offsets,
        np.diff(words.firsts),
        ends.suffixes,
        ends.bounds,
        ends.by_last_byte,
        short_characters,
    )
    for i, text in enumerate(batch):
        found = {"lines": lines[i]} | dict(zip(RATIOS, ratios[i].tolist(), strict=True))
        found = {name: None if value != value else value for name, value in found.items()}  # NaN: not measured
        assert found == reference.web_lines(text, words.of(i), stop_characters, short_characters)
