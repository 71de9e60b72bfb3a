"""The ids are those of the tokenizers library, whatever the text."""

import itertools
import json
import random
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from numba import njit
from tokenizers import AddedToken, Tokenizer, models, normalizers, pre_tokenizers

from pipeline.errors import StageError
from stages.tokenize.byte_pair.cache import key_of
from stages.tokenize.byte_pair.description import byte_alphabet
from stages.tokenize.byte_pair.encoder import Unsupported, encoder_of
from tests.real_texts import real_texts
from tests.stages.text.nasty import texts as nasty_texts
from tests.stages.tokenize.byte_pair.tokenizers_to_test import (
    END,
    KINDS,
    TEXTS,
    encoded,
    encoder_for,
    expected,
    pair,
    trained,
)

CHARACTERS = st.characters(exclude_categories=["Cs"])
ALIKE = (
    "  \t\n\r\u00a0\u3000aAßſΣǅʰªé中文のกา\u0301\u0300\u093e1٣Ⅷ²½.,'’s'll/_-😀\u200b\u0378"  # what the rules tell apart
)
TRICKY = st.text(st.sampled_from(ALIKE) | CHARACTERS, max_size=40)
SMALLEST_CACHE = 0
BYTES = {character: byte for byte, character in enumerate(byte_alphabet())}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("tokenizers")


@pytest.mark.parametrize("kind", KINDS)
def test_all_texts_get_the_ids_of_the_library(kind, folder):
    tokenizer, encoder = pair(kind, folder)

    @given(st.lists(TRICKY | nasty_texts() | st.text(CHARACTERS), max_size=8))
    def check(texts):
        assert encoded(encoder, texts) == expected(tokenizer, texts)

    check()


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_in_the_cache_does_not_change_the_ids(kind, folder):
    tokenizer, encoder = pair(kind, folder, SMALLEST_CACHE)
    words = [f" {a}{b}" for a in ["the", "Bundes", "机器", "ещё"] for b in range(40)] + [" long" * 3, "x" * 40] * 3
    texts = ["".join(words[at:] + words[:at]) for at in range(0, len(words), 7)] + TEXTS
    for _ in range(2):
        assert encoded(encoder, texts) == expected(tokenizer, texts)


def test_an_emptied_cache_is_filled_again(folder):
    encoder = pair("gpt2", folder, SMALLEST_CACHE)[1]
    slots = encoder._cache.slots.reshape(-1, 4)
    counts = []
    for number in range(200):
        encoded(encoder, [f" {number}"])
        counts.append(int(encoder._cache.used[0]))
        assert counts[-1] == np.count_nonzero(slots[:, 1]) <= len(slots) / 2
    assert sorted(counts) != counts


def test_pre_tokens_of_equal_hash_are_told_apart(folder):
    """Two words of 16 bytes, chosen to have the same hash."""
    tokenizer, encoder = pair("gpt2", folder)
    texts = words_of_equal_hash()
    data = np.frombuffer("".join(texts).encode(), np.uint8)
    assert key_of_sixteen(data, 0) == key_of_sixteen(data, 16)
    assert encoded(encoder, texts) == expected(tokenizer, texts)


@njit
def key_of_sixteen(data, start):
    return key_of(data, start, 16)


def words_of_equal_hash():
    """Halves that differ by so little after the first step that letters in the second halves can make up for it."""
    seen: dict[int, tuple[bytes, int]] = {}
    drawn = random.Random(1)
    for _ in range(100_000):
        half = bytes(drawn.choices(range(97, 123), k=8))
        state = ((16 ^ int.from_bytes(half, "little")) * 0x9E3779B97F4A7C15) % 2**64
        state ^= state >> 29
        other, other_state = seen.setdefault(state & 0xE0E0E0E0E0E0E0E0, (half, state))
        differences = (state ^ other_state).to_bytes(8, "little")
        choices = [[x for x in range(97, 123) if 97 <= x ^ d < 123] for d in differences]
        if other != half and all(choices):
            ending = [possible[0] for possible in choices]
            changed = [x ^ d for x, d in zip(ending, differences, strict=True)]
            return [(half + bytes(ending)).decode(), (other + bytes(changed)).decode()]
    raise AssertionError("the hash has changed: no two words were found")


