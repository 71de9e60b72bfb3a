"""The PDFs, read with pypdfium2."""

from pathlib import Path

import pypdfium2
import pytest

from stages.demo_corpus.papers import PaperRequest, write_papers
from tests.stages.demo_corpus.conftest import Built


def texts(folder: Path) -> dict[str, list[str]]:
    """The text layer of each page, by file name."""
    found: dict[str, list[str]] = {}
    for path in sorted(folder.glob("*.pdf")):
        document = pypdfium2.PdfDocument(path)
        found[path.name] = [page.get_textpage().get_text_range() for page in document]
        document.close()
    return found


def test_the_summary_counts_files_pages_and_scans(tiny: Built) -> None:
    found = texts(tiny.folder / "papers")
    pages = [text for file in found.values() for text in file]
    assert len(found) == tiny.summary.pdf_files == 3
    assert len(pages) == tiny.summary.pdf_pages
    assert len(pages) >= 2 * len(found)
    assert sum(not text.strip() for text in pages) == tiny.summary.scanned_pages == 1


def test_a_scanned_page_is_one_image_and_no_text(tiny: Built) -> None:
    for path in (tiny.folder / "papers").glob("*.pdf"):
        document = pypdfium2.PdfDocument(path)
        for page in document:
            kinds = [entry.type for entry in page.get_objects()]
            if not page.get_textpage().get_text_range().strip():
                assert kinds == [pypdfium2.raw.FPDF_PAGEOBJ_IMAGE]
                grey = page.render(grayscale=True).to_numpy()
                assert 0.01 < (grey < 128).mean() < 0.3  # print on paper, not a blank or black sheet
            else:
                assert pypdfium2.raw.FPDF_PAGEOBJ_IMAGE not in kinds
        document.close()


def test_pages_carry_a_running_head_a_number_and_real_text(tiny: Built) -> None:
    for name, pages in texts(tiny.folder / "papers").items():
        for number, text in enumerate(pages, start=1):
            if text.strip():
                head, page_number = text.splitlines()[:2]
                assert head.startswith("Python language reference"), name
                assert page_number == str(number)
        assert sum(len(text.split()) for text in pages) > 600


def test_long_words_are_broken_at_some_line_ends(tmp_path: Path) -> None:
    write_papers(PaperRequest(str(tmp_path), (), 3, 0, 0, seed=1, share=2, shares=3))  # a two-column paper
    (pages,) = texts(tmp_path).values()
    assert any("\ufffe" in text for text in pages)  # PDFium's sign for a hyphen that a line break put there


def test_more_papers_than_the_roots_can_fill_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="500 wanted"):
        write_papers(PaperRequest(str(tmp_path), (), 500, 0, 0, seed=1, share=0, shares=1))
