"""Whether the numbers of an answer are those of the source, however either writes them."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise, product

import regex

from stages.rephrase.answers import ParsedAnswer
from stages.rephrase.gates.context import GateContext
from stages.rephrase.gates.number_words import MONTH_NUMBERS, SCALES, VALUES
from stages.rephrase.gates.places import is_place_of_another, is_told_by, place_of
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
_REFERENCE = regex.compile(r"\[(\d{1,3})\]")
_ROMAN = regex.compile(r"\b[IVX]{1,6}\b")
_ROMAN_DIGITS = {"I": 1, "V": 5, "X": 10}
_LARGEST_UNCHECKED_WORD = 10  # "two kinds": what an answer counts up itself; it would write larger numbers as digits
_LEAST_COMPARED_WORD = 3  # "one", "first", "two" stand in any text
_ROUND = (12, 20, 100, 1000, 1_000_000, 1_000_000_000)  # in words: "dozens", "hundreds of"
_AND_A_HALF = regex.compile(r"and a half|und ein halb|et demie?|y medi[ao]")
_REACH_OF_PM = 8  # characters behind an hour: ":30 p.m."
_SIGNIFICANT_DIGITS = 2  # that a rounded number must keep


@dataclass(frozen=True, slots=True)
class Number:
    """A number in a text."""

    readings: frozenset[Value]  # "1.234" may be 1.234 or 1234
    scale: float  # of the word behind it: 1e6 for "1.8 million"
    place: int  # of its first token
    span: tuple[int, int]  # characters
    in_words: bool = False
    end: int = 0  # place behind its last token

    @property
    def scaled(self) -> frozenset[Value]:
        return self.readings if self.scale == 1 else frozenset(_value(r * self.scale) for r in self.readings)


@dataclass(frozen=True, slots=True)
class Numbers:
    """The numbers of a text, and its words, numbers and stops in order, folded."""

    found: tuple[Number, ...]
    tokens: tuple[str, ...]


@lru_cache(REMEMBERED_TEXTS)
def numbers(text: str) -> Numbers:
    """The numbers of a text: in digits of any script, or in words of English, German, French or Spanish."""
    if text.isascii():
        matches = list(_ASCII_TOKEN.finditer(text.lower()))
        tokens = tuple(match.group() if match.lastgroup else _STOP for match in matches)
    else:
        matches = list(_TOKEN.finditer(text))
        tokens = tuple(_token(match) for match in matches)
    found: list[Number] = []
    place = 0
    while place < len(tokens):
        if matches[place].lastgroup == "number":
            scale = SCALES.get(tokens[place + 1], 1.0) if place + 1 < len(tokens) else 1.0
            found += [
                Number(readings, scale, place, matches[place].span(), end=place + 1)
                for readings in _readings(tokens[place])
            ]
            place += 1
        elif tokens[place] in VALUES:
            end = _end_of_words(tokens, place)
            value = _counted(tokens[place:end])
            span = matches[place].start(), matches[end - 1].end()
            found.append(Number(frozenset({_value(value)}), 1.0, place, span, in_words=True, end=end))
            place = end
        else:
            place += 1
    return Numbers(tuple(found), tokens)


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


def _end_of_words(tokens: Sequence[str], place: int) -> int:
    """The end of a number in words: "one hundred and twenty"."""
    end = place + 1
    while end < len(tokens):
        if tokens[end] in VALUES or (tokens[end] == "and" and end + 1 < len(tokens) and tokens[end - 1] == "hundred"):
            end += 1
        else:
            break
    return end - (tokens[end - 1] == "and")


def _counted(words: Sequence[str]) -> float:
    """The value of a number in words."""
    total, current = 0.0, 0.0
    for word in words:
        value = VALUES.get(word, 0.0)
        scale = SCALES.get(word, 0.0)
        if scale >= 1000:
            total, current = total + max(current, 1.0) * scale, 0.0
        elif scale:
            current = max(current, 1.0) * scale
        else:
            current += value
    return total + current


@lru_cache(REMEMBERED_TEXTS)
def known_values(text: str) -> tuple[frozenset[Value], frozenset[Value]]:
    """All values that a text may stand for, with what follows from them; and those without a word of scale."""
    content = numbers(text)
    known: set[Value] = set()
    bare: set[Value] = set()
    for number in content.found:
        known |= number.readings | number.scaled
        if number.scale == 1:
            bare |= number.readings
    known.update(MONTH_NUMBERS[token] for token in content.tokens if token in MONTH_NUMBERS)
    known.update(VALUES[token] for token in content.tokens if token in VALUES)
    known.update(map(_roman, _ROMAN.findall(text)))
    known.update(_rounded(value) for value in tuple(known) if isinstance(value, float))
    known.update(_ends_of_ranges(content))
    known.update(_halves(content))
    known.update(_hours(content, text))
    return frozenset(known), frozenset(bare)


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
        if _is_decade(content, number):
            ends |= {1900 + year for year in number.readings if 20 <= year < 100}
    return ends


def _is_decade(content: Numbers, number: Number) -> bool:
    before, word = content.tokens[max(0, number.place - 1) : number.place], content.tokens[number.place]
    behind = content.tokens[number.end : number.end + 1]
    return behind in (("s",), ("er",)) or before == ("annees",) or (number.in_words and word.endswith(("ties", "iger")))


def _halves(content: Numbers) -> set[Value]:
    """2.5 for "two and a half"."""
    return {
        _value(value + 0.5)
        for number in content.found
        for value in number.scaled
        if _AND_A_HALF.match(" ".join(content.tokens[number.end : number.end + 3]))
    }


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


def is_supported(number: Number, source: str) -> bool:
    """Whether a number of an answer stands in the source or follows from how it is written there."""
    known, bare = known_values(source)
    return bool(number.scaled & known or number.readings & bare)


@lru_cache(REMEMBERED_TEXTS)
def checked_numbers(text: str, source: str = "") -> tuple[Number, ...]:
    """The numbers of an answer that must come from its source: not those of its lists, nor small ones in words.

    Marks of references, such as [4], count only where the source has them.
    """
    unchecked = _numbering(text)
    if not _REFERENCE.search(source):
        unchecked |= {match.start(1) for match in _REFERENCE.finditer(text)}
    found = numbers(text).found
    return tuple(number for number in found if number.span[0] not in unchecked and not _is_own_count(number))


def _is_own_count(number: Number) -> bool:
    value = max(number.readings)
    return number.in_words and (value <= _LARGEST_UNCHECKED_WORD or value in _ROUND)


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
    content = numbers(source)
    between: dict[_Neighbours, set[Value]] = {}
    for number in content.found:
        for words in _neighbours(content, number, language):
            between.setdefault(words, set()).update(number.readings | number.scaled)
    return between


def number_precision(source: str, answer: ParsedAnswer, context: GateContext) -> float:
    """Share of the answer's numbers that stand in the source; 1 if it has none."""
    found = checked_numbers(told(answer, context), source)
    return sum(is_supported(number, source) for number in found) / len(found) if found else 1.0


