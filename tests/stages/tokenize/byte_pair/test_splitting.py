"""Texts are cut where the library's own pre-tokenizers cut them."""

import itertools
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numba import njit
from tokenizers import Tokenizer

from stages.tokenize.byte_pair.classes import Classes, character_classes
from stages.tokenize.byte_pair.description import Description, described
from stages.tokenize.byte_pair.splitting import pre_token_end
from tests.stages.text.nasty import texts as nasty_texts
from tests.stages.tokenize.byte_pair.tokenizers_to_test import KINDS, trained

CHARACTERS = st.characters(exclude_categories=["Cs"])
ALIKE = "  \t\n\r\u00a0\u3000aAßſΣǅʰªé中文のกา\u0301\u093e1٣Ⅷ²½.,'’s'll/_-😀\u200b\u0378"  # what the rules tell apart
TRICKY = st.text(st.sampled_from(ALIKE) | CHARACTERS, max_size=40)


@njit
def cuts(split: int, most_digits: int, classes: Classes, data: np.ndarray, end: int, ends: np.ndarray) -> int:
    at, count = 0, 0
    while at < end:
        at = pre_token_end(split, most_digits, classes, data, at, end)
        ends[count] = at
        count += 1
    return count


def pieces(description: Description, text: str, behind: str = "") -> list[int]:
    """Bytes of each pre-token of a text, which is followed by another one."""
    data = np.frombuffer((text + behind).encode(), np.uint8)
    end = len(text.encode())
    ends = np.empty(end, np.int64)
    classes = character_classes(description.digits_alone)
    count = cuts(description.split, description.most_digits, classes, data, end, ends)
    return np.diff(ends[:count], prepend=0).tolist()


def expected(tokenizer: Tokenizer, text: str) -> list[int]:
    return [len(piece) for piece, _ in tokenizer.pre_tokenizer.pre_tokenize_str(text)]  # a character stands for a byte


@pytest.fixture(scope="module", params=[kind for kind in KINDS if kind != "gpt2 with blank"])
def pair(request, tmp_path_factory) -> tuple[Tokenizer, Description]:
    tokenizer = trained(request.param, 300)
    path: Path = tmp_path_factory.mktemp("splitting") / "tokenizer.json"
    tokenizer.save(str(path))
    description = described(path)
    assert isinstance(description, Description)
    return tokenizer, description


def test_any_text(pair):
    tokenizer, description = pair

    @given(TRICKY | nasty_texts() | st.text(CHARACTERS), st.sampled_from(["", "x", " ", "\n", "1", "'s", "\u0301" * 8]))
    def check(text, behind):
        assert pieces(description, text, behind) == expected(tokenizer, text)

    check()


def test_all_sequences_of_four_kinds_of_character(pair):
    tokenizer, description = pair
    for characters in itertools.product(" \n\u00a0aAʰ中\u03011.'/", repeat=4):
        text = "".join(characters)
        assert pieces(description, text) == expected(tokenizer, text)


def test_contractions(pair):
    tokenizer, description = pair
    for letters in itertools.product("stremvldSTREMVLDſKx ", repeat=2):
        text = "a'" + "".join(letters) + "b"
        assert pieces(description, text) == expected(tokenizer, text)
    text = "".join(f"x'{chr(c)}" for c in range(0x80, 0x2C00))
    assert pieces(description, text) == expected(tokenizer, text)


def test_each_character_is_of_the_class_that_the_library_sees_in_it(pair):
    """Between a letter, a digit, a sign and white space, a character of another class would be cut otherwise."""
    tokenizer, description = pair
    codes = [c for c in range(0x110000) if not 0xD800 <= c < 0xE000]
    codes = [c for c in codes if c < 0x3400 or c % 97 == 0 or 0xA000 <= c < 0xAC00 or 0xF900 <= c < 0x12800]
    for at in range(0, len(codes), 4096):
        text = "".join(f"a{chr(c)}1{chr(c)}.{chr(c)} A{chr(c)}  " for c in codes[at : at + 4096])
        assert pieces(description, text) == expected(tokenizer, text)
