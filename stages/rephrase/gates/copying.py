"""How much of an answer is the source's own wording."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from stages.rephrase.answers import ParsedAnswer
from stages.rephrase.gates.context import GateContext
from stages.rephrase.gates.words import REMEMBERED_TEXTS, told, whole_words

RUN_WORDS = 8

_FACTOR = np.uint64(0x9E3779B97F4A7C15)  # odd, with well mixed bits: 2**64 over the golden ratio


@lru_cache(REMEMBERED_TEXTS)
def _runs(text: str) -> NDArray[np.uint64]:
    """A hash of each run of RUN_WORDS words; equal for equal runs within this process."""
    words = np.fromiter(map(hash, whole_words(text)), np.int64).astype(np.uint64)
    count = max(0, len(words) - RUN_WORDS + 1)
    runs = np.zeros(count, np.uint64)
    for i in range(RUN_WORDS):
        runs = runs * _FACTOR + words[i : i + count]
    return runs


def copied(source: str, answer: ParsedAnswer, context: GateContext) -> float:
    """Share of the answer's runs of RUN_WORDS words that stand in the source; 0 if it is shorter."""
    runs = _runs(told(answer, context))
    return float(np.isin(runs, _runs(source)).mean()) if len(runs) else 0.0
