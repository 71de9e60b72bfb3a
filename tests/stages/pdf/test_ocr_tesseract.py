import shutil
import stat
from pathlib import Path

import numpy as np
import pytest

from pipeline.errors import MachineError
from stages.pdf.ocr.reader import PageReader
from stages.pdf.ocr.tesseract import Tesseract, lines_of
from tests.stages.pdf.ocr_files import PROSE, printed

COLUMNS = ["level", "page_num", "block_num", "par_num", "line_num", "word_num"]
COLUMNS += ["left", "top", "width", "height", "conf", "text"]
TABLE = "\n".join(
    "\t".join(row)
    for row in (
        COLUMNS,
        ["1", "1", "0", "0", "0", "0", "0", "0", "800", "600", "-1", ""],
        ["4", "1", "1", "1", "1", "0", "90", "50", "300", "30", "-1", ""],
        ["5", "1", "1", "1", "1", "1", "90", "52", "100", "28", "96.0", "Two"],
        ["5", "1", "1", "1", "1", "2", "210", "50", "180", "26", "80.0", '"words'],
        ["5", "1", "1", "1", "2", "1", "90", "100", "60", "28", "50.0", "below"],
        ["5", "1", "2", "1", "1", "1", "500", "100", "60", "28", "95.0", " "],
    )
)

PROGRAM = f"""#!/bin/sh
if [ "$1" = --list-langs ]; then printf 'List of available languages (1):\\neng\\n'; exit; fi
cat > "$0.png"
echo "$@" > "$0.arguments"
cat <<'END'
{TABLE}
END
"""


@pytest.fixture
def program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A program of that name that answers as Tesseract does, and keeps what it was asked."""
    path = tmp_path / "tesseract"
    path.write_text(PROGRAM)
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    return path


def test_words_of_a_line_are_joined_and_their_confidence_is_weighted_by_length() -> None:
    first, second = lines_of(TABLE)
    assert first.text == 'Two "words'
    assert (first.left, first.top, first.right, first.bottom) == (90, 50, 390, 80)
    assert (first.weight, first.characters) == pytest.approx((0.96 * 3 + 0.8 * 6, 9))
    assert second.text == "below"


def test_the_program_is_given_the_picture_the_languages_and_the_resolution(program: Path) -> None:
    lines = Tesseract(["eng"]).lines(np.full((60, 80, 3), 255, np.uint8), 299.6)
    assert [line.text for line in lines] == ['Two "words', "below"]
    assert Path(f"{program}.png").read_bytes().startswith(b"\x89PNG")
    assert Path(f"{program}.arguments").read_text() == "stdin stdout -l eng --psm 3 --dpi 300 tsv\n"


def test_a_page_read_by_tesseract_is_in_points(program: Path) -> None:
    page = printed(PROSE)
    result = PageReader(engine="tesseract").read(page.render, page.width, page.height)
    assert [round(fragment.left) for fragment in result.fragments] == [22, 22]  # 90 pixels at 300 dpi
    assert result.confidence == pytest.approx((0.96 * 3 + 0.8 * 6 + 0.5 * 5) / 14)


def test_a_missing_program_is_told_with_the_remedy(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(MachineError, match="apt-get install tesseract-ocr"):
        PageReader(engine="tesseract")


def test_a_missing_language_is_told_with_the_remedy(program: Path) -> None:
    with pytest.raises(MachineError, match=r"lacks the languages chi_sim: apt-get install tesseract-ocr-chi-sim"):
        Tesseract(["eng", "chi_sim"])


def test_a_failure_of_the_program_is_an_error(program: Path) -> None:
    tesseract = Tesseract(["eng"])
    program.write_text("#!/bin/sh\necho no traineddata >&2; exit 1\n")
    with pytest.raises(MachineError, match="no traineddata"):
        tesseract.lines(np.zeros((9, 9, 3), np.uint8), 300)


@pytest.mark.skipif(shutil.which("tesseract") is None, reason="Tesseract is not installed")
@pytest.mark.parametrize("quarters", [0, 1, 2, 3])
def test_the_real_program_reads_print_whichever_way_it_lies(quarters: int) -> None:
    page = printed(PROSE).turned(quarters)
    result = PageReader(engine="tesseract").read(page.render, page.width, page.height)
    assert sorted(fragment.text for fragment in result.fragments) == sorted(PROSE)
    assert result.rotation == (360 - 90 * quarters) % 360
