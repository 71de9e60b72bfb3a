"""The process that holds vLLM's engine: requests come over a socket, answers go back.

Run as ``python -m stages.models.vllm.worker SOCKET OPTIONS``, the options of ``VllmOptions`` as JSON. It ends when the
engine or the connection does; the guard around it ends what is left. It says "ready" once the engine has answered a
small request: some models load well and die at the first one.
"""

from __future__ import annotations

import asyncio
import os
import sys
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import orjson

from stages.models.vllm.chat_template import ChatTemplate
from stages.models.vllm.frames import LENGTH_BYTES, framed
from stages.models.vllm.options import VllmOptions

BEAT_S = 1.0
STREAM_INTERVAL = 16
"""Tokens of a request between two signs of life: each costs time of the one thread that all requests share."""


class Worker:
    """The engine and the requests that it has."""

    def __init__(self, options: VllmOptions, writer: asyncio.StreamWriter) -> None:
        from transformers import AutoTokenizer
        from vllm import AsyncEngineArgs, SamplingParams
        from vllm.sampling_params import RepetitionDetectionParams, RequestOutputKind
        from vllm.v1.engine.async_llm import AsyncLLM

        self._engine = AsyncLLM.from_engine_args(AsyncEngineArgs(**engine_arguments(options)))
        self.max_model_len = int(self._engine.model_config.max_model_len)
        tokenizer = AutoTokenizer.from_pretrained(options.model, revision=options.revision)
        self._template = ChatTemplate(tokenizer, options.model, options.chat_template_options)
        self._sampling = SamplingParams
        self._always = {
            "output_kind": RequestOutputKind.DELTA,
            "repetition_detection": RepetitionDetectionParams(**options.repetition_detection)
            if options.repetition_detection
            else None,
        }
        self._writer = writer
        self._tokenizing = ThreadPoolExecutor(1)  # one: a tokenizer does not stand several threads
        self._tasks: dict[int, asyncio.Task[None]] = {}
        self._tokens = 0

    def take(self, message: dict[str, Any]) -> None:
        """Start or abort the requests of one message of the host's."""
        for key, *request in message.get("ask", ()):
            self._tasks[key] = asyncio.create_task(self._answer(key, *request))
        for key in message.get("abort", ()):
            if key in self._tasks:
                self._tasks[key].cancel()

    async def beat(self) -> None:
        """Tell the host how far the engine is, for ever."""
        while True:
            if self._engine.errored:
                _end("the engine has died")
            self._writer.write(framed({"tokens": self._tokens}))
            await asyncio.sleep(BEAT_S)

    async def answered(
        self, key: int, prompt: str, max_tokens: int, temperature: float, top_p: float, seed: int | None
    ) -> tuple[str, str, int, int]:
        """Text, finish reason, tokens of the prompt and of the answer.

        Raises:
            ValueError: the engine does not take this request.
        """
        ids = await asyncio.get_running_loop().run_in_executor(self._tokenizing, self._template.token_ids, prompt)
        room = self.max_model_len - len(ids)
        if room < 1:
            raise ValueError(
                f"the prompt's {len(ids)} tokens leave no room for an answer: the model takes {self.max_model_len}"
            )
        # without temperature the seed has no effect; vLLM draws for each seeded request by itself, which is slower
        sampling = self._sampling(
            max_tokens=min(max_tokens, room),  # as vLLM's server does
            temperature=temperature,
            top_p=top_p,
            seed=seed if temperature else None,
            **self._always,
        )
        pieces, tokens, finish_reason = [], 0, ""
        async for output in self._engine.generate({"prompt_token_ids": ids}, sampling, str(key)):
            new = output.outputs[0]
            pieces.append(new.text)
            tokens += len(new.token_ids)
            self._tokens += len(new.token_ids)
            finish_reason = new.finish_reason or ""
        return "".join(pieces), finish_reason, len(ids), tokens

    async def _answer(self, key: int, *request: Any) -> None:
        message: dict[str, Any]
        try:
            message = {"answer": [key, *await self.answered(key, *request)]}
        except ValueError as error:
            message = {"failed": [key, "refused", str(error)]}
        except Exception as error:
            if self._engine.errored:
                _end(f"the engine has died: {error!r}")
            message = {"failed": [key, "unavailable", repr(error)]}
        finally:
            del self._tasks[key]
        self._writer.write(framed(message))


def engine_arguments(options: VllmOptions) -> dict[str, Any]:
    """vLLM's engine arguments: those asked for, and what we rely on."""
    arguments = {
        "model": options.model,
        "revision": options.revision,
        "max_num_seqs": options.max_num_seqs,
        "tensor_parallel_size": options.tensor_parallel_size,
        "max_model_len": options.max_model_len,
        "dtype": options.dtype,
        "gpu_memory_utilization": options.gpu_memory_utilization,
        "speculative_config": dict(options.speculative) if options.speculative else None,
        "enable_prefix_caching": True,  # requests of a style begin alike
        "stream_interval": STREAM_INTERVAL,
        "disable_log_stats": True,
        "enable_log_requests": False,
    }
    return {name: value for name, value in arguments.items() if value is not None} | dict(options.engine_arguments)


async def serve(socket_path: str, options: VllmOptions) -> None:
    """Answer the host's requests until the connection ends."""
    reader, writer = await asyncio.open_unix_connection(socket_path)
    worker = Worker(options, writer)
    await worker.answered(-1, "Say yes.", 2, 0.0, 1.0, None)
    writer.write(framed({"ready": worker.max_model_len}))
    beat = asyncio.create_task(worker.beat())
    beat.add_done_callback(lambda task: _end(f"no sign of life can be given: {task!r}"))
    while True:
        try:
            length = int.from_bytes(await reader.readexactly(LENGTH_BYTES), "big")
            message = orjson.loads(await reader.readexactly(length))
        except (asyncio.IncompleteReadError, ConnectionResetError):
            _end("the host has gone")
        worker.take(message)


def _end(why: str) -> None:
    """End at once: a dying engine may keep an orderly exit waiting for ever."""
    print(why, file=sys.stderr, flush=True)
    os._exit(1)


def main() -> None:
    for variable in ("VLLM_NO_USAGE_STATS", "DO_NOT_TRACK"):
        os.environ.setdefault(variable, "1")
    socket_path, options = sys.argv[1:]
    asyncio.run(serve(socket_path, VllmOptions(**orjson.loads(options))))


if __name__ == "__main__":
    main()
