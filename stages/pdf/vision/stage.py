"""The vision-language lane: pages that are hard for the CPU, read by a model from their pictures."""

from __future__ import annotations

import hashlib
import math
from collections import defaultdict, deque
from collections.abc import Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from functools import partial
from typing import Annotated, Any, ClassVar, Literal

import orjson
import pyarrow as pa
from pydantic import Field, JsonValue, model_validator

from pipeline.stage import Context, Map, Outcome, Service, StageConfig, with_columns
from stages.models.answer_log import AnswerLog
from stages.models.chat import ChatEngine
from stages.models.endpoints import RunningServer
from stages.models.engine import Engine
from stages.models.leased import LeasedEngine
from stages.models.vllm.host import WINDOW
from stages.models.vllm.server_worker import ServerOptions, server_host
from stages.pdf.page import Block, Line, Page
from stages.pdf.vision.pictures import PagePictures, StoredPictures
from stages.pdf.vision.profiles import PROFILES, ProfileName
from stages.pdf.vision.reading import Limits, PageReader, Reading, Witness

PICTURE_COLUMN = "pdf.picture"

OPEN_SHARDS = 64
"""Documents whose answers are kept in memory: more than have pages under way at once."""

REPETITION_DETECTION = {"max_pattern_size": 64, "min_pattern_size": 1, "min_count": 32}
"""vLLM ends an answer with finish reason "repetition" once a pattern of up to so many tokens stands so often in a row.
More copies than ``loops.MIN_COPIES`` asks for: empty rows of a table are alike, and here no kind of text is spared."""


class PdfVisionConfig(StageConfig):
    """Which pages a vision-language model reads, which one, and when it is believed."""

    endpoints: tuple[Annotated[str, Field(pattern=r"^https?://")], ...] = ()
    """Base URLs of OpenAI-compatible servers of the model, for example http://localhost:8000/v1. Requests go to the one
    that has the fewest under way. Without any, and without ``engine: vllm``, the lane is off."""

    engine: Literal["endpoints", "vllm"] = "endpoints"
    """Who runs the model: servers given under ``endpoints``, or vLLM, a server on each GPU of the cluster that serves
    all tasks (needs the extra ``sluice[vllm]``)."""

    model: str = ""
    """Name of the model as the servers know it; with ``engine: vllm`` a folder or a name on the Hugging Face hub. It
    identifies the answers: another server of the same model adds nothing."""

    profile: ProfileName = "generic"
    """How the model is asked and answers: ``olmocr`` (olmOCR 2), ``deepseek_ocr`` (DeepSeek-OCR, also 2), or
    ``generic`` for any other that answers in Markdown."""

    pages: Literal["hard", "ocr", "all"] = "hard"
    """Which pages it reads: those that are hard for the CPU (low confidence, unsupported script, formulas, tables) or
    need an OCR that is off; all that need OCR as well; or every page that is not blank."""

    max_tokens: int = Field(6144, ge=16)
    """Length limit of an answer. A page that is cut off by it is asked about as two halves."""

    temperatures: tuple[Annotated[float, Field(ge=0, le=2)], ...] = Field(
        (0.1, 0.4, 0.7, 1.0), min_length=1, max_length=8
    )
    """Sampling temperature of the first try and of each further one after an answer that cannot stand. There are as
    many tries as temperatures."""

    min_precision: float = Field(0.7, ge=0, le=1)
    """Share of the answer's words that the CPU must have read as well. Applies where the CPU is sure: OCR with a
    confidence of at least ``min_confidence``, or a sound text layer, of over 40 words. On 23 printed pages, sound
    answers had 0.84 and more."""

    min_recall: float = Field(0.6, ge=0, le=1)
    """Share of the CPU's words that the answer must have, under the same conditions. Sound answers had 0.72 and more:
    running heads are left out."""

    min_confidence: float = Field(0.95, ge=0, le=1)
    """Confidence from which on OCR on the CPU is believed about what the page says: print has 0.95 and more,
    handwriting 0.79 to 0.92."""

    extra_body: dict[str, JsonValue] = Field({})
    """Further fields of each request, for example vLLM's ``repetition_detection``."""

    concurrency: int = Field(32, ge=1)
    """Requests under way at once, per task and server. A server that does better with fewer, or answers 429, gets
    fewer. With ``engine: vllm`` per server, whatever the number of tasks."""

    timeout_s: float = Field(300.0, gt=0)
    """Time limit of one request."""

    max_outage_s: float = Field(900.0, gt=0)
    """Time without an answer from any server after which the run ends; it goes on where it was when it is started
    again."""

    api_key_variable: str = "OPENAI_API_KEY"
    """Environment variable that holds the key, if the servers want one."""

    server_arguments: tuple[str, ...] = ()
    """Further arguments of vLLM's server, for example --max-num-seqs=64. What changes the model itself belongs into its
    name."""

    not_identity: ClassVar[frozenset[str]] = frozenset(
        {"endpoints", "engine", "concurrency", "timeout_s", "max_outage_s", "api_key_variable", "server_arguments"}
    )

    @property
    def is_on(self) -> bool:
        """Whether there is a model to ask."""
        return bool(self.endpoints) or self.engine == "vllm"

    def longest_side_px(self) -> int:
        """Length of the longer side of the pictures that the model is shown."""
        return PROFILES[self.profile].longest_side_px

    def identity(self) -> dict[str, Any]:
        """Whether there is a model counts, not where it runs."""
        return super().identity() | {"is_on": self.is_on, "profile_version": PROFILES[self.profile].version}

    @model_validator(mode="after")
    def _the_model_is_settled(self) -> PdfVisionConfig:
        if self.is_on and not self.model:
            raise ValueError("a vision-language lane needs the option 'model': the name of the model")
        if self.endpoints and self.engine == "vllm":
            raise ValueError("either 'endpoints' or 'engine: vllm': a server that runs needs no second one")
        return self


