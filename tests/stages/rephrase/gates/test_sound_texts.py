"""Real texts that are answered by themselves pass every gate that asks for more than faithfulness."""

import random
from collections import defaultdict
from pathlib import Path

import pytest

from stages.rephrase.gates.contacts import new_contacts
from stages.rephrase.gates.injection import injection
from stages.rephrase.gates.language import language_kept
from stages.rephrase.gates.leaks import meta_talk, prompt_leak
from stages.rephrase.gates.refusal import refusal
from stages.rephrase.gates.repetition import repetition
from tests.real_texts import RealText, real_texts
from tests.stages.rephrase.gates.hard_gates import answer, context

TEXTS_OF_A_SET = 25
MAX_REJECTED = 0.005
MAX_REPETITION = 0.2
MIN_LANGUAGE_KEPT = 0.8


@pytest.fixture(scope="module")
def texts(shared_data: Path) -> list[RealText]:
    """Texts of each set, drawn at random, cut to the length of a passage."""
    sets: dict[str, list[RealText]] = defaultdict(list)
    for text in real_texts(shared_data, max_characters=3000):
        sets[text.set].append(text)
    draw = random.Random(7)
    return [text for drawn in sets.values() for text in draw.sample(drawn, min(TEXTS_OF_A_SET, len(drawn)))]


@pytest.mark.parametrize("gate", [refusal, meta_talk, prompt_leak, new_contacts, injection], ids=lambda g: g.__name__)
def test_nothing_is_found_in_a_copy(gate, texts: list[RealText]) -> None:  # type: ignore[no-untyped-def]
    rejected = [text.id for text in texts if gate(text.text, answer(text.text), context(language=None))]
    assert len(rejected) <= MAX_REJECTED * len(texts), rejected


def test_a_copy_is_in_its_own_language_and_repeats_no_more_than_its_source(texts: list[RealText]) -> None:
    rejected = []
    for text in texts:
        given, copy = context(language=None), answer(text.text)
        is_kept = language_kept(text.text, copy, given) >= MIN_LANGUAGE_KEPT
        if not is_kept or repetition(text.text, copy, given) > MAX_REPETITION:
            rejected.append(text.id)
    assert len(rejected) <= MAX_REJECTED * len(texts), rejected


def test_refusals_and_talk_about_the_task_are_rare_in_texts_of_people(texts: list[RealText]) -> None:
    """With no source to excuse them: an answer may happen on such words."""
    found = [text.id for text in texts if refusal("", answer(text.text), context(language=None))]
    assert len(found) <= 0.005 * len(texts), found
    found = [text.id for text in texts if meta_talk("", answer(text.text), context(language=None))]
    assert len(found) <= 0.03 * len(texts), found
