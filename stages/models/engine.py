"""What answers requests to a language model, whoever runs it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Protocol


@dataclass(frozen=True, slots=True)
class Request:
    """One request, made as a single message of the user: what many requests share stands first, so that the engine
    computes it once."""

    prompt: str
    max_tokens: int  # of the answer
    temperature: float = 0.0
    top_p: float = 1.0
    seed: int | None = None  # of the sampling
    image_png: bytes = b""  # shown before the prompt, if any


@dataclass(frozen=True, slots=True)
class Answer:
    """A model's answer and why it ended ("stop": the model was done; "length": ``max_tokens`` were used up)."""

    text: str
    finish_reason: str
    prompt_tokens: int = 0  # as the engine counts them; 0 if it does not say
    completion_tokens: int = 0


FailureReason = Literal["refused", "unavailable", "deadly"]


class RequestFailedError(Exception):
    """A request that gets no answer while other requests do.

    ``reason`` is "refused" (by the engine: too long, not allowed), "unavailable" (failed again and again) or "deadly"
    (whenever it runs, the engine dies).
    """

    def __init__(self, reason: FailureReason, evidence: str) -> None:
        super().__init__(evidence)
        self.reason: FailureReason = reason
        self.evidence = evidence

    def __reduce__(self) -> tuple[type[RequestFailedError], tuple[FailureReason, str]]:
        return type(self), (self.reason, self.evidence)


class Engine(Protocol):
    """A language model. Safe to use from several threads."""

    @property
    def most_at_once(self) -> int:
        """Requests that are worth having under way at once."""

    def ask(self, request: Request) -> Answer:
        """The model's answer to one request.

        Raises:
            RequestFailedError: there is none to be had for this request.
            MachineError: there is none to be had for any.
        """

    def close(self) -> None:
        """Give up what is under way; who waits for an answer, and who asks later, gets an error."""
