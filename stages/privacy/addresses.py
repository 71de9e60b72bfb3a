"""E-mail and IP addresses.

Two readings of each. The strict one asks what a reader would: is there such a top-level domain, is this a version
number. The one by shape takes whatever datatrove's PIIFormatter takes, for corpora that must agree with it.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterator
from functools import cache

Extent = tuple[int, int]

_ATOM = r"A-Za-z0-9!#$%&'*+/=?^_`{|}~-"
_LETTERS = r"A-Za-z\u00c0-\u024f\u0370-\u052f"  # scripts that set spaces between words
_PLAIN = r"0-9_+%'~-"  # of the marks that RFC 5322 allows, those that links and programs do not set beside a name
_SPOT = r"(?:25[0-5]|2[0-4][0-9]|[01]?[0-9][0-9]?)"  # 0 to 255
_PASSWORD = re.compile(r"://[^\s/@]*:[^\s/@]*$")  # scheme://user:password
MAX_LOCAL = 64  # characters before the @: RFC 5321, section 4.5.3.1.1; also what keeps the search linear
MAX_DOMAIN = 255  # section 4.5.3.1.2


def _domain(letters: str) -> str:
    label = f"[{letters}0-9](?:[{letters}0-9-]*[{letters}0-9])?"
    return rf"(?:{label}\.)+{label}"


_LOCAL_REVERSED = {
    True: re.compile(rf"[{_LETTERS}{_PLAIN}]+(?:\.[{_LETTERS}{_PLAIN}]+)*|\}}[., {_LETTERS}{_PLAIN}]+\{{"),
    False: re.compile(rf"[{_ATOM}]+(?:\.[{_ATOM}]+)*"),
}
_LOCAL_START = {True: re.compile(rf"[{_LETTERS}0-9_{{]"), False: re.compile(rf"\b[{_ATOM}]")}
_DOMAIN = {
    True: re.compile(_domain(_LETTERS)),
    False: re.compile(rf"{_domain('A-Za-z')}|\[(?:{_SPOT}\.){{3}}(?:{_SPOT}|[A-Za-z0-9-]*[A-Za-z0-9]:)]"),
}
RESERVED_DOMAIN = re.compile(r"(?:^|\.)(?:example\.(?:com|net|org)|example|test|invalid|localhost|local)$")
"""Nobody's: RFC 2606, section 2 and 3; RFC 6762 for .local."""


def email(text: str, at: int, strict: bool, after: int = 0) -> Extent | None:
    """The e-mail address around the @ at ``at``, of what follows ``after``, where the address before it ended.

    Strict: the top-level domain exists, the domain is not one reserved for examples, letters may have accents, and
    ``{ann, bob}@...`` of papers is one. The user of a version control server (git@github.com) is nobody.
    """
    domain = _DOMAIN[strict].match(text, at + 1, at + 1 + MAX_DOMAIN)
    if domain is None:
        return None
    window = text[max(after, at - MAX_LOCAL - 1) : at]
    local = _LOCAL_REVERSED[strict].match(window[::-1])
    if local is None or local.end() > MAX_LOCAL:
        return None
    start = _LOCAL_START[strict].search(text, at - local.end(), at)
    if start is None:
        return None
    end = domain.end()
    if strict:
        host = _existing(domain.group())
        if host is None or RESERVED_DOMAIN.search(host.lower()):
            return None
        end = at + 1 + len(host)
        before = text[max(0, start.start() - MAX_LOCAL) : at]
        if text[start.start() : at] in ("git", "hg", "svn") or _PASSWORD.search(before):
            return None
    return start.start(), end


_GLUED = re.compile(r"(?<=\.)([a-z]{2,})(?=[A-Z-]|\.[A-Z])")


def _existing(domain: str) -> str | None:
    """The domain to the end of its top-level domain: pages run it into what follows (b.comPhone, b.com-Tel)."""
    if domain.rpartition(".")[2].lower() in top_level_domains():
        return domain
    ends = (glued.end() for glued in _GLUED.finditer(domain) if glued.group() in top_level_domains())
    return next((domain[:end] for end in ends), None)


