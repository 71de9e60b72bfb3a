"""The papers of a list: the pages of those that are open access, and a reason for every other record."""

import json
from pathlib import Path

import pytest
from pydantic import ValidationError

from pipeline.errors import InputError
from stages.pdf.pages import PdfPagesConfig
from tests.servers import faulty_server
from tests.stages.pdf.page_rows import PROSE, Read, prose_bytes, prose_pdf
from tests.stages.pdf_files import text_pdf

BY = "http://creativecommons.org/licenses/by/4.0/"


def record(identifier: str, **fields: object) -> str:
    """A line of arXiv's metadata."""
    paper = {"id": identifier, "categories": "hep-ph cs.CL", "license": BY, "title": "One", "update_date": "2008-11-26"}
    return json.dumps(paper | fields) + "\n"


def test_a_paper_s_pages_have_what_the_list_says_of_it(tmp_path):
    prose_pdf(tmp_path / "2101.00001.pdf", 2)
    (tmp_path / "list.jsonl").write_text(record("2101.00001"))
    first, second = Read(papers=tmp_path / "list.jsonl", template=tmp_path / "{id}.pdf").rows
    assert (first["text"], second["text"]) == (PROSE.format(0), PROSE.format(1))
    assert (second["id"], second["pdf.document"]) == ("papers/list.jsonl@0@1", "papers/list.jsonl@0")
    assert (second["url"], second["date"]) == ("https://arxiv.org/abs/2101.00001", "2008-11-26")
    assert second["origin"]["path"] == str(tmp_path / "2101.00001.pdf")
    assert dict(second["meta"]) == {
        "title": "One",
        "arxiv": "2101.00001",
        "categories": "hep-ph cs.CL",
        "licence": BY,
    }


def test_every_record_is_in_the_ledger(tmp_path):
    prose_pdf(tmp_path / "2101.00001.pdf")
    (tmp_path / "2101.00002.pdf").write_text("<html>please log in</html>")
    text_pdf(tmp_path / "2101.00004.pdf", [PROSE], password="secret")
    records = [
        record("2101.00001"),
        record("2101.00002"),
        record("2101.00003"),
        record("2101.00004"),
        record("2101.00001", license="http://arxiv.org/licenses/nonexclusive-distrib/1.0/"),
        "{\n",
    ]
    (tmp_path / "list.jsonl").write_text("".join(records))
    found = Read(papers=tmp_path / "list.jsonl", template=tmp_path / "{id}.pdf", licences="cc-by")
    assert len(found.rows) == 1
    assert found.ends == [
        ("failed", "not_pdf"),
        ("failed", "unreadable"),
        ("failed", "encrypted"),
        ("dropped", "licence"),
        ("failed", "bad_json"),
    ]
    assert found.removed[0].id == f"papers/list.jsonl@{len(records[0])}"
    assert found.removed[0].url == "https://arxiv.org/abs/2101.00002"
    assert found.removed[3].evidence == "arxiv-nonexclusive-distrib, not cc-by"


def test_papers_are_fetched_from_a_server(tmp_path):
    with faulty_server({"2101.00001.pdf": prose_bytes(tmp_path)}) as server:
        (tmp_path / "list.jsonl").write_text(record("2101.00001") + record("2101.00002"))
        found = Read(papers=tmp_path / "list.jsonl", template=f"{server.url}/{{id}}.pdf")
    assert found.texts == [PROSE.format(0)]
    assert found.ends == [("failed", "not_found")]


def test_all_kinds_of_input_can_be_read_together(tmp_path):
    prose_pdf(tmp_path / "in" / "a.pdf")
    prose_pdf(tmp_path / "2101.00001.pdf", 1, 1)
    (tmp_path / "list.jsonl").write_text(record("2101.00001"))
    (tmp_path / "list.txt").write_text("no url\n")
    (tmp_path / "a.warc").write_bytes(b"no WARC")
    found = Read(
        files=tmp_path / "in",
        papers=tmp_path / "list.jsonl",
        urls=tmp_path / "list.txt",
        warcs=tmp_path / "a.warc",
        template=tmp_path / "{id}.pdf",
    )
    assert found.texts == [PROSE.format(0), PROSE.format(1)]
    assert found.ends == [("failed", "not_a_url"), ("failed", "unreadable")]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"files": "x", "licences": "cc0"}, "choose among 'papers'"),
        ({"papers": "x", "template": "s3://x/{paper}.pdf"}, "may hold {id}"),
        ({"papers": "x", "template": "s3://x/{id"}, "broken"),
    ],
)
def test_options_that_do_not_fit_together_are_refused(options, message):
    with pytest.raises(ValidationError, match=message):
        PdfPagesConfig(**options)


def test_a_list_that_is_not_there_is_told_before_the_run(tmp_path: Path):
    with pytest.raises(InputError, match="there is no file"):
        Read(papers=tmp_path / "absent.jsonl")
