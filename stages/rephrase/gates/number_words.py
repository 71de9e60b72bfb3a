"""Numbers that are written in words, and names that stand for numbers."""

from __future__ import annotations

from itertools import product

from stages.rephrase.gates.words import folded

ENGLISH_UNITS = "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen"
ENGLISH_UNITS += " seventeen eighteen nineteen"
GERMAN_UNITS = "null eins zwei drei vier fünf sechs sieben acht neun zehn elf zwölf dreizehn vierzehn fünfzehn sechzehn"
GERMAN_UNITS += " siebzehn achtzehn neunzehn"
FRENCH_UNITS = "zéro un deux trois quatre cinq six sept huit neuf dix onze douze treize quatorze quinze seize"
SPANISH_UNITS = "cero uno dos tres cuatro cinco seis siete ocho nueve diez once doce trece catorce quince dieciséis"
SPANISH_UNITS += " diecisiete dieciocho diecinueve veinte veintiuno veintidós veintitrés veinticuatro veinticinco"
ORDINALS = "zeroth first second third fourth fifth sixth seventh eighth ninth tenth eleventh twelfth thirteenth"
ORDINALS += " fourteenth fifteenth sixteenth seventeenth eighteenth nineteenth"
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
SCALES = {
    **dict.fromkeys(("hundred", "hundert", "cent", "cents", "cien", "ciento"), 1e2),
    **dict.fromkeys(("thousand", "thousands", "tausend", "mille", "mil", "k"), 1e3),
    **dict.fromkeys(("lakh", "lakhs"), 1e5),
    **dict.fromkeys(("million", "millions", "millionen", "millon", "millones", "mio", "mn", "m"), 1e6),
    **dict.fromkeys(("crore", "crores"), 1e7),
    **dict.fromkeys(("billion", "billions", "milliarde", "milliarden", "milliard", "milliards", "mrd", "bn", "b"), 1e9),
    **dict.fromkeys(("trillion", "trillions", "billionen"), 1e12),
}
"""What a word multiplies the number before it by. "billion" is read as in English."""


def _counted(text: str, first: int = 0) -> dict[str, float]:
    return {folded(word): float(value) for value, word in enumerate(text.split(), first)}


def _values() -> dict[str, float]:
    """Value of each number word, folded."""
    values = _counted(ENGLISH_UNITS) | _counted(GERMAN_UNITS) | _counted(FRENCH_UNITS) | _counted(SPANISH_UNITS)
    values |= _counted(ORDINALS) | {"half": 0.5, "dozen": 12.0, "score": 20.0, "single": 1.0, "once": 1.0, "twice": 2.0}
    english = ["twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety"]
    german = ["zwanzig", "dreißig", "vierzig", "fünfzig", "sechzig", "siebzig", "achtzig", "neunzig"]
    french = ["vingt", "trente", "quarante", "cinquante", "soixante"]
    spanish = ["veinte", "treinta", "cuarenta", "cincuenta", "sesenta", "setenta", "ochenta", "noventa"]
    for tens in (english, german, french, spanish):
        values |= {folded(word): 20.0 + 10 * i for i, word in enumerate(tens)}
    values |= {word.removesuffix("y") + "ieth": values[word] for word in english}
    values |= {word.removesuffix("y") + "ies": values[word] for word in english}  # "the sixties"
    units = ["ein", *GERMAN_UNITS.split()[2:10]]
    values |= {
        folded(f"{unit}und{ten}"): values[folded(ten)] + i for (i, unit), ten in product(enumerate(units, 1), german)
    }
    return values | {word: scale for word, scale in SCALES.items() if len(word) > 3}


VALUES = _values()
MONTH_NUMBERS = {name: float(number) for number, names in enumerate(MONTHS, 1) for name in names}
