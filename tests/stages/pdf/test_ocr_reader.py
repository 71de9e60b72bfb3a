import re
from pathlib import Path

import numpy as np
import pypdfium2 as pdfium
import pytest
from reportlab.pdfgen.canvas import Canvas

from stages.pdf.ocr.reader import OcrPage, PageReader
from stages.pdf.page import Fragment
from tests.stages.pdf.ocr_files import DEJAVU, PROSE, Paper, paper, printed, printed_in_dejavu


@pytest.fixture(scope="module")
def reader() -> PageReader:
    return PageReader()


def read(reader: PageReader, page: Paper) -> OcrPage:
    return reader.read(page.render, page.width, page.height)


def downwards(page: OcrPage) -> list[Fragment]:
    return sorted(page.fragments, key=lambda fragment: fragment.top)


def texts(page: OcrPage) -> list[str]:
    return [fragment.text for fragment in downwards(page)]


def test_print_is_read_line_by_line_with_its_confidence(reader: PageReader) -> None:
    page = read(reader, printed(PROSE))
    assert texts(page) == list(PROSE)
    assert (page.rotation, page.width, page.height) == (0, 420, 300)
    assert page.confidence is not None
    assert page.confidence > 0.97
    assert not page.unknown_script


def test_fragments_lie_where_the_lines_do(reader: PageReader) -> None:
    first, second, *_ = downwards(read(reader, printed(PROSE, size=12, left=30, top=40)))
    assert first.left == pytest.approx(30, abs=4)
    assert first.top < 40 - 6 < 40 < first.bottom < 40 + 10
    assert second.top - first.top == pytest.approx(1.3 * 12, abs=2)
    assert first.size == pytest.approx(12, rel=0.25)


@pytest.mark.parametrize("quarters", [1, 2, 3])
def test_a_page_is_turned_upright(reader: PageReader, quarters: int) -> None:
    upright = printed(PROSE)
    page = read(reader, upright.turned(quarters))
    assert texts(page) == list(PROSE)
    assert (page.rotation, page.width, page.height) == ((360 - 90 * quarters) % 360, 420, 300)
    expected = downwards(read(reader, upright))[0]
    assert downwards(page)[0].left == pytest.approx(expected.left, abs=3)
    assert downwards(page)[0].top == pytest.approx(expected.top, abs=3)


def test_a_skewed_page_is_levelled(reader: PageReader) -> None:
    cells = ["Alpha", "Beta", "Gamma", "Delta"]

    def draw(canvas: Canvas) -> None:
        canvas.setFont("Helvetica", 11)
        for number, line in enumerate(PROSE):
            canvas.drawString(30, 270 - 16 * number, line)
        for number, cell in enumerate(cells):
            canvas.drawString(30 + 100 * number, 120, cell)

    skewed = paper(draw)
    page = read(reader, Paper(skewed.width, skewed.height, skewed.content, skew=3.0))
    assert texts(page)[: len(PROSE)] == list(PROSE)
    row = [fragment for fragment in page.fragments if fragment.text in cells]
    assert len(row) == len(cells)
    middles = [(fragment.top + fragment.bottom) / 2 for fragment in row]
    assert np.ptp(middles) < 3  # the skew is 15 points over the row


def test_small_print_is_read_at_a_higher_resolution(reader: PageReader) -> None:
    small, large = read(reader, printed(PROSE, size=4.5)), read(reader, printed(PROSE[:2], size=14))
    assert texts(small) == list(PROSE)
    assert small.dpi > 1.5 * large.dpi


def test_no_picture_is_larger_than_allowed() -> None:
    page = printed(PROSE, size=4.5)
    PageReader(max_page_pixels=400_000).read(page.render, page.width, page.height)
    assert all(page.width * page.height * (dpi / 72) ** 2 <= 400_001 for dpi in page.asked)


def test_the_size_that_a_file_claims_for_its_page_does_not_matter(reader: PageReader) -> None:
    page = printed(PROSE)
    huge = reader.read(lambda dpi: page.render(dpi * 10), page.width * 10, page.height * 10)
    assert texts(huge) == list(PROSE)
    assert downwards(huge)[0].left == pytest.approx(300, abs=40)


