"""Creative Commons marks in the source of a web page: which licence, stated how, where on the page.

Found in the source rather than in a tree, so that all engines find the same and the many pages without a mark cost one
search for a string.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from html import unescape
from typing import Any, Literal, NamedTuple

Evidence = Literal["link_element", "rel", "meta", "json_ld", "rdf", "footer_link", "link"]
"""How a mark is stated: <link rel=license>; rel, property or itemprop "license" on another element; <meta>; schema.org
metadata; RDF in a comment; a plain link in a footer or sidebar; a plain link elsewhere, often a picture's credit."""

STRENGTH: tuple[Evidence, ...] = ("link_element", "rel", "meta", "json_ld", "rdf", "footer_link", "link")
"""The evidence that counts first, first."""


class Mark(NamedTuple):
    """A statement of a licence."""

    code: str  # in the manner of SPDX: "CC-BY-SA-4.0", "CC-BY-3.0-DE", "CC0-1.0", "CC-PDM-1.0"
    evidence: Evidence


class Licence(NamedTuple):
    """What the marks of a page come to."""

    code: str  # of the strongest evidence; of several, the first
    evidence: Evidence
    others: tuple[str, ...]  # different licences among its other marks, but for plain links outside footers


_URL = re.compile(
    r"creativecommons\.org\\?/(?:licen[sc]es|publicdomain)\\?/([a-z+-]{2,20})"
    r"(?:\\?/(\d\.\d))?(?:\\?/([a-z]{2,3}|scotland)(?![\w.-]))?",
    re.IGNORECASE,
)
_DASH = r"[\s_\-\u2010-\u2015]{0,3}"  # people write spaces and all kinds of dashes
_GAP = r"[\s_,/+\-\u2010-\u2015]{0,4}"
_CONDITION = rf"{_GAP}(?:NC|ND|SA|non{_DASH}commercial|no{_DASH}deriv[a-z]{{0,10}}(?:{_DASH}works)?|share{_DASH}alike)"
_SHORT_NAME = re.compile(
    rf"\bCC{_DASH}(?:(0|zero)|BY((?:{_CONDITION})*))(?![a-z])(?:{_DASH}v?(\d\.\d))?", re.IGNORECASE
)
_LONG_NAME = re.compile(
    rf"\bcreative{_DASH}commons[ :,(-]{{1,3}}attribution((?:{_CONDITION})*)\b(?:[^\d\n]{{0,20}}(\d\.\d))?",
    re.IGNORECASE,
)
_PUBLIC_DOMAIN = {"zero": "CC0", "mark": "CC-PDM", "publicdomain": "CC-PDDC", "certification": "CC-PDDC"}
_ELEMENTS = ("by", "nc", "nd", "sa")  # in SPDX's order


def creative_commons(text: str) -> str | None:
    """SPDX code of the Creative Commons licence that a text names: by its address, or by its name in English.

    Versions and jurisdictions are kept where they are stated; licences that SPDX does not list get a code of its form.
    """
    if match := _URL.search(text):
        return _code(*match.groups())
    if match := _SHORT_NAME.search(text):
        return "CC0-1.0" if match[1] else _code(_path(match[2]), match[3])
    if match := _LONG_NAME.search(text):
        return _code(_path(match[1]), match[2])
    return None


def _path(conditions: str) -> str:
    """Name in a licence's address for the conditions beside attribution as they are written in its name."""
    written = re.sub(r"[\W_]", "", conditions.lower())
    forms = (("nc", "noncommercial"), ("nd", "noderiv"), ("sa", "sharealike"))
    return "-".join(["by", *(short for short, long in forms if short in written or long in written)])


def _code(name: str, version: str | None, jurisdiction: str | None = None) -> str | None:
    name = name.lower()
    if name in _PUBLIC_DOMAIN:
        code = _PUBLIC_DOMAIN[name]
        return code if code == "CC-PDDC" else f"{code}-1.0"
    elements = name.split("-")
    if not set(elements) <= set(_ELEMENTS):
        return None
    parts = ["cc", *(element for element in _ELEMENTS if element in elements)]
    if version:
        parts.append(version)
        if jurisdiction and version < "4.0":  # later ones have none
            parts.append(jurisdiction)
    return "-".join(parts).upper()


def licence(html: str, rights: str | None = None) -> Licence | None:
    """The Creative Commons licence that a page states for itself.

    Args:
        html: the page's source.
        rights: contents of its meta elements about rights, between "; ".
    """
    codes = (creative_commons(content) for content in (rights or "").split("; "))
    marks = [*(Mark(code, "meta") for code in codes if code), *_source_marks(html)]
    if not marks:
        return None
    first = min(marks, key=lambda mark: STRENGTH.index(mark.evidence))
    others = dict.fromkeys(mark.code for mark in marks if mark.evidence != "link" and mark.code != first.code)
    return Licence(*first, tuple(others))


