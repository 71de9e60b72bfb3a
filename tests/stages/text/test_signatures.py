"""Signatures by the kernel against those in plain Python, whose permutations are datasketch's."""

from itertools import pairwise
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stages.dedup.shingles import jaccard, shingles, words
from stages.text.signatures import (
    Signatures,
    reference_shingle_set,
    reference_signature,
    shingle_sets,
    signed,
)
from tests.real_texts import real_texts

NASTY = st.text(st.sampled_from("ab cé漢字\u0301ﬁ\n-'가１\x00"), max_size=80)


def column(*texts: str | None) -> pa.Array:
    return pa.array(texts, pa.large_string())


def sets_of(*texts: str | None, ngram: int = 5, words: str = "sluice") -> list[list[int]]:
    values, offsets = shingle_sets(column(*texts), ngram, words)
    return [values[a:b].tolist() for a, b in pairwise(offsets)]


def assert_as_reference(found: Signatures, i: int, text: str | None, ngram: int, bands: int, rows: int) -> None:
    expected = reference_signature(words(text or ""), ngram, bands, rows)
    assert found.words[i] == len(words(text or ""))
    assert found.has_shingles[i] == bool(expected.keys)
    if expected.keys:
        assert tuple(found.content_hashes[i].tolist()) == expected.content_hash
        assert found.keys[i].tolist() == expected.keys
        assert found.audits[i] == expected.audit


def assert_all_as_reference(texts: list[str | None], ngram: int, bands: int, rows: int) -> None:
    found = signed(column(*texts), ngram, bands, rows)
    for i, text in enumerate(texts):
        assert_as_reference(found, i, text, ngram, bands, rows)


@settings(deadline=None)
@given(
    st.lists(st.none() | st.text(max_size=60) | NASTY, max_size=6),
    st.integers(1, 7),
    st.integers(1, 4),
    st.integers(1, 4),
)
def test_the_kernel_signs_as_the_reference(texts: list[str | None], ngram: int, bands: int, rows: int) -> None:
    assert_all_as_reference(texts, ngram, bands, rows)


@settings(deadline=None)
@given(st.lists(st.sampled_from(["a", "b", "c d"]), max_size=12), st.integers(1, 6))
def test_shingle_sets_are_those_of_the_reference(documents: list[str], ngram: int) -> None:
    texts = [" ".join(documents[:i]) for i in range(len(documents) + 1)]
    assert sets_of(*texts, None, ngram=ngram) == [
        *(reference_shingle_set(words(text), ngram) for text in texts),
        [],
    ]


def test_real_documents_are_signed_as_by_the_reference(shared_data: Path) -> None:
    texts: list[str | None] = [text.text[:5_000] for i, text in enumerate(real_texts(shared_data)) if i % 100 == 0]
    assert len(texts) > 300
    assert_all_as_reference(texts, 5, 14, 8)


def test_shingle_sets_have_the_similarity_of_the_shingles_themselves(shared_data: Path) -> None:
    texts = [text.text[:3_000] for i, text in enumerate(real_texts(shared_data)) if i % 500 == 0]
    found = [set(values) for values in sets_of(*texts)]
    true = [set(shingles(words(text), 5)) for text in texts]
    assert [len(values) for values in found] == [len(values) for values in true]
    for a in range(len(texts) - 1):
        assert jaccard(found[a], found[a + 1]) == jaccard(true[a], true[a + 1])


@pytest.mark.parametrize("kind", ["sluice", "datatrove"])
@pytest.mark.parametrize("offset", [1, 3])
def test_a_slice_of_a_column_is_signed_like_a_column_of_its_own(kind: str, offset: int) -> None:
    texts = column("one two three", "four five", None, "six seven eight nine")
    whole, part = signed(texts, 2, 3, 2, kind), signed(texts.slice(offset), 2, 3, 2, kind)
    assert part.keys.tolist() == whole.keys[offset:].tolist()
    assert part.audits.tolist() == whole.audits[offset:].tolist()
    values, offsets = shingle_sets(texts.slice(offset), 2, kind)
    sets = [values[a:b].tolist() for a, b in pairwise(offsets)]
    assert sets == sets_of(*texts.to_pylist(), ngram=2, words=kind)[offset:]


@pytest.mark.parametrize("kind", ["sluice", "datatrove"])
def test_one_long_line_is_no_special_case(kind: str) -> None:
    found = signed(column("word " * 2_000_000), 5, 14, 8, kind)
    assert found.words.tolist() == [2_000_000]
    assert found.keys[0].tolist() == signed(column("word " * 5), 5, 14, 8, kind).keys[0].tolist()


@pytest.mark.parametrize("kind", ["sluice", "datatrove"])
def test_no_texts_are_signed_as_well(kind: str) -> None:
    assert signed(column(), 5, 14, 8, kind).keys.shape == (0, 14)
    assert sets_of(words=kind) == []


def test_a_word_of_megabytes_is_a_word() -> None:
    assert signed(column("A" * 3_000_000 + " b"), 5, 14, 8).words.tolist() == [2]
