"""Whether the model was done."""

import pytest

from stages.rephrase.answers import ParsedAnswer
from stages.rephrase.gates.finish import finished
from tests.stages.rephrase.gates.hard_gates import answer, context


def test_a_text_after_which_the_model_stopped_is_finished() -> None:
    assert finished("", answer("The bridge dates from 1768."), context()) == 1


@pytest.mark.parametrize("reason", ["length", "repetition", "content_filter", ""])
def test_a_text_that_ended_otherwise_is_not(reason: str) -> None:
    assert finished("", answer("The bridge dates from"), context(finish_reason=reason)) == 0


@pytest.mark.parametrize("text", ["", " \n"])
def test_an_empty_text_is_not(text: str) -> None:
    assert finished("", answer(text), context()) == 0


def test_a_text_that_does_not_parse_is_not() -> None:
    assert finished("", ParsedAnswer("Question: Why?", problem="no_answer"), context()) == 0
