"""The headers of WARC records (ISO 28500) and of their predecessor's, ARC
(https://archive.org/web/researcher/ArcFileFormat.php), which are given the names of WARC."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

MAX_HEADER_BYTES = 1 << 16
HEADER_END = re.compile(rb"\n\r?\n")  # lines may end in either newline
_NEWLINE = re.compile(r"\r\n?|\n")
_SIZE = re.compile(r"\d{1,18}", re.ASCII)
_WARC_START = re.compile(rb"WARC/[01]\.\d+\r?\n")
# URL, IP address, date, media type, (result code, checksum, location, offset, file name: version 2 only,) length.
# URLs may hold spaces. The bounds keep the time for a malicious line small.
_ARC_START = re.compile(
    rb"([A-Za-z][A-Za-z0-9+.-]{0,30}:[^\r\n]{0,16000}) ([^ \r\n]{1,100}) (\d{14}) "
    rb"((?:[^\r\n]{0,4000} )?)(\d{1,18})\r?\n"
)
_NAMES = {  # names as most files write them
    name: name.lower()
    for name in (
        *("WARC-Type", "WARC-Record-ID", "WARC-Date", "WARC-Target-URI", "WARC-IP-Address", "WARC-Concurrent-To"),
        *("WARC-Payload-Digest", "WARC-Block-Digest", "WARC-Warcinfo-ID", "WARC-Identified-Payload-Type"),
        *("WARC-Truncated", "WARC-Refers-To", "WARC-Protocol", "WARC-Cipher-Suite", "Content-Type", "Content-Length"),
        *("Date", "Server", "Connection", "Cache-Control", "Expires", "Vary", "Last-Modified", "ETag", "Set-Cookie"),
        *("X-Crawl-Content-Encoding", "X-Crawl-Transfer-Encoding", "X-Crawl-Content-Length", "Content-Encoding"),
        *("Transfer-Encoding", "X-Powered-By", "Location", "Accept-Ranges", "X-Frame-Options", "CF-RAY", "Link"),
    )
}


@dataclass(frozen=True, slots=True)
class Format:
    """How records begin: ``start`` is what their first bytes match, ``header`` gives the fields (names in lower
    case) and the bytes of the header at the start of a window, or None if the window holds no whole valid header."""

    name: str
    start: re.Pattern[bytes]
    header: Callable[[bytes], tuple[dict[str, str], int] | None]


def fields_of(header: bytes, encoding: str) -> dict[str, str]:
    """Header fields, names in lower case; the first of several counts. Lines that start with a space go on."""
    fields: dict[str, str] = {}
    text = str(header, encoding, "replace").strip()
    lines = text.split("\r\n")
    if text.count("\r") + text.count("\n") > 2 * (len(lines) - 1):  # other newlines, too
        lines = _NEWLINE.split(text)
    last = ""
    for line in lines:
        written, colon, value = line.partition(":")
        name = _NAMES.get(written)
        if name is None:
            if line[:1].isspace() and last:
                fields[last] += " " + line.strip()
            if line[:1].isspace() or not colon:
                continue
            name = written.strip().lower()
        if name in fields:
            last = ""
        else:
            last = name
            fields[name] = value.strip()
    return fields


def format_of(window: bytes) -> Format | None:
    """The format of the record that ``window`` starts with."""
    return next((known for known in (WARC, ARC) if known.start.match(window)), None)


def _warc_header(window: bytes) -> tuple[dict[str, str], int] | None:
    start = _WARC_START.match(window)
    end = HEADER_END.search(window)
    if not start or not end:
        return None
    fields = fields_of(window[start.end() : end.start()], "utf-8")
    if "warc-type" not in fields or not _SIZE.fullmatch(fields.get("content-length", "")):
        return None
    return fields, end.end()


def _arc_header(window: bytes) -> tuple[dict[str, str], int] | None:
    start = _ARC_START.match(window)
    if not start:
        return None
    url, address, date, media_type, size = (part.decode("utf-8", "replace") for part in start.groups())
    fields = {
        "warc-type": "response",
        "warc-target-uri": url,
        "warc-ip-address": address,
        "warc-date": f"{date[:4]}-{date[4:6]}-{date[6:8]}T{date[8:10]}:{date[10:12]}:{date[12:]}Z",
        "content-type": media_type.partition(" ")[0],
        "content-length": size,
    }
    if url.startswith("filedesc:"):
        fields |= {"warc-type": "warcinfo", "warc-filename": url.removeprefix("filedesc:").lstrip("/")}
    elif window[start.end() : start.end() + 5] in b"HTTP/":  # or as much of it as the window holds
        fields["content-type"] = "application/http; msgtype=response"
    return fields, start.end()


WARC = Format("WARC", _WARC_START, _warc_header)
ARC = Format("ARC", _ARC_START, _arc_header)
