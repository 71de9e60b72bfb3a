"""How answers of each model are read."""

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stages.pdf.vision.profiles import (
    PROFILES,
    PageAnswer,
    UnparseableAnswerError,
    parsed_deepseek,
    parsed_markdown,
    parsed_olmocr,
)

FACTS = "primary_language: en\nis_rotation_valid: True\nrotation_correction: 0\nis_table: False\nis_diagram: False"


@pytest.mark.parametrize(
    ("text", "markdown"),
    [
        (f"---\n{FACTS}\n---\n# Title\n\nText\n---\nmore", "# Title\n\nText\n---\nmore"),
        (f"\n---\r\n{FACTS}\r\n---\r\nText\r\n", "Text"),
        (f"---\n{FACTS}\n---", ""),
        (f"---\n{FACTS}\n---\n", ""),
    ],
)
def test_olmocr_puts_facts_before_the_text(text: str, markdown: str) -> None:
    assert parsed_olmocr(text) == PageAnswer(markdown)


@pytest.mark.parametrize(("correction", "clockwise"), [(0, 0), (90, 270), (180, 180), (270, 90)])
def test_olmocrs_degrees_run_counter_clockwise(correction: int, clockwise: int) -> None:
    facts = f"primary_language: null\nis_rotation_valid: false\nrotation_correction: {correction}\n"
    assert parsed_olmocr(f"---\n{facts}---\nx").rotation == clockwise


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("Just the text", "no front matter"),
        (f"---\n{FACTS}\nand no end", "no front matter"),
        ("---\n: : :\n\t- [\n---\nx", "not YAML"),
        ("---\njust words\n---\nx", "not a mapping"),
        ("---\nprimary_language: en\n---\nx", "is_rotation_valid: None"),
        ("---\nis_rotation_valid: yes it is\nrotation_correction: 0\n---\nx", "is_rotation_valid: yes it is"),
        ("---\nis_rotation_valid: True\nrotation_correction: 45\n---\nx", "rotation_correction: 45"),
    ],
)
def test_olmocr_without_sound_facts_is_unparseable(text: str, why: str) -> None:
    with pytest.raises(UnparseableAnswerError, match=why):
        parsed_olmocr(text)


def test_deepseek_says_of_each_block_what_and_where_it_is() -> None:
    text = (
        "<|ref|>title<|/ref|><|det|>[[91, 73, 890, 120]]<|/det|>\n# Harbour wall\n\n"
        "<|ref|>image<|/ref|><|det|>[[100, 130, 880, 400]]<|/det|>\n\n\n"
        "<|ref|>text<|/ref|><|det|>[[91, 420, 890, 600]]<|/det|>\nIt is cracked.<｜end▁of▁sentence｜>"
    )
    assert parsed_deepseek(text) == PageAnswer("# Harbour wall\n\nIt is cracked.")


@pytest.mark.parametrize("text", ["<|ref|>title", "x<|/det|>", "<|ref|>text<|/ref|><|det|>[[1, 2"])
def test_a_mark_without_its_partner_is_unparseable(text: str) -> None:
    with pytest.raises(UnparseableAnswerError, match="a lone mark"):
        parsed_deepseek(text)


@pytest.mark.parametrize(
    ("text", "markdown"),
    [
        ("  # Title\n\nText\n", "# Title\n\nText"),
        ("```markdown\n# Title\n```", "# Title"),
        ("```\n# Title\n```\n", "# Title"),
        ("```python\nx = 1\n```", "```python\nx = 1\n```"),  # the page shows a program
        ("```\na\n```\ntext\n```\nb\n```", "```\na\n```\ntext\n```\nb\n```"),  # it shows two
        ("<think>A title, I see.</think>\n# Title", "# Title"),
    ],
)
def test_other_models_answer_in_markdown(text: str, markdown: str) -> None:
    assert parsed_markdown(text) == PageAnswer(markdown)


def test_thoughts_without_an_end_are_unparseable() -> None:
    with pytest.raises(UnparseableAnswerError):
        parsed_markdown("<think>It may be a title, or")


@given(text=st.text() | st.from_regex(r"(---\n)?[a-z_]*: .*\n---\n.*"), name=st.sampled_from(sorted(PROFILES)))
def test_any_text_is_an_answer_or_unparseable(text: str, name) -> None:
    with contextlib.suppress(UnparseableAnswerError):
        assert PROFILES[name].parse(text).rotation in (0, 90, 180, 270)
