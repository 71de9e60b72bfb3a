"""Reading WARC files so that no record is lost or doubled, whatever is damaged around it.

Compression is undone here rather than by an archive library, because damage has to be seen: FastWARC's iterator ends
without an error at an empty gzip member, at a truncated last one, and at a body shorter than its header says
(tests/stages/intake/test_common_crawl.py holds such files).

A gzip member is decoded on its own, so after damage reading goes on at the next member that holds a WARC record;
within decoded bytes (plain files, several records in a member) it goes on at the next valid WARC header.
"""

from __future__ import annotations

import io
import mmap
import re
import zlib
from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

CHUNK_BYTES = 1 << 16
MAX_HEADER_BYTES = 1 << 16
GZIP_MAGIC = b"\x1f\x8b\x08"
ZSTD_MAGIC = b"\x28\xb5\x2f\xfd"
LZ4_MAGIC = b"\x04\x22\x4d\x18"
_RECORD_START = re.compile(rb"WARC/[01]\.\d+\r?\n")
_HEADER_END = re.compile(rb"\r?\n\r?\n")
_FOLD = re.compile(rb"\r?\n[ \t]+")  # a header line that goes on
_SIZE = re.compile(r"\d{1,18}", re.ASCII)


@dataclass(frozen=True, slots=True)
class Record:
    """A WARC record. ``block`` is None where it was not wanted or is larger than allowed."""

    position: str  # "<offset in the file>", or "<offset of the member>+<offset in its decoded bytes>"
    offset: int  # of the gzip member, or of the record in a plain file
    length: int | None  # bytes in the file; None where the record shares a compressed frame with others
    headers: dict[str, str]  # names in lower case
    block: bytes | None
    block_bytes: int


@dataclass(frozen=True, slots=True)
class Damage:
    """A record, or a stretch of the file, that cannot be read.

    ``reason``: "unreadable" (no WARC file at all), "truncated" (the file ends too early), "wrong_length" (the record
    does not end where its header says), "bad_header", or "damaged" (compressed data are broken).
    """

    position: str
    reason: str
    evidence: str