def test_pre_tokens_of_all_lengths_are_told_apart(folder):
    """Up to 15 bytes they are in the slots themselves, up to 64 elsewhere, and from there on in no cache."""
    tokenizer, encoder = pair("gpt2", folder)
    texts = [" ".join(letter * length for letter in "abé中") for length in range(70)]
    texts += ["x" * length + last for length in range(70) for last in "yz"]
    for _ in range(2):
        assert encoded(encoder, texts) == expected(tokenizer, texts)
        alone = [encoded(encoder, [text])[0] for text in texts]  # with nothing behind the text
        assert alone == expected(tokenizer, texts)


@pytest.mark.parametrize("unit", ["a", "th", "the", "é", "中", "学习", "\U0001f600", " ", "\n", "!", "7"])
def test_a_megabyte_without_an_end_takes_little_more_than_any_other(unit, folder):
    tokenizer, encoder = pair("gpt2", folder)
    text = unit * (1_000_000 // len(unit.encode()))
    encoded(encoder, [text[:1000]])
    started = time.process_time()
    found = encoder.encode(pa.array([text], pa.large_string()))
    assert time.process_time() - started < 5  # a quadratic merge takes minutes
    assert found.ids.tolist() == expected(tokenizer, [text])[0]


@given(st.lists(st.tuples(st.sampled_from("abcd"), st.integers(1, 12)), max_size=60))
def test_long_and_short_pre_tokens_are_merged_alike(folder_of_repeats, runs):
    """Repeats merge in many ways, of which only the order of ranks and places is right."""
    tokenizer, encoder = folder_of_repeats
    text = "".join(letter * count for letter, count in runs)
    assert encoded(encoder, [text]) == expected(tokenizer, [text])


@pytest.fixture(scope="module")
def folder_of_repeats(tmp_path_factory):
    merges = ["a a", "b a", "aa aa", "a b", "ab ab", "b b", "aa b", "c d", "a ab", "d c", "cd cd", "bb bb", "aaaa b"]
    return of_merges(merges, tmp_path_factory.mktemp("repeats"))


def of_merges(merges, folder):
    """A tokenizer of merges given as in old files."""
    pairs = [tuple(merge.split(" ")) for merge in merges]
    names = list(dict.fromkeys([*byte_alphabet(), *(a + b for a, b in pairs)]))
    tokenizer = Tokenizer(models.BPE(vocab={name: id_ for id_, name in enumerate(names)}, merges=pairs))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    return tokenizer, encoder_for(tokenizer, folder)


def name(text):
    return "".join(byte_alphabet()[byte] for byte in text)


ACROSS = "中é丁a中ab".encode()
WITHIN = [(b"\xe4", b"\xb8"), (b"\xe4\xb8", b"\xad"), (b"\xe4\xb8", b"\x81"), (b"\xb8", b"\xad"), (b"\xc3", b"\xa9")]


@st.composite
def merge_lists(draw):
    """Merges of neighbouring bytes: those that characters are made by, and others across them."""
    merges = list(WITHIN)
    for _ in range(draw(st.integers(0, 12))):
        first, second = draw(st.sampled_from([1, 1, 2, 3])), draw(st.sampled_from([1, 1, 2, 3]))
        at = draw(st.integers(0, len(ACROSS) - first - second))
        merges.append((ACROSS[at : at + first], ACROSS[at + first : at + first + second]))
    return draw(st.permutations(merges))


@given(merge_lists(), st.lists(st.text("中丁éab", max_size=10), min_size=1, max_size=8))
@settings(max_examples=200)
@example([(b"\xad", b"\xc3"), *WITHIN], ["中é"])  # the last byte goes with the next character before its own
@example([(b"a", b"\xe4"), *WITHIN], ["a中"])
@example([("中".encode(), b"a"), (b"a", b"b"), *WITHIN], ["中ab"])  # when there is a 中, the a is gone
def test_merges_across_characters_come_in_their_order(folder, merges, texts):
    """Also if what uses a symbol was learned before it."""
    pairs = [(name(first), name(second)) for first, second in merges]
    names = dict.fromkeys([*byte_alphabet(), *(part for pair_ in pairs for part in (*pair_, "".join(pair_)))])
    tokenizer = Tokenizer(models.BPE(vocab={token: id_ for id_, token in enumerate(names)}, merges=pairs))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    assert encoded(encoder_for(tokenizer, folder), texts) == expected(tokenizer, texts)


def test_tokens_whose_merges_give_something_else_are_kept_whole_if_asked(tmp_path):
    names = [*byte_alphabet(), "ab", "bc", "abc", "Ġabc", name("中文".encode()), "x" * 30, "y" * 80, "Ġ" * 3]
    vocabulary = {token: id_ for id_, token in enumerate(names)}
    for ignore_merges in (True, False):
        model = models.BPE(vocab=vocabulary, merges=[("a", "b"), ("b", "c"), ("ab", "c")], ignore_merges=ignore_merges)
        tokenizer = Tokenizer(model)
        tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        texts = ["abc abc 中文", "中文abc", "x" * 30, "x" * 31, "y" * 80, "y" * 79, "   a", "bc", "a中文"] * 2
        assert encoded(encoder_for(tokenizer, tmp_path), texts) == expected(tokenizer, texts)


def test_special_tokens_in_a_text_are_plain_text_and_others_are_found(folder):
    tokenizer, encoder = pair("qwen2", folder)
    think, longer = tokenizer.token_to_id("<think>"), tokenizer.token_to_id("<think>!")
    texts = [
        "<think>",
        f"a<think><think>!{END}b",
        None,
        "",
        f"{END}<think",
        "é<think>e\u0301",
        "x <think> y",
        "<think>!!",
    ]
    found = encoded(encoder, texts)
    assert found == expected(tokenizer, [text or "" for text in texts])
    assert found[0] == [think]
    assert longer in found[1]
    assert tokenizer.token_to_id(END) not in itertools.chain(*found)


@given(
    st.lists(st.sampled_from(["<think>", "<think>!", "<", END, "a", " ", "e\u0301", "\u0301", "中", "!"]), max_size=12)
)
def test_added_tokens_cut_a_text_as_in_the_library(folder, parts):
    tokenizer, encoder = pair("qwen2", folder)
    texts = ["".join(parts), "".join(reversed(parts)), "plain"]
    assert encoded(encoder, texts) == expected(tokenizer, texts)


UNSTABLE = ["e\u0301", "ᄀ\u1161", "가\u11a8", "\u212b", "\u0958", "\u0344", "q\u0301\u0327", "\U000110a5\U000110ba"]


@pytest.mark.parametrize("text", UNSTABLE)
def test_each_kind_of_text_that_is_not_normal_is_seen(text, folder):
    tokenizer, encoder = pair("qwen2", folder)
    assert encoded(encoder, ["a", text]) == expected(tokenizer, ["a", text])


@given(
    st.lists(
        st.text(st.sampled_from("eE\u0301\u0327\u0300 가ᄀ\u1161\u11a8Å\u212bﬁ\u0958\u093c\u0344 क"), max_size=12),
        max_size=4,
    )
)
def test_texts_are_normalised_to_nfc_if_asked(folder, texts):
    tokenizer, encoder = pair("qwen2", folder)
    assert encoded(encoder, texts) == expected(tokenizer, texts)


def test_a_column_may_have_chunks_slices_and_nulls(folder):
    for kind in ("sluice", "gpt2 with blank", "qwen2"):
        tokenizer, encoder = pair(kind, folder)
        column = pa.chunked_array([pa.array(["skipped", "one e\u0301", None, ""]), pa.array(["two <think>"])]).slice(1)
        ids = expected(tokenizer, ["one e\u0301", "", "", "two <think>"])
        for texts in (column, column.cast(pa.large_string()), column.combine_chunks()):
            found = encoder.encode(texts)
            assert found.ids.tolist() == list(itertools.chain(*ids))
            assert found.ends.tolist() == np.cumsum([len(row) for row in ids]).tolist()
        assert encoder.encode(column.slice(0, 0)).ends.tolist() == []


def test_ids_take_two_bytes_if_all_fit(tmp_path, folder):
    tokenizer, encoder = pair("sluice", folder)
    assert encoder.encode(pa.array(["text"])).ids.dtype == np.uint16
    content = json.loads(tokenizer.to_str())
    content["model"]["vocab"]["the last one"] = 70_000
    path = tmp_path / "wide.json"
    path.write_text(json.dumps(content))
    wide = encoder_of(path).encode(pa.array(["text"])).ids
    assert wide.dtype == np.uint32
    assert wide.tolist() == expected(tokenizer, ["text"])[0]


def test_files_of_older_versions_are_read(tmp_path):
    """GPT-2's own has merges as lines, an empty prefix and suffix, and says nothing of what is newer."""
    tokenizer = trained("gpt2")
    content = json.loads(tokenizer.to_str())
    content["model"]["merges"] = [" ".join(pair_) for pair_ in content["model"]["merges"]]
    content["model"] |= {"continuing_subword_prefix": "", "end_of_word_suffix": "", "unk_token": ""}
    del content["model"]["ignore_merges"], content["model"]["byte_fallback"], content["pre_tokenizer"]["use_regex"]
    (tmp_path / "old.json").write_text(json.dumps(content))
    encoder = encoder_of(tmp_path / "old.json")
    assert encoded(encoder, TEXTS) == expected(tokenizer, TEXTS)


def with_changes(**changes):
    def change(tokenizer):
        for attribute, value in changes.items():
            setattr(tokenizer, attribute, value)

    return change


def with_model(**changes):
    def change(tokenizer):
        for attribute, value in changes.items():
            setattr(tokenizer.model, attribute, value)

    return change


def with_added_and_nfc(tokenizer):
    tokenizer.normalizer = normalizers.NFC()
    tokenizer.add_tokens([AddedToken("<x>", normalized=True)])


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (with_changes(model=models.WordLevel({"a": 0}, "a")), "WordLevel"),
        (with_changes(normalizer=normalizers.Lowercase()), "Lowercase"),
        (with_changes(pre_tokenizer=pre_tokenizers.Whitespace()), "pre-tokenizer"),
        (with_changes(pre_tokenizer=pre_tokenizers.ByteLevel(use_regex=False)), "pre-tokenizer"),
        (with_changes(model=models.BPE({"a": 0, "b": 1, "ab": 2}, [("a", "b")])), "of 256 bytes"),
        (with_changes(model=models.BPE(BYTES, [])), "no merges"),
        (with_model(dropout=0.5), "dropout"),
        (with_changes(model=models.BPE(BYTES, [], continuing_subword_prefix="##")), "continuing_subword_prefix"),
        (with_model(end_of_word_suffix="</w>"), "end_of_word_suffix"),
        (with_added_and_nfc, "after normalisation"),
        (lambda tokenizer: tokenizer.enable_truncation(8), "truncation"),
        (lambda tokenizer: tokenizer.enable_padding(), "padding"),
        (lambda tokenizer: tokenizer.add_tokens([AddedToken("<x>", lstrip=True)]), "lstrip"),
        (lambda tokenizer: tokenizer.add_tokens([AddedToken("<x>", single_word=True)]), "single_word"),
        (lambda tokenizer: tokenizer.add_tokens([AddedToken("<x>", normalized=True)]), "normalized"),
    ],
)
def test_a_tokenizer_that_asks_for_more_is_refused_with_the_reason(change, reason, tmp_path):
    tokenizer = trained("sluice", 300)
    change(tokenizer)
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    found = encoder_of(tmp_path / "tokenizer.json")
    assert isinstance(found, Unsupported)
    assert reason in found.reason


