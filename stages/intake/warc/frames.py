"""Decoded bytes of WARC files: what can be read on its own is a frame (a gzip member, a zstd frame, an lz4 stream, or
a plain file as a whole).

Each frame can be read in two ways. ``Codec.whole`` decodes a small one in one call: the fast way, for the files of
Common Crawl and most others, where a frame holds one record. ``Frame`` decodes any in bounded memory, piece by piece,
and says where its data break.
"""

from __future__ import annotations

import zlib
from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import BinaryIO, cast

import zstandard
from isal import isal_zlib

from stages.intake.warc.headers import MAX_HEADER_BYTES, Format
from stages.intake.warc.window import Window

CHUNK_BYTES = 1 << 16
WHOLE_BYTES = 1 << 20  # a larger frame is not decoded in one call
WHOLE_DECODED_BYTES = 4 << 20
KEPT_BYTES = 4 << 20  # of a record, until what follows it proves sound
FIRST_BYTES = 1 << 12  # enough of a frame to see whether it starts with a record
GZIP_MAGIC = b"\x1f\x8b\x08"
ZSTD_MAGIC = b"\x28\xb5\x2f\xfd"
ZSTD_DICTIONARY_MAGIC = b"\x5d\x2a\x4d\x18"  # of the skippable frame that holds the dictionary
LZ4_MAGIC = b"\x04\x22\x4d\x18"
MAX_DICTIONARY_BYTES = 16 << 20
_ZSTD_HEADER_BYTES = 18  # at most
_ZSTD_BLOCK_BYTES = 1 << 17  # at most (RFC 8878, 3.1.1.2.4)
_ZSTD_REPEATED_BYTE, _ZSTD_RESERVED_BLOCK = 1, 3  # types of blocks
IsalError = cast(type[Exception], isal_zlib.error)  # its type stubs call it an instance


