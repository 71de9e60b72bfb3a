"""PDF files in, one row a page out, and a reason for every file that cannot be read."""

import hashlib
import re
import zipfile
from pathlib import Path

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from pipeline.locations.location import InputFile
from pipeline.stage import Split
from stages.pdf import pages
from stages.pdf.files import LocalPdf, PageRange, Provenance, page_ranges
from stages.pdf.page import Page
from stages.pdf.process import Limits
from stages.pdf.reading import ReadingOptions
from tests.servers import faulty_server
from tests.stages.in_process import rows_of, run_here
from tests.stages.pdf.faulty_worker import VARIABLE, FaultyProcess
from tests.stages.pdf.hostile_files import CATALOG, page_tree, raw_pdf
from tests.stages.pdf.page_rows import PROSE, Read, prose_pdf
from tests.stages.pdf_files import image_pdf, text_pdf


def test_a_page_is_a_row_with_its_origin(tmp_path):
    content = prose_pdf(tmp_path / "in" / "a.pdf", 2).read_bytes()
    digest = hashlib.sha256(content).hexdigest()
    first, second = Read(files=tmp_path / "in").rows
    assert (first["text"], second["text"]) == (PROSE.format(0), PROSE.format(1))
    assert second["id"] == f"papers/a.pdf#{digest[:12]}@1"
    assert second["pdf.document"] == f"papers/a.pdf#{digest[:12]}"
    assert (second["pdf.page"], second["pdf.pages"]) == (1, 2)
    assert second["origin"] == {"path": "a.pdf", "offset": 0, "length": len(content), "digest": digest}
    assert (second["source"], second["mime"], second["url"], second["meta"]) == ("papers", "application/pdf", None, [])


def test_a_row_holds_all_that_is_known_of_its_page(tmp_path):
    prose_pdf(tmp_path / "a.pdf")
    (row,) = Read(files=tmp_path).rows
    page = Page.from_json(orjson.loads(row["pdf.layout"]))
    assert (page.number, page.lane, page.text) == (0, "text", row["text"])
    known = (row["pdf.lane"], row["pdf.reason"], row["pdf.hard"], row["pdf.confidence"])
    assert known == (page.lane, page.reason, page.hard, page.confidence)
    assert orjson.dumps(page.to_json()) == row["pdf.layout"]


def test_blank_pages_are_rows_too(tmp_path):
    text_pdf(tmp_path / "a.pdf", [PROSE, "", PROSE])
    assert [row["pdf.lane"] for row in Read(files=tmp_path).rows] == ["text", "blank", "text"]


def test_a_file_with_a_password_fails(tmp_path):
    text_pdf(tmp_path / "a.pdf", [PROSE], password="secret")
    removed = Read(files=tmp_path).only_removal
    assert (removed.verdict, removed.reason) == ("failed", "encrypted")
    assert re.fullmatch(r"papers/a\.pdf#[0-9a-f]{12}", removed.id)
    assert removed.evidence.startswith("a.pdf: ")


def test_a_file_whose_password_is_empty_is_read(tmp_path):
    from reportlab.lib.pdfencrypt import StandardEncryption
    from reportlab.pdfgen.canvas import Canvas

    canvas = Canvas(str(tmp_path / "a.pdf"), encrypt=StandardEncryption("", ownerPassword="owner"))
    canvas.drawString(72, 700, PROSE)
    canvas.save()
    assert b"/Encrypt" in (tmp_path / "a.pdf").read_bytes()
    assert Read(files=tmp_path).texts == [PROSE]


def test_a_file_without_pages_fails_whatever_the_file_before_it_failed_of(tmp_path):
    text_pdf(tmp_path / "a.pdf", [PROSE], password="secret")
    raw_pdf(tmp_path / "b.pdf", {1: CATALOG, 2: page_tree()})
    assert Read(files=tmp_path).ends == [("failed", "encrypted"), ("failed", "no_pages")]


