"""Refusals."""

import pytest

from stages.rephrase.gates.refusal import refusal
from tests.stages.rephrase.gates.hard_gates import answer, context

SOURCE = "The bridge was closed on Monday because engineers found a crack. Drivers must take the ring road."
REFUSALS = (
    "I'm sorry, but I can't help with that.",
    "I cannot fulfill this request.",
    "As an AI language model, I do not have opinions about bridges.",
    "I am unable to rewrite this passage because it contains personal information.",
    "Please provide the text that you would like me to rewrite.",
    "No passage was provided.",
    "The bridge was closed on Monday. As an AI, I cannot verify the crack.",
    "Es tut mir leid, aber ich kann diese Anfrage nicht bearbeiten.",
    "Je suis désolé, mais je ne peux pas vous aider.",
    "Lo siento, pero no puedo ayudar con eso.",
    "Mi dispiace, non posso aiutarti.",
    "Извините, но я не могу помочь с этим.",
    "抱歉，我无法提供帮助。",
    "申し訳ありませんが、お手伝いできません。",
)


@pytest.mark.parametrize("text", REFUSALS)
def test_a_refusal_is_found(text: str) -> None:
    assert refusal(SOURCE, answer(text), context()) > 0


@pytest.mark.parametrize(
    "text",
    [
        "The bridge was closed on Monday after engineers had found a crack, so drivers take the ring road.",
        "The council could not help the shop owners, and the mayor was sorry that nobody had told them.",
        "The assistant engineer was unable to open the gate.",
        "Visitors who cannot climb the stairs may use the lift.",
    ],
)
def test_sound_sentences_are_none(text: str) -> None:
    assert refusal(SOURCE, answer(text), context()) == 0


@pytest.mark.parametrize("text", REFUSALS)
def test_what_the_source_says_itself_is_none(text: str) -> None:
    assert refusal(f"{SOURCE}\n{text}", answer(f"{SOURCE}\n{text}"), context()) == 0
