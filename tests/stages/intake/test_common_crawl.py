"""Web pages from WARC files: every record counted once, whatever is damaged."""

import contextlib
import gzip
import io
import logging
import re
import zlib
from pathlib import Path

import pytest
from fastwarc.stream_io import BrotliWriter, ZstdWriter
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.locations.location import InputFile
from pipeline.stage import Context, Split
from stages.intake.common_crawl import CommonCrawl, CommonCrawlConfig
from stages.intake.http import decoded_body, parsed
from stages.intake.warc import Damage, records

PAGE = b"<html><body><p>Some text on a page.</p></body></html>"


def http(body: bytes = PAGE, status: str = "200 OK", mime: str = "text/html; charset=utf-8", more: str = "") -> bytes:
    return f"HTTP/1.1 {status}\r\nContent-Type: {mime}\r\n{more}\r\n".encode() + body


def warc(block: bytes, kind: str = "response", number: int = 0, size: int | None = None, more: str = "") -> bytes:
    """One WARC record; ``size`` is what its header claims."""
    protocol = "application/http; msgtype=response" if kind == "response" else "application/warc-fields"
    header = (
        f"WARC/1.0\r\nWARC-Type: {kind}\r\nWARC-Record-ID: <urn:uuid:{number}>\r\nWARC-Date: 2024-05-01T10:00:00Z\r\n"
        f"WARC-Target-URI: http://example.org/{number}\r\nContent-Type: {protocol}\r\n{more}"
        f"Content-Length: {len(block) if size is None else size}\r\n\r\n"
    )
    return header.encode() + block + b"\r\n\r\n"


def pages(count: int) -> list[bytes]:
    """Records of pages that differ in length and text."""
    return [warc(http(b"<p>page %d %s</p>" % (i, b"word " * (7 * i)), more=""), number=i) for i in range(count)]


def zipped(members: list[bytes]) -> bytes:
    return b"".join(gzip.compress(member, mtime=0) for member in members)


def read(folder: Path, content: bytes, name: str = "a.warc.gz", **options: object):
    """Kept rows and removals of a file; checks that they balance and that no id comes twice."""
    path = folder / name
    path.write_bytes(content)
    stage = CommonCrawl(CommonCrawlConfig.model_validate({"files": [str(path)], **options}))
    rows, removed = [], []
    for outcome in stage.read(Split((InputFile(name, str(path)),)), "web", Context(seed=1)):
        assert outcome.created == {"web": outcome.kept.num_rows + len(outcome.removed)}
        rows += outcome.kept.to_pylist()
        removed += outcome.removed
    ids = [row["id"] for row in rows] + [removal.id for removal in removed]
    assert len(set(ids)) == len(ids)
    return rows, removed


def urls(rows) -> list[int]:
    return [int(row["url"].rpartition("/")[2]) for row in rows]


def test_a_page_has_its_origin_and_its_bytes(tmp_path):
    members = [warc(b"software: test\r\n", "warcinfo"), warc(http(), more="WARC-Payload-Digest: sha1:ABC\r\n")]
    [row], _ = read(tmp_path, zipped(members))
    start = len(gzip.compress(members[0], mtime=0))
    assert row["id"] == f"web/a.warc.gz@{start}"
    assert row["url"] == "http://example.org/0"
    assert row["date"] == "2024-05-01T10:00:00Z"
    assert row["mime"] == "text/html"
    assert row["payload"] == PAGE
    assert row["text"] is None
    assert dict(row["meta"]) == {"charset": "utf-8"}
    length = len(gzip.compress(members[1], mtime=0))
    assert row["origin"] == {"path": "a.warc.gz", "offset": start, "length": length, "digest": "sha1:ABC"}


def test_origin_finds_the_record_again_in_a_plain_file(tmp_path):
    content = b"".join(pages(3))
    rows, _ = read(tmp_path, content, "a.warc")
    for i, row in enumerate(rows):
        origin = row["origin"]
        assert content[origin["offset"] : origin["offset"] + origin["length"]] == pages(3)[i]


