"""The order in which a page is read, and what belongs together on it."""

from __future__ import annotations

import random
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stages.pdf.layout import blocks_of
from stages.pdf.layout.columns import gutters_of
from stages.pdf.layout.runs import rows_of, runs_of
from stages.pdf.page import Fragment
from tests.stages.pdf.typeset import HEIGHT, WIDTH, below, blocks, line, lines, paragraph, prose, table, text_of

COLUMN = 215.0
LEFT, RIGHT = 72.0, 310.0


def two_columns() -> tuple[list[Fragment], str, str]:
    first, second = prose(90), prose(95, start=3)
    return [*paragraph(first, LEFT, 150, COLUMN), *paragraph(second, RIGHT, 150, COLUMN)], first, second


def test_columns_are_read_one_after_the_other() -> None:
    fragments, first, second = two_columns()
    assert text_of(blocks(fragments)) == [first, second]


def test_columns_whose_lines_the_file_has_row_by_row_are_read_one_after_the_other() -> None:
    fragments, first, second = two_columns()
    by_row = sorted(fragments, key=lambda fragment: (fragment.top, fragment.left))
    assert text_of(blocks(by_row)) == [first, second]


def test_boxes_of_ocr_are_ordered_by_their_places_alone() -> None:
    fragments, first, second = two_columns()
    title = line("Of foxes and of wizards, in two parts and a preface", 150, 110, size=16)
    foot = paragraph(prose(40, start=5), LEFT, 500, 450)
    shuffled = [*fragments, title, *foot]
    random.Random(7).shuffle(shuffled)
    expected = [title.text, first, second, prose(40, start=5)]
    assert text_of(blocks(shuffled, is_ocr=True)) == expected


def test_a_title_that_the_file_has_last_is_read_first() -> None:
    fragments, first, second = two_columns()
    title = line("Of foxes and of wizards, in two parts and a preface", 150, 110, size=16)
    assert text_of(blocks([*fragments, title])) == [title.text, first, second]


def sections(is_ocr: bool) -> list[str]:
    """Two columns of two headed paragraphs each, which the file has from last to first."""
    parts: list[list[Fragment]] = []
    for left in (LEFT, RIGHT):
        top = [line(f"Part at {left:.0f}", left, 150, size=14)]
        top += paragraph(prose(70, start=int(left)), left, 170, COLUMN)
        foot = [line(f"Rest at {left:.0f}", left, 500, size=14)]
        foot += paragraph(prose(70, start=int(left) + 1), left, 520, COLUMN)
        parts += [top[:1], top[1:], foot[:1], foot[1:]]
    return text_of(blocks([f for part in reversed(parts) for f in part], is_ocr))


@pytest.mark.parametrize("is_ocr", [False, True])
def test_a_column_is_read_to_its_end_where_the_files_order_means_nothing(is_ocr: bool) -> None:
    headings = [text for text in sections(is_ocr) if "at" in text.split()[:2]]
    assert headings == ["Part at 72", "Rest at 72", "Part at 310", "Rest at 310"]


def test_what_spans_both_columns_parts_what_is_above_from_what_is_below() -> None:
    texts = [prose(60, start=n) for n in range(4)]
    above = [*paragraph(texts[0], LEFT, 150, COLUMN), *paragraph(texts[1], RIGHT, 150, COLUMN)]
    middle = line("A heading that stands over the whole width of this page", LEFT, 420, size=16)
    after = [*paragraph(texts[2], LEFT, 450, COLUMN), *paragraph(texts[3], RIGHT, 450, COLUMN)]
    found = text_of(blocks([*after, middle, *above], is_ocr=True))
    assert found == [texts[0], texts[1], middle.text, texts[2], texts[3]]


def test_a_wide_caption_above_two_columns_is_no_part_of_the_left_one() -> None:
    caption = paragraph("Figure 1: " + prose(75), LEFT, 126, RIGHT + COLUMN - LEFT)
    columns = [paragraph(prose(90, n), left, below(caption), COLUMN) for n, left in enumerate((LEFT, RIGHT))]
    by_row = sorted([*columns[0], *columns[1]], key=lambda fragment: (fragment.top, fragment.left))
    assert text_of(blocks([*caption, *by_row], is_ocr=True))[-2:] == [prose(90, 0), prose(90, 1)]


