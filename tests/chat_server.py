"""A chat server on this machine that speaks OpenAI's protocol over real sockets, with faults on demand."""

from __future__ import annotations

import base64
import contextlib
import json
import socket
import struct
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Generic, TypeVar


@dataclass(frozen=True)
class Reply:
    """What the server does with one request."""

    status: int = 200
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)
    delay_s: float = 0.0  # longer than the client waits: a hang
    resets: bool = False  # end the connection instead of answering
    cut_at: int | None = None  # send so many bytes of the body, then end the connection
    drips: bool = False  # then send a byte every 20 ms without end
    drips_headers: bool = False  # the same, before the body


def completion(
    text: str | None,
    finish_reason: str | None = "stop",
    prompt_tokens: int = 7,
    completion_tokens: int | None = None,
    **how: Any,
) -> Reply:
    """A chat completion as OpenAI-compatible servers send it; a word counts as a token."""
    tokens = len((text or "").split()) if completion_tokens is None else completion_tokens
    body = {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "choices": [
            {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": finish_reason},
        ],
        "usage": {
            "prompt_tokens": prompt_tokens,
            "completion_tokens": tokens,
            "total_tokens": prompt_tokens + tokens,
        },
    }
    return Reply(body=json.dumps(body).encode(), **how)


HANG = Reply(delay_s=2.0)
ENDLESS = Reply(body=b'{"choices": [', drips=True)
MALFORMED = Reply(body=b'{"choices": [')
WRONG_MODEL = Reply(404, b'{"object": "error", "message": "The model `m` does not exist.", "code": 404}')

PASSING_FAULTS = {
    "500": Reply(500, b"CUDA error"),
    "502": Reply(502, b"<html>bad gateway</html>"),
    "429": Reply(429, b"slow down"),
    "429 with a time": Reply(429, b"slow down", {"Retry-After": "0"}),
    "503 with a time": Reply(503, b"loading", {"Retry-After": "0"}),
    "408": Reply(408),
    "reset": Reply(resets=True),
    "cut connection": Reply(body=b"{}", cut_at=0),
    "half a body": completion("text", cut_at=20),
    "hang": HANG,
    "endless": ENDLESS,
    "endless headers": Reply(drips_headers=True),
    "malformed JSON": MALFORMED,
    "not an object": Reply(body=b"[]"),
    "no choice": Reply(body=b'{"choices": []}'),
    "no message": Reply(body=b'{"choices": [{"message": null, "finish_reason": "stop"}]}'),
    "no text": Reply(body=b'{"choices": [{"message": {"content": 7}, "finish_reason": "stop"}]}'),
    "an error with status 200": Reply(body=b'{"error": "out of memory"}'),
    "not UTF-8": Reply(body=b"\xff\xfe"),
    "garbled": Reply(body=b"not gzip", headers={"Content-Encoding": "gzip"}),
    "a length that is none": Reply(body=b"{}", headers={"Content-Length": "two"}),
}
"""Replies after which a client with a time limit under ``HANG.delay_s`` may ask again."""


@dataclass
class Request:
    """A request that came in."""

    at_s: float  # since the server started
    headers: dict[str, str]
    body: dict[str, Any]

    @property
    def key(self) -> Any:
        """What the server counts requests by."""
        return self.prompt

    @property
    def prompt(self) -> str:
        """The text of the user's message."""
        content = self.body["messages"][-1]["content"]
        return str(content if isinstance(content, str) else content[-1]["text"])

    @property
    def image_png(self) -> bytes:
        """The picture of the user's message; empty if it has none."""
        content = self.body["messages"][-1]["content"]
        if isinstance(content, str):
            return b""
        kind, encoded = content[0]["image_url"]["url"].split(",")
        assert kind == "data:image/png;base64"
        return base64.b64decode(encoded)


R = TypeVar("R", bound=Request)


class ChatServer(Generic[R]):
    """Answers `reply(request, how often its key came before)`; notes each request. For hundreds of requests at once."""

    def __init__(
        self, reply: Callable[[R, int], Reply], port: int = 0, request_type: type[R] | type[Request] = Request
    ) -> None:
        self.reply = reply
        self.requests: list[R] = []
        self.most_at_once = self.at_once = 0
        self._type: Any = request_type
        self._counts: Counter[Any] = Counter()
        self._lock = threading.Lock()
        self._started = time.monotonic()
        server = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            wbufsize = -1  # headers and body in one packet: the second of two waits for the first's acknowledgement
            disable_nagle_algorithm = True

            def do_POST(self) -> None:
                server._answer(self)

            def log_message(self, *_: object) -> None:
                pass

        class Http(ThreadingHTTPServer):
            daemon_threads = True
            request_queue_size = 1024

            def handle_error(self, *_: object) -> None:
                """Clients leave early."""

        self._http = Http(("127.0.0.1", port), Handler)
        self.url = f"http://127.0.0.1:{self._http.server_port}/v1"
        threading.Thread(target=self._http.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()

    def __enter__(self) -> ChatServer[R]:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Listen no longer. Connections that stand are answered on."""
        self._http.shutdown()
        self._http.server_close()

    def _answer(self, handler: BaseHTTPRequestHandler) -> None:
        body = json.loads(handler.rfile.read(int(handler.headers["Content-Length"])))
        assert handler.path == "/v1/chat/completions"
        request = self._type(time.monotonic() - self._started, dict(handler.headers), body)
        key = request.key
        with self._lock:
            before = self._counts[key]
            self._counts[key] += 1
            self.requests.append(request)
            self.at_once += 1
            self.most_at_once = max(self.most_at_once, self.at_once)
        try:
            reply = self.reply(request, before)
            time.sleep(reply.delay_s)
        finally:
            with self._lock:
                self.at_once -= 1
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            _send(handler, reply)


def _send(handler: BaseHTTPRequestHandler, reply: Reply) -> None:
    if reply.resets:
        handler.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        handler.connection.shutdown(socket.SHUT_RD)
        handler.close_connection = True
        return
    handler.send_response(reply.status)
    length = 1 << 20 if reply.drips else len(reply.body)
    for name, value in {"Content-Length": str(length), **reply.headers}.items():
        handler.send_header(name, value)
    while reply.drips_headers:
        handler.send_header("X-More", "x")
        handler.flush_headers()
        _drip(handler, b"")
    handler.end_headers()
    handler.wfile.write(reply.body[: reply.cut_at])
    handler.close_connection = reply.cut_at is not None
    while reply.drips:
        _drip(handler, b" ")


def _drip(handler: BaseHTTPRequestHandler, drop: bytes) -> None:
    handler.wfile.write(drop)
    handler.wfile.flush()
    time.sleep(0.02)
