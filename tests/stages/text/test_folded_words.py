"""The fast scan for signatures against the plain words and their hashes."""

import json
import unicodedata
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import zstandard
from hypothesis import example, given
from hypothesis import strategies as st

from stages.dedup.shingles import words
from stages.text.folded_words import (
    BLOCK,
    MAX_GROWTH,
    find_words,
    fold,
    folded_bytes,
    hash_words,
    room_for,
    word_hash,
)
from stages.text.normalized_words import ALONE, EXPANDS, MAY_JOIN, characters, texts_of

NASTY = "aZ0_ .,-'\n\u00ad\u200bé\u0301ﬁ㍿ﷺİßǆＡ我か가ᄒ\u11ab\x00\x7f\U0001f600\U00020000"
TEXTS = st.text(st.one_of(st.sampled_from(NASTY), st.characters(codec="utf-8")), max_size=150)


def hashed(text: str, spare: bytes = b"") -> list[int]:
    """Hashes of the words of a text that stands before so many other bytes."""
    found = texts_of(pa.array([text], pa.large_string()), with_places=False)
    content = np.concatenate([found.content, np.frombuffer(spare, np.uint8)])
    most, _ = folded_bytes(content, found.offsets)
    room = room_for(most)
    count = find_words(room.marks, fold(content, 0, found.offsets[1], *characters(), room), room.edges)
    hashes = np.empty(count, np.uint64)
    hash_words(room.folded, room.edges, count, hashes)
    return hashes.tolist()


@given(TEXTS)
@example("㍿ de\u0301ja\u0300 vu ½ ｶﾞﾗｽ ㅋㅠㅋㅠ 가ㄳ ﷺ")
def test_the_words_are_those_that_documents_are_compared_by(text: str) -> None:
    assert hashed(text) == [word_hash(word) for word in words(text)]


@given(st.text("abc DEF.", max_size=150), st.integers(0, 2 * BLOCK))
def test_what_stands_behind_a_text_is_not_read_into_it(text: str, spare: int) -> None:
    assert hashed(text, b"z" * spare) == [word_hash(word) for word in words(text)]


@pytest.mark.parametrize("size", [1, 7, 8, 9, 15, 16, 17, 24, 25, 63, 64, 65, 128, 1000])
@pytest.mark.parametrize("before", [0, 1, 63, 64])
def test_words_of_all_lengths_lie_across_blocks(size: int, before: int) -> None:
    word = "".join(chr(97 + i % 26) for i in range(size))
    assert hashed(" " * before + word.upper()) == [word_hash(word)]


@given(st.lists(st.text("ab", min_size=1, max_size=20), min_size=2, max_size=50, unique=True))
def test_different_words_have_different_hashes(distinct: list[str]) -> None:
    assert len(set(map(word_hash, distinct))) == len(distinct)


def test_no_character_grows_more_than_the_room_for_it() -> None:
    table, expansions = characters()

    def size(unit: int) -> int:
        return len(chr(unit & (ALONE - 1)).encode()) + (2 if unit & ALONE else 0)

    for code in np.flatnonzero(table & EXPANDS).tolist():
        first = int(table[code]) & ~MAY_JOIN ^ EXPANDS
        units = expansions[first + 1 : first + 1 + expansions[first]].tolist()
        assert sum(map(size, units)) <= MAX_GROWTH * len(chr(code).encode())
    assert max(map(size, (table[(table & EXPANDS) == 0] & ~MAY_JOIN).tolist())) <= 2 * MAX_GROWTH


@pytest.mark.parametrize("name", ["bigbench_language_identification", "lingua_sentences", "udhr_unicode_paragraphs"])
def test_real_texts_in_all_languages_have_the_same_words(name: str, shared_data: Path) -> None:
    with zstandard.open(shared_data / "langid" / f"{name}.jsonl.zst", "rt", encoding="utf-8") as lines:
        rows = [json.loads(line) for line in lines][::100]
    texts = [value for row in rows for value in row.values() if isinstance(value, str)]
    texts += [unicodedata.normalize("NFD", text) for text in texts]
    for text in texts:
        assert hashed(text) == [word_hash(word) for word in words(text)]
