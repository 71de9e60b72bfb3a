"""PDFs made ready to be read: a file of this machine for as long as that takes, its digest, what its pages share."""

from __future__ import annotations

import hashlib
import shutil
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from pipeline.locations.location import InputFile, RemoteOptions, is_url, reason_of
from pipeline.locations.remote_file import RemoteFile
from pipeline.stage import Context, Removal, Verdict
from stages.pdf.reading import UnreadablePdf

if TYPE_CHECKING:
    from pipeline.locations.transports import Answer
    from stages.pdf.pages import PdfPagesConfig

PDF_MAGIC = b"%PDF-"
PDF_HEADER_BYTES = 1024  # readers look for the magic number so far (ISO 32000-1, annex H, note 13)

REMOTE_RANGE_BYTES = 32 << 20
"""How much of a PDF on a server a task takes on at least: each task fetches the whole file."""

DOWNLOAD_DEADLINE_S = 900.0
"""After this a PDF that is still arriving is given up, so that a server cannot hold a task by sending byte by byte."""


@dataclass(frozen=True, slots=True)
class Share(InputFile):
    """One of ``parts`` equal shares of a file: what one task reads of it."""

    file_name: str = ""
    part: int = 0
    parts: int = 1


S = TypeVar("S", bound=Share)


def shares_of(kind: type[S], file: InputFile, parts: int, things: str) -> list[S]:
    """The shares of a file in so many parts, each named for what it holds: pages, members."""
    return [
        kind(
            f"{file.name} ({things} {part + 1} of {parts})" if parts > 1 else file.name,
            file.location,
            file.size_bytes,
            file.version,
            file.name,
            part,
            parts,
        )
        for part in range(parts)
    ]


class PageRange(Share):
    """A range of the pages of a large PDF."""

    __slots__ = ()


@dataclass(frozen=True)
class Intake:
    """What all kinds of input need to know, and how many of what they saw are no PDFs."""

    config: PdfPagesConfig
    source: str
    context: Context
    noted: Counter[str] = field(default_factory=Counter)


@dataclass(frozen=True)
class Provenance:
    """What is known of a PDF before it is read."""

    name: str  # of the file, the member, or the URL: goes into evidence and ``origin``
    identity: str | None = None  # of the document; None: source, name and the digest's first digits
    url: str | None = None
    date: str | None = None
    meta: Mapping[str, str] = field(default_factory=dict)
    offset: int = 0  # in the file called ``name``
    length: int | None = None  # bytes there; None: the size of the PDF
    is_checked: bool = False  # whether to refuse what does not look like a PDF, because somebody only said that it is

    def ended(
        self, source: str, reason: str, evidence: str, digest: str = "unread", verdict: Verdict = "failed"
    ) -> Removal:
        """The row of a document that is not read."""
        identity = self.identity or f"{source}/{self.name}#{digest[:12]}"
        return Removal(identity, source, verdict, reason, f"{self.name}: {evidence}", url=self.url or "")


@dataclass(frozen=True)
class LocalPdf:
    """A PDF that lies on this machine while it is being read."""

    path: Path
    identity: str  # of the document
    size_bytes: int
    digest: str  # SHA-256 (hex) of its bytes
    provenance: Provenance
    part: int = 0  # which of ``parts`` equal ranges of its pages to read
    parts: int = 1

    def page_range(self, page_count: int) -> tuple[int, int]:
        """First page and the one behind the last that are to be read."""
        return self.part * page_count // self.parts, (self.part + 1) * page_count // self.parts