def added(name, id_=900, **flags):
    usual = dict.fromkeys(("special", "single_word", "lstrip", "rstrip", "normalized"), False)
    return {"id": id_, "content": name, **usual, **flags}


@pytest.mark.parametrize("second_id", [900, 901])
def test_a_file_that_adds_a_token_twice_is_refused(second_id, tmp_path):
    """The library then goes by either entry, depending on their order."""
    content = json.loads(trained("sluice", 300).to_str())
    content["added_tokens"] += [added("<x>", special=True), added("<x>", second_id)]
    (tmp_path / "tokenizer.json").write_text(json.dumps(content))
    found = encoder_of(tmp_path / "tokenizer.json")
    assert isinstance(found, Unsupported)
    assert "adds the token '<x>' twice" in found.reason


@pytest.mark.parametrize("name", ["b", "zz"])
def test_a_vocabulary_with_two_names_for_an_id_is_refused(name, tmp_path):
    content = json.loads(trained("sluice", 300).to_str())
    vocabulary = content["model"]["vocab"]
    vocabulary[name] = vocabulary["".join(content["model"]["merges"][0])]
    (tmp_path / "tokenizer.json").write_text(json.dumps(content))
    found = encoder_of(tmp_path / "tokenizer.json")
    assert isinstance(found, Unsupported)
    assert "two names for one id" in found.reason


def test_a_damaged_file_is_an_error_that_names_it(tmp_path):
    (tmp_path / "damaged.json").write_text("{")
    with pytest.raises(StageError, match=r"damaged\.json cannot be read as a tokenizer"):
        encoder_of(tmp_path / "damaged.json")


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_real_documents_get_the_ids_of_the_library(kind, shared_data, tmp_path):
    texts = [text.text for text in real_texts(shared_data, max_characters=10_000)]
    tokenizer = trained(kind, 16_384, texts[::20])
    encoder = encoder_for(tokenizer, tmp_path)
    texts = texts[1::3]
    assert len(texts) > 10_000
    for at in range(0, len(texts), 500):
        assert encoded(encoder, texts[at : at + 500]) == expected(tokenizer, texts[at : at + 500])
