"""Pairs of question and answer."""

import pytest

from stages.rephrase.gates.questions import duplicate_questions, question_support, questions_kept, sound_pairs
from tests.stages.rephrase.gates.hard_gates import answer, context, pairs
from tests.stages.rephrase.gates.injected_pages import HOSTS

SOURCE = HOSTS["bridge"].text
QUESTIONS = context(style="questions", format="questions")
SOUND = (
    ("Why was the bridge at Harrow Mill closed?", "Engineers found a crack in its second arch."),
    ("How long is the crack?", "2.4 metres"),
    ("Who said what the repairs would cost?", "County engineer Marta Lindqvist."),
    ("May cyclists still cross the bridge?", "Yes."),
    ("Is it true that drivers may cross on the upstream side?", "No, drivers must use the ring road."),
    ("How many vehicles did the bridge carry a day?\nA) 1,768\nB) 4,300\nC) 9,999", "B) 4,300"),
    ("Explain how the crack has changed since the survey of 2019.", "It has widened by 6 millimetres."),
)
UNSOUND = (
    ("Who designed the Eiffel Tower in Paris?", "Gustave Eiffel designed the tower."),  # not about the source
    ("Why was the bridge at Harrow Mill closed?", "A lorry with explosives burnt for hours."),  # invented
    ("How long is the crack?", "7.5 metres"),  # another number
    ("How much did the bridge cost when it was built?", "The passage does not say."),  # nothing to learn
    ("How much did the bridge cost when it was built?", "The cost of the bridge is not stated."),
    ("What is the main idea of this passage about the bridge?", "The bridge was closed because of a crack."),
    ("Why was the bridge closed?", ""),
    ("Why?", "Engineers found a crack in its second arch."),
    ("What did the survey of 1999 say about the crack?", "The crack is 2.4 metres long."),  # another year
)


@pytest.mark.parametrize("pair", SOUND)
def test_a_pair_that_the_source_answers_is_sound(pair: tuple[str, str]) -> None:
    assert sound_pairs(SOURCE, pairs(pair), QUESTIONS) == [True]


@pytest.mark.parametrize("pair", UNSOUND)
def test_a_pair_that_it_does_not_answer_is_not(pair: tuple[str, str]) -> None:
    assert sound_pairs(SOURCE, pairs(pair), QUESTIONS) == [False]


@pytest.mark.parametrize(
    ("source", "pair"),
    [
        ("wetter", ("Wie viele Wehre hat das Land seitdem erneuert?", "Das Land hat 14 Wehre erneuert.")),
        ("wetter", ("Führte die Schwarze Elster im Sommer 2018 Wasser?", "Nein, auf 40 Kilometern nicht.")),
        ("fromage", ("Quand la coopérative a-t-elle été fondée ?", "En 1926.")),
        ("puente", ("¿Cuándo se cambió la lámpara de aceite?", "En 1961 por una eléctrica.")),
    ],
)
def test_other_languages_are_judged_alike(source: str, pair: tuple[str, str]) -> None:
    host = HOSTS[source]
    asked = context(style="questions", format="questions", language=host.language)
    assert sound_pairs(host.text, pairs(pair), asked) == [True]


def test_chinese_pairs_are_judged_by_their_signs() -> None:
    source = "哈罗磨坊的老石桥星期一关闭了，因为工程师在第二个桥拱上发现了一条长2.4米的裂缝。维修需要九个月。"
    asked = context(style="questions", format="questions", language="zh")
    good, bad = ("老石桥为什么关闭？", "工程师发现了裂缝。"), ("谁设计了埃菲尔铁塔？", "古斯塔夫·埃菲尔设计了它。")
    assert sound_pairs(source, pairs(good, bad), asked) == [True, False]


def test_a_question_that_is_asked_twice_is_kept_once() -> None:
    twice = pairs(SOUND[1], ("How long is the crack now?", "2.4 metres."), SOUND[0])
    assert sound_pairs(SOURCE, twice, QUESTIONS) == [True, False, True]
    assert duplicate_questions(SOURCE, twice, QUESTIONS) == 1


@pytest.mark.parametrize(
    "second",
    [
        ("When was the bridge built?", "In 1768."),
        ("How many vehicles did the council expect?", "Less than a third of them."),
        ("What will the repairs need?", "Nine months."),
    ],
)
def test_different_questions_in_similar_words_are_not_the_same(second: tuple[str, str]) -> None:
    first = ("What will the repairs cost?", "About 1.2 million pounds.")
    assert duplicate_questions(SOURCE, pairs(first, second), QUESTIONS) == 0


def test_shares_are_of_all_pairs() -> None:
    mixed = pairs(SOUND[0], SOUND[1], UNSOUND[0], SOUND[1])
    assert question_support(SOURCE, mixed, QUESTIONS) == 0.75
    assert questions_kept(SOURCE, mixed, QUESTIONS) == 0.5


def test_an_answer_without_pairs_fails_no_gate_of_pairs() -> None:
    text = answer("The bridge dates from 1768.")
    assert question_support(SOURCE, text, context()) == questions_kept(SOURCE, text, context()) == 1
    assert duplicate_questions(SOURCE, text, context()) == 0
