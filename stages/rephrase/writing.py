"""Writing one document anew: its passages, what the model answers about each, and what of that may count."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from threading import Semaphore
from typing import Any

import orjson
import xxhash

from pipeline.errors import StageError
from stages.models.answer_log import AnswerLog
from stages.models.engine import Answer, Engine, Request, RequestFailedError
from stages.rephrase.answers import ParsedAnswer, QuestionAnswer, cleaned, rendered
from stages.rephrase.chunks import Chunk, chunks_of, separators_of, stitched
from stages.rephrase.gates import GateContext, failure, scores_of_sound_pairs
from stages.rephrase.prompts import Prompt, prompt_of, template_index_of, with_control_tokens
from stages.rephrase.styles import Style
from stages.rephrase.tokens import TokenCounter

TRIES = 2
"""Times that a passage is asked about: an answer that fails a gate is asked for once more, with another seed."""

RETRY_TEMPERATURE = 0.5
"""Least temperature of the second try: without chance it would be the first one again."""

JUDGES_AT_ONCE = 2
"""Threads that measure answers at once: more would only keep those from running that have the next request to make."""

FRAME_TOKENS = 200
"""Room for the words around a passage that are no template's, the chat template's own, and what counting misses."""

LEAST_ROOM = 32
"""Tokens that a passage must have room for: as many as ``chunk_tokens`` of a style are at least."""

MAX_RAW_SHARE = 0.5
"""Share of a document that may stay as it is in a style that falls back to it."""


@dataclass(frozen=True, slots=True)
class Sampling:
    """How answers are drawn."""

    temperature: float
    top_p: float


@dataclass(frozen=True, slots=True)
class Passage:
    """A chunk of a document, and how it is asked about."""

    chunk: Chunk
    prompt: Prompt
    template: int
    max_tokens: int
    seeds: tuple[int, ...]  # of the tries


@dataclass(frozen=True, slots=True)
class Written:
    """What came of a passage."""

    answer: ParsedAnswer
    scores: Mapping[str, float]
    failure: tuple[str, str] | None = None  # reason and evidence
    is_request_failure: bool = False  # there was no answer at all
    seed: int = 0  # of the last try
    temperature: float = 0.0  # of the last try
    requests: int = 0  # made for it now
    reused: int = 0  # answers that were there from before
    prompt_tokens: int = 0  # of all answers, those from before too
    completion_tokens: int = 0


@dataclass(frozen=True, slots=True)
class NewText:
    """What came of a document in one style."""

    text: str
    scores: Mapping[str, float]
    failure: tuple[str, str] | None
    is_request_failure: bool
    raw_passages: int = 0  # that stand in it as they were
    left_out: int = 0  # passages of which nothing stands in it


class Writer:
    """Asks about passages. Safe to use from several threads."""

    def __init__(
        self,
        engine: Engine,
        log: AnswerLog,
        counter: TokenCounter,
        model: Mapping[str, Any],
        sampling: Sampling,
        rooms: Mapping[str, int],
        seed: int,
    ) -> None:
        """
        Args:
            model: what besides a request decides about its answer: name, revision, further fields of the request.
            rooms: by the name of each style, the tokens of a passage for which the context suffices (``room_of``).
        """
        self._engine, self._log, self._counter = engine, log, counter
        self._model = orjson.dumps(model, option=orjson.OPT_SORT_KEYS)
        self._sampling, self._rooms, self._seed = sampling, rooms, seed
        self._judges = Semaphore(JUDGES_AT_ONCE)

    def passages(self, document_id: str, text: str, language: str | None, style: Style) -> list[Passage]:
        """A document's passages in a style, in order: each fits into the model's context with its prompt and answer."""
        most = min(style.chunk_tokens, self._rooms[style.name])
        chunks = chunks_of(text, self._counter.count, most, min(style.overlap_tokens, most // 2))
        found = []
        for i, chunk in enumerate(chunk for chunk in chunks if chunk.text.strip()):
            template = template_index_of(style, document_id, i, self._seed)
            key = f"{self._seed} {document_id} {style.name} {i}"
            prompt = prompt_of(style, template, chunk.text, key, language, self._counter.control_tokens)
            seeds = tuple(xxhash.xxh3_64_intdigest(f"sampling {key} {n}") % 2**31 for n in range(TRIES))
            found.append(Passage(chunk, prompt, template, style.max_answer_tokens(chunk.tokens), seeds))
        return found

    def write(self, passage: Passage, style: Style, language: str | None, shard: str) -> Written:
        """The answer about a passage, measured by the style's gates; of the tries the first that passes, else the last.

        Raises:
            MachineError: there are no answers to be had at all.
        """
        requests = reused = prompt_tokens = completion_tokens = 0
        written = Written(ParsedAnswer(""), {})
        for n, seed in enumerate(passage.seeds):
            temperature = max(self._sampling.temperature, RETRY_TEMPERATURE) if n else self._sampling.temperature
            request = Request(passage.prompt.text, passage.max_tokens, temperature, self._sampling.top_p, seed)
            try:
                answer, is_new = self._asked(request, shard)
            except RequestFailedError as error:
                written = Written(
                    ParsedAnswer(""), {}, (f"request_{error.reason}", error.evidence), True, seed, temperature
                )
                requests += 1
                break
            requests += is_new
            reused += not is_new
            prompt_tokens += answer.prompt_tokens
            completion_tokens += answer.completion_tokens
            with self._judges:
                judged = self._judged(passage, answer, style, language)
            written = replace(judged, seed=seed, temperature=temperature)
            if written.failure is None:
                break
        return replace(
            written,
            requests=requests,
            reused=reused,
            prompt_tokens=prompt_tokens,
            completion_tokens=completion_tokens,
        )

    def _asked(self, request: Request, shard: str) -> tuple[Answer, bool]:
        """The answer, and whether the model has been asked for it now."""
        digest = hashlib.sha256(self._model)
        digest.update(orjson.dumps(request, default=repr))
        key = digest.hexdigest()
        if kept := self._log.get(shard, key):
            return Answer(**kept), False
        answer = self._engine.ask(request)
        self._log.add(shard, key, asdict(answer))
        return answer, True

    def _judged(self, passage: Passage, answer: Answer, style: Style, language: str | None) -> Written:
        prompt = passage.prompt
        context = GateContext(
            style.name, style.format, answer.finish_reason, language, prompt.instruction, prompt.fence
        )
        parsed = cleaned(answer.text, style, prompt.passage)
        if parsed.problem:
            return Written(parsed, {}, ("unparseable", parsed.problem))
        parsed, measured = scores_of_sound_pairs(prompt.passage, parsed, context)
        return Written(self._whole(parsed, passage.chunk.text), measured, failure(measured, style.gates))

    def _whole(self, answer: ParsedAnswer, passage: str) -> ParsedAnswer:
        """The answer with those control tokens whole again that its passage has."""

        def whole(text: str) -> str:
            return with_control_tokens(text, passage, self._counter.control_tokens)

        pairs = tuple(QuestionAnswer(whole(pair.question), whole(pair.answer)) for pair in answer.questions)
        return replace(answer, text=whole(answer.text), questions=pairs)


def room_of(style: Style, context_tokens: int, counter: TokenCounter) -> int:
    """Tokens of a passage for which a context suffices that holds the prompt and the answer.

    Raises:
        StageError: they are less than ``LEAST_ROOM``.
    """
    counts = counter.count([*style.templates, style.reminder])
    around = max(counts) + counts[-1] + FRAME_TOKENS + style.max_answer_tokens(0)
    room = int((context_tokens - around) / (1 + style.output_ratio))
    if room < LEAST_ROOM:
        least = around + math.ceil(LEAST_ROOM * (1 + style.output_ratio))
        raise StageError(
            f"rephrase: the style '{style.name}' has no room for passages in context_tokens ({context_tokens}): it "
            f"needs at least {least}. Set context_tokens to what the model allows, or leave the style out"
        )
    return room


def new_text(text: str, style: Style, passages: Sequence[Passage], written: Sequence[Written]) -> NewText:
    """The answers about all passages of a document as one text, and its scores: of each, that of the worst passage.

    What becomes of a document of which some passages failed is the style's decision (``Style.failed_passage``).
    """
    failed = [w for w in written if w.failure]
    passed = [w for w in written if not w.failure]
    measured = worst([w.scores for w in (passed or failed)], style)
    raw = left_out = 0
    if failed:
        lost = sum(len(p.chunk.text) for p, w in zip(passages, written, strict=True) if w.failure)
        share = lost / max(1, sum(len(p.chunk.text) for p in passages))
        if style.failed_passage == "reject" or not passed or share > MAX_RAW_SHARE:
            return NewText(
                "", worst([w.scores for w in failed], style), failed[0].failure, failed[0].is_request_failure
            )
        is_kept = style.failed_passage == "keep" and style.format == "text"
        raw, left_out = (len(failed), 0) if is_kept else (0, len(failed))
    chunks = [p.chunk for p in passages]
    if style.format == "text":
        parts = [
            w.answer.text if not w.failure else text[c.start : c.end] if raw else ""
            for c, w in zip(chunks, written, strict=True)
        ]
        new = stitched(parts, separators_of(text, chunks), any(c.overlap_start < c.start for c in chunks))
    else:
        new = "\n\n".join(rendered(w.answer, style) for w in passed)
    if style.append_to_source:
        new = f"{text.strip()}\n\n{new}"
    return NewText(new, measured, None, False, raw, left_out)


def worst(measured: Sequence[Mapping[str, float]], style: Style) -> dict[str, float]:
    """Of each gate the score that is nearest to its bound, or beyond it."""
    found: dict[str, float] = {}
    for name in dict.fromkeys(name for of_one in measured for name in of_one):
        values = [of_one[name] for of_one in measured if name in of_one]
        bound = style.gates.get(name)
        has_least = bound is None or bound.min is not None
        has_most = bound is not None and bound.max is not None
        if has_least and has_most and bound is not None:
            found[name] = min(values, key=lambda value: min(value - (bound.min or 0.0), (bound.max or 0.0) - value))
        else:
            found[name] = min(values) if has_least else max(values)
    return found
