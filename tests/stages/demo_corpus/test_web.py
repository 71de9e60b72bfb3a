"""The crawl, read with warcio and fastwarc, and extracted with trafilatura."""

import base64
import gzip
import hashlib
import io
import re
import sys
import zlib
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import trafilatura
from fastwarc.warc import ArchiveIterator as FastIterator
from warcio.archiveiterator import ArchiveIterator

from stages.demo_corpus.python_pages import Request, pages_of
from tests.stages.demo_corpus.conftest import Built

_MEMBER_START = b"\x1f\x8b\x08\x00\x00\x00\x00\x00"  # gzip magic, deflate, no flags, time zero


@dataclass(frozen=True)
class Record:
    kind: str
    headers: dict[str, str]
    status: str
    content_type: str | None
    location: str | None
    body: bytes

    @property
    def url(self) -> str:
        return self.headers.get("WARC-Target-URI", "")


def members(path: Path) -> list[bytes]:
    """Each member that gzip accepts, decompressed: found by its first bytes, damage costs one only."""
    found = []
    content = path.read_bytes()
    starts = [match.start() for match in re.finditer(re.escape(_MEMBER_START), content)]
    for start, end in zip(starts, [*starts[1:], len(content)], strict=True):
        try:
            found.append(gzip.decompress(content[start:end]))
        except (EOFError, OSError, zlib.error):
            continue
    return found


def records(folder: Path) -> Iterator[Record]:
    """All records that are whole: undamaged members whose declared length is true."""
    for path in sorted(folder.glob("*.warc.gz")):
        for member in members(path):
            head, _, block = member.partition(b"\r\n\r\n")
            (declared,) = re.findall(rb"Content-Length: (\d+)", head)
            if int(declared) != len(block) - 4:
                continue
            (record,) = list(_parsed(member))
            yield record


def _parsed(member: bytes) -> Iterator[Record]:
    for record in ArchiveIterator(io.BytesIO(member)):
        http = record.http_headers if record.rec_type == "response" else None
        yield Record(
            record.rec_type,
            dict(record.rec_headers.headers),
            http.get_statuscode() if http else "",
            http.get_header("Content-Type") if http else None,
            http.get_header("Location") if http else None,
            record.content_stream().read(),
        )


@pytest.fixture(scope="module")
def crawl(tiny: Built) -> list[Record]:
    return list(records(tiny.folder / "web"))


def sort_of(response: Record) -> str:
    """Which of the summary's counts a response belongs to, told from its address and status alone."""
    if response.status != "200":
        return "errors"
    for mark, sort in (
        ("https://mirror.", "mirrors"),
        ("/next/", "near_duplicates"),
        ("/reference/index-", "navigation"),
        (".phrases.example/", "non_english"),
        ("/reference/", "pages"),
    ):
        if mark in response.url:
            return sort
    return "other_responses"


def of_sort(crawl: list[Record], sort: str) -> list[Record]:
    return [record for record in crawl if record.kind == "response" and sort_of(record) == sort]


def test_the_summary_counts_what_a_reader_finds(tiny: Built, crawl: list[Record]) -> None:
    found = Counter(sort_of(record) for record in crawl if record.kind == "response")
    sorts = ("pages", "mirrors", "near_duplicates", "navigation", "errors", "non_english", "other_responses")
    assert found == {sort: getattr(tiny.summary, sort) for sort in sorts}
    assert tiny.summary.pages == 80


def test_files_are_laid_out_as_common_crawls(tiny: Built) -> None:
    for path in sorted((tiny.folder / "web").glob("*.warc.gz")):
        kinds = [re.findall(rb"WARC-Type: (\w+)", member)[0].decode() for member in members(path)]
        assert kinds[:7] == ["warcinfo", *["request", "response", "metadata"] * 2]


def test_requests_and_metadata_point_at_their_response(crawl: list[Record]) -> None:
    responses = {record.headers["WARC-Record-ID"]: record.url for record in crawl if record.kind == "response"}
    for kind in ("request", "metadata"):
        about = {r.headers["WARC-Concurrent-To"]: r.url for r in crawl if r.kind == kind}
        assert responses.items() <= about.items()


def test_payload_digests_are_true(crawl: list[Record]) -> None:
    for record in (record for record in crawl if record.kind == "response"):
        digest = base64.b32encode(hashlib.sha1(record.body).digest()).decode()
        assert record.headers["WARC-Payload-Digest"] == f"sha1:{digest}"


def test_mirrors_have_the_payload_of_the_original(crawl: list[Record]) -> None:
    originals = {record.url: record.body for record in of_sort(crawl, "pages")}
    for mirror in of_sort(crawl, "mirrors"):
        assert mirror.body == originals[mirror.url.replace("mirror.", "docs.", 1)]


