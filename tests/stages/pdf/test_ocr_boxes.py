import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stages.pdf.ocr.boxes import (
    LINE_HEIGHT,
    MAX_LINE_WIDTH,
    levelled,
    line_heights,
    line_picture,
    sideways_share,
    skew_of,
    turned,
)

UPRIGHT = (100.0, 40.0, 120.0, 20.0, 0.0)


def boxes(*rows: tuple[float, float, float, float, float]) -> np.ndarray:
    return np.array(rows)


def test_a_quarter_clockwise_brings_the_top_left_corner_to_the_top_right() -> None:
    assert turned(boxes((10, 20, 30, 5, 1)), 1, width=200, height=100).tolist() == [[80, 10, 5, 30, 1]]


@given(st.integers(0, 7), st.floats(0, 500), st.floats(0, 300))
def test_turning_boxes_goes_with_turning_the_picture(quarters: int, x: float, y: float) -> None:
    there = turned(boxes((x, y, 9, 3, 2)), quarters, 500, 300)
    sides = (500, 300) if quarters % 2 == 0 else (300, 500)
    assert np.allclose(turned(there, -quarters % 4, *sides), boxes((x, y, 9, 3, 2)))


def test_the_height_of_a_line_is_the_shorter_side_of_its_box() -> None:
    assert line_heights(boxes(UPRIGHT, (0, 0, 12, 90, 0))).tolist() == [20, 12]


def test_a_page_is_sideways_by_the_length_of_its_tall_lines() -> None:
    stamp = (10.0, 200.0, 12.0, 120.0, 0.0)
    letter = (50.0, 50.0, 10.0, 11.0, 0.0)  # says nothing either way
    assert sideways_share(boxes(UPRIGHT, UPRIGHT, UPRIGHT, stamp, letter)) == 0.25
    assert sideways_share(boxes(letter)) == 0


def test_skew_is_that_of_the_long_lines() -> None:
    long = [(0.0, 0.0, 300.0, 15.0, angle) for angle in (1.1, 1.2, 1.3)]
    word, stamp = (0.0, 0.0, 30.0, 15.0, -9.0), (0.0, 0.0, 900.0, 40.0, 40.0)
    assert skew_of(boxes(*long, word, stamp)) == 1.2
    assert skew_of(boxes(word)) == 0


def test_words_of_a_skewed_line_are_at_one_height_once_levelled() -> None:
    lean = np.tan(np.radians(2))
    row = boxes(*[(x, 100 + lean * x, 40, 12, 2.0) for x in (50.0, 250.0, 450.0)])
    flat = levelled(row, 2.0, 500, 300)
    assert np.ptp(flat[:, 1]) < 1e-9
    assert flat[:, 4].tolist() == [0, 0, 0]
    assert np.diff(flat[:, 0]) == pytest.approx(200 / np.cos(np.radians(2)))


@pytest.mark.parametrize("angle", [0, 7, -7])
def test_the_picture_of_a_leaning_box_is_upright(angle: float) -> None:
    page = np.full((300, 400, 3), 255, np.uint8)
    corners = cv2.boxPoints(((200.0, 150.0), (200.0, 24.0), float(angle)))
    cv2.fillPoly(page, [corners.round().astype(np.int32)], (0, 0, 0))
    line = line_picture(page, np.array((200, 150, 200, 48, angle)))
    assert line.shape == (LINE_HEIGHT, 200, 3)
    assert line[20:28, 5:195].max() < 60  # the bar lies level in the middle
    assert line[:8].min() > 200
    assert line[-8:].min() > 200


def test_a_line_of_any_length_has_a_bounded_picture() -> None:
    page = np.zeros((20, 4000, 3), np.uint8)
    assert line_picture(page, np.array((2000, 10, 4000, 10, 0))).shape == (LINE_HEIGHT, MAX_LINE_WIDTH, 3)
    assert line_picture(page, np.array((5, 10, 0.4, 19, 0))).shape[0] == LINE_HEIGHT
