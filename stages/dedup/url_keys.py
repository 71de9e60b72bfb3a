"""URLs as dedup compares them: two spellings of one page's address have one hash.

``normalized_url`` says what is compared; the kernel, at a tenth of a microsecond a URL, hashes just that.
"""

from __future__ import annotations

import re

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from stages.kernel import kernel
from stages.text.utf8 import bytes_and_offsets

TRACKING_PREFIX = b"utm_"
TRACKING = frozenset(
    b"_ga _gl _hsenc _hsmi dclid fbclid gad_source gbraid gclid gclsrc igshid li_fat_id mc_cid mc_eid mkt_tok msclkid "
    b"oly_anon_id oly_enc_id s_cid srsltid ttclid twclid vero_id wbraid wickedid yclid ysclid".split()
)
"""Names of query parameters that say where a visitor comes from, not which page it is: those of Google, Meta,
Microsoft, Yandex, TikTok, X, LinkedIn, HubSpot, Mailchimp, Marketo and others."""

_SPACE, _SLASH, _COLON, _DOT, _AT = ord(" "), ord("/"), ord(":"), ord("."), ord("@")
_HASH, _QUESTION, _AMPERSAND, _EQUALS = ord("#"), ord("?"), ord("&"), ord("=")
_BLANK = bytes(range(_SPACE + 1))
_START, _PRIME = np.uint64(0xCBF29CE484222325), np.uint64(0x100000001B3)  # FNV-1a
_MIX_1, _MIX_2, _33 = (
    np.uint64(0xFF51AFD7ED558CCD),
    np.uint64(0xC4CEB9FE1A85EC53),
    np.uint64(33),
)  # MurmurHash3's fmix64


def normalized_url(url: str) -> str:
    """A URL without what makes no difference.

    Left out are the scheme, user name, "www.", ports 80 and 443, a dot behind the host, slashes at the end of the path,
    the fragment and parameters of ``TRACKING``; the host is in lower case (ASCII), parameters are in the order of their
    bytes. Capitals elsewhere, percent-encoding and punycode stay as they are.
    """
    content = url.encode().strip(_BLANK).partition(b"#")[0]
    content = re.sub(rb"^(?:[A-Za-z][A-Za-z0-9+.-]*:)?//", b"", content)
    authority, rest = re.fullmatch(rb"([^/?]*)(.*)", content, re.DOTALL).groups()  # type: ignore[union-attr]
    host = authority.rpartition(b"@")[2].lower()
    host = re.sub(rb":(?:80|443)?\Z", b"", host).rstrip(b".").removeprefix(b"www.")
    path, _, query = rest.partition(b"?")
    parameters = sorted(p for p in query.split(b"&") if p and not _is_tracking(p))
    page = host + path.rstrip(b"/") + (b"?" + b"&".join(parameters) if parameters else b"")
    return page.decode()


def _is_tracking(parameter: bytes) -> bool:
    name = parameter.partition(b"=")[0].lower()
    return name.startswith(TRACKING_PREFIX) or name in TRACKING


def url_hashes(urls: pa.Array | pa.ChunkedArray) -> pa.Array:
    """64-bit hash (uint64) of each normalised URL; null where nothing is left of it ("http://", "#top")."""
    content, offsets = bytes_and_offsets(urls)
    hashes = np.zeros(len(urls), np.uint64)
    is_blank = np.zeros(len(urls), np.bool_)
    _hash_urls(content, offsets, _TRACKING_HASHES, _NOTHING, hashes, is_blank)
    return pa.array(hashes, pa.uint64(), mask=is_blank)


@kernel
def _hash_urls(
    content: NDArray[np.uint8],
    offsets: NDArray[np.int64],
    tracking: NDArray[np.uint64],
    nothing: np.uint64,
    hashes: NDArray[np.uint64],
    is_blank: NDArray[np.bool_],
) -> None:
    for i in range(len(hashes)):
        start, end = offsets[i], offsets[i + 1]
        while start < end and content[start] <= _SPACE:
            start += 1
        while end > start and content[end - 1] <= _SPACE:
            end -= 1
        hashes[i] = _hash_url(content, start, _find(content, start, end, _HASH, _HASH), tracking)
        is_blank[i] = hashes[i] == nothing


