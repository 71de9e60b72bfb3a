"""Payment card numbers and IBANs: both carry a checksum, so that what is found is almost surely one."""

from __future__ import annotations

import re
from collections.abc import Iterator

from stages.privacy.addresses import Extent, stands_alone

ISSUERS = (
    # Prefixes and lengths: ISO/IEC 7812 ranges as the networks publish them
    (re.compile(r"4"), (13, 16, 19)),  # Visa
    (re.compile(r"5[1-5]|222[1-9]|22[3-9]|2[3-6]|27[01]|2720"), (16,)),  # Mastercard
    (re.compile(r"3[47]"), (15,)),  # American Express
    (re.compile(r"6011|64[4-9]|65"), (16, 19)),  # Discover
    (re.compile(r"35(?:2[89]|[3-8])"), (16, 19)),  # JCB
    (re.compile(r"30[0-5]|3095|36|3[89]"), (14,)),  # Diners Club
    (re.compile(r"62"), (16, 17, 18, 19)),  # UnionPay
    (re.compile(r"220[0-4]"), (16,)),  # Mir
    (re.compile(r"50(?:18|20|38)|5893|6304|6759|676[1-3]"), (16, 17, 18, 19)),  # Maestro
)
_CARD = re.compile(
    r"(?<![0-9])(?:[0-9]{13,19}"
    r"|[0-9]{4}([ \u00a0-])[0-9]{4}\1[0-9]{4}\1[0-9]{1,4}(?:\1[0-9]{3})?"
    r"|[0-9]{4}([ \u00a0-])[0-9]{6}\2[0-9]{4,5})(?![0-9])"
)


def cards(text: str, start: int, end: int) -> Iterator[Extent]:
    """Card numbers in a run of digits and separators: an issuer's prefix and length, grouped as on a card, Luhn."""
    for match in _CARD.finditer(text, start, end):
        digits = re.sub("[^0-9]", "", match.group())
        if not _has_issuer(digits) or not luhn_holds(digits):
            continue
        if stands_alone(text, *match.span()) and not _is_part_of_a_longer_number(text, *match.span()):
            yield match.span()


def _is_part_of_a_longer_number(text: str, start: int, end: int) -> bool:
    """Whether it is a piece of a table row, a fraction, a path or a name rather than a number of its own."""
    before = text[max(0, start - 2) : start]
    joined = before[-1:] in ("/", "=", "&", "#", ".", "$", "\\") if start else False
    if before[-1:] == "=" and not re.search(r"[?&]\w{0,20}=$", text[max(0, start - 24) : start]):
        joined = False  # an assignment, not a link's parameter
    in_row = before[:1].isdigit() and before[1:] in (" ", "\t", ",", ";")
    in_row = in_row or re.match(r"[ \t,;][0-9]{4}(?![0-9])", text[end : end + 6]) is not None
    return joined or in_row


def _has_issuer(digits: str) -> bool:
    return any(prefix.match(digits) and len(digits) in lengths for prefix, lengths in ISSUERS)


def luhn_holds(digits: str) -> bool:
    """The checksum of ISO/IEC 7812-1, annex B."""
    doubled = (int(digit) * 2 for digit in digits[-2::-2])
    return (sum(map(int, digits[-1::-2])) + sum(d - 9 if d > 9 else d for d in doubled)) % 10 == 0


IBAN_LENGTHS = {
    # SWIFT IBAN registry, release 99
    **{"AD": 24, "AE": 23, "AL": 28, "AT": 20, "AZ": 28, "BA": 20, "BE": 16, "BG": 22, "BH": 22, "BI": 27, "BR": 29},
    **{"BY": 28, "CH": 21, "CR": 22, "CY": 28, "CZ": 24, "DE": 22, "DJ": 27, "DK": 18, "DO": 28, "EE": 20, "EG": 29},
    **{"ES": 24, "FI": 18, "FK": 18, "FO": 18, "FR": 27, "GB": 22, "GE": 22, "GI": 23, "GL": 18, "GR": 27, "GT": 28},
    **{"HN": 28, "HR": 21, "HU": 28, "IE": 22, "IL": 23, "IQ": 23, "IS": 26, "IT": 27, "JO": 30, "KW": 30, "KZ": 20},
    **{"LB": 28, "LC": 32, "LI": 21, "LT": 20, "LU": 20, "LV": 21, "LY": 25, "MC": 27, "MD": 24, "ME": 22, "MK": 19},
    **{"MN": 20, "MR": 27, "MT": 31, "MU": 30, "NI": 28, "NL": 18, "NO": 15, "OM": 23, "PK": 24, "PL": 28, "PS": 29},
    **{"PT": 25, "QA": 29, "RO": 24, "RS": 22, "RU": 33, "SA": 24, "SC": 31, "SD": 18, "SE": 24, "SI": 19, "SK": 24},
    **{"SM": 27, "SO": 23, "ST": 25, "SV": 28, "TL": 23, "TN": 24, "TR": 26, "UA": 29, "VA": 22, "VG": 24, "XK": 20},
    "YE": 30,
}
_IBAN = re.compile(r"[A-Z]{2}[0-9]{2}(?:[ \u00a0]?[A-Z0-9]){11,30}")


def iban(text: str, start: int) -> Extent | None:
    """The IBAN that starts here: its country's length, in one piece or in groups of four, and the check of ISO 7064."""
    length = IBAN_LENGTHS.get(text[start : start + 2])
    match = _IBAN.match(text, start)
    if length is None or match is None:
        return None
    end, characters = start, 0
    while end < match.end() and characters < length:
        characters += text[end].isalnum()
        end += 1
    written = text[start:end]
    if characters < length or not stands_alone(text, start, end) or not _is_grouped_by_four(written):
        return None
    return (start, end) if mod97_holds(re.sub("[^A-Z0-9]", "", written)) else None


def _is_grouped_by_four(written: str) -> bool:
    groups = re.split("[ \u00a0]", written)
    return len(groups) == 1 or (all(len(group) == 4 for group in groups[:-1]) and len(groups[-1]) <= 4)


def mod97_holds(account: str) -> bool:
    """The checksum of an IBAN without separators (ISO 13616-1, by ISO/IEC 7064 MOD 97-10)."""
    return int("".join(str(int(character, 36)) for character in account[4:] + account[:4])) % 97 == 1
