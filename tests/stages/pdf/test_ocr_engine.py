import logging
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from stages.pdf.ocr import models
from stages.pdf.ocr.boxes import line_picture
from stages.pdf.ocr.engine import MIN_SPACE, UNCLIP, OcrEngine, boxes_of, decoded
from stages.pdf.ocr.models import installed_runtime, model_path
from tests.stages.pdf.ocr_files import PROSE, printed

A, B, SPACE = 1, 2, 3


def steps(*classes: int, space: float = 0.0) -> np.ndarray:
    """Probabilities of a line of these classes, 0.9 each; a space has so much where nothing is told."""
    rows = np.zeros((len(classes), 4))
    rows[np.arange(len(classes)), classes] = 0.9
    rows[np.equal(classes, 0), SPACE] = space
    return rows


def test_a_character_counts_where_it_begins_and_nothing_parts_repeated_ones() -> None:
    classes, scores = decoded(steps(0, A, A, 0, A, B, 0))
    assert classes.tolist() == [A, A, B]
    assert scores.tolist() == [0.9, 0.9, 0.9]


def test_an_unsure_space_between_two_characters_is_told() -> None:
    assert decoded(steps(A, 0, 0, B, space=MIN_SPACE))[0].tolist() == [A, SPACE, B]
    assert decoded(steps(A, 0, 0, B, space=MIN_SPACE / 2))[0].tolist() == [A, B]


def test_no_second_space_is_told_beside_a_sure_one() -> None:
    assert decoded(steps(A, 0, SPACE, 0, B, space=0.5))[0].tolist() == [A, SPACE, B]


def test_no_space_is_told_at_the_ends_of_a_line() -> None:
    assert decoded(steps(0, A, 0, space=0.5))[0].tolist() == [A]


def test_an_empty_line_says_nothing() -> None:
    assert decoded(steps(0, 0, 0, space=0.5))[0].tolist() == []


def test_a_box_is_the_marked_core_grown_by_area_over_circumference() -> None:
    probabilities = np.zeros((100, 200), np.float32)
    probabilities[40:50, 20:121] = 0.9
    ((x, y, width, height, angle),) = boxes_of(probabilities)
    core_width, core_height = 101.0, 10.0  # dilated by one pixel, of which rectangles through centres lose one
    grow = core_width * core_height * UNCLIP / (core_width + core_height)
    assert (x, y, angle) == pytest.approx((70.5, 45, 0), abs=0.6)
    assert (width, height) == pytest.approx((core_width + grow, core_height + grow), abs=1.5)


def test_specks_and_faint_marks_are_no_boxes() -> None:
    probabilities = np.zeros((100, 200), np.float32)
    probabilities[10, 10] = 0.99
    probabilities[40:50, 20:121] = 0.4
    assert boxes_of(probabilities).shape == (0, 5)


def test_both_runtimes_read_the_same() -> None:
    picture = np.ascontiguousarray(printed(PROSE[:3]).render(110))
    texts = []
    for runtime in ("openvino", "onnxruntime"):
        engine = OcrEngine(runtime)
        found = engine.boxes(picture)
        order = np.argsort(found[:, 1])
        texts.append([engine.read(line_picture(picture, box)).text for box in found[order]])
    assert texts[0] == texts[1] == list(PROSE[:3])


def test_without_openvino_onnx_runtime_reads_and_the_log_says_so(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setitem(sys.modules, "openvino", None)
    installed_runtime.cache_clear()
    with caplog.at_level(logging.WARNING):
        assert [installed_runtime(), installed_runtime()] == ["onnxruntime", "onnxruntime"]
    installed_runtime.cache_clear()
    assert [record.message.split(":")[0] for record in caplog.records] == ["openvino is not installed"]


def test_a_release_without_the_models_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(models, "RECOGNITION", "no_such.onnx")
    with pytest.raises(FileNotFoundError, match=r"no_such\.onnx.*3\.10"):
        model_path(models.RECOGNITION)


OFFLINE = """
import os
import pathlib
import sys
def forbid(event, arguments):
    if event.startswith(("socket.connect", "socket.getaddrinfo", "socket.sendto")):
        sys.stderr.write(f"{event}{arguments}")
        os._exit(3)  # whatever thread this is
sys.addaudithook(forbid)
import numpy as np
from stages.pdf.ocr.reader import PageReader
page = PageReader().read(lambda dpi: np.full((300, 400, 3), 255, np.uint8), 200, 150)
assert page.fragments == ()
loaded = [name for name in ("rapidocr", "requests", "openvino_telemetry", "torch") if sys.modules.get(name)]
assert not loaded, loaded
assert not list(pathlib.Path.home().iterdir()), "something was written to the home folder"
"""


def test_nothing_is_fetched_and_nobody_is_told(tmp_path: Path) -> None:
    root = Path(__file__).resolve().parents[3]
    environment = {**os.environ, "HOME": str(tmp_path), "CI": ""}
    command = [sys.executable, "-c", OFFLINE]
    result = subprocess.run(command, cwd=root, env=environment, capture_output=True, text=True, check=False)
    assert (result.returncode, result.stderr) == (0, "")
