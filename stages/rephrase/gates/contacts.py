"""Ways to reach somebody that the source does not have: e-mail addresses, links and phone numbers."""

from __future__ import annotations

import re

from stages.privacy.phones import ALL_REGIONS, phones, usual_regions
from stages.rephrase.answers import ParsedAnswer
from stages.rephrase.gates.context import GateContext

_EMAIL = re.compile(r"[\w.+%-]+@[\w-]+(?:\.[\w-]+)+")
_URL = re.compile(r"(?:\b[a-z][a-z0-9+.-]{1,9}://|\bwww\.|\bmailto:)[^\s<>\"'`|\\^{}\[\]()]+", re.IGNORECASE)
_DOMAIN = re.compile(
    r"(?<![\w@./-])(?:[a-z0-9](?:[a-z0-9-]*[a-z0-9])?\.)+([a-z]{2,})(?![\w-]|\.\w)(?:/[\w./?=&%#-]*)?", re.I
)
_PLACEHOLDER = re.compile(r"<[A-Z]{2,}(?:_[A-Z]+)*>|\[(?:EMAIL|PHONE|IP|URL|LINK)[A-Z_ ]*\]")
_NUMBER = re.compile(r"[0-9](?:[ .()/\u00a0\u2010-\u2015-]{0,3}[0-9]){6,}")
_SCHEME = re.compile(r"^(?:[a-z][a-z0-9+.-]*://|mailto:)?(?:www\.)?", re.IGNORECASE)
_USUAL_DOMAINS = frozenset(
    {"com", "org", "net", "edu", "gov", "mil", "info", "biz", "io", "ai", "co", "uk", "de", "fr", "ru", "cn", "me"}
    | {"example", "test", "invalid"}
)
_PHONE_END = 7
"""Last digits of a phone number, by which it is looked for: with or without the codes of country and region it is the
same."""


def new_contacts(source: str, answer: ParsedAnswer, context: GateContext) -> float:
    """How many e-mail addresses, links, domains, phone numbers and placeholders of masked ones (``<EMAIL>``) the answer
    has that the source has not; 0 in a sound answer."""
    text = answer.text
    if not ("@" in text or "." in text or "<" in text or ":" in text or "[" in text or _NUMBER.search(text)):
        return 0.0
    said = "".join(source.casefold().split())
    named = {_bare(match.group()) for pattern in (_EMAIL, _URL) for match in pattern.finditer(text)} | {
        _bare(match.group()) for match in _DOMAIN.finditer(text) if _is_domain(match.group(1))
    }
    named |= {match.group().casefold() for match in _PLACEHOLDER.finditer(text)}
    new = [name for name in named if "".join(name.split()) not in said]
    return float(len(new) + len(_new_phones(source, text, context.language)))


def _bare(address: str) -> str:
    """An address without what may be written or left out: scheme, www, the slash and marks at its end."""
    return _SCHEME.sub("", address).rstrip("/.,;:!?*_…。，").casefold()


def _is_domain(suffix: str) -> bool:
    """Whether this is taken for a domain where nothing else says so: names of files and programs end in many
    country codes (readme.md, setup.py), and sentences run together in any."""
    return suffix.lower() in _USUAL_DOMAINS


def _new_phones(source: str, text: str, language: str | None) -> set[str]:
    known = "".join(filter(str.isdigit, source))
    regions = usual_regions(language, None) or ALL_REGIONS
    new = set()
    for run in _NUMBER.finditer(text):
        digits = "".join(filter(str.isdigit, run.group()))
        if digits[-_PHONE_END:] in known:
            continue
        for start, end in phones(text, run.start(), run.end(), regions):
            number = "".join(filter(str.isdigit, text[start:end]))
            if number[-_PHONE_END:] not in known:
                new.add(number)
    return new
