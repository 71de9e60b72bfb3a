"""Rephrasing: new documents written by a language model from documents of the corpus, each checked before it counts."""

from __future__ import annotations

import re
from collections import Counter, defaultdict, deque
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from hashlib import sha256
from typing import Any, ClassVar

import orjson
import pyarrow as pa
from pydantic import Field, field_validator, model_validator

from pipeline.errors import StageError
from pipeline.stage import (
    Composite,
    Context,
    Expansion,
    Map,
    Outcome,
    Service,
    Verdict,
    documents,
    removal,
    removals,
)
from stages.intake.files import SOURCE_NAME
from stages.models.answer_log import AnswerLog
from stages.models.engine import Engine
from stages.models.options import ModelOptions, engine_of, service_of, threads_of
from stages.rephrase.choice import Choice, Chooser
from stages.rephrase.gates import GATES
from stages.rephrase.plan import PlanConfig, chosen_styles, read_shares
from stages.rephrase.styles import Style
from stages.rephrase.tokens import TokenCounter
from stages.rephrase.writing import NewText, Passage, Sampling, Writer, Written, new_text, room_of

BATCHES_AHEAD = 4
"""Batches that are worked on at once: the last answers of one are waited for while those of the next come in."""

SHARD_BYTES_BITS = 26
"""Documents of one file share a part of the answer log for each 64 MB of the file."""

MARKS = ("licence.", "opt_out.")
"""Beginnings of the names of columns that a new document inherits: what its parent's owner allows."""

GATE_COLUMNS = tuple(f"rephrase.{gate.name}" for gate in GATES)

OWN_COLUMNS: Mapping[str, pa.DataType] = {
    "rephrase.style": pa.string(),
    "rephrase.style_fingerprint": pa.string(),
    "rephrase.templates": pa.string(),  # numbers of the templates, by passage
    "rephrase.model": pa.string(),
    "rephrase.model_licence": pa.string(),
    "rephrase.sampling": pa.string(),  # JSON: top_p; by passage temperature and seed of its last try
    "rephrase.parent_source": pa.string(),
    "rephrase.prompt_tokens": pa.int64(),  # over all passages and tries
    "rephrase.completion_tokens": pa.int64(),
    "rephrase.passages": pa.int32(),
    "rephrase.raw_passages": pa.int32(),  # that stand in it as they were
    **dict.fromkeys(GATE_COLUMNS, pa.float64()),
}


class WriteConfig(PlanConfig, ModelOptions):
    """Options of rephrase_write."""

    temperature: float = Field(0.7, ge=0, le=2)
    """Sampling temperature."""
    top_p: float = Field(0.95, gt=0, le=1)
    """Share of the probability from which tokens are drawn."""
    context_tokens: int = Field(8192, ge=512)
    """Most tokens of a prompt and its answer, as the model or its server allows."""
    source: str = "rephrased"
    """Source name of the new documents. ``{style}`` and ``{source}`` stand for the style and the parent's source, such
    as in ``{source}_{style}``, for a mix that is to weigh them apart."""
    model_licence: str = ""
    """Licence of the model, or what it says of its output; it is noted with each new document."""
    price_in: float = Field(0.0, ge=0)
    """Price of a million tokens of prompts. The report says what all answers cost by the prices that the recipe gives
    today: to change them, change them here and run again, which makes nothing but the report."""
    price_out: float = Field(0.0, ge=0)
    """Price of a million tokens of answers."""

    not_identity: ClassVar[frozenset[str]] = ModelOptions.not_identity | {"price_in", "price_out"}

    @field_validator("source")
    @classmethod
    def _names_a_source(cls, source: str) -> str:
        if not re.fullmatch(SOURCE_NAME, source.replace("{style}", "x").replace("{source}", "x")):
            raise ValueError("letters, digits, _, - and ., and the slots {style} and {source}")
        return source

    @model_validator(mode="after")
    def _styles_are_there(self) -> WriteConfig:
        try:
            chosen_styles(self.style, self.styles)
        except StageError as error:
            raise ValueError(str(error).removeprefix("rephrase: ")) from error
        return self

    def source_of(self, style: str, parent_source: str) -> str:
        """Source of the documents written in a style from those of a source."""
        return self.source.replace("{style}", style).replace("{source}", parent_source)


class RephraseConfig(WriteConfig):
    """Which documents are rephrased, how, by whom, and how much."""

    mask: bool = True
    """Mask private data (as the stage privacy does by default) before any page is shown to a model."""


