"""The content of a plain or compressed file as a stream of bytes, and the encodings that it may be in."""

from __future__ import annotations

import io
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, BinaryIO, TypeAlias, cast

from pydantic import AfterValidator

from stages.intake.decompression import Chunk, chunks, is_compressed

if TYPE_CHECKING:
    from typing_extensions import Buffer  # in collections.abc from Python 3.12 on

SUFFIXES = ("", ".gz", ".zst", ".xz", ".bz2")
"""Ends of the names of files that ``content_of`` reads."""

Content: TypeAlias = "io.BufferedReader[io.RawIOBase]"
BUFFER_BYTES = 1 << 16


def _known(encoding: str) -> str:
    try:
        b"ab".decode(encoding, "replace")
    except LookupError:  # also for what Python's codecs do besides text, such as "hex"
        raise ValueError(f"unknown encoding {encoding!r}") from None
    return encoding


Encoding = Annotated[str, AfterValidator(_known)]
"""An encoding of text in a recipe, by any name that Python knows."""


def content_of(file: BinaryIO) -> Content:
    """The content of a file from its start; seekable if the file is not compressed. Closing it closes the file.

    All that a broken file still holds is read before the error is raised.

    Raises:
        OSError: here or when reading: the file cannot be read, or breaks off, or does not decompress.
    """
    try:
        raw = _Decompressed(file) if is_compressed(file) else cast(io.RawIOBase, file)
    except OSError:
        file.close()
        raise
    return io.BufferedReader(raw, BUFFER_BYTES)


class _Decompressed(io.RawIOBase):
    """Gives what has been decoded as soon as there is any, so that nothing before a break is lost."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._chunks: Iterator[Chunk] = chunks(file)
        self._rest = memoryview(b"")

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Buffer) -> int:
        if not self._rest:
            chunk = next(self._chunks, None)
            self._rest = memoryview(chunk.content if chunk else b"")
        view = memoryview(buffer)
        size = min(len(view), len(self._rest))
        view[:size] = self._rest[:size]
        self._rest = self._rest[size:]
        return size

    def close(self) -> None:
        self._file.close()
        super().close()
