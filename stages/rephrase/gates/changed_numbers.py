"""Whether numbers of an answer stand where its source has other numbers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import product

import regex

from stages.rephrase.answers import ParsedAnswer
from stages.rephrase.gates.context import GateContext
from stages.rephrase.gates.number_words import MONTH_NUMBERS
from stages.rephrase.gates.numbers import STOP, Number, Numbers, Value, is_day, months, months_beside, numbers
from stages.rephrase.gates.places import best_likeness, is_place_of_another, is_told_by, place_of
from stages.rephrase.gates.unsupported_numbers import (
    counts_years,
    is_own_count,
    is_same_duration,
    is_span_of_years,
    is_supported,
    own_numbers,
    spans_of_years,
)
from stages.rephrase.gates.words import REMEMBERED_TEXTS, stems, stop_words, told

_LEAST_COMPARED_WORD = 2  # "one" and "first" stand in any text
_LARGEST_FREE_COUNT = 4  # what nearly any text counts up: "four kinds"
_OF_SOMETHING_SAID = frozenset("the these those both other of die diese den der les ces des los las in".split())  # noqa: SIM905
"""Before a count that refers to what was named: "the two teams"."""
_LATER = frozenset(("later", "earlier", "spater", "danach", "zuvor", "tard", "auparavant", "despues", "antes"))
_ENUMERATION = regex.compile(
    r"(?P<part>[^,;.:!?\n]{1,50}[,;] ?)+(?:[^,;.:!?\n]{1,40}?[ ,])?(?:and|or|und|oder|et|ou|y|o) "
)
_LISTED = regex.compile(r"^\s*(?:[-*•]|\(?\d{1,2}[.)])\s", regex.MULTILINE)
_DATE_REACH = 5  # tokens between a month and its day
_SURELY_ALIKE = 3  # words that two places share


def changed_numbers(source: str, answer: ParsedAnswer, context: GateContext) -> float:
    """How many of the answer's numbers stand where the source has another number.

    Either the number is not in the source, and the words around it are the source's, at most places around a number
    that the answer lacks; or it is, but the source has others between the very same words, or in the same date, or at a
    place like that of a number that the answer lacks. What remains are numbers that came with a statement of their own:
    see ``unsupported_numbers``.
    """
    text, language = told(answer, context), context.language
    found = own_numbers(text, source, language)
    if not found:
        return 0.0
    lost = _lost_numbers(text, source, language)
    pair = _Pair(text, source, language, numbers(text, language), numbers(source, language), lost)
    return float(
        sum(
            _is_moved(number, pair) if is_supported(number, source, language) else _is_new(number, pair)
            for number in found
        )
    )


@dataclass(frozen=True, slots=True)
class _Pair:
    """A text and the source that it was written from, with their numbers."""

    text: str
    source: str
    language: str | None
    content: Numbers  # of the text
    original: Numbers  # of the source
    lost: tuple[Number, ...]  # of the source, that the text lacks


def _lost_numbers(text: str, source: str, language: str | None) -> tuple[Number, ...]:
    """The numbers of the source, those that stand in any text apart, of whose values the text has fewer."""
    left = _counts(text, language).copy()
    found = [number for number in numbers(source, language).found if not _stands_in_any_text(number)]
    lost: set[Value] = set()
    for number in found:
        values = number.readings | number.scaled
        if not any(left[value] > 0 for value in values):
            lost |= number.readings
        left.subtract(values)
    return tuple(number for number in found if number.readings & lost)


@lru_cache(REMEMBERED_TEXTS)
def _counts(text: str, language: str | None) -> Counter[Value]:
    return Counter(value for number in numbers(text, language).found for value in number.readings | number.scaled)


def _stands_in_any_text(number: Number) -> bool:
    return number.in_words and max(number.readings) < _LEAST_COMPARED_WORD


def _is_new(number: Number, pair: _Pair) -> bool:
    """Whether a number that the source does not have stands where the source says something else."""
    text, source, language = pair.text, pair.source, pair.language
    if is_span_of_years(number, pair.content, source, language) or is_same_duration(
        number, pair.content, source, language
    ):
        return False
    if spans_of_years(source, language) and _is_said_to_pass(number, pair.content):
        return True
    if _stands_in_any_text(number):
        return False
    if _is_in_row_of_lost(number, pair):
        return True
    if is_own_count(number):
        return _is_other_count(number, pair)
    return (
        text[: number.span[0]][-1:].isalpha()  # part of a name: "F3"
        or _is_at_place_of_lost(number, pair)
        or is_told_by(text, number.span, source, language)
        or any(_are_slips(number, other) for other in pair.lost)
    )


def _is_said_to_pass(number: Number, content: Numbers) -> bool:
    """Whether a number counts the years from one thing to another: "seven years later"."""
    return counts_years(number, content) and not _LATER.isdisjoint(content.tokens[number.end : number.end + 3])


def _is_in_row_of_lost(number: Number, pair: _Pair) -> bool:
    """Whether a number stands between the same two numbers as one that the answer lacks."""
    here = _beside(number, pair.content)
    return here is not None and any(
        beside is not None and all(a.readings & b.readings for a, b in zip(here, beside, strict=True))
        for beside in (_beside(other, pair.original) for other in pair.lost)
    )


def _beside(number: Number, content: Numbers) -> tuple[Number, Number] | None:
    """The numbers before and behind a number, if it has both."""
    at = content.found.index(number)
    return (content.found[at - 1], content.found[at + 1]) if 0 < at < len(content.found) - 1 else None


def _is_other_count(number: Number, pair: _Pair) -> bool:
    """Whether a small number in words counts what the source counts otherwise, rather than what it enumerates."""
    text, source, language, value = pair.text, pair.source, pair.language, max(number.readings)
    if _counts_same_as_lost(number, pair):
        return True
    if value == _LEAST_COMPARED_WORD and place_of(text, number.span, language).before in _OF_SOMETHING_SAID:
        return False
    if _is_at_place_of_lost(number, pair):
        return True
    may_be_counted = number.is_ordinal or value <= _LARGEST_FREE_COUNT or value in _enumerated(source)
    return not may_be_counted and is_told_by(text, number.span, source, language)


def _counts_same_as_lost(number: Number, pair: _Pair) -> bool:
    """Whether a number stands right before the same word as one that the answer lacks."""
    thing = _counted_thing(number, pair.content)
    return thing != "" and any(thing == _counted_thing(other, pair.original) for other in pair.lost)


def _counted_thing(number: Number, content: Numbers) -> str:
    """The stem of the word behind a number; "" if there is none, or only a short one."""
    word = content.behind(number)
    return next(stems([word]), "") if word.isalpha() else ""


def _is_at_place_of_lost(number: Number, pair: _Pair) -> bool:
    lost = [other.span for other in pair.lost]
    return is_place_of_another(pair.text, number.span, pair.source, lost, pair.language)


@lru_cache(REMEMBERED_TEXTS)
def _enumerated(text: str) -> frozenset[int]:
    """How many things the enumerations of a text may have: "a, b and c", and lines of a list."""
    counts = {len(match.captures("part")) + more for match in _ENUMERATION.finditer(text) for more in (0, 1, 2)}
    return frozenset(counts | {len(_LISTED.findall(text))})


def _are_slips(a: Number, b: Number) -> bool:
    """Whether two numbers of two digits or more differ by one digit, or by the order of two. Years do so by chance."""
    return any(_is_slip(str(x), str(y)) for x, y in product(a.readings, b.readings))


def _is_slip(x: str, y: str) -> bool:
    is_year = len(x) == 4 and x[:2] in ("18", "19", "20")
    if is_year or len(x) != len(y) or len(x) < 2:
        return False
    others = sum(c != d for c, d in zip(x, y, strict=True))
    return others == 1 or (others == 2 and sorted(x) == sorted(y))


def _is_moved(number: Number, pair: _Pair) -> bool:
    """Whether a number of the source stands where the source has another one."""
    if _stands_in_any_text(number):
        return False
    same = [other for other in pair.original.found if number.readings & other.readings]
    if same and (expected := _expected(number, pair)):
        return not any(number.scaled & values for values in expected)
    if _contradicts_date(number, pair.content, pair.original):
        return True
    if not same or number.may_be_fraction or is_same_duration(number, pair.content, pair.source, pair.language):
        return False
    return _is_in_place_of_lost(number, same, pair)


_Words = tuple[str, ...]  # around a number, which is "#"


def _expected(number: Number, pair: _Pair) -> list[set[Value]]:
    """The values that the source has between the words that stand around a number, where these tell which it is."""
    between = _between(pair.source, pair.language)
    around = _words_around(number, pair.content, pair.language)
    return [between[words] for words in around if words in between and _says_enough(words, pair.language)]


@lru_cache(REMEMBERED_TEXTS)
def _between(source: str, language: str | None) -> dict[_Words, set[Value]]:
    """The numbers of a text by the words around them."""
    content = numbers(source, language)
    between: dict[_Words, set[Value]] = {}
    for number in content.found:
        for words in _words_around(number, content, language):
            between.setdefault(words, set()).update(number.readings | number.scaled)
    return between


def _words_around(number: Number, content: Numbers, language: str | None) -> list[_Words]:
    """The words right before and right behind a number: three of them if one says something, else four."""
    place, tokens = number.place, content.tokens
    before = _to_stop(tokens[max(0, place - 2) : place][::-1])[::-1] or (STOP,)
    behind = tokens[place + 1 : place + 3]
    if before != (STOP,) or behind[:1] != (STOP,):  # else the number of an entry in a list: its words follow
        behind = _to_stop(behind)
    says = [_says_something(word, language) for word in (*before, *behind)]
    around = [(*before, "#", *behind)] if len(before) + len(behind) == 4 or (any(says) and behind) else []
    if len(before) == 2 and behind and any(says[:3]):
        around.append((*before, "#", behind[0]))
    if len(behind) == 2 and any(says[-3:]):
        around.append((before[-1], "#", *behind))
    return around


def _to_stop(tokens: tuple[str, ...]) -> tuple[str, ...]:
    """The tokens up to the first stop, with it: what stands behind the end of a sentence may be left out."""
    return tokens[: tokens.index(STOP) + 1] if STOP in tokens else tokens


def _says_enough(words: _Words, language: str | None) -> bool:
    """Whether words around a number tell which number it is: two, or one of a list or title, such as "§ 3 Fees"; but
    "in 1897 the mill" may be the statement of another year."""
    at = words.index("#")
    return STOP in words[max(0, at - 1) : at + 2] or sum(_says_something(word, language) for word in words) > 1


def _says_something(word: str, language: str | None) -> bool:
    return len(word) > 2 and word.isalpha() and word not in stop_words(language)


def _contradicts_date(number: Number, content: Numbers, original: Numbers) -> bool:
    """Whether a number is the day of a month that the source names with other days only."""
    named = months_beside(number, content)
    if not named or not is_day(number):
        return False
    own = {MONTH_NUMBERS[content.tokens[place]] for place in named}
    places = {place for place in months(original) if MONTH_NUMBERS[original.tokens[place]] in own}
    has_days = any(is_day(other) and places & months_beside(other, original) for other in original.found)
    near = [other for other in original.found if any(abs(other.place - place) <= _DATE_REACH for place in places)]
    return has_days and not any(number.readings & other.readings for other in near)


def _is_in_place_of_lost(number: Number, same: Sequence[Number], pair: _Pair) -> bool:
    """Whether a number stands where the source has one that the answer lacks, rather than where it has the same."""
    is_in_excess = _is_in_excess(number, pair)
    counts_same = _counts_same_as_lost(number, pair)
    counts_a_thing = counts_same and pair.content.behind(number) not in stop_words(pair.language)
    if not pair.lost or not (is_in_excess or counts_a_thing):
        return False
    theirs, own = (
        best_likeness(pair.text, number.span, pair.source, [other.span for other in others], pair.language)
        for others in (pair.lost, same)
    )
    if not is_in_excess:
        return theirs > own + 1
    return theirs > own or (theirs == own and (counts_same or own >= _SURELY_ALIKE))


def _is_in_excess(number: Number, pair: _Pair) -> bool:
    """Whether the answer has a number more often than the source."""
    said, known = _counts(pair.text, pair.language), _counts(pair.source, pair.language)
    return all(said[value] > known[value] for value in number.readings)
