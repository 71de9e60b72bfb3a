"""Whether letters are those of a language, and what OCR says to that."""

from __future__ import annotations

import random
import string

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stages.pdf.plausibility import (
    MAX_STRANGENESS,
    ON_SUSPICION,
    ON_TRUST,
    Judgement,
    code_points,
    is_contradicted,
    judgement,
    noise_share,
)
from tests.stages.pdf.routing_files import WORDS, prose

FRENCH = "D'où vient-il que personne n'est content de son sort, que les uns envient les autres, et réciproquement ? "


def judged(text: str) -> Judgement:
    return judgement(code_points(text))


@pytest.mark.parametrize("language", WORDS)
def test_running_text_of_any_language_is_plausible(language: str) -> None:
    assert judged(prose(random.Random(1), language, 150)).is_plausible


@pytest.mark.parametrize("language", ["English", "German", "Finnish", "Turkish", "Russian", "Greek", "Polish"])
def test_a_permuted_alphabet_is_not(language: str) -> None:
    found = []
    for seed in range(20):
        rng = random.Random(seed)
        text = prose(rng, language, 150).lower()
        letters = sorted({letter for letter in text if letter.isalpha()})
        permuted = rng.sample(letters, len(letters))
        found.append(judged(text.translate(str.maketrans(dict(zip(letters, permuted, strict=True))))).is_scrambled)
    assert sum(found) >= 19  # vowels may happen to be put in the place of vowels


@pytest.mark.parametrize("by", [-3, -1, 1, 2, 13])
def test_a_shifted_alphabet_is_not(by: int) -> None:
    alphabet = string.ascii_lowercase
    table = str.maketrans(alphabet, alphabet[by:] + alphabet[:by])
    assert judged(prose(random.Random(2), "English", 60).lower().translate(table)).is_scrambled


def test_cyrillic_text_in_latin_letters_is_not() -> None:
    text = prose(random.Random(3), "Russian", 100)
    assert judged(text.encode("cp1251", "replace").decode("latin-1")).is_scrambled


def test_a_few_words_are_neither_plausible_nor_implausible() -> None:
    few = judged("xqzk wvvj qqpt")
    assert not few.is_plausible
    assert not few.is_implausible


def test_scripts_that_no_list_judges_are_left_alone() -> None:
    assert not judged("这是一个关于语言的句子。" * 50).is_implausible
    assert not judged("هذه جملة عن اللغة " * 50).is_implausible


def test_numbers_leaders_and_lone_letters_say_nothing() -> None:
    assert not judged("12.5 33.1 x y z . . . . . . . . . . ---- 7 " * 40).is_implausible


def test_a_letter_that_a_language_needs_is_missed() -> None:
    text = prose(random.Random(4), "English", 400)
    assert judged(text.replace("e", "")).lost == "e"
    assert judged(text).lost == ""


def test_signs_in_the_place_of_letters_are_implausible() -> None:
    table = str.maketrans(string.ascii_lowercase, '!"#$%&()+,/:;<>?@[]^`{}~|\\')
    assert judged(prose(random.Random(5), "English", 100).lower().translate(table)).is_signs


def test_upper_case_is_as_plausible_as_lower_case() -> None:
    text = prose(random.Random(6), "English", 100)
    assert judged(text.upper()).strangeness == pytest.approx(judged(text.lower()).strangeness)


@given(st.text(max_size=300))
def test_any_text_can_be_judged(text: str) -> None:
    found = judged(text)
    assert 0 <= found.strangeness <= 1.5
    assert found.pairs <= len(text) + 1
    assert 0 <= noise_share(text) <= 1


def test_sound_text_is_not_noisy() -> None:
    assert noise_share(FRENCH * 3) == 0.0
    assert noise_share("In 1984, prices rose by 3.5 % (cf. Smith & Sons, pp. 12-14) – or so they said. " * 3) < 0.1


def test_what_ocr_makes_of_handwriting_is() -> None:
    read = "-e-el-k- 5 .A.:01.6e.e. tet:A\u202244 d-atte- ey. ..LCV WI.GL,41.44-gta*Air. N.k...O.Aet ciA# 14 k-- "
    assert noise_share(read * 2) > 0.5


def test_ocr_that_reads_other_words_contradicts_a_layer() -> None:
    read = prose(random.Random(7), "English", 100)
    assert is_contradicted(prose(random.Random(8), "Finnish", 100), read, ON_SUSPICION)
    assert not is_contradicted(read, read, ON_TRUST)


def test_ocr_that_reads_a_letter_which_the_layer_lacks_contradicts_it() -> None:
    read = prose(random.Random(9), "English", 200)
    assert is_contradicted(read.replace("c", ""), read, ON_SUSPICION)


def test_ocr_that_reads_next_to_nothing_contradicts_nothing() -> None:
    assert not is_contradicted(prose(random.Random(10), "English", 100), "two words", ON_SUSPICION)


def test_a_part_of_the_page_is_not_contradicted_by_the_rest() -> None:
    part, rest = prose(random.Random(11), "English", 40), prose(random.Random(12), "German", 200)
    assert not is_contradicted(part, f"{part} {rest}", ON_SUSPICION)


def test_the_bound_lies_between_sound_and_enciphered_text() -> None:
    rng = np.random.default_rng(0)
    sound = [judged(prose(random.Random(seed), "English", 80)).strangeness for seed in range(10)]
    enciphered = []
    for seed in range(10):
        table = str.maketrans(string.ascii_lowercase, "".join(rng.permutation(list(string.ascii_lowercase))))
        enciphered.append(judged(prose(random.Random(seed), "English", 80).lower().translate(table)).strangeness)
    assert max(sound) < MAX_STRANGENESS < min(enciphered)


def test_a_listing_that_lacks_letters_of_the_prose_beside_it_is_believed() -> None:
    listing = "data mask fill dtype diff array int print axis list dict zip map max min sum abs all any bin " * 4
    rest = prose(random.Random(12), "English", 300)
    assert not is_contradicted(listing, f"{listing} {rest}", ON_SUSPICION)
