"""Signatures equal to datatrove's."""

from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import xxhash
from hypothesis import example, given, settings
from hypothesis import strategies as st

from stages.text.datatrove_signatures import PRIME, datatrove_signatures, reduced, xxh64
from tests.real_texts import real_texts

PERMUTATIONS = 112
NUMBERS = ["3.14", "1,2", "v1.2.3b", "٣٫٤", "1،2", "7", "0", "10km", ".", ",", "،", "⎖", "1\ufe0f\u20e3", "１"]
MARKS = ["\u0301", "\ufe0f", "\u20e3", "\u302e", "\u0327", "\u1fef", "\u226e", "space", "\u226f", "\u037e", "Σ"]
SPECIALS = ["cannot", "dont", "‘", "s", "‘s", "@", "_", "-", "'", "http://a.co/b", "C++", "°", "€", "\x00", "\x85"]
LETTERS = ["é", "İ", "ß", "我", "가", "ﬁ", "c", "A"]
NASTY = st.sampled_from(NUMBERS + MARKS + SPECIALS + LETTERS)
TEXTS = st.lists(st.one_of(NASTY, st.just(" "), st.text(max_size=4)), max_size=40).map("".join)


@pytest.fixture(scope="module")
def datatrove(tmp_path_factory: pytest.TempPathFactory) -> Any:
    from datatrove.pipeline.dedup.minhash import MinhashDedupSignature

    return MinhashDedupSignature(str(tmp_path_factory.mktemp("signatures")))


def assert_equal(datatrove: Any, texts: list[str]) -> None:
    least, hashes, offsets = datatrove_signatures(pa.array(texts, pa.large_string()), 5, PERMUTATIONS)
    for i, (text, (first, last)) in enumerate(zip(texts, pairwise(offsets.tolist()), strict=True)):
        expected = datatrove.get_shingles(text)
        assert hashes[first:last].tolist() == expected[:, 0].tolist(), text[:200]
        if len(expected):
            assert least[i].tolist() == [value for band in datatrove.get_signature(expected) for value in band]


def test_real_documents_of_all_kinds_have_datatroves_signatures(datatrove: Any, shared_data: Path) -> None:
    texts = [text.text[:3_000] for i, text in enumerate(real_texts(shared_data)) if i % 20 == 0]
    assert len(texts) > 1_000
    assert_equal(datatrove, texts)


@settings(deadline=None, max_examples=300)
@given(TEXTS)
@example("3.14,15 a3٫4 1،2 1.2،3 3\u0301.4 3.\u03014 x 1\ufe0f2 5\u0301\u0301 6")
@example("x\u226espace\u226fy \u226espace\u226f a‘s ‘‘s s‘s ΟΔΥΣ ΣΑ a\u1fefb\u037e c cannot im dont")
@example("a\u0301\u302e\u302fb c d e f \u302f\u302e\u0301 g 𝟏𝟐.𝟑 １.５")
def test_any_text_has_datatroves_signature(datatrove: Any, text: str) -> None:
    assert_equal(datatrove, [text, text + " one more run of words"])


def test_a_text_of_fewer_words_than_a_shingle_has_none(datatrove: Any) -> None:
    least, _, offsets = datatrove_signatures(pa.array(["a b c d", "", None, "a b c d e"]), 5, 3)
    assert offsets.tolist() == [0, 0, 0, 0, 1]
    assert (least[:3] == 2**64 - 1).all()


def test_a_chunk_longer_than_the_room_for_it_makes_the_room_grow(datatrove: Any) -> None:
    assert_equal(datatrove, ["a b c d e f", "x" * 3_000 + "1é" * 3_000 + " b c d e f", "g h i j k l"])


@given(st.binary(max_size=200))
def test_xxh64_is_that_of_the_library(content: bytes) -> None:
    assert xxh64(np.frombuffer(content + bytes(64), np.uint8), 0, len(content)) == xxhash.xxh64_intdigest(content)


@pytest.mark.parametrize("value", [0, 7, PRIME - 1, PRIME, PRIME + 1, 3 * PRIME - 1, 3 * PRIME, 8 * PRIME, 2**64 - 1])
def test_hashes_are_reduced_to_below_the_prime(value: int) -> None:
    """Real hashes are next to it once in 10**17."""
    assert reduced(np.uint64(value)) == value % PRIME
