"""Phone numbers: a cheap look at how a number is written, then the national numbering plans of phonenumbers.

A number is taken in one of three cases: it starts with + and a country's code; it is written as one region of the
document writes its numbers; or a word before it says that it is one.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from stages.privacy.addresses import Extent, stands_alone

_SEPARATORS = r"[ .()/\u00a0\u2010-\u2015-]"
_NANP = re.compile(
    r"(?<![0-9])(?:1[-. ])?(?:\([2-9][0-9]{2}\)[ \u00a0-]?|[2-9][0-9]{2}[-.\u2010-\u2015/])"
    r"[2-9][0-9]{2}[-.\u2010-\u2015][0-9]{4}(?![0-9])"
)
_TRUNK = re.compile(rf"(?<![0-9])\(?0[0-9]{{1,5}}\)?{_SEPARATORS}{{1,3}}[0-9](?:{_SEPARATORS}?[0-9]){{4,10}}(?![0-9])")
_DATE = re.compile(r"[0-9]{1,2}([./-])[0-9]{1,2}\1[0-9]{2,4}|[0-9]{4}([./-])[0-9]{1,2}\2[0-9]{1,2}")
_LABEL = re.compile(
    r"(?i)(?:(?<![^\W_])(?:tele?|ph|phone|telephone|fax|telefax|mobile|cell|call|hotline|whatsapp|sms|helpline|"
    r"telefon|telefonnummer|mobil|handy|rufnummer|téléphone|tél|portable|teléfono|móvil|telefono|cellulare|telefoon|"
    r"mobiel|telefone|celular|telemóvel|тел|телефон)|电话|手机|電話|手機|联系方式)"
    r"(?:[ \t\u00a0.(]|[:：]\s?|(?:number|no|nr|us|at|on|is|now|today)(?![^\W_]))*+$"
)
NANP_REGIONS = frozenset({"US", "CA", "PR", "DO", "JM", "TT", "BS", "BB"})
REGIONS_OF_LANGUAGE = {
    # where most pages of the language come from
    "en": ("US", "GB"), "de": ("DE", "AT", "CH"), "fr": ("FR", "BE", "CH"), "es": ("ES", "MX"), "it": ("IT",),
    "nl": ("NL", "BE"), "pt": ("BR", "PT"), "pl": ("PL",), "ru": ("RU",), "uk": ("UA",), "cs": ("CZ",), "sk": ("SK",),
    "sv": ("SE",), "da": ("DK",), "no": ("NO",), "fi": ("FI",), "hu": ("HU",), "ro": ("RO",), "bg": ("BG",),
    "el": ("GR",), "tr": ("TR",), "ar": ("EG", "SA"), "he": ("IL",), "fa": ("IR",), "hi": ("IN",), "zh": ("CN", "TW"),
    "ja": ("JP",), "ko": ("KR",), "vi": ("VN",), "id": ("ID",), "th": ("TH",), "hr": ("HR",), "sr": ("RS",),
}  # fmt: skip
ALL_REGIONS = tuple(dict.fromkeys(region for regions in REGIONS_OF_LANGUAGE.values() for region in regions))
_COUNTRY_DOMAIN = re.compile(r"^(?:[a-z]+:)?//[^/?#]*\.([a-z]{2})(?::[0-9]+)?(?:[/?#]|$)")


def usual_regions(language: str | None, url: str | None) -> tuple[str, ...]:
    """Regions whose way to write numbers a document most likely follows: its country domain's, its language's."""
    domain = _COUNTRY_DOMAIN.match(url.lower()) if url else None
    regions = [{"uk": "GB"}.get(domain.group(1), domain.group(1).upper())] if domain else []
    regions += REGIONS_OF_LANGUAGE.get((language or "")[:2], ())
    return tuple(dict.fromkeys(regions))


def phones(text: str, start: int, end: int, regions: Sequence[str]) -> Iterator[Extent]:
    """Phone numbers in a run of digits and separators that starts with a digit."""
    first = start - 1 if text[start - 1 : start] == "(" else start
    if start and text[first - 1 : first] == "+":
        found = _longest_valid(text, first - 1, end, "ZZ")
        if found is not None and not text[first - 2 : first - 1].isalnum():
            yield found
        return
    if not regions:
        return
    if _LABEL.search(text, max(0, first - 24), first):
        found = next(filter(None, (_longest_valid(text, first, end, region) for region in regions)), None)
        if found is not None:
            yield found
        return
    position = first
    nanp = next((region for region in regions if region in NANP_REGIONS), None)
    others = [region for region in regions if region not in NANP_REGIONS]
    if nanp is not None:
        for match in _NANP.finditer(text, first, end):
            if _stands_alone(text, *match.span()) and _is_valid(match.group(), nanp):
                position = match.end()
                yield match.span()
    if others and position == first:
        for match in _TRUNK.finditer(text, first, end):
            number = match.group()
            if _DATE.match(number) or not _stands_alone(text, *match.span()):
                continue
            if any(_is_valid(number, region) for region in others):
                yield match.span()


def _stands_alone(text: str, start: int, end: int) -> bool:
    """Whether a number without + or label is neither part of a longer one nor of a name, link or sum."""
    before, after = text[max(0, start - 2) : start], text[end : end + 2]
    in_row = (before[:1].isdigit() and before[1:].isspace()) or (after[:1].isspace() and after[1:].isdigit())
    joined = before[-1:] in ("/", "-", ".", "=", "_", "#", "$", "€", "£", ":") if before[-2:] != ": " else False
    return not in_row and not joined and after[:1] not in ("/", "%", "=") and stands_alone(text, start, end)


_GOES_ON = re.compile(r"\w|[.,][0-9]")
_ENDS_IN_FRACTION = re.compile(r"[.,][0-9]$")
MAX_DIGITS = 15  # of an international number: ITU-T E.164, section 6.1


def _longest_valid(text: str, start: int, end: int, region: str) -> Extent | None:
    """The longest prefix of a run that ends with a group of digits and is a valid number; at most four are tried."""
    limit = min(end, start + 40)
    ends = [match.end() for match in re.finditer("[0-9]+(?![0-9])", text[start : min(end, limit + 1)])]
    tried = 0
    for length in reversed(ends):
        number = text[start : start + length]
        digits = sum(map(str.isdigit, number))
        if digits > MAX_DIGITS or _GOES_ON.match(text, start + length) or _ENDS_IN_FRACTION.search(number):
            continue
        if digits < 7 or tried == 4:
            return None
        tried += 1
        if _is_valid(number, region):
            return start, start + length
    return None


def _is_valid(number: str, region: str) -> bool:
    import phonenumbers

    try:
        return phonenumbers.is_valid_number(phonenumbers.parse(number, region))
    except phonenumbers.NumberParseException:
        return False
