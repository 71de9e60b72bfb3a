"""A file read forward through a window of bounded size."""

from __future__ import annotations

from typing import BinaryIO

READ_BYTES = 1 << 20


class Window:
    """Bytes of a seekable binary file by offset, at most a few READ_BYTES of them in memory.

    The window moves on with the reader: bytes before the offset last asked for may be gone, and going back to them
    costs a seek and a read. Nothing is asked of the file but ``seek(offset)`` and ``read(size)``, which may return
    fewer bytes; its size need not be known.
    """

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._start = 0  # offset of the first byte in memory
        self._bytes = b""
        self._at_end = False  # the bytes in memory are the last of the file
        self._read = getattr(file, "read1", file.read)  # what arrived before a failure comes before the failure
        file.seek(0)

    def take(self, at: int, size: int) -> bytes:
        """The ``size`` bytes from offset ``at`` on; fewer at the end of the file."""
        first = at - self._start
        if first < 0 or first + size > len(self._bytes):
            self._cover(at, size)
            first = at - self._start
        return self._bytes[first : first + size]

    def up_to(self, pattern: bytes, at: int, least: int, most: int) -> memoryview | None:
        """The bytes from ``at`` to where ``pattern`` comes next, ``least`` bytes on or later, or to the file's end.

        None if that is more than ``most`` bytes away and not in memory yet.
        """
        self._cover(at, least)
        first = at - self._start
        while True:
            end = self._bytes.find(pattern, first + least)
            if end < 0 and self._at_end:
                end = len(self._bytes)
            if end >= 0:
                return memoryview(self._bytes)[first:end]
            covered = len(self._bytes) - first
            if covered >= most:
                return None
            least = max(least, covered - len(pattern) + 1)
            self._cover(at, covered + 1)
            first = at - self._start

    def find(self, pattern: bytes, at: int) -> int | None:
        """Offset of the next ``pattern`` from ``at`` on; None if none follows."""
        while True:
            self._cover(at, len(pattern))
            found = self._bytes.find(pattern, at - self._start)
            if found >= 0:
                return self._start + found
            if self._at_end:
                return None
            at = self._start + len(self._bytes) - len(pattern) + 1

    def _cover(self, at: int, size: int) -> None:
        """Have the ``size`` bytes from ``at`` on in memory, or all that the file has of them."""
        end = self._start + len(self._bytes)
        if self._start <= at and (at + size <= end or (self._at_end and at <= end)):
            return
        if self._start <= at <= end:
            parts = [self._bytes[at - self._start :]]
        else:
            self._file.seek(at)
            self._at_end = False
            parts = []
        missing = size - sum(map(len, parts))
        while missing > 0:
            part = self._read(max(READ_BYTES, missing))
            if not part:
                self._at_end = True
                break
            parts.append(part)
            missing -= len(part)
        self._start, self._bytes = at, b"".join(parts)
