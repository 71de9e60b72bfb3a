"""Whether the numbers of an answer are those of the source, however either writes them."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise, product
from typing import NamedTuple

import regex

from stages.rephrase.answers import ParsedAnswer
from stages.rephrase.gates.context import GateContext
from stages.rephrase.gates.number_words import (
    MONTH_NUMBERS,
    SCALES,
    Lexicon,
    all_signs,
    lexicon,
    number_word,
    spelled,
)
from stages.rephrase.gates.places import best_likeness, is_place_of_another, is_told_by, place_of
from stages.rephrase.gates.words import REMEMBERED_TEXTS, folded, stems, stop_words, told

Value = int | float

_GROUP_SPACES = "'’\u00a0\u2009\u202f "
_NUMBER = rf"\d{{1,3}}(?:[{_GROUP_SPACES}]\d{{3}})+(?!\d)(?:[.,]\d+)?|\d+(?:[.,]\d+)*"
_TOKEN = regex.compile(rf"(?P<number>{_NUMBER})|(?P<word>[\p{{L}}\p{{M}}]+)|[.!?:;。！？؟।\n]+")
_ASCII_TOKEN = re.compile(rf"(?P<number>{_NUMBER})|(?P<word>[a-z]+)|[.!?:;\n]+")  # as _TOKEN finds them, faster
_STOP = "|"
_LIST_NUMBER = regex.compile(
    r"^\W*(?:(?:step|question|answer|part|chapter|schritt|frage|antwort|étape|paso|pregunta|q|a)\s*)?"
    r"(\d{1,3})\s*[.):](?!\d)",
    regex.MULTILINE | regex.IGNORECASE,
)
_LISTED = regex.compile(r"^\s*(?:[-*•]|\(?\d{1,2}[.)])\s", regex.MULTILINE)
_REFERENCE = regex.compile(r"\[(\d{1,3})\]")
_ROMAN = regex.compile(r"\b[IVX]{1,6}\b")
_ROMAN_DIGITS = {"I": 1, "V": 5, "X": 10}
_LARGEST_OWN_COUNT = 10  # "four kinds": what an answer counts up itself; it would write larger numbers as digits
_LARGEST_FREE_COUNT = 4  # of these, what nearly any text counts up
_LEAST_COMPARED_WORD = 2  # "one" and "first" stand in any text
_OF_SOMETHING_SAID = frozenset(
    (
        "the",
        "these",
        "those",
        "both",
        "other",
        "of",
        "die",
        "diese",
        "den",
        "der",
        "les",
        "ces",
        "des",
        "los",
        "las",
        "in",
    )
)  # before a count that refers to what was named: "the two teams"
_YEARS = range(1000, 2101)
_MOST_YEARS = 20  # of a source, whose differences are taken
_YEAR_UNITS = frozenset(("year", "years", "jahr", "jahre", "jahren", "annee", "annees", "ans", "an", "ano", "anos"))
_SURELY_ALIKE = 3  # words that two places share
_UNITS_OF_TIME = {
    **dict.fromkeys(("second", "seconds", "sekunde", "sekunden", "segundos"), 1.0),
    **dict.fromkeys(("minute", "minutes", "minuten", "minuto", "minutos"), 60.0),
    **dict.fromkeys(("hour", "hours", "stunde", "stunden", "heure", "heures", "hora", "horas"), 3600.0),
    **dict.fromkeys(("day", "days", "tag", "tage", "tagen", "jour", "jours", "dia", "dias"), 86400.0),
    **dict.fromkeys(("week", "weeks", "woche", "wochen", "semaine", "semaines", "semana", "semanas"), 7 * 86400.0),
    **dict.fromkeys(("month", "months", "monat", "monate", "monaten", "mois", "mes", "meses"), 1e9),
    **dict.fromkeys(("year", "years", "jahr", "jahre", "jahren", "an", "ans", "ano", "anos"), 12e9),
    **dict.fromkeys(("decade", "decades", "jahrzehnt", "jahrzehnte", "decennie", "decada", "decadas"), 120e9),
}
"""In seconds; from months on, which have no fixed number of days, by a measure of their own."""
_HALF_WORDS = frozenset(("half", "halbe", "halben", "halb", "demi", "media", "medio"))
_LONGEST_SHORT_MONTH = 4  # "Sept."
_LONE_DENOMINATORS = (3, 4)  # "a third"; "the sixth" is no fraction
_RATIO = frozenset(("in", "von", "sur"))  # "one in five"
_LATER = frozenset(("later", "earlier", "spater", "danach", "zuvor", "tard", "auparavant", "despues", "antes"))
_ABOUT = frozenset(
    """about around almost nearly roughly approximately some over circa ca approx rund etwa fast knapp ungefahr gut uber
    environ presque pres quelque casi unos unas cerca aproximadamente alrededor mas""".split()  # noqa: SIM905
)
_REACH_OF_ABOUT = 2  # words before a number: "more than 4,000", "about a hundred"
_MOST_ROUNDED_DIGITS = 2
_SLACK_OF_FRACTION = 3  # percentage points: "about a third" of 35 %
_DATE_REACH = 5  # tokens between a month and its day
_LONGEST_IN_WORDS = 16  # words
_GAPS = frozenset((" ", "-", "\u2010", "\u2011", "\n", "\u00a0"))  # between the words of a number
_ARTICLES = frozenset(("a", "one", "ein", "un", "une", "une", "una"))
_AMBIGUOUS_MONTHS = frozenset(["may", "march", "mar", "mars", "mai", "dec", "sept"])
_REACH_OF_PM = 8  # characters behind an hour: ":30 p.m."
_SIGNIFICANT_DIGITS = 2  # that a rounded number must keep


@dataclass(frozen=True, slots=True)
class Number:
    """A number in a text."""

    readings: frozenset[Value]  # "1.234" may be 1.234 or 1234
    scale: float  # of the word behind it: 1e6 for "1.8 million"
    place: int  # of its first token
    span: tuple[int, int]  # characters
    end: int = 0  # place behind its last token
    in_words: bool = False
    is_ordinal: bool = False
    is_fraction: bool = False
    is_decade: bool = False  # "nineties"
    is_about: bool = False  # "nearly", "some"

    @property
    def scaled(self) -> frozenset[Value]:
        return self.readings if self.scale == 1 else frozenset(_value(r * self.scale) for r in self.readings)


@dataclass(frozen=True, slots=True)
class Numbers:
    """The numbers of a text, and its words, numbers and stops in order, folded."""

    found: tuple[Number, ...]
    tokens: tuple[str, ...]


@lru_cache(REMEMBERED_TEXTS)
def numbers(text: str, language: str | None) -> Numbers:
    """The numbers of a text: in digits of any script, or in words of English, German, French or Spanish."""
    if text.isascii():
        matches = list(_ASCII_TOKEN.finditer(text.lower()))
        tokens = tuple(match.group() if match.lastgroup else _STOP for match in matches)
    else:
        matches = list(_TOKEN.finditer(text))
        tokens = tuple(_token(match) for match in matches)
    known = lexicon(language)
    found: list[Number] = []
    behind = 0
    for place, token in enumerate(tokens):
        if place < behind:
            continue
        if matches[place].lastgroup == "number":
            scale = SCALES.get(tokens[place + 1], 1.0) if place + 1 < len(tokens) else 1.0
            is_about = _is_about(tokens, place)
            span = matches[place].span()
            behind = place + 1 + (scale > 1)
            found += [Number(r, scale, place, span, place + 1, is_about=is_about) for r in _readings(token)]
        elif token in known.words or (known.is_joined and number_word(token, known) is not None):
            number = _in_words(text, matches, tokens, place, known)
            if number is not None:
                found.append(number)
                behind = number.end
    return Numbers(tuple(found), tokens)


def _in_words(
    text: str, matches: Sequence[re.Match[str]], tokens: Sequence[str], place: int, known: Lexicon
) -> Number | None:
    near = range(place, min(place + _LONGEST_IN_WORDS, len(tokens)))
    gaps = [text[matches[i - 1].end() : matches[i].start()] if i else "" for i in near]
    here = spelled([tokens[i] for i in near], [gap in _GAPS for gap in gaps], 0, known)
    before = tokens[place - 1] if place else ""
    if here is None or (before in known.vague and here.end == 1 and here.value >= 100):
        return None
    end, readings = place + here.end, {_value(here.value)}
    number = known.denominators.get(tokens[place]) if before in _ARTICLES and here.is_ordinal else None
    if here.numerator is not None:
        readings = {*_fraction(here.value), _value(here.numerator)}
    elif number:  # "a third" of them, or a third one
        readings |= _fraction(1 / number)
    return Number(
        frozenset(readings),
        1.0,
        place,
        (matches[place].start(), matches[end - 1].end()),
        end,
        in_words=True,
        is_ordinal=here.is_ordinal,
        is_fraction=here.numerator is not None,
        is_decade=tokens[place].endswith(("ties", "iger")) or before == "annees",
        is_about=_is_about(tokens, place),
    )


def _fraction(value: float) -> set[Value]:
    """A fraction, and the percentages that it is: 0.667, 66.7, 66 and 67 for two thirds."""
    share = 100 * value
    return {round(value, 2), round(value, 3), _value(round(share, 1)), int(share), round(share)}


def _is_about(tokens: Sequence[str], place: int) -> bool:
    return not _ABOUT.isdisjoint(tokens[max(0, place - _REACH_OF_ABOUT) : place])


def _token(match: re.Match[str]) -> str:
    kind = match.lastgroup
    return folded(match.group()) if kind == "word" else match.group() if kind == "number" else _STOP


def _value(number: float) -> Value:
    return int(number) if number == int(number) else round(number, 9)


def _readings(digits: str) -> list[frozenset[Value]]:
    """The numbers that a run of digits and separators may be: several if it is a date or a version."""
    parts = regex.split(rf"[.,{_GROUP_SPACES}]", digits)
    values = [int(part[:40]) for part in parts]
    if len(parts) == 1:
        return [frozenset(values)]
    separators = [c for c in digits if not c.isdigit()]
    is_grouped = values[0] > 0 and len(parts[0]) <= 3 and len(set(separators)) == 1 and _are_groups(parts[1:])
    whole = int("".join(map(str, map(_ascii, parts)))[:40])
    decimal = float("".join(map(_ascii, parts[:-1]))[:40] + "." + _ascii(parts[-1])[:40])
    if len(parts) == 2:
        exact = _value(decimal)
        return [frozenset({exact, whole} if is_grouped else {exact})]
    if is_grouped:
        return [frozenset({whole})]
    if len(set(separators[:-1])) == 1 and separators[-1] != separators[0] and _are_groups(parts[1:-1]):
        return [frozenset({_value(decimal)})]
    return [frozenset({value}) for value in values]


def _ascii(digits: str) -> str:
    return digits if digits.isascii() else "".join(str(int(digit)) for digit in digits)


def _are_groups(parts: Sequence[str]) -> bool:
    return all(len(part) == 3 for part in parts)


class Known(NamedTuple):
    """All values that a text may stand for."""

    stated: frozenset[Value]
    bare: frozenset[Value]  # of numbers without a word of scale
    derived: frozenset[Value]  # days of months, and what months, decades, ranges and hours stand for: no counts


@lru_cache(REMEMBERED_TEXTS)
def known_values(text: str, language: str | None) -> Known:
    """The values of a text, with what follows from how it writes them."""
    content = numbers(text, language)
    words = lexicon(language)
    stated: set[Value] = set(map(_value, all_signs(content.tokens, words)))
    bare: set[Value] = set()
    days = {number for number in content.found if _is_day(number) and _months_beside(number, content)}
    for number in content.found:
        if number in days:
            continue
        stated |= number.readings | number.scaled
        if number.scale == 1:
            bare |= number.readings
    for number, after in pairwise(content.found):
        if after.place == number.end + 1 and content.tokens[number.end] in _RATIO:
            stated |= _fraction(max(number.readings) / max(1, *after.readings))
    fractions = {number.end - 1 for number in content.found if number.is_fraction}
    for place, token in enumerate(content.tokens):
        if (denominator := words.denominators.get(token, 0)) in _LONE_DENOMINATORS and place not in fractions:
            stated |= _fraction(1 / denominator)
    stated.update(map(_roman, _ROMAN.findall(text)))
    stated.update(_rounded(value) for value in tuple(stated) if isinstance(value, float))
    derived: set[Value] = {value for number in days for value in number.readings}
    derived.update(MONTH_NUMBERS[content.tokens[place]] for place in _months(content))
    derived.update(_ends_of_ranges(content))
    derived.update(_hours(content, text))
    if "half past" in text:
        derived.add(30)
    return Known(frozenset(stated), frozenset(bare), frozenset(derived))


def _months(content: Numbers) -> set[int]:
    """Where a text names months; a word that also means something else, such as "may", only beside a number."""
    found = {place for place, token in enumerate(content.tokens) if token in MONTH_NUMBERS}
    if any(content.tokens[place] in _AMBIGUOUS_MONTHS for place in found):
        beside = {place for number in content.found for place in _months_beside(number, content)}
        found = {place for place in found if content.tokens[place] not in _AMBIGUOUS_MONTHS or place in beside}
    return found


def _roman(numeral: str) -> int:
    digits = [_ROMAN_DIGITS[letter] for letter in numeral]
    return sum(-a if a < b else a for a, b in pairwise([*digits, 0]))


def _rounded(value: float) -> Value:
    return _value(float(f"{value:.{_SIGNIFICANT_DIGITS}g}")) if value < 10 else round(value)


def _ends_of_ranges(content: Numbers) -> set[Value]:
    """1995 for "1990-95", 90 for "1990s", and 1990 for "the nineties"."""
    ends: set[Value] = set()
    for number, after in pairwise(content.found):
        year, end = min(number.readings), min(after.readings)
        if after.place == number.place + 1 and 1000 <= year <= 2100 and 0 <= end < 100:
            ends.add(year - year % 100 + end)
    for number in content.found:
        if content.tokens[number.place + 1 : number.place + 2] == ("s",) and not number.in_words:
            ends |= {year % 100 for year in number.readings}
        if number.is_decade or content.tokens[number.end : number.end + 1] in (("s",), ("er",)):
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


def is_supported(number: Number, source: str, language: str | None) -> bool:
    """Whether a number of an answer stands in the source or follows from how it is written there."""
    known = known_values(source, language)
    if number.scaled & known.stated or number.readings & known.bare:
        return True
    if number.readings & known.derived and (not number.in_words or number.is_ordinal or number.is_decade):
        return True
    return number.is_about and _is_rounding(number, known.stated)


@lru_cache(REMEMBERED_TEXTS)
def _durations(text: str, language: str | None) -> frozenset[float]:
    """How long what a text says takes: "two weeks", "half an hour", "an hour and a half"."""
    content = numbers(text, language)
    found = {duration for number in content.found for duration in _duration(number, content)}
    tokens = content.tokens
    for place, token in enumerate(tokens):
        if (seconds := _UNITS_OF_TIME.get(token)) is None:
            continue
        if not _HALF_WORDS.isdisjoint(tokens[max(0, place - 2) : place]):
            found.add(seconds / 2)
        elif not _HALF_WORDS.isdisjoint(tokens[place + 1 : place + 4]):
            found.add(1.5 * seconds)
        elif place and tokens[place - 1] in ("a", "an", "une", "un", "eine", "einem", "una"):
            found.add(seconds)
    return frozenset(found)


def _duration(number: Number, content: Numbers) -> set[float]:
    """How long a number of hours, days or other units takes; empty if it counts something else."""
    behind = content.tokens[number.end : number.end + 1]
    seconds = _UNITS_OF_TIME.get(behind[0]) if behind else None
    return set() if seconds is None else {round(value * seconds, 3) for value in number.scaled}


def _is_rounding(number: Number, known: frozenset[Value]) -> bool:
    """Whether a number, said to be one roughly, is a rounded one of the source: "nearly 4,000" for 3,974."""
    if number.in_words and len(number.readings) > 1:  # a fraction
        share = max(number.readings)
        return any(0 < abs(value - share) <= _SLACK_OF_FRACTION for value in known)
    rounded = {_value(float(f"{value:.{digits}g}")) for value in known for digits in range(1, _MOST_ROUNDED_DIGITS + 1)}
    return bool(number.scaled & rounded)


@lru_cache(REMEMBERED_TEXTS)
def _own_numbers(text: str, source: str, language: str | None) -> tuple[Number, ...]:
    """The numbers of an answer without those of its lists and, unless the source has such, of its references: [4]."""
    unchecked = _numbering(text)
    if not _REFERENCE.search(source):
        unchecked |= {match.start(1) for match in _REFERENCE.finditer(text)}
    return tuple(number for number in numbers(text, language).found if number.span[0] not in unchecked)


@lru_cache(REMEMBERED_TEXTS)
def checked_numbers(text: str, source: str, language: str | None) -> tuple[Number, ...]:
    """The numbers of an answer that must come from its source: those that it may have counted up itself apart."""
    return tuple(
        number
        for number in _own_numbers(text, source, language)
        if not _is_own_count(number)
        and not _is_span_of_years(number, text, source, language)
        and not _is_same_duration(number, text, source, language)
    )


def _is_own_count(number: Number) -> bool:
    return number.in_words and not number.is_fraction and max(number.readings) <= _LARGEST_OWN_COUNT


def _is_span_of_years(number: Number, text: str, source: str, language: str | None) -> bool:
    """Whether a number counts the years between two that the source names: "seven years later" of 1632 and 1639."""
    return (
        not _YEAR_UNITS.isdisjoint(numbers(text, language).tokens[number.end : number.end + 1])
        and bool(number.readings & _spans_of_years(source, language))
    )  # fmt: skip


def _is_same_duration(number: Number, text: str, source: str, language: str | None) -> bool:
    """Whether a number tells a duration of the source in another unit: "14 days" for two weeks."""
    return not _duration(number, numbers(text, language)).isdisjoint(_durations(source, language))


def _is_said_to_pass(number: Number, text: str, language: str | None) -> bool:
    """Whether a number counts the years from one thing to another: "seven years later"."""
    behind = numbers(text, language).tokens[number.end : number.end + 3]
    return behind[:1] != () and behind[0] in _YEAR_UNITS and not _LATER.isdisjoint(behind)


@lru_cache(REMEMBERED_TEXTS)
def _spans_of_years(text: str, language: str | None) -> frozenset[Value]:
    years = [value for number in numbers(text, language).found for value in number.readings if value in _YEARS]
    return frozenset(abs(a - b) for a, b in product(years[:_MOST_YEARS], repeat=2) if a != b)


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


_Neighbours = tuple[str, ...]


def _neighbours(content: Numbers, number: Number, language: str | None) -> list[_Neighbours]:
    """The words right before and right behind a number: three of them if one says something, else four."""
    place, tokens = number.place, content.tokens
    before = _to_stop(tokens[max(0, place - 2) : place][::-1])[::-1] or (_STOP,)
    behind = tokens[place + 1 : place + 3]
    if before != (_STOP,) or behind[:1] != (_STOP,):  # else the number of an entry in a list: its words follow
        behind = _to_stop(behind)
    stopped = stop_words(language)
    says = [len(word) > 2 and word.isalpha() and word not in stopped for word in (*before, *behind)]
    around = [(*before, "#", *behind)] if len(before) + len(behind) == 4 or (any(says) and before and behind) else []
    if len(before) == 2 and behind and any(says[:3]):
        around.append((*before, "#", behind[0]))
    if before and len(behind) == 2 and any(says[-3:]):
        around.append((before[-1], "#", *behind))
    return around


def _to_stop(tokens: tuple[str, ...]) -> tuple[str, ...]:
    """The tokens up to the first stop, with it: what stands behind the end of a sentence may be left out."""
    return tokens[: tokens.index(_STOP) + 1] if _STOP in tokens else tokens


@lru_cache(REMEMBERED_TEXTS)
def _between(source: str, language: str | None) -> dict[_Neighbours, set[Value]]:
    """The numbers of a text by the words around them."""
    content = numbers(source, language)
    between: dict[_Neighbours, set[Value]] = {}
    for number in content.found:
        for words in _neighbours(content, number, language):
            between.setdefault(words, set()).update(number.readings | number.scaled)
    return between


def number_precision(source: str, answer: ParsedAnswer, context: GateContext) -> float:
    """Share of the answer's numbers that stand in the source; 1 if it has none."""
    found = checked_numbers(told(answer, context), source, context.language)
    return sum(is_supported(n, source, context.language) for n in found) / len(found) if found else 1.0