@pytest.mark.parametrize(
    ("record", "reason", "evidence"),
    [
        (warc(b"a: b\r\n", "warcinfo"), "record_warcinfo", "warcinfo"),
        (warc(b"GET / HTTP/1.1\r\n\r\n", "request"), "record_request", "request"),
        (warc(b"", "revisit"), "record_revisit", "revisit"),
        (warc(b"x", "of-my-own"), "record_other", "of-my-own"),
        (warc(http(status="404 Not Found")), "http_status", "404"),
        (warc(http(mime="image/png")), "mime", "image/png"),
        (warc(http(b"")), "empty", "no bytes behind the HTTP header"),
        (warc(http(b"x" * 2000)), "too_large", "more than 1000 bytes"),
        (warc(http(b"x" * 200_000)), "too_large", f"{len(http()) - len(PAGE) + 200_000} bytes > 1000"),
    ],
)
def test_what_is_no_page_is_dropped_under_its_reason(tmp_path, record, reason, evidence):
    rows, [removal] = read(tmp_path, record, max_body_bytes=1000)
    assert not rows
    assert (removal.verdict, removal.reason, removal.evidence) == ("dropped", reason, evidence)


def test_a_response_without_a_status_line_fails(tmp_path):
    _, [removal] = read(tmp_path, warc(b"nonsense" + http()))
    assert (removal.verdict, removal.reason) == ("failed", "bad_http_header")


