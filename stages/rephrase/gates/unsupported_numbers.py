"""Whether the numbers of an answer stand in its source, or follow from how they are written there."""

from __future__ import annotations

from functools import lru_cache
from itertools import pairwise, product
from typing import NamedTuple

import regex

from stages.rephrase.answers import ParsedAnswer
from stages.rephrase.gates.context import GateContext
from stages.rephrase.gates.number_words import MONTH_NUMBERS, all_signs, lexicon
from stages.rephrase.gates.numbers import (
    Number,
    Numbers,
    Value,
    as_value,
    fraction_values,
    is_day,
    months,
    months_beside,
    numbers,
)
from stages.rephrase.gates.words import REMEMBERED_TEXTS, told

_LIST_NUMBER = regex.compile(
    r"^\W*(?:(?:step|question|answer|part|chapter|schritt|frage|antwort|étape|paso|pregunta|q|a)\s*)?"
    r"(\d{1,3})\s*[.):](?!\d)",
    regex.MULTILINE | regex.IGNORECASE,
)
_REFERENCE = regex.compile(r"\[(\d{1,3})\]")
_LARGEST_OWN_COUNT = 10  # "four kinds": what an answer counts up itself; it would write larger numbers as digits
_YEARS = range(1000, 2101)
_MOST_YEARS = 20  # of a source, whose differences are taken
_YEAR_UNITS = frozenset(("year", "years", "jahr", "jahre", "jahren", "annee", "annees", "ans", "an", "ano", "anos"))
_SECONDS = {
    **dict.fromkeys(("second", "seconds", "sekunde", "sekunden", "segundos"), 1.0),
    **dict.fromkeys(("minute", "minutes", "minuten", "minuto", "minutos"), 60.0),
    **dict.fromkeys(("hour", "hours", "stunde", "stunden", "heure", "heures", "hora", "horas"), 3600.0),
    **dict.fromkeys(("day", "days", "tag", "tage", "tagen", "jour", "jours", "dia", "dias"), 86400.0),
    **dict.fromkeys(("week", "weeks", "woche", "wochen", "semaine", "semaines", "semana", "semanas"), 7 * 86400.0),
    **dict.fromkeys(("month", "months", "monat", "monate", "monaten", "mois", "mes", "meses"), 1e9),
    **dict.fromkeys(("year", "years", "jahr", "jahre", "jahren", "an", "ans", "ano", "anos"), 12e9),
    **dict.fromkeys(("decade", "decades", "jahrzehnt", "jahrzehnte", "decennie", "decada", "decadas"), 120e9),
}
"""By units of time; from months on, which have no fixed number of days, by a measure of their own."""
_HALF_WORDS = frozenset(("half", "halbe", "halben", "halb", "demi", "media", "medio"))
_ONE_OF_A_UNIT = frozenset(("a", "an", "une", "un", "eine", "einem", "una"))  # "an hour"
_MOST_ROUNDED_DIGITS = 2  # that "about" leaves of a number
_SLACK_OF_FRACTION = 3  # percentage points: "about a third" of 35 %
_RATIO = frozenset(("in", "von", "sur"))  # "one in five"
_LONE_DENOMINATORS = (3, 4)  # "a third"; "the sixth" is no fraction
_ROMAN = regex.compile(r"\b[IVX]{1,6}\b")
_ROMAN_DIGITS = {"I": 1, "V": 5, "X": 10}
_SIGNIFICANT_DIGITS = 2  # that a rounded number must keep
_REACH_OF_PM = 8  # characters behind an hour: ":30 p.m."


def unsupported_numbers(source: str, answer: ParsedAnswer, context: GateContext) -> float:
    """How many of the answer's numbers do not stand in the source."""
    are_supported = _are_supported(told(answer, context), source, context.language)
    return float(len(are_supported) - sum(are_supported))


def number_precision(source: str, answer: ParsedAnswer, context: GateContext) -> float:
    """Share of the answer's numbers that stand in the source; 1 if it has none."""
    are_supported = _are_supported(told(answer, context), source, context.language)
    return sum(are_supported) / len(are_supported) if are_supported else 1.0


