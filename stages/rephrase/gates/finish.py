"""Whether the model was done, and whether what it wrote has the asked form."""

from __future__ import annotations

from stages.rephrase.answers import ParsedAnswer
from stages.rephrase.gates.context import GateContext


def finished(source: str, answer: ParsedAnswer, context: GateContext) -> float:
    """1 where the model ended of itself with a text of the asked form; 0 where it was cut off, wrote nothing, or the
    answer does not parse."""
    return float(context.finish_reason == "stop" and not answer.problem and bool(answer.text.strip()))
