"""What belongs to pages, not to their text, is taken out; what only looks like it stays."""

from __future__ import annotations

import pytest

from stages.pdf.document import assembled
from stages.pdf.document.furniture import is_page_number
from stages.pdf.page import Fragment, Page
from tests.stages.pdf.typeset import WIDTH, line, page, paragraph, prose, table


def body(start: int = 0) -> list[Fragment]:
    return paragraph(prose(150, start), 72, 120, 420)


def removed(*pages: Page) -> list[str]:
    return [text for _, text in assembled(pages).furniture]


def test_a_head_that_recurs_is_taken_out_whatever_its_number() -> None:
    pages = [page([line(f"Foxes and wizards {n + 3}", 72, 105), *body(n)], n) for n in range(4)]
    document = assembled(pages)
    assert "Foxes" not in document.text
    assert document.furniture == tuple((n, f"Foxes and wizards {n + 3}") for n in range(4))


def test_heads_of_left_and_right_pages_differ() -> None:
    heads = ["J. Fox", "On toxic brew"]
    pages = [page([line(heads[n % 2], 72, 105), *body(n)], n) for n in range(6)]
    assert removed(*pages) == [heads[n % 2] for n in range(6)]


def test_a_line_that_two_pages_share_is_no_head() -> None:
    pages = [page([line("Foxes and wizards", 72, 105), *body(n)], n) for n in range(2)]
    assert removed(*pages) == []


@pytest.mark.parametrize("baseline", [40, 820])
def test_a_single_page_loses_what_stands_apart_at_its_edges(baseline: float) -> None:
    assert removed(page([line("Journal of Foxes", 72, baseline), *body()])) == ["Journal of Foxes"]


def test_a_head_with_the_page_number_beside_it_goes_as_a_whole() -> None:
    head = [line("400", 72, 60), line("BRITISH HUSBANDRY.", 250, 60), line("[Ch. XIX.", 450, 60)]
    text = paragraph(prose(150), 72, 78, 420)
    assert sorted(removed(page([*head, *text]))) == ["400", "BRITISH HUSBANDRY.", "[Ch. XIX."]


@pytest.mark.parametrize("head", ["On the toxic brew of queens 9", "104 On the toxic brew of queens"])
def test_a_head_in_small_print_goes_with_its_page_number(head: str) -> None:
    text = paragraph(prose(150), 72, 125, 420)
    assert removed(page([line(head, 190, 105, size=9), *text])) == [head]


@pytest.mark.parametrize("first", ["It was brewed in 1999", "They counted foxes, up to 104.", "foxes and wizards"])
def test_a_first_line_in_small_print_stays_without_a_page_number(first: str) -> None:
    assert removed(page([line(first, 190, 105, size=9), *paragraph(prose(150), 72, 125, 420)])) == []


def test_a_page_number_below_the_text_goes_wherever_the_text_ends() -> None:
    assert removed(page([*body(), line("62", 290, 420)])) == ["62"]


def test_text_that_runs_up_to_the_edge_stays() -> None:
    assert removed(page(paragraph(prose(600), 72, 40, 420))) == []


def test_a_title_at_the_top_stays() -> None:
    assert removed(page([line("Of foxes", 72, 60, size=18), *body()])) == []


def test_the_end_of_a_sentence_at_the_top_stays() -> None:
    assert removed(page([line("and so it ended.", 72, 60), *paragraph(prose(150), 72, 82, 420)])) == []


def test_the_caption_of_a_table_at_the_top_stays() -> None:
    assert removed(page([line("Table 3. Foxes by town", 72, 60), *body()])) == []


def test_the_lines_of_a_slide_stay() -> None:
    assert removed(page([line("Of foxes", 72, 60), line("Old Town", 72, 400), line("Thank you", 72, 600)])) == []


def test_rows_of_a_table_that_runs_over_pages_stay() -> None:
    def rows(n: int) -> list[Fragment]:
        return table([(str(n + i), str(7 * i), str(i * i)) for i in range(40)], (72, 200, 300), 60)

    assert removed(*(page(rows(n), n) for n in range(4))) == []


def test_a_stamp_on_its_side_in_the_margin_is_taken_out_but_a_figures_axis_is_not() -> None:
    stamp = Fragment(20, 200, 34, 600, "arXiv:2305.03393v1 [cs.CV] 5 May 2023", 12)
    axis = Fragment(WIDTH / 2, 500, WIDTH / 2 + 10, 600, "probability of foxes", 9)
    assert removed(page([stamp, *body(), axis])) == [stamp.text]


@pytest.mark.parametrize("text", ["12", "- 12 -", "Page 3 of 10", "xiv", "3 / 12", "A-7", "12 |", "Seite 4"])
def test_page_numbers_are_known(text: str) -> None:
    assert is_page_number(text)


@pytest.mark.parametrize("text", ["(1)", "1,136", "Chapter 3", "12 foxes", "1990-1995", "3.2"])
def test_other_figures_are_no_page_numbers(text: str) -> None:
    assert not is_page_number(text)


@pytest.mark.parametrize(("number", "size"), [("2019", 10), ("3", 30)])
def test_a_year_or_the_number_of_a_chapter_far_from_the_edge_stays(number: str, size: int) -> None:
    assert removed(page([line(number, 290, 200, size), *paragraph(prose(150), 72, 300, 420)])) == []


def test_a_short_paragraph_above_a_gap_stays() -> None:
    first = paragraph(prose(40), 72, 40, 420)
    assert removed(page([*first, *paragraph(prose(150), 72, 300, 420)])) == []
