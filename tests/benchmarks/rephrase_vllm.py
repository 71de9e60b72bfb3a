"""Throughput of ``VllmHost`` against vLLM's own, for the same requests: the cost of keeping an engine as we do.

Needs vLLM. On a machine without a GPU, with the tests' tiny model:

    VLLM_CPU_KVCACHE_SPACE=1 python -m tests.benchmarks.rephrase_vllm --max-num-seqs 32 --cpu

and on one with a GPU ``--model Qwen/Qwen3-1.7B``. Both engines are there at once and take turns, round by round: what
else the machine does falls on both alike. A round of ours is all requests through ``VllmHost.exchange``, as a client
would; one of vLLM's is ``LLM.generate``, as its throughput benchmark calls it. Requests differ in the length of prompt
and answer and share an instruction; answers go on to their last token. Told: tokens a second of both, the ratio (median
of the rounds), and the shares of our time in which the engine had nothing under way (idle), or less than it computes at
once because no more requests were left (tail; LLM.generate has one too).
"""

from __future__ import annotations

import argparse
import os
import random
import statistics
import tempfile
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from stages.models.engine import Answer, Request
from stages.models.vllm.chat_template import ChatTemplate
from stages.models.vllm.host import VllmHost
from stages.models.vllm.options import VllmOptions
from stages.models.vllm.worker import engine_arguments
from tests.stages.models.vllm.tiny_model import texts, write_tiny_model

INSTRUCTION = "Rewrite the passage below as an article of an encyclopaedia. Keep every fact, add none. " * 3


def requests(count: int, longest: int, has_seeds: bool, round_number: int) -> list[Request]:
    """Different ones for each round, of which none is in the engine's cache."""
    chance = random.Random(round_number)
    passages = texts()
    return [
        Request(
            f"{INSTRUCTION}{chance.random()} {chance.choice(passages)}"[: chance.randint(300, 300 + longest)],
            chance.randint(longest // 16, longest // 4),
            temperature=0.7,
            seed=chance.getrandbits(31) if has_seeds else None,
        )
        for _ in range(count)
    ]


@dataclass(frozen=True)
class Round:
    """One pass over all requests."""

    took_s: float
    tokens: int  # of the answers
    idle_s: float = 0.0
    tail_s: float = 0.0

    @property
    def per_s(self) -> float:
        return self.tokens / self.took_s


def ours(host: VllmHost, asked: list[Request]) -> Round:
    """All requests through the host, of which it holds no more than it wants."""
    left = deque(enumerate(asked))
    room = host.exchange("benchmark", [], 0.0).room
    before, began = host.stats(), time.perf_counter()
    held = tokens = 0
    while left or held:
        new = [left.popleft() for _ in range(min(len(left), max(0, room - held)))]
        exchanged = host.exchange("benchmark", new, 10.0)
        room, held = exchanged.room, held + len(new) - len(exchanged.finished)
        for _, answer in exchanged.finished:
            assert isinstance(answer, Answer), answer
            tokens += answer.completion_tokens
    took_s, after = time.perf_counter() - began, host.stats()
    idle_s = after.idle_s - before.idle_s
    return Round(took_s, tokens, idle_s, took_s - idle_s - (after.full_s - before.full_s))


def vllms_own(options: VllmOptions) -> Callable[[list[Request]], Round]:
    """The same by ``LLM.generate``, of an engine that is started once."""
    from transformers import AutoTokenizer
    from vllm import LLM, SamplingParams
    from vllm.sampling_params import RequestOutputKind

    arguments = engine_arguments(options) | {"stream_interval": 1}
    del arguments["enable_log_requests"]
    engine = LLM(**arguments)
    template = ChatTemplate(AutoTokenizer.from_pretrained(options.model), options.model, {})

    def generated(asked: list[Request]) -> Round:
        prompts = [{"prompt_token_ids": template.token_ids(request.prompt)} for request in asked]
        sampling = [
            SamplingParams(
                max_tokens=request.max_tokens,
                temperature=request.temperature,
                seed=request.seed,
                output_kind=RequestOutputKind.FINAL_ONLY,
            )
            for request in asked
        ]
        began = time.perf_counter()
        outputs = engine.generate(prompts, sampling, use_tqdm=False)
        return Round(time.perf_counter() - began, sum(len(output.outputs[0].token_ids) for output in outputs))

    return generated


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", help="default: a tiny one of random weights")
    parser.add_argument("--requests", type=int, default=1000, help="of a round")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--max-num-seqs", type=int, default=256)
    parser.add_argument(
        "--longest-characters", type=int, default=800, help="of a passage; an answer has a quarter as many tokens"
    )
    parser.add_argument("--seeds", action="store_true", help="give each request a seed of its own")
    parser.add_argument("--cpu", action="store_true", help="without compilation, which a CPU does not profit from")
    chosen = parser.parse_args()
    os.environ |= {"VLLM_NO_USAGE_STATS": "1"}
    with tempfile.TemporaryDirectory() as folder:
        options = VllmOptions(
            chosen.model or str(write_tiny_model(Path(folder))),
            max_num_seqs=chosen.max_num_seqs,
            dtype="bfloat16",
            gpu_memory_utilization=0.3 if chosen.cpu else 0.42,
            repetition_detection={},  # a tiny model repeats itself, and LLM.generate is not asked to see to it
            engine_arguments={"enforce_eager": True} if chosen.cpu else {},
        )
        host = VllmHost(options)
        try:
            compare(host, vllms_own(options), chosen)
        finally:
            host.close()


def compare(host: VllmHost, theirs: Callable[[list[Request]], Round], chosen: argparse.Namespace) -> None:
    warm_up = requests(chosen.max_num_seqs, chosen.longest_characters, chosen.seeds, -1)
    ours(host, warm_up)
    theirs(warm_up)
    ratios = []
    for number in range(chosen.rounds):
        asked = requests(chosen.requests, chosen.longest_characters, chosen.seeds, number)
        own, their = ours(host, asked), theirs(asked)
        ratios.append(own.per_s / their.per_s)
        print(
            f"round {number}: VllmHost {own.per_s:,.0f} tokens/s in {own.took_s:.1f} s, LLM.generate "
            f"{their.per_s:,.0f} in {their.took_s:.1f} s, ratio {ratios[-1]:.3f}; "
            f"idle {own.idle_s / own.took_s:.2%}, tail {own.tail_s / own.took_s:.2%}",
            flush=True,
        )
    print(f"median ratio {statistics.median(ratios):.3f} of {len(ratios)} rounds")


if __name__ == "__main__":
    main()
