"""Lists of papers with metadata, which say where the PDFs of open-access papers lie: Semantic Scholar's and arXiv's.

Both are JSON Lines, told apart by their fields: Semantic Scholar's data sets and API answers have "corpusid" or
"paperId", arXiv's metadata (Kaggle's snapshot, or OAI-PMH records as JSON) have "id" and "categories".
"""

from __future__ import annotations

import datetime
import email.utils
import re
import string
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from pydantic import AliasChoices, BaseModel, Field, ValidationError

from pipeline.locations.location import InputFile, reason_of
from pipeline.stage import Context
from stages.intake.content import SUFFIXES as PACKED
from stages.intake.files import ReadingConfig
from stages.intake.json_lines import parsed
from stages.intake.list_ranges import ListRange, lines_in, ranges_of

LIST_SUFFIXES = tuple(f".{name}{packed}" for name in ("jsonl", "ndjson", "json") for packed in PACKED)

RANGE_BYTES = 1 << 17
"""How much of a list a task takes on: about 100 papers, whose PDFs take some minutes to read."""

MAX_LINE_BYTES = 100_000_000  # with full text, as in S2ORC, a record is some 100 kB

ARXIV_ID = re.compile(
    r"(?:(?P<archive>[a-z-]+(?:\.[A-Z]{2})?)/(?P<old>\d{7})|(?P<new>\d{4}\.\d{4,5}))(?:v(?P<version>\d+))?"
)
"""https://info.arxiv.org/help/arxiv_identifier.html: 2101.00001, or hep-th/9901001 before April 2007."""

TEMPLATE_FIELDS = ("id", "yymm", "archive", "number", "version")
WEB_SCHEMES = ("https://", "http://", "s3://", "gs://")  # a list never makes a task read this machine's own files
_CREATIVE_COMMONS = re.compile(r"creativecommons\.org/(?:licenses|publicdomain)/([a-z-]+)")
_ARXIV_LICENCE = re.compile(r"arxiv\.org/licenses/([a-z-]+)")


class PaperRange(ListRange):
    """Records of a list of papers."""

    __slots__ = ()


@dataclass(frozen=True, slots=True)
class Paper:
    """What a list says of a paper."""

    location: str | None  # of its PDF
    url: str | None  # its page for people
    date: str | None  # ISO 8601; perhaps only the year
    licence: str | None  # as the list states it
    is_open: bool
    categories: tuple[str, ...] = ()
    meta: Mapping[str, str] = field(default_factory=dict)  # title and identifiers


@dataclass(frozen=True, slots=True)
class UnreadableRecord:
    """Why a line of a list, or all that is left of it, cannot be read."""

    reason: str
    evidence: str


class NotAPaperError(ValueError):
    """A record of neither kind."""


def ranges(file: InputFile, config: ReadingConfig) -> Iterator[PaperRange]:
    """The parts of a list, one a task; see ``list_ranges.ranges_of``."""
    return ranges_of(PaperRange, file, RANGE_BYTES, config)


def papers_in(
    part: PaperRange, config: ReadingConfig, template: str | None, context: Context
) -> Iterator[tuple[int, Paper | UnreadableRecord]]:
    """Each record of a part of a list, with its offset in the list's content."""
    end = part.start
    try:
        for offset, line, size in lines_in(part, MAX_LINE_BYTES, config, context):
            if line is None:
                yield offset, UnreadableRecord("too_large", f"{size} bytes")
            elif line.strip():
                yield offset, _read(line, template)
            end = offset + size
    except OSError as error:
        yield end, UnreadableRecord(reason_of(error), str(error.strerror or error))


def _read(line: bytes, template: str | None) -> Paper | UnreadableRecord:
    try:
        return paper_of(parsed(line), template)
    except NotAPaperError as error:
        return UnreadableRecord("not_a_paper", str(error))
    except ValueError as error:
        return UnreadableRecord("bad_json", str(error))


