"""A file on a server as a seekable file: a window of it in memory, fetched by one request after the other."""

from __future__ import annotations

import io
import tempfile
from pathlib import Path
from typing import IO, TYPE_CHECKING

from pipeline.locations.hosts import TransientError, host
from pipeline.locations.location import RemoteError, RemoteOptions, shown
from pipeline.locations.transports import Answer, host_of, transport_of

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

READ_BYTES = 16 << 20
FIRST_READ_BYTES = 256 << 10  # after opening and after a seek: who jumps about rarely wants what lies behind
READ_GROWTH = 4  # of the next window while reading goes straight on


class RemoteFile(io.RawIOBase):
    """A file on a server. ``read`` gives all bytes asked for, less only at the end. Not for several threads at once.

    No connection stays open between requests, so a slow reader costs the server nothing. A request that breaks off
    keeps what it brought; the next attempt begins behind it. A server that ignores ranges is read once, to the end,
    into a temporary file.

    Raises:
        RemoteError: not found, forbidden, changed since it was opened, or given up.
    """

    def __init__(
        self,
        location: str,
        options: RemoteOptions,
        shared: Path | None,
        start: int = 0,
        stop: int = FIRST_READ_BYTES,
        ranges_only: bool = False,
    ) -> None:
        """Ask for [start, stop) at once, so that a file that cannot be opened is known here.

        Args:
            ranges_only: rather fail than read all of a file whose server ignores ranges.
        """
        super().__init__()
        self.name = shown(location)
        self._location = location
        self._options = options
        self._ranges_only = ranges_only
        self._host = host(host_of(location, options), options, shared)
        self._transport = transport_of(location)
        self._position = 0
        self._window = bytearray()
        self._window_start = 0
        self._whole: IO[bytes] | None = None  # all of the file, if the server ignores ranges
        self._total_bytes: int | None = None
        self._version: tuple[str | int | None, ...] = ()
        self._failure: RemoteError | None = None  # what to raise where the window ends
        self._fetch(start, stop)

    @property
    def size_bytes(self) -> int:
        """Size of the file."""
        assert self._total_bytes is not None  # the first answer told it
        return self._total_bytes

    @property
    def version(self) -> str | None:
        """What the server says of the file's content; None if it says nothing."""
        said = [str(part) for part in self._version[:2] if part is not None]  # the third: how it is packed
        return " ".join(said) or None

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._position

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self.size_bytes}[whence]
        if base + offset < 0:
            raise ValueError(f"{self.name}: seek to {base + offset}, before the start of the file")
        self._position = base + offset
        return self._position

    def readinto(self, buffer: WriteableBuffer) -> int:
        begin = self._position
        try:
            with memoryview(buffer).cast("B") as view:
                wanted = min(len(view), max(0, self.size_bytes - begin))
                while self._position < begin + wanted:
                    self._position += self._copy(view[self._position - begin : wanted])
        except OSError:
            self._position = begin  # the caller got nothing
            raise
        return wanted

    def read1(self, size: int) -> bytes:
        """Up to ``size`` bytes by one request at most, none only at the end."""
        wanted = bytearray(min(size, max(0, self.size_bytes - self._position)))
        got = self._copy(memoryview(wanted)) if wanted else 0
        self._position += got
        return bytes(wanted[:got])

    def readall(self) -> bytes:
        return self.read(max(0, self.size_bytes - self._position)) or b""

    def close(self) -> None:
        self._window = bytearray()
        if self._whole:
            self._whole.close()
        super().close()

    def _copy(self, view: memoryview) -> int:
        """Fill the start of ``view`` with what is at hand from the position on, having fetched it if need be."""
        if self._whole:
            self._whole.seek(self._position)
            chunk = self._whole.read(len(view))
            view[: len(chunk)] = chunk
            return len(chunk)
        window_stop = self._window_start + len(self._window)
        if not self._window_start <= self._position < window_stop:
            if self._failure and self._position == window_stop:
                raise self._failure
            straight_on = self._position == window_stop
            ahead = READ_GROWTH * len(self._window) if straight_on else FIRST_READ_BYTES
            size = min(READ_BYTES, max(FIRST_READ_BYTES, ahead, len(view)))
            self._fetch(self._position, min(self._position + size, self.size_bytes))
            return self._copy(view)
        at = self._position - self._window_start
        with memoryview(self._window)[at : at + len(view)] as found:
            view[: len(found)] = found
            return len(found)

    def _fetch(self, start: int, stop: int) -> None:
        """Make [start, stop) the window, as far as the file goes; or put all of the file into ``_whole``."""
        self._window = bytearray()  # before the next one comes: one in memory at most
        self._window_start, self._failure = start, None
        try:
            while not self._is_complete(stop):
                self._host.patiently(self._progress, lambda: self._attempt(stop))
        except RemoteError as error:
            if self._whole:
                self._whole.close()
                self._whole = None
            if not self._window:
                raise
            self._failure = error  # once what did arrive has been read

    def _progress(self) -> str:
        return f"{self.name} at byte {self._reached()}"

    def _reached(self) -> int:
        return self._whole.tell() if self._whole else self._window_start + len(self._window)

    def _attempt(self, stop: int) -> None:
        reached = self._reached()
        try:
            wanted = None if self._whole else stop
            with self._transport.get(self._location, reached, wanted, self._options) as answer:
                self._check_unchanged(answer)
                if answer.whole and self._whole is None:
                    if self._ranges_only:
                        raise TransientError("it sends the whole file where a range is asked for")
                    self._window = bytearray()
                    self._whole = tempfile.SpooledTemporaryFile(READ_BYTES, prefix="sluice-")  # noqa: SIM115 closed with self
                self._take(answer)
        except TransientError as fault:
            fault.progress = self._reached() > reached
            if not (fault.progress and self._is_complete(stop)):  # it may break off behind the last byte
                raise

    def _is_complete(self, stop: int) -> bool:
        return self._total_bytes is not None and self._reached() >= (
            self._total_bytes if self._whole else min(stop, self._total_bytes)
        )

    def _check_unchanged(self, answer: Answer) -> None:
        """Remember what the first answer says of the file's content, and hold the others to it."""
        said = (*answer.version, answer.total_bytes)
        if any(
            old != new for old, new in zip(self._version, said, strict=False) if old is not None and new is not None
        ):
            was, now = " ".join(map(str, self._version)), " ".join(map(str, said))
            raise RemoteError("changed", f"{self._progress()}: the file changed while it was read ({was}, now {now})")
        if answer.version:
            self._version = said
        if answer.total_bytes is not None:
            self._total_bytes = answer.total_bytes

    def _take(self, answer: Answer) -> None:
        keep = self._whole.write if self._whole else self._window.extend
        skip = self._reached() - answer.start  # who ignores ranges sends again what is here already
        at = answer.start
        for chunk in answer.body:
            at += len(chunk)
            if answer.stop is not None and at > answer.stop:
                raise TransientError(f"more bytes follow than the {answer.stop - answer.start} announced")
            keep(chunk[skip:] if skip else chunk)
            skip = max(0, skip - len(chunk))
        if answer.stop is not None and at < answer.stop:
            raise TransientError(f"the body ends {answer.stop - at} bytes early")
        if self._total_bytes is None:
            self._total_bytes = at
