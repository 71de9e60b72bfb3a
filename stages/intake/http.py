"""The HTTP response inside a WARC record: status, content type, decoded body."""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import brotli
import zstandard

from stages.intake.warc.frames import GZIP_MAGIC, ZSTD_MAGIC, BadDataError, Frame, GzipMember, ZstdFrame
from stages.intake.warc.headers import HEADER_END, fields_of
from stages.intake.warc.window import Window

_STATUS = re.compile(rb"HTTP/\d(?:\.\d)? +(\d{1,3})\b[^\n]*")
_CHARSET = re.compile(r"charset\s*=\s*[\"']?([\w.:-]+)", re.IGNORECASE)
_ROBOTS_TAG = re.compile(rb"^x-robots-tag[ \t]*:([^\r\n]*)", re.IGNORECASE | re.MULTILINE)
_CHUNK = re.compile(rb"([0-9A-Fa-f]{1,8})[ \t]*(?:;[^\r\n]{0,200})?\r?\n")
_MARKUP = re.compile(rb"\s*(?:<|\Z)")  # or nothing at all
_DECLARING = ("x-robots-tag", "tdm-reservation", "tdm-policy")
_PIECE_BYTES = 1 << 16
_ZSTD_WINDOW_BYTES = 8 << 20  # RFC 9659: larger windows are not for the web
_NO_ENCODING = frozenset(("", "identity", "none", "utf-8", "utf8", "binary", "8bit", "7bit"))
_ALIASES = {"x-gzip": "gzip", "x-deflate": "deflate", "brotli": "br"}


class HttpError(Exception):
    """The response cannot be read; the first argument is a short stable reason, the second says what is wrong."""


class TooLargeError(Exception):
    """The decoded body is larger than allowed."""


@dataclass(frozen=True, slots=True)
class Response:
    """An HTTP response whose body is still as it was sent."""

    status: int
    headers: dict[str, str]  # names in lower case; the first of several counts, but all of X-Robots-Tag, between ";"
    body: bytes

    @property
    def mime(self) -> str:
        """Media type in lower case without parameters; "" if none was sent."""
        return self.headers.get("content-type", "").partition(";")[0].strip().lower()

    @property
    def charset(self) -> str | None:
        """The charset parameter of Content-Type, as sent."""
        match = _CHARSET.search(self.headers.get("content-type", ""))
        return match[1] if match else None

    @property
    def declarations(self) -> dict[str, str]:
        """What the publisher allows, and the licence: keys for a document's ``meta`` ("http.x-robots-tag")."""
        found = {f"http.{name}": value for name in _DECLARING if (value := self.headers.get(name))}
        link = self.headers.get("link", "")
        return found | {"http.link": link} if "license" in link else found


def parsed(block: bytes) -> Response:
    """Split a response into status, headers and body.

    Raises:
        HttpError: there is no status line ("bad_http_header").
    """
    status = _STATUS.match(block)
    if not status:
        raise HttpError("bad_http_header", f"no HTTP status line but {block[:40]!r}")
    end = HEADER_END.search(block, status.end())
    header = block[status.end() : end.start() if end else None]
    headers = fields_of(header, "latin-1")
    if "x-robots-tag" in headers and len(all_tags := _ROBOTS_TAG.findall(header)) > 1:
        headers["x-robots-tag"] = "; ".join(str(tag, "latin-1").strip() for tag in all_tags)
    return Response(int(status[1]), headers, block[end.end() :] if end else b"")


def decoded_body(response: Response, max_bytes: int, cut: bool = False) -> bytes:
    """The body without transfer and content encodings: gzip, deflate, br, zstd, chunked, and any chain of them.

    Crawlers often store a decoded body under the headers of the encoded one, so an encoding is undone only where the
    body shows it: a chunk size line, the magic number of gzip or zstd; for deflate and br, which have none, a body
    that starts with "<" and does not decode was stored decoded.

    Args:
        max_bytes: of the decoded body; no more than a small multiple of it is held in memory.
        cut: the crawler says that it cut the body (WARC-Truncated); then what can be decoded is returned.

    Raises:
        HttpError: an encoding is unknown or broken ("bad_encoding").
        TooLargeError: more than ``max_bytes``.
    """
    body = response.body
    for header in ("transfer-encoding", "content-encoding"):  # the last to be applied are the first to be undone
        sent = response.headers.get(header)
        if sent:
            names = [name.strip() for name in sent.lower().split(",")]
            for name in reversed([_ALIASES.get(name, name) for name in names if name not in _NO_ENCODING]):
                body = _undone(name, body, max_bytes, cut)
    if len(body) > max_bytes:
        raise TooLargeError(f"more than {max_bytes} bytes")
    return body


