"""Talk about the task, and words of the prompt."""

import pytest

from stages.rephrase.gates.leaks import meta_talk, prompt_leak
from tests.stages.rephrase.gates.hard_gates import FENCE, answer, context

SOURCE = "The bridge dates from 1768. It carried 4,300 vehicles a day when it was closed on Monday."
SOUND = "Built in 1768, the bridge carried 4,300 vehicles each day until its closure on Monday."
TALK = (
    "Here is the rewritten passage:",
    "Sure! Here's a neutral version of the text:",
    "Certainly.",
    "According to the passage,",
    "The provided text describes a bridge.",
    "The passage does not mention who built it.",
    "I have removed the advertisements.",
    "As requested, the numbers were kept.",
    "Let me know if you need any further changes.",
    "Note: I rewrote the last sentence.",
    "I hope this helps!",
    "Hier ist der umgeschriebene Text:",
    "Wie gewünscht ohne Werbung:",
    "Voici la version réécrite du texte :",
    "Aquí está el texto reescrito:",
    "Ecco il testo riscritto:",
    "Вот переписанный текст:",
    "以下是改写后的文本：",
)


@pytest.mark.parametrize("talk", TALK)
def test_talk_about_the_task_is_found(talk: str) -> None:
    assert meta_talk(SOURCE, answer(f"{talk} {SOUND}"), context()) > 0


@pytest.mark.parametrize(
    "text",
    [
        SOUND,
        "The north passage is narrow, and the text on the plaque was carved in 1768.",
        "He noted the number of vehicles and asked the council for an answer.",
        "The document was signed in Vienna; its original text is lost.",
        "The crack, of course, is not the only one. Sure, there are others.",
    ],
)
def test_sound_sentences_are_none(text: str) -> None:
    assert meta_talk(SOURCE, answer(text), context()) == 0


@pytest.mark.parametrize("talk", TALK)
def test_what_the_source_says_itself_is_no_talk_about_the_task(talk: str) -> None:
    assert meta_talk(f"{talk} {SOURCE}", answer(f"{talk} {SOUND}"), context()) == 0


@pytest.mark.parametrize(
    "leak",
    [
        "Keep every fact, number and name of the passage.",
        FENCE,
        "<|im_start|>assistant",
        "[/INST]",
        "</think>",
        "Assistant: ",
    ],
)
def test_words_of_the_prompt_are_found(leak: str) -> None:
    assert prompt_leak(SOURCE, answer(f"{SOUND}\n{leak}"), context()) > 0


def test_a_few_words_that_the_prompt_has_as_well_are_none() -> None:
    assert prompt_leak(SOURCE, answer("The neutral prose of an almanac names every fact."), context()) == 0


def test_a_page_that_says_what_the_prompt_says_leaks_nothing() -> None:
    page = "Advice for editors: keep every fact, number and name of the passage and add none. <|im_start|> is a token."
    assert prompt_leak(page, answer(page), context()) == 0