def unsupported_numbers(source: str, answer: ParsedAnswer, context: GateContext) -> float:
    """How many of the answer's numbers do not stand in the source."""
    found = checked_numbers(told(answer, context), source, context.language)
    return float(sum(not is_supported(number, source, context.language) for number in found))


def changed_numbers(source: str, answer: ParsedAnswer, context: GateContext) -> float:
    """How many of the answer's numbers stand where the source has another number.

    Either the number is not in the source, and the words around it are the source's, at most places around a number
    that the answer lacks; or it is, but the source has others between the very same words, or in the same date, or at a
    place like that of a number that the answer lacks. What remains are numbers that came with a statement of their own:
    see ``unsupported_numbers``.
    """
    text, language = told(answer, context), context.language
    found = _own_numbers(text, source, language)
    if not found:
        return 0.0
    lost = _missing(source, text, language)
    return float(
        sum(
            _is_moved(number, text, source, lost, language)
            if is_supported(number, source, language)
            else _is_new(number, text, source, lost, language)
            for number in found
        )
    )


def _is_new(number: Number, text: str, source: str, lost: Sequence[Number], language: str | None) -> bool:
    """Whether a number that the source does not have stands where the source says something else."""
    value = max(number.readings)
    if _is_span_of_years(number, text, source, language) or _is_same_duration(number, text, source, language):
        return False
    if _spans_of_years(source, language) and _is_said_to_pass(number, text, language):
        return True
    if _is_own_count(number) and value < _LEAST_COMPARED_WORD:
        return False
    if _is_in_row_of(number, text, source, lost, language):
        return True
    if _is_own_count(number):
        if _counts_same(number, text, source, lost, language):
            return True
        if value == _LEAST_COMPARED_WORD and place_of(text, number.span, language).before in _OF_SOMETHING_SAID:
            return False
        if _is_at_place_of(number, text, source, lost, language):
            return True
        may_be_counted = number.is_ordinal or value <= _LARGEST_FREE_COUNT or value in _enumerated(source)
        return not may_be_counted and is_told_by(text, number.span, source, language)
    return (
        text[: number.span[0]][-1:].isalpha()  # part of a name: "F3"
        or _is_at_place_of(number, text, source, lost, language)
        or is_told_by(text, number.span, source, language)
        or any(_are_slips(number, other) for other in lost)
    )