@lru_cache(REMEMBERED_TEXTS)
def _are_supported(text: str, source: str, language: str | None) -> tuple[bool, ...]:
    """Of each number of an answer that must come from its source, those that it may have counted up itself apart,
    whether it does."""
    content = numbers(text, language)
    return tuple(
        is_supported(number, source, language)
        for number in own_numbers(text, source, language)
        if not is_own_count(number)
        and not is_span_of_years(number, content, source, language)
        and not is_same_duration(number, content, source, language)
    )


@lru_cache(REMEMBERED_TEXTS)
def own_numbers(text: str, source: str, language: str | None) -> tuple[Number, ...]:
    """The numbers of an answer without those of its lists and, unless the source has such, of its references: [4]."""
    unchecked = _numbering(text)
    if not _REFERENCE.search(source):
        unchecked |= {match.start(1) for match in _REFERENCE.finditer(text)}
    return tuple(number for number in numbers(text, language).found if number.span[0] not in unchecked)


def _numbering(text: str) -> set[int]:
    """Where a text numbers its own lines, one after the other from 1 or 0."""
    places: set[int] = set()
    last = 0
    for match in _LIST_NUMBER.finditer(text):
        number = int(match.group(1))
        if number in (0, 1, last + 1):
            places.add(match.start(1))
            last = number
    return places


def is_own_count(number: Number) -> bool:
    """Whether an answer may have counted up a number itself: "four kinds"."""
    return number.in_words and not number.is_fraction and max(number.readings) <= _LARGEST_OWN_COUNT


def is_span_of_years(number: Number, content: Numbers, source: str, language: str | None) -> bool:
    """Whether a number counts the years between two that the source names: "seven years later" of 1632 and 1639."""
    return counts_years(number, content) and not number.readings.isdisjoint(spans_of_years(source, language))


def counts_years(number: Number, content: Numbers) -> bool:
    """Whether a number is one of years: "seven years"."""
    return content.behind(number) in _YEAR_UNITS


@lru_cache(REMEMBERED_TEXTS)
def spans_of_years(text: str, language: str | None) -> frozenset[Value]:
    """The differences between the years that a text names."""
    years = [value for number in numbers(text, language).found for value in number.readings if value in _YEARS]
    return frozenset(abs(a - b) for a, b in product(years[:_MOST_YEARS], repeat=2) if a != b)


def is_same_duration(number: Number, content: Numbers, source: str, language: str | None) -> bool:
    """Whether a number tells a duration of the source in another unit: "14 days" for two weeks."""
    return not _duration(number, content).isdisjoint(_durations(source, language))


def _duration(number: Number, content: Numbers) -> set[float]:
    """How long a number of hours, days or other units takes; empty if it counts something else."""
    seconds = _SECONDS.get(content.behind(number))
    return set() if seconds is None else {round(value * seconds, 3) for value in number.scaled}


@lru_cache(REMEMBERED_TEXTS)
def _durations(text: str, language: str | None) -> frozenset[float]:
    """How long what a text says takes: "two weeks", "half an hour", "an hour and a half"."""
    content = numbers(text, language)
    found = {duration for number in content.found for duration in _duration(number, content)}
    tokens = content.tokens
    for place, token in enumerate(tokens):
        if (seconds := _SECONDS.get(token)) is None:
            continue
        if not _HALF_WORDS.isdisjoint(tokens[max(0, place - 2) : place]):
            found.add(seconds / 2)
        elif not _HALF_WORDS.isdisjoint(tokens[place + 1 : place + 4]):
            found.add(1.5 * seconds)
        elif place and tokens[place - 1] in _ONE_OF_A_UNIT:
            found.add(seconds)
    return frozenset(found)


def is_supported(number: Number, source: str, language: str | None) -> bool:
    """Whether a number of an answer stands in the source or follows from how it is written there."""
    known = _known_values(source, language)
    if number.scaled & known.stated or number.readings & known.bare:
        return True
    if number.readings & known.derived and (not number.in_words or number.is_ordinal or number.is_decade):
        return True
    return number.is_about and _is_rounding(number, known.stated)


