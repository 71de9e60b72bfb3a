"""Gates: what an answer must pass before it counts, each a measured score that a style bounds."""

from __future__ import annotations

from dataclasses import replace

from stages.rephrase.answers import ParsedAnswer
from stages.rephrase.gates.changed_numbers import changed_numbers
from stages.rephrase.gates.contacts import new_contacts
from stages.rephrase.gates.context import GateContext
from stages.rephrase.gates.copying import copied
from stages.rephrase.gates.decision import Gate, failure
from stages.rephrase.gates.entities import changed_entities, entity_precision, entity_recall, unsupported_entities
from stages.rephrase.gates.finish import finished
from stages.rephrase.gates.injection import injection
from stages.rephrase.gates.language import language_kept
from stages.rephrase.gates.leaks import meta_talk, prompt_leak
from stages.rephrase.gates.length import ends_well, length_ratio
from stages.rephrase.gates.questions import duplicate_questions, question_support, questions_kept, sound_pairs
from stages.rephrase.gates.refusal import refusal
from stages.rephrase.gates.repetition import repetition
from stages.rephrase.gates.support import support, worst_support
from stages.rephrase.gates.unsupported_numbers import number_precision, unsupported_numbers

__all__ = ["GATES", "GateContext", "failure", "scores", "scores_of_sound_pairs"]

GATES = tuple(
    Gate(measure.__name__, measure)
    for measure in (
        finished,
        ends_well,
        refusal,
        meta_talk,
        prompt_leak,
        language_kept,
        repetition,
        injection,
        new_contacts,
        length_ratio,
        copied,
        support,
        worst_support,
        changed_numbers,
        unsupported_numbers,
        number_precision,
        changed_entities,
        unsupported_entities,
        entity_precision,
        entity_recall,
        question_support,
        questions_kept,
        duplicate_questions,
    )
)
"""In the order in which the reason of a rejection is looked for."""


OF_ALL_PAIRS = frozenset({"question_support", "questions_kept", "duplicate_questions"})


def scores(source: str, answer: ParsedAnswer, context: GateContext) -> dict[str, float]:
    """The score of each gate, by name, in the order of GATES."""
    return {gate.name: float(gate.measure(source, answer, context)) for gate in GATES}


def scores_of_sound_pairs(
    source: str, answer: ParsedAnswer, context: GateContext
) -> tuple[ParsedAnswer, dict[str, float]]:
    """The answer without its unsound pairs, and its scores: those about pairs are of all of them."""
    sound = sound_pairs(source, answer, context)
    pairs = tuple(pair for pair, is_sound in zip(answer.questions, sound, strict=True) if is_sound)
    kept = replace(answer, questions=pairs)
    of_all = {gate.name: float(gate.measure(source, answer, context)) for gate in GATES if gate.name in OF_ALL_PAIRS}
    return kept, {**scores(source, kept, context), **of_all}
