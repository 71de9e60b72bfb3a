"""How the lines of a PDF's pages become running text."""

from hypothesis import given
from hypothesis import strategies as st

from stages.extract.pdf_text import joined_lines, text_of, without_running_heads

LONG = "The quick brown fox jumps over the lazy dog and goes on"
LONG_2 = "to the next line of the paragraph, which is as long as"


def test_a_word_broken_by_pdfium_s_hyphen_mark_is_whole_again():
    assert text_of(["an exam\ufffeple and an\x02other"]) == "an example and another"


def test_a_word_keeps_its_hyphen_if_the_document_writes_it_so_elsewhere():
    assert text_of(["a self\ufffemade man", "is self-made"]) == "a self-made man is self-made"


def test_a_word_broken_at_a_line_s_end_is_joined_before_a_small_letter():
    assert joined_lines([LONG + " exam-", "ple of it."]) == [LONG + " example of it."]


def test_a_hyphen_before_a_capital_or_digit_stays():
    assert joined_lines([LONG + " Jean-", "Paul came."]) == [LONG + " Jean-Paul came."]


def test_full_lines_are_joined_and_a_short_line_ends_the_paragraph():
    assert joined_lines([LONG, LONG_2, "any other.", LONG, LONG_2]) == [
        f"{LONG} {LONG_2} any other.",
        f"{LONG} {LONG_2}",
    ]


def test_a_heading_and_list_entries_stay_lines_of_their_own():
    lines = ["1. Introduction", LONG, LONG_2, "• " + LONG, "• " + LONG_2]
    assert joined_lines(lines) == ["1. Introduction", f"{LONG} {LONG_2}", "• " + LONG, "• " + LONG_2]


def test_lines_of_chinese_are_joined_without_a_space():
    assert joined_lines(["商品的这些属性只是就它们使商品有用", "从而使商品成为使用价值来说才加以考虑"]) == [
        "商品的这些属性只是就它们使商品有用从而使商品成为使用价值来说才加以考虑"
    ]


def test_a_paragraph_goes_on_across_pages():
    assert text_of([LONG + "\n" + LONG_2, "any other one."]) == f"{LONG} {LONG_2} any other one."


def test_heads_and_page_numbers_of_three_pages_go():
    pages = [["Journal of Foxes 12", f"page {n} says {word}", str(n)] for n, word in ((8, "a"), (9, "b"), (10, "c"))]
    assert without_running_heads(pages) == [["page 8 says a"], ["page 9 says b"], ["page 10 says c"]]


def test_a_line_on_two_pages_is_no_running_head():
    pages = [["Foxes", "one", "1st"], ["Foxes", "two", "2nd"], ["three", "and", "3rd"]]
    assert without_running_heads(pages) == pages


def test_left_and_right_pages_may_have_heads_of_their_own():
    pages = [[("left", "right")[n % 2], "chapter", "about " + "abcdef"[n]] for n in range(6)]
    assert without_running_heads(pages) == [["chapter", "about " + letter] for letter in "abcdef"]


def test_pages_that_are_alike_from_top_to_bottom_are_not_emptied():
    pages = [["Form"]] * 3 + [["Name", "Age"]] * 3
    assert without_running_heads(pages) == pages


def test_a_line_that_recurs_in_the_middle_of_pages_stays():
    pages = [[f"{page} {n}" for n in "abc"] + ["q.e.d."] + [f"{page} {n}" for n in "def"] for page in "xyz"]
    assert without_running_heads(pages) == pages


def test_rows_of_numbers_are_not_taken_for_page_numbers():
    pages = [["12 13 14", "row", "table a"], ["22 23 24", "row", "table b"], ["32 33 34", "row", "table c"]]
    assert without_running_heads(pages) == pages


def test_form_feeds_nul_and_other_control_characters_do_not_survive():
    assert text_of(["one\x00 two\x0cthree\x1f"]) == "one two three"


@given(st.lists(st.text(max_size=60), max_size=6))
def test_any_text_comes_out_as_utf_8_without_control_characters(pages):
    text = text_of(pages)
    text.encode()
    assert not any(ord(character) < 32 and character not in "\t\n" for character in text)


@given(st.lists(st.lists(st.from_regex(r"[a-z]{2,9}( [a-z]{2,9}){0,6}", fullmatch=True), max_size=8), max_size=2))
def test_no_letter_is_lost_where_nothing_is_repeated_on_three_pages(pages):
    written = "".join("".join(page) for page in pages).replace(" ", "")
    assert "".join(text_of(["\n".join(page) for page in pages]).split()) == written
