"""Whether letters are those of a language: fonts may map every glyph to a wrong letter and pass all other checks.

The measure needs no language to be known: how strange pairs of neighbouring letters (word boundaries included) and the
frequencies of letters are in the language which they fit best. Pairs and frequencies of about 100 languages come from
the lists of frequent words that the package justext carries (which trafilatura needs).
"""

from __future__ import annotations

import re
from collections import Counter
from functools import cache
from importlib.resources import files
from importlib.resources.abc import Traversable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

MAX_STRANGENESS = 0.36
"""Of 390 pages of 120 PDFs that people can read, all have at most 0.354, and 98 % 0.24; of the same pages with the
alphabet permuted, all but 0.2 % have at least 0.375. (Rare pairs alone, with a bound of 0.2, miss 1 %.)"""
FREQUENCY_WEIGHT = 0.25
"""Of the distance between the frequencies of letters (sum of differences: 0 to 2), beside the share of rare pairs. A
permutation that happens to put vowels in the place of vowels makes few rare pairs."""

MIN_PAIRS = 150
"""About 25 words, with which the shares of sound and of enciphered text still lie apart."""

RARE = 2e-4
"""Of a language's pairs. There are some 700 pairs of letters; a text of 1000 words has 6000."""

WORDS_PER_LANGUAGE = 2000
RANK_OFFSET = 10
"""A word's frequency is taken as 1 / (rank + offset), after Zipf and Mandelbrot."""

MIN_LETTERS = 3
"""Of a word: shorter ones are symbols, initials and units as often as words."""

FIRST_UNJUDGED = 0x530
"""Latin, Greek and Cyrillic letters lie below. Other scripts are left alone: a font that maps to them by mistake mixes
them with signs, and the OCR model that would be asked reads few of them."""

MIN_LOST_EXPECTED = 20.0
MAX_LOST_SHARE = 0.03
SAME_LANGUAGE = 0.02
"""A letter is missing that the language has at least 20 times in as much text, if there are less than 3 % of that. All
languages that fit nearly as well as the best have to have it: a text about chemistry may fit a distant one best."""

MAX_SIGN_SHARE = 0.5
MIN_SIGNS = 100
"""Signs other than letters and digits (rulers and leaders aside), above which text is none: sources of programs have up
to 0.35."""
_LEADERS = frozenset("._-=*·•…—–\u2500\x02")


class Judgement(NamedTuple):
    """What the letters of a text look like."""

    pairs: int  # of letters, that were looked at
    strangeness: float  # share of pairs that are rare in the best language, and a part for wrong frequencies
    lost: str  # letters that the language needs and the text lacks
    is_signs: bool  # hardly any letters and digits

    @property
    def is_implausible(self) -> bool:
        """Whether the letters may be wrong: reason enough to hold them to the page's picture."""
        return self.is_scrambled or bool(self.lost) or self.is_signs

    @property
    def is_scrambled(self) -> bool:
        """Whether the letters are those of no language."""
        return self.pairs >= MIN_PAIRS and self.strangeness > MAX_STRANGENESS

    @property
    def is_plausible(self) -> bool:
        """Whether there is enough text to say that its letters are right."""
        return self.pairs >= MIN_PAIRS and not self.is_implausible


class _Languages(NamedTuple):
    numbers: NDArray[np.int32]  # (FIRST_UNJUDGED,) number of the letter with this code; 0 ends a word
    letters: str  # by number, lower case
    is_rare: NDArray[np.bool_]  # (languages, letters * letters)
    frequencies: NDArray[np.float64]  # (languages, letters)


