"""Numbers as they are read from a text; those in words have tests of their own."""

import pytest

from stages.rephrase.gates.numbers import Numbers, Value, is_day, months, months_beside, numbers


def readings(text: str, language: str | None = "en") -> list[set[Value]]:
    return [set(number.readings) for number in numbers(text, language).found]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2005", {2005}),
        ("12,500", {12500, 12.5}),  # English thousands, or a German decimal
        ("0.125", {0.125}),  # no group: it begins with 0
        ("1.8", {1.8}),
        ("12 500", {12500, 12.5}),
        ("1,234.5", {1234.5}),
        ("1.234,5", {1234.5}),
        ("1'234'567", {1234567}),
        ("٢٠٠٥", {2005}),
        ("a third", {3, 0.33, 0.333, 33.3, 33}),  # a third one, or a part
        ("two thirds", {2, 0.67, 0.667, 66.7, 66, 67}),
    ],
)
def test_a_number_has_all_values_that_its_writing_may_mean(text: str, expected: set[Value]) -> None:
    assert readings(f"it was {text} then") == [expected]


@pytest.mark.parametrize("text", ["14.03.2005", "14.3.2005", "2005-3-14", "2005/3/14"])
def test_dates_are_several_numbers(text: str) -> None:
    assert {value for found in readings(text) for value in found} == {14, 3, 2005}


def test_a_version_is_no_decimal() -> None:
    assert readings("version 10.100.2") == [{10}, {100}, {2}]


def test_a_word_of_scale_multiplies_the_number_before_it() -> None:
    (number,) = numbers("It received 1.8 million shares.", "en").found
    assert (number.readings, number.scaled) == ({1.8}, {1_800_000})


def test_a_number_knows_its_characters_and_its_tokens() -> None:
    text = "They kept twenty-one bells."
    content = numbers(text, "en")
    (number,) = content.found
    assert text[slice(*number.span)] == "twenty-one"
    assert content.tokens[number.place : number.end] == ("twenty", "one")
    assert content.behind(number) == "bells"


def test_nothing_is_behind_the_last_number() -> None:
    content = numbers("bells: 12", "en")
    assert content.behind(content.found[0]) == ""


@pytest.mark.parametrize(
    ("text", "flag"),
    [
        ("nearly 4,000", "is_about"),
        ("the twelfth", "is_ordinal"),
        ("three quarters", "is_fraction"),
        ("the nineties", "is_decade"),
        ("twelve", "in_words"),
    ],
)
def test_how_a_number_is_said_is_kept(text: str, flag: str) -> None:
    flags = ("is_about", "is_ordinal", "is_fraction", "is_decade")
    (number,) = numbers(f"in {text} of them", "en").found
    assert getattr(number, flag)
    assert [name for name in flags if getattr(number, name) and name != flag] == []


def dates(text: str) -> tuple[Numbers, set[int]]:
    content = numbers(text, "en")
    return content, months(content)


def test_a_month_that_is_also_another_word_is_one_only_beside_a_number() -> None:
    assert [dates(text)[1] for text in ("They may march.", "on 4 May", "in October")] == [set(), {2}, {1}]


@pytest.mark.parametrize("text", ["on Oct. 10", "on 10 October", "am 10. Oktober", "on October 10"])
def test_a_day_stands_beside_its_month(text: str) -> None:
    content, named = dates(text)
    (day,) = content.found
    assert is_day(day)
    assert months_beside(day, content) == named != set()