def unsupported_numbers(source: str, answer: ParsedAnswer, context: GateContext) -> float:
    """How many of the answer's numbers do not stand in the source."""
    return float(sum(not is_supported(number, source) for number in checked_numbers(told(answer, context), source)))


def changed_numbers(source: str, answer: ParsedAnswer, context: GateContext) -> float:
    """How many of the answer's numbers stand where the source has another number.

    Either the number is not in the source, and the words around it are the source's, at most places around a number
    that the answer lacks; or it is, but between the very same words the source has only others. What remains are
    numbers that came with a statement of their own: see ``unsupported_numbers``.
    """
    text = told(answer, context)
    found, content = checked_numbers(text, source), numbers(text)
    if not content.found:
        return 0.0
    between = _between(source, context.language)
    lost = _missing(source, text)
    missing = [number.span for number in lost]
    literal = {value for number in numbers(source).found for value in number.readings}
    changed = 0
    for number in found:
        if not is_supported(number, source):
            changed += (
                text[: number.span[0]][-1:].isalpha()  # part of a name: "F3"
                or is_place_of_another(text, number.span, source, missing, context.language)
                or is_told_by(text, number.span, source, context.language)
                or any(_are_slips(number, other) for other in lost)
            )
        elif number.readings & literal:
            keys = _neighbours(content, number, context.language)
            expected = [between[k] for k in keys if k in between and _says_enough(k, context.language)]
            changed += bool(expected) and not any(number.scaled & values for values in expected)
    counted = {_counted_thing(source, other, context.language) for other in lost} - {""}
    changed += sum(
        not is_supported(number, source) and _counted_thing(text, number, context.language) in counted
        for number in content.found
        if _is_own_count(number) and max(number.readings) >= _LEAST_COMPARED_WORD
    )
    return float(changed)


def _counted_thing(text: str, number: Number, language: str | None) -> str:
    """The stem of the word behind a number; "" if it is too short for one."""
    return next(stems([place_of(text, number.span, language).behind]), "")


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
    stopped = stop_words(language)
    return _STOP in around or sum(len(word) > 2 and word.isalpha() and word not in stopped for word in around) > 1


def _missing(source: str, text: str) -> list[Number]:
    """The numbers of the source, small ones in words apart, of whose values the text has fewer."""
    left = Counter(value for number in numbers(text).found for value in number.readings)
    found = [n for n in numbers(source).found if not n.in_words or max(n.readings) >= _LEAST_COMPARED_WORD]
    missing: set[Value] = set()
    for number in found:
        if not any(left[value] > 0 for value in number.readings):
            missing |= number.readings
        left.subtract(number.readings)
    return [number for number in found if number.readings & missing]
