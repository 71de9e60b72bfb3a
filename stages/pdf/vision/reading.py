"""Reading one page with a model: up to four tries, each answer checked, and what came of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from stages.models.engine import Answer, Engine, Request, RequestFailedError
from stages.models.loops import loop
from stages.models.refusals import is_refusal
from stages.pdf.vision import checks
from stages.pdf.vision.pictures import PagePictures, UndrawnPageError, halves_of, is_blank, stitched
from stages.pdf.vision.profiles import PageAnswer, Profile, UnparseableAnswerError

Ending = Literal[
    "accepted",
    "not_finished",  # cut off by the limit of tokens, halves of the page too
    "empty",  # no text, where the CPU found some
    "unparseable",  # not in the format of the model
    "repetition",  # caught in a loop
    "wrong_rotation",  # turned as the model asked for, and it still asks
    "invented",  # most words are not on the page, as far as a confident CPU can tell
    "emptied",  # most words of the page are missing
    "refused",  # by the server (4xx), its filter, or the model's own words
    "unavailable",  # no answer to this request, while others were answered
    "undrawn",  # there is no picture of the page
]
"""What became of a page that a model was asked about; all but the first keep the CPU's text."""

FINISH_REASONS = {"length": "not_finished", "repetition": "repetition", "content_filter": "refused"}
"""Why an answer ended early: OpenAI's words, and vLLM's for its own detector."""


@dataclass(frozen=True, slots=True)
class Limits:
    """How to ask, and when to believe."""

    temperatures: tuple[float, ...] = (0.1, 0.4, 0.7, 1.0)  # of the tries
    max_tokens: int = 6144  # of one answer
    min_precision: float = 0.7  # of the answer's words, by the witness
    min_recall: float = 0.6  # of the witness's words
    min_witness_words: int = 41  # in fewer, single errors weigh too much
    min_confidence: float = 0.95  # of the CPU's OCR, for it to be a witness


@dataclass(frozen=True, slots=True)
class Witness:
    """What the CPU has read."""

    text: str
    confidence: float  # 0 to 1; 0 if it says nothing about the page


@dataclass(frozen=True, slots=True)
class Reading:
    """What came of a page."""

    ending: Ending
    markdown: str = ""  # of an accepted answer; may be empty
    evidence: str = ""
    tries: int = 0
    is_answered: bool = True  # the model's doing, not the server's

    @property
    def is_accepted(self) -> bool:
        return self.ending == "accepted"


class _Rejected(Exception):  # noqa: N818 (an outcome)
    def __init__(self, ending: Ending, evidence: str) -> None:
        super().__init__(evidence)
        self.ending: Ending = ending
        self.evidence = evidence


class PageReader:
    """Reads pages with one engine. Safe to use from several threads."""

    def __init__(self, engine: Engine, profile: Profile, pictures: PagePictures, limits: Limits) -> None:
        self._engine, self._profile, self._pictures, self._limits = engine, profile, pictures, limits

    def read(self, row: Mapping[str, Any], witness: Witness) -> Reading:
        """The model's text of a page, or why there is none.

        Each try has its temperature: at the same one a model tends to repeat its error. What one try tells is used by
        the next: a page cut off by the limit of tokens is asked about as two halves, a page said to lie on its side is
        turned.

        Raises:
            MachineError: the model is not to be had at all.
        """
        rotation, turned, is_halved = 0, {0}, False
        rejected = _Rejected("unavailable", "no try was allowed")
        for tries, temperature in enumerate(self._limits.temperatures, 1):
            try:
                picture = self._pictures.render(row, self._profile.longest_side_px, rotation)
                answer = self._halves(picture, temperature) if is_halved else self._asked(picture, temperature)
                wanted = (rotation + answer.rotation) % 360
                if wanted not in turned:
                    rotation = wanted
                    turned.add(wanted)
                    raise _Rejected("wrong_rotation", f"turned by {wanted} degrees then")
                self._check(answer.markdown, witness)
            except _Rejected as error:
                rejected = error
                is_halved = is_halved or error.ending == "not_finished"
            except RequestFailedError as error:
                return Reading(
                    "refused" if error.reason == "refused" else "unavailable", "", error.evidence, tries, False
                )
            except UndrawnPageError as error:
                return Reading("undrawn", "", str(error), tries)
            else:
                return Reading("accepted", answer.markdown, "", tries)
        return Reading(rejected.ending, "", rejected.evidence, len(self._limits.temperatures))

    def _halves(self, picture: bytes, temperature: float) -> PageAnswer:
        """The answer about a picture in two halves, turned as the whole is: of half a page models say it badly."""
        texts = [
            "" if is_blank(half) else self._asked(half, temperature).markdown  # models invent text for blank pictures
            for half in halves_of(picture)
        ]
        return PageAnswer(stitched(*texts))

    def _asked(self, picture: bytes, temperature: float) -> PageAnswer:
        answer = self._engine.ask(
            Request(self._profile.prompt, self._limits.max_tokens, temperature, image_png=picture)
        )
        _check_finished(answer)
        try:
            return self._profile.parse(answer.text)
        except UnparseableAnswerError as error:
            raise _Rejected("unparseable", str(error)) from error

    def _check(self, markdown: str, witness: Witness) -> None:
        if not markdown.strip():
            if witness.text.strip():
                raise _Rejected("empty", f"the CPU found {len(witness.text.split())} words")
            return
        if is_refusal(markdown):
            raise _Rejected("refused", markdown[:200])
        if (found := loop(markdown)) and not loop(witness.text):
            raise _Rejected("repetition", found)
        limits = self._limits
        words = checks.words_of(witness.text).total()
        if witness.confidence < limits.min_confidence or words < limits.min_witness_words:
            return
        measured = checks.agreement(markdown, witness.text)
        if measured.recall < limits.min_recall:
            raise _Rejected("emptied", f"{measured.recall:.2f} of the CPU's {words} words < {limits.min_recall}")
        if measured.precision < limits.min_precision:
            raise _Rejected("invented", f"{measured.precision:.2f} of the words are the CPU's < {limits.min_precision}")


def _check_finished(answer: Answer) -> None:
    if answer.finish_reason == "stop":
        return
    if answer.finish_reason == "length" and (found := loop(answer.text)):
        raise _Rejected("repetition", found)
    ending: Any = FINISH_REASONS.get(answer.finish_reason, "unparseable")
    raise _Rejected(ending, f"finish reason {answer.finish_reason}")
