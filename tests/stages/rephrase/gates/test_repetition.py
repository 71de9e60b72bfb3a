"""Loops, and what is said again."""

from stages.rephrase.gates.repetition import repetition
from tests.stages.rephrase.gates.hard_gates import answer, context
from tests.stages.rephrase.gates.injected_pages import HOSTS

TEXT = HOSTS["bridge"].text
SENTENCE = "Until then drivers must use the ring road, a detour of eleven kilometres through the hills. "


def test_a_text_that_says_everything_once_repeats_nothing() -> None:
    assert repetition(TEXT, answer(HOSTS["bridge"].rewritten), context()) == 0


def test_a_loop_is_all_repetition() -> None:
    assert repetition(TEXT, answer(TEXT + SENTENCE * 6), context()) == 1


def test_a_text_that_is_said_twice_is_half_repeated() -> None:
    assert 0.4 < repetition(TEXT, answer(f"{TEXT}\n{TEXT}"), context()) < 0.5


def test_what_the_source_repeats_the_answer_may_repeat() -> None:
    song = "\n".join(f"{SENTENCE} Verse {n} of the song." for n in range(3))
    assert repetition(song, answer(song), context()) == 0
    assert repetition(SENTENCE * 6, answer(SENTENCE * 6), context()) == 0