@cache
def _languages() -> _Languages:
    lists = [words for path in _word_lists() if (words := _words(path.read_text("utf-8")))]
    letters = "\0" + "".join(sorted({letter for words in lists for word in words for letter in word}))
    numbers = np.zeros(FIRST_UNJUDGED, np.int32)
    unknown = len(letters)  # a letter that no language of the lists has: all its pairs are rare
    letters += "\ufffd"
    for code in range(FIRST_UNJUDGED):
        if chr(code).isalpha():
            found = letters.find(chr(code).lower()[0])
            numbers[code] = found if found > 0 else unknown
    size = len(letters)
    is_rare = np.ones((len(lists), size * size), np.bool_)
    frequencies = np.zeros((len(lists), size))
    for language, words in enumerate(lists):
        ranks = np.repeat(np.arange(len(words)), [len(word) + 1 for word in words])
        weights = 1 / (ranks + RANK_OFFSET)
        text = numbers[code_points(" ".join(words) + " ")]
        before = np.append(np.int32(0), text[:-1])
        pairs = np.bincount(before * size + text, weights=weights, minlength=size * size)
        is_rare[language] = pairs < RARE * pairs.sum()
        frequencies[language] = np.bincount(text, weights=weights, minlength=size)
        frequencies[language, 0] = 0
        frequencies[language] /= frequencies[language].sum()
    return _Languages(numbers, letters, is_rare, frequencies)


def _word_lists() -> list[Traversable]:
    paths = (files("justext") / "stoplists").iterdir()
    return sorted((path for path in paths if path.name.endswith(".txt")), key=lambda path: path.name)


def _words(text: str) -> list[str]:
    """The words of a list in order of frequency; none if it is in a script that is not judged."""
    found = list(dict.fromkeys(word.lower() for word in text.split() if word.isalpha()))[:WORDS_PER_LANGUAGE]
    return [word for word in found if max(word) < chr(FIRST_UNJUDGED)]


def code_points(text: str) -> NDArray[np.uint32]:
    """(n,) of a text's characters."""
    return np.frombuffer(text.encode("utf-32-le", "surrogatepass"), "<u4")


def judgement(codes: NDArray[np.uint32]) -> Judgement:
    """Judge a text, given as code points; what separates its words is no letter."""
    languages = _languages()
    numbers = np.where(codes < FIRST_UNJUDGED, languages.numbers[np.minimum(codes, FIRST_UNJUDGED - 1)], 0)
    numbers = np.concatenate([np.zeros(1, np.int32), numbers, np.zeros(1, np.int32)])
    numbers = _without_short_words(numbers)
    size = len(languages.letters)
    keys = numbers[:-1] * size + numbers[1:]
    keys = keys[keys > 0]
    if len(keys) < MIN_PAIRS:
        return Judgement(len(keys), 0.0, "", _is_signs(codes))
    keys, counts = np.unique(keys, return_counts=True)
    total = int(counts.sum())
    rare = languages.is_rare[:, keys] @ counts
    letters = np.bincount(numbers, minlength=size)
    letters[0] = 0
    distances = np.abs(languages.frequencies - letters / letters.sum()).sum(axis=1)
    strangeness = float((rare / total + FREQUENCY_WEIGHT * distances).min())
    near = np.flatnonzero(rare <= rare.min() + SAME_LANGUAGE * total)
    lost = "" if strangeness > MAX_STRANGENESS else _lost(letters, near)
    return Judgement(total, strangeness, lost, _is_signs(codes))


def _without_short_words(numbers: NDArray[np.int32]) -> NDArray[np.int32]:
    is_end = numbers == 0
    ends = np.flatnonzero(is_end)
    lengths = np.diff(ends) - 1  # of the word after each end but the last
    is_short = np.repeat(lengths < MIN_LETTERS, lengths)
    kept = numbers.copy()
    kept[np.flatnonzero(~is_end)[is_short]] = 0
    return kept


def _lost(counts: NDArray[np.int64], near: NDArray[np.int64]) -> str:
    languages = _languages()
    expected = languages.frequencies[near].min(axis=0) * counts.sum()
    is_lost = (expected >= MIN_LOST_EXPECTED) & (counts < MAX_LOST_SHARE * expected)
    return "".join(languages.letters[number] for number in np.flatnonzero(is_lost))


def _is_signs(codes: NDArray[np.uint32]) -> bool:
    if len(codes) < MIN_SIGNS:
        return False
    is_sign = _signs()[np.minimum(codes, len(_signs()) - 1)]
    characters = int(np.count_nonzero(is_sign >= 0))
    signs = int(np.count_nonzero(is_sign == 1))
    return signs >= MIN_SIGNS and signs > MAX_SIGN_SHARE * characters


