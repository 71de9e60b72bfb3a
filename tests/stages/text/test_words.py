"""Words are those of datatrove's splitter, whatever the text."""

import json
import random
import time
from functools import cache
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import spacy
import zstandard
from datatrove.utils.text import PUNCTUATION_SET, split_into_words
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.errors import StageError
from stages.text import words_rules
from stages.text.unicode_tables import CODE_POINTS, PREFIX, SPACE, SUFFIX, character_table
from stages.text.words import ALPHABETIC, PUNCTUATION, Words, scanned, words_of
from stages.text.words_hash import BASE, MODULUS, hash_of, joined, power


def split(*texts: str | None) -> Words:
    return words_of(pa.array(texts, pa.large_string()))


def assert_as_datatrove(*texts: str) -> None:
    words = split(*texts)
    for i, text in enumerate(texts):
        assert words.of(i) == split_into_words(text), repr(text)


CASES = [
    "Hello, they're here; don't (really) wait... U.S. e.g. (e.g.) 'tis ''quoted'' \"(he's)\"",
    "10km/h 5$ US$5 C$7 $9.99 50% 3.5kg, 20°C. 5+ +5 +x 5-6 7*8 2^3 1.000,00 10a.m. (10a.m.) ½kg",
    "well-known a--b a---b a----b a–b a—b a——b 5-a ~a~b a/b a:b a<b a>b a=b and/or w/o -a a-",
    "foo.Bar foo.bar FOO.BAR F.B 'x'.'y' a,b 1,b a,1 wait...what x..y …… ……… a…b .. ... .",
    "http://a.b.com/foo-bar www.x.org:80/a-b?c=d#e x-y@z.com mailto:a-b@c.de ftp://a-b/ a-b.c_d.com a.b-c a_.com:1-a",
    "http://8.8.8.8/a-b http://10.1.1.1/a-b 192.168.1.1/a-b 172.16.0.1/a-b 1.2.3.4:80/a-b 256.1.1.1/a-b 1.2.3.0/a-b",
    ":) :-)) x:) x:)) (:x <3 a<3 (^_^) ಠ_ಠ x(╯°□°）╯︵┻━┻ ¯\\(ツ)/¯ ><(((*> C++ xD. o.O",
    "x:) ) and x:) \n) and x:)  ) and foo-co. foo-Inc.. (foo-vs.) a . b. -a. it 's x-it's he's. ' s",
    "日本語の文章。これは「引用」です、ね！ 中文，字。 한국어 문장. हिन्दी। العربية، ١٢٣؟ עברית (שלום)",
    "a\x00b \x01 a\u200bb \ufeffx e\u0301 \u0301 \ud7a3\u1100 👍🏽 a👍b 👨\u200d👩\u200d👧 ©x® \U0001f600\U0001f600",
    "a\u00a0b\u2028c\u2029d\x85e\x1cf\x0bg\x0ch\r\ni\tj\u3000k",
    '<p class="x">it&amp;s</p> {\'a\': [1, 2]} f(x)=y+1; // c++ #tag @name $x_1 \\n \\") <space>',
    "",
    " ",
    "\n\n",
]


@pytest.mark.parametrize("text", CASES)
def test_words_are_those_of_datatrove(text: str) -> None:
    assert_as_datatrove(text)


@cache
def special_cases() -> list[str]:
    return sorted(text for text in spacy.blank("en").tokenizer.rules if text.strip())


def test_every_special_case_of_spacy_is_found_alone_and_within_more() -> None:
    frames = ["{}", "({})", '"{}",', "{}.", "x-{}", "-{}-", "{}{}", "a/{}", "{} )", "( {}", "{}'s", "5{}"]
    assert_as_datatrove(*(frame.replace("{}", text) for text in special_cases() for frame in frames))


PIECES = [
    *"abzABZsSéßÉdfIitT0159.,:;!?'\"’‘“”()[]{}<>-–—~/\\=+*^%$€£#@&_|…°²½ \n\t\u00a0",
    *"語の。，「」हिא١ж한\u0301\u200b\ufeff\U0001f600\U00020000",
    "..", "--", "'s", "’S", "n't", "http://", "www.", ".com", "@", "US$", "km", "kg/m", "://", ":80", "10.1.2.3", "8.8",
]  # fmt: skip


@settings(max_examples=300)
@given(st.lists(st.one_of(st.sampled_from(PIECES), st.deferred(lambda: st.sampled_from(special_cases()))), max_size=12))
def test_any_mixture_of_what_the_rules_look_at_is_split_as_datatrove_does(pieces: list[str]) -> None:
    assert_as_datatrove("".join(pieces))


@settings(max_examples=150)
@given(st.text(max_size=40))
def test_any_unicode_is_split_as_datatrove_does(text: str) -> None:
    assert_as_datatrove(text)


@settings(max_examples=200)
@given(
    st.tuples(
        st.sampled_from(["", "http://", "a+b.c://", "a://", "u@", "u:p@", "x@y@", "ftp://u@"]),
        st.text("ab1.-_é中\U00020000A٣", max_size=9),
        st.sampled_from(
            ["a.b", "a-b.cd", "x.co-m", "1.2.3.4", "223.255.0.1", "172.2٣.1.1", "12٣.1.1.1", "9.256.1.1", ""]
        ),
        st.sampled_from(["", ":80", ":8", ":123456", ":٣٣", "/", "?q", "#f", ":80/x"]),
        st.sampled_from(["", "a-b", "/a-b", ",a=b", "-x"]),
    )
)
def test_chunks_like_urls_are_split_as_datatrove_does(parts: tuple[str, ...]) -> None:
    assert_as_datatrove("".join(parts))


