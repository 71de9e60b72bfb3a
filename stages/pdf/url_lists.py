"""Lists of URLs of PDFs: text files, plain or compressed, with one URL a line."""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import dataclass

from pipeline.errors import InputError
from pipeline.locations.location import InputFile, reason_of, shown
from pipeline.stage import Context, Removal
from stages.intake.content import SUFFIXES as PACKED
from stages.intake.content import Content, content_of
from stages.intake.decompression import BrokenStreamError
from stages.intake.files import ReadingConfig
from stages.intake.json_lines import lines_of
from stages.intake.paper_lists import TO_THE_END, WEB_SCHEMES
from stages.pdf.files import Intake, LocalPdf, Provenance, pdf_at

URL_LIST_SUFFIXES = tuple(f".{name}{packed}" for name in ("txt", "urls") for packed in PACKED)

RANGE_BYTES = 1 << 12
"""How much of a list a task takes on: about 50 URLs, whose PDFs take some minutes to fetch and read."""

READ_BYTES = 1 << 20
MAX_URL_BYTES = 8_000  # RFC 9110, section 4.1: what every recipient should take

TRIES = 4
"""Most attempts for a URL that bring nothing. Of a list some servers are gone, and a task should not wait five minutes
for each of them, as it would for a crawl's file."""


@dataclass(frozen=True, slots=True)
class UrlRange(InputFile):
    """The lines of a list that start in a range of bytes of its content: what one task reads of it."""

    list_name: str = ""
    start: int = 0
    stop: int = 0


def url_ranges(file: InputFile, config: ReadingConfig) -> Iterator[UrlRange]:
    """The parts of a list, one a task. A compressed one is decompressed once for this, here in the driver.

    Raises:
        InputError: the list cannot be opened.
    """
    starts = range(0, max(_content_bytes(file, config), 1), RANGE_BYTES)
    for start in starts:
        stop = start + RANGE_BYTES if start != starts[-1] else TO_THE_END
        name = f"{file.name}#{start}-{stop if stop != TO_THE_END else ''}"
        yield UrlRange(name, file.location, file.size_bytes, file.version, file.name, start, stop)


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


def pdfs_of_urls(part: UrlRange, intake: Intake) -> Iterator[LocalPdf | Removal]:
    """The PDF of each URL of a part of a list, or why there is none. Empty lines and those that start with "#" are
    passed over."""
    remote = intake.config.remote
    remote = remote.model_copy(update={"tries": min(remote.tries, TRIES)})
    offset = part.start
    try:
        for offset, line in lines_in(part, intake.config, intake.context):
            url = "" if line is None else line.decode("utf-8-sig", "replace").strip()
            provenance = Provenance(
                name=shown(url) or part.list_name,
                identity=f"{intake.source}/{part.list_name}@{offset}",
                url=shown(url),
                is_checked=True,
            )
            if line is None:
                evidence = f"{part.list_name}: byte {offset} of its content: more than {MAX_URL_BYTES} bytes"
                yield provenance.ended(intake.source, "not_a_url", evidence)
            elif url.startswith(WEB_SCHEMES):
                yield from pdf_at(url, provenance, intake, remote)
            elif url and not url.startswith("#"):
                evidence = f"{part.list_name}: byte {offset} of its content: none of {', '.join(WEB_SCHEMES)}"
                yield provenance.ended(intake.source, "not_a_url", evidence)
    except OSError as error:
        evidence = f"byte {offset} of its content: {error.strerror or error}"
        place = Provenance(part.list_name, identity=f"{intake.source}/{part.list_name}@{offset}#unread")
        yield place.ended(intake.source, reason_of(error), evidence)


def lines_in(part: UrlRange, config: ReadingConfig, context: Context) -> Iterator[tuple[int, bytes | None]]:
    """Offset and content of each line that starts in the range; None for a line that is too long.

    Raises:
        OSError: the list cannot be read (any further).
    """
    with content_of(config.opened(part.location, context)) as content:
        offset = part.start
        lines = lines_of(content, MAX_URL_BYTES)
        if part.start > 0:  # a line that starts before this range is that of the task before this one
            _skip(content, part.start - 1)
            offset += next(lines, (b"", 1))[1] - 1
        while offset < part.stop and (found := next(lines, None)):
            line, size = found
            yield offset, line
            offset += size


def _skip(content: Content, size: int) -> None:
    if content.seekable():
        content.seek(size)
        return
    while size > 0 and (skipped := len(content.read(min(size, READ_BYTES)))):
        size -= skipped
