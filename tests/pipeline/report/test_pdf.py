"""The section on PDFs: how pages were read, and why."""

from pathlib import Path

from lxml import etree

from pipeline.report.facts import Facts
from pipeline.report.pdf import pdf_section
from pipeline.run import Run
from tests.stages.in_process import run_here, write_lines
from tests.stages.pdf_files import text_pdf

PROSE = (
    "The temperature of the water was measured every morning before the sun rose over the hills, and the results were "
    "written into a table which the students later compared with those of the previous year."
)


def test_pages_are_shown_by_the_way_they_were_read_and_why(tmp_path: Path) -> None:
    (tmp_path / "papers").mkdir()
    text_pdf(tmp_path / "papers" / "a.pdf", [PROSE, "", PROSE, PROSE])
    run_here(tmp_path, {"papers": {"stage": "pdf", "files": "papers"}})
    section = pdf_section(Facts(Run.open(tmp_path / "run")))
    assert section is not None
    root = etree.fromstring(section)
    said = " ".join("".join(root.itertext()).replace("\u00a0", " ").split())
    assert "4 pages were read: 3 by their text layer; 1 nothing is on them." in said
    rows = [["".join(cell.itertext()) for cell in row.iter("td", "th")][:4] for row in root.iter("tr")]
    assert ["text", "sound", "3", "75 %"] in [[cell.replace("\u00a0", " ") for cell in row] for row in rows]
    assert "Quality of each document" in said


def test_a_run_without_pdfs_has_no_such_section(tmp_path: Path) -> None:
    write_lines(tmp_path / "docs.jsonl", ["a text"])
    run_here(tmp_path, {"docs": {"stage": "json_lines", "files": "docs.jsonl"}})
    assert pdf_section(Facts(Run.open(tmp_path / "run"))) is None
