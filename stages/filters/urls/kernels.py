"""Inner loops: hashes, lists of domains, and which URLs are worth a closer look.

Names are compared by 64 bits: FNV-1a (http://www.isthe.com/chongo/tech/comp/fnv), its bits mixed at the end so that the
first ones can serve as an index.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from stages.kernel import kernel

Bytes = NDArray[np.uint8]
Hashes = NDArray[np.uint64]

FNV_OFFSET = np.uint64(0xCBF29CE484222325)
FNV_PRIME = np.uint64(0x100000001B3)
_MIX_1, _MIX_2 = np.uint64(0xFF51AFD7ED558CCD), np.uint64(0xC4CEB9FE1A85EC53)  # MurmurHash3's fmix64
_33 = np.uint64(33)
MAX_HOST_BYTES = 255  # RFC 1035, section 2.3.4
DIGITS_AND_LETTERS = 36
ROOT = 0

SLASH, QUESTION_MARK, NUMBER_SIGN, COLON, DOT, NEWLINE = (ord(c) for c in "/?#:.\n")


@kernel
def mixed(h: np.uint64) -> np.uint64:
    h = (h ^ (h >> _33)) * _MIX_1
    h = (h ^ (h >> _33)) * _MIX_2
    return h ^ (h >> _33)


@kernel
def hash_of(data: Bytes, start: int, end: int) -> np.uint64:
    h = FNV_OFFSET
    for i in range(start, end):
        h = (h ^ np.uint64(data[i])) * FNV_PRIME
    return mixed(h)


@kernel
def hashes_of(data: Bytes, offsets: NDArray[np.int64]) -> Hashes:
    """Hash of each piece of ``data`` between two offsets."""
    hashes = np.empty(len(offsets) - 1, np.uint64)
    for i in range(len(hashes)):
        hashes[i] = hash_of(data, offsets[i], offsets[i + 1])
    return hashes


@kernel
def contains(keys: Hashes, starts: NDArray[np.int64], shift: int, wanted: np.uint64) -> bool:
    """Whether a hash is in ``keys`` (sorted); ``starts`` says where those begin that agree in the first bits."""
    if len(keys) == 0:
        return False
    bucket = np.int64(wanted >> np.uint64(shift))
    low, high = starts[bucket], starts[bucket + 1]
    while low < high:
        middle = (low + high) // 2
        if keys[middle] < wanted:
            low = middle + 1
        else:
            high = middle
    return low < starts[bucket + 1] and bool(keys[low] == wanted)


@kernel
def lowered(byte: int) -> int:
    return byte + 32 if 65 <= byte <= 90 else byte


@kernel
def number_of(byte: int) -> int:
    """0 to 35 for digits and lower-case letters, -1 for others."""
    if 97 <= byte <= 122:
        return byte - 97 + 10
    return byte - 48 if 48 <= byte <= 57 else -1


@kernel
def is_in_label(byte: int) -> bool:
    return number_of(byte) >= 0 or byte == 45 or byte == 95  # "-" and "_"


@kernel
def plain_domain(data: Bytes, start: int, end: int) -> int:
    """Where the second label starts, if these lowered bytes are a domain in ASCII; else -1."""
    second = -1
    label = start
    for i in range(start, end):
        if data[i] == DOT:
            if i == label:
                return -1
            label = i + 1
            if second < 0:
                second = label
        elif not is_in_label(data[i]):
            return -1
    if second < 0 or end - label < 2 or number_of(data[label]) < 10 or number_of(data[end - 1]) < 0:
        return -1
    return second


@kernel
def scan_lines(
    data: Bytes,
    suffixes: tuple[Hashes, NDArray[np.int64], int],
    wildcards: tuple[Hashes, NDArray[np.int64], int],
) -> tuple[Hashes, NDArray[np.int64], int]:
    """Hashes of the lines that are plain domains, and where other lines lie.

    Args:
        data: whole lines; their ASCII letters become lower case where a line is a plain domain.
        suffixes: public suffixes, as ``contains`` takes them; such lines are not plain.
        wildcards: domains whose every domain directly below is a public suffix.

    Returns:
        Hashes; rows of (number of the line, start, end), blank lines left out; the number of lines.
    """
    hashes = np.empty(len(data) // 4 + 1, np.uint64)  # the shortest plain line is "a.bc"
    others = np.empty((64, 3), np.int64)
    found = other = line = position = 0
    while position < len(data):
        end_of_line = position
        while end_of_line < len(data) and data[end_of_line] != NEWLINE:
            end_of_line += 1
        start, end = position, end_of_line
        while start < end and data[start] <= 32:
            start += 1
        while start < end and data[end - 1] <= 32:
            end -= 1
        if start < end:
            name = np.empty(end - start, np.uint8)
            for i in range(end - start):
                name[i] = lowered(data[start + i])
            second = plain_domain(name, 0, len(name))
            h = hash_of(name, 0, len(name))
            if (
                second >= 0
                and not contains(suffixes[0], suffixes[1], suffixes[2], h)
                and not contains(wildcards[0], wildcards[1], wildcards[2], hash_of(name, second, len(name)))
            ):
                hashes[found] = h
                found += 1
            else:
                if other == len(others):
                    grown = np.empty((2 * other, 3), np.int64)
                    grown[:other] = others
                    others = grown
                others[other, 0], others[other, 1], others[other, 2] = line, start, end
                other += 1
        line += 1
        position = end_of_line + 1
    return hashes[:found], others[:other], line


@kernel
def worth_a_look(
    data: Bytes,
    offsets: NDArray[np.int64],
    domains: tuple[Hashes, NDArray[np.int64], int],
    urls: tuple[Hashes, NDArray[np.int64], int],
    words: tuple[Hashes, NDArray[np.int64], int],
    substrings: NDArray[np.int32],
    look: NDArray[np.bool_],
) -> None:
    """Clear ``look`` for the URLs that no list says anything of.

    It stays set where something may be listed, and where a URL is not of the plain form http://host/path in printable
    ASCII without percent-encoding.

    Args:
        data: all URLs, one behind the other.
        offsets: where each starts, and the end.
        domains: listed domains, as ``contains`` takes them.
        urls: listed pages and folders.
        words: listed words.
        substrings: next state of the automaton by state and digit or letter; -1 where a listed substring ends.
    """
    for row in range(len(look)):
        if look[row]:
            look[row] = may_be_listed(data, offsets[row], offsets[row + 1], domains, urls, words, substrings)


@kernel
def may_be_listed(
    data: Bytes,
    start: int,
    end: int,
    domains: tuple[Hashes, NDArray[np.int64], int],
    urls: tuple[Hashes, NDArray[np.int64], int],
    words: tuple[Hashes, NDArray[np.int64], int],
    substrings: NDArray[np.int32],
) -> bool:
    host = behind_scheme(data, start, end)
    if host < 0:
        return True
    end_of_host = host
    while end_of_host < end and (data[end_of_host] == DOT or is_in_label(lowered(data[end_of_host]))):
        end_of_host += 1
    if end_of_host < end and data[end_of_host] not in (SLASH, QUESTION_MARK, NUMBER_SIGN):
        return True  # a port, a user name, an IPv6 address
    if end_of_host == host or end_of_host - host > MAX_HOST_BYTES:
        return True
    if data[host] == DOT or data[end_of_host - 1] == DOT:
        return True

    label = host
    while label < end_of_host:
        h = FNV_OFFSET
        next_label = end_of_host
        for i in range(label, end_of_host):
            h = (h ^ np.uint64(lowered(data[i]))) * FNV_PRIME
            if data[i] == DOT and next_label == end_of_host:
                next_label = i + 1
        if contains(domains[0], domains[1], domains[2], mixed(h)):
            return True
        if is_punycode(data, label, end_of_host):
            return True
        label = next_label

    site = host + 4 if is_www(data, host, end_of_host) else host
    page = word = FNV_OFFSET
    in_word = False
    state = ROOT
    for i in range(host, end):
        byte = data[i]
        if byte == NUMBER_SIGN:
            end = i
            break
        if byte <= 32 or byte > 126 or byte == 37 or byte == 92:  # "%", a backslash
            return True
        low = lowered(byte)
        if byte in (SLASH, QUESTION_MARK) and contains(urls[0], urls[1], urls[2], mixed(page)):
            return True
        if i >= site:
            page = (page ^ np.uint64(low if i < end_of_host else byte)) * FNV_PRIME
        number = number_of(low)
        if number >= 0:
            word = (word ^ np.uint64(low)) * FNV_PRIME
            in_word = True
            state = substrings[state, number]
            if state < 0:
                return True
        elif in_word:
            if contains(words[0], words[1], words[2], mixed(word)):
                return True
            word = FNV_OFFSET
            in_word = False
    return contains(urls[0], urls[1], urls[2], mixed(page)) or contains(words[0], words[1], words[2], mixed(word))


@kernel
def holds_a_word(data: Bytes, automaton: NDArray[np.int32]) -> bool:
    """Whether a word of the automaton is in these lowered bytes."""
    state = ROOT
    for i in range(len(data)):
        number = number_of(data[i])
        state = automaton[state, number] if number >= 0 else ROOT
        if state < 0:
            return True
    return False


@kernel
def behind_scheme(data: Bytes, start: int, end: int) -> int:
    """Where the host starts in http://host or https://host; -1 if the URL starts otherwise."""
    http = (104, 116, 116, 112)
    if end - start < 7:
        return -1
    for i in range(4):
        if lowered(data[start + i]) != http[i]:
            return -1
    colon = start + 5 if lowered(data[start + 4]) == 115 else start + 4
    if end - colon < 3 or data[colon] != COLON or data[colon + 1] != SLASH or data[colon + 2] != SLASH:
        return -1
    return colon + 3


@kernel
def is_www(data: Bytes, start: int, end: int) -> bool:
    if end - start < 4 or data[start + 3] != DOT:
        return False
    return lowered(data[start]) == 119 and lowered(data[start + 1]) == 119 and lowered(data[start + 2]) == 119


@kernel
def is_punycode(data: Bytes, start: int, end: int) -> bool:
    """Whether a label starts with "xn--"."""
    if end - start < 4 or data[start + 2] != 45 or data[start + 3] != 45:
        return False
    return lowered(data[start]) == 120 and lowered(data[start + 1]) == 110