class PdfVision(Map[PdfVisionConfig]):
    """Read the pages of PDFs that are hard for the CPU with a vision-language model.

    Every page stays a row: with the model's text, or with the CPU's and the reason in ``pdf.vision`` why it stays.
    """

    name = "pdf_vision"
    config_type = PdfVisionConfig
    requires: tuple[str, ...] = ("text", "pdf.page", "pdf.layout", "pdf.lane", "pdf.hard")
    provides = ("pdf.vision", "pdf.vision_evidence", "pdf.vision_tries")
    commits_output: ClassVar[bool] = True

    def __init__(self, config: PdfVisionConfig) -> None:
        super().__init__(config)
        if config.is_on:
            self.requires = (*self.requires, PICTURE_COLUMN)

    def note(self) -> str | None:
        return None if self.config.is_on else "the vision-language lane is off: no endpoint is given"

    def service(self) -> Service | None:
        c = self.config
        if c.engine != "vllm":
            return None
        profile = PROFILES[c.profile]
        options = ServerOptions(
            c.model,
            (*profile.server_arguments, *c.server_arguments),
            c.concurrency,
            c.timeout_s,
            {"repetition_detection": REPETITION_DETECTION, **profile.extra_body, **c.extra_body},
        )
        return Service(partial(server_host, options), gpus=1.0)

    def setup(self, context: Context) -> None:
        self._context = context

    def pictures(self) -> PagePictures:
        """Where the pictures come from."""
        return StoredPictures(PICTURE_COLUMN)

    def process(self, batch: pa.Table) -> Outcome:
        (outcome,) = self.stream(iter([batch]))
        return outcome

    def stream(self, batches: Iterator[pa.Table]) -> Iterator[Outcome]:
        """See ``Map.stream``: the model is asked about pages of batches ahead while it is slow with one of the first.

        Raises:
            MachineError: the model is not to be had.
        """
        if not self.config.is_on:
            yield from (Outcome(_updated(batch, [], [], [])) for batch in batches)
            return
        engine = self._engine()
        limits = Limits(**{name: getattr(self.config, name) for name in _LIMITS})
        reader = PageReader(engine, PROFILES[self.config.profile], self.pictures(), limits)
        most_ahead = 2 * engine.most_at_once  # pages, so that all of its places are taken
        begun: deque[_Begun] = deque()
        pool = ThreadPoolExecutor(engine.most_at_once)
        with AnswerLog(self._context.answers, OPEN_SHARDS) as log:
            try:
                for batch in batches:
                    begun.append(self._begin(batch, reader, log, pool))
                    while begun and (begun[0].is_done() or sum(len(b.tasks) for b in begun) > most_ahead):
                        yield begun.popleft().outcome()
                while begun:
                    yield begun.popleft().outcome()
            finally:
                pool.shutdown(wait=False, cancel_futures=True)
                engine.close()  # else an error would wait for all requests under way
                pool.shutdown()

    def _engine(self) -> Engine:
        c = self.config
        if c.engine == "vllm":
            return LeasedEngine(self._context.service, first_room=math.ceil(WINDOW * c.concurrency))
        return ChatEngine(
            [RunningServer(url) for url in c.endpoints],
            c.model,
            most_at_once=c.concurrency,
            timeout_s=c.timeout_s,
            max_outage_s=c.max_outage_s,
            api_key_variable=c.api_key_variable,
            extra_body={**PROFILES[c.profile].extra_body, **c.extra_body},
        )

    def _begin(self, batch: pa.Table, reader: PageReader, log: AnswerLog, pool: ThreadPoolExecutor) -> _Begun:
        lanes, hard = batch.column("pdf.lane").to_pylist(), batch.column("pdf.hard").to_pylist()
        asked = [i for i in range(batch.num_rows) if self._is_asked(lanes[i], hard[i])]
        rows = batch.take(pa.array(asked, pa.int64())).to_pylist()
        pages = [Page.from_json(orjson.loads(row["pdf.layout"])) for row in rows]
        tasks = [pool.submit(self._reading, row, page, reader, log) for row, page in zip(rows, pages, strict=True)]
        return _Begun(batch, asked, pages, tasks)

    def _is_asked(self, lane: str, hard: str | None) -> bool:
        if lane in ("blank", "failed"):
            return False
        return (
            bool(hard) or lane == "unread" or self.config.pages == "all" or (self.config.pages, lane) == ("ocr", "ocr")
        )

    def _reading(self, row: dict[str, Any], page: Page, reader: PageReader, log: AnswerLog) -> Reading:
        shard, key = _document(row), self._key(row)
        if kept := log.get(shard, key):
            return Reading(**kept)
        reading = reader.read(row, witness_of(page, row["text"]))
        if reading.is_answered:  # else the server may be to blame, and be repaired
            log.add(shard, key, asdict(reading))
        return reading

    def _key(self, row: Mapping[str, Any]) -> str:
        """What an answer depends on: the page, how the model is asked, and the text that it is held against."""
        page = [_document(row), row["pdf.page"], row["pdf.lane"], row["text"]]
        asked = self.config.identity()
        del asked["pages"]  # which pages are asked about as well changes no answer
        return hashlib.sha256(orjson.dumps([page, asked], option=orjson.OPT_SORT_KEYS)).hexdigest()