def _is_moved(number: Number, text: str, source: str, lost: Sequence[Number], language: str | None) -> bool:
    """Whether a number of the source stands where the source has another one."""
    if _is_own_count(number) and max(number.readings) < _LEAST_COMPARED_WORD:
        return False
    content, original = numbers(text, language), numbers(source, language)
    literal = {value for other in original.found for value in other.readings}
    if number.readings & literal:
        between = _between(source, language)
        keys = [key for key in _neighbours(content, number, language) if key in between]
        expected = [between[key] for key in keys if _says_enough(key, language)]
        if expected:
            return not any(number.scaled & values for values in expected)
    if _contradicts_date(number, content, original):
        return True
    same = [other for other in original.found if number.readings & other.readings]
    is_ambiguous = number.in_words and len(number.readings) > 1
    if not same or is_ambiguous or _is_same_duration(number, text, source, language):
        return False
    counts_same = _counts_same(number, text, source, lost, language)
    is_in_excess = _is_in_excess(number, text, source, language)
    if not lost or not (is_in_excess or (counts_same and content.tokens[number.end] not in stop_words(language))):
        return False
    spans = ([other.span for other in others] for others in (lost, same))
    theirs, own = (best_likeness(text, number.span, source, of, language) for of in spans)
    if not is_in_excess:
        return theirs > own + 1
    return theirs > own or (theirs == own and (counts_same or own >= _SURELY_ALIKE))