def test_a_long_strip_is_read(reader: PageReader) -> None:
    def draw(canvas: Canvas) -> None:
        canvas.setFont("Courier", 8)
        for number in range(0, 2400, 300):
            canvas.drawString(10, number + 50, f"item {number} 1.99")

    assert len(read(reader, paper(draw, width=160, height=2400)).fragments) >= 8


def test_fine_print_on_a_large_sheet_is_read(reader: PageReader) -> None:
    def draw(canvas: Canvas) -> None:
        canvas.setFont("Helvetica-Bold", 90)
        canvas.drawString(60, 1500, "THE DAILY NEWS")
        canvas.setFont("Times-Roman", 8)
        for number, line in enumerate(PROSE):
            canvas.drawString(60, 1300 - 10 * number, line)

    assert texts(read(reader, paper(draw, width=1080, height=1620)))[1:] == list(PROSE)


def test_a_blank_page_says_nothing(reader: PageReader) -> None:
    page = read(reader, paper(lambda canvas: None))
    assert (page.fragments, page.confidence) == ((), None)


def test_columns_are_not_joined(reader: PageReader) -> None:
    def draw(canvas: Canvas) -> None:
        canvas.setFont("Times-Roman", 10)
        for number in range(8):
            canvas.drawRightString(204, 260 - 12 * number, "letters reach up to the gutter")
            canvas.drawString(216, 260 - 12 * number, "where the other column starts")

    page = read(reader, paper(draw))
    assert len(page.fragments) == 16
    assert all(fragment.right < 213 or fragment.left > 207 for fragment in page.fragments)


def test_a_hyphen_at_the_end_of_a_line_stays(reader: PageReader) -> None:
    assert texts(read(reader, printed(["a word that is continued on the follow-", "ing line of text"])))[0].endswith(
        "-"
    )


def test_a_line_that_runs_up_the_margin_is_read(reader: PageReader) -> None:
    def draw(canvas: Canvas) -> None:
        canvas.setFont("Times-Roman", 11)
        for number, line in enumerate(PROSE):
            canvas.drawString(60, 260 - 14 * number, line)
        canvas.rotate(90)
        canvas.drawString(60, -30, "arXiv:2203.00274v2 [cs.CL]")

    page = read(reader, paper(draw))
    assert page.rotation == 0
    assert "arXiv:2203.00274v2 [cs.CL]" in texts(page)


@pytest.mark.skipif(not DEJAVU.exists(), reason="no font with Cyrillic letters here")
def test_letters_that_the_models_do_not_know_are_noticed(reader: PageReader) -> None:
    russian = ("Все люди рождаются свободными и равными", "в своем достоинстве и правах. Они наделены")
    page = read(reader, printed_in_dejavu(russian))
    assert page.unknown_script
    assert page.rotation == 0  # nothing tells that it should be turned
    assert not read(reader, printed_in_dejavu(PROSE[:3], size=10)).unknown_script


@pytest.mark.parametrize("name", ["ocr_test", "ocr_test_rotated_90", "ocr_test_rotated_180", "ocr_test_rotated_270"])
def test_a_real_scan_is_read_whichever_way_it_lies(reader: PageReader, shared_data: Path, name: str) -> None:
    folder = shared_data / "pdf"
    expected = (folder / "ground_truth" / "ocr_test_expected.md").read_text()
    document = pdfium.PdfDocument(folder / "docling" / f"{name}.pdf")
    page = reader.read(lambda dpi: document[0].render(scale=dpi / 72).to_numpy(), *document[0].get_size())
    # the 2 at the end of the expected text is not on the page
    assert re.findall(r"\w+", " ".join(texts(page))) == re.findall(r"[^\W\d]+", expected)


def test_a_chinese_scan_is_read(reader: PageReader, shared_data: Path) -> None:
    document = pdfium.PdfDocument(shared_data / "pdf" / "mineru" / "small_ocr.pdf")
    page = reader.read(lambda dpi: document[0].render(scale=dpi / 72).to_numpy(), *document[0].get_size())
    text = "".join(texts(page))
    assert "在资产阶级社会中" in text
    assert "任何人都不能推托不知道法律" in text
    assert not page.unknown_script
