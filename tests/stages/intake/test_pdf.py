"""PDF files in, documents and reasons out."""

import random
import re
from collections import Counter
from pathlib import Path

import pytest

from pipeline.stage import Context, Outcome, Removal
from stages.intake.pdf import Pdf, PdfConfig
from tests.stages.pdf_files import image_pdf, text_pdf

PROSE = "A page of prose that is long enough to be read from its text layer and not from its picture."


def read(folder: Path, **options: object) -> list[Outcome]:
    stage = Pdf(PdfConfig(files=folder, **options))
    context = Context(seed=1)
    stage.setup(context)
    outcomes = [outcome for split in stage.splits() for outcome in stage.read(split, "papers", context)]
    for outcome in outcomes:
        assert outcome.created == {"papers": len(outcome.kept) + len(outcome.removed)}
    return outcomes


def only_removal(folder: Path, **options: object) -> Removal:
    (outcome,) = read(folder, **options)
    (removed,) = outcome.removed
    return removed


def test_a_file_is_a_document_of_all_its_pages(tmp_path):
    text_pdf(tmp_path / "a.pdf", [PROSE, PROSE[::-1]])
    (outcome,) = read(tmp_path)
    (row,) = outcome.kept.to_pylist()
    assert row["text"] == f"{PROSE}\n{PROSE[::-1]}"
    assert re.fullmatch(r"papers/a\.pdf#[0-9a-f]{12}", row["id"])
    assert row["origin"]["digest"].startswith(row["id"][-12:])
    assert (row["pdf.pages"], row["pdf.ocr_pages"], row["pdf.ocr_confidence"]) == (2, 0, None)
    assert row["meta"] == [("lanes", "text,text")]


def test_each_page_takes_its_own_lane(tmp_path):
    import pypdfium2 as pdfium

    parts = [text_pdf(tmp_path / "1", [PROSE, ""]), image_pdf(tmp_path / "2", [PROSE])]
    whole = pdfium.PdfDocument.new()
    for part in parts:
        whole.import_pages(pdfium.PdfDocument(part))
    whole.save(tmp_path / "a.pdf")
    (outcome,) = read(tmp_path)
    (row,) = outcome.kept.to_pylist()
    assert row["meta"] == [("lanes", "text,blank,ocr")]
    assert row["pdf.ocr_pages"] == 1
    assert row["pdf.ocr_confidence"] > 0.9


def test_a_file_with_a_password_is_encrypted(tmp_path):
    text_pdf(tmp_path / "a.pdf", [PROSE], password="secret")
    removed = only_removal(tmp_path)
    assert (removed.verdict, removed.reason) == ("failed", "encrypted")
    assert removed.evidence.startswith("a.pdf: ")


def test_a_file_cut_to_a_tenth_is_unreadable(tmp_path):
    content = text_pdf(tmp_path / "a.pdf", [PROSE]).read_bytes()
    (tmp_path / "a.pdf").write_bytes(content[: len(content) // 10])
    assert (only_removal(tmp_path).verdict, only_removal(tmp_path).reason) == ("failed", "unreadable")


def test_a_file_that_may_not_be_read_is_unreadable(tmp_path):
    text_pdf(tmp_path / "a.pdf", [PROSE])
    stage = Pdf(PdfConfig(files=tmp_path))
    (split,) = stage.splits()
    (tmp_path / "a.pdf").unlink()
    (outcome,) = stage.read(split, "papers", Context(seed=1))
    assert [(removed.reason, removed.evidence) for removed in outcome.removed] == [
        ("unreadable", "a.pdf: No such file or directory")
    ]


def test_damaged_files_end_as_kept_dropped_or_failed(tmp_path):
    numbers = random.Random(1)
    sound = text_pdf(tmp_path / "sound", [PROSE] * 3).read_bytes()
    for file in range(60):
        damaged = bytearray(sound)
        for _ in range(1 + file):
            damaged[numbers.randrange(len(damaged))] = numbers.randrange(256)
        (tmp_path / f"{file}.pdf").write_bytes(damaged)
    outcomes = read(tmp_path, ocr="off")
    assert len(outcomes) == 60
    assert {end.reason for outcome in outcomes for end in outcome.removed} <= {
        "unreadable",
        "encrypted",
        "no_pages",
        "no_text",
        "crashed",
    }


def test_blank_pages_are_a_document_without_text(tmp_path):
    text_pdf(tmp_path / "a.pdf", ["", ""])
    removed = only_removal(tmp_path)
    assert (removed.verdict, removed.reason) == ("dropped", "no_text")
    assert removed.evidence == "a.pdf: no text on 2 pages: 2 blank"


def test_a_file_over_the_caps_fails(tmp_path):
    size = text_pdf(tmp_path / "a.pdf", [PROSE] * 3).stat().st_size
    assert only_removal(tmp_path, max_pages=2).evidence == "a.pdf: 3 pages > 2"
    assert only_removal(tmp_path, max_file_bytes=1000).evidence == f"a.pdf: {size} bytes > 1000"
    assert len(read(tmp_path, max_pages=3, max_file_bytes=size)[0].kept) == 1


def test_a_task_reads_at_most_sixteen_files(tmp_path):
    for number in range(17):
        text_pdf(tmp_path / f"{number}.pdf", [PROSE])
    assert [len(split.files) for split in Pdf(PdfConfig(files=tmp_path)).splits()] == [16, 1]


def test_the_same_scan_is_read_the_same_each_time(tmp_path):
    (tmp_path / "b.pdf").write_bytes(image_pdf(tmp_path / "a.pdf", [PROSE]).read_bytes())
    a, b = (outcome.kept.drop(["id", "origin"]) for outcome in read(tmp_path))
    assert a.equals(b)


def test_a_real_scan_reads_as_its_transcription(shared_data):
    (outcome,) = read(shared_data / "pdf" / "docling" / "ocr_test.pdf")
    expected = (shared_data / "pdf" / "ground_truth" / "ocr_test_expected.md").read_text()
    assert outcome.kept["text"].to_pylist() == [" ".join(expected.split())]


def test_a_real_paper_has_whole_words_and_no_page_numbers(shared_data):
    (outcome,) = read(shared_data / "pdf" / "pattern" / "desmedt12a.pdf")
    (text,) = outcome.kept["text"].to_pylist()
    assert "“Pattern” (BSD license) is a Python package for web mining, natural language processing" in text
    assert not re.search(r"^20\d\d$", text, re.MULTILINE)


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_every_real_file_ends_as_kept_dropped_or_failed(shared_data):
    outcomes = read(shared_data / "pdf")
    ends = Counter(f"{r.verdict} {r.reason}" for outcome in outcomes for r in outcome.removed)
    ends["kept"] = sum(len(outcome.kept) for outcome in outcomes)
    print(dict(ends))
    assert ends.total() == len(list((shared_data / "pdf").rglob("*.pdf")))
    broken = len(list((shared_data / "pdf" / "_malformed_or_encrypted").iterdir()))
    assert ends["failed encrypted"] + ends["failed unreadable"] == broken
