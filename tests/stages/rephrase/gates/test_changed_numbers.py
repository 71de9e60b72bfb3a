"""Numbers of an answer where its source has others."""

import pytest

from stages.rephrase.gates.changed_numbers import changed_numbers
from stages.rephrase.gates.unsupported_numbers import unsupported_numbers
from tests.stages.rephrase.gates.small_answers import score

SHARES = "The university received 1.8 million shares in return for the patent; they were sold in 2005 for $336 million."


def test_the_numbers_of_articles_belong_to_their_titles() -> None:
    source = "726. Purchases.\n727. Additional purchases.\n728. Certificates of value.\n"
    assert score(changed_numbers, source, "727. Purchases.\n") == 1
    assert score(changed_numbers, source, "726. Purchases.\n728. Certificates of value.\n") == 0


def test_a_number_in_the_place_of_another_is_changed() -> None:
    assert score(changed_numbers, SHARES, "The university sold the shares in 2006.") == 1
    assert score(changed_numbers, SHARES, "In return for the patent it received 1.9 million shares.") == 1


def test_a_number_added_to_a_statement_of_the_source_is_changed() -> None:
    source = "Visitors crossed the bridge in 1887, and trains carried granite to the harbour."
    answer = "Visitors crossed the bridge in 1887. Trains carried granite to the harbour from 1893."
    assert score(changed_numbers, source, answer) == 1


def test_a_number_that_came_with_a_statement_of_its_own_is_unsupported_but_not_changed() -> None:
    answer = "The shares were sold in 2005. Penalties against cheating websites began around 2007 in many countries."
    assert score(changed_numbers, SHARES, answer) == 0
    assert score(unsupported_numbers, SHARES, answer) == 1


def test_two_numbers_that_changed_places_are_changed() -> None:
    source = "The tower has 12 bells. The bridge has 31 arches."
    assert score(changed_numbers, source, "The tower has 31 bells. The bridge has 12 arches.") == 2
    assert score(changed_numbers, source, "The bridge has 31 arches. The tower has 12 bells.") == 0


def test_parts_of_a_sentence_may_change_places() -> None:
    source = "The northern tower has 12 bells and the southern tower has 31 bells."
    answer = "The southern tower has 31 bells and the northern tower has 12 bells."
    assert score(changed_numbers, source, answer) == 0


def test_leaving_out_a_sentence_changes_no_number() -> None:
    source = "Step 1 begins at noon. The crew rests. Step 2 follows at dusk. Step 3 follows at dawn."
    assert score(changed_numbers, source, "Step 1 begins at noon. Step 3 follows at dawn.") == 0


def test_a_number_of_the_source_in_another_statement_is_not_changed() -> None:
    source = (
        "In 1891 the mill ground 3,500 sacks. When the railway reached the town in 1897, it sold flour further off."
    )
    assert score(changed_numbers, source, "After the railway came in 1897, the mill sold its flour further off.") == 0


def test_a_number_one_digit_from_one_that_is_lost_is_changed() -> None:
    source = "The bridge is 348 metres long and was opened by the king."
    assert score(changed_numbers, source, "Opened by the king, it measures 349 metres in all its length.") == 1


def test_a_small_number_in_words_before_the_same_thing_is_changed() -> None:
    assert score(changed_numbers, "The abbey had seven bells.", "There were five bells in the abbey.") == 1


@pytest.mark.parametrize(
    ("source", "answer"),
    [
        ("The abbey keeps two bells in its tower.", "In its tower the abbey keeps five bells."),
        ("The mill had sixteen sails and ran for two years.", "The mill, which ran for two years, had nineteen sails."),
        ("Two thirds of the members voted for it.", "Three quarters of the members voted for it."),
        ("He left in 1632 and came back in 1639.", "He left in 1632 and came back twelve years later, in 1639."),
        ("The show is on Oct. 10, after 12 months of work.", "After 12 months of work the show is on Oct. 12."),
        ("The crew of eight had twelve oars.", "The crew of twelve had twelve oars."),
    ],
)
def test_another_number_in_words_is_changed(source: str, answer: str) -> None:
    assert score(changed_numbers, source, answer) > 0


def test_small_counts_of_what_the_source_enumerates_are_not_changed() -> None:
    source = "The garden grows pears, plums, quinces, medlars and figs."
    assert score(changed_numbers, source, "The garden grows five fruits: pears, plums, quinces, medlars, figs.") == 0


def test_a_day_of_a_month_that_the_source_has_otherwise_is_changed() -> None:
    source = "It opens on 14 February, as the mayor of the town said. Ten years passed, and the fine was 250 dollars."
    answer = "Ten years passed, and the fine was 250 dollars. The start is set for February 10."
    assert score(changed_numbers, source, answer) == 1


def test_a_number_between_the_same_numbers_as_a_lost_one_is_changed() -> None:
    source = "A fire in 1743. Today fifteen clerks work there, and 30,000 guests come."
    answer = "After 1743 it burnt. Fifty people are employed, for 30,000 readers."
    assert score(changed_numbers, source, answer) == 1


def test_a_small_number_before_a_thing_that_the_source_counts_otherwise_is_changed() -> None:
    assert score(changed_numbers, "The abbey had seven bells.", "Visitors hear four bells.") == 1
    assert score(changed_numbers, "The abbey had seven bells.", "Visitors hear four songs.") == 0


def test_a_new_number_in_a_name_is_changed() -> None:
    source = "The sequence F3 is long."
    assert score(changed_numbers, source, "Cell F7 lights up when anybody presses a key.") == 1
    assert score(changed_numbers, source, "Cell 7 lights up when anybody presses a key.") == 0


def test_a_new_number_at_the_place_of_a_lost_one_is_changed_whatever_else_is_said() -> None:
    source = "The tower of the abbey is 348 metres high."
    said = "Pilgrims, merchants and sailors who passed saw the {}, 517 as measured by everybody."
    assert score(changed_numbers, source, said.format("tower of the abbey")) == 1
    assert score(changed_numbers, source, said.format("lighthouse of the cape")) == 0


def test_years_said_to_pass_are_those_between_years_of_the_source() -> None:
    source = "He left in 1632 and came back in 1639."
    assert score(changed_numbers, source, "Twelve years later everybody had forgotten the quarrel.") == 1
    assert score(changed_numbers, source, "Seven years later everybody had forgotten the quarrel.") == 0


def test_one_may_stand_anywhere() -> None:
    source = "Last harvest two granite windmills collapsed, and one burned."
    assert score(changed_numbers, source, "Last harvest one granite windmill burned.") == 0
