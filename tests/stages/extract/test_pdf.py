"""Which pages are trusted and which are blank."""

import numpy as np
import pytest

from stages.extract.pdf import PdfLimits, UnreadablePdf, is_blank, is_trustworthy, pages_of
from tests.stages.pdf_files import image_pdf, text_pdf

AUTO = PdfLimits("auto", max_pages=100, max_page_pixels=4_000_000)
PROSE = "A page with a sound text layer is read from it, since that is exact and costs a hundredth of OCR. " * 2


def test_a_text_layer_is_trusted_below_two_percent_of_garbage():
    assert is_trustworthy("a" * 99 + "\ufffd", 0.0)
    assert not is_trustworthy("a" * 98 + "\ufffd\ue000", 0.0)


def test_line_end_hyphens_are_not_garbage():
    assert is_trustworthy("broken\ufffeword " * 10 + "\x02", 0.0)


def test_a_text_layer_with_four_percent_of_unmapped_glyphs_is_not_trusted():
    assert is_trustworthy("plain text", 0.039)
    assert not is_trustworthy("plain text", 0.04)


def test_an_evenly_grey_picture_with_a_few_specks_is_blank():
    paper = np.full((421, 298), 230, np.uint8)
    paper[10:13, 10:13] = 0
    assert is_blank(paper)


def test_a_line_of_ink_is_not_blank():
    paper = np.full((421, 298), 230, np.uint8)
    paper[100, 20:100] = 90
    assert not is_blank(paper)


def test_a_page_with_a_text_layer_is_read_from_it(tmp_path):
    (page,) = pages_of(text_pdf(tmp_path / "a.pdf", [PROSE]), AUTO)
    assert (page.lane, page.confidence) == ("text", None)
    assert page.text.split() == PROSE.split()


def test_a_short_line_of_text_needs_no_better_source_than_its_layer(tmp_path):
    (page,) = pages_of(text_pdf(tmp_path / "a.pdf", ["Chapter One"]), AUTO)
    assert (page.lane, page.text.strip()) == ("text", "Chapter One")


def test_an_empty_page_is_blank(tmp_path):
    assert [page.lane for page in pages_of(text_pdf(tmp_path / "a.pdf", [""]), AUTO)] == ["blank"]


def test_a_scan_is_read_by_ocr(tmp_path):
    (page,) = pages_of(image_pdf(tmp_path / "a.pdf", [PROSE]), AUTO)
    assert page.lane == "ocr"
    assert page.confidence > 0.9
    assert len(set(page.text.split()) & set(PROSE.split())) > 0.9 * len(set(PROSE.split()))


def test_a_scan_stays_unread_with_ocr_off(tmp_path):
    limits = PdfLimits("off", max_pages=100, max_page_pixels=4_000_000)
    assert [page.lane for page in pages_of(image_pdf(tmp_path / "a.pdf", [PROSE]), limits)] == ["unread"]


def test_ocr_reads_any_page_if_always_wanted(tmp_path):
    limits = PdfLimits("always", max_pages=100, max_page_pixels=4_000_000)
    assert [page.lane for page in pages_of(text_pdf(tmp_path / "a.pdf", [PROSE]), limits)] == ["ocr"]


def test_too_many_pages_are_refused(tmp_path):
    limits = PdfLimits("auto", max_pages=2, max_page_pixels=4_000_000)
    with pytest.raises(UnreadablePdf, match="3 pages > 2"):
        list(pages_of(text_pdf(tmp_path / "a.pdf", ["a", "b", "c"]), limits))
