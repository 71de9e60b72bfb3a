"""Lists of URLs of PDFs: text files, plain or compressed, with one URL a line."""

from __future__ import annotations

from collections.abc import Iterator

from pipeline.locations.location import InputFile, reason_of, shown
from pipeline.stage import Removal
from stages.intake.content import SUFFIXES as PACKED
from stages.intake.files import ReadingConfig
from stages.intake.list_ranges import ListRange, lines_in, ranges_of
from stages.intake.paper_lists import WEB_SCHEMES
from stages.pdf.files import Intake, LocalPdf, Provenance, pdf_at

URL_LIST_SUFFIXES = tuple(f".{name}{packed}" for name in ("txt", "urls") for packed in PACKED)

RANGE_BYTES = 1 << 12
"""How much of a list a task takes on: about 50 URLs, whose PDFs take some minutes to fetch and read."""

MAX_URL_BYTES = 8_000  # RFC 9110, section 4.1: what every recipient should take

TRIES = 4
"""Most attempts for a URL that bring nothing. Of a list some servers are gone, and a task should not wait five minutes
for each of them, as it would for a crawl's file."""


class UrlRange(ListRange):
    """Lines of a list of URLs."""

    __slots__ = ()


def url_ranges(file: InputFile, config: ReadingConfig) -> Iterator[UrlRange]:
    """The parts of a list, one a task; see ``list_ranges.ranges_of``."""
    return ranges_of(UrlRange, file, RANGE_BYTES, config)


def pdfs_of_urls(part: UrlRange, intake: Intake) -> Iterator[LocalPdf | Removal]:
    """The PDF of each URL of a part of a list, or why there is none. Empty lines and those that start with "#" are
    passed over."""
    remote = intake.config.remote
    remote = remote.model_copy(update={"tries": min(remote.tries, TRIES)})
    offset = part.start
    try:
        for offset, line, _ in lines_in(part, MAX_URL_BYTES, intake.config, intake.context):
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
