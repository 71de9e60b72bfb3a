"""A small crawl in Common Crawl's layout: path lists, WARC and WET files, columnar index."""

import gzip
import re
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import pyarrow as pa
import pyarrow.parquet as pq

CRAWL = "CC-TEST-2026-01"


@dataclass(frozen=True)
class CrawledPage:
    """A capture."""

    url: str
    body: bytes
    status: int = 200
    mime: str = "text/html"
    languages: str = "eng"  # ISO 639-3, the main one first


def record(kind: str, url: str, block: bytes, content_type: str, more: str = "") -> bytes:
    """A WARC record as a gzip member."""
    number = uuid.uuid5(uuid.NAMESPACE_URL, f"{kind} {url}")
    header = (
        f"WARC/1.0\r\nWARC-Type: {kind}\r\nWARC-Date: 2026-01-01T00:00:00Z\r\nWARC-Record-ID: <urn:uuid:{number}>\r\n"
        f"WARC-Target-URI: {url}\r\n"
        f"Content-Type: {content_type}\r\n{more}Content-Length: {len(block)}\r\n\r\n"
    )
    return gzip.compress(header.encode() + block + b"\r\n\r\n", mtime=0)


def sort_key(url: str) -> str:
    """The reversed host and path by which the index is sorted."""
    parts = urlsplit(url)
    host = re.sub(r"^www\d*\.", "", parts.hostname or "")
    return ",".join(reversed(host.split("."))) + (f":{parts.port}" if parts.port else "") + ")" + (parts.path or "/")


def build_mirror(
    folder: Path, files: Sequence[Sequence[CrawledPage]], index_files: int = 1, rows_per_group: int = 4
) -> Path:
    """Write a crawl with these files of pages under `folder`, which stands for the bucket."""
    crawl = folder / "crawl-data" / CRAWL
    warc_paths, wet_paths, rows = [], [], []
    for number, pages in enumerate(files):
        warc_name = f"crawl-data/{CRAWL}/segments/1.{number}/warc/{CRAWL}-{number:05}.warc.gz"
        wet_name = f"crawl-data/{CRAWL}/segments/1.{number}/wet/{CRAWL}-{number:05}.warc.wet.gz"
        warc = [record("warcinfo", "", b"software: test\r\n", "application/warc-fields")]
        wet = [record("warcinfo", "", b"software: test\r\n", "application/warc-fields")]
        for page in pages:
            head = f"HTTP/1.1 {page.status} -\r\nContent-Type: {page.mime}\r\n\r\n".encode()
            warc.append(record("request", page.url, b"GET / HTTP/1.1\r\n\r\n", "application/http; msgtype=request"))
            offset = sum(map(len, warc))
            more = f"WARC-Identified-Payload-Type: {page.mime}\r\n"
            warc.append(record("response", page.url, head + page.body, "application/http; msgtype=response", more))
            wet.append(record("conversion", page.url, page.body, "text/plain"))
            rows.append(
                {
                    "url_surtkey": sort_key(page.url),
                    "url": page.url,
                    "url_host_name": urlsplit(page.url).hostname,
                    "url_host_tld": (urlsplit(page.url).hostname or "").rpartition(".")[2],
                    "fetch_status": page.status,
                    "content_mime_detected": page.mime,
                    "content_languages": page.languages,
                    "warc_filename": warc_name,
                    "warc_record_offset": offset,
                    "warc_record_length": len(warc[-1]),
                }
            )
        for name, members in ((warc_name, warc), (wet_name, wet)):
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes(b"".join(members))
        warc_paths.append(warc_name)
        wet_paths.append(wet_name)
    rows.sort(key=lambda row: row["url_surtkey"])
    index_paths = []
    for number in range(index_files):
        name = f"cc-index/table/cc-main/warc/crawl={CRAWL}/subset=warc/part-{number:05}.parquet"
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        share = rows[number * len(rows) // index_files : (number + 1) * len(rows) // index_files]
        schema = {"fetch_status": pa.int16(), "warc_record_offset": pa.int32(), "warc_record_length": pa.int32()}
        table = pa.table({key: pa.array([r[key] for r in share], schema.get(key, pa.string())) for key in rows[0]})
        pq.write_table(table, folder / name, row_group_size=rows_per_group)
        index_paths.append(name)
    index_paths.append(f"cc-index/table/cc-main/warc/crawl={CRAWL}/subset=robotstxt/part-00000.parquet")
    for name, paths in (
        ("warc.paths.gz", warc_paths),
        ("wet.paths.gz", wet_paths),
        ("cc-index-table.paths.gz", index_paths),
    ):
        (crawl / name).write_bytes(gzip.compress("".join(f"{path}\n" for path in paths).encode()))
    return folder
