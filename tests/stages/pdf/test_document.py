"""A document is put together from its pages."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stages.pdf.document import assembled
from stages.pdf.page import Block, BlockKind, Fragment, Line, Page
from tests.stages.pdf.typeset import below, line, lines, markdown, page, paragraph, prose, table

FRUIT = [("Fruit", "Tonnes", "Price"), ("Apples", "1,204", "0.31"), ("Pears", "310", "0.45"), ("Plums", "77", "1.20")]
LEFTS = (72.0, 200.0, 300.0)


def text_of(*pages: Page) -> str:
    return assembled(pages).text


def test_paragraphs_stand_a_blank_line_apart() -> None:
    first = paragraph(prose(40), 72, 120, 400)
    second = paragraph(prose(40, start=2), 72, below(first, 8), 400)
    assert text_of(page([*first, *second])) == f"{prose(40)}\n\n{prose(40, start=2)}"


def test_a_paragraph_goes_on_on_the_next_page() -> None:
    sentence = paragraph(prose(120), 72, 120, 400)
    half = len(sentence) // 2
    second = [line(f.text, f.left, 120 + 12 * i) for i, f in enumerate(sentence[half:])]
    assert text_of(page(sentence[:half], 0), page(second, 1)) == prose(120)


def test_a_word_is_made_whole_over_a_page() -> None:
    first = [*paragraph(prose(40).removesuffix("."), 72, 120, 400)]
    last = line("and some inter-", 72, below(first))
    assert "some international affair" in text_of(
        page([*first, last], 0), page(lines(["national affair."], 72, 120), 1)
    )


def test_a_new_sentence_on_the_next_page_is_a_paragraph_of_its_own() -> None:
    first, second = paragraph(prose(60), 72, 120, 400), paragraph(prose(60, start=1), 72, 120, 400)
    assert text_of(page(first, 0), page(second, 1)) == f"{prose(60)}\n\n{prose(60, start=1)}"


def test_a_paragraph_goes_on_after_a_table_that_parts_it() -> None:
    sentence = paragraph(prose(120), 72, 120, 400)
    half = len(sentence) // 2
    cells = table(FRUIT, LEFTS, 100)
    second = [line(f.text, f.left, 220 + 12 * i) for i, f in enumerate(sentence[half:])]
    found = text_of(page(sentence[:half], 0), page([*cells, *second], 1))
    assert found.split("\n\n")[0] == prose(120)


def test_a_table_goes_on_on_the_next_page_without_its_repeated_heading() -> None:
    more = [FRUIT[0], ("Quinces", "5", "2.80"), ("Medlars", "2", "3.10"), ("Grapes", "9", "1.99")]
    found = text_of(page(table(FRUIT, LEFTS, 120), 0), page(table(more, LEFTS, 120), 1))
    assert found.count("| Fruit |") == 1
    assert found.count("\n") == 7
    assert found.endswith("| Grapes | 9 | 1.99 |")


def test_a_table_of_other_columns_on_the_next_page_is_another_table() -> None:
    wider = [(*row, "x") for row in FRUIT]
    found = text_of(page(table(FRUIT, LEFTS, 120), 0), page(table(wider, (*LEFTS, 400.0), 120), 1))
    assert found.count("\n| --- ") == 2


def test_what_follows_a_full_stop_is_a_paragraph_of_its_own_even_in_small_letters() -> None:
    first, second = paragraph(prose(60), 72, 120, 400), paragraph(prose(60).lower(), 72, 120, 400)
    assert text_of(page(first, 0), page(second, 1)) == f"{prose(60)}\n\n{prose(60).lower()}"


def test_large_print_is_a_heading_by_its_size() -> None:
    title, section = line("Of foxes", 72, 120, size=20), line("Their towns", 72, 150, size=14)
    text = paragraph(prose(80), 72, 175, 400)
    assert text_of(page([title, section, *text])).startswith("# Of foxes\n\n## Their towns\n\nThe")


def test_a_bold_line_of_its_own_is_a_heading_and_bold_words_are_not() -> None:
    heading = line("Results", 72, 120, bold=True)
    bold = line("Foxes.", 72, 140, bold=True)
    text = [bold, line(prose(8), bold.right + 3, 140)]
    more = paragraph(prose(60, start=3), 72, 170, 400)
    assert text_of(page([heading, *text, *more])).startswith("# Results\n\nFoxes. The")


def test_references_in_small_print_make_no_heading_of_the_text() -> None:
    text = paragraph(prose(60), 72, 120, 400, size=11)
    references = paragraph(prose(150, start=3), 72, below(text, 20), 400, size=8)
    assert "#" not in text_of(page([*text, *references]))


@pytest.mark.parametrize("bullet", ["•", "–", "▪", "◦"])
def test_bullets_become_a_list(bullet: str) -> None:
    text = paragraph(prose(50), 72, 120, 400)
    entries = lines([f"{bullet} red foxes", f"{bullet} wizards"], 80, below(text, 8))
    assert text_of(page([*text, *entries])).endswith("\n\n- red foxes\n- wizards")


def test_numbers_of_lists_stay() -> None:
    entries = lines(["1. red foxes", "2. wizards", "3. old towns"], 72, 120)
    assert text_of(page(entries)) == "1. red foxes\n2. wizards\n3. old towns"


def test_footnotes_stand_at_the_end_with_their_marks_in_the_text() -> None:
    text = paragraph(prose(60).removesuffix("."), 72, 120, 400)
    mark = line("1", text[-1].right, below(text) - 12 - 4, size=6)
    note = [line("1", 72, 757, size=5), line("See the annals of the town.", 76, 760, size=8)]
    document = assembled([page([*text, mark, *note])])
    assert document.footnotes == 1
    assert document.text.endswith("[^1]\n\n[^1]: See the annals of the town.")


def test_notes_of_later_pages_are_numbered_on() -> None:
    def noted(number: int) -> Page:
        text = paragraph(prose(60, number).removesuffix("."), 72, 120, 400)
        mark = line("1", text[-1].right, below(text) - 12 - 4, size=6)
        note = [line("1", 72, 757, size=5), line(f"See annal {'abc'[number]}.", 76, 760, size=8)]
        return page([*text, mark, *note], number)

    assert text_of(noted(0), noted(1)).endswith("[^1]: See annal a.\n\n[^2]: See annal b.")


def test_a_note_without_a_mark_in_the_text_stays_as_it_is() -> None:
    note = [line("7", 72, 757, size=5), line("See the annals of the town.", 76, 760, size=8)]
    assert text_of(page([*paragraph(prose(60), 72, 120, 400), *note])).endswith("⁷See the annals of the town.")


def test_formulas_and_uncertain_tables_are_counted_and_stay_as_text() -> None:
    text = paragraph(prose(60), 72, 120, 400)
    formula = line("\u03bb = \u2211 \u03b6", 200, below(text, 20), font="CMMI10")
    document = assembled([page([*text, formula])])
    assert (document.lost_formulas, document.lost_tables) == (1, 0)
    assert document.text.endswith("λ = ∑ ζ")


def test_what_a_model_has_read_stays_markdown_and_is_joined_to_its_neighbours() -> None:
    sentence = prose(60).removesuffix(".")
    read = markdown(["goes on here.", "", "## Towns", "", "| a | b |", "| --- | --- |", "| 1 | 2 |"], 1)
    read = Page.from_json(read.to_json())
    found = text_of(page(paragraph(sentence, 72, 120, 400), 0), read)
    assert found.startswith(f"{sentence} goes on here.")


def test_pages_without_text_make_an_empty_document() -> None:
    assert text_of(Page(0, "blank"), Page(1, "failed")) == ""
    assert text_of() == ""


@given(st.permutations(range(5)))
@settings(max_examples=20, deadline=None)
def test_the_order_in_which_pages_arrive_does_not_matter(order: list[int]) -> None:
    pages = [
        page([line("Foxes", 72, 60), *paragraph(prose(90, n), 72, 120, 400), line(str(n), 290, 800)], n)
        for n in range(5)
    ]
    assert assembled([pages[n] for n in order]) == assembled(pages)


def test_a_page_is_the_same_after_it_was_kept_as_json() -> None:
    pages = [page([*table(FRUIT, LEFTS, 120), *paragraph(prose(90, n), 72, 220, 400)], n) for n in range(3)]
    assert assembled([Page.from_json(found.to_json()) for found in pages]) == assembled(pages)


fragment = st.builds(
    lambda left, top, text, size: Fragment(left, top, left + 5 * len(text), top + size, text, size),
    st.floats(0, 500),
    st.floats(0, 800),
    st.text(st.sampled_from("ab ABC12.中"), min_size=1, max_size=20),
    st.sampled_from([7.0, 10.0, 10.0, 16.0]),
)


@given(st.lists(st.lists(fragment, max_size=15), max_size=4))
@settings(max_examples=80, deadline=None)
def test_letters_end_in_the_text_or_in_what_was_taken_out(pages: list[list[Fragment]]) -> None:
    document = assembled([page(fragments, number) for number, fragments in enumerate(pages)])
    kept = document.text + "".join(text for _, text in document.furniture)
    for letter in "abABC中":
        written = sum(f.text.count(letter) for fragments in pages for f in fragments)
        assert kept.count(letter) >= written if document.tables else kept.count(letter) == written


def test_a_document_of_two_thousand_pages_is_put_together() -> None:
    one = page([line("Foxes", 72, 60), *paragraph(prose(300), 72, 120, 400)])
    pages = [Page(n, "text", "", one.width, one.height, one.blocks) for n in range(2000)]
    assert len(assembled(pages).text) > 1_000_000


@pytest.mark.parametrize("kind", ["text", "table"])
def test_what_goes_on_over_many_pages_is_one_paragraph_or_table(kind: BlockKind) -> None:
    def block(number: int) -> Block:
        rows = [prose(20, number).lower().rstrip(".")]
        if kind == "table":
            rows = ["| A | B |", "| --- | --- |", *(f"| {row} | {number} |" for row in rows)]
        return Block(kind, tuple(Line(72, 120 + 7 * n, 400, 126 + 7 * n, row, 10) for n, row in enumerate(rows)))

    text = assembled([Page(number, "text", "", 595, 842, (block(number),)) for number in range(30)]).text
    assert "\n\n" not in text
    assert all(prose(20, number).lower().rstrip(".") in text for number in range(30))
    assert text.count("| A | B |") == (kind == "table")