@dataclass(frozen=True)
class _Begun:
    """A batch whose pages the model is being asked about."""

    batch: pa.Table
    asked: list[int]  # rows
    pages: list[Page]  # of these rows
    tasks: list[Future[Reading]]

    def is_done(self) -> bool:
        return all(task.done() for task in self.tasks)

    def outcome(self) -> Outcome:
        readings = [task.result() for task in self.tasks]
        sources = self.batch.column("source").take(pa.array(self.asked, pa.int64())).to_pylist()
        noted: dict[str, dict[str, int]] = defaultdict(lambda: defaultdict(int))
        for source, reading in zip(sources, readings, strict=True):
            noted[source][f"vision_{reading.ending}"] += 1
        seen = [seen_page(page, reading) for page, reading in zip(self.pages, readings, strict=True)]
        return Outcome(_updated(self.batch, self.asked, readings, seen), noted=noted)


def _document(row: Mapping[str, Any]) -> str:
    """The document of a page, by its content if that is known."""
    return str((row["origin"] or {}).get("digest") or row["id"])


_LIMITS = ("temperatures", "max_tokens", "min_precision", "min_recall", "min_confidence")


def witness_of(page: Page, text: str | None) -> Witness:
    """What the CPU says of a page: of a sound text layer it is sure, of what an earlier OCR left it cannot tell."""
    if page.lane == "text":
        return Witness(text or "", 1.0)
    return Witness(text or "", page.confidence or 0.0 if page.lane == "ocr" else 0.0)


def seen_page(page: Page, reading: Reading) -> Page:
    """The page with the model's text; or as it was, and failed if the CPU has no text either."""
    if not reading.is_accepted:
        has_text = bool(page.text.strip())
        return page if has_text else replace(page, lane="failed", reason=f"vision_{reading.ending}")
    lines = tuple(Line(0.0, 0.0, page.width, page.height, line, 0.0) for line in reading.markdown.split("\n"))
    return replace(
        page,
        lane="vision",
        blocks=(Block("markdown", lines),) if reading.markdown else (),
        confidence=None,
        garbage=sum(c == "\ufffd" or (c < " " and c not in "\t\n") for c in reading.markdown),
        characters=sum(not c.isspace() for c in reading.markdown),
    )


def _updated(batch: pa.Table, asked: list[int], readings: list[Reading], seen: list[Page]) -> pa.Table:
    """The batch with what came of the pages that were asked about, and without the pictures, which have served."""
    columns: dict[str, pa.Array] = {}
    for name, values, kind in (
        ("pdf.vision", [r.ending for r in readings], pa.string()),
        ("pdf.vision_evidence", [r.evidence or None for r in readings], pa.string()),
        ("pdf.vision_tries", [r.tries for r in readings], pa.int32()),
    ):
        columns[name] = _scattered([None] * batch.num_rows, asked, values, kind)
    pages: dict[str, list[Any]] = {
        "text": [page.text for page in seen],
        "pdf.layout": [orjson.dumps(page.to_json()) for page in seen],
        "pdf.lane": [page.lane for page in seen],
        "pdf.reason": [page.reason for page in seen],
        "pdf.confidence": [page.confidence for page in seen],
    }
    for name, values in pages.items():
        if name in batch.column_names and asked:
            field = batch.schema.field(name)
            columns[name] = _scattered(batch.column(name).to_pylist(), asked, values, field.type)
    batch = with_columns(batch, columns)
    return batch.drop_columns([PICTURE_COLUMN]) if PICTURE_COLUMN in batch.column_names else batch


def _scattered(values: list[Any], places: list[int], new: list[Any], kind: pa.DataType) -> pa.Array:
    for place, value in zip(places, new, strict=True):
        values[place] = value
    return pa.array(values, kind)
