"""The benchmark's tests mean what olmOCR-bench says they mean; our text layers pass what they must of the sample."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.benchmarks.pdf_bench import load_tests, ours, passes

TABLE = "before\n\n| Fruit | 2024 | 2025 |\n| --- | --- | --- |\n| Apples | 1 | 2 |\n| Pears | 3 | 4 |\n"
SPANNED = """<table>
<thead><tr><th></th><th colspan="2">Year</th></tr><tr><th></th><th>2024</th><th>2025</th></tr></thead>
<tr><td rowspan="2">Apples</td><td>1</td><td>2</td></tr><tr><td>3</td><td>4</td></tr></table>"""


def check(kind: str, page: str, /, **fact: Any) -> bool:
    return passes({"type": kind, "id": "test", **fact}, page)


def test_text_is_compared_without_emphasis_and_with_plain_quotes() -> None:
    assert check("present", "the **bold**\n“fox” — ran", text="the bold 'fox'".replace("'", '"') + " - ran")


def test_case_counts_unless_the_test_says_not() -> None:
    assert not check("present", "The Fox", text="the fox")
    assert check("present", "The Fox", text="the fox", case_sensitive=False)


def test_differences_are_allowed_up_to_a_number() -> None:
    assert check("present", "the quick brovn fox", text="quick brown", max_diffs=1)
    assert not check("present", "the quick brovm fox", text="quick brown", max_diffs=1)
    assert not check("absent", "the quick brovn fox", text="quick brown", max_diffs=1)


def test_only_the_ends_of_a_text_are_looked_at_if_the_test_says_so() -> None:
    assert check("absent", "12 foxes and a very long sentence", text="12", last_n=10)
    assert not check("absent", "12 foxes and a very long sentence", text="12", first_n=10)
    assert not check("absent", "12 foxes and a very long sentence", text="12", first_n=10, last_n=10)


def test_order_holds_if_any_two_places_are_in_order() -> None:
    assert check("order", "b a b", before="a", after="b")
    assert not check("order", "b a", before="a", after="b")
    assert not check("order", "a", before="a", after="b")


@pytest.mark.parametrize(
    ("fact", "holds"),
    [
        ({"cell": "3"}, True),
        ({"cell": "5"}, False),
        ({"cell": "3", "up": "1", "left": "Pears", "right": "4"}, True),
        ({"cell": "1", "down": "4"}, False),
        ({"cell": "3", "top_heading": "2024", "left_heading": "Pears"}, True),
        ({"cell": "3", "top_heading": "2025"}, False),
        ({"cell": "Pears", "left": "x"}, False),
    ],
)
def test_cells_of_markdown_tables(fact: dict[str, str], holds: bool) -> None:
    assert check("table", TABLE, **fact) == holds


@pytest.mark.parametrize(
    ("fact", "holds"),
    [
        ({"cell": "4", "top_heading": "Year", "left_heading": "Apples"}, True),
        ({"cell": "4", "up": "2"}, True),
        ({"cell": "2025", "up": "Year"}, True),
        ({"cell": "3", "left": "Apples"}, True),
        ({"cell": "Year", "right": "2025"}, False),
    ],
)
def test_cells_of_html_tables_that_span_rows_and_columns(fact: dict[str, str], holds: bool) -> None:
    assert check("table", SPANNED, **fact) == holds


def test_a_page_must_have_text_that_does_not_end_in_a_loop() -> None:
    assert check("baseline", "some text")
    assert not check("baseline", " \n# ")
    assert not check("baseline", "some text " + "ab " * 40)
    assert check("baseline", "noise", max_length=10)
    assert not check("baseline", "a page that should be blank", max_length=10)


def test_formulas_are_compared_by_their_source() -> None:
    assert check("math", "so $x^2 = y$ holds", math="x^2=y")
    assert not check("math", "so x^2=y holds", math="x^2=y")


def test_text_layers_of_the_sample(shared_data: Path) -> None:
    pdfs = shared_data / "pdf"
    tests = load_tests(pdfs / "ground_truth" / "olmocr_bench_tests.jsonl")
    born_digital = {"olmocr/olmo2-pg4.pdf", "olmocr/earnings.pdf", "olmocr/openstax_caculus_pg_273.pdf"}
    engine = ours("off")
    texts = {pdf: engine(pdfs / pdf, 1) for pdf in born_digital}
    failed = [test["id"] for test in tests if test["pdf"] in texts and not passes(test, texts[test["pdf"]])]
    assert failed == []
