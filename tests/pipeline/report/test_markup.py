"""Text becomes markup in one place, and comes out of it as text."""

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st
from lxml import etree

from pipeline.report.markup import clean, duration, element, number, percent, rounded, signed

HOSTILE = st.text() | st.sampled_from(
    ['"><script>alert(1)</script>', "' onload='x", "</pre>", "\x00\u202e\ufeff", "\ud800"]
)


@given(HOSTILE, HOSTILE)
def test_any_text_is_one_element_whose_text_and_attribute_read_back(text: str, attribute: str) -> None:
    parsed = etree.fromstring(element("p", text, title=attribute))
    assert len(parsed) == 0
    assert (parsed.text or "") == clean(text)
    assert "".join(parsed.get("title").split()) == "".join(clean(attribute).split())


@given(HOSTILE)
def test_cleaned_text_has_no_character_that_hides_or_reorders(text: str) -> None:
    left = {unicodedata.category(c) for c in clean(text) if c not in "\n\t\u200c\u200d"}
    assert not left & {"Cc", "Cf", "Cs", "Cn"}


def test_cleaning_takes_bidirectional_controls_nul_and_escape_away_and_keeps_lines() -> None:
    assert clean("a\u202eb\u2066c\x00\x1b[31m\n\td") == "abc[31m\n\td"


def test_markup_inside_markup_is_not_escaped_twice() -> None:
    assert element("p", element("b", "a & b"), " < c") == "<p><b>a &amp; b</b> &lt; c</p>"


@pytest.mark.parametrize(
    ("shown", "expected"),
    [
        (number(1204), "1,204"),
        (number(2.5), "2.500"),
        (number(0.01234), "0.01234"),
        (rounded(9_999), "9,999"),
        (rounded(61_200), "61.2\u00a0k"),
        (rounded(2_104_000), "2.10\u00a0M"),
        (percent(0.0004), "<\u00a00.1\u00a0%"),
        (percent(0.123), "12\u00a0%"),
        (percent(0.012), "1.2\u00a0%"),
        (percent(0), "0\u00a0%"),
        (duration(252), "4\u00a0min 12\u00a0s"),
        (duration(0.4), "0.4\u00a0s"),
        (duration(11_100), "3\u00a0h 05\u00a0min"),
        (signed(-0.1234), "−0.123"),
        (signed(0.1234), "+0.123"),
        (signed(-0.0001), "0.000"),
    ],
)
def test_numbers_are_written_for_people(shown: str, expected: str) -> None:
    assert shown == expected
