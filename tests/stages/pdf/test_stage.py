"""The stage as a recipe names it: files in, documents out, every page and every file accounted for."""

from pathlib import Path
from typing import Any, ClassVar

import pyarrow as pa
import pytest

from pipeline.errors import MachineError, RecipeError
from pipeline.explain import explain
from pipeline.graph import build_graph
from pipeline.recipe import recipe_of
from pipeline.report import page
from pipeline.report.facts import Facts
from pipeline.run import Run
from pipeline.stage import Map, Outcome, StageConfig, documents, removal
from tests.stages.in_process import removed_from, rows_of, run_here
from tests.stages.pdf.vision.vision_server import VisionServer, completion
from tests.stages.pdf_files import image_pdf, text_pdf

PROSE = (
    "The temperature of the water was measured every morning before the sun rose over the hills, and the results were "
    "written into a table which the students later compared with those of the previous year."
)


def recipe(**options: Any) -> dict[str, Any]:
    return {"papers": {"stage": "pdf", "files": "papers", **options}}


@pytest.fixture
def papers(tmp_path: Path) -> Path:
    folder = tmp_path / "papers"
    folder.mkdir()
    return folder


def test_a_document_is_put_together_from_its_pages(tmp_path: Path, papers: Path) -> None:
    text_pdf(papers / "a.pdf", [PROSE, PROSE.replace("water", "milk")])
    sealed = run_here(tmp_path, recipe())
    (row,) = rows_of(sealed["papers"])
    assert row["text"].startswith("The temperature of the water")
    assert "temperature of the milk" in row["text"]
    assert row["id"].startswith("papers/a.pdf#")
    assert (row["pdf.pages"], row["pdf.ocr_pages"], row["source"], row["mime"]) == (2, 0, "papers", "application/pdf")
    assert row["pdf.quality"] > 0.95


def test_each_page_is_a_row_with_its_origin(tmp_path: Path, papers: Path) -> None:
    text_pdf(papers / "a.pdf", [PROSE, PROSE])
    pages = rows_of(run_here(tmp_path, recipe())["papers.pages"])
    assert [page["id"].rpartition("@")[2] for page in pages] == ["0", "1"]
    assert {page["origin"]["path"] for page in pages} == {"a.pdf"}
    assert {page["pdf.lane"] for page in pages} == {"text"}


def test_pages_are_counted_as_joined_and_files_that_cannot_be_read_as_failed(tmp_path: Path, papers: Path) -> None:
    text_pdf(papers / "a.pdf", [PROSE, PROSE, PROSE])
    text_pdf(papers / "locked.pdf", [PROSE], password="secret")
    (papers / "broken.pdf").write_bytes(b"%PDF-1.4 and nothing else")
    sealed = run_here(tmp_path, recipe())
    read = sealed["papers.pages"].ledger.steps["papers.pages"]["papers"]
    assert (read.created, read.kept, dict(read.failed)) == (5, 3, {"encrypted": 1, "unreadable": 1})
    made = sealed["papers"].ledger.steps["papers"]["papers"]
    assert (made.received, made.joined, made.created, made.kept) == (3, 3, 1, 1)
    assert dict(made.noted) == {"page text: sound": 3}


def test_a_scan_is_read_by_ocr(tmp_path: Path, papers: Path) -> None:
    image_pdf(papers / "scan.pdf", [PROSE])
    (row,) = rows_of(run_here(tmp_path, recipe())["papers"])
    assert "temperature of the water was measured" in row["text"].replace("\n", " ")
    assert row["pdf.ocr_pages"] == 1
    assert row["pdf.ocr_confidence"] > 0.9


def test_blank_documents_are_dropped_with_what_their_pages_are(tmp_path: Path, papers: Path) -> None:
    text_pdf(papers / "blank.pdf", ["", ""])
    (gone,) = removed_from(run_here(tmp_path, recipe())["papers"])
    assert (gone["reason"], gone["evidence"]) == ("no_text", "blank.pdf: 2 pages: 2 blank")


@pytest.mark.parametrize("range_bytes", [2_000, 4_000_000])
def test_a_long_file_is_the_same_document_however_many_tasks_read_it(
    tmp_path: Path, papers: Path, range_bytes: int
) -> None:
    text_pdf(papers / "a.pdf", [f"Page {i} begins. {PROSE}" for i in range(40)])
    text_pdf(papers / "b.pdf", [PROSE])
    sealed = run_here(tmp_path, recipe(range_bytes=range_bytes))
    assert (len(sealed["papers.pages"].parts) > 2) == (range_bytes == 2_000)
    rows = {row["origin"]["path"]: row for row in rows_of(sealed["papers"])}
    assert rows["a.pdf"]["pdf.pages"] == 40
    whole = run_here(tmp_path / "whole", recipe(files=str(papers)))["papers"]
    assert {row["id"]: row["text"] for row in rows_of(whole)} == {row["id"]: row["text"] for row in rows.values()}


