"""An answer and its request, for the tests of single gates."""

from __future__ import annotations

from stages.rephrase.answers import ParsedAnswer, QuestionAnswer
from stages.rephrase.gates.context import GateContext

INSTRUCTION = (
    "Rewrite the passage below in the neutral prose of an encyclopaedia. Keep every fact, number and name of the "
    "passage "
    "and add none. Answer with the rewritten text alone."
)
FENCE = "----- amber 7731 -----"


def context(
    style: str = "encyclopaedic",
    format: str = "text",
    finish_reason: str = "stop",
    language: str | None = "en",
) -> GateContext:
    return GateContext(style, format, finish_reason, language, INSTRUCTION, FENCE)


def answer(text: str) -> ParsedAnswer:
    return ParsedAnswer(text)


def pairs(*questions_and_answers: tuple[str, str]) -> ParsedAnswer:
    found = tuple(QuestionAnswer(*pair) for pair in questions_and_answers)
    return ParsedAnswer("\n".join(f"Question: {pair.question}\nAnswer: {pair.answer}" for pair in found), found)
