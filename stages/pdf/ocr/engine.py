"""PP-OCRv6 small: finds lines of text in a picture, and reads them. One thread; nothing is downloaded.

It knows Han, kana, Latin and Greek letters. Pictures and boxes are those of stages/pdf/ocr/boxes.py.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from stages.pdf.ocr.boxes import LINE_HEIGHT
from stages.pdf.ocr.models import DETECTION, RECOGNITION, Runtime, installed_runtime, load_network

MIN_PROBABILITY = 0.3
MIN_BOX_SCORE = 0.5
UNCLIP = 1.6
"""As RapidOCR 3.10 sets them for this model: a pixel of text, the mean of a box's pixels, and the growth of a box (the
network marks the core of a line)."""

MIN_CORE = 3
"""Pixels; smaller cores are specks (RapidOCR's value)."""

MIN_SPACE = 0.1
"""Recognition tends to drop the spaces of blurred or narrow lines. On 32 born-digital pages as blurred pictures, 0.07
to 0.2 all raised word F1 from 0.967 to 0.971, and left it as it was on clean ones; from 0.05 on clean ones lost."""

STEP = 64
"""Pixels: sides of the pictures that the networks take are multiples, of twice that for lines longer than LONG_LINE.
(They take other sizes as well, but each new one costs OpenVINO as much as its use, and keeps 3 to 8 MB.)"""

LONG_LINE = 1024


@dataclass(frozen=True, slots=True)
class Reading:
    """What a line says."""

    text: str
    weight: float  # confidences (0 to 1) of its characters, spaces excepted, added up: a better reading has more
    characters: int  # spaces excepted

    @property
    def score(self) -> float:
        """Mean confidence of the characters; 0 without any."""
        return self.weight / max(1, self.characters)


class OcrEngine:
    def __init__(self, runtime: Runtime | None = None) -> None:
        """Loads the networks: about 0.6 s of CPU and 110 MB.

        Raises:
            FileNotFoundError: the models are not installed.
        """
        import cv2

        cv2.setNumThreads(1)
        self.runtime = runtime or installed_runtime()
        self._detect, _ = load_network(DETECTION, self.runtime)
        self._recognise, characters = load_network(RECOGNITION, self.runtime)
        self._characters = ["", *characters, " "]  # the network's class 0 is "nothing here"

    def boxes(self, picture: np.ndarray) -> np.ndarray:
        """The lines of text in a picture, in no order."""
        import cv2

        height, width = picture.shape[:2]
        size = [max(STEP, round(side / STEP) * STEP) for side in (width, height)]
        probabilities = self._detect(_pixels(cv2.resize(picture, size)))[0, 0]
        boxes = boxes_of(probabilities)
        boxes[:, [0, 2]] *= width / size[0]
        boxes[:, [1, 3]] *= height / size[1]
        return boxes

    def read(self, line: np.ndarray) -> Reading:
        """What a picture of LINE_HEIGHT pixels in height says."""
        width = line.shape[1]
        step = STEP if width <= LONG_LINE else 2 * STEP
        padded = -(-width // step) * step
        pixels = np.zeros((1, 3, LINE_HEIGHT, padded), dtype=np.float32)
        pixels[..., :width] = _pixels(line)
        classes, scores = decoded(self._recognise(pixels)[0])
        text = "".join(self._characters[c] for c in classes.tolist())
        is_mark = (classes != 0) & (classes != len(self._characters) - 1)
        return Reading(text.strip(), float(scores[is_mark].sum()), int(is_mark.sum()))


def decoded(probabilities: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The characters of a line by greedy CTC: a class counts where it begins; class 0 parts repeated characters.

    The last class is the space. Between two characters it is also told where it has but MIN_SPACE.

    Args:
        probabilities: (steps, classes).

    Returns:
        Classes of the characters, and their probabilities.
    """
    best, scores = probabilities.argmax(axis=1), probabilities.max(axis=1)
    begins = np.append(True, best[1:] != best[:-1]) & (best != 0)
    space = probabilities.shape[1] - 1
    steps = np.flatnonzero(begins)
    for start, end in zip(steps[:-1].tolist(), steps[1:].tolist(), strict=True):
        between = probabilities[start + 1 : end, space]
        if between.max(initial=0.0) >= MIN_SPACE and space not in (best[start], best[end]):
            step = start + 1 + int(between.argmax())
            begins[step], best[step] = True, space
    return best[begins], scores[begins]


def _pixels(picture: np.ndarray) -> np.ndarray:
    """A (1, 3, height, width) float32 array, -1 to 1."""
    import cv2

    return np.asarray(cv2.dnn.blobFromImage(picture, 1 / 127.5, mean=(127.5, 127.5, 127.5)))


def boxes_of(probabilities: np.ndarray) -> np.ndarray:
    """Boxes around the cores that detection marks.

    A core is the line shrunk; it grows by its area times UNCLIP over its circumference on each side (the inverse of the
    shrinking by which the network was trained: Liao et al., Real-time Scene Text Detection with Differentiable
    Binarization, 2020).

    Args:
        probabilities: (height, width) of each pixel to lie within a core.
    """
    import cv2

    mask = cv2.dilate((probabilities > MIN_PROBABILITY).astype(np.uint8), np.ones((2, 2), np.uint8))
    contours, _ = cv2.findContours(mask, cv2.RETR_LIST, cv2.CHAIN_APPROX_SIMPLE)
    boxes = []
    for contour in contours:
        (x, y), (width, height), angle = cv2.minAreaRect(contour)
        if min(width, height) < MIN_CORE or _mean_within(probabilities, contour) < MIN_BOX_SCORE:
            continue
        quarters = round(angle / 90)  # the same rectangle has several angles, of which OpenCV gives any
        if quarters % 2:
            width, height = height, width
        grow = width * height * UNCLIP / (width + height)  # on both sides, so of half the circumference
        boxes.append((x, y, width + grow, height + grow, angle - 90 * quarters))
    return np.array(boxes).reshape(-1, 5)


def _mean_within(probabilities: np.ndarray, contour: np.ndarray) -> float:
    import cv2

    x, y, width, height = cv2.boundingRect(contour)
    mask = np.zeros((height, width), dtype=np.uint8)
    cv2.drawContours(mask, [contour], 0, 1, -1, offset=(-x, -y))
    return float(cv2.mean(probabilities[y : y + height, x : x + width], mask)[0])