def _is_in_row_of(number: Number, text: str, source: str, lost: Sequence[Number], language: str | None) -> bool:
    """Whether a number stands between the same two numbers as one that the answer lacks."""
    here = _beside(number, numbers(text, language))
    return here is not None and any(
        beside is not None and all(a.readings & b.readings for a, b in zip(here, beside, strict=True))
        for beside in (_beside(other, numbers(source, language)) for other in lost)
    )


def _beside(number: Number, content: Numbers) -> tuple[Number, Number] | None:
    """The numbers before and behind a number, if it has both."""
    at = content.found.index(number)
    return (content.found[at - 1], content.found[at + 1]) if 0 < at < len(content.found) - 1 else None


def _is_at_place_of(
    number: Number, text: str, source: str, others: Sequence[Number], language: str | None
) -> bool:  # fmt: skip
    return is_place_of_another(text, number.span, source, [other.span for other in others], language)


def _is_in_excess(number: Number, text: str, source: str, language: str | None) -> bool:
    """Whether the answer has a number more often than the source."""
    said, known = _counts(text, language), _counts(source, language)
    return all(said[value] > known[value] for value in number.readings)


@lru_cache(REMEMBERED_TEXTS)
def _counts(text: str, language: str | None) -> Counter[Value]:
    return Counter(value for number in numbers(text, language).found for value in number.readings | number.scaled)


