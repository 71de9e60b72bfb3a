"""PDFs that a crawler stored: found by their bytes, whatever they were called; everything else is noted."""

import gzip
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.stages.intake.test_common_crawl import http, warc, zipped
from tests.stages.pdf.page_rows import PROSE, Read, prose_bytes


def read(folder: Path, records: Sequence[bytes], name: str = "a.warc.gz", **options: object) -> Read:
    content = zipped(list(records)) if name.endswith(".gz") else b"".join(records)
    (folder / name).write_bytes(content)
    return Read(warcs=folder / name, **options)


def pdf_record(
    pdf: bytes, mime: str = "application/pdf", more: str = "", number: int = 0, status: str = "200 OK"
) -> bytes:
    return warc(http(pdf, status, mime), number=number, more=more)


@pytest.mark.parametrize("name", ["a.warc", "a.warc.gz"])
def test_a_pdf_has_its_place_in_the_file(tmp_path, name):
    records = [warc(b"software: test\r\n", "warcinfo"), pdf_record(prose_bytes(tmp_path, 2), number=7)]
    found = read(tmp_path, records, name)
    assert found.texts == [PROSE.format(0), PROSE.format(1)]
    packed = [gzip.compress(record, mtime=0) if name.endswith("gz") else record for record in records]
    (first, second), start = found.rows, len(packed[0])
    assert first["pdf.document"] == second["pdf.document"] == f"papers/{name}@{start}"
    assert second["id"] == f"papers/{name}@{start}@1"
    assert (first["origin"]["path"], first["origin"]["offset"]) == (name, start)
    assert (first["url"], first["date"]) == ("http://example.org/7", "2024-05-01T10:00:00Z")
    assert first["origin"]["length"] in (len(packed[1]), len(packed[1]) - 4)
    assert found.noted == {"record_warcinfo": 1}


@pytest.mark.parametrize("mime", ["application/octet-stream", "text/html", ""])
def test_a_pdf_counts_by_its_bytes_not_by_its_name(tmp_path, mime):
    found = read(tmp_path, [pdf_record(prose_bytes(tmp_path), mime), pdf_record(b"<html></html>", "application/pdf")])
    assert found.texts == [PROSE.format(0)]
    assert found.noted == {"record_no_pdf": 1}


def test_a_resource_is_read_as_it_stands(tmp_path):
    record = warc(prose_bytes(tmp_path), "resource").replace(b"application/warc-fields", b"application/pdf")
    assert read(tmp_path, [record]).texts == [PROSE.format(0)]


def test_a_packed_payload_is_unpacked(tmp_path):
    packed = gzip.compress(prose_bytes(tmp_path))
    record = warc(http(packed, mime="application/pdf", more="Content-Encoding: gzip\r\n"))
    assert read(tmp_path, [record]).texts == [PROSE.format(0)]


def test_pdfs_that_cannot_be_read_fail_each_for_its_reason(tmp_path):
    pdf, large = prose_bytes(tmp_path), prose_bytes(tmp_path, 60)
    bomb = gzip.compress(b"%PDF-1.7" + bytes(1 << 20))
    records = [
        pdf_record(pdf, more="WARC-Truncated: length\r\n", number=0),
        pdf_record(b"%PDF-1.7\nnothing more", number=1),
        pdf_record(pdf, status="404 Not Found", number=2),
        warc(http(bomb, mime="application/pdf", more="Content-Encoding: gzip\r\n"), number=3),
        warc(http(b"\x1f\x8b", mime="application/pdf", more="Content-Encoding: gzip\r\n"), number=4),
        warc(http(b"\x1f\x8b", mime="text/html", more="Content-Encoding: gzip\r\n"), number=5),
        pdf_record(pdf + bytes(200_000), more="WARC-Identified-Payload-Type: application/pdf\r\n", number=6),
        pdf_record(bytes(200_000), "video/mp4", number=7),
        pdf_record(large, number=8),
    ]
    found = read(tmp_path, records, max_file_bytes=len(large))
    assert len(found.rows) == 60
    assert [(removal.url[-1], removal.verdict, removal.reason) for removal in found.removed] == [
        ("0", "failed", "truncated"),
        ("1", "failed", "unreadable"),
        ("2", "dropped", "http_status"),
        ("3", "failed", "too_large"),
        ("4", "failed", "bad_encoding"),
        ("6", "failed", "too_large"),
    ]
    assert found.noted == {"record_no_pdf": 1, "record_too_large": 1}


def test_damage_is_told_for_it_may_have_been_pdfs(tmp_path):
    records = [pdf_record(prose_bytes(tmp_path, 1, number), number=number) for number in range(3)]
    parts = [gzip.compress(record, mtime=0) for record in records]
    parts[1] = parts[1][:60] + bytes(40) + parts[1][100:]
    (tmp_path / "a.warc.gz").write_bytes(b"".join(parts))
    found = Read(warcs=tmp_path / "a.warc.gz")
    assert found.texts == [PROSE.format(0), PROSE.format(2)]
    assert [removal.reason for removal in found.removed] == ["damaged"]


def test_a_file_that_vanishes_fails(tmp_path):
    (tmp_path / "a.warc").write_bytes(warc(b"", "warcinfo"))
    splits = Read(warcs=tmp_path / "a.warc").splits
    (tmp_path / "a.warc").unlink()
    assert Read(splits, warcs=tmp_path).ends == [("failed", "unreadable")]


def test_every_record_of_real_crawls_is_a_document_or_noted(shared_data):
    from warcio.archiveiterator import ArchiveIterator

    expected: Counter[str] = Counter()
    for path in sorted((shared_data / "warc" / "crawls").iterdir()):
        with path.open("rb") as file:
            expected.update(record.rec_type for record in ArchiveIterator(file, arc2warc=True))
    found = Read(warcs=shared_data / "warc" / "crawls")
    assert {row["url"] for row in found.rows} == {"https://website.test.openzim.org/content-types/small.pdf"}
    assert [row["pdf.page"] for row in found.rows] == [0, 1]
    assert not found.removed
    assert found.noted.pop("record_no_pdf") + 1 == expected.pop("response") + expected.pop("resource")
    assert found.noted == {f"record_{kind}": count for kind, count in expected.items()}
