"""Opting out of AI training: directives for robots, the TDM Reservation Protocol, robots.txt."""

import gzip
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from pipeline.errors import InputError
from pipeline.stage import Context, Outcome, documents, with_columns
from stages.filters.opt_out import OptOut, OptOutConfig, directives, tdm_rules
from stages.filters.robots_txt import AI_CRAWLERS
from tests.stages.in_process import removed_from, rows_of, run_here, write_lines

URL = "https://www.example.org/a/page.html"


def page(url: str | None = URL, robots: str | None = None, tdm: str | None = None, **meta: str) -> pa.Table:
    headers = [(f"http.{name.replace('_', '-')}", value) for name, value in meta.items()]
    batch = documents([{"id": "p", "text": "Text.", "source": "web", "url": url, "meta": headers}])
    return with_columns(
        batch,
        {
            "extract_html.robots": pa.array([robots], pa.string()),
            "extract_html.tdm_reservation": pa.array([tdm], pa.string()),
        },
    )


def record(url: str, body: bytes, header: str = "", status: str = "200 OK") -> bytes:
    """A response in a WARC file."""
    block = f"HTTP/1.1 {status}\r\n{header}\r\n".encode() + body
    fields = f"WARC-Type: response\r\nWARC-Target-URI: {url}\r\nContent-Type: application/http\r\n"
    lines = f"WARC/1.0\r\n{fields}WARC-Date: 2026-05-01T10:00:00Z\r\nContent-Length: {len(block)}\r\n\r\n"
    return gzip.compress(lines.encode() + block + b"\r\n\r\n")


def decided(batch: pa.Table, **options: Any) -> Outcome:
    stage = OptOut(OptOutConfig.model_validate(options))
    stage.setup(Context(seed=1))
    return stage.process(batch)


def verdict(batch: pa.Table, **options: Any) -> tuple[str, str] | None:
    """Reason and evidence, or None for a kept document."""
    removed = decided(batch, **options).removed
    return (removed[0].reason, removed[0].evidence) if removed else None


@pytest.mark.parametrize(
    ("text", "kinds"),
    [
        ("noai", {"noai"}),
        ("NOINDEX, NoAI", {"noindex", "noai"}),
        ("noimageai", {"noimageai"}),
        ("noml", {"noai"}),
        ("none", {"noindex"}),
        ("index, follow, max-image-preview:large", set()),
        ("gptbot: noai", {"noai"}),
        ("GPTBot: noindex, nofollow", {"noai"}),
        ("ccbot: none", {"noai"}),
        ("googlebot: noindex", set()),
        ("googlebot: noindex; noai", {"noai"}),
        ("googlebot: nofollow, gptbot: noindex", {"noai"}),
        ("unavailable_after: 25 Jun 2030 15:00:00 PST, noai", {"noai"}),
        ("unavailable_after: Tue, 25 Jun 2030 15:00:00 PST, noai", {"noai"}),
        ("noai noimageai", {"noai", "noimageai"}),
        ("revisit-after: 7 days, noai", {"noai"}),
        ("max-snippet: -1, noindex", {"noindex"}),
        ("", set()),
        (";,: ,;", set()),
        ("caf\xe9\x00: noai", set()),
    ],
)
def test_directives_for_robots(text, kinds):
    """For all of them, or for crawlers of training data: what others are told is no opt-out."""
    assert directives(text, AI_CRAWLERS) == kinds


def test_a_page_with_noai_is_dropped_and_the_place_named():
    assert verdict(page(robots="noindex, noai")) == ("noai", "meta robots: noindex, noai")
    assert verdict(page(x_robots_tag="noai")) == ("noai", "X-Robots-Tag: noai")
    assert verdict(page(robots="index, follow")) is None


def test_what_is_not_obeyed_is_measured_all_the_same():
    batch = page(robots="noai, noindex, noimageai", tdm="1")
    [row] = decided(batch, noai=False, tdm=False).kept.to_pylist()
    measured = {name: row[f"opt_out.{name}"] for name in ("noai", "noimageai", "noindex", "tdm_reserved", "signals")}
    assert measured == {
        "noai": True,
        "noimageai": True,
        "noindex": True,
        "tdm_reserved": True,
        "signals": "meta robots: noai, noindex, noimageai; tdm-reservation: page",
    }
    assert row["opt_out.robots_disallowed"] is None


@pytest.mark.parametrize("option", ["noimageai", "noindex"])
def test_directives_about_pictures_and_search_are_obeyed_on_request(option):
    batch = page(robots=option)
    assert verdict(batch) is None
    assert verdict(batch, **{option: True}) == (option, f"meta robots: {option}")


