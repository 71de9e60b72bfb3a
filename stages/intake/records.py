"""Records of a long stream, found by the bytes they start and end with, in bounded memory.

Cutting a dump into its records before anything is parsed keeps damage to one record, tells where each lies, and leaves
an XML parser no document type and so no entities to expand.
"""

from __future__ import annotations

import hashlib
import re
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from stages.intake.decompression import Chunk

OVERLAP_BYTES = 16  # more than any start or end that is looked for
HEAD_BYTES = 1 << 20
TAIL_BYTES = 256

LINE = (re.compile(rb"[^\r\n]"), re.compile(rb"\n"))
"""Start and end of a line that is not blank."""


@dataclass(frozen=True, slots=True)
class Record:
    """A record and its place."""

    offset: int  # in the content, that is after decompression, and so in ``origin``
    length: int  # bytes there
    stream_offset: int  # byte of the file where the compressed stream starts that the record starts in
    content: bytes | None  # None: longer than allowed

    def row(self, source: str, file: str) -> dict[str, Any]:
        """The columns of a document, or of a removal, that say where this record came from."""
        digest = None if self.content is None else hashlib.sha256(self.content).hexdigest()
        origin = {"path": file, "offset": self.offset, "length": self.length, "digest": digest}
        return {"id": f"{source}/{file}@{self.offset}", "source": source, "origin": origin}


class Records:
    """Iterates over the records of a stream. One that the end of the stream cuts off comes as it is.

    Args:
        start: what a record starts with, at most 16 bytes.
        end: what it ends with, searched from behind ``start``; at most 16 bytes.
        max_bytes: longer records are passed over, and come without content.
    """

    def __init__(self, chunks: Iterable[Chunk], start: re.Pattern[bytes], end: re.Pattern[bytes], max_bytes: int):
        self._chunks = chunks
        self._start, self._end = start, end
        self._max_bytes = max_bytes
        self.position = 0  # in the content: of the first byte that no record handed out, and nothing before it, holds
        self.head = b""  # what lies before the first record, up to HEAD_BYTES
        self.tail = b""  # the last bytes behind the last whole record, up to TAIL_BYTES
        self.is_cut = False  # the stream ended inside a record
        self._buffer = bytearray()  # content from ``position`` (plus ``_skipped``) on
        self._inside = False  # the buffer starts with a record
        self._searched = 0  # up to where in the buffer there is no end of this record
        self._skipped = 0  # bytes of this record that were too many to be kept
        self._any_record = False
        self._streams: deque[tuple[int, int]] = deque()  # (from this offset in the content on, offset of the stream)

    def __iter__(self) -> Iterator[Record]:
        for stream_offset, content in self._chunks:
            if not self._streams or self._streams[-1][1] != stream_offset:
                self._streams.append((self.position + self._skipped + len(self._buffer), stream_offset))
            self._buffer += content
            while (record := self._next_record()) is not None:
                yield record
        self.is_cut = self._inside
        if self._inside:
            yield self._record(len(self._buffer))
        else:
            self._leave_out(len(self._buffer))

    def _next_record(self) -> Record | None:
        if not self._inside:
            found = self._start.search(self._buffer)
            self._leave_out(found.start() if found else len(self._buffer) - OVERLAP_BYTES)
            if found is None:
                return None
            self._inside, self._searched = True, found.end() - found.start()
        ended = self._end.search(self._buffer, self._searched)
        if ended is not None:
            return self._record(ended.end())
        self._searched = max(self._searched, len(self._buffer) - OVERLAP_BYTES)
        if self._skipped + len(self._buffer) > self._max_bytes:
            del self._buffer[: self._searched]
            self._skipped += self._searched
            self._searched = 0
        return None

    def _record(self, end: int) -> Record:
        """The record that ends at this byte of the buffer, which is taken out."""
        offset, length = self.position, self._skipped + end
        content = bytes(self._buffer[:end]) if length <= self._max_bytes else None
        del self._buffer[:end]
        self.position += length
        self.tail = b""
        self._inside, self._skipped, self._any_record = False, 0, True
        while len(self._streams) > 1 and self._streams[1][0] <= offset:
            self._streams.popleft()
        return Record(offset, length, self._streams[0][1], content)

    def _leave_out(self, end: int) -> None:
        """Pass over what lies between records, up to this byte of the buffer."""
        if end <= 0:
            return
        between = bytes(self._buffer[:end])
        if not self._any_record:
            self.head += between[: HEAD_BYTES - len(self.head)]
        self.tail = (self.tail + between[-TAIL_BYTES:])[-TAIL_BYTES:]
        del self._buffer[:end]
        self.position += end