def paper_of(record: Mapping[str, Any], template: str | None) -> Paper:
    """A paper from a record of either kind.

    Args:
        template: where arXiv's PDFs lie; see ``pdf_location``.

    Raises:
        NotAPaperError: the record is of neither kind, or its fields are not what they should be.
    """
    try:
        if record.keys() & {"corpusid", "corpusId", "paperId"}:
            return _semantic_scholar(_ScholarRecord.model_validate(record), template)
        if record.keys() >= {"id", "categories"}:
            return _arxiv(_ArxivRecord.model_validate(record), template)
    except ValidationError as error:
        problem = error.errors()[0]
        raise NotAPaperError(f"{'.'.join(map(str, problem['loc']))}: {problem['msg']}") from error
    raise NotAPaperError(f"neither Semantic Scholar's nor arXiv's fields: {', '.join(sorted(record))[:200]}")


def _either(name: str, other: str) -> Any:
    """A field by its name in the data sets or in the API."""
    return Field(None, validation_alias=AliasChoices(name, other))


class _Access(BaseModel):
    url: str | None = None
    license: str | None = None


class _ScholarRecord(BaseModel):
    """https://api.semanticscholar.org/api-docs/datasets (s2orc, papers) and /graph (openAccessPdf)."""

    corpus_id: int | None = _either("corpusid", "corpusId")
    paper_id: str | None = Field(None, validation_alias="paperId")
    identifiers: dict[str, str | int | None] | None = _either("externalids", "externalIds")
    access: _Access | None = _either("openaccessinfo", "openAccessPdf")
    is_open: bool | None = _either("isopenaccess", "isOpenAccess")
    published: str | None = _either("publicationdate", "publicationDate")
    year: int | None = None
    title: str | None = None
    url: str | None = None


class _Version(BaseModel):
    version: str = ""
    created: str | None = None


class _ArxivRecord(BaseModel):
    """Kaggle's Cornell-University/arxiv, or records of OAI-PMH in the formats arXiv and arXivRaw."""

    id: str
    categories: str | list[str]
    title: str | None = None
    license: str | None = None
    doi: str | None = None
    versions: list[_Version] | None = None
    created: str | None = None
    updated: str | None = None
    update_date: str | None = None


def _semantic_scholar(record: _ScholarRecord, template: str | None) -> Paper:
    identifiers = {name.lower(): str(value) for name, value in (record.identifiers or {}).items() if value}
    arxiv, doi = identifiers.get("arxiv"), identifiers.get("doi")
    access = record.access or _Access()
    location = pdf_location(arxiv, template) if arxiv and template else None
    if location is None and access.url and access.url.startswith(WEB_SCHEMES):
        location = access.url
    return Paper(
        location=location,
        url=record.url or (f"https://doi.org/{doi}" if doi else None),
        date=record.published or (str(record.year) if record.year else None),
        licence=access.license,
        # data sets without this field say it by whether there is a place to read the paper
        is_open=bool(access.url) if record.is_open is None else record.is_open,
        meta=_stated(title=record.title, doi=doi, arxiv=arxiv, corpus_id=record.corpus_id, paper_id=record.paper_id),
    )


def _arxiv(record: _ArxivRecord, template: str | None) -> Paper:
    identifier = re.sub(r"^(?:oai:arxiv\.org:|arxiv[:-])", "", record.id, flags=re.IGNORECASE)
    versions = record.versions or [_Version(created=record.created)]
    last = versions[-1].version.removeprefix("v") or None
    categories = record.categories
    if isinstance(categories, str):
        categories = re.split(r"[,\s]+", categories.strip())
    return Paper(
        location=pdf_location(identifier, template, last) if template else None,
        url=f"https://arxiv.org/abs/{identifier}",
        date=_iso_date(versions[0].created) or record.update_date or record.updated,
        licence=record.license,
        is_open=True,
        categories=tuple(categories),
        meta=_stated(
            title=" ".join((record.title or "").split()),
            arxiv=identifier,
            doi=record.doi,
            categories=" ".join(categories),
        ),
    )