@pytest.mark.parametrize(
    ("batch", "reserved"),
    [
        (page(tdm="1"), True),
        (page(tdm_reservation="1"), True),
        (page(tdm="0", tdm_reservation="1"), False),  # the page supersedes the header
        (page(tdm="yes", tdm_reservation="1"), True),  # an error counts as not set
        (page(tdm_reservation="2"), None),
        (page(), None),
    ],
)
def test_reservation_of_text_and_data_mining(batch, reserved):
    outcome = decided(batch)
    assert bool(outcome.removed) is bool(reserved)
    if reserved:
        assert outcome.removed[0].reason == "tdm_reserved"
    else:
        assert outcome.kept["opt_out.tdm_reserved"][0].as_py() is reserved


TDM = [{"location": "/a/*.jpg", "tdm-reservation": 0}, {"location": "/a/", "tdm-reservation": 1}]


def test_the_site_s_tdm_file_counts_where_page_and_header_say_nothing(tmp_path):
    (tmp_path / "www.example.org.json").write_text(json.dumps(TDM))
    assert verdict(page(), tdmrep=tmp_path) == ("tdm_reserved", "tdm-reservation: tdmrep.json")
    assert verdict(page("https://www.example.org/a/b.jpg"), tdmrep=tmp_path) is None
    assert verdict(page("https://www.example.org/b/"), tdmrep=tmp_path) is None
    assert verdict(page("https://example.org/a/"), tdmrep=tmp_path) is None
    assert verdict(page(tdm="0"), tdmrep=tmp_path) is None


@pytest.mark.parametrize(
    "content", [b"", b"{", b"<html>", b"{}", b"[1, {}]", b'[{"location": 1, "tdm-reservation": 1}]', b"[" * 100_000]
)
def test_a_tdm_file_that_is_none_reserves_nothing(content):
    assert tdm_rules(content) == ()


ROBOTS = "User-agent: GPTBot\nUser-agent: CCBot\nDisallow: /a/\n\nUser-agent: *\nDisallow: /search\n"


def folder(tmp_path: Path) -> Path:
    (tmp_path / "robots").mkdir()
    (tmp_path / "robots" / "WWW.example.org.txt").write_text(ROBOTS)
    return tmp_path / "robots"


def packed_folder(tmp_path: Path) -> Path:
    (tmp_path / "www.example.org.txt.gz").write_bytes(gzip.compress(ROBOTS.encode()))
    return tmp_path / "www.example.org.txt.gz"


def table(tmp_path: Path) -> Path:
    rows = [
        {"host": "www.example.org", "text": ROBOTS},
        {"host": "other.example", "text": "User-agent: *\nDisallow: /"},
    ]
    return write_lines(tmp_path / "robots.jsonl", rows)


def archive(tmp_path: Path) -> Path:
    forbidden = b"User-agent: *\nDisallow: /\n"
    path = tmp_path / "CC-MAIN-robotstxt.warc.gz"
    path.write_bytes(
        record("https://www.example.org/robots.txt", gzip.compress(ROBOTS.encode()), "Content-Encoding: gzip\r\n")
        + record("http://www.example.org/robots.txt", forbidden, status="503 Unavailable")
        + record("http://www.example.org/a/robots.txt", forbidden)
        + record("http://www.example.org:8080/robots.txt", forbidden)
    )
    return path


@pytest.mark.parametrize("files", [folder, packed_folder, table, archive])
def test_robots_txt_of_the_page_s_host(tmp_path, files):
    options = {"robots_txt": files(tmp_path)}
    assert verdict(page(), **options) == ("robots_disallowed", "robots.txt: CCBot, GPTBot")
    assert verdict(page("http://www.example.org/b"), **options) is None
    [allowed] = decided(page("http://www.example.org/b"), **options).kept.to_pylist()
    [unknown] = decided(page("http://example.org/a/"), **options).kept.to_pylist()
    assert (allowed["opt_out.robots_disallowed"], unknown["opt_out.robots_disallowed"]) == (False, None)
    assert verdict(page(), robots=False, **options) is None
    assert verdict(page(), agents=["Bytespider"], **options) is None
    assert verdict(page(None), **options) is None
    assert verdict(page("http://["), **options) is None


def test_what_is_forbidden_to_all_is_forbidden_to_crawlers_that_are_not_named(tmp_path):
    _, evidence = verdict(page("https://www.example.org/search?q"), robots_txt=folder(tmp_path)) or ("", "")
    assert "ClaudeBot" in evidence
    assert "GPTBot" not in evidence


def test_one_of_several_files_of_a_host_is_enough(tmp_path):
    rows = [{"host": "www.example.org", "text": text} for text in ("", ROBOTS, "")]
    assert verdict(page(), robots_txt=write_lines(tmp_path / "r.jsonl", rows)) is not None


