"""Lists of papers: what their records say, which papers are chosen, and a reason for every other."""

import datetime
import json
import random
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.locations.location import InputFile
from pipeline.stage import Context
from stages.intake import paper_lists
from stages.intake.files import ReadingConfig
from stages.intake.json_lines import parsed
from stages.intake.paper_lists import licence_name, paper_of, papers_in, pdf_location, ranges, refusal
from tests.stages.intake.packing import PACKINGS

PROSE = "A page of prose that is long enough to be read from its text layer and not from its picture."
BY = "http://creativecommons.org/licenses/by/4.0/"

KAGGLE = {  # a record of Cornell-University/arxiv, fields without use left out
    "id": "0704.0001",
    "title": "Calculation of prompt diphoton production cross sections at Tevatron and\n  LHC energies",
    "categories": "hep-ph cs.CL",
    "doi": "10.1103/PhysRevD.76.013009",
    "license": BY,
    "versions": [
        {"version": "v1", "created": "Mon, 2 Apr 2007 19:18:42 GMT"},
        {"version": "v2", "created": "Tue, 24 Jul 2007 20:10:27 GMT"},
    ],
    "update_date": "2008-11-26",
}
DATA_SET = {  # a record of Semantic Scholar's data sets
    "corpusid": 7,
    "externalids": {"ArXiv": "2101.00001", "DOI": "10.1/x", "PubMed": None},
    "url": "https://www.semanticscholar.org/paper/abc",
    "title": "A title",
    "year": 2021,
    "publicationdate": "2021-01-02",
    "isopenaccess": True,
    "openaccessinfo": {"license": "CCBY", "url": "https://example.org/a.pdf", "status": "GOLD"},
}
API = {  # an answer of Semantic Scholar's API
    "paperId": "abc",
    "title": "A title",
    "year": 2020,
    "isOpenAccess": True,
    "openAccessPdf": {"url": "https://example.org/b.pdf", "status": "GREEN", "license": None},
}


def test_a_record_of_arxiv():
    paper = paper_of(KAGGLE, "s3://mirror/pdf/{yymm}/{number}v{version}.pdf")
    assert paper.location == "s3://mirror/pdf/0704/0704.0001v2.pdf"
    assert (paper.url, paper.date, paper.licence) == ("https://arxiv.org/abs/0704.0001", "2007-04-02", BY)
    assert paper.categories == ("hep-ph", "cs.CL")
    assert paper.meta == {
        "title": "Calculation of prompt diphoton production cross sections at Tevatron and LHC energies",
        "arxiv": "0704.0001",
        "doi": "10.1103/PhysRevD.76.013009",
        "categories": "hep-ph cs.CL",
    }


def test_a_record_of_semantic_scholar_s_data_sets():
    paper = paper_of(DATA_SET, None)
    assert (paper.location, paper.licence, paper.is_open) == ("https://example.org/a.pdf", "CCBY", True)
    assert (paper.url, paper.date) == ("https://www.semanticscholar.org/paper/abc", "2021-01-02")
    assert paper.meta == {"title": "A title", "doi": "10.1/x", "arxiv": "2101.00001", "corpus_id": "7"}
    assert paper_of(DATA_SET, "gs://mirror/{id}.pdf").location == "gs://mirror/2101.00001.pdf"
    assert paper_of(DATA_SET, "gs://mirror/{id}v{version}.pdf").location == "https://example.org/a.pdf"


def test_an_answer_of_semantic_scholar_s_api():
    paper = paper_of(API, None)
    assert (paper.location, paper.licence, paper.date) == ("https://example.org/b.pdf", None, "2020")
    assert paper.meta == {"title": "A title", "paper_id": "abc"}
    closed = paper_of(API | {"isOpenAccess": False, "openAccessPdf": None}, None)
    assert (closed.is_open, closed.location) == (False, None)


@pytest.mark.parametrize(
    "location", ["file:///etc/passwd", "/etc/passwd", "memory://x", "../a.pdf", "github://a:b@c/d", ""]
)
def test_a_list_cannot_make_a_task_read_files_of_this_machine(location):
    assert paper_of(API | {"openAccessPdf": {"url": location}}, None).location is None


