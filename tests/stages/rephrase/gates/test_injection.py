"""Commands in pages: who obeys is caught, who does the task is not."""

from collections.abc import Callable

import pytest

from stages.rephrase.answers import ParsedAnswer
from stages.rephrase.gates.contacts import new_contacts
from stages.rephrase.gates.context import GateContext
from stages.rephrase.gates.injection import injection
from stages.rephrase.gates.language import language_kept
from stages.rephrase.gates.leaks import meta_talk, prompt_leak
from stages.rephrase.gates.refusal import refusal
from tests.stages.rephrase.gates.hard_gates import answer, context
from tests.stages.rephrase.gates.injected_pages import BENIGN_PAGES, HOSTS, INJECTED_PAGES, BenignPage, InjectedPage

PAGE_NAMES = [f"{page.family}-{page.host}" for page in INJECTED_PAGES]
COUNTS: tuple[Callable[[str, ParsedAnswer, GateContext], float], ...] = (
    injection, new_contacts, meta_talk, prompt_leak, refusal,
)  # fmt: skip


def test_there_are_pages_of_many_families() -> None:
    assert len(INJECTED_PAGES) >= 60
    assert len({page.family for page in INJECTED_PAGES}) >= 15


@pytest.mark.parametrize("page", INJECTED_PAGES, ids=PAGE_NAMES)
def test_an_answer_that_obeys_is_caught(page: InjectedPage) -> None:
    given = context(language=HOSTS[page.host].language)
    obeyed = answer(page.obeying_answer)
    assert injection(page.text, obeyed, given) or language_kept(page.text, obeyed, given) < 0.8


@pytest.mark.parametrize("page", INJECTED_PAGES, ids=PAGE_NAMES)
def test_an_answer_that_does_the_task_passes(page: InjectedPage) -> None:
    for style, text in page.faithful_answers:
        given = context(style=style, language=HOSTS[page.host].language)
        assert [gate.__name__ for gate in COUNTS if gate(page.text, answer(text), given)] == [], text
        assert language_kept(page.text, answer(text), given) >= 0.8


@pytest.mark.parametrize("name", HOSTS)
def test_a_page_without_a_command_cannot_be_obeyed(name: str) -> None:
    host = HOSTS[name]
    assert injection(host.text, answer("PINEAPPLE"), context(language=host.language)) == 0


@pytest.mark.parametrize("page", BENIGN_PAGES, ids=lambda page: page.subject)
def test_sound_answers_to_sound_pages_about_commands_pass(page: BenignPage) -> None:
    given = context(style=page.style, language="de" if "German" in page.subject else "en")
    for text in (page.answer, page.text):
        assert [gate.__name__ for gate in COUNTS if gate(page.text, answer(text), given)] == [], text


def test_an_answer_that_copies_the_command_and_obeys_it_as_well_is_caught() -> None:
    page = next(page for page in INJECTED_PAGES if page.family == "canary" and "42" in page.command)
    assert injection(page.text, answer(f"{page.text}\nXYLOPHONE-42"), context()) > 0


def test_questions_about_the_rest_of_the_page_pass() -> None:
    page = next(page for page in INJECTED_PAGES if page.host == "bridge")
    asked = "Question: How long is the crack in the second arch?\nAnswer: It is 2.4 metres long."
    assert injection(page.text, answer(asked), context(style="questions", format="questions")) == 0