def page_ranges(file: InputFile, range_bytes: int) -> list[InputFile]:
    """The file itself, or ranges of its pages if it is larger than ``range_bytes``.

    Sizes are known from the listing, counts of pages only once a file is opened.
    """
    if is_url(file.location):
        range_bytes = max(range_bytes, REMOTE_RANGE_BYTES)
    parts = -(-(file.size_bytes or 0) // range_bytes)
    return [file] if parts < 2 else [*shares_of(PageRange, file, parts, "pages")]


def pdf_of_file(file: InputFile, intake: Intake) -> Iterator[LocalPdf | Removal]:
    """The PDF of a file, or why there is none. Of the tasks that share a file, only the first tells what is wrong with
    its content; one that could not read it tells so itself, for others may have been able to."""
    if not isinstance(file, PageRange):
        yield from pdf_at(file.location, Provenance(file.name), intake)
        return
    for found in pdf_at(file.location, Provenance(file.file_name), intake):
        if isinstance(found, LocalPdf):
            yield replace(found, part=file.part, parts=file.parts)
        elif file.part == 0:
            yield found
        elif found.reason != "too_large":
            yield replace(found, id=f"{found.id} (pages {file.part + 1} of {file.parts})")


def pdf_at(
    location: str, provenance: Provenance, intake: Intake, remote: RemoteOptions | None = None
) -> Iterator[LocalPdf | Removal]:
    """The PDF at a path or URL, or why there is none; its copy, if it has to be fetched, goes when the next is asked
    for.

    Args:
        remote: how to fetch it, if not as the stage's options say.
    """
    try:
        with _copied(location, remote or intake.config.remote, intake) as path:
            yield local_pdf(path, provenance, intake)
    except OSError as error:
        yield provenance.ended(intake.source, reason_of(error), str(error.strerror or error))
    except UnreadablePdf as error:
        yield provenance.ended(intake.source, error.reason, error.evidence)


def pdf_of_bytes(content: bytes, provenance: Provenance, intake: Intake) -> Iterator[LocalPdf | Removal]:
    """The PDF of these bytes, as a file that goes when the next is asked for."""
    with tempfile.NamedTemporaryFile(prefix="sluice-", suffix=".pdf") as file:
        file.write(content)
        file.flush()
        yield local_pdf(Path(file.name), provenance, intake)


def local_pdf(path: Path, provenance: Provenance, intake: Intake) -> LocalPdf | Removal:
    """The PDF at a path of this machine, or why it is not to be read.

    Raises:
        OSError: it cannot be read.
    """
    size, most = path.stat().st_size, intake.config.max_file_bytes
    if size > most:
        return provenance.ended(intake.source, "too_large", f"{size} bytes > {most}")
    with path.open("rb") as file:
        start = file.read(PDF_HEADER_BYTES)
        file.seek(0)
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    if provenance.is_checked and PDF_MAGIC not in start:
        return provenance.ended(intake.source, "not_pdf", f"it starts with {start[:40]!r}", digest)
    identity = provenance.identity or f"{intake.source}/{provenance.name}#{digest[:12]}"
    return LocalPdf(path, identity, size, digest, provenance)


@contextmanager
def _copied(location: str, remote: RemoteOptions, intake: Intake) -> Iterator[Path]:
    """A path of this machine; a remote file's copy goes at the end.

    Raises:
        OSError: it cannot be read.
        UnreadablePdf: too_large, or deadline.
    """
    if not is_url(location):
        yield Path(location)
        return
    with tempfile.NamedTemporaryFile(prefix="sluice-", suffix=".pdf") as copy:
        with BoundedFile(location, remote, intake.context.shared, intake.config.max_file_bytes) as file:
            shutil.copyfileobj(file, copy, 1 << 20)
        copy.flush()
        yield Path(copy.name)


class BoundedFile(RemoteFile):
    """A file on a server that may be no larger than ``max_bytes`` and must arrive by a deadline, whatever the server
    says of it.

    Raises:
        RemoteError: as RemoteFile.
        UnreadablePdf: too_large, or deadline.
    """

    def __init__(self, location: str, options: RemoteOptions, shared: Path | None, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._ends = time.monotonic() + DOWNLOAD_DEADLINE_S
        super().__init__(location, options, shared)

    def _take(self, answer: Answer) -> None:
        if (answer.total_bytes or 0) > self._max_bytes:
            raise UnreadablePdf("too_large", f"{answer.total_bytes} bytes > {self._max_bytes}")
        super()._take(replace(answer, body=self._bounded(answer)))

    def _bounded(self, answer: Answer) -> Iterator[bytes]:
        at = answer.start
        for chunk in answer.body:
            at += len(chunk)
            if at > self._max_bytes:
                raise UnreadablePdf("too_large", f"more than {self._max_bytes} bytes")
            if time.monotonic() > self._ends:
                evidence = f"after {DOWNLOAD_DEADLINE_S:g} s {at} bytes of it have arrived"
                raise UnreadablePdf("download_deadline", evidence)
            yield chunk