@pytest.mark.parametrize(
    ("identifier", "location"),
    [
        ("2101.00001", "2101.00001 arxiv 2101 2101.00001"),
        ("2101.00001v3", "2101.00001 arxiv 2101 2101.00001"),
        ("hep-th/9901001", "hep-th/9901001 hep-th 9901 9901001"),
        ("math.GT/0309136", "math.GT/0309136 math.GT 0309 0309136"),
        ("../../etc/passwd", None),
        ("2101.00001/../x", None),
    ],
)
def test_the_place_of_a_pdf_follows_from_the_identifier(identifier, location):
    assert pdf_location(identifier, "{id} {archive} {yymm} {number}") == location


def test_the_version_is_the_identifier_s_own_else_the_last_one():
    assert pdf_location("2101.00001v3", "{id}v{version}", "7") == "2101.00001v3"
    assert pdf_location("2101.00001", "{id}v{version}", "7") == "2101.00001v7"
    assert pdf_location("2101.00001", "{id}v{version}") is None


@pytest.mark.parametrize(
    ("stated", "name"),
    [
        (BY, "cc-by"),
        ("http://creativecommons.org/licenses/by-nc-sa/4.0/", "cc-by-nc-sa"),
        ("http://creativecommons.org/publicdomain/zero/1.0/", "cc0"),
        ("http://creativecommons.org/licenses/publicdomain/", "public-domain"),
        ("http://arxiv.org/licenses/nonexclusive-distrib/1.0/", "arxiv-nonexclusive-distrib"),
        ("CCBYNCND", "cc-by-nc-nd"),
        ("CCBY", "cc-by"),
        ("CC BY 4.0", "cc-by"),
        ("cc-by-sa", "cc-by-sa"),
        ("CC0", "cc0"),
        ("public-domain", "public-domain"),
        ("publisher-specific-oa", "publisher-specific-oa"),
        (None, None),
        ("", None),
    ],
)
def test_a_licence_has_one_name(stated, name):
    assert licence_name(stated) == name


@pytest.mark.parametrize(
    ("record", "choice", "reason"),
    [
        (KAGGLE, {}, None),
        (KAGGLE, {"licences": ("cc-by", "cc0")}, None),
        (KAGGLE, {"licences": ("cc-by-sa",)}, "licence"),
        (KAGGLE | {"license": None}, {"licences": ("cc-by",)}, "licence"),
        (KAGGLE, {"categories": ("cs",)}, None),
        (KAGGLE, {"categories": ("hep-ph",)}, None),
        (KAGGLE, {"categories": ("hep-th", "c")}, "category"),
        (DATA_SET, {"categories": ("cs",)}, "category"),
        (KAGGLE, {"from_date": datetime.date(2007, 4, 2)}, None),
        (KAGGLE, {"from_date": datetime.date(2007, 4, 3)}, "date"),
        (API, {"from_date": datetime.date(2020, 6, 1)}, None),
        (API, {"from_date": datetime.date(2021, 1, 1)}, "date"),
        (API | {"year": None}, {"from_date": datetime.date(2021, 1, 1)}, "date"),
        (DATA_SET | {"isopenaccess": False}, {}, "not_open_access"),
        (API | {"openAccessPdf": None}, {}, "no_pdf"),
    ],
)
def test_which_papers_are_read_is_chosen(record, choice, reason):
    nothing = {"licences": (), "categories": (), "from_date": None}
    refused = refusal(paper_of(record, "s3://x/{id}"), **nothing | choice)
    assert (refused and refused[0]) == reason


def lines_read(path: Path, range_bytes: int, monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, str]]:
    """(offset, title or reason) of each record, as the tasks of a list read them one after the other."""
    monkeypatch.setattr(paper_lists, "RANGE_BYTES", range_bytes)
    config = ReadingConfig()
    found = []
    for part in ranges(InputFile(path.name, str(path), path.stat().st_size), config):
        for offset, paper in papers_in(part, config, None, Context(seed=1)):
            found.append((offset, paper.meta["title"] if isinstance(paper, paper_lists.Paper) else paper.reason))
    return found