class BadDataError(Exception):
    """Compressed data end too early ("truncated") or do not decode ("damaged")."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


class Frame(ABC):
    """Decoded bytes that can be read on their own."""

    ends_with_file = True  # if these bytes end too early, the file does
    position = 0
    _buffer: bytearray
    _kept: bytearray | None = None
    end: int | None = None  # offset in the file of what follows, once the frame has been decoded whole

    def __init__(self, window: Window, start: int) -> None:
        self.file, self.start = window, start
        self.rewind(0)

    @abstractmethod
    def chunks(self) -> Iterator[bytes]:
        """The decoded bytes; raises BadDataError where they stop making sense."""

    def place(self, at: int) -> str:
        """Name of the record that starts at decoded byte ``at``, unique in the file."""
        return f"{self.start}+{at}" if at else str(self.start)

    def extent(self, at: int) -> tuple[int, int | None]:
        """Offset in the file and bytes there of the record that starts at ``at`` and ends here."""
        alone = at == 0 and self.end is not None and not self._buffer
        return self.start, self.end - self.start if alone and self.end is not None else None

    def rewind(self, position: int) -> None:
        """Go to this place of the decoded bytes (compressed frames are decoded again from their start)."""
        back = self.position - position
        if self._kept is not None and 0 < back <= len(self._kept):
            self._buffer[:0] = self._kept[-back:]
            self.position, self._kept = position, None
            return
        self.position = position
        self._chunks = self._chunks_from(position)
        self._buffer = bytearray()
        self._error: BadDataError | None = None
        self._kept = None

    def keep(self) -> None:
        """From here on, remember what is read, so that going back costs nothing (up to KEPT_BYTES)."""
        self._kept = bytearray()

    def _chunks_from(self, position: int) -> Iterator[bytes]:
        for chunk in self.chunks():
            if position < len(chunk):
                yield chunk[position:] if position else chunk
            position = max(0, position - len(chunk))

    def window(self, size: int) -> bytes:
        """The next ``size`` bytes without moving on; fewer at the end, or where the data break."""
        while len(self._buffer) < size and self._error is None:
            try:
                chunk = next(self._chunks, b"")
            except BadDataError as error:
                self._error = error
                break
            if not chunk:
                break
            self._buffer += chunk
        return bytes(memoryview(self._buffer)[:size])

    def peek(self, size: int) -> bytes:
        """As ``window``, but raises BadDataError if the data break before ``size`` bytes."""
        window = self.window(size)
        if len(window) < size and self._error is not None:
            raise self._error
        return window

    def read(self, size: int) -> bytes:
        """The next ``size`` bytes, fewer at the end."""
        taken = self.peek(size)
        del self._buffer[: len(taken)]
        self.position += len(taken)
        if self._kept is not None:
            self._kept += taken
            if len(self._kept) > KEPT_BYTES:
                self._kept = None
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

    def find_record(self, form: Format) -> bool:
        """Move on to the next valid header that starts a line, after this byte; else to the end, and False."""
        while True:
            window = self.peek(CHUNK_BYTES + MAX_HEADER_BYTES)
            at_end = len(window) < CHUNK_BYTES + MAX_HEADER_BYTES
            for match in form.start.finditer(window, 1, len(window) if at_end else CHUNK_BYTES):
                if window[match.start() - 1] == 0x0A and form.header(window[match.start() :]):
                    self.skip(match.start())
                    return True
            # the windows overlap by more than a version line and the newline before it
            self.skip(len(window) if at_end else CHUNK_BYTES - 16)
            if at_end:
                return False


class PlainFile(Frame):
    """A file that is not compressed."""

    def chunks(self) -> Iterator[bytes]:
        return self._chunks_from(0)

    def _chunks_from(self, position: int) -> Iterator[bytes]:
        while chunk := self.file.take(position, CHUNK_BYTES):
            yield chunk
            position += len(chunk)

    def place(self, at: int) -> str:
        return str(at)

    def extent(self, at: int) -> tuple[int, int | None]:
        return at, self.position - at


class Lz4Stream(Frame):
    """A file of lz4 frames, decoded as one stream: what follows damage is lost."""

    def chunks(self) -> Iterator[bytes]:
        from fastwarc.stream_io import Lz4Reader

        reader = Lz4Reader(cast(BinaryIO, _Forward(self.file)))  # it calls read and tell
        while True:
            try:
                decoded = reader.read(CHUNK_BYTES)
            except OSError as error:
                if error.errno is not None:
                    raise  # of the file, not of the decoder
                raise BadDataError("damaged", f"{error}; what follows is lost") from error
            if not decoded:
                return
            yield decoded

    def place(self, at: int) -> str:
        return f"0+{at}"

    def extent(self, at: int) -> tuple[int, int | None]:
        return 0, None


class _Forward:
    """The bytes of a window as a file that is read once."""

    def __init__(self, window: Window) -> None:
        self._window, self._at = window, 0

    def read(self, size: int) -> bytes:
        taken = self._window.take(self._at, size)
        self._at += len(taken)
        return taken

    def tell(self) -> int:
        return self._at


class GzipMember(Frame):
    """One gzip member."""

    ends_with_file = False  # a member that is cut off does not decode
    window_bits = 31  # as zlib counts: 31 stands for gzip

    def chunks(self) -> Iterator[bytes]:
        decoder = isal_zlib.decompressobj(self.window_bits)
        at, pending = self.start, b""
        size = FIRST_BYTES  # little at first: what lies behind a small member is read again for the next
        while not decoder.eof:
            if not pending:
                pending = self.file.take(at, size)
                at += len(pending)
                size = min(4 * size, CHUNK_BYTES)
            try:
                decoded = decoder.decompress(pending, CHUNK_BYTES)
            except IsalError as error:
                raise BadDataError("damaged", f"gzip member at byte {self.start}: {error}") from error
            # the decoder may hold bytes back although it has taken all its input
            if not pending and not decoded and not decoder.eof:
                raise BadDataError("truncated", f"the file ends inside the gzip member at byte {self.start}")
            pending = decoder.unconsumed_tail
            if decoded:
                yield decoded
        self.end = at - len(decoder.unused_data)


class ZstdFrame(Frame):
    """One zstd frame."""

    ends_with_file = False

    def __init__(self, window: Window, start: int, decoder: zstandard.ZstdDecompressor) -> None:
        self._decoder = decoder
        super().__init__(window, start)

    def chunks(self) -> Iterator[bytes]:
        decoder = self._decoder.decompressobj()
        size = 0
        for piece in zstd_pieces(self.file, self.start):
            try:
                decoded = decoder.decompress(piece)
            except zstandard.ZstdError as error:  # its words depend on what was decoded before
                raise BadDataError("damaged", f"zstd frame at byte {self.start}: the data do not decode") from error
            size += len(piece)
            if decoded:
                yield decoded
        self.end = self.start + size


def zstd_pieces(window: Window, start: int) -> Iterator[bytes]:
    """The compressed bytes of the zstd frame at ``start``: its header, blocks that give their sizes, perhaps a
    checksum (RFC 8878, 3.1.1). So its end is found without decoding it, and no piece decodes to more than 128 KiB.

    Raises:
        BadDataError: there is no zstd frame, or the file ends inside it.
    """
    at = start

    def taken(size: int) -> bytes:
        nonlocal at
        found = window.take(at, size)
        at += len(found)
        if len(found) < size:
            raise BadDataError("truncated", f"the file ends inside the zstd frame at byte {start}")
        return found

    head = window.take(at, _ZSTD_HEADER_BYTES)
    if len(head) < _ZSTD_HEADER_BYTES and head.startswith(ZSTD_MAGIC):
        head += bytes(_ZSTD_HEADER_BYTES - len(head))  # whether all of it is there shows when it is taken
    try:
        header_bytes = zstandard.frame_header_size(head)
        has_checksum = zstandard.get_frame_parameters(head).has_checksum
    except zstandard.ZstdError as error:
        raise BadDataError("damaged", f"no zstd frame at byte {start}: {error}") from error
    yield taken(header_bytes)
    last = False
    while not last:
        block_header = taken(3)
        number = int.from_bytes(block_header, "little")
        last, kind, size = bool(number & 1), number >> 1 & 3, number >> 3
        if kind == _ZSTD_RESERVED_BLOCK or size > _ZSTD_BLOCK_BYTES:
            raise BadDataError("damaged", f"no zstd block at byte {at - 3}")
        yield block_header + taken(1 if kind == _ZSTD_REPEATED_BYTE else size)
    if has_checksum:
        yield taken(4)


class Codec(ABC):
    """The frames of a compressed file."""

    def __init__(self, window: Window) -> None:
        self.window = window

    magic: bytes

    @abstractmethod
    def whole(self, at: int) -> tuple[bytes, int] | None:
        """The decoded bytes of the frame at ``at`` and the offset of its end; None where it is large or not sound."""

    @abstractmethod
    def frame(self, at: int) -> Frame:
        """The frame at ``at``."""

    @abstractmethod
    def first_bytes(self, at: int) -> bytes:
        """The first decoded bytes of the frame at ``at``, about FIRST_BYTES, fewer where its data break."""

    @abstractmethod
    def behind_padding(self, at: int) -> int:
        """Offset of the next frame, where ``at`` is the end of one."""


class Gzip(Codec):
    """Gzip members (RFC 1952)."""

    magic = GZIP_MAGIC

    def __init__(self, window: Window) -> None:
        super().__init__(window)
        # How the next member begins. Most files have one header for all members, and a long string is found faster
        # than a short one, and never by chance; where it proves to be another one, only the magic number is left.
        self._next = window.take(0, 10)

    def whole(self, at: int) -> tuple[bytes, int] | None:
        # Given exactly its own bytes, the decoder has no rest to copy. A false magic number inside the member (one in
        # 16 MiB) makes it look unfinished, and the slow way reads it.
        member = self.window.up_to(self._next, at, 18, WHOLE_BYTES)
        if member is None and self._next != GZIP_MAGIC:
            self._next = GZIP_MAGIC
            member = self.window.up_to(self._next, at, 18, WHOLE_BYTES)
        if member is None:
            return None
        decoder = isal_zlib.decompressobj(31)
        try:
            decoded = decoder.decompress(member, WHOLE_DECODED_BYTES)
        except IsalError:
            return None  # the slow way tells what is wrong
        if not decoder.eof:
            return None
        rest = decoder.unused_data
        if rest:
            self._next = GZIP_MAGIC
        return decoded, at + len(member) - len(rest)

    def frame(self, at: int) -> Frame:
        return GzipMember(self.window, at)

    def first_bytes(self, at: int) -> bytes:
        # by zlib, which looks no further than it is asked to: isal would meet the damage that lies behind
        decoder = zlib.decompressobj(31)
        first, pending = b"", self.window.take(at, FIRST_BYTES)
        try:
            while len(first) < FIRST_BYTES and (decoded := decoder.decompress(pending, 16)):
                first += decoded
                pending = decoder.unconsumed_tail
        except zlib.error:
            pass  # broken further on
        return first

    def behind_padding(self, at: int) -> int:
        while self.window.take(at, 1) == b"\0":  # as gzip(1) allows
            padded = self.window.take(at, CHUNK_BYTES)
            at += len(padded) - len(padded.lstrip(b"\0"))
        return at


class Zstd(Codec):
    """Zstd frames, with the dictionary that the first may hold
    (https://iipc.github.io/warc-specifications/specifications/warc-zstd/).

    Raises:
        BadDataError: the dictionary is there but cannot be read.
    """

    magic = ZSTD_MAGIC

    def __init__(self, window: Window) -> None:
        super().__init__(window)
        dictionary = zstandard.ZstdCompressionDict(_dictionary(window))
        try:
            self._decoder = zstandard.ZstdDecompressor(dict_data=dictionary)
        except zstandard.ZstdError as error:
            raise BadDataError("damaged", f"the zstd dictionary is broken: {error}") from error

    def whole(self, at: int) -> tuple[bytes, int] | None:
        compressed = bytearray()
        try:
            for piece in zstd_pieces(self.window, at):
                compressed += piece
                if len(compressed) > WHOLE_BYTES:
                    return None
            # the header may claim any size; where it gives none, the limit holds
            if zstandard.frame_content_size(compressed) > WHOLE_DECODED_BYTES:
                return None
            decoded = self._decoder.decompress(compressed, max_output_size=WHOLE_DECODED_BYTES)
        except (BadDataError, zstandard.ZstdError):
            return None  # the slow way tells what is wrong
        return decoded, at + len(compressed)

    def frame(self, at: int) -> Frame:
        return ZstdFrame(self.window, at, self._decoder)

    def first_bytes(self, at: int) -> bytes:
        first = b""
        try:
            for chunk in self.frame(at).chunks():
                first += chunk
                if len(first) >= FIRST_BYTES:
                    break
        except BadDataError:
            pass  # broken further on
        return first[:FIRST_BYTES]

    def behind_padding(self, at: int) -> int:
        while (frame := _skippable(self.window, at)) is not None:
            at = frame[1]
        return at


def _skippable(window: Window, at: int) -> tuple[bytes, int] | None:
    """Magic number and end of the skippable frame at ``at`` (RFC 8878, 3.1.2); None if no whole one is there."""
    head = window.take(at, 8)
    if len(head) < 8 or not (0x50 <= head[0] <= 0x5F and head[1:4] == ZSTD_DICTIONARY_MAGIC[1:]):
        return None
    end = at + 8 + int.from_bytes(head[4:], "little")
    return (head[:4], end) if window.take(end - 1, 1) else None


def _dictionary(window: Window) -> bytes:
    """The dictionary at the start of a file, b"" if there is none.

    Raises:
        BadDataError: it is there but cannot be read.
    """
    head = window.take(0, 8)
    if not head.startswith(ZSTD_DICTIONARY_MAGIC):
        return b""
    size = int.from_bytes(head[4:], "little")
    if size > MAX_DICTIONARY_BYTES:
        raise BadDataError("damaged", f"the zstd dictionary has {size} bytes, more than {MAX_DICTIONARY_BYTES}")
    dictionary = window.take(8, size)
    if len(dictionary) < size:
        raise BadDataError("truncated", "the file ends inside the zstd dictionary")
    if dictionary[:4] != ZSTD_MAGIC:
        return dictionary
    try:
        with zstandard.ZstdDecompressor().stream_reader(dictionary) as reader:
            return reader.read(MAX_DICTIONARY_BYTES)
    except zstandard.ZstdError as error:
        raise BadDataError("damaged", f"the zstd dictionary does not decode: {error}") from error
