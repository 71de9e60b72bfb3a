"""A URL taken apart into what lists are compared with.

Spellings that lead to the same host compare equal: capitals, dots at the end, Unicode and punycode, user names and
ports. Of the page, scheme, fragment, "www.", a slash at the end and percent-encoding make no difference.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterator
from functools import cache
from ipaddress import IPv6Address
from typing import NamedTuple
from urllib.parse import unquote, unquote_to_bytes

import idna

from stages.filters.urls.kernels import MAX_HOST_BYTES

_URL = re.compile(
    r"\s*(?:(?:[A-Za-z][A-Za-z0-9+.-]*:)?[/\\]{2})?"  # scheme
    r"(?:[^/?#\\]*@)?"  # user name and password
    r"(\[[^\]/?#]*\]|[^/?#:\\]*)"  # host
    r"(?::(\d*))?[^/?#\\]*"  # port
    r"([^#]*)",  # path and query
    re.DOTALL,
)
_DEFAULT_PORTS = (None, "", "80", "443")


class Address(NamedTuple):
    """What lists are compared with."""

    domains: tuple[str, ...]  # the host and each domain above it, or what else is looked up in lists of domains
    page: bytes  # the URL without what makes no difference
    words: str  # the URL as people read it


def address_of(url: str) -> Address:
    """Any string has an address; what is no URL has a host that no list holds."""
    found = _URL.match(url)
    assert found is not None  # each piece may be empty
    host, port, rest = found.groups()
    host = canonical_host(host)
    rest = rest.rstrip()
    path = rest if "?" in rest else rest.rstrip("/")
    site = host.removeprefix("www.") + ("" if port in _DEFAULT_PORTS else f":{port}")
    if "%" in rest:
        page, words = site.encode() + unquote_to_bytes(path), _readable(host) + unquote(rest)
    else:
        page, words = (site + path).encode(), _readable(host) + rest
    if not words.isascii():
        words = unicodedata.normalize("NFKC", words)
    return Address((host, *_above(host)) if len(host) <= MAX_HOST_BYTES else (host,), page, words)


def folders_above(page: bytes) -> Iterator[bytes]:
    """A page and the folders that hold it, up to its site, all without the slash at their end."""
    path, question_mark, _ = page.partition(b"?")
    if question_mark:
        yield page
    yield path
    while (slash := path.rfind(b"/")) >= 0:
        path = path[:slash]
        yield path


def canonical_host(host: str) -> str:
    """A host in lower case and ASCII: IDNs in punycode, IPv6 addresses in brackets and compressed (RFC 5952)."""
    host = host.strip().strip(".").lower()
    if host.startswith("["):
        return _canonical_ipv6(host)
    if host.isascii() and "%" not in host:
        return host
    host = unquote(host)
    try:
        host = idna.uts46_remap(host, std3_rules=False)
    except idna.IDNAError:  # a character that no host may have: it is compared as it is
        host = unicodedata.normalize("NFKC", host).lower()
    # no check of the rules for labels: lists and URLs only have to come out equal
    return ".".join(label if label.isascii() else f"xn--{_punycode(label)}" for label in host.strip(".").split("."))


def _canonical_ipv6(host: str) -> str:
    try:
        return f"[{IPv6Address(host[1:-1].partition('%')[0]).compressed}]"
    except ValueError:
        return host


def _punycode(label: str) -> str:
    return label.encode("punycode").decode("ascii")


def _readable(host: str) -> str:
    """A host with its punycode decoded."""
    return ".".join(map(_decoded, host.split("."))) if "xn--" in host else host


def _decoded(label: str) -> str:
    if not label.startswith("xn--"):
        return label
    try:
        decoded = label[4:].encode("ascii").decode("punycode")
        decoded.encode()
    except (UnicodeError, OverflowError):  # no punycode, or that of a surrogate
        return label
    return decoded


def _above(host: str) -> Iterator[str]:
    dot = host.find(".")
    while dot >= 0:
        yield host[dot + 1 :]
        dot = host.find(".", dot + 1)


@cache
def datatrove_address() -> Callable[[str], Address]:
    """The function that takes URLs apart as datatrove's URLFilter does: spelled as they are.

    Looked up are the registered domain and the whole host, not what lies between; a host without a public suffix, such
    as an IP address, is looked up nowhere.
    """
    from tldextract import TLDExtract

    extract = TLDExtract(suffix_list_urls=(), cache_dir=None)

    def address(url: str) -> Address:
        host = extract(url)
        return Address((host.top_domain_under_public_suffix, host.fqdn), url.encode(), url)

    return address