@pytest.mark.parametrize("host", ["B\u00fccher.example", "xn--bcher-kva.example.", "xn--bcher-kva.example:443"])
@pytest.mark.parametrize("url", ["https://b\u00fccher.example/a/", "http://xn--bcher-kva.example/a/"])
def test_a_host_is_known_in_any_spelling(tmp_path, host, url):
    path = write_lines(tmp_path / "r.jsonl", [{"host": host, "text": ROBOTS}])
    assert verdict(page(url), robots_txt=path) is not None


def test_a_host_that_is_none_ends_the_run(tmp_path):
    path = write_lines(tmp_path / "r.jsonl", [{"host": "https://a.example/", "text": ROBOTS}])
    with pytest.raises(InputError, match=r"r.jsonl: line 1: 'https://a.example/' is no host"):
        decided(page(), robots_txt=path)


def test_files_that_cannot_be_read_whole_end_the_run(tmp_path):
    """What is missing would pass for consent."""
    with pytest.raises(InputError, match="no folder with files"):
        decided(page(), robots_txt=tmp_path / "absent")
    path = tmp_path / "r.jsonl"
    path.write_text('{"host": "a", "text": ""}\n{"host": "b"}\n')
    with pytest.raises(InputError, match=r"r.jsonl: line 2: the fields host and text"):
        decided(page(), robots_txt=path)
    (tmp_path / "example.org").write_text(ROBOTS)
    with pytest.raises(InputError, match="call it HOST"):
        decided(page(), robots_txt=tmp_path / "example.org")
    path = archive(tmp_path)
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(InputError, match="truncated"):
        decided(page(), robots_txt=path)


def test_the_files_content_is_part_of_the_identity_and_their_place_is_not(tmp_path):
    def identity(name: str, text: str) -> Any:
        (tmp_path / name).mkdir()
        (tmp_path / name / "robots").mkdir()
        (tmp_path / name / "robots" / "a.example.txt").write_text(text)
        return OptOutConfig(robots_txt=tmp_path / name / "robots").identity()

    assert identity("one", ROBOTS) == identity("two", ROBOTS)
    moved = (tmp_path / "one" / "robots").rename(tmp_path / "moved")
    assert OptOutConfig(robots_txt=moved).identity() == identity("five", ROBOTS)
    assert identity("three", "") != identity("four", ROBOTS)


def test_documents_of_any_source_can_be_asked(tmp_path):
    """From JSON Lines there are neither headers nor facts about the page: only the URL."""
    rows = [{"text": "One.", "url": URL}, {"text": "Two.", "url": "https://www.example.org/b"}, {"text": "Three."}]
    sealed = run_here(
        tmp_path,
        {
            "raw": {"stage": "json_lines", "files": str(write_lines(tmp_path / "in.jsonl", rows))},
            "open": {"stage": "stages.filters.opt_out:OptOut", "from": "raw", "robots_txt": str(folder(tmp_path))},
        },
    )
    assert [row["text"] for row in rows_of(sealed["open"])] == ["Two.", "Three."]
    assert [row["reason"] for row in removed_from(sealed["open"])] == ["robots_disallowed"]


def test_headers_and_page_facts_survive_from_the_crawl_to_the_filter(tmp_path):
    body = b"<html><body><article>" + b"<p>The committee met in the hall and spoke of rivers.</p>" * 9 + b"</article>"
    pages = [("", b""), ("X-Robots-Tag: googlebot: nosnippet\r\nX-robots-tag: noai\r\n", b"")]
    pages += [("TDM-Reservation: 1\r\n", b""), ("", b"<meta name=robots content=noai>")]
    records = [
        record(f"http://example.org/{i}", meta + body, f"Content-Type: text/html\r\n{header}")
        for i, (header, meta) in enumerate(pages)
    ]
    (tmp_path / "a.warc.gz").write_bytes(b"".join(records))
    sealed = run_here(
        tmp_path,
        {
            "pages": {"stage": "common_crawl", "files": str(tmp_path / "a.warc.gz")},
            "texts": {"stage": "extract_html", "from": "pages", "engine": "fast"},
            "open": {"stage": "stages.filters.opt_out:OptOut", "from": "texts"},
        },
    )
    assert [row["url"] for row in rows_of(sealed["open"])] == ["http://example.org/0"]
    assert [(row["reason"], row["evidence"]) for row in removed_from(sealed["open"])] == [
        ("noai", "X-Robots-Tag: googlebot: nosnippet; noai"),
        ("tdm_reserved", "tdm-reservation: HTTP header"),
        ("noai", "meta robots: noai"),
    ]
