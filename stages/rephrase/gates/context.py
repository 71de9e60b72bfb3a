"""What the gates know of an answer besides its text and the text that it was written from."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class GateContext:
    """The request behind an answer, as far as gates ask for it."""

    style: str  # name of the style, e.g. "clean"
    format: str  # that the style asks for: text, list, questions, faq or table
    finish_reason: str  # as the engine gives it; "stop": the model was done
    language: str | None  # of the source, ISO 639-1, where it is known
    instruction: str  # the words of the prompt that are our own
    fence: str  # the line between which the source stood in the prompt