def test_names_and_values_of_some_length_are_read_by_row() -> None:
    rows = [
        ("Department of foxes", "Wizards of the quiet old town and others"),
        ("Of the old mountain town", "Some brew"),
        ("Its jolly queen", "A lazy dog and seven toxic wizards"),
        ("Who never quite believed it", "Nobody at all"),
    ]
    fragments = table(rows, (72, 300), 100)
    assert text_of(blocks(fragments)) == [" ".join(row) for row in rows]


def test_lists_side_by_side_that_the_file_has_one_after_the_other_are_read_so() -> None:
    first, second = (lines([f"{name} {n}" for n in range(4)], left, 100) for name, left in (("fox", 72), ("dog", 300)))
    assert text_of(blocks([*first, *second])) == [f"{name} {n}" for name in ("fox", "dog") for n in range(4)]


def listings() -> tuple[list[Fragment], list[Fragment]]:
    """A column of parameters and one of code: no running text, base lines of their own, a gutter of 1.5 em."""
    parameters: list[Fragment] = []
    for n in range(12):
        baseline = below(parameters, 5) if parameters else 100
        parameters.append(line(f"size_{n} : int, optional", LEFT, baseline))
        parameters += lines([f"Number {n} of the old brew that the queen", "takes."], LEFT + 14, below(parameters))
    code: list[Fragment] = []
    left = max(fragment.right for fragment in parameters) + 15
    for n in range(20):
        baseline = below(code) if code else 100
        code.append(line(f">>> brew_of_foxes(jolly={n}, queen=None)", left, baseline, size=9))
        code.append(line(f"[{n}, 0, 0, 1],", left + 30, below(code), size=9))
    return parameters, code


def read_lines(fragments: list[Fragment], is_ocr: bool = False) -> list[str]:
    return [found.text for block in blocks(fragments, is_ocr) for found in block.lines]


def test_columns_of_lists_and_code_that_the_file_has_one_after_the_other_are_columns() -> None:
    parameters, code = listings()
    assert read_lines([*parameters, *code]) == [fragment.text for fragment in [*parameters, *code]]


def test_columns_of_lists_and_code_are_told_by_their_base_lines_where_there_is_no_order() -> None:
    parameters, code = listings()
    shuffled = [*parameters, *code]
    random.Random(5).shuffle(shuffled)
    assert read_lines(shuffled, is_ocr=True) == [fragment.text for fragment in [*parameters, *code]]


def test_code_on_one_grid_in_two_columns_is_told_by_the_order_of_the_file() -> None:
    first, second = (
        lines([f">>> {name}(old_{n})" + ", *queen" * (n % 3) for n in range(20)], left, 100)
        for name, left in (("foxes", LEFT), ("wizards", 240))
    )
    assert read_lines([*first, *second]) == [fragment.text for fragment in [*first, *second]]


@pytest.mark.parametrize("is_ocr", [False, True])
def test_many_names_and_values_stay_rows(is_ocr: bool) -> None:
    names = ["Queen", "Fox of the mountain", "Wizard", "Some quiet old dogs"]
    values = ["Jolly", "Toxic, if of an old town", "Near", "In all of the old towns", "Evil"]
    rows = [(names[n % 4], values[n % 5]) for n in range(20)]
    fragments = table(rows, (LEFT, 200), 100)
    assert read_lines(fragments, is_ocr) == [" ".join(row) for row in rows]


def test_headings_in_the_margin_that_the_file_has_first_are_no_column() -> None:
    headings = [line(f"About the old brew {n}", LEFT, 100 + 60 * n) for n in range(9)]
    entry = ["The foxes, all of an old town, and a dog that never barked", "Dogs", "Knights and queens"]
    entries = [f for n in range(9) for f in lines(entry, 180, 100 + 60 * n)]
    rows = rows_of(runs_of([*headings, *entries]))
    assert gutters_of(rows, set(), is_ocr=False) == []