def _undone(name: str, body: bytes, max_bytes: int, cut: bool) -> bytes:
    if not body:
        return body
    if name == "chunked":
        return _joined_chunks(body, cut)
    if name == "gzip":
        return _joined(_framed(GzipMember, body, cut), max_bytes) if body.startswith(GZIP_MAGIC[:2]) else body
    if name == "zstd":
        return _joined(_framed(_zstd_frame, body, cut), max_bytes) if body.startswith(ZSTD_MAGIC) else body
    if name not in ("deflate", "br"):
        if _MARKUP.match(body):
            return body
        raise HttpError("bad_encoding", f"unknown Content-Encoding {name!r}")
    stored_decoded = _MARKUP.match(body) is not None
    try:
        return _without_magic(name, body, max_bytes, cut and not stored_decoded)
    except (HttpError, TooLargeError):
        if stored_decoded:
            return body
        raise


def _without_magic(name: str, body: bytes, max_bytes: int, cut: bool) -> bytes:
    if name == "br":
        return _joined(_unbrotli(body, cut), max_bytes)
    if body[0] & 0x0F == 8 and int.from_bytes(body[:2], "big") % 31 == 0:  # zlib format, by the standard
        try:
            return _joined(_framed(_ZlibStream, body, cut), max_bytes)
        except HttpError:
            pass
    return _joined(_framed(_DeflateStream, body, cut), max_bytes)  # what some servers send


def _joined(parts: Iterator[bytes], max_bytes: int) -> bytes:
    """The parts together; no more of them are asked for than make ``max_bytes``."""
    taken: list[bytes] = []
    size = 0
    for part in parts:
        taken.append(part)
        size += len(part)
        if size > max_bytes:
            raise TooLargeError(f"more than {max_bytes} bytes")
    return b"".join(taken)


def _joined_chunks(body: bytes, cut: bool) -> bytes:
    """The body without chunk sizes; as it is where it does not begin with a chunk."""
    parts: list[bytes] = []
    at = 0
    while match := _CHUNK.match(body, at):
        size = int(match[1], 16)
        if size == 0:
            return b"".join(parts)
        end = match.end() + size
        if not parts and end < len(body) and body[end] not in b"\r\n":
            return body  # a text that begins with a number
        parts.append(body[match.end() : end])
        at = end
        if end > len(body):
            break
        at += 2 if body.startswith(b"\r\n", at) else body.startswith(b"\n", at)
    if not parts:
        return body
    if not cut and at < len(body):
        raise HttpError("bad_encoding", f"no chunk size at byte {at} of the body but {body[at : at + 20]!r}")
    if not cut:
        raise HttpError("bad_encoding", "the body ends before its last chunk")
    return b"".join(parts)


class _ZlibStream(GzipMember):
    window_bits = 15


class _DeflateStream(GzipMember):
    window_bits = -15


def _zstd_frame(window: Window, start: int) -> ZstdFrame:
    return ZstdFrame(window, start, zstandard.ZstdDecompressor(max_window_size=_ZSTD_WINDOW_BYTES))


def _framed(new_frame: Callable[[Window, int], Frame], body: bytes, cut: bool) -> Iterator[bytes]:
    """The decoded parts of the frame at the start of the body and of those like it that follow directly."""
    window = Window(io.BytesIO(body))
    at: int | None = 0
    magic = body[:2]
    while at is not None and body.startswith(magic, at):
        frame = new_frame(window, at)
        try:
            yield from frame.chunks()
        except BadDataError as error:
            if cut and error.reason == "truncated":
                return
            raise HttpError("bad_encoding", f"the body does not decompress: {error}") from error
        at = frame.end


def _unbrotli(body: bytes, cut: bool) -> Iterator[bytes]:
    decoder = brotli.Decompressor()
    try:
        for at in range(0, len(body), _PIECE_BYTES):
            yield decoder.process(body[at : at + _PIECE_BYTES], output_buffer_limit=_PIECE_BYTES)
            # it may hold back a rest of the output although it accepts more
            while not decoder.is_finished() and (part := decoder.process(b"", output_buffer_limit=_PIECE_BYTES)):
                yield part
            if decoder.is_finished():
                return
    except brotli.error as error:
        raise HttpError("bad_encoding", f"the body does not decompress: {error}") from error
    if not cut:
        raise HttpError("bad_encoding", "the compressed body ends too early")
