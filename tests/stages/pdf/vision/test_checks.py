"""What gives an answer away that is not the page's text."""

import pytest

from stages.pdf.vision.checks import agreement


def test_agreement_counts_words_on_both_sides() -> None:
    measured = agreement("one two two three", "One, TWO four. Five")
    assert (measured.precision, measured.recall) == (2 / 4, 2 / 4)


@pytest.mark.parametrize(
    "markdown",
    [
        "![A drawing of a lighthouse at night](page_1_2_3_4.png)\n\nthe wall",
        r"the \(x_{max}\) $$\sum_i \alpha_i$$ wall",
        '<table><tr><td colspan="2">the</td><td>wall</td></tr></table>',
        "**the** [wall](https://example.org/some/path)",
    ],
)
def test_what_markdown_adds_is_no_word_of_the_page(markdown: str) -> None:
    assert agreement(markdown, "the wall").precision == 1


def test_signs_of_languages_without_spaces_are_words() -> None:
    measured = agreement("壁に亀裂がある", "壁に亀裂が")
    assert (measured.precision, measured.recall) == (5 / 7, 1)


@pytest.mark.parametrize(("markdown", "witness", "expected"), [("", "", 1), ("a", "", 0), ("", "a", 0)])
def test_nothing_agrees_with_nothing_only(markdown: str, witness: str, expected: float) -> None:
    measured = agreement(markdown, witness)
    assert (measured.precision, measured.recall) == (expected, expected)
