"""How long an answer is, and whether it comes to an end."""

from __future__ import annotations

import regex

from stages.rephrase.answers import ParsedAnswer
from stages.rephrase.gates.context import GateContext
from stages.rephrase.gates.words import folded, size, words

LAST_WORDS = 4  # by which the end of a line of the source is known again
SHORT_ANSWER_WORDS = 6  # to a question: "1967", "In the north of Norway"
MOST_WORDS_OF_AN_ENTRY = 6  # of a list without marks

_CLOSED = regex.compile(r"[.!?…。！？｡।॥؟۔։።]|\$\$$|\\\]$|```$|\|$|>$")
_CLOSING = "\"'”’»«)]}*_`）」』】 "
_LISTED = regex.compile(r"\s*(?:[-*+•‣–]|\(?\d{1,3}[.)]|#)\s")


def length_ratio(source: str, answer: ParsedAnswer, context: GateContext) -> float:
    """Words of the answer over words of the source."""
    return size(answer.text) / max(1.0, size(source))


def ends_well(source: str, answer: ParsedAnswer, context: GateContext) -> float:
    """1 if the answer comes to an end; 0 if it breaks off.

    It ends where a sentence, a formula, a table or code does, with an entry of a list whose others end alike, or where
    a line of the source ends. Sources without full stops say nothing about how a text ends.
    """
    text = answer.questions[-1].answer if answer.questions else answer.text
    if _is_closed(text) or not regex.search(_CLOSED, source):
        return 1.0
    if answer.questions and not all(_is_closed(pair.answer) for pair in answer.questions[:-1]):
        return 1.0
    if answer.questions and len(text.split()) <= SHORT_ANSWER_WORDS:
        return 1.0
    lines = [line for line in text.splitlines() if line.strip()]
    if not lines:
        return 1.0
    if len(lines) > 1 and _is_entry(lines[-1]) and _is_entry(lines[-2]) and not _is_closed(lines[-2]):
        return 1.0
    end = words(lines[-1])[-LAST_WORDS:]
    return float(any(words(line)[-len(end) :] == end for line in _lines_with(source, end)) if end else True)


def _is_closed(text: str) -> bool:
    bare = text.rstrip().rstrip(_CLOSING)
    return bool(_CLOSED.match(bare[-1:]) or _CLOSED.search(text.rstrip()[-3:]))


def _is_entry(line: str) -> bool:
    return bool(_LISTED.match(line)) or len(line.split()) <= MOST_WORDS_OF_AN_ENTRY


def _lines_with(source: str, end: tuple[str, ...]) -> list[str]:
    return [line for line in source.splitlines() if end[-1] in folded(line)]