@kernel
def _hash_url(content: NDArray[np.uint8], start: int, end: int, tracking: NDArray[np.uint64]) -> np.uint64:
    """Hash of a URL without blanks around it and without fragment."""
    start = _after_scheme(content, start, end)
    host_end = _find(content, start, end, _SLASH, _QUESTION)
    path_end = _find(content, host_end, end, _QUESTION, _QUESTION)
    query = min(path_end + 1, end)
    for i in range(start, host_end):
        if content[i] == _AT:
            start = i + 1
    rest = host_end
    host_end = _before_port(content, start, host_end)
    while host_end > start and content[host_end - 1] == _DOT:
        host_end -= 1
    if host_end - start >= 4 and content[start + 3] == _DOT:
        www = ord("w")
        if _lowered(content[start]) == www and _lowered(content[start + 1]) == www:
            start += 4 if _lowered(content[start + 2]) == www else 0
    while path_end > rest and content[path_end - 1] == _SLASH:
        path_end -= 1
    found = _hash_lowered(_START, content, start, host_end)
    for i in range(rest, path_end):
        found = (found ^ np.uint64(content[i])) * _PRIME
    found = _mixed(found)
    while query < end:
        query_end = _find(content, query, end, _AMPERSAND, _AMPERSAND)
        if query < query_end and not _is_tracked(content, query, query_end, tracking):
            parameter = _START
            for i in range(query, query_end):
                parameter = (parameter ^ np.uint64(content[i])) * _PRIME
            found += _mixed(parameter ^ np.uint64(_QUESTION))  # a sum: in any order
        query = query_end + 1
    return _mixed(found)


@kernel
def _after_scheme(content: NDArray[np.uint8], start: int, end: int) -> int:
    at = start
    while at < end and content[at] != _COLON and content[at] != _SLASH:
        byte = _lowered(content[at])
        is_letter = 97 <= byte <= 122
        if not is_letter and (at == start or not (48 <= byte <= 57 or byte == 43 or byte == 45 or byte == 46)):
            return start
        at += 1
    if at > start:
        if at >= end or content[at] != _COLON:
            return start
        at += 1
    return at + 2 if at + 2 <= end and content[at] == _SLASH and content[at + 1] == _SLASH else start


@kernel
def _before_port(content: NDArray[np.uint8], start: int, end: int) -> int:
    """Where the host ends, if its port is that of http or https, or left out behind a colon."""
    if end > start and content[end - 1] == _COLON:
        return end - 1
    if end - start >= 3 and content[end - 3] == _COLON and content[end - 2] == 56 and content[end - 1] == 48:
        return end - 3
    if (
        end - start >= 4
        and content[end - 4] == _COLON
        and content[end - 3] == 52
        and content[end - 2] == 52
        and content[end - 1] == 51
    ):
        return end - 4
    return end


@kernel
def _is_tracked(content: NDArray[np.uint8], start: int, end: int, tracking: NDArray[np.uint64]) -> bool:
    """Whether the parameter is one of ``TRACKING``, whose hashes these are; the first is that of the prefix."""
    name_end = _find(content, start, end, _EQUALS, _EQUALS)
    if name_end - start >= 4 and _hash_lowered(_START, content, start, start + 4) == tracking[0]:
        return True
    name = _hash_lowered(_START, content, start, name_end)
    for i in range(1, len(tracking)):  # noqa: SIM110 (numba compiles no generators)
        if tracking[i] == name:
            return True
    return False


@kernel
def _find(content: NDArray[np.uint8], start: int, end: int, byte: int, other: int) -> int:
    """First of two bytes from ``start`` on; ``end`` if there is none."""
    for i in range(start, end):
        if content[i] == byte or content[i] == other:
            return i
    return end


@kernel
def _hash_lowered(found: np.uint64, content: NDArray[np.uint8], start: int, end: int) -> np.uint64:
    for i in range(start, end):
        found = (found ^ np.uint64(_lowered(content[i]))) * _PRIME
    return found


@kernel
def _lowered(byte: int) -> int:
    return byte + 32 if 65 <= byte <= 90 else int(byte)


@kernel
def _mixed(value: np.uint64) -> np.uint64:
    value = (value ^ (value >> _33)) * _MIX_1
    value = (value ^ (value >> _33)) * _MIX_2
    return value ^ (value >> _33)


def _fnv(text: bytes) -> int:
    found = int(_START)
    for byte in text:
        found = (found ^ byte) * int(_PRIME) % 2**64
    return found


_TRACKING_HASHES = np.array([_fnv(name) for name in (TRACKING_PREFIX, *sorted(TRACKING))], np.uint64)


def _python_mixed(value: int) -> int:
    for factor in (_MIX_1, _MIX_2):
        value = (value ^ value >> 33) * int(factor) % 2**64
    return value ^ value >> 33


_NOTHING = np.uint64(_python_mixed(_python_mixed(int(_START))))  # hash of a URL of which nothing is left
