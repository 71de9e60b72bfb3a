"""Names of an answer against those of its source."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stages.rephrase.gates.entities import changed_entities, entity_precision, entity_recall, unsupported_entities
from tests.stages.rephrase.gates.small_answers import score

BELLMAN = (
    "The term was used in the 1940s by Richard Bellman at the RAND Corporation. Bellman's contribution is kept in "
    "the name of the Bellman equation. The World Wide Web came later, and so did iPhones. Most pages are in Italy."
)


@pytest.mark.parametrize(
    "answer",
    [
        "It goes back to Richard Bellman.",
        "The term that R. Bellman used is old.",
        "The equation is Bellmans.",
        "He used it at RAND.",
        "It is older than the WWW.",
        "Many pages are Italian.",
        "The term of Richard Belman is used.",
        "The Term Was Used in the 1940s",
        "Dynamic programming is an old term.",
        "It was used before January.",
    ],
)
def test_forms_of_a_name_and_words_that_are_none_are_supported(answer: str) -> None:
    assert score(unsupported_entities, BELLMAN, answer) == 0


def test_an_expansion_of_an_acronym_of_the_source_is_supported() -> None:
    assert score(unsupported_entities, "He works at the IBM lab.", "He joined International Business Machines.") == 0


def test_each_word_of_an_invented_name_counts_once() -> None:
    answer = "The term goes back to Elena Marchetti. Later Elena Marchetti left."
    assert score(unsupported_entities, BELLMAN, answer) == 2


def test_a_name_in_the_place_of_another_is_changed() -> None:
    assert score(changed_entities, BELLMAN, "The term was used in the 1940s by Tobias Varga at RAND.") == 1
    assert score(changed_entities, BELLMAN, "The term was used in the 1940s by Richard Bellman.") == 0


def test_a_lone_word_that_may_be_no_name_counts_less() -> None:
    assert score(unsupported_entities, BELLMAN, "It became part of HTML.") == 0.5
    assert score(unsupported_entities, BELLMAN, "It became part of Marketing.") == 0.25
    assert score(unsupported_entities, BELLMAN, "It became part of Velmora.") == 1


def test_a_heading_in_title_case_has_no_names_that_a_dictionary_knows() -> None:
    assert score(unsupported_entities, BELLMAN, "Key Facts About Early Programming\n\nThe term is old.") == 0


def test_german_nouns_are_no_names() -> None:
    source = "Der Begriff stammt von Richard Bellman."
    assert score(unsupported_entities, source, "Die Bezeichnung hat ein Mathematiker der Firma geprägt.", "de") == 0
    assert score(unsupported_entities, source, "Die Bezeichnung hat Dmitri Okonkwo geprägt.", "de") >= 1


def test_scripts_without_capitals_have_no_names() -> None:
    assert score(entity_precision, "東京タワーは高い。", "大阪城は古い。", "ja") == 1


def test_precision_and_recall_are_shares_of_names() -> None:
    assert score(entity_precision, BELLMAN, "It was Richard Bellman, it was not Elena Marchetti.") == 0.5
    assert score(entity_precision, BELLMAN, "It was somebody.") == 1
    assert score(entity_recall, "Both Ada Lovelace and Grace Hopper wrote it.", "It was Ada Lovelace.") == 0.5


@given(st.text(max_size=80))
def test_any_text_supports_itself(text: str) -> None:
    assert score(unsupported_entities, text, text) == 0
    assert score(entity_recall, text, text) == 1


@pytest.mark.parametrize(
    ("source", "answer", "language"),
    [
        ("He was an MP from 1997.", "He was a Member of Parliament from 1997.", "en"),
        ("The firm moved to San Jose, Calif. in May.", "In May the firm moved to San Jose in California.", "en"),
        ("Es gab Forschungs- und Lehrzulagen.", "Es gab Forschungszulagen.", "de"),
        ("Le Sacré-Cœur domine Paris.", "Paris est dominé par le Sacré-Coeur.", "fr"),
    ],
)
def test_a_name_spelt_another_way_is_the_same_name(source: str, answer: str, language: str) -> None:
    assert score(unsupported_entities, source, answer, language) == 0


def test_a_place_that_a_dictionary_knows_is_a_name_all_the_same() -> None:
    source = "The dam was finished in spring and holds back the river for the farms of the valley."
    assert score(unsupported_entities, source, "The dam in Oregon was finished in spring.") >= 1
