"""What an engine behind HTTP costs beside the model: wall time and CPU against a server that always takes as long.

    python -m tests.benchmarks.rephrase_engine [--seconds 2] [--at-once 256] [--rounds 10] [--hedged]

The server is a process of its own and answers each request after the same time, however many there are, so that the
ideal is rounds times that time. Prompts of 1,500 words, answers of 500.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

from stages.models.chat import ChatEngine
from stages.models.endpoints import RunningServer
from stages.models.engine import Engine, Request
from stages.models.hedging import Hedged

PROMPT_WORDS, ANSWER_WORDS = 1500, 500


async def serve(seconds: float, answer: Callable[[bytes], bytes]) -> None:
    """Answer chat requests after so many seconds, by a function from body to body; the port is printed."""
    loop = asyncio.get_running_loop()

    class Connection(asyncio.Protocol):
        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            self.transport, self.received = transport, b""

        def data_received(self, data: bytes) -> None:
            self.received += data
            head, end, rest = self.received.partition(b"\r\n\r\n")
            length = int(head.lower().partition(b"content-length:")[2].split(b"\r\n")[0]) if end else 0
            if end and len(rest) >= length:
                self.received = rest[length:]
                body = answer(rest[:length])
                head = (
                    f"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n".encode()
                )
                loop.call_later(seconds, self.transport.write, head + body)

    server = await loop.create_server(Connection, "127.0.0.1", 0, backlog=4096)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


def completion(text: str, prompt_tokens: int, completion_tokens: int) -> bytes:
    """The body of a chat completion."""
    usage = {"prompt_tokens": prompt_tokens, "completion_tokens": completion_tokens}
    choice = {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}
    return json.dumps({"object": "chat.completion", "choices": [choice], "usage": usage}).encode()


@contextmanager
def fixed_latency_server(seconds: float, module: str = "tests.benchmarks.rephrase_engine") -> Iterator[str]:
    """Base URL of the server of a module, in another process, that answers after so many seconds."""
    command = [sys.executable, "-m", module, "--serve", str(seconds)]
    server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert server.stdout
    try:
        yield f"http://127.0.0.1:{int(server.stdout.readline())}/v1"
    finally:
        server.kill()
        server.wait()
        server.stdout.close()


def measure(engine: Engine, at_once: int, requests: int) -> tuple[float, float]:
    """Wall and CPU seconds of so many requests, so many at once."""
    prompt = "word " * PROMPT_WORDS
    with ThreadPoolExecutor(at_once) as pool:
        wall_s, cpu_s = time.perf_counter(), time.process_time()
        for answer in pool.map(lambda n: engine.ask(Request(f"{prompt} {n}", 2 * ANSWER_WORDS)), range(requests)):
            assert answer.completion_tokens == ANSWER_WORDS
        return time.perf_counter() - wall_s, time.process_time() - cpu_s


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=2.0, help="that an answer takes")
    parser.add_argument("--at-once", type=int, default=256)
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--hedged", action="store_true")
    parser.add_argument("--from-few", action="store_true", help="begin with the few requests that a new server gets")
    parser.add_argument("--serve", type=float, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve is not None:
        body = completion("word " * ANSWER_WORDS, PROMPT_WORDS, ANSWER_WORDS)
        asyncio.run(serve(options.serve, lambda request: body))
        return
    with fixed_latency_server(options.seconds) as url:
        limits = {"most_at_once": options.at_once, "timeout_s": 60.0, "max_outage_s": 60.0}
        if not options.from_few:
            limits["first_limit"] = options.at_once
        engine: Engine = ChatEngine([RunningServer(url)], "m", **limits)
        if options.hedged:
            engine = Hedged(engine)
        requests = options.at_once * options.rounds
        wall_s, cpu_s = measure(engine, options.at_once, requests)
    ideal_s = options.rounds * options.seconds
    print(f"{requests} requests, {options.at_once} at once, {options.seconds:g} s each, in {wall_s:.2f} s")
    print(
        f"{100 * (wall_s / ideal_s - 1):.1f} % above the ideal {ideal_s:g} s; CPU {1e6 * cpu_s / requests:.0f} us each"
    )


if __name__ == "__main__":
    main()
