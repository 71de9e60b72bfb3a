"""Whether an answer speaks of what the source speaks of."""

from __future__ import annotations

from itertools import accumulate

from stages.rephrase.answers import ParsedAnswer
from stages.rephrase.gates.context import GateContext
from stages.rephrase.gates.words import all_stems, content_stems, told

WINDOW_STEMS = 24  # content words, some fifty words of prose
WINDOWS_PER_ANSWER = 3  # of a short answer: half of it off topic must fill a window


def support(source: str, answer: ParsedAnswer, context: GateContext) -> float:
    """Share of the answer's content words that stand in the source; 1 if it has none."""
    supported = _supported(source, answer, context)
    return sum(supported) / len(supported) if supported else 1.0


def worst_support(source: str, answer: ParsedAnswer, context: GateContext) -> float:
    """The least ``support`` over all stretches of the answer of WINDOW_STEMS content words."""
    supported = _supported(source, answer, context)
    if not supported:
        return 1.0
    window = max(1, min(WINDOW_STEMS, len(supported) // WINDOWS_PER_ANSWER))
    sums = [0, *accumulate(supported)]
    return min(sums[i + window] - sums[i] for i in range(len(supported) - window + 1)) / window


def _supported(source: str, answer: ParsedAnswer, context: GateContext) -> list[bool]:
    """Of each content word of the answer, in order, whether it stands in the source."""
    known = all_stems(source)
    return [stem in known for stem in content_stems(told(answer, context), context.language)]