class RephraseWrite(Map[WriteConfig]):
    """Write new documents from existing ones with a language model. The output holds the new documents only.

    In the ledger each document that comes in ends here as "rephrased" or with the reason why it was left alone (it
    stays in its own artifact); each answer is a created document that is kept or dropped by a gate.
    """

    name = "rephrase_write"
    config_type = WriteConfig
    provides = tuple(OWN_COLUMNS)
    commits_output: ClassVar[bool] = True
    passes_on: ClassVar[bool] = False

    def __init__(self, config: WriteConfig) -> None:
        super().__init__(config)
        self.requires = ("text", *config.measures)

    def note(self) -> str | None:
        if not self.config.is_on:
            return "rephrasing is off: no endpoint is given"
        return None if self.config.tokenizer else "tokens are estimated: no tokenizer is given"

    def service(self) -> Service | None:
        return service_of(self.config) if self.config.is_on else None

    def setup(self, context: Context) -> None:
        """Read the plan and the styles, and get ready to ask.

        Raises:
            StageError: ``context_tokens`` are too few for a style.
        """
        c = self.config
        if not c.is_on:
            return
        self._counter = TokenCounter(c.tokenizer)
        styles = chosen_styles(c.style, c.styles)
        self._rooms = {style.name: room_of(style, c.context_tokens, self._counter) for style in styles}
        self._chooser = Chooser(c, styles, read_shares(context.side["plan"]), context.seed)
        self._log = AnswerLog(context.answers)
        self._threads = threads_of(c, context)
        self._context = context
        sampled = {"temperature": c.temperature, "top_p": c.top_p}
        variant = orjson.dumps(self._model() | sampled, option=orjson.OPT_SORT_KEYS)
        self._variant = sha256(variant).hexdigest()[:6]

    def _model(self) -> dict[str, Any]:
        """What besides a request decides about its answer."""
        c = self.config
        return {"model": c.model, "revision": c.revision, "extra_body": c.extra_body} | c.changes_of_model()

    def _writer(self, engine: Engine) -> Writer:
        c = self.config
        sampling = Sampling(c.temperature, c.top_p)
        return Writer(engine, self._log, self._counter, self._model(), sampling, self._rooms, self._context.seed)

    def process(self, batch: pa.Table) -> Outcome:
        (outcome,) = self.stream(iter([batch]))
        return outcome

    def stream(self, batches: Iterator[pa.Table]) -> Iterator[Outcome]:
        """One request at a time in each of many threads: passages wait for a thread, never for the end of a batch."""
        if not self.config.is_on:
            yield from (_all_left_alone(batch) for batch in batches)
            return
        engine = engine_of(self.config, self._context)
        writer = self._writer(engine)
        pool = ThreadPoolExecutor(self._threads)
        begun: deque[_Batch] = deque()
        try:
            for batch in batches:
                begun.append(self._begun(batch, writer, pool))
                if len(begun) == BATCHES_AHEAD:
                    yield self._outcome(begun.popleft())
            while begun:
                yield self._outcome(begun.popleft())
        finally:
            pool.shutdown(wait=False, cancel_futures=True)
            engine.close()  # else an error would wait for all requests under way, and a process keep its leases
            pool.shutdown()
            self._log.close()

    def _begun(self, batch: pa.Table, writer: Writer, pool: ThreadPoolExecutor) -> _Batch:
        choices = self._chooser.choices(batch, self._counter.count)
        chosen = [row for row, choice in enumerate(choices) if choice.styles]
        inherited = [name for name in batch.column_names if _is_inherited(name)]
        parents = batch.select(inherited).take(pa.array(chosen, pa.int64())).to_pylist()
        tasks = []
        for row, parent in zip(chosen, parents, strict=True):
            shard = _shard_of(parent)
            for style in choices[row].styles:
                passages = writer.passages(parent["id"], parent["text"], parent["language"], style)
                written = [pool.submit(writer.write, passage, style, parent["language"], shard) for passage in passages]
                tasks.append(_Task(parent, style, passages, written))
        return _Batch(batch, choices, parents, tasks)

    def _outcome(self, begun: _Batch) -> Outcome:
        left = [row for row, choice in enumerate(begun.choices) if not choice.styles]
        reasons = [begun.choices[row] for row in left]
        removed = removals(begun.batch, left, [("dropped", choice.reason, choice.evidence) for choice in reasons])
        noted: dict[str, dict[str, int]] = defaultdict(lambda: defaultdict(int))
        kept: list[dict[str, Any]] = []
        children: dict[str, list[str]] = defaultdict(list)
        for task in begun.tasks:
            written = [future.result() for future in task.written]
            result = new_text(task.parent["text"], task.style, task.passages, written)
            child = self._child(task, written, result)
            children[task.parent["id"]].append(child["id"])
            self._note(noted[task.parent["source"]], written, result)
            if result.failure is None:
                kept.append(child)
            else:
                reason, evidence = result.failure
                verdict: Verdict = "failed" if result.is_request_failure else "dropped"
                removed.append(removal(child, verdict, reason, evidence))
        for parent in begun.parents:
            removed.append(removal(parent, "dropped", "rephrased", f"as {', '.join(children[parent['id']])}"))
        created = Counter(self.config.source_of(task.style.name, task.parent["source"]) for task in begun.tasks)
        marks = [begun.batch.schema.field(name) for name in begun.batch.column_names if name.startswith(MARKS)]
        extra = [*marks, *(pa.field(name, kind) for name, kind in OWN_COLUMNS.items())]
        return Outcome(documents(kept, extra), removed, created, noted)

    def _child(self, task: _Task, written: Sequence[Written], result: NewText) -> dict[str, Any]:
        c, parent, style = self.config, task.parent, task.style
        failed_text = next((w.answer.text for w in written if w.failure), "")
        temperatures, seeds = [w.temperature for w in written], [w.seed for w in written]
        sampling = {"temperatures": temperatures, "top_p": c.top_p, "seeds": seeds}
        return {
            **parent,
            "id": f"{parent['id']}~{style.name}.{self._variant}",
            "text": failed_text if result.failure else result.text,
            "source": c.source_of(style.name, parent["source"]),
            "parent": parent["id"],
            "rephrase.style": style.name,
            "rephrase.style_fingerprint": style.fingerprint,
            "rephrase.templates": " ".join(str(passage.template) for passage in task.passages),
            "rephrase.model": f"{c.model}@{c.revision}" if c.revision else c.model,
            "rephrase.model_licence": c.model_licence or None,
            "rephrase.sampling": orjson.dumps(sampling).decode(),
            "rephrase.parent_source": parent["source"],
            "rephrase.prompt_tokens": sum(w.prompt_tokens for w in written),
            "rephrase.completion_tokens": sum(w.completion_tokens for w in written),
            "rephrase.passages": len(task.passages),
            "rephrase.raw_passages": result.raw_passages,
            **{f"rephrase.{gate}": score for gate, score in result.scores.items()},
        }

    def _note(self, noted: dict[str, int], written: Sequence[Written], result: NewText) -> None:
        prompt, completion = sum(w.prompt_tokens for w in written), sum(w.completion_tokens for w in written)
        for name, count in (
            ("rephrase_requests", sum(w.requests for w in written)),
            ("rephrase_retries", sum(max(0, w.requests + w.reused - 1) for w in written)),
            ("rephrase_reused", sum(w.reused for w in written)),
            ("rephrase_prompt_tokens", prompt),
            ("rephrase_completion_tokens", completion),
            ("rephrase_raw_passages", result.raw_passages),
            ("rephrase_left_out_passages", result.left_out),
        ):
            if count:
                noted[name] += count


