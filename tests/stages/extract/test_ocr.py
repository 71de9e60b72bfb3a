"""The order in which the lines of a picture are read."""

from hypothesis import given
from hypothesis import strategies as st

from stages.extract.ocr import Line, reading_order


def column(left: float, right: float, name: str, rows: int = 6, top: float = 100) -> list[Line]:
    return [Line(left, top + 30 * n, right, top + 30 * n + 20, f"{name}{n}") for n in range(rows)]


def test_one_column_is_read_from_top_to_bottom():
    assert reading_order(column(0, 1000, "a")[::-1]) == ["a0", "a1", "a2", "a3", "a4", "a5"]


def test_boxes_at_one_height_form_a_row():
    assert reading_order([Line(500, 3, 700, 23, "right"), Line(0, 0, 300, 20, "left")]) == ["left right"]


def test_two_columns_are_read_one_after_the_other():
    left, right = column(0, 480, "a"), column(520, 1000, "b")
    mingled = [line for pair in zip(left, right, strict=True) for line in pair]
    assert reading_order(mingled) == [f"a{n}" for n in range(6)] + [f"b{n}" for n in range(6)]


def test_a_wide_line_ends_the_columns_above_it():
    lines = [
        Line(100, 20, 900, 50, "title"),
        *column(0, 480, "a"),
        *column(520, 1000, "b"),
        Line(50, 300, 950, 320, "caption"),
        *column(0, 480, "c", top=340),
        *column(520, 1000, "d", top=340),
    ]
    order = reading_order(lines)
    assert [order[0], order[1], order[7], order[13], order[14], order[20]] == [
        "title",
        "a0",
        "b0",
        "caption",
        "c0",
        "d0",
    ]


def test_a_table_is_read_by_row():
    cells = column(0, 150, "k") + column(850, 1000, "v")
    assert reading_order(cells) == [f"k{n} v{n}" for n in range(6)]


@given(st.lists(st.tuples(*[st.floats(0, 1000)] * 2, st.floats(1, 500), st.floats(1, 40)), max_size=40))
def test_every_line_is_read_once(boxes):
    lines = [Line(x, y, x + w, y + h, f"<{n}>") for n, (x, y, w, h) in enumerate(boxes)]
    words = " ".join(reading_order(lines)).split()
    assert sorted(words) == sorted(line.text for line in lines)
