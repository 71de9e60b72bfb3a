"""How certain it is that a sentence commands a model, from one that only a model is told to one that people are too."""

from __future__ import annotations

import re
from enum import IntEnum
from functools import cache

from stages.rephrase.gates.phrases import pattern, patterns, written_out

WORDS_AROUND_QUOTATION = 4  # of a sentence that tells of what it quotes

_QUOTATION = re.compile(r"[\"“„«][^\"”“»\n]{3,300}[\"”“»]")


class Certainty(IntEnum):
    """That a sentence is a command to a model."""

    NONE = 0
    MAYBE = 1  # it has a phrase of commands, as have stories, recipes and sets of rules
    LIKELY = 2  # it says what to answer, as do exams and forms
    SURE = 3


ANNOUNCES = re.compile(
    r"[:!]\W*$|^[-=#*~<_\[{`\s]+/?\w*\s?(?:end|begin|passage|source|context|document)\b.*[-=#*~>_\]}`]$", re.IGNORECASE
)
"""A sentence that addresses somebody, or says that the passage ends."""

FORBIDS = re.compile(
    r"\b(?:do not|don['’]t|never|must not|should not|may not|avoid|without|omit|leave out|refrain from|suppress|hide) "
    r"(?:ever |even |any )?(?:mention(?:ing)?|includ(?:e|ing)|say(?:ing)?|discuss(?:ing)?|tell(?:ing)?|reveal(?:ing)?|"
    r"nam(?:e|ing)|any(?:thing about)?|all|the|every)?\s*([^.!?;\n]{3,80})",
    re.IGNORECASE,
)
"""A command not to mention something, which its group is."""

COMMAND_WORDS = (
    "ignore disregard forget previous prior above earlier instruction prompt rule guideline directive command "
    "order task job role reply respond response answer output print write say return repeat include insert add append "
    "mention "
    "word phrase text sentence line link page site article document content passage summary summarize rewrite "
    "paraphrase translate translation assistant model language system developer user request must should shall only "
    "exactly instead following message begin start end finish new please note important attention reader reading "
    "version original rest now mode chat bot agent automated tool machine process data input provide give use make "
    "sure always never before after first last next also copy complete"
)
"""What commands are made of, whatever they command."""


@cache
def speech() -> re.Pattern[str]:
    """What a request wants to be done, in lower case; an answer that has obeyed does it and does not name it."""
    return re.compile(written_out(r"\b{speak}\b"))


def certainty(sentence: str) -> Certainty:
    """How certain it is that a sentence commands a model. What a sentence quotes, it may only tell of."""
    lowered = sentence.lower()
    unquoted = _QUOTATION.sub(" ", lowered)
    is_quoting = len(unquoted) < len(lowered) and len(unquoted.split()) >= WORDS_AROUND_QUOTATION
    if is_quoting and not pattern("likely_command").search(lowered):
        return max(_certainty(unquoted), min(_certainty(lowered), Certainty.MAYBE))
    return _certainty(lowered)


def _certainty(lowered: str) -> Certainty:
    forms = sum(bool(form.search(lowered)) for form in patterns("form_of_command"))
    if pattern("sure_command").search(lowered) or forms > 1 or (forms and pattern("model").search(lowered)):
        return Certainty.SURE
    if pattern("likely_command").search(lowered):
        return Certainty.LIKELY
    return Certainty.MAYBE if forms else Certainty.NONE


def is_suspect(text: str) -> bool:
    """Whether a text has any phrase of a command."""
    lowered = text.lower()
    return any(pattern(name).search(lowered) for name in ("sure_command", "likely_command", "form_of_command"))
