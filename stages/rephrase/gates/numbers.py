"""Numbers as a text writes them: in digits of any script, or in words of English, German, French or Spanish."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import regex

from stages.rephrase.gates.number_words import MONTH_NUMBERS, SCALES, Lexicon, lexicon, number_word, spelled
from stages.rephrase.gates.words import REMEMBERED_TEXTS, folded

Value = int | float

STOP = "|"
"""The token for the end of a sentence, of a part of one, or of a line."""

_GROUP_SPACES = "'’\u00a0\u2009\u202f "
_NUMBER = rf"\d{{1,3}}(?:[{_GROUP_SPACES}]\d{{3}})+(?!\d)(?:[.,]\d+)?|\d+(?:[.,]\d+)*"
_SEPARATOR = re.compile(rf"[.,{_GROUP_SPACES}]")
_TOKEN = regex.compile(rf"(?P<number>{_NUMBER})|(?P<word>[\p{{L}}\p{{M}}]+)|[.!?:;。！？؟।\n]+")
_ASCII_TOKEN = re.compile(rf"(?P<number>{_NUMBER})|(?P<word>[a-z]+)|[.!?:;\n]+")  # as _TOKEN finds them, faster
_MOST_DIGITS = 40  # that are read of a number: int() refuses thousands of them
_LONGEST_IN_WORDS = 16  # words
_GAPS = frozenset((" ", "-", "\u2010", "\u2011", "\n", "\u00a0"))  # between the words of a number
_ARTICLES = frozenset(("a", "one", "ein", "un", "une", "una"))
_ABOUT = frozenset(
    """about around almost nearly roughly approximately some over circa ca approx rund etwa fast knapp ungefahr gut uber
    environ presque pres quelque casi unos unas cerca aproximadamente alrededor mas""".split()  # noqa: SIM905
)
_REACH_OF_ABOUT = 2  # words before a number: "more than 4,000", "about a hundred"
_AMBIGUOUS_MONTHS = frozenset(("may", "march", "mar", "mars", "mai", "dec", "sept"))
_LONGEST_SHORT_MONTH = 4  # "Sept."


@dataclass(frozen=True, slots=True)
class Number:
    """A number in a text."""

    readings: frozenset[Value]  # "1.234" may be 1.234 or 1234
    scale: float  # of the word behind it: 1e6 for "1.8 million"
    place: int  # of its first token
    span: tuple[int, int]  # characters
    end: int  # place behind its last token, before the word of scale
    in_words: bool = False
    is_ordinal: bool = False
    is_fraction: bool = False
    is_decade: bool = False  # "nineties"
    is_about: bool = False  # "nearly", "some"

    @property
    def scaled(self) -> frozenset[Value]:
        return self.readings if self.scale == 1 else frozenset(as_value(r * self.scale) for r in self.readings)

    @property
    def may_be_fraction(self) -> bool:
        """Whether the words of a number may mean a part: "two thirds" do, and "a third" may, or else a third one."""
        return self.in_words and len(self.readings) > 1


@dataclass(frozen=True, slots=True)
class Numbers:
    """The numbers of a text, and its words, numbers and stops in order, folded."""

    found: tuple[Number, ...]
    tokens: tuple[str, ...]

    def behind(self, number: Number) -> str:
        """The token behind a number; "" where the text ends."""
        return self.tokens[number.end] if number.end < len(self.tokens) else ""


@lru_cache(REMEMBERED_TEXTS)
def numbers(text: str, language: str | None) -> Numbers:
    """The numbers of a text. In words, they are read as its language has them, and as the others have them where that
    means nothing else: see ``lexicon``."""
    if text.isascii():
        matches = list(_ASCII_TOKEN.finditer(text.lower()))
        tokens = tuple(match.group() if match.lastgroup else STOP for match in matches)
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
        elif number_word(token, known) is not None:
            number = _in_words(text, matches, tokens, place, known)
            if number is not None:
                found.append(number)
                behind = number.end
    return Numbers(tuple(found), tokens)


def _token(match: re.Match[str]) -> str:
    kind = match.lastgroup
    return folded(match.group()) if kind == "word" else match.group() if kind == "number" else STOP


def _is_about(tokens: Sequence[str], place: int) -> bool:
    return not _ABOUT.isdisjoint(tokens[max(0, place - _REACH_OF_ABOUT) : place])


def _readings(digits: str) -> list[frozenset[Value]]:
    """The numbers that a run of digits and separators may be: several if it is a date or a version."""
    parts = [_ascii(part) for part in _SEPARATOR.split(digits)]
    values = [int(part[:_MOST_DIGITS]) for part in parts]
    if len(parts) == 1:
        return [frozenset(values)]
    separators = _SEPARATOR.findall(digits)
    is_grouped = values[0] > 0 and len(parts[0]) <= 3 and len(set(separators)) == 1 and _are_groups(parts[1:])
    whole = int("".join(parts)[:_MOST_DIGITS])
    decimal = as_value(float("".join(parts[:-1])[:_MOST_DIGITS] + "." + parts[-1][:_MOST_DIGITS]))
    if len(parts) == 2:
        return [frozenset({decimal, whole} if is_grouped else {decimal})]
    if is_grouped:
        return [frozenset({whole})]
    if len(set(separators[:-1])) == 1 and separators[-1] != separators[0] and _are_groups(parts[1:-1]):
        return [frozenset({decimal})]
    return [frozenset({value}) for value in values]


def _ascii(digits: str) -> str:
    return digits if digits.isascii() else "".join(str(int(digit)) for digit in digits)


def _are_groups(parts: Sequence[str]) -> bool:
    return all(len(part) == 3 for part in parts)


def _in_words(
    text: str, matches: Sequence[re.Match[str]], tokens: Sequence[str], place: int, known: Lexicon
) -> Number | None:
    """The number in words that begins at a place, if one does."""
    near = range(place, min(place + _LONGEST_IN_WORDS, len(tokens)))
    gaps = [text[matches[i - 1].end() : matches[i].start()] if i else "" for i in near]
    here = spelled([tokens[i] for i in near], [gap in _GAPS for gap in gaps], 0, known)
    before = tokens[place - 1] if place else ""
    if here is None or (before in known.vague and here.end == 1 and here.value >= 100):
        return None
    end, readings = place + here.end, {as_value(here.value)}
    denominator = known.denominators.get(tokens[place]) if before in _ARTICLES and here.is_ordinal else None
    if here.numerator is not None:
        readings = fraction_values(here.value) | {as_value(here.numerator)}
    elif denominator:  # "a third" of them, or a third one
        readings |= fraction_values(1 / denominator)
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


def fraction_values(value: float) -> set[Value]:
    """A fraction, and the percentages that it is: 0.667, 66.7, 66 and 67 for two thirds."""
    share = 100 * value
    return {round(value, 2), round(value, 3), as_value(round(share, 1)), int(share), round(share)}


def as_value(number: float) -> Value:
    """A number as it is compared with others: whole, or to nine decimals."""
    return int(number) if number == int(number) else round(number, 9)


def months(content: Numbers) -> set[int]:
    """Where a text names months; a word that also means something else, such as "may", only beside a number."""
    found = {place for place, token in enumerate(content.tokens) if token in MONTH_NUMBERS}
    if any(content.tokens[place] in _AMBIGUOUS_MONTHS for place in found):
        beside = {place for number in content.found for place in months_beside(number, content)}
        found = {place for place in found if content.tokens[place] not in _AMBIGUOUS_MONTHS or place in beside}
    return found


def months_beside(number: Number, content: Numbers) -> set[int]:
    """The places of the months right before and behind a number: "Oct. 10", "10. Oktober"."""
    tokens = content.tokens
    before, behind = number.place - 1, number.end
    if before > 0 and tokens[before] == STOP and len(tokens[before - 1]) <= _LONGEST_SHORT_MONTH:
        before -= 1
    if not number.in_words and content.behind(number) == STOP:
        behind += 1
    return {place for place in (before, behind) if 0 <= place < len(tokens) and tokens[place] in MONTH_NUMBERS}


def is_day(number: Number) -> bool:
    """Whether a number may be the day of a month."""
    return 1 <= max(number.readings) <= 31
