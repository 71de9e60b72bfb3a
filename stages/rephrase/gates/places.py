"""Whether what an answer brings in stands where the source has something else."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from functools import lru_cache
from typing import NamedTuple

import regex

from stages.rephrase.gates.words import REMEMBERED_TEXTS, all_stems, content_stems, folded, stems, stop_words, words

Span = tuple[int, int]  # characters

REACH_CHARACTERS = 60  # some nine words on either side
REMEMBERED_PLACES = 1 << 12  # a number of the source is compared with many of the answer
SHARED_STEMS = 2
"""Content words that two places must have around them to count as the same place; one less if they also have the same
word right before or behind them."""

MIN_SHARE_TOLD = 0.6  # of the content words around a span
MOST_PLACES = 3  # of a content word in the source, by which a place can be known

_LAST_WORD = regex.compile(r"[\p{L}\p{M}]+(?=[^\p{L}\n]*$)")
_SENTENCE_START = regex.compile(r"(?r)[.!?]\s|\n")  # the last before a place
_SENTENCE_END = regex.compile(r"[.!?](?=\s|$)|\n")
_FIRST_WORD = regex.compile(r"^[^\p{L}\n]*([\p{L}\p{M}]+)")


class Place(NamedTuple):
    """What stands around a span of a text."""

    before: str  # the word right before it
    behind: str
    stems: frozenset[str]  # of the content words around it


@lru_cache(REMEMBERED_PLACES)
def place_of(text: str, span: Span, language: str | None) -> Place:
    """The place of a span, as far as REACH_CHARACTERS and the line go."""
    start, end = span
    left = text[max(0, start - REACH_CHARACTERS) : start].rpartition("\n")[2]
    right = text[end : end + REACH_CHARACTERS].partition("\n")[0]
    last, first = _LAST_WORD.search(left), _FIRST_WORD.search(right)
    return Place(
        folded(last.group()) if last else "",
        folded(first.group(1)) if first else "",
        frozenset(stems(words(f"{left} | {right}"), stop_words(language))),
    )


def likeness(a: Place, b: Place) -> int:
    """How many content words two places share, those right before and behind counted twice; 0 if they are not alike.

    Places of an answer and of its source are alike, that is, the same place, if they share SHARED_STEMS.
    """
    same = {word for word, other in ((a.before, b.before), (a.behind, b.behind)) if word == other != ""}
    shared = a.stems & b.stems
    further = shared.difference(stems(same))
    if len(shared) >= SHARED_STEMS or len(same) == 2 or (len(same) == 1 and len(further) >= SHARED_STEMS - 1):
        return len(shared) + len(same)
    return 0


def best_likeness(answer: str, span: Span, source: str, others: Iterable[Span], language: str | None) -> int:
    """How much a span of the answer stands where the source has one of the ``others``: see ``likeness``."""
    place = place_of(answer, span, language)
    place = place._replace(stems=place.stems - _frequent_stems(source, language))
    return max((likeness(place, place_of(source, other, language)) for other in others), default=0)


def is_place_of_another(answer: str, span: Span, source: str, others: Iterable[Span], language: str | None) -> bool:
    """Whether a span of the answer stands where the source has one of the ``others``."""
    return best_likeness(answer, span, source, others, language) > 0


def is_told_by(answer: str, span: Span, source: str, language: str | None) -> bool:
    """Whether the words around a span of the answer, or those of its sentence, are the source's, so that what they say
    should be as well."""
    start, end = span
    before, behind = _SENTENCE_START.search(answer, 0, start), _SENTENCE_END.search(answer, end)
    sentence = f"{answer[before.end() if before else 0 : start]} | {answer[end : behind.start() if behind else None]}"
    around = place_of(answer, span, language).stems
    within = frozenset(stems(words(sentence), stop_words(language)))
    known = all_stems(source)
    return any(len(found & known) >= MIN_SHARE_TOLD * len(found) for found in (around, within))


@lru_cache(REMEMBERED_TEXTS)
def _frequent_stems(source: str, language: str | None) -> frozenset[str]:
    """The stems that stand at so many places of a text that they tell none from another."""
    return frozenset(stem for stem, n in Counter(content_stems(source, language)).items() if n > MOST_PLACES)