def _contradicts_date(number: Number, content: Numbers, original: Numbers) -> bool:
    """Whether a number is the day of a month that the source names with other days only."""
    named = _months_beside(number, content)
    if not named or not _is_day(number):
        return False
    months = {MONTH_NUMBERS[content.tokens[place]] for place in named}
    places = {place for place in _months(original) if MONTH_NUMBERS[original.tokens[place]] in months}
    days = [other for other in original.found if _is_day(other) and places & _months_beside(other, original)]
    near = [other for other in original.found if any(abs(other.place - place) <= _DATE_REACH for place in places)]
    return bool(days) and not any(number.readings & other.readings for other in near)


def _is_day(number: Number) -> bool:
    return 1 <= max(number.readings) <= 31


def _months_beside(number: Number, content: Numbers) -> set[int]:
    """The places of the months right before and behind a number: "Oct. 10", "10. Oktober"."""
    tokens = content.tokens
    before, behind = number.place - 1, number.end
    if before > 0 and tokens[before] == _STOP and len(tokens[before - 1]) <= _LONGEST_SHORT_MONTH:
        before -= 1
    if not number.in_words and tokens[behind : behind + 1] == (_STOP,):
        behind += 1
    return {place for place in (before, behind) if 0 <= place < len(tokens) and tokens[place] in MONTH_NUMBERS}


