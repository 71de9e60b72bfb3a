"""Whether the numbers of an answer come from its source."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stages.rephrase.gates.changed_numbers import changed_numbers
from stages.rephrase.gates.unsupported_numbers import number_precision, unsupported_numbers
from tests.stages.rephrase.gates.small_answers import score

SHARES = "The university received 1.8 million shares in return for the patent; they were sold in 2005 for $336 million."


@pytest.mark.parametrize(
    ("source", "answer"),
    [
        ("a town of 12,500 people", "a town of 12500 people"),
        ("a town of 12 500 people", "a town of 12,500 people"),
        ("eine Stadt mit 12.500 Einwohnern", "a town of 12,500 people"),
        ("a weight of 1.234,5 kg", "a weight of 1234.5 kg"),
        ("a weight of 1,234.5 kg", "a weight of 1'234,5 kg"),
        ("it cost twelve dollars", "it cost 12 dollars"),
        ("it cost one hundred and twenty-five dollars", "it cost $125"),
        ("it cost 125 dollars", "it cost one hundred twenty five dollars"),
        ("1.8 million shares", "1,800,000 shares"),
        ("two million shares", "2 million shares"),
        ("in millions of dollars: 45.2", "45.2 million dollars"),
        ("sales rose by 50 %", "sales rose by 50 percent"),
        ("the 1990s", "the '90s"),
        ("from 1990-95", "from 1990 to 1995"),
        ("from 1990–95", "until 1995"),
        ("the twentieth century", "the 20th century"),
        ("World War II", "world war 2"),
        ("on 2005-03-14", "on March 14, 2005"),
        ("on 14 March 2005", "on 14.03.2005"),
        ("at 3:30 pm", "at 15:30"),
        ("at 15:30", "at 3:30 in the afternoon"),
        ("a share of 45.27 percent", "a share of 45 percent"),
        ("٢٠٠٥ م", "2005"),
        ("2005年", "in 2005"),
        ("version 0.3.5", "version 0.3.5"),
    ],
)
def test_the_same_number_written_otherwise_is_supported(source: str, answer: str) -> None:
    assert score(unsupported_numbers, source, answer) == 0
    assert score(changed_numbers, source, answer) == 0
    assert score(number_precision, source, answer) == 1


@pytest.mark.parametrize(
    ("source", "answer", "language"),
    [
        ("They waited two and a half hours.", "The wait took 2.5 hours.", "en"),
        ("Elle naquit dans les années vingt.", "Elle est née dans les années 1920.", "fr"),
        ("sie zählte einundzwanzig Türme", "es waren 21 Türme", "de"),
    ],
)
def test_halves_and_decades_in_words_are_numbers(source: str, answer: str, language: str) -> None:
    assert score(unsupported_numbers, source, answer, language) == 0


@pytest.mark.parametrize(
    ("source", "answer", "language"),
    [
        ("a decade ago", "ten years ago", "en"),
        ("two thirds of them agreed", "67 percent of them agreed", "en"),
        ("34 percent of them agreed", "about a third of them agreed", "en"),
        ("one in five survives", "20 percent survive", "en"),
        ("within fourteen days", "within two weeks", "en"),
        ("let it rise for an hour and a half", "let it rise for 90 minutes", "en"),
        ("They waited for half an hour.", "They waited for thirty minutes.", "en"),
        ("He left in 1632 and came back in 1639.", "He came back seven years later.", "en"),
        ("He left in 1632 and came back in 1649.", "He came back seventeen years later.", "en"),
        ("there were 3,974 of them", "there were nearly 4,000 of them", "en"),
        ("nineteen ninety-five", "1995", "en"),
        ("neunzehnhundertfünfundneunzig", "1995", "de"),
        ("quatre-vingt-dix-sept maisons", "97 maisons", "fr"),
        ("doscientos treinta y un barcos", "231 barcos", "es"),
    ],
)
def test_what_follows_from_a_number_is_supported(source: str, answer: str, language: str) -> None:
    assert score(unsupported_numbers, source, answer, language) == 0
    assert score(changed_numbers, source, answer, language) == 0


@pytest.mark.parametrize(
    ("source", "answer"),
    [
        ("a town of 12,500 people", "a town of 13,500 people"),
        ("it cost twelve dollars", "it cost 13 dollars"),
        ("it cost twelve dollars", "it cost fourteen dollars"),
        ("1.8 million shares", "1.8 billion shares"),
        ("a share of 45.27 percent", "a share of 46 percent"),
        ("version 0.3.5", "version 0.4.5"),
        ("the sequence F3", "the sequence F7"),
        ("on May 16 at noon", "on May 4 at noon"),
        ("on May 16 at noon", "sixteen of them at noon"),  # a day is no count
    ],
)
def test_another_number_is_not(source: str, answer: str) -> None:
    assert score(unsupported_numbers, source, answer) == 1


def test_what_an_answer_counts_itself_is_not_checked() -> None:
    source = "Inheritance is done by overriding methods or by adding methods."
    numbered = "There are two ways:\n1. overriding methods\n2. adding methods\n\nStep 3: done [1]"
    assert score(unsupported_numbers, source, numbered) == 0


def test_the_numbering_of_a_list_counts_where_it_skips() -> None:
    assert score(unsupported_numbers, "overriding and adding", "1. overriding\n7. adding") == 1


def test_precision_is_the_share_of_supported_numbers() -> None:
    assert score(number_precision, SHARES, "In 2005 it sold 1.8 million shares for 336 or 337 million.") == 0.75
    assert score(number_precision, SHARES, "It sold the shares.") == 1


@given(st.lists(st.integers(0, 10**12) | st.floats(0, 1e6).map(lambda x: round(x, 3)), min_size=1, max_size=4))
def test_a_copy_has_no_unsupported_and_no_changed_number(values: list[float]) -> None:
    text = ", ".join(f"the height of tower {place} is {value:,}" for place, value in enumerate(values))
    assert score(unsupported_numbers, text, text) == 0
    assert score(changed_numbers, text, text) == 0


@given(st.text(max_size=40))
def test_any_text_supports_itself(text: str) -> None:
    assert score(number_precision, text, text) == 1
