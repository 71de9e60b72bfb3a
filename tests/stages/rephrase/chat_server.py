"""A chat server on this machine that speaks the OpenAI protocol over real sockets, with faults on demand."""

import json
import socket
import struct
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass(frozen=True)
class Reply:
    """What the server does with one request."""

    status: int = 200
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)
    resets: bool = False  # end the connection instead of answering


def completion(text: str | None, finish_reason: str = "stop") -> Reply:
    """A chat completion as OpenAI-compatible servers send it."""
    message = {"role": "assistant", "content": text}
    body = {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "model": "test",
        "choices": [{"index": 0, "message": message, "finish_reason": finish_reason}],
        "usage": {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2},
    }
    return Reply(body=json.dumps(body).encode())


@dataclass
class Request:
    """A request that came in: seconds since the server started, headers, body."""

    at_s: float
    headers: dict[str, str]
    body: dict[str, Any]

    @property
    def passage(self) -> str:
        """The document in the prompt: what stands between the two last lines of dashes."""
        prompt = self.body["messages"][0]["content"]
        fence = prompt.rsplit("\n", 1)[1]
        return prompt.split(f"\n{fence}\n")[1].removesuffix(f"\n{fence}")


class ChatServer:
    """Answers `reply(request, times this passage was asked for before)`; notes each request."""

    def __init__(self, reply: Callable[[Request, int], Reply]) -> None:
        self.reply = reply
        self.requests: list[Request] = []
        self.most_at_once = 0
        self._at_once = 0
        self._lock = threading.Lock()
        self._started = time.monotonic()
        server = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                server._answer(self)

            def log_message(self, *_: object) -> None:
                pass

        self._http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._http.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._http.server_port}/v1"
        threading.Thread(target=self._http.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()

    def _answer(self, handler: BaseHTTPRequestHandler) -> None:
        body = json.loads(handler.rfile.read(int(handler.headers["Content-Length"])))
        assert handler.path == "/v1/chat/completions"
        request = Request(time.monotonic() - self._started, dict(handler.headers), body)
        with self._lock:
            before = sum(r.passage == request.passage for r in self.requests)
            self.requests.append(request)
            self._at_once += 1
            self.most_at_once = max(self.most_at_once, self._at_once)
        reply = self.reply(request, before)
        with self._lock:
            self._at_once -= 1
        if reply.resets:
            handler.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            handler.connection.shutdown(socket.SHUT_RD)
            handler.close_connection = True
            return
        handler.send_response(reply.status)
        for name, value in {"Content-Length": str(len(reply.body)), **reply.headers}.items():
            handler.send_header(name, value)
        handler.end_headers()
        handler.wfile.write(reply.body)

    def passages(self) -> list[str]:
        """The documents that were asked for, sorted."""
        return sorted(request.passage for request in self.requests)

    def close(self) -> None:
        self._http.shutdown()
        self._http.server_close()
