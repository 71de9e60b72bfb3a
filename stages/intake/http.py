"""The HTTP response inside a WARC record: status, content type, decoded body."""

from __future__ import annotations

import io
import re
import zlib
from collections.abc import Callable
from dataclasses import dataclass

_STATUS = re.compile(rb"HTTP/\d(?:\.\d)? +(\d{1,3})\b")
_HEADER_END = re.compile(rb"\r?\n\r?\n")
_CHUNK = re.compile(rb"([0-9A-Fa-f]{1,8})[ \t]*(?:;[^\r\n]{0,200})?\r?\n")


class HttpError(Exception):
    """The response cannot be read; the first argument is a short stable reason, the second says what is wrong."""


class TooLargeError(Exception):
    """The decoded body is larger than allowed."""


@dataclass(frozen=True, slots=True)
class Response:
    """An HTTP response whose body is still as it was sent."""

    status: int
    headers: dict[str, str]  # names in lower case; the first of several counts
    body: bytes

    @property
    def mime(self) -> str:
        """Media type in lower case without parameters; "" if none was sent."""
        return self.headers.get("content-type", "").partition(";")[0].strip().lower()

    @property
    def charset(self) -> str | None:
        """The charset parameter of Content-Type, as sent."""
        match = re.search(r"charset\s*=\s*[\"']?([\w.:-]+)", self.headers.get("content-type", ""), re.IGNORECASE)
        return match[1] if match else None


def parsed(block: bytes) -> Response:
    """Split a response into status, headers and body.

    Raises:
        HttpError: there is no status line ("bad_http_header").
    """
    status = _STATUS.match(block)
    if not status:
        raise HttpError("bad_http_header", f"no HTTP status line but {block[:40]!r}")
    end = _HEADER_END.search(block)
    head = block[: end.start()] if end else block
    headers: dict[str, str] = {}
    for line in head.splitlines()[1:]:
        name, colon, value = line.decode("latin-1").partition(":")
        if colon:
            headers.setdefault(name.strip().lower(), value.strip())
    return Response(int(status[1]), headers, block[end.end() :] if end else b"")


def decoded_body(response: Response, max_bytes: int, cut: bool = False) -> bytes:
    """The body without transfer and content encodings.

    Crawlers often store a decoded body under the headers of the encoded one, so an encoding is undone only where the
    body shows it: a chunk size line, gzip's magic number, for the other encodings a body that does not start with "<".

    Args:
        cut: the crawler says that it cut the body (WARC-Truncated); then what can be decoded is returned.

    Raises:
        HttpError: an encoding is unknown or broken ("bad_encoding").
        TooLargeError: more than ``max_bytes``.
    """
    body = response.body
    if "chunked" in response.headers.get("transfer-encoding", "").lower() and _CHUNK.match(body):
        body = _joined_chunks(body, cut)
    names = [name.strip() for name in response.headers.get("content-encoding", "").lower().split(",")]
    for name in reversed([name for name in names if name not in ("", "identity", "none", "utf-8")]):
        body = _decompressed(name, body, max_bytes, cut)
    if len(body) > max_bytes:
        raise TooLargeError(f"more than {max_bytes} bytes")
    return body


def _joined_chunks(body: bytes, cut: bool) -> bytes:
    parts: list[bytes] = []
    at = 0
    while match := _CHUNK.match(body, at):
        size = int(match[1], 16)
        if size == 0:
            return b"".join(parts)
        part = body[match.end() : match.end() + size]
        parts.append(part)
        at = match.end() + size
        if len(part) < size:
            break
        at += 2 if body.startswith(b"\r\n", at) else body.startswith(b"\n", at)
    if not cut and at < len(body):
        raise HttpError("bad_encoding", f"no chunk size at byte {at} of the body but {body[at : at + 20]!r}")
    if not cut:
        raise HttpError("bad_encoding", "the body ends before its last chunk")
    return b"".join(parts)


def _decompressed(name: str, body: bytes, max_bytes: int, cut: bool) -> bytes:
    if name in ("gzip", "x-gzip"):
        if not body.startswith(b"\x1f\x8b"):
            return body
        return _inflated(lambda: zlib.decompressobj(31), body, max_bytes, cut)
    if body.lstrip()[:1] in (b"<", b""):
        return body
    if name == "deflate":  # zlib format by the standard, bare deflate from some servers
        bits = 15 if body[0] & 0x0F == 8 and int.from_bytes(body[:2], "big") % 31 == 0 else -15
        return _inflated(lambda: zlib.decompressobj(bits), body, max_bytes, cut)
    if name in ("br", "zstd"):
        return _read_all(name, body, max_bytes, cut)
    raise HttpError("bad_encoding", f"unknown Content-Encoding {name!r}")


def _inflated(new_decoder: Callable[[], zlib._Decompress], body: bytes, max_bytes: int, cut: bool) -> bytes:
    decoder = new_decoder()
    try:
        inflated = decoder.decompress(body, max_bytes + 1)
    except zlib.error as error:
        raise HttpError("bad_encoding", f"the body does not decompress: {error}") from error
    if len(inflated) > max_bytes:
        raise TooLargeError(f"more than {max_bytes} bytes")
    if not decoder.eof and not cut:
        raise HttpError("bad_encoding", "the compressed body ends too early")
    return inflated


def _read_all(name: str, body: bytes, max_bytes: int, cut: bool) -> bytes:
    from fastwarc.stream_io import BrotliReader, ZstdReader

    reader = (BrotliReader if name == "br" else ZstdReader)(io.BytesIO(body))
    parts: list[bytes] = []
    size = 0
    try:
        while size <= max_bytes and (part := reader.read(1 << 16)):
            parts.append(part)
            size += len(part)
    except OSError as error:
        if not cut:
            raise HttpError("bad_encoding", f"the body does not decompress: {error}") from error
    return b"".join(parts)
