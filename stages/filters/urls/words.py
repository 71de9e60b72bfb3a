"""Listed words in URLs."""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
import regex
from numpy.typing import NDArray

from stages.filters.urls.kernels import DIGITS_AND_LETTERS, ROOT, holds_a_word

_ASCII_PIECE = re.compile("[a-zA-Z0-9]+")
_UNICODE_PIECE = regex.compile(r"[\p{L}\p{M}\p{N}]+")  # Python's \w would split words of Indian scripts at their marks
_NONE: frozenset[str] = frozenset()


class Found(NamedTuple):
    """The listed words of a URL."""

    hard: frozenset[str]
    soft: frozenset[str]
    substrings: frozenset[str]


class WordLists:
    """Words that are looked for between separators, and substrings that are looked for across them.

    Args:
        as_datatrove: URLs are split at all but ASCII letters and digits, and words compared as they are spelled.
    """

    def __init__(
        self, hard: Iterable[str], soft: Iterable[str], substrings: Iterable[str], as_datatrove: bool = False
    ) -> None:
        self._as_datatrove = as_datatrove
        self.hard, self.soft, self.substrings = (
            frozenset(filter(None, map(self._normalized, words))) for words in (hard, soft, substrings)
        )
        self.automaton = automaton(word for word in self.substrings if word.isascii())
        self._beyond_ascii = any(not word.isascii() for word in self.substrings)

    def found_in(self, url: str) -> Found:
        """The listed words of a readable URL."""
        pieces = self._pieces(url if self._as_datatrove else url.lower())
        joined = "".join(pieces).lower()
        substrings = frozenset(word for word in self.substrings if word in joined) if self._may_hold(joined) else _NONE
        return Found(self.hard.intersection(pieces), self.soft.intersection(pieces), substrings)

    def _may_hold(self, joined: str) -> bool:
        """Whether a substring of the list can be in it: the automaton says at once where a hundred tests would fail."""
        return self._beyond_ascii or holds_a_word(np.frombuffer(joined.encode(), np.uint8), self.automaton)

    def _normalized(self, word: str) -> str:
        """A word as it stands between separators: "Slot-Machine" is looked for as "slotmachine"."""
        return "".join(self._pieces(word)).lower()

    def _pieces(self, url: str) -> list[str]:
        if self._as_datatrove or url.isascii():
            return _ASCII_PIECE.findall(url)
        return list(_UNICODE_PIECE.findall(url))


def automaton(words: Iterable[str]) -> NDArray[np.int32]:
    """States of Aho and Corasick's automaton (CACM 18, 1975) for words of ASCII digits and letters.

    Returns:
        Next state by state and digit (0 to 9) or letter (10 to 35), -1 where a word ends; the first state is ROOT.
        Takes 144 bytes a state; there is at most one for each letter of each word.
    """
    children: list[dict[int, int]] = [{}]
    ends = {-1}
    for word in words:
        state = ROOT
        for letter in word:
            number = int(letter, DIGITS_AND_LETTERS)
            if number not in children[state]:
                children[state][number] = len(children)
                children.append({})
            state = children[state][number]
        ends.add(state)
    following = np.zeros((len(children), DIGITS_AND_LETTERS), np.int32)
    waiting = deque([(ROOT, ROOT)])  # states with the one that goes on from their longest end, when they cannot
    while waiting:
        state, shorter = waiting.popleft()
        if shorter in ends:
            ends.add(state)
        if state != ROOT:
            following[state] = following[shorter]
        for number, child in children[state].items():
            waiting.append((child, int(following[state, number])))
            following[state, number] = child
    following[np.isin(following, list(ends))] = -1
    return following
