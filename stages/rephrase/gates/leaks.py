"""What belongs to the conversation with the model and not to the text: talk about the task, words of the prompt."""

from __future__ import annotations

import re
from functools import lru_cache

from stages.rephrase.answers import ParsedAnswer
from stages.rephrase.gates.context import GateContext
from stages.rephrase.gates.phrases import pattern
from stages.rephrase.gates.refusal import not_said
from stages.rephrase.gates.words import words

LEAK_WORDS = 6
"""Words in a row of our own instruction that a text has only from there."""

_CONTROL = re.compile(
    r"<\|[a-z_]{2,30}\|>|</?(?:think|thinking|reasoning|scratchpad|answer|response|passage|source_text|user|assistant|system)>"
    r"|\[/?INST\]|<</?SYS>>|</?s>|<(?:start|end)_of_turn>|^(?:###? ?)?(?:assistant|system|user|human)\s*:\s",
    re.IGNORECASE | re.MULTILINE,
)


def meta_talk(source: str, answer: ParsedAnswer, context: GateContext) -> float:
    """How often the answer talks about the task, the request or "the passage" where the source does not say the same; 0
    in a sound answer."""
    return float(len(not_said({match.group() for match in pattern("meta_talk").finditer(answer.text.lower())}, source)))


def prompt_leak(source: str, answer: ParsedAnswer, context: GateContext) -> float:
    """How many pieces of the prompt the answer has that the source has not; 0 in a sound answer.

    Pieces are LEAK_WORDS words in a row of our own instruction, the fence around the source, and marks of conversations
    (``<|im_start|>``, ``</think>``).
    """
    written = words(answer.text)
    ours = _passages(words(context.instruction)).intersection(_runs(written))
    leaked = len(ours.difference(_runs(words(source)))) if ours else 0
    fence = context.fence.strip()
    leaked += bool(fence) and fence in answer.text
    return float(leaked + len(not_said({match.group().casefold() for match in _CONTROL.finditer(answer.text)}, source)))


@lru_cache(64)
def _passages(instruction: tuple[str, ...]) -> frozenset[tuple[str, ...]]:
    return frozenset(_runs(instruction))


def _runs(text: tuple[str, ...]) -> zip[tuple[str, ...]]:
    """All stretches of LEAK_WORDS words."""
    return zip(*(text[n:] for n in range(LEAK_WORDS)), strict=False)
