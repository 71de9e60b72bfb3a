"""Boxes of lines in a picture: how they stand, and the pictures of the lines in them.

A picture is a (height, width, 3) uint8 array, blue-green-red. Boxes are the rows of an (n, 5) array: x and y of the
centre, width and height in pixels, and the degrees clockwise by which the box is turned, within 45 of upright.
"""

from __future__ import annotations

import math

import numpy as np

LINE_HEIGHT = 48
"""Pixels of a line's picture, as recognition was trained."""

MAX_LINE_WIDTH = 2560
"""Pixels of a line's picture: 53 times its height. A longer one is narrowed."""

TALL = 1.5
"""Height by width from which a box is taken to hold sideways text, or a lone narrow character (RapidOCR's value)."""

LONG = 5.0
"""Width by height from which the angle of a box tells how the page is skewed; that of a short word is chance."""

MAX_SKEW = 15.0
"""Degrees. What stands more oblique is no skewed page but an oblique stamp or a figure's label."""


def line_heights(boxes: np.ndarray) -> np.ndarray:
    """Heights of the lines, whichever way they stand."""
    heights: np.ndarray = np.minimum(boxes[:, 2], boxes[:, 3])
    return heights


def sideways_share(boxes: np.ndarray) -> float:
    """The share of lines that run up or down the page, by length; 0 without any line that is clearly long."""
    tall, wide = boxes[:, 3] > TALL * boxes[:, 2], boxes[:, 2] > TALL * boxes[:, 3]
    lengths = boxes[:, 2:4].max(axis=1)
    clear = lengths[tall | wide].sum()
    return float(lengths[tall].sum() / clear) if clear else 0.0


def turned(boxes: np.ndarray, quarters: int, width: float, height: float) -> np.ndarray:
    """Boxes of the picture turned clockwise by so many quarters; width and height are those before it is turned."""
    result = boxes.copy()
    for _ in range(quarters % 4):
        result[:, 0], result[:, 1] = height - result[:, 1], result[:, 0].copy()
        result[:, [2, 3]] = result[:, [3, 2]]
        width, height = height, width
    return result


def skew_of(boxes: np.ndarray) -> float:
    """Degrees clockwise by which the long lines lean, the median by length; 0 without any."""
    long = boxes[(boxes[:, 2] >= LONG * boxes[:, 3]) & (np.abs(boxes[:, 4]) <= MAX_SKEW)]
    if not len(long):
        return 0.0
    order = np.argsort(long[:, 4])
    lengths = np.cumsum(long[order, 2])
    return float(long[order[np.searchsorted(lengths, lengths[-1] / 2)], 4])


def levelled(boxes: np.ndarray, skew: float, width: float, height: float) -> np.ndarray:
    """Where the boxes are on a page without the skew: turned back around the middle of the picture."""
    cos, sin = math.cos(math.radians(skew)), math.sin(math.radians(skew))
    result = boxes.copy()
    x, y = boxes[:, 0] - width / 2, boxes[:, 1] - height / 2
    result[:, 0] = x * cos + y * sin + width / 2
    result[:, 1] = y * cos - x * sin + height / 2
    result[:, 4] -= skew
    return result


def line_picture(picture: np.ndarray, box: np.ndarray) -> np.ndarray:
    """The picture of a box, upright, LINE_HEIGHT pixels high."""
    import cv2

    x, y, width, height, angle = box.tolist()
    cos, sin = math.cos(math.radians(angle)), math.sin(math.radians(angle))
    size = (max(1, round(width)), max(1, round(height)))
    to_page = np.array(  # from the line's pixels to the picture's: turned around the centre
        [
            [cos, -sin, x - cos * size[0] / 2 + sin * size[1] / 2],
            [sin, cos, y - sin * size[0] / 2 - cos * size[1] / 2],
        ]
    )
    flags = cv2.INTER_CUBIC | cv2.WARP_INVERSE_MAP
    line = cv2.warpAffine(picture, to_page, size, flags=flags, borderMode=cv2.BORDER_REPLICATE)
    wide = min(MAX_LINE_WIDTH, max(1, round(width * LINE_HEIGHT / height)))
    shrinking = cv2.INTER_AREA if height > LINE_HEIGHT else cv2.INTER_LINEAR
    return cv2.resize(line, (wide, LINE_HEIGHT), interpolation=shrinking)