@pytest.mark.parametrize("content", [b"", b"no PDF", b"%PDF-1.7\n%%EOF"])
def test_what_is_no_pdf_is_unreadable(tmp_path, content):
    (tmp_path / "a.pdf").write_bytes(content)
    assert Read(files=tmp_path).ends == [("failed", "unreadable")]


def test_a_file_with_a_broken_cross_reference_table_is_read(tmp_path):
    path = prose_pdf(tmp_path / "a.pdf", 2)
    content = path.read_bytes()
    path.write_bytes(content[: content.rindex(b"xref\n0")] + content[content.rindex(b"trailer") :])
    assert Read(files=tmp_path).texts == [PROSE.format(0), PROSE.format(1)]


def test_a_file_that_vanishes_fails_alone(tmp_path):
    prose_pdf(tmp_path / "a.pdf")
    prose_pdf(tmp_path / "b.pdf")
    found = Read(
        [Split((InputFile("gone.pdf", str(tmp_path / "gone.pdf")), InputFile("b.pdf", str(tmp_path / "b.pdf"))))],
        files=tmp_path,
    )
    assert (len(found.rows), found.ends) == (1, [("failed", "unreadable")])
    assert found.removed[0].id == "papers/gone.pdf#unread"


def test_files_over_the_caps_fail(tmp_path):
    size = prose_pdf(tmp_path / "a.pdf", 3).stat().st_size
    assert Read(files=tmp_path, max_pages=2).only_removal.evidence == "a.pdf: 3 pages > 2"
    assert Read(files=tmp_path, max_file_bytes=1000).only_removal.evidence == f"a.pdf: {size} bytes > 1000"
    assert len(Read(files=tmp_path, max_pages=3, max_file_bytes=size).rows) == 3