@cache
def _signs() -> NDArray[np.int8]:
    """By code below 0x100 (all others are like the last): 1 a sign, 0 a letter or digit, -1 neither."""
    kinds = [
        -1 if chr(code).isspace() or chr(code) in _LEADERS or code < 32 else 0 if chr(code).isalnum() else 1
        for code in range(0x100)
    ]
    return np.array([*kinds, 0], np.int8)


MIN_TOKENS = 15
_SOUND_TOKEN = re.compile(
    r"""[(\[{<"'\u2018\u201c\u201e\u00ab\u00bf\u00a1]*
    (?:[^\W\d_]+(?:['\u2019\u2013/&.-][^\W\d_]+)*[.'\u2019]?  # a word, also compound or abbreviated
    |[+\u2212\u2013$\u20ac\u00a3\u00a7\#-]*\d+(?:[.,:/\u2013-]\d+)*(?:%|\u00b0|[^\W\d_]{0,3}))  # a number
    [)\]}>"'\u2019\u201d\u00bb,.;:!?\u2026]*""",
    re.VERBOSE,
)
_LONE_LETTERS = frozenset("aeioyu\u00e0\u00e9\u00e8\u00f3\u00ed\u0432\u0438\u043a\u043e\u0441\u0443\u044f")
"""Those that are words in some language; others are splinters if they stand alone in running text."""


def noise_share(text: str) -> float:
    """Share of the tokens that are neither words nor numbers: what OCR makes of dirt, hands and strange scripts.

    0 for less than MIN_TOKENS. Texts with formulas and listings reach 0.5 without any OCR.
    """
    tokens = text.split()
    if len(tokens) < MIN_TOKENS:
        return 0.0
    return sum(map(_is_noise, tokens)) / len(tokens)


_LONE_SIGNS = frozenset("?!:;\u2013\u2014-\u00ab\u00bb&/+=%\u2022*")
"""Those that stand between spaces in sound text: French ones before the end of a sentence, dashes, operators."""


def _is_noise(token: str) -> bool:
    if token in _LONE_SIGNS:
        return False
    if len(token) > 60 or not _SOUND_TOKEN.fullmatch(token):
        return any(ord(character) < FIRST_UNJUDGED for character in token)
    core = token.strip(".,;:!?()[]'\"")
    return len(core) == 1 and core.isalpha() and core.lower() not in _LONE_LETTERS and ord(core) < FIRST_UNJUDGED


MIN_WITNESSED_WORDS = 10
"""Fewer words of either side settle nothing."""
MIN_LETTERS_READ = 10
"""Of a letter: as many as OCR must have read for its absence in the text layer to say something."""

MOST_IN_A_WORD = 2
"""Of one letter, on average: listings lack letters that prose has, with no word of theirs misread."""


class Proof(NamedTuple):
    """What OCR has to confirm of a text layer."""

    min_overlap: float  # share of the layer's words that OCR has read too; OCR of print has 0.9
    min_letters: float  # of each letter, how many the layer has by how many OCR has read


ON_SUSPICION = Proof(0.3, 0.1)
"""For letters that only look wrong."""
ON_TRUST = Proof(0.6, 0.5)
"""For letters that are guesses."""

_WORD = re.compile(r"[^\W_]{2,}")


def is_contradicted(layer: str, read: str, proof: Proof) -> bool:
    """Whether OCR of a page shows that the letters of its text layer are wrong.

    Args:
        layer: the text in question, which may be a part of the page's.
        read: what OCR has read on the whole page.
        proof: what it takes to believe the layer.
    """
    said, seen = Counter(_WORD.findall(layer.lower())), Counter(_WORD.findall(read.lower()))
    if min(said.total(), seen.total()) < MIN_WITNESSED_WORDS:
        return False
    if (said & seen).total() < proof.min_overlap * said.total():
        return True
    # the layer may be a part of the page, which has its share of every letter; but each lost letter spoils a word
    share = min(said.total() / seen.total(), 1.0)
    spoiled = (said - seen).total()
    letters_said, letters_seen = Counter(layer.lower()), Counter(read.lower())
    return any(
        letters_said[letter] < proof.min_letters * share * count
        and share * count - letters_said[letter] <= MOST_IN_A_WORD * spoiled
        for letter, count in letters_seen.items()
        if letter.isalpha() and share * count >= MIN_LETTERS_READ
    )
