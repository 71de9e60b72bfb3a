"""Writes WARC 1.0 files the way Common Crawl lays them out, one gzip member per record.

Format: ISO 28500; layout: https://commoncrawl.org/the-data/get-started (warcinfo, then request, response and
metadata for each page).
"""

import base64
import gzip
import hashlib
import uuid
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

_START = datetime(2026, 1, 1, tzinfo=UTC)


@dataclass(frozen=True)
class Exchange:
    """One fetched URL: the status line and headers a server sent, and its body."""

    url: str
    status: str
    content_type: str | None
    body: bytes
    location: str | None = None


@dataclass(frozen=True)
class Members:
    """The gzip members of one exchange, in file order."""

    request: bytes
    response: bytes
    metadata: bytes


def warcinfo(filename: str, seed: int) -> bytes:
    """The gzip member that opens the file `filename`."""
    fields = {
        "isPartOf": f"SLUICE-DEMO-{seed}",
        "description": "Demo crawl made of documentation that is installed on this machine",
        "software": "sluice demo corpus",
        "format": "WARC File Format 1.0",
    }
    headers = {"WARC-Filename": filename, "Content-Type": "application/warc-fields"}
    return _member("warcinfo", f"{seed}:{filename}", 0, headers, _fields(fields))


def exchange_members(exchange: Exchange, number: int, seed: int, *, declared_excess: int = 0) -> Members:
    """Request, response and metadata of the exchange fetched as the `number`-th of the crawl.

    `declared_excess` bytes are added to the response's Content-Length: a record that lies about its size.
    """
    host, _, path = exchange.url.removeprefix("https://").partition("/")
    address = f"192.0.2.{hashlib.blake2b(host.encode(), digest_size=1).digest()[0]}"  # TEST-NET-1, RFC 5737
    name = f"{seed}:{number}:{exchange.url}"
    target = {"WARC-Target-URI": exchange.url}
    request = (
        f"GET /{path} HTTP/1.1\r\nHost: {host}\r\nUser-Agent: CCBot/2.0 (https://commoncrawl.org/faq/)\r\n"
        "Accept: text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8\r\n"
        "Connection: Keep-Alive\r\n\r\n"
    ).encode()
    response_id = _record_id("response", name)
    concurrent = {"WARC-Concurrent-To": response_id}
    metadata = {"fetchTimeMs": str(40 + number % 400), "charset-detected": _charset(exchange) or "unknown"}
    response_headers = {
        "Content-Type": "application/http; msgtype=response",
        "WARC-IP-Address": address,
        "WARC-Payload-Digest": _digest(exchange.body),
        "WARC-Identified-Payload-Type": (exchange.content_type or "application/octet-stream").partition(";")[0],
        **target,
    }
    return Members(
        _member(
            "request",
            name,
            number,
            {
                "Content-Type": "application/http; msgtype=request",
                "WARC-IP-Address": address,
                **concurrent,
                **target,
            },
            request,
        ),
        _member("response", name, number, response_headers, _http_response(exchange), declared_excess),
        _member(
            "metadata",
            name,
            number,
            {"Content-Type": "application/warc-fields", **concurrent, **target},
            _fields(metadata),
        ),
    )


def corrupted(member: bytes) -> bytes:
    """`member` with the 32 bytes at its middle inverted, as a failing disk would leave it."""
    middle = len(member) // 2
    return member[:middle] + bytes(byte ^ 0xFF for byte in member[middle : middle + 32]) + member[middle + 32 :]


def truncated(member: bytes) -> bytes:
    """The first half of `member`, as an interrupted upload would leave it."""
    return member[: len(member) // 2]


def _http_response(exchange: Exchange) -> bytes:
    lines = [f"HTTP/1.1 {exchange.status}", "Date: Thu, 01 Jan 2026 00:00:00 GMT", "Server: nginx"]
    lines += [f"Content-Type: {exchange.content_type}"] if exchange.content_type else []
    lines += [f"Location: {exchange.location}"] if exchange.location else []
    # Common Crawl stores bodies decoded and keeps the header of the wire format under another name.
    lines += ["X-Crawl-Content-Encoding: gzip", f"Content-Length: {len(exchange.body)}"]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + exchange.body


def _charset(exchange: Exchange) -> str | None:
    return (exchange.content_type or "").partition("charset=")[2].upper() or None


def _member(
    kind: str, name: str, number: int, headers: dict[str, str], block: bytes, declared_excess: int = 0
) -> bytes:
    date = (_START + timedelta(seconds=number)).strftime("%Y-%m-%dT%H:%M:%SZ")
    all_headers = {
        "WARC-Type": kind,
        "WARC-Date": date,
        "WARC-Record-ID": _record_id(kind, name),
        "Content-Length": str(len(block) + declared_excess),
        **headers,
        "WARC-Block-Digest": _digest(block),
    }
    record = b"WARC/1.0\r\n" + _fields(all_headers) + b"\r\n" + block + b"\r\n\r\n"
    return gzip.compress(record, compresslevel=6, mtime=0)


def _record_id(kind: str, name: str) -> str:
    return f"<urn:uuid:{uuid.uuid5(uuid.NAMESPACE_URL, f'{kind}:{name}')}>"


def _digest(block: bytes) -> str:
    return "sha1:" + base64.b32encode(hashlib.sha1(block).digest()).decode()


def _fields(fields: dict[str, str]) -> bytes:
    return "".join(f"{key}: {value}\r\n" for key, value in fields.items()).encode()