def check_template(template: str) -> None:
    """Raises ValueError if a template names what is not known of a paper."""
    try:
        names = [name for _, name, _, _ in string.Formatter().parse(template) if name is not None]
    except ValueError as error:
        raise ValueError(f"the template is broken: {error}") from None
    unknown = sorted(set(names) - set(TEMPLATE_FIELDS))
    if unknown or not names:
        raise ValueError(
            f"the template may hold {', '.join(f'{{{name}}}' for name in TEMPLATE_FIELDS)}, got {template!r}"
        )


def pdf_location(identifier: str, template: str, version: str | None = None) -> str | None:
    """Where a paper of arXiv lies by a template such as ``gs://arxiv-dataset/arxiv/{archive}/pdf/{yymm}/{number}v{version}.pdf``.

    {id} is the identifier without version, {archive} "arxiv" or, before April 2007, such as "hep-th"; {number} the
    identifier without the archive, {yymm} its first four digits. None if the identifier is not arXiv's, or if its
    version is asked for and not known.
    """
    match = ARXIV_ID.fullmatch(identifier)
    if match is None:
        return None
    number = match["old"] or match["new"]
    version = match["version"] or version
    if version is None and "{version}" in template:
        return None
    archive = match["archive"] or "arxiv"
    plain_id = f"{archive}/{number}" if match["old"] else number
    return template.format(id=plain_id, yymm=number[:4], archive=archive, number=number, version=version)


def licence_name(stated: str | None) -> str | None:
    """One spelling for a licence: cc-by, cc-by-nc-sa, cc0, public-domain, arxiv-nonexclusive-distrib, else as stated.

    Semantic Scholar writes CCBYNCSA (or Unpaywall's cc-by-nc-sa), arXiv the licence's address.
    """
    if not stated:
        return None
    text = stated.strip().lower()
    if match := _CREATIVE_COMMONS.search(text):
        return {"zero": "cc0", "mark": "public-domain", "publicdomain": "public-domain"}.get(match[1], f"cc-{match[1]}")
    if match := _ARXIV_LICENCE.search(text):
        return f"arxiv-{match[1]}"
    if match := re.fullmatch(r"cc[ -]?(by)[ -]?(nc)?[ -]?(sa|nd)?(?:[ -]?\d\.\d)?", text):
        return "-".join(("cc", *(part for part in match.groups() if part)))
    return "cc0" if text in ("cc0", "cc-0", "cc zero") else text


def refusal(
    paper: Paper, licences: tuple[str, ...], categories: tuple[str, ...], from_date: datetime.date | None
) -> tuple[str, str] | None:
    """Why a paper is not read (reason, evidence), or None."""
    if not paper.is_open:
        return "not_open_access", "the list says that it is not open access"
    if licences and licence_name(paper.licence) not in licences:
        return "licence", f"{licence_name(paper.licence) or 'none stated'}, not {', '.join(licences)}"
    if categories and not any(_is_within(own, wanted) for own in paper.categories for wanted in categories):
        return "category", f"{' '.join(paper.categories) or 'none stated'}, not {', '.join(categories)}"
    if from_date is not None:
        if paper.date is None:
            return "date", f"none stated, not from {from_date} on"
        if paper.date < from_date.isoformat()[: len(paper.date)]:  # of some only the year is known
            return "date", f"{paper.date}, before {from_date}"
    if paper.location is None:
        return "no_pdf", "the list names no PDF that can be fetched"
    return None


def _is_within(own: str, wanted: str) -> bool:
    """Whether a category is the wanted one or, as cs.CL of cs, a part of it."""
    return own == wanted or own.startswith(f"{wanted}.")


def _stated(**fields: str | int | None) -> dict[str, str]:
    return {name: str(value) for name, value in fields.items() if value}


def _iso_date(text: str | None) -> str | None:
    """The day of "Mon, 2 Apr 2007 19:18:42 GMT", or of what is a date in ISO 8601 already."""
    if not text:
        return None
    try:
        return email.utils.parsedate_to_datetime(text).date().isoformat()
    except ValueError:
        return text[:10]
