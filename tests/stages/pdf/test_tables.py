"""Which aligned text is a table, and what its cells are."""

from __future__ import annotations

import pytest

from tests.stages.pdf.typeset import below, blocks, line, lines, paragraph, prose, table, text_of

FRUIT = [
    ("Fruit", "Tonnes", "Price"),
    ("Apples", "1,204", "0.31"),
    ("Pears", "310", "0.45"),
    ("Plums", "77", "1.20"),
    ("Quinces", "5", "2.80"),
]
LEFTS = (72.0, 200.0, 300.0)


def rows_of(block: object) -> list[str]:
    return [found.text for found in block.lines]  # type: ignore[attr-defined]


def test_three_columns_of_four_rows_are_a_table() -> None:
    (found,) = blocks(table(FRUIT, LEFTS, 100))
    assert found.kind == "table"
    assert rows_of(found) == [
        "| Fruit | Tonnes | Price |",
        "| --- | --- | --- |",
        "| Apples | 1,204 | 0.31 |",
        "| Pears | 310 | 0.45 |",
        "| Plums | 77 | 1.20 |",
        "| Quinces | 5 | 2.80 |",
    ]


def test_boxes_of_ocr_make_the_same_table() -> None:
    fragments = table(FRUIT, LEFTS, 100)
    assert blocks(fragments[::-1], is_ocr=True)[0].lines[2].text == "| Apples | 1,204 | 0.31 |"


def test_a_table_stands_in_its_place_between_paragraphs() -> None:
    above = paragraph(prose(50), 72, 100, 400)
    cells = table(FRUIT, LEFTS, below(above, 20))
    after = paragraph(prose(50, start=1), 72, below(cells, 30), 400)
    assert [block.kind for block in blocks([*above, *cells, *after])] == ["text", "table", "text"]


def test_a_table_in_one_column_leaves_the_prose_beside_it_alone() -> None:
    left = paragraph(prose(200), 72, 100, 215)
    top = paragraph(prose(60, start=1), 310, 100, 215)
    cells = table(FRUIT, (310, 390, 460), below(top, 20))
    foot = paragraph(prose(60, start=2), 310, below(cells, 30), 215)
    made = blocks([*left, *top, *cells, *foot])
    assert [block.kind for block in made] == ["text", "text", "table", "text"]
    assert text_of(made)[0] == prose(200)


@pytest.mark.parametrize("rows", [FRUIT[:3], [row[:2] for row in FRUIT]])
def test_fewer_rows_or_columns_stay_text(rows: list[tuple[str, ...]]) -> None:
    assert {block.kind for block in blocks(table(rows, LEFTS[: len(rows[0])], 100))} == {"text"}


def test_an_empty_cell_keeps_its_column() -> None:
    rows = [*FRUIT[:2], ("Pears", "", "0.45"), *FRUIT[3:]]
    assert "| Pears | | 0.45 |" in rows_of(blocks(table(rows, LEFTS, 100))[0])


@pytest.mark.parametrize("columns", [3, 4])
def test_a_long_table_that_the_file_has_column_by_column_is_one(columns: int) -> None:
    words = ["Fox", "A wizard of the old town", "Seven queens", "Brew", "Its jolly mountain roads", "Evil", "Dogs"]
    rows = [tuple(words[(3 * n + 2 * c) % 7] for c in range(columns)) for n in range(20)]
    cells = table(rows, (72, 200, 330, 460)[:columns], 100)
    by_column = sorted(cells, key=lambda cell: cell.left)
    (found,) = blocks(by_column)
    assert found.kind == "table"
    assert len(rows_of(found)) == 21


@pytest.mark.parametrize("is_ocr", [False, True])
def test_a_table_above_columns_of_prose_stays_whole(is_ocr: bool) -> None:
    cells = table([("Fruit", "Tonnes", "Price", "Year"), *((f"Plum {n}", "7", "1.2", "2025") for n in range(6))],
                  (72, 200, 310, 400), 100)  # fmt: skip
    columns = [paragraph(prose(90, n), left, 230, 215) for n, left in enumerate((72, 310))]
    made = blocks([*cells, *columns[0], *columns[1]], is_ocr)
    assert [block.kind for block in made] == ["table", "text", "text"]
    assert "| Plum 0 | 7 | 1.2 | 2025 |" in rows_of(made[0])