_HOST = "creativecommons.org"
_MAX_EACH_END = 100  # mentions looked at from the start of the page, and from its end
_BACK = 1 << 20  # characters in which the start of a comment or script is looked for
_NEAR = 800  # characters in which a footer or a caption shows
_TAG_CHARACTERS = 8192  # of a tag's attributes; longer ones are no links but embedded data
_TAG = re.compile(r"<\s*([a-zA-Z][\w:-]*)")
_ATTRIBUTE = re.compile(r"""([\w:-]{1,100})\s*=\s*(?:"([^"]*)"|'([^']*)'|([^\s"'>]+))""")
_STATING = re.compile(r"(?:^|[\s:#/])licen[sc]e(?:$|\s)", re.IGNORECASE)
_RDF_LICENCE = re.compile(r"<(?:\w+:)?license\s[^>]*$", re.IGNORECASE)
_FOOTER = re.compile(r"""<footer|\b(?:id|class)\s*=\s*["']?[^"'>]*(?:foot|copyright|colophon|widget|sidebar)""", re.I)
_CAPTION = re.compile(r"""<(figure|figcaption)\b|<(\w+)\b[^<>]*\bclass\s*=\s*["']?[^"'>]*caption""", re.I)


def _source_marks(html: str) -> Iterator[Mark]:
    parsed_scripts: set[int] = set()
    for at in _mentions(html):
        mention = _URL.match(html, at)
        code = mention and _code(*mention.groups())
        if not mention or not code:
            continue
        since = max(0, at - _BACK)
        if html.rfind("<!--", since, at) > html.rfind("-->", since, at):
            if _RDF_LICENCE.search(html, max(since, html.rfind("<", since, at)), at):
                yield Mark(code, "rdf")
            continue
        script = html.rfind("<script", since, at)
        if script > html.rfind("</script", since, at):
            if script not in parsed_scripts:
                parsed_scripts.add(script)
                yield from _json_ld_marks(html, script)
            continue
        tag = html.rfind("<", max(0, at - _TAG_CHARACTERS), at)
        if tag >= 0 and html.find(">", tag, at) < 0 and (evidence := _evidence(html, tag, at)):
            yield Mark(code, evidence)


def _mentions(html: str) -> list[int]:
    """Where the host of the licences is named; the first and the last if there are very many."""
    first: list[int] = []
    at = html.find(_HOST)
    while at >= 0 and len(first) < _MAX_EACH_END:
        first.append(at)
        at = html.find(_HOST, at + 1)
    last: list[int] = []
    at = html.rfind(_HOST, first[-1] + 1) if first else -1
    while at >= 0 and len(last) < _MAX_EACH_END:
        last.append(at)
        at = html.rfind(_HOST, first[-1] + 1, at)
    return first + last[::-1]


def _evidence(html: str, tag: int, at: int) -> Evidence | None:
    """What a mention in an attribute of an element says of the page."""
    name = _TAG.match(html, tag)
    if not name or name[1].lower() in ("meta", "img", "svg"):
        return None
    end = html.find(">", at, tag + _TAG_CHARACTERS)
    attributes = {
        match[1].lower(): match[2] or match[3] or match[4] or ""
        for match in _ATTRIBUTE.finditer(html, tag, end if end >= 0 else tag + _TAG_CHARACTERS)
    }
    holder = next((key for key, value in attributes.items() if _HOST in value), "")
    if holder not in ("href", "resource", "content", "about"):
        return None
    before = html[max(0, tag - _NEAR) : tag]
    if any(before.find(f"</{match[1] or match[2]}", match.end()) < 0 for match in _CAPTION.finditer(before)):
        return "link"  # of a picture
    if any(_STATING.search(attributes.get(key, "")) for key in ("rel", "property", "itemprop")):
        return "link_element" if name[1].lower() == "link" else "rel"
    if name[1].lower() != "a":
        return None
    return "footer_link" if _FOOTER.search(before) else "link"


_OF_SOMETHING_ELSE = re.compile(
    r"image|photograph|video|audio|media|music|dataset|download|software|code|product|clip", re.IGNORECASE
)
_OPENING = re.compile(r"<script[^>]{0,300}application/ld\+json[^>]{0,300}>", re.IGNORECASE)


def _json_ld_marks(html: str, script: int) -> Iterator[Mark]:
    """Licences in a script of JSON-LD, but for those of pictures, data and programs; broken JSON states nothing."""
    opening = _OPENING.match(html, script)
    if not opening:
        return
    end = html.find("</script", opening.end())
    try:
        waiting: list[Any] = [json.loads(html[opening.end() : end if end >= 0 else None].strip(), strict=False)]
    except (ValueError, RecursionError):
        return
    while waiting:
        node = waiting.pop()
        if isinstance(node, list):
            waiting.extend(reversed(node))
        elif isinstance(node, dict) and not _OF_SOMETHING_ELSE.search(str(node.get("@type", ""))):
            for value in _addresses(node.get("license")):
                if code := creative_commons(unescape(value)):
                    yield Mark(code, "json_ld")
            waiting.extend(value for key, value in node.items() if isinstance(value, dict | list) and key != "license")


def _addresses(value: Any) -> Iterator[str]:
    for stated in value if isinstance(value, list) else [value]:
        if isinstance(stated, dict):
            stated = stated.get("@id") or stated.get("url") or stated.get("name")
        if isinstance(stated, str):
            yield stated
