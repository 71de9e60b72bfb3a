"""Repetition: a model that fell into a loop, or says the same again."""

from __future__ import annotations

import re
from collections.abc import Sequence

from stages.models.loops import WORD, loop
from stages.rephrase.answers import ParsedAnswer
from stages.rephrase.gates.context import GateContext

PASSAGE_WORDS = 10
"""Words of a passage whose return is looked for: longer than set phrases, shorter than most sentences."""
LOOP_WORDS = 6  # in a row, of which all that ``loop`` finds among words brings at least LOOP_RETURNS back
LOOP_RETURNS = 10
LOOP_CHARACTERS = 100  # of which a run of characters that ``loop`` finds fills one stretch or more
LOOP_SIGNS = 8  # different ones in such a run

_DIGITS = re.compile(r"\d+")


def repetition(source: str, answer: ParsedAnswer, context: GateContext) -> float:
    """Share of the answer's passages of ``PASSAGE_WORDS`` words that it has had before, less that of the source; 1
    where something repeats without end and does not in the source."""
    if _loops(answer.text) and not _loops(source):
        return 1.0
    share = _repeated_share(answer.text)
    return max(0.0, share - _repeated_share(source)) if share else 0.0


def _repeated_share(text: str) -> float:
    words = WORD.findall(text.casefold())
    returns = _returns(words, PASSAGE_WORDS)
    return returns / (len(words) - PASSAGE_WORDS + 1) if returns else 0.0


def _returns(words: Sequence[str], length: int) -> int:
    """How many stretches of so many words have been there before."""
    return max(0, len(words) - length + 1) - len(set(zip(*(words[n:] for n in range(length)), strict=False)))


def _loops(text: str) -> bool:
    """Whether something repeats without end. ``loop`` takes milliseconds, so texts that cannot loop are passed over."""
    words = WORD.findall(_DIGITS.sub("0", text))
    stretches = ("".join(line.split()) for line in text.split("\n") if len(line) > LOOP_CHARACTERS)
    may_loop = _returns(words, LOOP_WORDS) >= LOOP_RETURNS or any(
        len(set(stretch[start : start + LOOP_CHARACTERS])) <= LOOP_SIGNS
        for stretch in stretches
        for start in range(0, len(stretch) - LOOP_CHARACTERS, LOOP_CHARACTERS)
    )
    return may_loop and bool(loop(text))
