"""What a page says about itself in its head: read from the tree that is extracted, whichever parser made it."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any
from urllib.parse import urljoin

from stages.extract.licence_marks import licence
from stages.extract.pages import Facts
from stages.filters.robots_txt import AI_CRAWLERS

ROBOTS = frozenset({"robots", "googlebot", "googlebot-news", "bingbot", *(name.lower() for name in AI_CRAWLERS)})
"""Names of meta elements that tell robots what they may do; ``noai`` and ``noindex`` are among their directives."""

_RIGHTS = re.compile(r"licen[sc]e|rights|copyright")

_AUTHOR = ("author", "article:author", "dc.creator", "citation_author", "parsely-author")
_DATE = (
    "article:published_time",
    "datepublished",
    "date",
    "dc.date",
    "dc.date.issued",
    "dcterms.created",
    "citation_publication_date",
    "parsely-pub-date",
    "pubdate",
)
_ISO_DATE = re.compile(r"(?:19|20)\d\d[-/](?:0[1-9]|1[0-2])[-/](?:0[1-9]|[12]\d|3[01])(?!\d)")

_OPT_OUT = re.compile(r"(?i)[a-z, -]*\bno(?:image)?(?:ai|ml)\b[a-z, -]*")  # said to any robot, by whatever name

Attributes = Callable[[str], str | None]
"""Value of an element's attribute by its name."""


def page_facts(
    html: Attributes, metas: Iterable[Attributes], relations: Iterable[Attributes], links: int, url: str | None
) -> Facts:
    """Facts other than title, date and author.

    Args:
        html: attributes of the root element.
        metas: attributes of each <meta>.
        relations: attributes of each <link>.
        links: number of <a href>.
        url: where the page came from, for relative addresses.
    """
    values = meta_values(metas)
    robots = [
        value if name == "robots" else f"{name}: {value}"
        for name, value in values.items()
        if name in ROBOTS or _OPT_OUT.fullmatch(value)
    ]
    rights = [value for name, value in values.items() if _RIGHTS.search(name)]
    language = html("lang") or html("xml:lang") or values.get("content-language") or values.get("og:locale")
    return Facts(
        declared_language=_text(language and language.lower().replace("_", "-")),
        canonical_url=_canonical_url(relations, url),
        links=links,
        robots=_text("; ".join(robots).lower()),
        tdm_reservation=values.get("tdm-reservation"),
        tdm_policy=values.get("tdm-policy"),
        rights=_text("; ".join(rights)),
    )


def add_licence(facts: Facts, source: str) -> None:
    """The Creative Commons licence that a page states in its source or in the meta elements read before."""
    if found := licence(source, facts.rights):
        facts.licence, facts.licence_from = found.code, found.evidence
        facts.licence_others = _text(", ".join(found.others))


def add_head_metadata(facts: Facts, metas: Iterable[Attributes], title: str | None) -> None:
    """Title, date and author where meta elements and <title> give them; no search in the body."""
    values = meta_values(metas)
    facts.title = _text(values.get("og:title") or title)
    facts.author = next((values[name] for name in _AUTHOR if name in values), None)
    dates = (match[0].replace("/", "-") for name in _DATE if (match := _ISO_DATE.match(values.get(name, ""))))
    facts.date = next(dates, None)


def meta_values(metas: Iterable[Attributes]) -> Mapping[str, str]:
    """Contents of meta elements by lower-case name, property, http-equiv or itemprop; of several the first counts,
    but directives for robots and statements of rights add up."""
    values: dict[str, str] = {}
    for meta in metas:
        content = _text(meta("content"))
        name = (meta("name") or meta("property") or meta("http-equiv") or meta("itemprop") or "").strip().lower()
        if content is None or not name:
            continue
        if name not in values:
            values[name] = content
        elif name in ROBOTS:
            values[name] += f", {content}"
        elif _RIGHTS.search(name):
            values[name] += f"; {content}"
    return values


def _canonical_url(relations: Iterable[Attributes], url: str | None) -> str | None:
    for link in relations:
        address = _text(link("href"))
        if address and "canonical" in (link("rel") or "").lower().split():
            try:
                absolute = urljoin(url or "", address)
            except ValueError:  # no valid address, such as "http://["
                return None
            return absolute if absolute.startswith(("http://", "https://")) else None
    return None


def _text(value: Any) -> str | None:
    """White space made single; None instead of nothing."""
    return " ".join(value.split()) or None if value else None