def _is_rounding(number: Number, known: frozenset[Value]) -> bool:
    """Whether a number, said to be one roughly, is a rounded one of the source: "nearly 4,000" for 3,974."""
    if number.may_be_fraction:
        share = max(number.readings)
        return any(0 < abs(value - share) <= _SLACK_OF_FRACTION for value in known)
    rounded = {_significant(value, digits) for value in known for digits in range(1, _MOST_ROUNDED_DIGITS + 1)}
    return bool(number.scaled & rounded)


class _Known(NamedTuple):
    """All values that a text may stand for."""

    stated: frozenset[Value]
    bare: frozenset[Value]  # of numbers without a word of scale
    derived: frozenset[Value]  # days of months, and what months, decades, ranges and hours stand for: no counts


@lru_cache(REMEMBERED_TEXTS)
def _known_values(text: str, language: str | None) -> _Known:
    """The values of a text, with what follows from how it writes them."""
    content = numbers(text, language)
    days = {number for number in content.found if is_day(number) and months_beside(number, content)}
    counts = [number for number in content.found if number not in days]
    stated: set[Value] = set(map(as_value, all_signs(content.tokens, lexicon(language))))
    stated.update(value for number in counts for value in number.readings | number.scaled)
    stated |= _fractions(content, language)
    stated.update(map(_roman, _ROMAN.findall(text)))
    stated.update(_rounded(value) for value in tuple(stated) if isinstance(value, float))
    bare = {value for number in counts if number.scale == 1 for value in number.readings}
    derived = {value for number in days for value in number.readings}
    derived.update(MONTH_NUMBERS[content.tokens[place]] for place in months(content))
    derived |= _ends_of_ranges(content) | _hours(content, text)
    if "half past" in text:
        derived.add(30)
    return _Known(frozenset(stated), frozenset(bare), frozenset(derived))


def _fractions(content: Numbers, language: str | None) -> set[Value]:
    """0.2 and 20 for "one in five", and what "a third" is; other fractions are numbers."""
    values: set[Value] = set()
    for number, after in pairwise(content.found):
        if after.place == number.end + 1 and content.behind(number) in _RATIO:
            values |= fraction_values(max(number.readings) / max(1, *after.readings))
    denominators = lexicon(language).denominators
    read = {number.end - 1 for number in content.found if number.is_fraction}
    for place, token in enumerate(content.tokens):
        if (denominator := denominators.get(token, 0)) in _LONE_DENOMINATORS and place not in read:
            values |= fraction_values(1 / denominator)
    return values


def _roman(numeral: str) -> int:
    digits = [_ROMAN_DIGITS[letter] for letter in numeral]
    return sum(-a if a < b else a for a, b in pairwise([*digits, 0]))


def _rounded(value: float) -> Value:
    return _significant(value, _SIGNIFICANT_DIGITS) if value < 10 else round(value)


def _significant(value: float, digits: int) -> Value:
    """A value, rounded to significant digits."""
    return as_value(float(f"{value:.{digits}g}"))


def _ends_of_ranges(content: Numbers) -> set[Value]:
    """1995 for "1990-95", 90 for "1990s", and 1990 for "the nineties"."""
    ends: set[Value] = set()
    for number, after in pairwise(content.found):
        year, end = min(number.readings), min(after.readings)
        if after.place == number.place + 1 and _YEARS[0] <= year <= _YEARS[-1] and 0 <= end < 100:
            ends.add(year - year % 100 + end)
    for number in content.found:
        behind = content.behind(number)
        if behind == "s" and not number.in_words:
            ends |= {year % 100 for year in number.readings}
        if number.is_decade or behind in ("s", "er"):
            ends |= {1900 + year for year in number.readings if 20 <= year < 100}
    return ends


def _hours(content: Numbers, text: str) -> set[Value]:
    """15 for "3:30 pm", and 3 for "15:30"."""
    hours: set[Value] = set()
    for number in content.found:
        hour = min(number.readings)
        behind = text[number.span[1] : number.span[1] + _REACH_OF_PM].lower()
        if 0 < hour < 12 and ("pm" in behind or "p.m" in behind):
            hours.add(hour + 12)
        elif 12 < hour < 24 and (behind.startswith(":") or "h" in behind[:3]):
            hours.add(hour - 12)
    return hours
