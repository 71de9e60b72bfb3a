"""Loops: what a model repeats without end."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stages.kernel import kernel

LONGEST_PERIOD = 200
"""Words in the longest passage whose immediate repetition is looked for: about a paragraph."""

MIN_COPIES = ((1, 16), (4, 8), (12, 5))
"""From so many words on a passage may follow itself up to so many times, less one. Short ones do so on sound pages
("no no no", the cells of a form); of a sentence, three copies are a form with three parts, five are a loop."""

MIN_SCATTERED_COPIES = 16
"""Times that a long sentence or line may come back with others between, less one: in the text layers of 437 pages of
all kinds up to 8, in tables."""

MIN_COUNTING_WORDS = 6
"""Different words besides numbers, from which on a passage that comes back with other numbers is the same passage:
loops like to count on, but so do the lines of a table of contents ("Figure 12 ..... 34")."""

LONGEST_CHARACTER_PERIOD = 8
MIN_CHARACTER_RUN = 300
"""Characters of a run in one line such as "......" or "-=-=-=": a line of dot leaders has at most 150."""

WORD = re.compile(r"[぀-ヿ㐀-鿿豈-﫿가-힯]|[^\W_]+")
"""A word of a text. Han, kana and Hangul have no spaces: each sign is a word."""

_TABLE_LINE = re.compile(r"^\s*\||</?(?:table|thead|tbody|tr|td|th)\b", re.IGNORECASE)
_SPACES = re.compile(r"[^\S\n]+")
_DIGITS = re.compile(r"\d+")
_SENTENCE_END = re.compile(r"(?<=[.!?])\s+|(?<=[。！？])")


def loop(text: str) -> str:
    """What repeats without end in a text, with the number of times; "" if nothing does.

    Rows of tables may be alike and are not looked at. Time and memory grow with the length of the text only: twice
    ``LONGEST_PERIOD`` passes over its words.
    """
    lines = [line for line in text.split("\n") if not _TABLE_LINE.search(line)]
    words = WORD.findall("\n".join(lines))
    uncounted = ["0" if word.isdigit() else word for word in words]
    return (
        _run_of_words(words, 1)
        or _run_of_words(uncounted, MIN_COUNTING_WORDS)
        or _scattered(lines)
        or _run_of_characters(_SPACES.sub("", text))
    )


def _run_of_words(words: Sequence[str], min_different: int) -> str:
    """A passage that follows itself; at least so many different words in it are no numbers."""
    codes = _codes(words)
    for period in range(1, min(LONGEST_PERIOD, len(words) // 2) + 1):
        copies = next(copies for words_from, copies in reversed(MIN_COPIES) if period >= words_from)
        start, length = longest_run(codes, period)
        passage = words[start : start + period]
        if length + period >= copies * period and sum(not w.isdigit() for w in set(passage)) >= min_different:
            return f"{length // period + 1} times: {' '.join(passage)[:100]}"
    return ""


def _scattered(lines: Sequence[str]) -> str:
    """Sentences, or lines, that come back again and again with others between them."""
    sentences = (_DIGITS.sub("0", sentence).strip() for line in lines for sentence in _SENTENCE_END.split(line))
    counts = Counter(s for s in sentences if sum(not w.isdigit() for w in set(WORD.findall(s))) >= MIN_COUNTING_WORDS)
    for sentence, count in counts.most_common(1):
        if count >= MIN_SCATTERED_COPIES:
            return f"{count} times: {sentence[:100]}"
    return ""


def _run_of_characters(text: str) -> str:
    codes = np.frombuffer(text.encode("utf-32-le"), np.uint32)
    for period in range(1, min(LONGEST_CHARACTER_PERIOD, len(text) // 2) + 1):
        start, length = longest_run(codes, period)
        repeated = text[start : start + period]
        if length >= MIN_CHARACTER_RUN and "\n" not in repeated:
            return f"{length // period + 1} times: {repeated}"
    return ""


def _codes(words: Sequence[str]) -> NDArray[np.int64]:
    numbers: dict[str, int] = {}
    return np.fromiter((numbers.setdefault(word, len(numbers)) for word in words), np.int64, len(words))


@kernel
def longest_run(codes: NDArray[Any], period: int) -> tuple[int, int]:
    """Start and length of the longest stretch in which every sign equals the one ``period`` before it, the first of
    several; the stretch is counted without its first ``period`` signs, at which it starts."""
    best_start = best = start = 0
    for i in range(len(codes) - period):
        if codes[i] != codes[i + period]:
            start = i + 1
        elif i + 1 - start > best:
            best_start, best = start, i + 1 - start
    return best_start, best
