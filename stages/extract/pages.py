"""What goes into the process that extracts text from web pages, and what comes out: plain records for a pipe."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

Ending = tuple[Literal["dropped", "failed"], str, str]
"""Verdict, reason and evidence of a page that goes no further."""


@dataclass(frozen=True, slots=True)
class LanguageGateOptions:
    """When a page's language is too unlikely to extract its text."""

    keep: tuple[str, ...]
    below: float  # summed probability of the kept languages
    min_score: float  # of the language filter that comes later
    model: Path


@dataclass(frozen=True, slots=True)
class ExtractionOptions:
    """How to extract."""

    engine: Literal["trafilatura", "resiliparse", "fast"] = "trafilatura"
    markdown: bool = False
    precision: bool = False
    recall: bool = False
    compare: bool = True
    tables: bool = True
    metadata: bool = True
    language_gate: LanguageGateOptions | None = None


@dataclass(frozen=True, slots=True)
class Page:
    """A page to extract."""

    html: bytes
    charset: str | None  # as the server declared it
    url: str | None
    is_audited: bool = False  # extracted although the language gate would drop it, to see whether the gate was right


@dataclass(slots=True)
class Facts:
    """What a page says about itself, as it says it, but for case and white space."""

    title: str | None = None
    date: str | None = None  # ISO 8601
    author: str | None = None
    declared_language: str | None = None  # of <html lang>, else of a content-language or og:locale element: "en-us"
    canonical_url: str | None = None  # absolute
    links: int | None = None  # elements <a href>
    robots: str | None = (
        None  # directives of <meta name=robots>, and of elements for one robot: "noai; gptbot: noindex"
    )
    tdm_reservation: str | None = None  # of the TDM Reservation Protocol: "1" reserves the rights, "0" does not
    tdm_policy: str | None = None  # address of the licences that it offers
    rights: str | None = None  # contents of meta elements about licence, rights and copyright, between "; "
    licence: str | None = None  # Creative Commons mark of the page, as SPDX writes it: "CC-BY-SA-4.0"
    licence_from: str | None = None  # how it is stated: see stages.extract.licence_marks.Evidence
    licence_others: str | None = None  # different licences among its marks, between ", "


@dataclass(frozen=True, slots=True)
class Extract:
    """What came of a page: its main text, or the reason why it ends here."""

    text: str = ""
    facts: Facts = field(default_factory=Facts)
    ending: Ending | None = None