@dataclass(frozen=True, slots=True)
class _Task:
    """A document that is being written in one style."""

    parent: dict[str, Any]
    style: Style
    passages: list[Passage]
    written: list[Future[Written]]


@dataclass(frozen=True, slots=True)
class _Batch:
    batch: pa.Table
    choices: list[Choice]
    parents: list[dict[str, Any]]  # documents that are being written in some style
    tasks: list[_Task]


def _is_inherited(column: str) -> bool:
    return "." not in column or column.startswith(MARKS)


def _shard_of(row: Mapping[str, Any]) -> str:
    """The part of the answer log for a document: documents that lie side by side in a file share one, whatever becomes
    of those around them, so that a task reads few of them and none is large."""
    origin = row["origin"] or {}
    if not origin.get("path"):
        return sha256(row["id"].encode()).hexdigest()[:1]  # as many as are held open at once
    place = f"{origin['path']} {(origin.get('offset') or 0) >> SHARD_BYTES_BITS}"
    return sha256(place.encode()).hexdigest()[:32]


def _all_left_alone(batch: pa.Table) -> Outcome:
    rows = range(batch.num_rows)
    removed = removals(batch, rows, [("dropped", "rephrasing_off", "it stays where it was")] * batch.num_rows)
    extra = [pa.field(name, kind) for name, kind in OWN_COLUMNS.items()]
    return Outcome(documents([], extra), removed)


class Rephrase(Composite[RephraseConfig]):
    """Write new documents from existing ones with a language model, in one or several styles, each checked by gates.

    The output holds the new documents; those they were written from stay where they were.
    """

    name = "rephrase"
    config_type = RephraseConfig

    def expand(self, inputs: tuple[str, ...]) -> list[Expansion]:
        c = self.config
        options = c.model_dump(mode="json", exclude={"mask"})
        if not c.is_on:
            return [Expansion("", "rephrase_write", options, inputs)]
        plan = {name: options[name] for name in PlanConfig.model_fields}
        pages = (".masked",) if c.mask else inputs
        nodes = [
            Expansion(".plan", "rephrase_plan", plan, inputs),
            Expansion(".written", "rephrase_write", options, pages, side={"plan": ".plan"}),
            Expansion(".signatures", "dedup_signatures", {}, (".written",)),
            Expansion(".duplicates", "dedup_duplicates", {"alarm": "warn"}, (".signatures", ".written")),
            Expansion(".monitor", "rephrase_monitor", {}, (".written", ".duplicates"), side={"plan": ".plan"}),
            Expansion(
                "", "rephrase_keep", {}, (".written",), side={"monitor": ".monitor", "duplicates": ".duplicates"}
            ),
        ]
        return [Expansion(".masked", "privacy", {}, inputs), *nodes] if pages != inputs else nodes
