"""Answers and contexts for tests of gates."""

from stages.rephrase.answers import ParsedAnswer, QuestionAnswer
from stages.rephrase.gates import GateContext
from stages.rephrase.gates.decision import Measure

ENGLISH = GateContext("encyclopaedic", "text", "stop", "en", "Rewrite the passage below.", "-----4f1c")


def score(measure: Measure, source: str, answer: str, language: str | None = "en") -> float:
    """What a gate measures of a text written from a source."""
    context = GateContext("encyclopaedic", "text", "stop", language, "Rewrite the passage below.", "-----4f1c")
    return measure(source, ParsedAnswer(answer), context)


def pairs(*texts: tuple[str, str]) -> ParsedAnswer:
    """Questions with answers, as an answer in the format ``questions``."""
    found = tuple(QuestionAnswer(*pair) for pair in texts)
    return ParsedAnswer("\n\n".join(f"Question: {q}\nAnswer: {a}" for q, a in found), found)