def test_near_duplicates_share_most_words_but_not_all(crawl: list[Record]) -> None:
    originals = {record.url: record.body for record in of_sort(crawl, "pages")}
    for near in of_sort(crawl, "near_duplicates"):
        original = originals[near.url.replace("/next/", "/reference/")]
        before, after = (trafilatura.extract(body.decode()).split() for body in (original, near.body))
        assert before != after
        shared = sum((Counter(before) & Counter(after)).values())
        assert shared >= 0.8 * max(len(before), len(after))


def test_ordinary_pages_extract_to_running_text_without_their_frame(crawl: list[Record]) -> None:
    texts = [trafilatura.extract(page.body.decode()) or "" for page in of_sort(crawl, "pages")]
    assert sum(len(text.split()) >= 50 for text in texts) >= 0.8 * len(texts)
    for text in texts:
        assert "cookies to remember" not in text
        assert "Privacy policy" not in text
        assert "\xa0" not in text


def test_navigation_pages_hold_links_only(crawl: list[Record]) -> None:
    for page in of_sort(crawl, "navigation"):
        assert page.body.count(b"<a href") >= 20
        assert b"<p>" not in page.body.partition(b"<h1>")[2].partition(b"</ul>")[0]


def test_errors_have_their_status_and_redirects_a_target(crawl: list[Record]) -> None:
    assert {record.status for record in of_sort(crawl, "errors")} == {"404", "301", "500", "503"}
    for record in of_sort(crawl, "errors"):
        assert (record.location is not None) == (record.status == "301")


def test_pages_in_other_languages_include_undeclared_charsets(tiny: Built) -> None:
    from stages.demo_corpus.web import _foreign

    pages = {exchange.url: exchange for exchange in _foreign(120, seed=1)}
    german = pages["https://de.phrases.example/1.html"]
    assert german.content_type == "text/html"
    assert b"charset" not in german.body
    assert "für" in german.body.decode("latin-1")
    with pytest.raises(UnicodeDecodeError):
        german.body.decode("utf-8")
    assert "ロンドン" in pages["https://ja.phrases.example/1.html"].body.decode("shift_jis")
    assert len({url.split(".")[0] for url in pages}) >= 50


def test_some_responses_are_no_html(crawl: list[Record]) -> None:
    types = {record.content_type for record in of_sort(crawl, "other_responses")}
    assert {"image/png", "text/plain; charset=utf-8", "application/json", None} <= types
    assert any(record.body == b"" for record in of_sort(crawl, "other_responses"))


def test_damage_stops_a_plain_reader_in_the_first_and_the_last_file(tiny: Built) -> None:
    first, last = sorted((tiny.folder / "web").glob("*.warc.gz"))
    for path in (first, last):
        whole = sum(record.kind == "response" for record in records(path.parent))
        read = 0
        with pytest.raises(OSError, match=r"Gzip|WARC"):  # noqa: PT012
            for record in FastIterator(path.open("rb")):
                record.reader.read()
                read += 1
        assert 0 < read < 3 * whole


def test_each_of_the_three_damages_is_where_it_should_be(tiny: Built) -> None:
    first, last = sorted((tiny.folder / "web").glob("*.warc.gz"))
    member_counts = {path: path.read_bytes().count(_MEMBER_START) for path in (first, last)}
    assert len(members(first)) == member_counts[first] - 1  # one inverted stretch, with whole members after it
    with pytest.raises((EOFError, OSError, zlib.error)):
        gzip.decompress(first.read_bytes())
    with pytest.raises(EOFError):  # all of the last file is sound except that its end is missing
        gzip.decompress(last.read_bytes())
    lengths = []
    for member in members(last):
        head, _, block = member.partition(b"\r\n\r\n")
        lengths.append(int(re.findall(rb"Content-Length: (\d+)", head)[0]) - (len(block) - 4))
    assert Counter(lengths) == {0: len(lengths) - 1, 1000: 1}
    assert tiny.summary.damaged == 3


def test_pages_carry_nothing_of_this_run_or_its_paths(crawl: list[Record]) -> None:
    for page in of_sort(crawl, "pages"):
        assert not re.search(rb" at 0x[0-9a-f]{6,}", page.body), page.url
        assert sys.prefix.encode() not in page.body, page.url
        assert len(page.body) < 400_000


def test_modules_that_cannot_be_imported_are_reported_with_their_reason() -> None:
    pages, skipped = pages_of(Request("python", ("no_such_module", "json"), limit=100, seed=1))
    assert [(entry.name, entry.reason) for entry in skipped] == [
        ("no_such_module", "import failed: ModuleNotFoundError")
    ]
    assert {"json.dump", "json.JSONDecoder"} <= {page.name for page in pages}
