"""How far an answer is the text of the page, by what the CPU has read there."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from dataclasses import dataclass

from stages.models.loops import WORD

_MARKUP = re.compile(
    r"!\[[^\]]*\]\([^)]*\)"  # a figure, which the model describes in its own words
    r"|\]\([^)\s]*\)"  # the target of a link
    r"|\$\$.+?\$\$|\\\[.+?\\\]|\\\(.+?\\\)|\$[^$\n]+\$"  # LaTeX, of which OCR reads something else
    r"|</?[a-zA-Z][^<>]*>",
    re.DOTALL,
)


@dataclass(frozen=True, slots=True)
class Agreement:
    """How far the words of an answer are those of the CPU's reading of the same page, each word counted as often as
    it stands there."""

    precision: float  # share of the answer's words that the CPU has read as well
    recall: float  # share of the CPU's words that the answer has


def agreement(markdown: str, witness: str) -> Agreement:
    """Compare a model's answer with the CPU's reading.

    Figures' descriptions, formulas and tags are no words of the answer: the page does not have them, or OCR reads them
    as something else. An empty text agrees with nothing; two empty ones agree.
    """
    answered, read = words_of(_MARKUP.sub(" ", markdown)), words_of(witness)
    common = (answered & read).total()
    return Agreement(_share(common, answered.total(), read.total()), _share(common, read.total(), answered.total()))


def words_of(text: str) -> Counter[str]:
    """Words of a text with their counts, without case and accents of compatibility; Han, kana and Hangul by sign."""
    return Counter(WORD.findall(unicodedata.normalize("NFKC", text).casefold()))


def _share(common: int, of: int, others: int) -> float:
    return common / of if of else float(others == 0)
