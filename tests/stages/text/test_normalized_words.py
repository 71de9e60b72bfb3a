"""Words of many texts at once."""

import json
import unicodedata

import numpy as np
import pyarrow as pa
import pytest
import zstandard
from hypothesis import example, given
from hypothesis import strategies as st

from stages.dedup.shingles import words
from stages.text.normalized_words import NOT_A_NUMBER, characters, scan, texts_of

JOINING = "가ㅎㅏㄴㅋㅠ각ᄒ\u11abｶﾞﾊﾟがか\u3099e\u0301\u0323é½ﬁ㍿…\u00a0Ⓐİßǆ\u200d\u00ad_'’-. \n٣१۴0aA我"
TEXTS = st.text(st.one_of(st.sampled_from(JOINING), st.characters(codec="utf-8")), max_size=40)


def scanned(text):
    """Hash, start and end of each word."""
    found = texts_of(pa.array([text], pa.large_string()))
    room = 2 * len(found.content)
    arrays = np.empty(room, np.uint64), np.empty(room, np.int32), np.empty(room, np.int32)
    count = scan(found.content, 0, found.offsets[-1], *characters(), *arrays)
    hashes, starts, ends = (array[:count] for array in arrays)
    starts, ends = found.spans(np.zeros(count, np.int32), starts, ends)
    return list(zip(hashes.tolist(), starts.tolist(), ends.tolist(), strict=True))


def hash_of(word):
    [(found, _, _)] = scanned(word)
    return found


@given(TEXTS)
@example("㍿ de\u0301ja\u0300 vu ½ ｶﾞﾗｽ ㅋㅠㅋㅠ 가ㄳ")
@example("ﬁ\u0323 Ａ\u0300")
@example("\u064b\u0651 \u0651\u064b")
def test_the_words_are_those_that_documents_are_deduplicated_by(text: str) -> None:
    assert [found for found, _, _ in scanned(text)] == [hash_of(word) for word in words(text)]


@given(TEXTS)
@example("xe\u0301 ｶﾞﾗｽ")
def test_a_words_place_is_where_it_stands(text: str) -> None:
    found = scanned(text)
    assert [start for _, start, _ in found] == sorted(start for _, start, _ in found)
    for word, start, end in found:
        assert 0 <= start < end <= len(text)
        assert word in [other for other, _, _ in scanned(text[start:end])]


def test_places_are_characters_of_the_text_as_it_was_given() -> None:
    text = "un \U0001f600 cafe\u0301 — 我们 fi\ufb01n"
    assert [text[start:end] for _, start, end in scanned(text)] == ["un", "cafe\u0301", "我", "们", "fi\ufb01n"]


@given(st.lists(st.text("ab01é我", min_size=1, max_size=4), max_size=20))
def test_a_words_hash_says_whether_it_is_a_number(document: list[str]) -> None:
    text = " ".join(document)
    numbers = [word.isascii() and word.isdigit() for word in words(text)]
    assert [found & int(NOT_A_NUMBER) == 0 for found, _, _ in scanned(text)] == numbers


def test_null_and_slices_of_columns_are_read_as_they_are() -> None:
    column = pa.chunked_array([pa.array(["x", None, "zwei drei"]), pa.array(["é e\u0301"])]).slice(1)
    found = texts_of(column)
    contents = [bytes(found.content[a:b]).decode() for a, b in zip(found.offsets, found.offsets[1:], strict=False)]
    assert contents == ["", "zwei drei", "é é"]


def test_bytes_that_are_no_text_are_no_words_and_no_crash() -> None:
    content = np.frombuffer(b"ab \xff\xc3 cd \xe6\x88", np.uint8)
    arrays = np.empty(100, np.uint64), np.empty(100, np.int32), np.empty(100, np.int32)
    assert scan(content, 0, len(content), *characters(), *arrays) >= 2
    assert arrays[0][0] == hash_of("ab")


@pytest.mark.parametrize("name", ["bigbench_language_identification", "lingua_sentences", "udhr_unicode_paragraphs"])
def test_real_texts_in_all_languages_have_the_same_words(name, shared_data) -> None:
    with zstandard.open(shared_data / "langid" / f"{name}.jsonl.zst", "rt", encoding="utf-8") as lines:
        rows = [json.loads(line) for line in lines][::40]
    texts = [value for row in rows for value in row.values() if isinstance(value, str)]
    texts += [unicodedata.normalize("NFD", text) for text in texts]
    assert len({text for text in texts if not text.isascii()}) > 30
    for text in texts:
        assert [found for found, _, _ in scanned(text)] == [hash_of(word) for word in words(text)]


@pytest.mark.parametrize("unseen", ["\u00ad", "\u200b", "\u200d", "\u2060", "\ufeff", "\ufe0f"])
def test_what_is_not_seen_parts_no_word(unseen: str) -> None:
    assert words(f"cu{unseen}rious{unseen} {unseen}fox") == ["curious", "fox"]
