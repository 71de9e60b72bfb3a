"""The records of WARC and ARC files, each once, and all damage between them."""

from __future__ import annotations

import io
from collections.abc import Iterator
from typing import BinaryIO, NamedTuple

from stages.intake.warc.frames import (
    GZIP_MAGIC,
    LZ4_MAGIC,
    ZSTD_DICTIONARY_MAGIC,
    ZSTD_MAGIC,
    BadDataError,
    Codec,
    Frame,
    Gzip,
    Lz4Stream,
    PlainFile,
    Zstd,
)
from stages.intake.warc.headers import MAX_HEADER_BYTES, WARC, Format, format_of
from stages.intake.warc.window import Window

SEPARATOR_BYTES = 64  # behind a record come two newlines (ARC: one); some writers add more


class Record(NamedTuple):
    """A WARC record. ``block`` is None where it was not wanted or is larger than allowed."""

    position: str  # "<offset in the file>", or "<offset of the frame>+<offset in its decoded bytes>"
    offset: int  # of the compressed frame, or of the record in a plain file
    length: int | None  # bytes in the file; None where the record shares a compressed frame with others
    headers: dict[str, str]  # names in lower case
    block: bytes | None
    block_bytes: int


class Damage(NamedTuple):
    """A record, or a stretch of the file, that cannot be read.

    ``reason``: "unreadable" (no WARC file at all), "truncated" (the file ends too early), "wrong_length" (the record
    does not end where its header says), "bad_header", or "damaged" (compressed data are broken).
    """

    position: str
    reason: str
    evidence: str


class _Selection(NamedTuple):
    """Whose blocks are read."""

    types: frozenset[str] | None  # values of WARC-Type; None: all
    max_block_bytes: int

    def holds(self, fields: dict[str, str], size: int) -> bool:
        return size <= self.max_block_bytes and (self.types is None or fields["warc-type"].lower() in self.types)


def records(file: BinaryIO, wanted: frozenset[str] | None, max_block_bytes: int) -> Iterator[Record | Damage]:
    """Every record of a WARC or ARC file (plain, gzip, zstd, lz4; told by content) in order, and all damage.

    ARC records come under the header names of WARC: "filedesc" as warcinfo, all others as responses.

    Args:
        file: any seekable binary file, local or remote. It is read forward, a few MiB of it in memory; only behind
            damage does reading go back, at most to the start of the compressed frame (or record, in a plain file).
        wanted: values of WARC-Type whose blocks are read, None for all; others are passed over.
        max_block_bytes: larger blocks are passed over too.

    Raises:
        OSError: the file cannot be read.
    """
    window = Window(file)
    selection = _Selection(wanted, max_block_bytes)
    head = window.take(0, MAX_HEADER_BYTES)
    form = format_of(head)
    if not head:
        yield Damage("0", "unreadable", "the file is empty")
    elif head.startswith(LZ4_MAGIC):
        stream = Lz4Stream(window, 0)
        yield from _frame_records(stream, format_of(stream.window(MAX_HEADER_BYTES)) or WARC, selection)
    elif head.startswith((ZSTD_MAGIC, ZSTD_DICTIONARY_MAGIC)):
        try:
            yield from _framed_records(Zstd(window), selection)
        except BadDataError as error:
            yield Damage("0", "unreadable", str(error))
    # a compressed file whose very first frame is damaged may not look like one
    elif head.startswith(GZIP_MAGIC) or (form is None and _next_frame(Gzip(window), 0) is not None):
        yield from _framed_records(Gzip(window), selection)
    elif form is None and _next_frame(Zstd(window), 0) is not None:
        yield from _framed_records(Zstd(window), selection)
    else:
        yield from _frame_records(PlainFile(window, 0), form or WARC, selection)


def record_at(data: bytes, offset: int, max_block_bytes: int) -> Record | Damage:
    """The one record whose bytes are ``data``, which were cut out of a file at ``offset`` by an index.

    Frames that need a zstd dictionary cannot be read alone.
    """
    found: Record | Damage = Damage("0", "unreadable", "no record in these bytes")
    for number, found in enumerate(records(io.BytesIO(data), None, max_block_bytes)):
        if number == 1:
            found = Damage("0", "wrong_length", f"more than one record in these {len(data)} bytes")
            break
    if isinstance(found, Record):
        return found._replace(position=str(offset), offset=offset, length=len(data))
    return found._replace(position=str(offset))


