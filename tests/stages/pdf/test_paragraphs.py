"""Lines become paragraphs, and broken words whole."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stages.pdf.document.words import LINE_END_HYPHEN, Joiner, cleaned, hyphenated_words


def joined(*lines: str, hyphenated: frozenset[str] = frozenset()) -> str:
    return Joiner(hyphenated).joined(lines)


@pytest.mark.parametrize("hyphen", ["-", "\u2010", LINE_END_HYPHEN])
def test_a_word_broken_at_a_lines_end_is_made_whole(hyphen: str) -> None:
    assert joined(f"an inter{hyphen}", "national affair") == "an international affair"


def test_a_word_broken_within_a_run_is_made_whole() -> None:
    assert joined(f"an inter{LINE_END_HYPHEN}national affair") == "an international affair"


def test_a_word_that_has_its_hyphen_elsewhere_keeps_it() -> None:
    words = hyphenated_words(["A well-known case is well-", "known."])
    assert joined("it is well-", "known", hyphenated=words) == "it is well-known"


def test_a_hyphen_before_a_capital_or_a_figure_stays() -> None:
    assert joined("Jean-", "Paul came in 1990-", "1995") == "Jean-Paul came in 1990-1995"


def test_a_dash_at_a_lines_end_stays_a_dash() -> None:
    assert joined("so it was -", "or seemed") == "so it was - or seemed"


def test_han_and_kana_are_joined_without_a_space_but_hangul_is_not() -> None:
    assert joined("各反应物与", "各生成物") == "各反应物与各生成物"
    assert joined("한국어 문장은", "띄어 쓴다") == "한국어 문장은 띄어 쓴다"


def test_repaired_words_are_counted() -> None:
    joiner = Joiner(frozenset())
    joiner.joined(["inter-", "national and sub-", "urban"])
    assert joiner.repaired == 2


def test_control_characters_and_lone_surrogates_are_no_text() -> None:
    assert cleaned("a\x00b\u00a0 c\ufeff\ud800") == "ab c"


def test_a_line_without_spaces_may_be_long() -> None:
    assert len(joined("x" * 300_000 + "-", "y" * 300_000)) >= 600_000
    assert hyphenated_words(["x" * 300_000]) == frozenset()


@given(st.lists(st.text(st.sampled_from("ab -\x02中."), min_size=1).map(str.strip).filter(bool)))
def test_joining_loses_nothing_but_hyphens_and_blanks(lines: list[str]) -> None:
    def bare(text: str) -> str:
        return "".join(character for character in text if character not in " -\x02")

    assert bare(joined(*lines)) == bare("".join(lines))