def test_three_narrow_columns_are_columns_not_a_table() -> None:
    texts = [prose(60, start=i) for i in range(3)]
    fragments = [f for i, text in enumerate(texts) for f in paragraph(text, 60 + i * 165, 150, 150)]
    rng = random.Random(3)
    rng.shuffle(fragments)
    assert text_of(blocks(fragments, is_ocr=True)) == texts


def test_short_lines_at_one_height_are_one_line() -> None:
    rows = table([("Author", "Tom Hammel"), ("Editor", "Bill Otting"), ("Year", "2015")], (72, 250), 200, pitch=20)
    assert text_of(blocks(rows)) == ["Author Tom Hammel", "Editor Bill Otting", "Year 2015"]


def test_words_in_fonts_of_their_own_make_one_line_with_the_spaces_between() -> None:
    first = line("The word ", 72, 100)
    second = line("emphasis", first.right, 100, bold=True)
    third = line(", set in bold.", second.right, 100)
    assert text_of(blocks([first, second, third])) == ["The word emphasis, set in bold."]


def test_raised_figures_are_told_from_those_on_the_line() -> None:
    base = line("a mass of 10", 72, 100)
    power = line("24", base.right, 96, size=6)
    unit = line(" kg of H", power.right, 100)
    two = line("2", unit.right, 102, size=6)
    rest = line("O", two.right, 100)
    assert text_of(blocks([base, power, unit, two, rest])) == ["a mass of 10²⁴ kg of H2O"]


def test_an_indent_begins_a_paragraph() -> None:
    first = paragraph(prose(40), 72, 100, 400)
    second = paragraph(prose(40, start=2), 72, below(first), 400, indent=20)
    assert text_of(blocks([*first, *second])) == [prose(40), prose(40, start=2)]


def test_a_wider_gap_begins_a_paragraph() -> None:
    full = ["seven wizards make toxic brew for the evil queen of foxes"] * 3  # no line ends early
    first = lines(full, 72, 100)
    second = lines(full, 72, below(first, 5))
    assert text_of(blocks([*first, *second])) == [" ".join(full)] * 2


def test_a_line_that_the_next_word_would_have_fitted_ends_its_paragraph() -> None:
    address = lines(["Department of Foxes", "12 Quiet Street", "Old Town"], 72, 100)
    letter = paragraph(prose(60), 72, below(address), 400)
    assert text_of(blocks([*address, *letter])) == ["Department of Foxes", "12 Quiet Street", "Old Town", prose(60)]


def test_the_hanging_indent_of_references_holds_an_entry_together() -> None:
    entries = [f"[{n}] {prose(30, start=n)}" for n in range(1, 4)]
    fragments: list[Fragment] = []
    for entry in entries:
        baseline = below(fragments) if fragments else 100
        first, *rest = paragraph(entry, 72, baseline, 380)
        indented = [line(f.text, 90, f.bottom - 2.2) for f in rest]
        fragments += [first, *indented]
    assert text_of(blocks(fragments)) == entries


def test_entries_without_numbers_are_told_by_their_hanging_indent() -> None:
    entry = [
        "Fox, J., and Wizard, S. Of toxic brews in a quiet town.",
        "Journal of the jolly knights and all of the queens, 7,",
        "pages 3-12.",
    ]
    fragments: list[Fragment] = []
    for _ in range(3):
        first = line(entry[0], 72, below(fragments) if fragments else 100)
        fragments += [first, *lines(entry[1:], 90, below([first]))]
    assert text_of(blocks(fragments)) == [" ".join(entry)] * 3


def test_small_print_at_the_foot_that_begins_with_a_mark_is_a_footnote() -> None:
    text = paragraph(prose(60), 72, 100, 400)
    note = paragraph("1 " + prose(20, start=4), 72, 700, 400, size=7)
    assert [block.kind for block in blocks([*text, *note])] == ["text", "footnote"]