def damaged(members: list[bytes], at: int, how: str) -> bytes:
    """The gzip file of these records with the one at ``at`` damaged."""
    parts = [gzip.compress(member, mtime=0) for member in members]
    part = bytearray(parts[at])
    if how == "flipped":
        part[len(part) // 2] ^= 0xFF
    elif how == "checksum":
        part[-6] ^= 0xFF
    elif how == "magic":
        part[1] ^= 0xFF
    elif how == "cut":
        part = part[: len(part) // 2]
    elif how == "junk":
        part = bytearray(b"junk" * 20)
    elif how == "no header":
        part = bytearray(gzip.compress(b"X" + members[at], mtime=0))
    else:
        claimed = int(re.search(rb"Content-Length: (\d+)", members[at])[1]) + int(how)
        part = bytearray(gzip.compress(re.sub(rb"(?<=Content-Length: )\d+", b"%d" % claimed, members[at]), mtime=0))
    parts[at] = bytes(part)
    return b"".join(parts)


HOW = ["flipped", "checksum", "magic", "cut", "junk", "no header", "-7", "+7", "+100000"]


@pytest.mark.parametrize("how", HOW)
@pytest.mark.parametrize("at", [0, 3])
def test_one_damaged_record_fails_and_all_others_are_read_once(tmp_path, how, at):
    rows, [removal] = read(tmp_path, damaged(pages(6), at, how))
    assert urls(rows) == [i for i in range(6) if i != at]
    assert removal.verdict == "failed"
    assert removal.evidence.startswith("a.warc.gz at byte ")


@settings(max_examples=60)
@given(st.lists(st.sampled_from(["", *HOW]), min_size=1, max_size=8), st.booleans())
def test_any_damage_to_some_records_leaves_the_others(tmp_path_factory, how, end_is_cut):
    records_ = pages(len(how) + 1)
    parts = [damaged([r], 0, h) if h else gzip.compress(r, mtime=0) for r, h in zip(records_, [*how, ""], strict=True)]
    if end_is_cut:
        parts[-1] = parts[-1][:-10]
    rows, removed = read(tmp_path_factory.mktemp("warc"), b"".join(parts))
    sound = [i for i, h in enumerate(how) if not h] + [len(how)] * (not end_is_cut)
    assert urls(rows) == sound
    # neighbours that lost their beginnings fail as one stretch
    assert (len(removed) > 0) == (len(sound) < len(records_))
    assert all(removal.verdict == "failed" for removal in removed)


@pytest.mark.parametrize("missing", [3, 60, 150])
def test_a_file_that_ends_too_early_has_one_truncated_record(tmp_path, missing):
    for name, content in (("a.warc.gz", zipped(pages(3))), ("b.warc", b"".join(pages(3))[:-4])):
        rows, [removal] = read(tmp_path, content[:-missing], name)
        assert urls(rows) == [0, 1]
        assert (removal.verdict, removal.reason) == ("failed", "truncated")


@pytest.mark.parametrize("error", [-7, 7, 100, 10**9])
def test_a_wrong_length_in_a_plain_file_costs_one_record(tmp_path, error):
    members = pages(4)
    block = members[1].partition(b"\r\n\r\n")[2][:-4]
    members[1] = warc(block, number=1, size=len(block) + error)
    rows, [removal] = read(tmp_path, b"".join(members), "a.warc")
    assert urls(rows) == [0, 2, 3]
    assert (removal.reason, removal.id) == ("wrong_length", f"web/a.warc@{len(members[0])}")


def test_a_warc_inside_a_page_is_no_record(tmp_path):
    """Only damage makes the reader look for headers inside a record."""
    rows, removed = read(tmp_path, warc(http(b"<p>\r\n" + pages(2)[1] + b"</p>")) + pages(3)[2], "a.warc")
    assert urls(rows) == [0, 2]
    assert not removed


def test_records_that_share_a_gzip_member_have_ids_of_their_own(tmp_path):
    rows, _ = read(tmp_path, gzip.compress(b"".join(pages(3))))
    assert urls(rows) == [0, 1, 2]
    second = len(pages(3)[0])
    assert [row["id"] for row in rows][:2] == ["web/a.warc.gz@0", f"web/a.warc.gz@0+{second}"]


def test_an_empty_member_ends_nothing(tmp_path):
    rows, removed = read(tmp_path, zipped([pages(2)[0], b"", pages(2)[1]]) + bytes(512))
    assert urls(rows) == [0, 1]
    assert not removed


@pytest.mark.parametrize("content", [b"", b"<html>no WARC</html>", gzip.compress(b"<html>"), b"\x1f\x8b\x08garbage"])
def test_a_file_that_is_no_warc_is_one_failure(tmp_path, content):
    rows, [removal] = read(tmp_path, content)
    assert not rows
    assert removal.verdict == "failed"
    assert removal.id == "web/a.warc.gz@0"


def test_zstd_files_are_read(tmp_path):
    buffer = io.BytesIO()
    with ZstdWriter(buffer) as writer:
        for page in pages(3):
            writer.write(page)
    rows, removed = read(tmp_path, buffer.getvalue(), "a.warc.zst")
    assert urls(rows) == [0, 1, 2]
    assert not removed


def chunked(body: bytes) -> bytes:
    parts = [body[i : i + 9] for i in range(0, len(body), 9)]
    return b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in [*parts, b""])


def brotli(body: bytes) -> bytes:
    buffer = io.BytesIO()
    with BrotliWriter(buffer) as writer:
        writer.write(body)
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("headers", "sent"),
    [
        ("Content-Encoding: gzip\r\n", gzip.compress(PAGE)),
        ("Content-Encoding: deflate\r\n", zlib.compress(PAGE)),
        ("Content-Encoding: deflate\r\n", zlib.compress(PAGE)[2:-4]),
        ("Content-Encoding: br\r\n", brotli(PAGE)),
        ("Transfer-Encoding: chunked\r\n", chunked(PAGE)),
        ("Transfer-Encoding: chunked\r\nContent-Encoding: gzip\r\n", chunked(gzip.compress(PAGE))),
        ("Transfer-Encoding: chunked\r\nContent-Encoding: gzip\r\n", PAGE),  # stored decoded, headers left as sent
        ("Content-Encoding: br\r\n", PAGE),
    ],
)
def test_encodings_are_undone(headers, sent):
    assert decoded_body(parsed(http(sent, more=headers)), 10_000) == PAGE


def test_a_body_whose_encoding_is_broken_fails_unless_the_crawler_cut_it(tmp_path):
    block = http(gzip.compress(PAGE * 50)[:-20], more="Content-Encoding: gzip\r\n")
    _, [removal] = read(tmp_path, warc(block))
    assert (removal.verdict, removal.reason) == ("failed", "bad_encoding")
    [row], _ = read(tmp_path, warc(block, more="WARC-Truncated: length\r\n"))
    assert row["payload"].startswith(PAGE)
    assert dict(row["meta"])["truncated"] == "length"


