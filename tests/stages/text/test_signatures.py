"""Signatures by the kernel against those by datasketch."""

from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stages.text.signatures import reference_bands, signed
from tests.real_texts import real_texts

NASTY = st.text(st.sampled_from("ab cé漢字\u0301ﬁ\n-'가１\x00"), max_size=80)


def compared(texts: list[str | None], ngram: int, bands: int, rows: int) -> None:
    """Assert that the kernel's keys are datasketch's, of the kernel's own word hashes."""
    words, firsts, keys = signed(pa.array(texts, pa.large_string()), ngram, bands, rows)
    for i in range(len(texts)):
        own = words[firsts[i] : firsts[i + 1]].tolist()
        assert (keys[i].tolist() if own else []) == reference_bands(own, ngram, bands, rows)


@settings(deadline=None)
@given(
    st.lists(st.none() | st.text(max_size=60) | NASTY, max_size=6),
    st.integers(1, 7),
    st.integers(1, 4),
    st.integers(1, 4),
)
def test_the_kernel_signs_as_datasketch_does(texts: list[str | None], ngram: int, bands: int, rows: int) -> None:
    compared(texts, ngram, bands, rows)


def test_real_documents_are_signed_as_by_datasketch(shared_data: Path) -> None:
    texts: list[str | None] = [text.text[:20_000] for i, text in enumerate(real_texts(shared_data)) if i % 60 == 0]
    assert len(texts) > 500
    compared(texts, 5, 14, 8)


@pytest.mark.parametrize("offset", [1, 3])
def test_a_slice_of_a_column_is_signed_like_a_column_of_its_own(offset: int) -> None:
    column = pa.array(["one two three", "four five", None, "six seven eight nine"], pa.large_string())
    _, _, whole = signed(column, 2, 3, 2)
    _, _, part = signed(column.slice(offset), 2, 3, 2)
    assert part.tolist() == whole[offset:].tolist()


def test_one_long_line_is_no_special_case() -> None:
    _, firsts, keys = signed(pa.array(["word " * 2_000_000], pa.large_string()), 5, 14, 8)
    assert firsts.tolist() == [0, 2_000_000]
    assert keys[0].tolist() == signed(pa.array(["word " * 5], pa.large_string()), 5, 14, 8)[2][0].tolist()
