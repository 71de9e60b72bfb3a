"""The content of a compressed file, piece by piece, with the place in the file from which each piece can be decoded.

bz2, gzip, xz and zstd files may hold several streams one after the other. A stream can be decoded on its own, so its
offset is what a later range request needs (Wikimedia's multistream dumps have one for every 100 pages).
"""

from __future__ import annotations

import bz2
import lzma
from collections.abc import Callable, Iterator
from typing import BinaryIO, NamedTuple, Protocol, cast

from isal import igzip_lib

IsalError = cast(type[Exception], igzip_lib.error)  # its type stubs call it an instance
CHUNK_BYTES = 1 << 18
ZSTD_WINDOW_LOG_MAX = 31
"""Reddit's dumps are packed with ``zstd --long=31``: 2 GiB of window, of which a small file uses only its own size."""

MAX_XZ_MEMORY_BYTES = 256 << 20
"""xz -9 needs 65 MiB; a header can ask for 4 GiB."""


class Chunk(NamedTuple):
    """A piece of a file's content."""

    stream_offset: int  # byte of the file where the compressed stream starts that holds it; 0 in a plain file
    content: bytes


class BrokenStreamError(OSError):
    """Compressed bytes end too early or do not decode."""


class _Decoder(Protocol):
    """What the decoders of bz2, lzma and zstd have in common."""

    @property
    def eof(self) -> bool: ...
    @property
    def needs_input(self) -> bool: ...
    @property
    def unused_data(self) -> bytes: ...
    def decompress(self, data: bytes, max_length: int, /) -> bytes: ...


def chunks(file: BinaryIO) -> Iterator[Chunk]:
    """The content of a file (plain, bz2, gzip, xz, zstd; told by its first bytes, for names lie), in order.

    Raises:
        BrokenStreamError: it cannot be decoded any further; what came before is whole.
        OSError: it cannot be read any further.
    """
    start = file.read(6)
    file.seek(0)
    new_decoder = _decoder_of(start)
    if new_decoder is None:
        while content := file.read(CHUNK_BYTES):
            yield Chunk(0, content)
    else:
        yield from _decoded(file, new_decoder)


def is_compressed(file: BinaryIO) -> bool:
    """Whether ``chunks`` decodes this file."""
    start = file.read(6)
    file.seek(0)
    return _decoder_of(start) is not None


def _decoder_of(start: bytes) -> Callable[[], _Decoder] | None:
    if start.startswith(b"BZh"):
        return bz2.BZ2Decompressor
    if start.startswith(b"\x1f\x8b"):
        return _gzip_decoder
    if start.startswith(b"\xfd7zXZ\0"):
        return _xz_decoder
    # a zstd frame, or one to be skipped as pzstd writes them
    if start.startswith(b"\x28\xb5\x2f\xfd") or (start[1:4] == b"\x2a\x4d\x18" and start[0] >> 4 == 5):
        return _zstd_decoder
    return None


def _gzip_decoder() -> _Decoder:
    return igzip_lib.IgzipDecompressor(flag=igzip_lib.DECOMP_GZIP)  # takes a third of zlib's time


def _xz_decoder() -> _Decoder:
    return lzma.LZMADecompressor(memlimit=MAX_XZ_MEMORY_BYTES)


def _zstd_decoder() -> _Decoder:
    from backports import zstd

    return zstd.ZstdDecompressor(options={zstd.DecompressionParameter.window_log_max: ZSTD_WINDOW_LOG_MAX})


def _decoded(file: BinaryIO, new_decoder: Callable[[], _Decoder]) -> Iterator[Chunk]:
    from backports.zstd import ZstdError

    stream_offset = 0
    packed = file.read(CHUNK_BYTES)
    read_bytes = len(packed)
    while packed:
        decoder = new_decoder()
        while not decoder.eof:
            if not packed and decoder.needs_input:
                packed = file.read(CHUNK_BYTES)
                read_bytes += len(packed)
                if not packed:
                    raise BrokenStreamError(f"the file ends inside the compressed stream at byte {stream_offset}")
            try:
                content = decoder.decompress(packed, CHUNK_BYTES)
            except (OSError, IsalError, lzma.LZMAError, ZstdError) as error:
                raise BrokenStreamError(f"the compressed stream at byte {stream_offset}: {error}") from error
            packed = b""
            if content:
                yield Chunk(stream_offset, content)
        packed = decoder.unused_data.lstrip(b"\0")  # padding
        while not packed and (more := file.read(CHUNK_BYTES)):
            read_bytes += len(more)
            packed = more.lstrip(b"\0")
        stream_offset = read_bytes - len(packed)
