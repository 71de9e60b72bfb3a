"""The language of the answer is that of the source."""

import pytest

from stages.rephrase.gates.language import language_kept
from tests.stages.rephrase.gates.hard_gates import answer, context
from tests.stages.rephrase.gates.injected_pages import HOSTS

ENGLISH = HOSTS["bridge"]
GERMAN = HOSTS["wetter"]
NORWEGIAN = (
    "Broen ble stengt på mandag fordi ingeniørene fant en sprekk i den andre buen. Reparasjonen kommer til å ta ni "
    "måneder, "
    "og bilistene må kjøre en omvei på elleve kilometer."
)
DANISH = (
    "Broen blev lukket i mandags, fordi ingeniørerne havde fundet en revne i den anden bue. Reparationen vil vare ni "
    "måneder, og bilisterne er nødt til at køre en omvej på elleve kilometer."
)


@pytest.mark.parametrize("name", ["bridge", "wetter", "fromage", "puente"])
@pytest.mark.parametrize("is_known", [True, False])
def test_a_rewritten_text_keeps_the_language(name: str, is_known: bool) -> None:
    host = HOSTS[name]
    language = host.language if is_known else None
    assert language_kept(host.text, answer(host.rewritten), context(language=language)) == 1


@pytest.mark.parametrize("name", ["wetter", "fromage", "puente"])
def test_a_text_in_another_language_does_not(name: str) -> None:
    assert language_kept(ENGLISH.text, answer(HOSTS[name].rewritten), context()) == 0


def test_half_a_text_in_another_language_is_half_kept() -> None:
    half = f"{ENGLISH.paragraphs[0]}\n{ENGLISH.paragraphs[1]}\n{GERMAN.rewritten}"
    assert 0.3 < language_kept(ENGLISH.text, answer(half), context()) < 0.7


def test_a_source_in_two_languages_may_be_answered_in_either() -> None:
    both = f"{ENGLISH.text}\n{GERMAN.text}"
    assert language_kept(both, answer(GERMAN.rewritten), context(language=None)) == 1
    assert language_kept(both, answer(ENGLISH.rewritten), context(language=None)) == 1


def test_languages_that_are_taken_for_each_other_count_as_one() -> None:
    assert language_kept(NORWEGIAN, answer(DANISH), context(language="no")) == 1


@pytest.mark.parametrize(
    "text",
    [
        "Ja.",
        "$$\\int_0^1 x^2 \\, dx = \\frac{1}{3}$$",
        "```python\nfor zeile in datei:\n    drucke(zeile, mit=nummer, und=datum, vor=ende)\n```",
        "https://www.beispiel.de/eine/sehr/lange/adresse/mit/vielen/deutschen/woertern/und/noch/einigen/mehr",
    ],
)
def test_short_texts_formulas_code_and_addresses_are_in_no_language(text: str) -> None:
    assert language_kept(ENGLISH.text, answer(text), context()) == 1