_ENUMERATION = regex.compile(
    r"(?P<part>[^,;.:!?\n]{1,50}[,;] ?)+(?:[^,;.:!?\n]{1,40}?[ ,])?(?:and|or|und|oder|et|ou|y|o) "
)


@lru_cache(REMEMBERED_TEXTS)
def _enumerated(text: str) -> frozenset[int]:
    """How many things the enumerations of a text may have: "a, b and c", and lines of a list."""
    counts = {len(match.captures("part")) + more for match in _ENUMERATION.finditer(text) for more in (0, 1, 2)}
    return frozenset(counts | {len(_LISTED.findall(text))})


def _counts_same(number: Number, text: str, source: str, lost: Sequence[Number], language: str | None) -> bool:
    """Whether a number stands right before the same word as one that the answer lacks."""
    thing, original = _counted_thing(number, numbers(text, language)), numbers(source, language)
    return thing != "" and any(thing == _counted_thing(other, original) for other in lost)


def _counted_thing(number: Number, content: Numbers) -> str:
    """The stem of the word behind a number; "" if there is none, or only a short one."""
    return next(stems(word for word in content.tokens[number.end : number.end + 1] if word.isalpha()), "")


def _are_slips(a: Number, b: Number) -> bool:
    """Whether two numbers of two digits or more differ by one digit, or by the order of two. Years do so by chance."""
    for x, y in product(map(str, a.readings), map(str, b.readings)):
        others = [i for i, (c, d) in enumerate(zip(x, y, strict=False)) if c != d]
        is_year = len(x) == 4 and x[:2] in ("18", "19", "20")
        if (
            not is_year
            and len(x) == len(y) >= 2
            and (len(others) == 1 or (len(others) == 2 and sorted(x) == sorted(y)))
        ):
            return True
    return False


def _says_enough(around: _Neighbours, language: str | None) -> bool:
    """Whether words around a number tell which number it is: two, or one of a list or title, such as "§ 3 Fees"; but
    "in 1897 the mill" may be the statement of another year."""
    stopped, at = stop_words(language), around.index("#")
    if _STOP in around[max(0, at - 1) : at + 2]:
        return True
    return sum(len(word) > 2 and word.isalpha() and word not in stopped for word in around) > 1


@lru_cache(REMEMBERED_TEXTS)
def _missing(source: str, text: str, language: str | None) -> tuple[Number, ...]:
    """The numbers of the source, small ones in words apart, of whose values the text has fewer."""
    left = _counts(text, language).copy()
    found = [
        number
        for number in numbers(source, language).found
        if not number.in_words or max(number.readings) >= _LEAST_COMPARED_WORD
    ]
    missing: set[Value] = set()
    for number in found:
        if not any(left[value] > 0 for value in number.readings | number.scaled):
            missing |= number.readings
        left.subtract(number.readings | number.scaled)
    return tuple(number for number in found if number.readings & missing)
