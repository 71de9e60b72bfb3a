"""Which documents meet in a band, and with what probability."""

import math
import random
import string

import pyarrow as pa
import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from pipeline.errors import StageError
from pipeline.stage import DOCUMENT_SCHEMA, documents
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


def content_hashes(stage: Signatures, *documents: str) -> list[bytes]:
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
    assert bands_of(stage, text) == [None]


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


def test_an_audit_is_shared_with_the_probability_of_the_similarity(stage: Signatures) -> None:
    rng = random.Random(11)
    pairs = [similar_pair(rng, 0.8) for _ in range(PAIRS)]
    audits = (
        stage.process(texts({str(i): text for i, text in enumerate(sum(pairs, ()))})).kept["dedup.audit"].to_pylist()
    )
    shared = sum(a == b for a, b in zip(audits[::2], audits[1::2], strict=True))
    assert abs(shared - 0.8 * PAIRS) <= 4 * math.sqrt(PAIRS * 0.8 * 0.2)


def test_audits_do_not_depend_on_what_the_bands_see(stage: Signatures) -> None:
    """Of pairs that share their audit, as many meet in a band as of the others."""
    rng = random.Random(12)
    pairs = [similar_pair(rng, 0.7) for _ in range(4 * PAIRS)]
    kept = stage.process(texts({str(i): text for i, text in enumerate(sum(pairs, ()))})).kept
    audits, bands = kept["dedup.audit"].to_pylist(), kept["dedup.bands"].to_pylist()
    met: dict[bool, list[bool]] = {True: [], False: []}
    for i in range(0, len(audits), 2):
        is_met = any(a == b for a, b in zip(bands[i], bands[i + 1], strict=True))
        met[audits[i] == audits[i + 1]].append(is_met)
    shares = [sum(found) / len(found) for found in met.values()]
    error = math.sqrt(sum(0.25 / len(found) for found in met.values()))
    assert abs(shares[0] - shares[1]) <= 4 * error


def test_columns_have_the_types_that_later_phases_rely_on(stage: Signatures) -> None:
    kept = stage.process(texts({"a": "some words", "b": ""})).kept
    assert kept.schema.field("dedup.content_hash").type == pa.binary(16)
    assert kept.schema.field("dedup.url_hash").type == pa.uint64()
    assert kept.schema.field("dedup.bands").type == pa.list_(pa.uint64(), 14)
    assert kept.schema.field("dedup.audit").type == pa.uint64()
    assert kept["dedup.audit"].null_count == 1
    assert kept["dedup.content_hash"].null_count == 0


def test_one_page_under_two_urls_has_one_url_hash(stage: Signatures) -> None:
    urls = ["https://www.example.com/a/?utm_source=x", "http://example.com/a", "http://example.com/b", None]
    batch = documents({"id": str(i), "source": "s", "text": "t", "url": url} for i, url in enumerate(urls))
    first, second, other, absent = stage.process(batch).kept["dedup.url_hash"].to_pylist()
    assert first == second != other
    assert absent is None


def test_the_text_is_left_out_and_the_rest_of_the_document_stays(stage: Signatures) -> None:
    outcome = stage.process(texts({"a": "text"}))
    columns = {"dedup.content_hash", "dedup.url_hash", "dedup.bands", "dedup.audit"}
    assert set(outcome.kept.column_names) == {*DOCUMENT_SCHEMA.names, *columns} - {"text", "origin", "meta"}
    assert not outcome.removed


def test_measured_columns_are_carried_where_named() -> None:
    batch = texts({"a": "text"}).append_column("edu.score", pa.array([3.5])).append_column("edu.other", pa.array([1]))
    kept = Signatures(SignaturesConfig(carry=("edu.score",))).process(batch).kept
    assert kept["edu.score"].to_pylist() == [3.5]
    assert "edu.other" not in kept.column_names


def test_a_column_to_carry_that_nobody_measured_is_told() -> None:
    with pytest.raises(StageError, match=r"carry names columns.*edu\.score"):
        Signatures(SignaturesConfig(carry=("edu.score",))).process(texts({"a": "text"}))


def test_with_datatroves_words_keys_are_made_of_its_signature() -> None:
    """Numbers are equal for it: such texts meet in all bands, but are no exact duplicates."""
    stage = Signatures(SignaturesConfig(words="datatrove"))
    one, other = "on 3 May they sold 12 cows", "on 4 May they sold 13.5 cows"
    first, second, short = stage.process(texts({"a": one, "b": other, "c": "four words are few"})).kept.to_pylist()
    assert first["dedup.bands"] == second["dedup.bands"]
    assert first["dedup.audit"] == second["dedup.audit"]
    assert first["dedup.content_hash"] != second["dedup.content_hash"]
    assert short["dedup.bands"] is None
