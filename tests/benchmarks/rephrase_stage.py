"""What the rephrasing stage costs beside the model: wall time and CPU against a server that always takes as long.

    python -m tests.benchmarks.rephrase_stage [--seconds 5] [--at-once 256] [--rounds 8]

The server is a process of its own; it answers each request with its passage after the same time, however many there
are, so that the ideal is rounds times that time. What lies above it is the stage's: choice, chunks, prompts, requests,
the log of answers, all gates, the new documents. Texts: those of ../shared/data/text.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import math
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import pyarrow as pa

from pipeline.stage import Context
from stages.rephrase.plan import PLAN_FILE
from stages.rephrase.stage import RephraseWrite, WriteConfig
from stages.rephrase.tokens import TokenCounter
from tests.benchmarks.rephrase_engine import completion, fixed_latency_server, serve
from tests.real_texts import real_texts
from tests.stages.in_process import texts
from tests.stages.rephrase.conftest import FENCE

MODULE = "tests.benchmarks.rephrase_stage"
DATA = Path(__file__).parents[3] / "shared" / "data"
LEAST_WORDS, MOST_TOKENS = 200, 1400  # of a document: one passage each


def repeated(body: bytes) -> bytes:
    """The passage of a request, as the answer to it."""
    prompt = json.loads(body)["messages"][0]["content"]
    start, end = list(FENCE.finditer(prompt))[-2:]
    passage = prompt[start.end() + 1 : end.start() - 1]
    return completion(passage, len(prompt) // 4, len(passage) // 4)


def batches(count: int) -> Iterator[pa.Table]:
    """So many documents of a passage each, no two alike."""
    found = real_texts(DATA, english_only=True)
    long = [one.text for one in found if len(one.text.split()) >= LEAST_WORDS]
    sound = [text for text, tokens in zip(long, TokenCounter().count(long), strict=True) if tokens <= MOST_TOKENS]
    documents = {f"{i}": f"{sound[i % len(sound)]}\n\nDocument {i} of {count}." for i in range(count)}
    rows = iter(documents.items())
    while batch := dict(islice(rows, 1024)):
        yield texts(batch)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=5.0, help="that an answer takes")
    parser.add_argument("--at-once", type=int, default=256)
    parser.add_argument("--rounds", type=int, default=8)
    parser.add_argument("--serve", type=float, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve is not None:
        asyncio.run(serve(options.serve, repeated))
        return
    count = options.at_once * options.rounds
    tables = list(batches(count))
    with tempfile.TemporaryDirectory() as name, fixed_latency_server(options.seconds, MODULE) as url:
        folder = Path(name)
        (folder / PLAN_FILE).write_text(json.dumps({"sources": {"web": {"share": 1.0}}}))
        config = WriteConfig(
            endpoints=(url,), model="m", concurrency=options.at_once, first_requests=options.at_once, style=("clean",)
        )
        stage = RephraseWrite(config)
        stage.setup(Context(1, {"plan": folder}, answers=folder / "answers"))
        list(stage.stream(batches(16)))  # loads what the gates need
        wall_s, cpu_s = time.perf_counter(), time.process_time()
        reasons: Counter[str] = Counter()
        requests = kept = 0
        for outcome in stage.stream(iter(tables)):
            kept += outcome.kept.num_rows
            reasons.update(removed.reason for removed in outcome.removed)
            requests += sum(noted["rephrase_requests"] for noted in outcome.noted.values())
        wall_s, cpu_s = time.perf_counter() - wall_s, time.process_time() - cpu_s
    ideal_s = math.ceil(requests / options.at_once) * options.seconds
    print(f"{count} documents, {requests} requests, {options.at_once} at once, {options.seconds:g} s each, kept {kept}")
    print(f"endings: {dict(reasons)}")
    print(
        f"{wall_s:.2f} s, {100 * (wall_s / ideal_s - 1):.1f} % above the ideal {ideal_s:.2f} s; "
        f"CPU {1e3 * cpu_s / requests:.2f} ms a request"
    )


if __name__ == "__main__":
    main()