def test_a_small_body_that_unpacks_to_a_large_one_is_dropped(tmp_path):
    block = http(gzip.compress(bytes(10**7)), more="Content-Encoding: gzip\r\n")
    _, [removal] = read(tmp_path, warc(block), max_body_bytes=10**5)
    assert removal.reason == "too_large"


def test_repeated_payloads_are_dropped_on_request(tmp_path):
    digests = ["sha1:A", "sha1:B", "sha1:A"]
    content = b"".join(
        warc(http(), number=i, more=f"WARC-Payload-Digest: {digest}\r\n") for i, digest in enumerate(digests)
    )
    assert len(read(tmp_path, content, "a.warc")[0]) == 3
    rows, [end] = read(tmp_path, content, "a.warc", repeated_payloads=False)
    assert urls(rows) == [0, 1]
    assert (end.reason, end.evidence) == ("repeated_payload", f"sha1:A as in {rows[0]['id']}")


def test_a_page_that_was_dropped_does_not_count_as_the_first_of_its_bytes(tmp_path):
    more = "WARC-Payload-Digest: sha1:A\r\n"
    content = warc(http(status="404 Not Found"), number=0, more=more) + warc(http(), number=1, more=more)
    rows, _ = read(tmp_path, content, "a.warc", repeated_payloads=False)
    assert urls(rows) == [1]


def test_small_pages_are_dropped_on_request(tmp_path):
    _, [end] = read(tmp_path, warc(http()), min_body_bytes=1000)
    assert (end.reason, end.evidence) == ("too_small", f"{len(PAGE)} bytes < 1000")


def test_a_resource_record_is_a_page_without_http(tmp_path):
    record = warc(PAGE, "resource").replace(b"application/warc-fields", b"text/html")
    [row], _ = read(tmp_path, record, "a.warc")
    assert (row["payload"], row["mime"]) == (PAGE, "text/html")


def test_batches_are_bounded(tmp_path):
    path = tmp_path / "a.warc.gz"
    path.write_bytes(zipped([warc(http(), number=i) for i in range(600)]))
    stage = CommonCrawl(CommonCrawlConfig(files=(path,)))
    [split] = stage.splits()
    assert [outcome.kept.num_rows for outcome in stage.read(split, "web", Context(seed=1))] == [256, 256, 88]


EXPLAINED = {
    "chatnoir-resiliparse__block-sized-records.warc.lz4": "warcio reads no lz4",
    "warcio__example-bad-non-chunked.warc.gz": "warcio stops where records share a gzip member",
    "warcio__example-bad.warc.gz.bad": "warcio stops where records share a gzip member",
    "web_data_vu__predefined.warc.gz": "an HTML page by content",
}


def test_every_record_of_the_real_files_is_accounted_for(shared_data):
    """Kept, dropped and failed together are as many as warcio finds, file by file."""
    from warcio.archiveiterator import ArchiveIterator

    logging.getLogger("warcio").setLevel(logging.CRITICAL)
    stage = CommonCrawl(CommonCrawlConfig(files=(shared_data / "warc",)))
    compared = []
    for path in sorted((shared_data / "warc").glob("*/*")):
        if path.name in EXPLAINED:
            continue
        split = Split((InputFile(path.name, str(path)),))
        counted = sum(outcome.created["web"] for outcome in stage.read(split, "web", Context(seed=1)))
        with path.open("rb") as file, contextlib.redirect_stderr(io.StringIO()):
            expected = sum(1 for record in ArchiveIterator(file) if record.raw_stream.read() or 1)
        assert counted == expected, path.name
        compared.append(path.name)
    assert len(compared) >= 45
    assert any(".arc" in name for name in compared)


def test_two_real_files_are_damaged_in_known_places(shared_data):
    folder = shared_data / "warc"
    damage = {
        path.name: [
            (f.reason, f.position)
            for f in records(io.BytesIO(path.read_bytes()), frozenset(), 0)
            if isinstance(f, Damage)
        ]
        for path in sorted(folder.glob("*/*.warc*"))
    }
    assert {name: found for name, found in damage.items() if found} == {
        "chatnoir-resiliparse__clipped.warc.gz": [("truncated", "0")],
        "warcio__example-trunc.warc": [("wrong_length", "1197")],
        "web_data_vu__predefined.warc.gz": [("unreadable", "0")],
    }