@pytest.mark.parametrize("packed", PACKINGS)
@pytest.mark.parametrize("range_bytes", [1, 40, 97, 10**6])
def test_each_record_is_read_by_exactly_one_task(tmp_path, monkeypatch, packed, range_bytes):
    numbers = random.Random(1)
    titles = [f"{n}" * numbers.randrange(1, 40) for n in range(30)]
    lines = [json.dumps({"id": "0704.0001", "categories": "x", "title": title}).encode() for title in titles]
    content = b"\n\n".join(lines)  # the last without a line end
    path = tmp_path / "list.jsonl"
    path.write_bytes(PACKINGS[packed](content))
    found = lines_read(path, range_bytes, monkeypatch)
    assert [title for _, title in found] == titles
    assert [offset for offset, _ in found] == [content.index(line) for line in lines]


@pytest.mark.parametrize("range_bytes", [100, 10**6])
def test_a_list_that_breaks_off_keeps_the_records_before_and_says_so(tmp_path, monkeypatch, range_bytes):
    content = b"".join(b'{"id": "0704.0001", "categories": "", "title": "%d"}\n' % n for n in range(20))
    path = tmp_path / "list.jsonl.gz"
    packed = PACKINGS["gzip"](content)
    for cut in range(11, len(packed)):
        path.write_bytes(packed[:cut])
        found = [title for _, title in lines_read(path, range_bytes, monkeypatch)]
        records = found.index("unreadable")
        assert found[:records] == [str(n) for n in range(records)]
        assert set(found[records:]) == {"unreadable"}
        assert len(found[records:]) <= 2  # the line that is cut may reach into the next range
    assert records == 20


def arxiv_record(identifier: str) -> str:
    return json.dumps(KAGGLE | {"id": identifier}) + "\n"


def test_the_last_task_reads_to_the_end_of_a_list_that_has_grown_since(tmp_path):
    path = tmp_path / "list.jsonl"
    path.write_text(arxiv_record("2101.00001"))
    (part,) = ranges(InputFile(path.name, str(path)), ReadingConfig())
    path.write_text(arxiv_record("2101.00001") * 1000)
    assert len(list(papers_in(part, ReadingConfig(), None, Context(seed=1)))) == 1000


def test_lines_that_are_no_papers_fail_one_by_one(tmp_path, monkeypatch):
    lines = ["{", "[]", '{"name": 1}', '{"corpusid": 1, "externalids": 3}', json.dumps(KAGGLE | {"title": "t"})]
    (tmp_path / "a.jsonl").write_text("\n".join(lines))
    found = [reason for _, reason in lines_read(tmp_path / "a.jsonl", 50, monkeypatch)]
    assert found == ["bad_json", "bad_json", "not_a_paper", "not_a_paper", "t"]


JSON = st.recursive(
    st.none() | st.integers() | st.text(max_size=9),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=9), inner, max_size=2),
    max_leaves=4,
)
FIELDS = (
    "id",
    "categories",
    "versions",
    "license",
    "title",
    "created",
    "corpusid",
    "externalids",
    "openaccessinfo",
    "url",
)


@settings(max_examples=50)
@given(st.dictionaries(st.sampled_from(FIELDS), JSON), st.sampled_from([None, "s3://x/{id}v{version}"]))
def test_a_record_of_any_shape_is_a_paper_or_refused(record, template):
    try:
        paper = paper_of(record, template)
    except paper_lists.NotAPaperError:
        return
    refusal(paper, ("cc0",), ("cs",), datetime.date(2020, 1, 1))
    assert all(isinstance(value, str) for value in paper.meta.values())


def test_real_records_of_arxiv_are_papers(shared_data):
    import pyarrow as pa

    path = shared_data / "text" / "science_arxiv_abstracts.jsonl.zst"
    lines = pa.CompressedInputStream(pa.OSFile(str(path)), "zstd").read().splitlines()
    papers = [paper_of(parsed(line), "{archive} {yymm} {number}") for line in lines]
    assert len(papers) > 9000
    assert all(paper.location and paper.meta["title"] and paper.date and paper.categories for paper in papers)
