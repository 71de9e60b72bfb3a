"""Lists that several tasks share: each reads the lines that start in a range of bytes of the list's content."""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TypeVar

from pipeline.errors import InputError
from pipeline.locations.location import InputFile
from pipeline.stage import Context
from stages.intake.content import Content, content_of
from stages.intake.decompression import BrokenStreamError
from stages.intake.files import ReadingConfig
from stages.intake.json_lines import lines_of

TO_THE_END = 2**63 - 1
READ_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class ListRange(InputFile):
    """The lines of a list that start in a range of bytes of its content: what one task reads of it."""

    list_name: str = ""
    start: int = 0
    stop: int = 0


R = TypeVar("R", bound=ListRange)


def ranges_of(kind: type[R], file: InputFile, range_bytes: int, config: ReadingConfig) -> Iterator[R]:
    """The parts of a list, one a task. A compressed one is decompressed once for this, here in the driver.

    Raises:
        InputError: the list cannot be opened.
    """
    starts = range(0, max(_content_bytes(file, config), 1), range_bytes)
    for start in starts:
        stop = start + range_bytes if start != starts[-1] else TO_THE_END
        name = f"{file.name}#{start}-{stop if stop != TO_THE_END else ''}"
        yield kind(name, file.location, file.size_bytes, file.version, file.name, start, stop)


def _content_bytes(file: InputFile, config: ReadingConfig) -> int:
    """Size of a list's content; of a list that breaks off, what can be read of it."""
    size = 0
    try:
        with content_of(config.opened(file.location, Context(seed=0))) as content:
            if content.seekable():
                return content.seek(0, io.SEEK_END)
            while read := len(content.read1(READ_BYTES)):
                size += read
    except BrokenStreamError:
        return size  # the task with the last range meets the break, and puts it into the ledger
    except OSError as error:
        raise InputError(f"the list {file.name} cannot be read: {error.strerror or error}") from error
    return size


def lines_in(
    part: ListRange, max_line_bytes: int, config: ReadingConfig, context: Context
) -> Iterator[tuple[int, bytes | None, int]]:
    """Offset, content and size of each line that starts in the range; the content of one that is too long is None.

    Raises:
        OSError: the list cannot be read (any further).
    """
    with content_of(config.opened(part.location, context)) as content:
        offset = part.start
        lines = lines_of(content, max_line_bytes)
        if part.start > 0:  # a line that starts before this range is that of the task before this one
            _skip(content, part.start - 1)
            offset += next(lines, (b"", 1))[1] - 1
        while offset < part.stop and (found := next(lines, None)):
            line, size = found
            yield offset, line, size
            offset += size


def _skip(content: Content, size: int) -> None:
    if content.seekable():
        content.seek(size)
        return
    while size > 0 and (skipped := len(content.read(min(size, READ_BYTES)))):
        size -= skipped