@pytest.mark.parametrize("count", [300, pytest.param(3_000, marks=pytest.mark.slow)])
def test_a_large_file_is_read_in_ranges_that_hold_every_page_once(tmp_path, count):
    path = prose_pdf(tmp_path / "a.pdf", count)
    found = Read(files=path, range_bytes=-(-path.stat().st_size // 7), max_pages=count)
    assert [split.files[0].name for split in found.splits] == [f"a.pdf (pages {n} of 7)" for n in range(1, 8)]
    assert found.texts == [PROSE.format(number) for number in range(count)]
    assert [row["pdf.page"] for row in found.rows] == list(range(count))
    assert {row["pdf.pages"] for row in found.rows} == {count}
    assert len({row["pdf.document"] for row in found.rows}) == 1


def test_how_a_file_is_shared_among_tasks_changes_no_row(tmp_path):
    path = prose_pdf(tmp_path / "a.pdf", 10)
    whole = Read(files=path).rows
    for range_bytes in (path.stat().st_size // 3, 500, 100):
        assert Read(files=path, range_bytes=range_bytes).rows == whole


@given(st.integers(0, 3_000), st.integers(1, 60))
def test_ranges_hold_every_page_once(count, parts):
    shares = [LocalPdf(Path(), "", 0, "", Provenance(""), part, parts).page_range(count) for part in range(parts)]
    assert [page for first, last in shares for page in range(first, last)] == list(range(count))


def test_ranges_are_of_the_size_asked_for():
    def names(size: int | None, location: str = "/a") -> list[str]:
        return [part.name for part in page_ranges(InputFile("a", location, size), 4_000_000)]

    assert names(None) == names(0) == names(4_000_000) == ["a"]
    assert names(4_000_001) == ["a (pages 1 of 2)", "a (pages 2 of 2)"]
    assert len(names(200_000_000)) == 50
    assert len(names(200_000_000, "s3://b/a")) == 6  # each task fetches the file


@pytest.mark.parametrize("kind", ["encrypted", "unreadable", "too_large", "too_many_pages"])
def test_a_file_that_several_tasks_cannot_read_fails_once(tmp_path, kind):
    path = text_pdf(tmp_path / "a.pdf", [PROSE] * 20, password="secret" if kind == "encrypted" else None)
    if kind == "unreadable":
        path.write_bytes(path.read_bytes()[:1000])
    options = {"too_large": {"max_file_bytes": 600}, "too_many_pages": {"max_pages": 19}}.get(kind, {})
    found = Read(files=path, range_bytes=300, **options)
    assert len(found.splits) > 2
    assert found.only_removal.reason == kind


def test_a_range_that_cannot_be_fetched_tells_so_itself(tmp_path):
    parts = [
        PageRange(f"a.pdf (pages {n + 1} of 3)", str(tmp_path / "a.pdf"), 9, None, "a.pdf", n, 3) for n in range(3)
    ]
    prose_pdf(tmp_path / "b.pdf")
    found = Read([Split((part,)) for part in parts], files=tmp_path)
    assert [removal.id for removal in found.removed] == [
        "papers/a.pdf#unread",
        "papers/a.pdf#unread (pages 2 of 3)",
        "papers/a.pdf#unread (pages 3 of 3)",
    ]


def test_small_files_share_tasks(tmp_path):
    for number in range(17):
        size = prose_pdf(tmp_path / f"{number:02}.pdf").stat().st_size
    assert [len(split.files) for split in Read(files=tmp_path).splits] == [16, 1]
    assert [len(split.files) for split in Read(files=tmp_path, range_bytes=2 * size + 100).splits] == [2] * 8 + [1]


def test_pages_come_in_batches(tmp_path, monkeypatch):
    monkeypatch.setattr(pages, "BATCH_ROWS", 2)
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.write(prose_pdf(tmp_path / "made", 5), "a.pdf")
        archive.writestr("README", "a paper")
    found = Read(files=tmp_path / "a.zip")
    assert found.texts == [PROSE.format(number) for number in range(5)]
    assert found.noted == {"member_no_pdf": 1}  # with the first batch alone


def test_a_scan_whose_ocr_is_off_is_unread_and_kept(tmp_path):
    image_pdf(tmp_path / "a.pdf", [PROSE])
    (row,) = Read(files=tmp_path, ocr="off").rows
    assert (row["pdf.lane"], row["text"]) == ("unread", "")


def test_a_scan_is_read_by_ocr(tmp_path):
    image_pdf(tmp_path / "a.pdf", [PROSE.format(7)])
    (row,) = Read(files=tmp_path, ocr="auto").rows
    assert (row["pdf.lane"], row["text"]) == ("ocr", PROSE.format(7))
    assert 0.9 < row["pdf.confidence"] <= 1.0


@pytest.mark.parametrize(("pictures", "with_picture"), [("hard", [1]), ("all", [0, 1])])
def test_pages_for_a_model_come_with_their_picture(tmp_path, pictures, with_picture):
    import pypdfium2 as pdfium

    parts = [text_pdf(tmp_path / "1", [PROSE, ""]), image_pdf(tmp_path / "2", [PROSE])]
    whole = pdfium.PdfDocument.new()
    whole.import_pages(pdfium.PdfDocument(parts[0]), [0])
    whole.import_pages(pdfium.PdfDocument(parts[1]))
    whole.import_pages(pdfium.PdfDocument(parts[0]), [1])
    whole.save(tmp_path / "a.pdf")
    rows = Read(files=tmp_path / "a.pdf", ocr="off", pictures=pictures, picture_side=300).rows
    assert [row["pdf.lane"] for row in rows] == ["text", "unread", "blank"]
    assert [row["pdf.page"] for row in rows if row["pdf.picture"]] == with_picture
    for row in rows:
        assert row["pdf.picture"] is None or row["pdf.picture"].startswith(b"\x89PNG")


def test_a_pdf_on_a_server_is_read_and_no_copy_stays(tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "temporary"))
    (tmp_path / "temporary").mkdir()
    content = prose_pdf(tmp_path / "a.pdf").read_bytes()
    with faulty_server({"x/a.pdf": content}) as server:
        found = Read(files=f"{server.url}/x/a.pdf")
    assert found.texts == [PROSE.format(0)]
    assert found.rows[0]["origin"]["path"] == f"{server.url}/x/a.pdf"
    assert [path.name for path in (tmp_path / "temporary").iterdir() if path.is_file()] == []


def test_a_recipe_must_name_an_input():
    with pytest.raises(ValidationError, match="'files', 'papers', 'urls' and 'warcs'"):
        Read(ocr="off")


def test_where_files_lie_and_how_they_are_shared_is_not_the_stage_s_identity(tmp_path):
    from stages.pdf.pages import PdfPagesConfig

    one = PdfPagesConfig(files=tmp_path / "a", range_bytes=7)
    assert one.identity() == PdfPagesConfig(warcs=tmp_path / "b").identity()
    assert one.identity() != PdfPagesConfig(files=tmp_path / "a", ocr="off").identity()


def test_pages_pass_through_a_run_and_its_ledger(tmp_path):
    prose_pdf(tmp_path / "in" / "a.pdf", 3)
    (tmp_path / "in" / "b.pdf").write_bytes(b"no PDF")
    with zipfile.ZipFile(tmp_path / "in" / "c.zip", "w") as archive:
        archive.writestr("README", "no paper")
    stage = {"stage": "stages.pdf.pages:PdfPages", "files": str(tmp_path / "in"), "ocr": "off", "range_bytes": 1000}
    artifact = run_here(tmp_path, {"pages": stage})["pages"]
    (counts,) = artifact.ledger.last().values()
    assert (counts.created, counts.kept, counts.failed) == (4, 3, {"unreadable": 1})
    assert counts.noted == {"member_no_pdf": 1}
    assert [row["text"] for row in rows_of(artifact)] == [PROSE.format(number) for number in range(3)]


def test_real_malformed_and_encrypted_files_fail_with_a_reason(shared_data):
    folder = shared_data / "pdf" / "_malformed_or_encrypted"
    found = Read(files=folder)
    assert len({row["pdf.document"] for row in found.rows}) + len(found.removed) == len(list(folder.iterdir()))
    reasons = {removal.evidence.partition(":")[0]: removal.reason for removal in found.removed}
    assert reasons["pdfjs__saslprep-r6.pdf"] == "encrypted"
    assert reasons["pdfjs__poppler-742-0-fuzzed.pdf"] == "unreadable"
    assert set(reasons.values()) == {"encrypted", "unreadable", "no_pages"}


@pytest.mark.slow
def test_every_page_of_the_real_files_is_a_row(shared_data):
    import pypdfium2 as pdfium

    expected = {}
    for path in sorted((shared_data / "pdf").rglob("*.pdf")):
        try:
            document = pdfium.PdfDocument(path)
        except pdfium.PdfiumError:
            continue
        expected[path.relative_to(shared_data / "pdf").as_posix()] = len(document)
        document.close()
    found = Read(files=shared_data / "pdf", range_bytes=200_000)
    numbers: dict[str, list[int]] = {}
    for row in found.rows:
        numbers.setdefault(row["origin"]["path"], []).append(row["pdf.page"])
    assert {name: list(range(count)) for name, count in expected.items()} == numbers


def test_pages_keep_their_text_where_drawing_hangs_and_few_pictures_are_waited_for(tmp_path, monkeypatch):
    monkeypatch.setenv(VARIABLE, '{"picture": "hang"}')
    stage = pages.PdfPages(pages.PdfPagesConfig(files=(str(tmp_path),), pictures="all"))
    stage._process = FaultyProcess(ReadingOptions(), Limits(page_deadline_s=0.5))
    drawn: list[int] = []
    render = stage._process.render
    monkeypatch.setattr(stage._process, "render", lambda *asked: (drawn.append(asked[1]), render(*asked))[1])
    with stage._process:
        pdf = LocalPdf(text_pdf(tmp_path / "a.pdf", ["a"] * 8), "a", 1, "d", Provenance("a.pdf"))
        rows = list(stage._rows(pdf, "papers"))
    assert [row["text"] for row in rows] == [f"page {number}" for number in range(8)]
    assert {row["pdf.picture"] for row in rows} == {None}
    assert drawn == [0, 1, 2]
