"""Refusals: the model declines, or speaks of itself, instead of rewriting."""

from __future__ import annotations

from stages.models.refusals import is_refusal
from stages.rephrase.answers import ParsedAnswer
from stages.rephrase.gates.context import GateContext
from stages.rephrase.gates.phrases import pattern


def refusal(source: str, answer: ParsedAnswer, context: GateContext) -> float:
    """How often the model declines or speaks of itself where the source does not say the same; 0 in a sound answer."""
    found = {match.group() for match in pattern("refusal").finditer(answer.text.lower())}
    if is_refusal(answer.text) and not is_refusal(source):
        found.add(" ".join(answer.text.split()[:4]).casefold())
    return float(len(not_said(found, source)))


def not_said(phrases: set[str], source: str) -> list[str]:
    """Those of the phrases (casefolded) that the source does not have, white space aside."""
    if not phrases:
        return []
    said = " ".join(source.casefold().split())
    return [phrase for phrase in phrases if " ".join(phrase.split()) not in said]
