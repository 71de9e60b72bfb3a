"""Numbers that are written in words, and names that stand for numbers."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from enum import Enum
from functools import cache, lru_cache
from itertools import product
from typing import NamedTuple

from stages.rephrase.gates.words import folded

MONTHS = (
    ("january", "januar", "janvier", "enero", "jan"),
    ("february", "februar", "fevrier", "febrero", "feb"),
    ("march", "marz", "mars", "marzo", "mar"),
    ("april", "avril", "abril", "apr"),
    ("may", "mai", "mayo"),
    ("june", "juni", "juin", "junio", "jun"),
    ("july", "juli", "juillet", "julio", "jul"),
    ("august", "aout", "agosto", "aug"),
    ("september", "septembre", "septiembre", "sep", "sept"),
    ("october", "oktober", "octobre", "octubre", "oct", "okt"),
    ("november", "novembre", "noviembre", "nov"),
    ("december", "dezember", "decembre", "diciembre", "dec", "dez"),
)
MONTH_NUMBERS = {name: number for number, names in enumerate(MONTHS, 1) for name in names}
SCALES = {
    **dict.fromkeys(("hundred", "hundert"), 1e2),
    **dict.fromkeys(("thousand", "thousands", "tausend", "mille", "mil", "k"), 1e3),
    **dict.fromkeys(("lakh", "lakhs"), 1e5),
    **dict.fromkeys(("million", "millions", "millionen", "millon", "millones", "mio", "mn", "m"), 1e6),
    **dict.fromkeys(("crore", "crores"), 1e7),
    **dict.fromkeys(("billion", "billions", "milliarde", "milliarden", "milliard", "milliards", "mrd", "bn", "b"), 1e9),
    **dict.fromkeys(("trillion", "trillions", "billionen"), 1e12),
}
"""What a word multiplies the number in digits before it by. "billion" is read as in English."""


class Kind(Enum):
    """What a number word does to the number that it stands in."""

    ADDED = "added"  # "seven", "twenty"
    ADDED_ONLY = "added only"  # "un" of "vingt et un": elsewhere an article
    HUNDRED = "hundred"
    SCALE = "scale"  # a thousand or more
    ORDINAL = "ordinal"  # "seventh": added, and nothing follows
    SIGN = "sign"  # "both", "decade": supports a number, and is none


class NumberWord(NamedTuple):
    """A word of a number."""

    value: float
    kind: Kind


class Lexicon(NamedTuple):
    """The number words of a language, all folded."""

    words: Mapping[str, NumberWord]
    links: frozenset[str]  # "and" of "two hundred and five", "et", "y"
    denominators: Mapping[str, int]  # "thirds", "quarter"
    halves: frozenset[str]  # what follows the link in "two and a half"
    plurals: frozenset[str]  # "hundreds": of a number only behind one
    vague: frozenset[str]  # "several" hundred
    has_years: bool = False  # "nineteen ninety-five"
    has_twenties: bool = False  # "soixante-dix", "quatre-vingts"
    is_joined: bool = False  # "zweihundertfünf"


class Spelled(NamedTuple):
    """A number found in words."""

    value: float
    end: int  # place behind its last word
    numerator: float | None = None  # of a fraction
    is_ordinal: bool = False


def _added(text: str, first: int = 0, step: int = 1, kind: Kind = Kind.ADDED) -> dict[str, NumberWord]:
    words = enumerate(text.split())
    return {form: NumberWord(float(first + i * step), kind) for i, word in words for form in _forms(word)}


def _forms(word: str) -> set[str]:
    """A word folded, and as it is written where there are no umlauts."""
    return {folded(word), folded(word.replace("ü", "ue").replace("ö", "oe"))}


def _signs(**words: str) -> dict[str, NumberWord]:
    """Signs by their value: ``_2="both pair"``."""
    return {
        form: NumberWord(float(value[1:]), Kind.SIGN)
        for value, text in words.items()
        for word in text.split()
        for form in _forms(word)
    }


def _scales(thousand: str, million: str, milliard: str = "", billion: str = "") -> dict[str, NumberWord]:
    scales = {1e3: thousand, 1e6: million, 1e9: milliard, 1e12: billion}
    return {folded(word): NumberWord(value, Kind.SCALE) for value, text in scales.items() for word in text.split()}


def _denominators(*words: str) -> dict[str, int]:
    """From thirds on: the forms of each."""
    return {form: number for number, text in enumerate(words, 3) for word in text.split() for form in _forms(word)}


def _english() -> Lexicon:
    tens = "twenty thirty forty fifty sixty seventy eighty ninety"
    ordinals = "first second third fourth fifth sixth seventh eighth ninth tenth eleventh twelfth thirteenth fourteenth"
    ordinals += " fifteenth sixteenth seventeenth eighteenth nineteenth"
    words = _signs(
        _1="once single",
        _2="twice both couple pair double doubled doubling twin twins second",
        _3="thrice triple tripled trio threefold",
        _4="quadruple quadrupled quartet",
        _10="decade",
        _12="dozen",
        _14="fortnight",
        _50="half",
        _100="century centenary",
    )
    words |= _added(
        "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen"
    )
    words |= _added("seventeen eighteen nineteen", 17) | _added(tens, 20, 10)
    words |= _added(ordinals, 1, kind=Kind.ORDINAL) | _added(tens.replace("y", "ieth"), 20, 10, Kind.ORDINAL)
    words |= {"second": NumberWord(2.0, Kind.SIGN), "hundredth": NumberWord(100.0, Kind.ORDINAL)}
    words |= {word.removesuffix("y") + "ies": NumberWord(words[word].value, Kind.ADDED) for word in tens.split()}
    words |= {"hundred": NumberWord(100.0, Kind.HUNDRED), "hundreds": NumberWord(100.0, Kind.HUNDRED)}
    words |= _scales("thousand thousands", "million millions", "billion billions", "trillion trillions")
    fractions = _denominators(
        "third thirds", "quarter quarters fourth fourths", *(f"{word} {word}s" for word in ordinals.split()[4:10])
    )
    plurals = frozenset(("hundreds", "thousands", "millions", "billions", "trillions"))
    vague = frozenset(("several", "few", "many"))
    return Lexicon(words, frozenset(("and",)), fractions, frozenset(("a half",)), plurals, vague, has_years=True)


def _german() -> Lexicon:
    units = "null eins zwei drei vier fünf sechs sieben acht neun zehn elf zwölf dreizehn vierzehn fünfzehn sechzehn"
    units += " siebzehn achtzehn neunzehn"
    tens = "zwanzig dreißig vierzig fünfzig sechzig siebzig achtzig neunzig"
    words = _added(units) | _added("zwo", 2) | _added(tens, 20, 10)
    ends = ["ein", *units.split()[2:10]]
    for (unit, end), (i, ten) in product(enumerate(ends, 1), enumerate(tens.split(), 2)):
        words |= _added(f"{end}und{ten}", 10 * i + unit)
        forms = " ".join(f"{end}und{ten}ste{ending}" for ending in ("", "n", "r", "s", "m"))
        words |= _added(forms, 10 * i + unit, 0, Kind.ORDINAL)
    ordinals = [
        "erste",
        "zweite",
        "dritte",
        "vierte",
        "fünfte",
        "sechste",
        "siebte",
        "achte",
        "neunte",
        "zehnte",
        "elfte",
        "zwölfte",
    ]
    for ending in ("", "n", "r", "s", "m"):
        words |= _added(" ".join(word + ending for word in ordinals), 1, kind=Kind.ORDINAL)
        words |= _added(" ".join(f"{word}te{ending}" for word in units.split()[13:]), 13, kind=Kind.ORDINAL)
        words |= _added(" ".join(f"{word}ste{ending}" for word in tens.split()), 20, 10, Kind.ORDINAL)
    words |= _added(" ".join(f"{word}er" for word in tens.split()), 20, 10)  # "die Neunziger"
    for number, end in enumerate(ends[1:], 2):
        words[folded(f"{end}einhalb")] = NumberWord(number + 0.5, Kind.ADDED)
    words |= dict.fromkeys(("anderthalb", "eineinhalb"), NumberWord(1.5, Kind.ADDED))
    words |= {"hundert": NumberWord(100.0, Kind.HUNDRED)}
    words |= _scales("tausend", "million millionen", "milliarde milliarden", "billion billionen")
    words |= _signs(
        _1="einmal einzige einziger einziges einzigen",
        _2="beide beiden beider beides zweimal doppelt doppelte doppelten verdoppelt verdoppelte zwillinge",
        _3="dreimal dreifach dreifache verdreifacht",
        _4="viermal vierfach",
        _10="jahrzehnt jahrzehnts jahrzehnte",
        _12="dutzend",
        _50="halb halbe halben hälfte",
        _100="jahrhundert jahrhunderts",
    )
    endings = ["drittel", "viertel", "fünftel", "sechstel", "siebtel", "achtel", "neuntel", "zehntel"]
    vague = frozenset(("einige", "mehrere", "viele", "wenige", "paar"))
    return Lexicon(words, frozenset(), _denominators(*endings), frozenset(), frozenset(), vague, is_joined=True)


def _french() -> Lexicon:
    units = "zéro un deux trois quatre cinq six sept huit neuf dix onze douze treize quatorze quinze seize"
    words = _added(units) | _added("un une", 1, 0, Kind.ADDED_ONLY) | _added("vingt trente quarante cinquante", 20, 10)
    words |= _added("soixante septante huitante nonante", 60, 10) | {"vingts": NumberWord(20.0, Kind.ADDED_ONLY)}
    ordinals = "deuxième troisième quatrième cinquième sixième septième huitième neuvième dixième onzième douzième"
    ordinals += " treizième quatorzième quinzième seizième"
    words |= _added(ordinals, 2, kind=Kind.ORDINAL) | {"vingtieme": NumberWord(20.0, Kind.ORDINAL)}
    words |= dict.fromkeys(("cent", "cents"), NumberWord(100.0, Kind.HUNDRED))
    words |= _scales("mille", "million millions", "milliard milliards", "billion billions")
    words |= _signs(
        _1="premier première",
        _2="second seconde double doublé couple paire jumeaux",
        _3="triple triplé",
        _9="neuf",  # "new", too
        _10="décennie dizaine",
        _12="douzaine",
        _15="quinzaine",
        _50="moitié demi demie",
        _100="siècle centaine",
    )
    fractions = _denominators("tiers", "quart quarts", *(f"{word} {word}s" for word in ordinals.split()[3:9]))
    plurals = frozenset(("cents", "millions", "milliards", "billions"))
    vague = frozenset(("quelques", "plusieurs"))
    return Lexicon(
        words, frozenset(("et",)), fractions, frozenset(("demi", "demie")), plurals, vague, has_twenties=True
    )


def _spanish() -> Lexicon:
    units = "cero uno dos tres cuatro cinco seis siete ocho nueve diez once doce trece catorce quince dieciséis"
    units += " diecisiete dieciocho diecinueve veinte veintiuno veintidós veintitrés veinticuatro veinticinco"
    units += " veintiséis veintisiete veintiocho veintinueve"
    words = _added(units) | _added("un una uno", 1, 0, Kind.ADDED_ONLY) | _added("veintiún veintiuna", 21, 0)
    words |= _added("treinta cuarenta cincuenta sesenta setenta ochenta noventa", 30, 10)
    hundreds = "doscientos trescientos cuatrocientos quinientos seiscientos setecientos ochocientos novecientos"
    words |= _added("cien", 100) | _added("ciento", 100) | _added(hundreds, 200, 100)
    words |= _added(hundreds.replace("tos", "tas"), 200, 100)
    ordinals = "tercero cuarto quinto sexto séptimo octavo noveno décimo"
    words |= _added(ordinals, 3, kind=Kind.ORDINAL) | _added(ordinals.replace("o ", "a "), 3, kind=Kind.ORDINAL)
    words |= _added("tercer", 3, kind=Kind.ORDINAL)
    words |= _scales("mil", "millón millones", "", "billón billones")
    words |= _signs(
        _1="primero primera primer",
        _2="segundo segunda ambos ambas doble duplicó par pareja gemelos",
        _3="triple triplicó",
        _10="década decena",
        _12="docena",
        _50="mitad medio media",
        _100="siglo centenar centenares cientos miles",
    )
    fractions = _denominators(
        "tercio tercios",
        "cuarto cuartos",
        *(f"{word}s" for word in ["quinto", "sexto", "séptimo", "octavo", "noveno", "décimo"]),
    )
    vague = frozenset(("varios", "varias", "unos", "unas", "algunos", "algunas", "pocos"))
    return Lexicon(words, frozenset(("y",)), fractions, frozenset(("medio", "media")), frozenset(("millones",)), vague)


LANGUAGES = {"en": _english(), "de": _german(), "fr": _french(), "es": _spanish()}
ABROAD = frozenset(
    (
        "elf",
        "onze",
        "once",
        "dos",
        "mil",
        "null",
        "acht",
        "sept",
        "six",
        "dix",
        "cent",
        "cents",
        "par",
        "couple",
    )
)
"""Words that are numbers in one language, and other words elsewhere."""


@cache
def lexicon(language: str | None) -> Lexicon:
    """The number words of a language, and those of the others that mean nothing else elsewhere."""
    own = LANGUAGES.get(language or "")
    parts = [*LANGUAGES.values(), *([own] if own else [])]
    words: dict[str, NumberWord] = {}
    for part in LANGUAGES.values():
        words |= {word: entry for word, entry in part.words.items() if words.get(word, entry) == entry}
    words = {word: entry for word, entry in words.items() if word not in ABROAD}
    return Lexicon(
        {**words, **(own.words if own else {})},
        frozenset[str]().union(*(part.links for part in parts)),
        {word: number for part in parts for word, number in part.denominators.items()},
        frozenset[str]().union(*(part.halves for part in parts)),
        frozenset[str]().union(*(part.plurals for part in parts)),
        frozenset[str]().union(*(part.vague for part in parts)),
        has_years=own is None or own.has_years,
        has_twenties=own is None or own.has_twenties,
        is_joined=own is None or own.is_joined,
    )


def number_word(token: str, known: Lexicon) -> NumberWord | None:
    """What a folded word does in a number; None if it is no number word."""
    if entry := known.words.get(token):
        return entry
    if known.is_joined and len(token) > 6 and ("hundert" in token or "tausend" in token):
        return _joined(token)
    return None


_JOINED = re.compile(r"(?:(?P<thousands>.*?)tausend(?:und)?)?(?:(?P<hundreds>[a-z]*?)hundert(?:und)?)?(?P<rest>[a-z]*)")
_JOINED_ORDINAL = re.compile(r"ste[nrsm]?$")


@lru_cache(1 << 12)
def _joined(token: str) -> NumberWord | None:
    """A German number written as one word: "zweitausendfünf", "dreihundertste"."""
    words = LANGUAGES["de"].words
    stem = _JOINED_ORDINAL.sub("", token)

    def below(text: str) -> float | None:
        return {"": 1.0, "ein": 1.0}.get(text) or (words[text].value if text in words else None)

    match = _JOINED.fullmatch(stem if stem.endswith(("hundert", "tausend")) else token)
    if match is None:
        return None
    thousands, hundreds, rest = match.groups()
    last = words.get("eins" if rest == "ein" else rest) if rest else NumberWord(0.0, Kind.ADDED)
    many = 0.0
    if thousands is not None:
        inner = _joined(thousands) if "hundert" in thousands else None
        count = inner.value if inner else below(thousands)
        many = -1 if count is None else 1000 * count
    hundred = 0.0 if hundreds is None else below(hundreds)
    if last is None or hundred is None or many < 0 or last.kind not in (Kind.ADDED, Kind.ORDINAL):
        return None
    is_ordinal = last.kind is Kind.ORDINAL or stem != token
    return NumberWord(many + 100 * hundred + last.value, Kind.ORDINAL if is_ordinal else Kind.ADDED)


def spelled(tokens: Sequence[str], joined: Sequence[bool], place: int, known: Lexicon) -> Spelled | None:
    """The number in words that begins at a place, as long as it goes: "two hundred and five"; None if none does.

    ``joined`` says of each token whether nothing but space or a hyphen stands between it and the one before.
    """
    total = current = 0.0
    room = last_scale = float("inf")  # what is added next must be less
    end, at, is_ordinal = place, place, False
    while at < len(tokens) and (at == place or joined[at]) and not is_ordinal:
        token = tokens[at]
        entry = number_word(token, known)
        if entry is None:
            if end == place or at != end or token not in known.links or not _goes_on(tokens, joined, at, room, known):
                break
            at += 1
            continue
        value, kind = entry
        if kind is Kind.SIGN:
            follows = number_word(tokens[at + 1], known) if at + 1 < len(tokens) and joined[at + 1] else None
            is_many = follows is not None and follows.kind in (Kind.HUNDRED, Kind.SCALE)  # "neuf cents"
            if token not in ("neuf", "second") or (end == place and not is_many):
                break
            kind = Kind.ADDED if token == "neuf" else Kind.ORDINAL
        if kind is Kind.ADDED_ONLY and end == place:
            break
        if kind is Kind.SCALE:
            if value >= last_scale or (token in known.plurals and end == place):
                break
            total, current, room, last_scale = total + (current or 1.0) * value, 0.0, value, value
        elif kind is Kind.HUNDRED:
            if current >= 100 or (token in known.plurals and end == place):
                break
            current, room = (current or 1.0) * 100, 100.0
        elif known.has_twenties and token in ("vingt", "vingts") and current % 100 == 4 and end > place:
            current, room = current + 76, 20.0
        elif value < room:
            current, room = current + value, _room(value, known)
        elif known.has_years and total == 0 and 10 <= current <= 20 and 10 <= value < 100:
            current, room = 100 * current + value, _room(value, known)
        else:
            break
        at = end = at + 1
        is_ordinal = kind is Kind.ORDINAL
    if end == place:
        return None
    value = total + current
    if not is_ordinal and (halves := _half_behind(tokens, end, known)):
        return _times_scale(tokens, value + 0.5, end + halves, known)
    if not is_ordinal and end < len(tokens) and joined[end] and 1 <= value <= 20:
        number = known.denominators.get(tokens[end])
        if number and (value == 1 or tokens[end].endswith(("s", "tel"))):
            return Spelled(value / number, end + 1, numerator=value)
    return Spelled(value, end, is_ordinal=is_ordinal)


def _goes_on(tokens: Sequence[str], joined: Sequence[bool], link: int, room: float, known: Lexicon) -> bool:
    """Whether a number goes on behind "and": English has it behind hundreds and more, other languages behind tens."""
    entry = number_word(tokens[link + 1], known) if link + 1 < len(tokens) and joined[link + 1] else None
    least = 100.0 if tokens[link] == "and" else 10.0
    return entry is not None and least <= room < float("inf") and entry.value < room and entry.kind is not Kind.SIGN


def _room(value: float, known: Lexicon) -> float:
    """What may follow a number word: a unit behind tens, tens behind hundreds."""
    if value >= 100:
        return 100.0
    if known.has_twenties and value in (60.0, 80.0):
        return 20.0
    if value >= 20 and value % 10 == 0:
        return 10.0
    return 10.0 if known.has_twenties and value == 10 else 0.0


def _half_behind(tokens: Sequence[str], end: int, known: Lexicon) -> int:
    """How many tokens "and a half" has behind a number; 0 if it is not there."""
    if tokens[end : end + 1] and tokens[end] in known.links:
        for length in (2, 3):
            if " ".join(tokens[end + 1 : end + length]) in known.halves:
                return length
    return 0


def _times_scale(tokens: Sequence[str], value: float, end: int, known: Lexicon) -> Spelled:
    entry = known.words.get(tokens[end]) if end < len(tokens) else None
    if entry is not None and entry.kind is Kind.SCALE:
        return Spelled(value * entry.value, end + 1)
    return Spelled(value, end)


def all_signs(tokens: Iterable[str], known: Lexicon) -> set[float]:
    """What the words of a text that are no numbers say in numbers: 2 for "both"."""
    entries = (known.words.get(token) for token in tokens)
    return {entry.value for entry in entries if entry is not None and entry.kind is Kind.SIGN}
