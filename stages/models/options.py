"""Which model a stage asks, and who runs it: options that all stages with a model share."""

from __future__ import annotations

from functools import partial
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import Field, JsonValue, model_validator

from pipeline.stage import Context, Options, Service, StageConfig
from stages.models.chat import ChatEngine
from stages.models.endpoints import RunningServer
from stages.models.engine import Engine
from stages.models.hedging import Hedged
from stages.models.leased import LeasedEngine
from stages.models.vllm.host import VllmHost
from stages.models.vllm.options import VllmOptions


class EngineOptions(Options):
    """How vLLM runs the model. ``arguments`` may make another model of it, whose answers are other answers; the rest
    decides only how fast it is and, as the machine does, how its numbers are rounded."""

    processes: int = Field(0, ge=0)
    """Engines. 0: as many as the cluster has GPUs for."""

    tensor_parallel: int = Field(1, ge=1)
    """GPUs over which one engine spreads the model."""

    max_requests: int = Field(256, ge=1)
    """Requests that an engine computes at once (vLLM's max_num_seqs)."""

    max_model_len: int | None = Field(None, ge=1)
    """Most tokens of a prompt and its answer, for which memory is set aside; as many as the model stands if absent."""

    dtype: str = "auto"
    """Number format of the weights, such as bfloat16."""

    memory: float = Field(0.9, gt=0, le=1)
    """Share of a GPU's memory that an engine takes (on a CPU: of the machine's)."""

    speculative: dict[str, JsonValue] | None = None
    """vLLM's speculative decoding, such as ``{method: suffix, num_speculative_tokens: 16}``: guessed tokens that the
    model only checks, which pays where answers repeat much of the page."""

    arguments: dict[str, JsonValue] = Field({})
    """Further engine arguments of vLLM, such as ``{quantization: fp8}``. They are part of what identifies the model."""


class ModelOptions(StageConfig):
    """Options of stages that ask a language model."""

    endpoints: tuple[Annotated[str, Field(pattern=r"^https?://")], ...] = ()
    """Base URLs of OpenAI-compatible servers of the model, for example http://localhost:8000/v1. Requests go to the one
    that has the fewest under way. Without any, and without ``engine: vllm``, the stage is off."""

    engine: Literal["endpoints", "vllm"] = "endpoints"
    """Who runs the model: the servers given under ``endpoints``, or vLLM on the cluster's own GPUs (needs the extra
    ``sluice[vllm]``)."""

    model: str = ""
    """Name of the model as the servers know it; with ``engine: vllm`` a folder or a name on the Hugging Face hub. It
    identifies the answers: another server of the same model adds nothing."""

    revision: str = ""
    """Revision of the model: another one's answers are other answers."""

    vllm: EngineOptions = EngineOptions()
    """How vLLM runs the model, with ``engine: vllm``."""

    extra_body: dict[str, JsonValue] = Field({})
    """Further fields of each request, for example ``{chat_template_kwargs: {enable_thinking: false}}``."""

    concurrency: int = Field(256, ge=1)
    """Requests under way at once, per task and server. A server that answers 429, or that does no more with so many,
    gets fewer."""

    first_requests: int = Field(16, ge=1)
    """Requests under way at first, per task and server: more follow as the server stands them."""

    timeout_s: float = Field(300.0, gt=0)
    """Time limit of one request."""

    max_outage_s: float = Field(900.0, gt=0)
    """Time without an answer from any server after which the run ends; it goes on where it was when it is started
    again."""

    api_key_variable: str = "OPENAI_API_KEY"
    """Environment variable that holds the key, if the servers want one."""

    not_identity: ClassVar[frozenset[str]] = frozenset(
        {
            "endpoints",
            "engine",
            "vllm",
            "concurrency",
            "first_requests",
            "timeout_s",
            "max_outage_s",
            "api_key_variable",
        }
    )

    @property
    def is_on(self) -> bool:
        """Whether there is a model to ask."""
        return bool(self.endpoints) or self.engine == "vllm"

    def identity(self) -> dict[str, Any]:
        """Whether there is a model counts, not where it runs."""
        return super().identity() | {"is_on": self.is_on} | self.changes_of_model()

    def changes_of_model(self) -> dict[str, Any]:
        """What of ``vllm`` makes another model of it, if anything."""
        arguments = dict(self.vllm.arguments) if self.engine == "vllm" else {}
        return {"vllm_arguments": arguments} if arguments else {}

    def chat_template_options(self) -> dict[str, JsonValue]:
        """What ``extra_body`` gives to the model's chat template.

        Raises:
            ValueError: it is no mapping.
        """
        options = self.extra_body.get("chat_template_kwargs", {})
        if not isinstance(options, dict):
            raise ValueError(
                "extra_body: chat_template_kwargs is no mapping: write it such as {enable_thinking: false}, or leave "
                "it out"
            )
        return options

    @model_validator(mode="after")
    def _the_model_is_settled(self) -> Self:
        if self.is_on and not self.model:
            raise ValueError("a model to ask needs the option 'model': its name")
        if self.endpoints and self.engine == "vllm":
            raise ValueError("either 'endpoints' or 'engine: vllm': a server that runs needs no second one")
        if self.engine == "vllm" and (unknown := sorted(self.extra_body.keys() - {"chat_template_kwargs"})):
            raise ValueError(
                f"with 'engine: vllm' extra_body may hold chat_template_kwargs only, not {', '.join(unknown)}"
            )
        self.chat_template_options()
        return self


def service_of(options: ModelOptions) -> Service | None:
    """The engines that these options have run beside a stage's tasks, if any."""
    if options.engine != "vllm":
        return None
    how = options.vllm
    settings = VllmOptions(
        model=options.model,
        revision=options.revision or None,
        max_num_seqs=how.max_requests,
        tensor_parallel_size=how.tensor_parallel,
        max_model_len=how.max_model_len,
        dtype=how.dtype,
        gpu_memory_utilization=how.memory,
        speculative=how.speculative,
        chat_template_options=options.chat_template_options(),
        engine_arguments=how.arguments,
    )
    return Service(partial(VllmHost, settings), float(how.tensor_parallel), how.processes)


def engine_of(options: ModelOptions, context: Context) -> Engine:
    """The engine that these options name, in a stage's task."""
    engine: Engine
    if options.engine == "vllm":
        engine = LeasedEngine(context.service, first_room=options.vllm.max_requests)
    else:
        engine = ChatEngine(
            [RunningServer(url) for url in options.endpoints],
            options.model,
            most_at_once=options.concurrency,
            timeout_s=options.timeout_s,
            max_outage_s=options.max_outage_s,
            api_key_variable=options.api_key_variable,
            extra_body=options.extra_body,
            first_limit=min(options.first_requests, options.concurrency),
        )
    return Hedged(engine)


MAX_THREADS = 2048


def threads_of(options: ModelOptions, context: Context) -> int:
    """Passages that a task may have under way, one in each of so many threads: twice the requests that are under way at
    once, so that one is ready whenever another ends."""
    if options.engine == "vllm":
        return min(MAX_THREADS, 2 * options.vllm.max_requests * len(context.service))
    return min(MAX_THREADS, 2 * options.concurrency * len(options.endpoints))
