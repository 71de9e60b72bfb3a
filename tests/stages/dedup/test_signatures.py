"""Which documents meet in a band, and with what probability."""

import math
import random
import string

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from pipeline.stage import DOCUMENT_SCHEMA
from stages.dedup.shingles import jaccard, shingles, words
from stages.dedup.signatures import Signatures, SignaturesConfig
from tests.stages.dedup.documents import similar_pair
from tests.stages.in_process import texts

PAIRS = 250


@pytest.fixture(scope="module")
def stage() -> Signatures:
    return Signatures(SignaturesConfig())


def bands_of(stage: Signatures, *documents: str | None) -> list[list[int]]:
    batch = texts({str(i): text for i, text in enumerate(documents)})
    return stage.process(batch).kept["dedup.bands"].to_pylist()


WORDS = st.lists(st.text(string.ascii_lowercase + "äöüß0123456789", min_size=1, max_size=8), max_size=30)
GAPS = st.lists(st.sampled_from([" ", "\n\n", ", ", "! ", " — ", " (", "… "]), min_size=30, max_size=30)


def content_hashes(stage: Signatures, *documents: str) -> list[str]:
    batch = texts({str(i): text for i, text in enumerate(documents)})
    return stage.process(batch).kept["dedup.content_hash"].to_pylist()


@given(document=WORDS.filter(bool), gaps=GAPS)
@example(document=["straße"], gaps=[" "] * 30)
def test_case_space_and_punctuation_do_not_change_the_content_hash(
    stage: Signatures, document: list[str], gaps: list[str]
) -> None:
    loud = "".join(f"{word.title() if i % 2 else word}{gap}" for i, (word, gap) in enumerate(zip(document, gaps)))  # noqa: B905
    plain, again = content_hashes(stage, " ".join(document), loud)
    assert plain == again


@given(a=WORDS, b=WORDS)
def test_other_words_have_another_content_hash(stage: Signatures, a: list[str], b: list[str]) -> None:
    assume(a != b)
    first, second = content_hashes(stage, " ".join(a), " ".join(b))
    assert first != second


def test_vowel_signs_make_another_content_hash(stage: Signatures) -> None:
    first, second = content_hashes(stage, "कि", "की")
    assert first != second


@given(text=st.text(max_size=60))
def test_equal_texts_have_equal_signatures(stage: Signatures, text: str) -> None:
    a, b, shouted = bands_of(stage, text, text, f"  {text} !!")
    assert a == b == shouted


def test_a_document_has_one_key_a_band(stage: Signatures) -> None:
    ((*keys,),) = bands_of(stage, "a text of a few words")
    assert len(set(keys)) == 14
    assert all(0 <= key < 2**64 for key in keys)


@pytest.mark.parametrize("text", ["", None, " \n", "?! — …"])
def test_a_document_without_words_meets_nobody(stage: Signatures, text: str | None) -> None:
    assert bands_of(stage, text) == [[]]


@pytest.mark.parametrize(("one", "other"), [("→ → ↓", "😀"), ("∀∃", "∃∀")])
def test_documents_of_other_signs_are_no_exact_duplicates(stage: Signatures, one: str, other: str) -> None:
    first, second, spaced = (
        stage.process(texts({"a": one, "b": other, "c": f" {one}\n"})).kept["dedup.content_hash"].to_pylist()
    )
    assert first != second
    assert first == spaced


@pytest.mark.parametrize("similarity", [0.5, 0.6, 0.7, 0.8, 0.9, 0.95])
def test_pairs_become_candidates_with_the_probability_of_theory(stage: Signatures, similarity: float) -> None:
    """1-(1-s**8)**14 (Leskovec et al., Mining of Massive Datasets, 3.4.2); four standard deviations of the count."""
    rng = random.Random(similarity)
    pairs = [similar_pair(rng, similarity) for _ in range(PAIRS)]
    true = [jaccard(*(set(shingles(words(text), 5)) for text in pair)) for pair in pairs]
    assert all(abs(s - similarity) < 0.01 for s in true)
    bands = bands_of(stage, *(text for pair in pairs for text in pair))
    met = sum(any(x == y for x, y in zip(a, b, strict=True)) for a, b in zip(bands[::2], bands[1::2], strict=True))
    probabilities = [1 - (1 - s**8) ** 14 for s in true]
    tolerance = 4 * math.sqrt(sum(p * (1 - p) for p in probabilities)) + 0.5
    assert abs(met - sum(probabilities)) <= tolerance


def test_strangers_never_meet(stage: Signatures) -> None:
    """Of 400 texts without a common shingle, no two of 79,800 pairs share one of 14 64-bit keys."""
    rng = random.Random(7)
    bands = bands_of(stage, *(text for _ in range(200) for text in similar_pair(rng, 0.0)))
    for band in range(14):
        assert len({keys[band] for keys in bands}) == len(bands)


def test_the_text_is_left_out_and_the_rest_of_the_document_stays(stage: Signatures) -> None:
    outcome = stage.process(texts({"a": "text"}))
    assert set(outcome.kept.column_names) == {*DOCUMENT_SCHEMA.names, "dedup.content_hash", "dedup.bands"} - {
        "text",
        "origin",
        "meta",
    }
    assert not outcome.removed
