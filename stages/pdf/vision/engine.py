"""What answers questions about pictures of pages."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Answer:
    """A model's answer and why it ended ("stop": the model was done; "length": ``max_tokens`` were used up)."""

    text: str
    finish_reason: str


class RequestFailedError(Exception):
    """A request that gets no answer while other requests do; ``reason`` is "refused" or "unavailable"."""

    def __init__(self, reason: str, evidence: str) -> None:
        super().__init__(evidence)
        self.reason = reason
        self.evidence = evidence


class Engine(Protocol):
    """A vision-language model. Safe to use from several threads."""

    def ask(self, image_png: bytes, prompt: str, max_tokens: int, temperature: float) -> Answer:
        """The model's answer about one picture.

        Raises:
            RequestFailedError: there is none to be had for this picture.
            MachineError: there is none to be had for any picture.
        """
