"""What two documents are compared by."""

import string

from hypothesis import assume, given
from hypothesis import strategies as st

from stages.dedup.shingles import jaccard, shingles, words

WORDS = st.lists(st.text(string.ascii_lowercase + "äöüß0123456789", min_size=1, max_size=8), max_size=30)
SETS = st.sets(st.binary(max_size=2), max_size=12)


def test_vowel_signs_belong_to_their_word() -> None:
    """In Indic scripts, Thai, Hebrew and Arabic the vowels are combining marks: without them other words come out."""
    assert words("हिन्दी कि की") == ["हिन्दी", "कि", "की"]
    assert words("ไทยแล้ว") == ["ไทยแล้ว"]


def test_scripts_without_spaces_are_compared_by_character() -> None:
    assert words("我们在2024年去北京") == ["我", "们", "在", "2024", "年", "去", "北", "京"]
    assert words("カタカナとひらがな")[:4] == ["カ", "タ", "カ", "ナ"]
    assert words("한국어 문장") == ["한국어", "문장"]  # Hangul is written with spaces
    assert len(shingles(words("我们在北京"), 5)) == 1


def test_full_width_letters_and_ligatures_count_as_plain_ones() -> None:
    assert words("Ｆｉｌｅ ﬁle") == ["file", "file"]


def test_shingles_are_the_distinct_runs_of_words() -> None:
    assert shingles(["a", "b", "c", "d"], 3) == [b"a b c", b"b c d"]
    assert shingles(["a", "a", "a", "a", "a"], 2) == [b"a a"]


@given(WORDS, st.integers(1, 6))
def test_a_document_has_a_shingle_unless_it_has_no_words(document: list[str], size: int) -> None:
    found = shingles(document, size)
    assert bool(found) == bool(document)
    assert len(found) <= max(1, len(document) - size + 1)
    assert found == sorted(set(found))


@given(SETS, SETS)
def test_similarity_is_symmetric_and_1_for_equal_sets_alone(a: set[bytes], b: set[bytes]) -> None:
    assert jaccard(a, b) == jaccard(b, a)
    assert 0 <= jaccard(a, b) <= 1
    assert (jaccard(a, b) == 1) == (a == b and bool(a))
    assert (jaccard(a, b) == 0) == (not a & b)


@given(SETS, SETS, SETS)
def test_dissimilarity_obeys_the_triangle_inequality(a: set[bytes], b: set[bytes], c: set[bytes]) -> None:
    """The Jaccard distance is a metric on non-empty sets (Levandowsky and Winter 1971)."""
    assume(a and b and c)
    assert (1 - jaccard(a, c)) <= (1 - jaccard(a, b)) + (1 - jaccard(b, c)) + 1e-12