def test_a_document_and_a_file_that_failed_are_explained(tmp_path: Path, papers: Path) -> None:
    text_pdf(papers / "a.pdf", [PROSE])
    (papers / "broken.pdf").write_bytes(b"%PDF-1.4 and nothing else")
    sealed = run_here(tmp_path, recipe())
    (row,), (gone,) = rows_of(sealed["papers"]), removed_from(sealed["papers.pages"])
    assert "papers: kept, from a.pdf at byte 0" in explain(tmp_path / "run", row["id"]).as_text()
    assert "papers.pages: failed: unreadable (broken.pdf" in explain(tmp_path / "run", gone["id"]).as_text()


def test_filters_stand_behind_it_and_decide_by_its_quality(tmp_path: Path, papers: Path) -> None:
    text_pdf(papers / "a.pdf", [PROSE])
    text_pdf(papers / "b.pdf", ["wkh whpshudwxuh ri wkh zdwhu zdv phdvxuhg hyhub pruqlqj ehiruh wkh vxq urvh. " * 20])
    artifacts = recipe(ocr="off") | {"good": {"from": "papers", "chain": [{"pdf_quality": {"min_quality": 0.5}}]}}
    sealed = run_here(tmp_path, artifacts)
    assert [row["origin"]["path"] for row in rows_of(sealed["good"])] == ["a.pdf"]


def test_it_takes_files_and_no_other_input(tmp_path: Path) -> None:
    values = {"name": "x", "artifacts": {"a": {"stage": "pdf", "files": "x", "from": "a"}}}
    with pytest.raises(RecipeError, match="stage 'pdf' reads files and takes no 'from'"):
        build_graph(recipe_of(tmp_path / "recipe.yaml", values))


def test_a_vision_language_model_reads_the_pages_that_it_is_given(tmp_path: Path, papers: Path) -> None:
    text_pdf(papers / "a.pdf", [PROSE, "", PROSE])
    server = VisionServer(lambda request, before: completion(f"## A heading\n\n{PROSE}"))
    vision = {"endpoints": server.url, "model": "small", "pages": "all"}
    try:
        sealed = run_here(tmp_path, recipe(vision=vision))
    finally:
        server.close()
    assert len(server.requests) == 2, "the blank page is not sent"
    assert {max(request.picture.size) for request in server.requests} == {1536}
    (row,) = rows_of(sealed["papers"])
    assert row["text"].count("## A heading") == 2
    assert (row["pdf.vision_pages"], row["meta"]) == (2, [("lanes", "1 vision, 1 blank, 1 vision")])
    assert "pdf.picture" not in rows_of(sealed["papers.seen"])[0]


def test_a_model_without_a_server_is_told_to_be_off(tmp_path: Path, papers: Path) -> None:
    text_pdf(papers / "a.pdf", [PROSE])
    values = {"name": "x", "artifacts": recipe(files=str(papers), vision={"model": "small"})}
    graph = build_graph(recipe_of(tmp_path / "recipe.yaml", values))
    assert graph.notes() == ["papers.seen: the vision-language lane is off: no endpoint is given"]
    (row,) = rows_of(run_here(tmp_path, values["artifacts"])["papers"])
    assert (row["pdf.pages"], row["pdf.vision_pages"]) == (1, 0)


def test_a_missing_tesseract_ends_the_run_with_what_to_install(
    tmp_path: Path, papers: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text_pdf(papers / "a.pdf", [PROSE])
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(MachineError, match="apt-get install tesseract-ocr"):
        run_here(tmp_path, recipe(engine="tesseract"))


def test_a_document_of_absurd_length_fails_alone(tmp_path: Path, papers: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stages.pdf.documents.MAX_LAYOUT_BYTES", 10_000)
    text_pdf(papers / "a.pdf", [PROSE] * 40)
    text_pdf(papers / "b.pdf", [PROSE])
    made = run_here(tmp_path, recipe())["papers"]
    assert [row["origin"]["path"] for row in rows_of(made)] == ["b.pdf"]
    (gone,) = removed_from(made)
    assert (gone["reason"], gone["evidence"].split(":")[:2]) == ("too_much_text", ["a.pdf", " 40 pages"])


def test_the_report_stands_documents_that_a_later_stage_has_made(tmp_path: Path, papers: Path) -> None:
    text_pdf(papers / "a.pdf", [PROSE])
    artifacts = recipe() | {"more": {"stage": "tests.stages.pdf.test_stage:Copies", "from": "papers"}}
    assert list(run_here(tmp_path, artifacts)) == ["papers.pages", "more"]
    assert "1 pages were read" in page(Facts(Run.open(tmp_path / "run"))).replace("\u00a0", " ")


class Copies(Map[StageConfig]):
    """Documents of its own, without the columns of those that they were made of."""

    name = "copies"
    passes_on: ClassVar[bool] = False

    def process(self, batch: pa.Table) -> Outcome:
        rows = batch.to_pylist()
        copies = documents([{"id": f"{row['id']}~", "text": row["text"], "source": "copies"} for row in rows])
        return Outcome(copies, [removal(row, "dropped", "copied") for row in rows], {"copies": len(rows)})
