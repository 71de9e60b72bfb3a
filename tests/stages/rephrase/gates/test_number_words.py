"""Numbers in words, read back from how they are spelled."""

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from stages.rephrase.gates.numbers import numbers

ENGLISH = (
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen"
)
ENGLISH_UNITS = f"{ENGLISH} eighteen nineteen".split()
ENGLISH_TENS = ["", "", "twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety"]
GERMAN = (
    "null ein zwei drei vier fünf sechs sieben acht neun zehn elf zwölf dreizehn vierzehn fünfzehn sechzehn siebzehn"
)
GERMAN_UNITS = f"{GERMAN} achtzehn neunzehn".split()
GERMAN_TENS = ["", "", "zwanzig", "dreißig", "vierzig", "fünfzig", "sechzig", "siebzig", "achtzig", "neunzig"]
FRENCH = (
    "zéro un deux trois quatre cinq six sept huit neuf dix onze douze treize quatorze quinze seize dix-sept dix-huit"
)
FRENCH_UNITS = f"{FRENCH} dix-neuf".split()
FRENCH_TENS = [
    "",
    "",
    *["vingt", "trente", "quarante", "cinquante", "soixante", "soixante", "quatre-vingt", "quatre-vingt"],
]
SPANISH = (
    "cero uno dos tres cuatro cinco seis siete ocho nueve diez once doce trece catorce quince dieciséis diecisiete"
)
SPANISH += " dieciocho diecinueve veinte veintiuno veintidós veintitrés veinticuatro veinticinco veintiséis veintisiete"
SPANISH_UNITS = f"{SPANISH} veintiocho veintinueve".split()
SPANISH_TENS = ["", "", "", *["treinta", "cuarenta", "cincuenta", "sesenta", "setenta", "ochenta", "noventa"]]
SPANISH_HUNDREDS = ["", "ciento", "doscientos", "trescientos", "cuatrocientos", "quinientos", "seiscientos"]
SPANISH_HUNDREDS += ["setecientos", "ochocientos", "novecientos"]


def english(n: int) -> str:
    if n >= 1000:
        rest = n % 1000
        return f"{english(n // 1000)} thousand" + (f"{' and' * (rest < 100)} {english(rest)}" if rest else "")
    if n >= 100:
        return f"{ENGLISH_UNITS[n // 100]} hundred" + (f" and {english(n % 100)}" if n % 100 else "")
    return ENGLISH_UNITS[n] if n < 20 else ENGLISH_TENS[n // 10] + (f"-{ENGLISH_UNITS[n % 10]}" if n % 10 else "")


def german(n: int, end: str = "s") -> str:
    if n >= 1000:
        return f"{german(n // 1000, '')}tausend" + (german(n % 1000) if n % 1000 else "")
    if n >= 100:
        return f"{GERMAN_UNITS[n // 100]}hundert" + (german(n % 100, end) if n % 100 else "")
    if n < 20:
        return GERMAN_UNITS[n] + end * (n == 1)
    return (f"{GERMAN_UNITS[n % 10]}und" if n % 10 else "") + GERMAN_TENS[n // 10]


def french(n: int) -> str:
    if n >= 1000:
        many = f"{french(n // 1000)} " if n >= 2000 else ""
        return f"{many}mille" + (f" {french(n % 1000)}" if n % 1000 else "")
    if n >= 100:
        many = f"{FRENCH_UNITS[n // 100]} " if n >= 200 else ""
        return f"{many}cent" + (f" {french(n % 100)}" if n % 100 else "")
    if n < 20:
        return FRENCH_UNITS[n]
    unit = n % 20 if n >= 60 else n % 10
    link = " et " if unit in (1, 11) and n < 80 else "-"
    return FRENCH_TENS[n // 10] + (f"{link}{FRENCH_UNITS[unit]}" if unit else "")


def spanish(n: int) -> str:
    if n >= 1000:
        many = f"{spanish(n // 1000)} " if n >= 2000 else ""
        return f"{many}mil" + (f" {spanish(n % 1000)}" if n % 1000 else "")
    if n >= 100:
        return "cien" if n == 100 else SPANISH_HUNDREDS[n // 100] + (f" {spanish(n % 100)}" if n % 100 else "")
    return SPANISH_UNITS[n] if n < 30 else SPANISH_TENS[n // 10] + (f" y {SPANISH_UNITS[n % 10]}" if n % 10 else "")


SPELLERS = {"en": english, "de": german, "fr": french, "es": spanish}


AMBIGUOUS = {"fr": (1, 9), "es": (1,)}  # "un", "neuf": alone they are no numbers


@pytest.mark.parametrize("language", SPELLERS)
@given(n=st.integers(0, 999_999))
def test_a_number_is_read_as_it_was_spelled(language: str, n: int) -> None:
    assume(n not in AMBIGUOUS.get(language, ()))
    text = SPELLERS[language](n)
    assert [number.readings for number in numbers(f"x {text} x", language).found] == [{n}], text


@pytest.mark.parametrize("language", SPELLERS)
def test_all_numbers_below_a_thousand_are_read(language: str) -> None:
    spelled = {n: SPELLERS[language](n) for n in range(1000) if n not in AMBIGUOUS.get(language, ())}
    read = {n: [number.readings for number in numbers(text, language).found] for n, text in spelled.items()}
    assert {n: found for n, found in read.items() if found != [{n}]} == {}


@given(st.lists(st.integers(2, 999), min_size=2, max_size=5))
def test_numbers_between_commas_are_not_added_up(values: list[int]) -> None:
    found = numbers(", ".join(map(english, values)), "en").found
    assert [max(number.readings) for number in found] == values


@pytest.mark.parametrize(
    ("text", "language", "value"),
    [
        ("nineteen eighty-four", "en", 1984),
        ("twenty twenty-four", "en", 2024),
        ("nineteen hundred and five", "en", 1905),
        ("two and a half million", "en", 2_500_000),
        ("the twenty-first", "en", 21),
        ("zweieinhalb", "de", 2.5),
        ("am einundzwanzigsten", "de", 21),
        ("deux millions trois cent mille", "fr", 2_300_000),
        ("dos millones", "es", 2_000_000),
    ],
)
def test_years_halves_and_ordinals_are_read(text: str, language: str, value: float) -> None:
    assert [number.readings for number in numbers(text, language).found] == [{value}]


@pytest.mark.parametrize("text", ["hundreds of people", "several thousand people", "on the other hand", "both of them"])
def test_vague_amounts_are_no_numbers(text: str) -> None:
    assert numbers(text, "en").found == ()


def test_a_word_of_another_language_is_no_number() -> None:
    assert numbers("the elf spoke once, as onze does in Dutch", "en").found == ()