def _framed_records(codec: Codec, selection: _Selection) -> Iterator[Record | Damage]:
    start = codec.behind_padding(0)
    form = format_of(codec.first_bytes(start))
    if form is None:
        first = _next_frame(codec, start + 1)
        form = (first is not None and format_of(codec.first_bytes(first))) or WARC
    at: int | None = start
    while at is not None and codec.window.take(at, 1):
        end: int | None
        whole = codec.whole(at)
        record = whole and _lone_record(at, *whole, form, selection)
        if whole and record:
            yield record
            end = whole[1]
        else:
            frame = codec.frame(at)
            for found in _frame_records(frame, form, selection):
                if isinstance(found, Damage) and found.reason == "unreadable":
                    if at == 0 and _next_frame(codec, 1, form) is None:
                        yield found
                        return
                    found = found._replace(reason="bad_header")  # one bad frame does not make an unreadable file
                yield found
            end = frame.end
        at = _next_frame(codec, at + 1, form) if end is None else codec.behind_padding(end)


def _next_frame(codec: Codec, start: int, form: Format | None = None) -> int | None:
    """Offset of the first frame from ``start`` on that begins with a record (of that format)."""
    at = codec.window.find(codec.magic, start)
    while at is not None:
        found = format_of(codec.first_bytes(at))
        if found is not None and form in (None, found):
            return at
        at = codec.window.find(codec.magic, at + 1)
    return None


def _lone_record(start: int, decoded: bytes, end: int, form: Format, selection: _Selection) -> Record | None:
    """The record of a frame that holds one sound record and nothing else; None for any other."""
    header = form.header(decoded)
    if header is None or header[1] > MAX_HEADER_BYTES:
        return None
    fields, block_start = header
    size = int(fields["content-length"])
    separator = decoded[block_start + size :] if len(decoded) - size - block_start <= SEPARATOR_BYTES else b"?"
    if len(decoded) < block_start + size or separator.strip(b"\r\n"):
        return None
    block = decoded[block_start : block_start + size] if selection.holds(fields, size) else None
    return Record(str(start), start, end - start, fields, block, size)


def _frame_records(frame: Frame, form: Format, selection: _Selection) -> Iterator[Record | Damage]:
    """The records in one frame. A record is handed out only after the bytes behind it proved sound."""
    at = 0
    try:
        while frame.peek(1):
            at = frame.position
            header = form.header(frame.window(2048)) or form.header(frame.window(MAX_HEADER_BYTES))
            if header is None:
                evidence = f"no whole {form.name} header but {frame.window(40)!r}"
                frame.peek(MAX_HEADER_BYTES)  # broken data explain more than a missing header
                cut = frame.ends_with_file and form.start.match(frame.window(64)) is not None
                if frame.find_record(form):
                    yield Damage(frame.place(at), "bad_header", evidence)
                else:
                    reason = "truncated" if cut else "bad_header" if at else "unreadable"
                    yield Damage(frame.place(at), reason, evidence)
                continue
            fields, header_bytes = header
            frame.keep()
            frame.skip(header_bytes)
            size = int(fields["content-length"])
            block = frame.read(size) if selection.holds(fields, size) else None
            got = frame.skip(size) if block is None else len(block)
            separator = frame.window(SEPARATOR_BYTES)
            frame.skip(len(separator) - len(separator.lstrip(b"\r\n")))
            behind = frame.peek(5)
            if got == size and (not behind or _record_follows(frame, form)):
                yield Record(frame.place(at), *frame.extent(at), fields, block, size)
                continue
            # The next record may lie inside what this one claims: look for it from the header's end on.
            frame.rewind(at + header_bytes - 1)
            if frame.find_record(form) or got == size or not frame.ends_with_file:
                followed = f"{got} follow" if got < size else f"then comes {behind!r}"
                yield Damage(frame.place(at), "wrong_length", f"Content-Length says {size} bytes, {followed}")
            else:
                yield Damage(frame.place(at), "truncated", f"the file ends {size - got} bytes before the record")
            at = frame.position
    except BadDataError as error:
        yield Damage(frame.place(at), error.reason, str(error))


def _record_follows(frame: Frame, form: Format) -> bool:
    if form is WARC:
        return frame.window(5) == b"WARC/"
    return form.start.match(frame.window(2048)) is not None or form.start.match(frame.window(1 << 15)) is not None