@cache
def top_level_domains() -> frozenset[str]:
    """All that exist, by the public suffix list."""
    import tldextract

    known = tldextract.TLDExtract(suffix_list_urls=(), cache_dir=None).tlds  # the list in the package: no request
    return frozenset(suffix for suffix in known if "." not in suffix)


_QUAD = re.compile(rf"{_SPOT}(?:\.{_SPOT}){{3}}")
_NAMES_A_VERSION = re.compile(
    r"(?i)(?:\b(?:v|ver|version|release|build|firmware|update|section|sec|chapter|table|figure|fig|eq|equation|clause|"
    r"part|appendix|rule|lemma|theorem|definition|ec|oid|libcurl|libxml|chrome|firefox|opera|safari)s?\.?|[a-z_]/|§)"
    r"[\s:=~(\"']*$"
)
_ENDS_IPV6 = re.compile(r"[0-9:]:$")
_NAMES_AN_ADDRESS = re.compile(r"(?i)(?:\bip(?:v4)?s?\b|\baddr|\bhost|\bserver|\bping|\bproxy|\bdns\b|://)[^\n]{0,24}$")


def _are_small(numbers: list[int]) -> bool:
    """Whether four numbers are as most of versions and sections are: of addresses drawn at random one in 800 is."""
    return max(numbers) < 32 or sorted(numbers)[2] < 16


def ipv4(text: str, start: int, end: int, strict: bool, only_public: bool) -> Iterator[Extent]:
    """IPv4 addresses in a run of numbers and dots.

    Strict: the run is four numbers that stand alone, and neither its words nor its size make it a version number.
    """
    if not strict:
        for quad in _QUAD.finditer(text, start, end):
            if _is_address(quad.group(), only_public):
                yield quad.span()
        return
    if end - start > len("255.255.255.255") or not stands_alone(text, start, end):
        return
    run = text[start:end]
    if run.count(".") != 3 or not _is_address(run, only_public) or run.endswith(".0.0.0"):
        return
    before = text[max(0, start - 40) : start]
    if _NAMES_A_VERSION.search(before) or _ENDS_IPV6.search(before):
        return
    if _are_small([int(number) for number in run.split(".")]) and not _NAMES_AN_ADDRESS.search(before):
        return
    yield start, end


def _is_address(run: str, only_public: bool) -> bool:
    try:
        address = ipaddress.IPv4Address(run)
    except ValueError:
        return False
    return address.is_global or not only_public


_V6_RUN = re.compile(r"[0-9A-Fa-f:]+(?:\.[0-9]{1,3}){0,3}")
_ALLOCATED = ipaddress.IPv6Network("2000::/3")
"""All that is given out to anybody so far (IANA, IPv6 global unicast); also what a::b in a program is not."""
_LOCAL = tuple(ipaddress.IPv6Network(network) for network in ("fe80::/10", "fc00::/7", "::ffff:0:0/96"))


def ipv6(text: str, start: int, end: int, only_public: bool) -> Extent | None:
    """The IPv6 address that the run is, if it is one that stands alone."""
    if end - start > 64:
        return None
    match = _V6_RUN.match(text, start)
    assert match is not None
    if match.group().endswith(":") and not match.group().endswith("::"):
        match = _V6_RUN.match(text, start, match.end() - 1)  # the colon of a sentence
        assert match is not None
    if not stands_alone(text, *match.span()) or text[start - 1 : start] == ":":
        return None
    try:
        address = ipaddress.IPv6Address(match.group())
    except ValueError:
        return None
    is_public = address in _ALLOCATED and address.is_global
    if not is_public and (only_public or not any(address in network for network in (_ALLOCATED, *_LOCAL))):
        return None
    return match.span()


def stands_alone(text: str, start: int, end: int) -> bool:
    """Whether no letter, digit or _ stands at either side, nor a mark that joins it to a number or a name."""
    before, after = text[max(0, start - 2) : start], text[end : end + 2]
    if before and (before[-1].isalnum() or before[-1] == "_" or (before[-1] in ".-,+" and before[:-1].isalnum())):
        return not before[-1].isascii() and not before[-1].isnumeric()  # scripts without spaces join nothing
    if after and (after[0].isalnum() or after[0] == "_" or (after[0] in ".-,+" and after[1:].isalnum())):
        return not after[0].isascii() and not after[0].isnumeric()
    return True