def test_small_print_in_the_upper_half_is_no_footnote() -> None:
    text = paragraph(prose(60), 72, 300, 400)
    note = paragraph("1 " + prose(20, start=4), 72, 100, 400, size=7)
    assert [block.kind for block in blocks([*note, *text])] == ["text", "text"]


def test_a_line_in_fonts_for_formulas_is_a_formula() -> None:
    text = paragraph(prose(60), 72, 100, 400)
    formula = line("\u03bb = \u2211 \u03b6", 200, below(text, 20), font="CMMI10")
    assert [block.kind for block in blocks([*text, formula])] == ["text", "formula"]


def test_text_on_its_side_stays_out_of_the_lines() -> None:
    text = paragraph(prose(60), 72, 100, 400)
    stamp = Fragment(20, 100, 30, 400, "arXiv:2305.03393v1 [cs.CV] 5 May 2023", 10)
    assert text_of(blocks([stamp, *text])) == [stamp.text, prose(60)]


def test_pages_written_from_right_to_left_begin_with_their_right_column() -> None:
    def mirrored(fragments: list[Fragment], text: str) -> list[Fragment]:
        words = iter(text.split())
        return [
            Fragment(
                WIDTH - f.right, f.top, WIDTH - f.left, f.bottom, " ".join(next(words) for _ in f.text.split()), f.size
            )
            for f in fragments
        ]

    fragments, first, _ = two_columns()
    hebrew = ["שלום עולם טוב מאוד " * 40, "ספר ישן על ההר הגבוה " * 40]
    half = len(paragraph(first, LEFT, 150, COLUMN))
    right, left = mirrored(fragments[:half], hebrew[0]), mirrored(fragments[half:], hebrew[1])
    found = text_of(blocks([*left, *right], is_ocr=True))
    assert [text.split()[0] for text in found] == ["שלום", "ספר"]
    assert blocks([*left, *right], is_ocr=True)[0].lines[0].right == right[0].right


def test_nothing_is_made_of_nothing() -> None:
    assert blocks([]) == []
    assert blocks([Fragment(72, 72, 80, 82, "  ", 10)]) == []


@pytest.mark.parametrize("count", [15_000, 100_000])
def test_a_page_of_very_many_fragments_is_laid_out(count: int) -> None:
    rng = random.Random(1)
    labels = [line(str(n), rng.uniform(0, 550), rng.uniform(10, 830), size=4) for n in range(count)]
    assert blocks(labels)


fragment = st.builds(
    lambda left, top, width, size, text, bold: Fragment(left, top, left + width, top + size, text, size, "", bold),
    st.floats(0, 500),
    st.floats(0, 800),
    st.floats(1, 300),
    st.sampled_from([0.0, 4.0, 7.0, 10.0, 10.0, 10.0, 24.0]),
    st.text(st.sampled_from("ab 12.|-\x02Ωא中=²"), max_size=12),
    st.booleans(),
)
UNMARKED = str.maketrans("⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻⁼", "0123456789+-=", " \\")
LEADERS = str.maketrans("", "", ".")


def characters(texts: list[str]) -> Counter[str]:
    """The visible characters of texts: leaders and raised figures may change."""
    return Counter(character for text in texts for character in text.translate(UNMARKED).translate(LEADERS).split())


@given(st.lists(fragment, max_size=40), st.booleans())
@settings(max_examples=150, deadline=None)
def test_no_character_is_lost(fragments: list[Fragment], is_ocr: bool) -> None:
    made = blocks_of(fragments, WIDTH, HEIGHT, is_ocr)
    found = characters([c for block in made for found in block.lines for c in found.text])
    given_ = characters([c for f in fragments for c in f.text])
    assert not given_ - found
    if all(block.kind != "table" for block in made):
        assert found == given_


@given(st.lists(fragment, max_size=30), st.booleans())
@settings(max_examples=50, deadline=None)
def test_the_same_fragments_make_the_same_blocks(fragments: list[Fragment], is_ocr: bool) -> None:
    assert blocks_of(fragments, WIDTH, HEIGHT, is_ocr) == blocks_of(fragments, WIDTH, HEIGHT, is_ocr)