def sampled_texts(folder: Path, documents: int) -> list[str]:
    texts = []
    for path in sorted(folder.glob("*.jsonl.zst")):
        with zstandard.open(path, "rt", encoding="utf-8") as lines:
            for _, line in zip(range(documents), lines, strict=False):
                texts.append(json.loads(line)["text"][:3000])
    return texts


def test_real_documents_of_all_kinds_are_split_as_datatrove_does(shared_data: Path) -> None:
    assert_as_datatrove(*sampled_texts(shared_data / "text", 15))


@pytest.mark.slow
def test_thousands_of_real_documents_are_split_as_datatrove_does(shared_data: Path) -> None:
    assert_as_datatrove(*sampled_texts(shared_data / "text", 400))


def test_positions_lengths_flags_and_hashes_belong_to_the_words() -> None:
    text = "Él dijo: «¡No!» ... 42 foo-co. 語。"
    words = split("first", text)
    first, end = words.firsts[1], words.firsts[2]
    for i, word in enumerate(split_into_words(text), first):
        assert words.data[words.starts[i] : words.ends[i]].tobytes().decode() == word
        assert words.lengths[i] == len(word)
        assert bool(words.flags[i] & PUNCTUATION) == all(c in PUNCTUATION_SET for c in word)
        assert bool(words.flags[i] & ALPHABETIC) == any(c.isalpha() for c in word)
        assert words.hashes[i] == hash_of(words.data, words.starts[i], words.ends[i])
    assert i == end - 1


def test_the_word_that_spacy_fails_at_is_kept() -> None:
    assert split("an IS_ALPHA flag").of(0) == ["an", "IS_ALPHA", "flag"]


def test_nulls_slices_chunks_and_plain_strings_are_taken() -> None:
    assert split("a b", None, "", "c").firsts.tolist() == [0, 2, 2, 2, 3]
    texts = pa.array(["skipped", "a b", "c"], pa.large_string())
    assert [words_of(texts.slice(1)).of(i) for i in (0, 1)] == [["a", "b"], ["c"]]
    assert words_of(pa.chunked_array([texts, texts])).of(4) == ["a", "b"]
    assert words_of(pa.array(["a b"])).of(0) == ["a", "b"]
    assert words_of(pa.array([], pa.large_string())).firsts.tolist() == [0]


def test_a_text_with_more_words_than_expected_is_split_whole() -> None:
    texts = ["word", ", " * 2000, ". " * 2000, "end"]
    assert np.diff(split(*texts).firsts).tolist() == [1, 2000, 2000, 1]
    assert_as_datatrove(*texts)


@pytest.mark.parametrize(
    ("piece", "size"),
    [("a", 10_000_000), ("(", 2_000_000)]
    + [(piece, 1_000_000) for piece in (".", ":)x", "語", "a@", "a-", "1.", "😀", "x:) ", "\x00", "US$", "5km")],
)
def test_megabytes_without_whitespace_take_linear_time(piece: str, size: int) -> None:
    text = piece * (size // len(piece))
    split("warm")
    start = time.process_time()
    split(text)
    assert time.process_time() - start < 1e-6 * size  # 1 us a byte: quadratic rules would take minutes


def test_filters_of_a_chain_split_the_same_text_once() -> None:
    batch = pa.table({"id": ["x"], "text": pa.array(["some words"], pa.large_string())})
    batch, words = scanned(batch)
    same = batch.append_column("score", pa.array([1]))
    assert scanned(same)[1] is words
    edited = batch.set_column(1, "text", pa.array(["other words"], pa.large_string()))
    assert scanned(edited)[1].of(0) == ["other", "words"]
    assert scanned(batch.filter(pa.array([False])))[1].firsts.tolist() == [0]
    assert scanned(batch, "de")[1] is not words


@given(st.binary(max_size=30), st.binary(max_size=600))
def test_the_hash_of_joined_strings_follows_from_theirs(first: bytes, second: bytes) -> None:
    whole = np.frombuffer(first + second, np.uint8)
    hashes = hash_of(whole, 0, len(first)), hash_of(whole, len(first), len(whole))
    expected = 0
    for byte in first + second:
        expected = (expected * int(BASE) + byte + 1) % int(MODULUS)
    assert hash_of(whole, 0, len(whole)) == joined(*hashes, len(second)) == expected
    assert power(len(second)) == pow(int(BASE), len(second), int(MODULUS))


def test_character_classes_are_those_of_the_regular_expressions_and_of_str() -> None:
    table, tokenizer = character_table(), spacy.blank("en").tokenizer
    for code in [*range(0x3400), *random.Random(1).sample(range(CODE_POINTS), 20_000)]:
        character = chr(code)
        assert bool(table[code] & SPACE) == character.isspace()
        assert bool(table[code] & SUFFIX) == bool(tokenizer.find_suffix(character))
        if character != "+":  # looks at what follows
            assert bool(table[code] & PREFIX) == bool(tokenizer.find_prefix(character))


def test_a_spacy_with_other_rules_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(words_rules, "KNOWN_PATTERNS", frozenset())
    words_rules.english_rules.cache_clear()
    try:
        with pytest.raises(StageError, match=r"spaCy 3\.\S+ splits .*`pip install 'spacy>=3\.8,<3\.9'"):
            split("some words")
    finally:
        words_rules.english_rules.cache_clear()
