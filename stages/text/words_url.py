"""Whether a chunk is a URL for spaCy: its `URL_PATTERN`, from https://mathiasbynens.be/demo/url-regex.

The pattern is ``(scheme://)? (anything@)? (address | host names) (:port)? (/path)?``. Tried are the few places where
the host may start, and from each the only way to read it, so without backtracking.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from stages.kernel import kernel
from stages.text.chunk import CODE, KIND
from stages.text.unicode_tables import DIGIT, HOST, LOWER, WORD

COLON, SLASH, QUESTION_MARK, HASH, AT, FULL_STOP = ord(":"), ord("/"), ord("?"), ord("#"), ord("@"), ord(".")
PLUS, HYPHEN, UNDERSCORE = ord("+"), ord("-"), ord("_")
ZERO, ONE, TWO, NINE = ord("0"), ord("1"), ord("2"), ord("9")
MAX_LABEL, MAX_TOP_DOMAIN = 64, 63


@kernel
def is_url(chunk: NDArray[np.int64], start: int, end: int) -> bool:
    """Whether spaCy's URL pattern matches the characters from ``start`` to ``end``, none of them whitespace."""
    if _is_from_host(chunk, start, end):
        return True
    after_scheme = start
    while after_scheme < end and (
        chunk[KIND, after_scheme] & WORD
        or chunk[CODE, after_scheme] == PLUS
        or chunk[CODE, after_scheme] == HYPHEN
        or chunk[CODE, after_scheme] == FULL_STOP
    ):
        after_scheme += 1
    if (
        after_scheme >= start + 2
        and after_scheme + 2 < end
        and chunk[CODE, after_scheme] == COLON
        and chunk[CODE, after_scheme + 1] == SLASH
        and chunk[CODE, after_scheme + 2] == SLASH
        and _is_from_host(chunk, after_scheme + 3, end)
    ):
        return True
    for i in range(start + 1, end):  # noqa: SIM110 (numba compiles no generators)
        if chunk[CODE, i] == AT and _is_from_host(chunk, i + 1, end):
            return True
    return False


@kernel
def _is_from_host(chunk: NDArray[np.int64], start: int, end: int) -> bool:
    after_host = _host_end(chunk, start, end)
    if after_host >= 0 and _is_port_and_path(chunk, after_host, end):
        return True
    after_host = _address_end(chunk, start, end)
    return after_host >= 0 and _is_port_and_path(chunk, after_host, end)


@kernel
def _host_end(chunk: NDArray[np.int64], start: int, end: int) -> int:
    """Where a host name such as "www.example.com" ends that starts at ``start``; -1 if there is none."""
    label, i = start, start
    in_host = True  # whether all characters of this label may stand in a host name
    while i < end:
        code = chunk[CODE, i]
        if code == FULL_STOP:
            is_label = in_host and label < i <= label + MAX_LABEL
            if not is_label or not chunk[KIND, label] & HOST or not chunk[KIND, i - 1] & HOST:
                return -1
            label = i + 1
            in_host = True
        elif code in (COLON, SLASH, QUESTION_MARK, HASH):
            break
        elif not chunk[KIND, i] & HOST and code != UNDERSCORE and code != HYPHEN:
            if not chunk[KIND, i] & LOWER:
                return -1
            in_host = False
        i += 1
    if label == start or not label + 2 <= i <= label + MAX_TOP_DOMAIN:
        return -1
    for j in range(label, i):
        if not chunk[KIND, j] & LOWER:
            return -1
    return i


@kernel
def _is_port_and_path(chunk: NDArray[np.int64], start: int, end: int) -> bool:
    i = start
    if i < end and chunk[CODE, i] == COLON:
        i += 1
        while i < end and chunk[KIND, i] & DIGIT:
            i += 1
        if not 2 <= i - start - 1 <= 5:
            return False
    return i == end or chunk[CODE, i] == SLASH or chunk[CODE, i] == QUESTION_MARK or chunk[CODE, i] == HASH


@kernel
def _address_end(chunk: NDArray[np.int64], start: int, end: int) -> int:
    """Where an IPv4 address ends that starts at ``start``; -1 if there is none, or one of a private network."""
    first = _digits_end(chunk, start, end)
    second = _digits_end(chunk, first + 1, end)
    third = _digits_end(chunk, second + 1, end)
    fourth = _digits_end(chunk, third + 1, end)
    if first >= end or second >= end or third >= end:
        return -1
    if chunk[CODE, first] != FULL_STOP or chunk[CODE, second] != FULL_STOP or chunk[CODE, third] != FULL_STOP:
        return -1
    if not _is_octet(chunk, start, first, ONE, 223) or not _is_octet(chunk, third + 1, fourth, ONE, 254):
        return -1
    if not _is_octet(chunk, first + 1, second, 0, 255) or not _is_octet(chunk, second + 1, third, 0, 255):
        return -1
    network, subnet = _number(chunk, start, first), _number(chunk, first + 1, second)
    if network == 10 or network == 127 or (network == 169 and subnet == 254) or (network == 192 and subnet == 168):
        return -1
    # the pattern takes the decimal digits of all scripts where it says \d, as in 2\d here
    in_twenties = second == first + 3 and chunk[CODE, first + 1] == TWO
    if network == 172 and (16 <= subnet <= 31 or in_twenties):
        return -1
    return fourth


@kernel
def _digits_end(chunk: NDArray[np.int64], start: int, end: int) -> int:
    """End of the digits at ``start``, at most three."""
    i = start
    while i < end and i < start + 3 and chunk[KIND, i] & DIGIT:
        i += 1
    return i


@kernel
def _is_octet(chunk: NDArray[np.int64], start: int, end: int, least_first_digit: int, maximum: int) -> bool:
    """Whether one to three digits are a part of an address. The pattern takes digits of all scripts in some places."""
    size = end - start
    if size < 3:
        return bool(size > 0 and (least_first_digit == 0 or ONE <= chunk[CODE, start] <= NINE))
    if chunk[CODE, start] != TWO:
        return bool(chunk[CODE, start] == ONE)
    tens, units = ZERO + maximum // 10 % 10, ZERO + maximum % 10
    second, third = chunk[CODE, start + 1], chunk[CODE, start + 2]
    return bool(ZERO <= second < tens or (second == tens and ZERO <= third <= units))


@kernel
def _number(chunk: NDArray[np.int64], start: int, end: int) -> int:
    """Value of ASCII digits; meaningless, but no small number, for others."""
    value = 0
    for i in range(start, end):
        value = value * 10 + chunk[CODE, i] - ZERO
    return value