class _BadDataError(Exception):
    """Compressed data end too early or do not decode."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


class _Frame(ABC):
    """Decoded bytes that can be read on their own: a plain file, one gzip member, a file of zstd or lz4 frames."""

    ends_with_file = True  # if these bytes end too early, the file does

    def __init__(self, file: mmap.mmap, start: int) -> None:
        self.file, self.start = file, start
        self.rewind(0)

    @abstractmethod
    def chunks(self, skip: int) -> Iterator[bytes]:
        """The decoded bytes from ``skip`` on; raises _BadDataError where they stop making sense."""

    @abstractmethod
    def place(self, at: int) -> str:
        """Name of the record that starts at decoded byte ``at``, unique in the file."""

    @abstractmethod
    def extent(self, at: int) -> tuple[int, int | None]:
        """Offset in the file and bytes there of the record that starts at ``at`` and ends here."""

    def rewind(self, position: int) -> None:
        """Go to this place of the decoded bytes (compressed frames are decoded again from their start)."""
        self.position = position
        self._chunks = self.chunks(position)
        self._buffer = bytearray()
        self._error: _BadDataError | None = None

    def window(self, size: int) -> bytes:
        """The next ``size`` bytes without moving on; fewer at the end, or where the data break."""
        while len(self._buffer) < size and self._error is None:
            try:
                chunk = next(self._chunks, b"")
            except _BadDataError as error:
                self._error = error
                break
            if not chunk:
                break
            self._buffer += chunk
        return bytes(self._buffer[:size])

    def peek(self, size: int) -> bytes:
        """As ``window``, but raises _BadDataError if the data break before ``size`` bytes."""
        window = self.window(size)
        if len(window) < size and self._error is not None:
            raise self._error
        return window

    def read(self, size: int) -> bytes:
        """The next ``size`` bytes, fewer at the end."""
        taken = self.peek(size)
        del self._buffer[: len(taken)]
        self.position += len(taken)
        return taken

    def skip(self, size: int) -> int:
        """Pass over ``size`` bytes, fewer at the end; returns how many."""
        left = size
        while left:
            taken = len(self.read(min(left, CHUNK_BYTES)))
            if not taken:
                break
            left -= taken
        return size - left

    def find_record(self) -> bool:
        """Move on to the next valid WARC header that starts a line, after this byte; else to the end, and False."""
        while True:
            window = self.peek(CHUNK_BYTES + MAX_HEADER_BYTES)
            at_end = len(window) < CHUNK_BYTES + MAX_HEADER_BYTES
            for match in _RECORD_START.finditer(window, 1, len(window) if at_end else CHUNK_BYTES):
                if window[match.start() - 1] == 0x0A and _header_of(window[match.start() :]):
                    self.skip(match.start())
                    return True
            # the windows overlap by more than a version line and the newline before it
            self.skip(len(window) if at_end else CHUNK_BYTES - 16)
            if at_end:
                return False


class _Plain(_Frame):
    def chunks(self, skip: int) -> Iterator[bytes]:
        for at in range(skip, len(self.file), CHUNK_BYTES):
            yield self.file[at : at + CHUNK_BYTES]

    def place(self, at: int) -> str:
        return str(at)

    def extent(self, at: int) -> tuple[int, int | None]:
        return at, self.position - at


class _GzipMember(_Frame):
    ends_with_file = False  # a member that is cut off does not decode
    end: int | None = None  # offset in the file of what follows, once the member has been decoded whole

    def chunks(self, skip: int) -> Iterator[bytes]:
        decoder = zlib.decompressobj(31)
        at, pending = self.start, b""
        while not decoder.eof:
            if not pending:
                pending = self.file[at : at + CHUNK_BYTES]
                at += len(pending)
                if not pending:
                    raise _BadDataError("truncated", f"the file ends inside the gzip member at byte {self.start}")
            try:
                decoded = decoder.decompress(pending, CHUNK_BYTES)
            except zlib.error as error:
                raise _BadDataError("damaged", f"gzip member at byte {self.start}: {error}") from error
            pending = decoder.unconsumed_tail
            yield from _after(skip, decoded)
            skip = max(0, skip - len(decoded))
        self.end = at - len(decoder.unused_data)

    def place(self, at: int) -> str:
        return f"{self.start}+{at}" if at else str(self.start)

    def extent(self, at: int) -> tuple[int, int | None]:
        alone = at == 0 and self.end is not None and not self._buffer
        return self.start, self.end - self.start if alone and self.end is not None else None


class _Stream(_Frame):
    def chunks(self, skip: int) -> Iterator[bytes]:
        from fastwarc.stream_io import Lz4Reader, ZstdReader

        reader = (ZstdReader if self.file[:4] == ZSTD_MAGIC else Lz4Reader)(io.BytesIO(self.file))
        while True:
            try:
                decoded = reader.read(CHUNK_BYTES)
            except OSError as error:
                raise _BadDataError("damaged", f"{error}; what follows is lost") from error
            if not decoded:
                return
            yield from _after(skip, decoded)
            skip = max(0, skip - len(decoded))

    def place(self, at: int) -> str:
        return f"0+{at}"

    def extent(self, at: int) -> tuple[int, int | None]:
        return 0, None


def _after(skip: int, decoded: bytes) -> Iterator[bytes]:
    if len(decoded) > skip:
        yield decoded[skip:] if skip else decoded


def records(path: Path, wanted: frozenset[str], max_block_bytes: int) -> Iterator[Record | Damage]:
    """Every record of a WARC file (plain, gzip, zstd, lz4; told by content) in order, and all damage.

    Args:
        wanted: values of WARC-Type whose blocks are read; others are passed over.
        max_block_bytes: larger blocks are passed over too.
    """
    if path.stat().st_size == 0:
        yield Damage("0", "unreadable", "the file is empty")
        return
    with path.open("rb") as opened, mmap.mmap(opened.fileno(), 0, access=mmap.ACCESS_READ) as file:
        if file[:4] in (ZSTD_MAGIC, LZ4_MAGIC):
            yield from _frame_records(_Stream(file, 0), wanted, max_block_bytes)
        # a gzip file whose very first member is damaged may not look like one
        elif file[:3] == GZIP_MAGIC or (not _RECORD_START.match(file) and _next_member(file, 0) is not None):
            yield from _gzip_records(file, wanted, max_block_bytes)
        else:
            yield from _frame_records(_Plain(file, 0), wanted, max_block_bytes)


def _gzip_records(file: mmap.mmap, wanted: frozenset[str], max_block_bytes: int) -> Iterator[Record | Damage]:
    at: int | None = 0
    while at is not None and at < len(file):
        member = _GzipMember(file, at)
        for found in _frame_records(member, wanted, max_block_bytes):
            if isinstance(found, Damage) and found.reason == "unreadable":
                if at == 0 and _next_member(file, 1) is None:
                    yield found
                    return
                found = replace(found, reason="bad_header")  # one bad member does not make an unreadable file
            yield found
        at = member.end if member.end is not None else _next_member(file, at + 1)
        while at is not None and at < len(file) and file[at] == 0:  # padding, as gzip(1) allows
            at += 1


def _next_member(file: mmap.mmap, start: int) -> int | None:
    """Offset of the first gzip member from ``start`` on that begins with a WARC record."""
    at = file.find(GZIP_MAGIC, start)
    while at >= 0:
        try:
            if _RECORD_START.match(zlib.decompressobj(31).decompress(file[at : at + 4096], 16)):
                return at
        except zlib.error:
            pass  # those three bytes are no member's start
        at = file.find(GZIP_MAGIC, at + 1)
    return None


def _header_of(window: bytes) -> tuple[dict[str, str], int] | None:
    """Header fields (names in lower case) and header bytes of the WARC record at the start of ``window``."""
    start = _RECORD_START.match(window)
    end = _HEADER_END.search(window)
    if not start or not end:
        return None
    fields: dict[str, str] = {}
    for line in _FOLD.sub(b" ", window[start.end() : end.start()]).splitlines():
        name, colon, value = line.decode("utf-8", "replace").partition(":")
        if colon:
            fields.setdefault(name.strip().lower(), value.strip())
    if "warc-type" not in fields or not _SIZE.fullmatch(fields.get("content-length", "")):
        return None
    return fields, end.end()


def _frame_records(frame: _Frame, wanted: frozenset[str], max_block_bytes: int) -> Iterator[Record | Damage]:
    """The records in one frame. A record is handed out only after the bytes behind it proved sound."""
    at = 0
    try:
        while frame.peek(1):
            at = frame.position
            header = _header_of(frame.window(2048)) or _header_of(frame.window(MAX_HEADER_BYTES))
            if header is None:
                evidence = f"no whole WARC header but {frame.window(40)!r}"
                frame.peek(MAX_HEADER_BYTES)  # broken data explain more than a missing header
                cut = frame.ends_with_file and _RECORD_START.match(frame.window(64)) is not None
                if frame.find_record():
                    yield Damage(frame.place(at), "bad_header", evidence)
                else:
                    reason = "truncated" if cut else "bad_header" if at else "unreadable"
                    yield Damage(frame.place(at), reason, evidence)
                continue
            fields, header_bytes = header
            frame.skip(header_bytes)
            size = int(fields["content-length"])
            keep = fields["warc-type"] in wanted and size <= max_block_bytes
            block = frame.read(size) if keep else None
            got = frame.skip(size) if block is None else len(block)
            separator = frame.window(64)  # two newlines by the standard; some writers add more
            frame.skip(len(separator) - len(separator.lstrip(b"\r\n")))
            behind = frame.peek(5)
            if got == size and behind in (b"", b"WARC/"):
                yield Record(frame.place(at), *frame.extent(at), fields, block, size)
                continue
            # The next record may lie inside what this one claims: look for it from the header's end on.
            frame.rewind(at + header_bytes - 1)
            if frame.find_record() or got == size or not frame.ends_with_file:
                followed = f"{got} follow" if got < size else f"then comes {behind!r}"
                yield Damage(frame.place(at), "wrong_length", f"Content-Length says {size} bytes, {followed}")
            else:
                yield Damage(frame.place(at), "truncated", f"the file ends {size - got} bytes before the record")
            at = frame.position
    except _BadDataError as error:
        yield Damage(frame.place(at), error.reason, str(error))