def test_a_table_at_the_top_of_one_column_leaves_the_other_alone() -> None:
    code = [f"[{n}, 0, 0, 1, 0, 0, 1]," for n in range(12)]
    left = lines(code, 72, 100)
    left += paragraph(prose(60), 72, below(left, 10), 215)
    right = table(FRUIT, (310, 390, 460), 100)
    right += paragraph(prose(90, start=2), 310, below(right, 20), 215)
    made = blocks([*left, *right])
    assert [found.text for block in made for found in block.lines][:12] == code
    assert "| Apples | 1,204 | 0.31 |" in [found.text for block in made for found in block.lines]


def test_lines_of_a_cell_are_put_together() -> None:
    upper = table(FRUIT[:2], LEFTS, 100, pitch=24)
    more = line("of the old town", 72, 134, size=8)  # 10 points below "Apples", rows are 24 apart
    lower = table(FRUIT[2:], LEFTS, 148, pitch=24)
    assert "| Apples of the old town | 1,204 | 0.31 |" in rows_of(blocks([*upper, more, *lower])[0])


def test_a_heading_over_several_columns_stands_in_each() -> None:
    years = [
        ("", "2024", "2025", "2026"),
        ("Apples", "1", "2", "3"),
        ("Pears", "4", "5", "6"),
        ("Plums", "7", "8", "9"),
    ]
    cells = table(years, (72, 200, 260, 320), 120)
    heading = line("Year ended", 248, 106)
    assert rows_of(blocks([heading, *cells])[0])[0] == "| | Year ended | Year ended | Year ended |"


def test_currency_signs_in_a_column_of_their_own_go_to_their_figures() -> None:
    rows = [
        ("", "", "2025", "2026"),
        ("Apples", "$", "10", "20"),
        ("Pears", "", "11", "21"),
        ("Plums", "$", "12", "22"),
    ]
    assert "| Apples | $ 10 | 20 |" in rows_of(blocks(table(rows, (72, 200, 230, 300), 100))[0])


def test_pipes_in_cells_are_escaped() -> None:
    rows = [("A", "B", "C"), ("a|b", "1", "2"), ("c", "3", "4"), ("d", "5", "6")]
    assert "| a\\|b | 1 | 2 |" in rows_of(blocks(table(rows, LEFTS, 100))[0])


def test_leaders_are_no_cells() -> None:
    rows = [(f"{name} . . . . . . . . . .", a, b) for name, a, b in FRUIT]
    assert rows_of(blocks(table(rows, LEFTS, 100))[0])[2] == "| Apples | 1,204 | 0.31 |"


def test_leaders_that_are_drawn_under_the_cells_are_nothing() -> None:
    dots = [line(". . . . . . . . . . . . . . . . . . .", 70, 100 + 14 * n) for n in range(len(FRUIT))]
    assert rows_of(blocks([*dots, *table(FRUIT, LEFTS, 100)])[0])[2] == "| Apples | 1,204 | 0.31 |"


def test_labels_that_are_not_aligned_are_no_sure_table() -> None:
    words = ["fox", "a wizard", "seven queens", "an old town", "brew", "a quiet dog", "toxic knights", "evil"]
    cells = [
        line(words[(3 * r + c) % 8], 72 + 130 * c + (r * 37 + c * 23) % 60, 100 + 14 * r)
        for r in range(8)
        for c in range(3)
    ]
    (found,) = blocks(cells)
    assert found.kind == "grid"


def test_a_caption_is_no_row_of_its_table() -> None:
    cells = table(FRUIT, LEFTS, 120)
    *captions, found = blocks([line("Table 1", 72, 106), line("Harvests", 200, 106), *cells])
    assert {block.kind for block in captions} == {"text"}
    assert rows_of(found)[0] == "| Fruit | Tonnes | Price |"


def test_scattered_labels_are_no_table() -> None:
    labels = [line(f"label {n}", 72 + (n * 137) % 400, 100 + n * 14) for n in range(20)]
    assert "table" not in {block.kind for block in blocks(labels)}


def test_two_tables_side_by_side_are_two() -> None:
    first = table([(f"fox {n}", str(n), str(n * n)) for n in range(20)], (72, 130, 160), 100, pitch=15)
    second = table([(f"wizard {n}", str(n), str(3 * n)) for n in range(16)], (330, 400, 440), 107, pitch=18)
    made = blocks([*first, *second])
    assert [block.kind for block in made] == ["table", "table"]
    assert made[1].lines[0].text.startswith("| wizard 0")


def test_a_list_of_names_and_values_is_no_table_of_prose() -> None:
    labels = lines(["Name", "Office", "Notes"], 72, 100)
    notes = paragraph(prose(80), 200, 124, 300)
    made = blocks([*labels, *lines(["Tom", "Old Town"], 200, 100), *notes])
    assert "table" not in {block.kind for block in made}
