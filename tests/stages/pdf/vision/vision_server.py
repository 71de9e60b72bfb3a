"""A chat server on this machine that is shown pictures of pages, over real sockets, with faults on demand."""

import base64
import contextlib
import io
import json
import socket
import struct
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from PIL import Image

from tests.stages.pdf.vision.pages import HEIGHT, TOP, WIDTH


@dataclass(frozen=True)
class Reply:
    """What the server does with one request."""

    status: int = 200
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)
    delay_s: float = 0.0
    resets: bool = False  # end the connection instead of answering
    cut_at: int | None = None  # send so many bytes of the body, then end the connection
    drips: bool = False  # then send a byte every 20 ms without end


def completion(text: str | None, finish_reason: str | None = "stop", **how: Any) -> Reply:
    """A chat completion as OpenAI-compatible servers send it."""
    message = {"role": "assistant", "content": text}
    choice = {"index": 0, "message": message, "finish_reason": finish_reason}
    return Reply(body=json.dumps({"object": "chat.completion", "choices": [choice]}).encode(), **how)


@dataclass
class Request:
    """A request that came in."""

    at_s: float  # since the server started
    headers: dict[str, str]
    body: dict[str, Any]

    def __post_init__(self) -> None:
        image, text = self.body["messages"][0]["content"]
        kind, encoded = image["image_url"]["url"].split(",")
        assert kind == "data:image/png;base64"
        self.prompt: str = text["text"]
        self.picture = Image.open(io.BytesIO(base64.b64decode(encoded))).convert("RGB")

    @property
    def page(self) -> int | None:
        """Number of the page in the picture; None for a picture that is no page of the tests'."""
        if {WIDTH, HEIGHT} & set(self.picture.size):
            return next(red for red, green, blue in self._corners() if (green, blue) == (7, 7))
        return None

    @property
    def turned(self) -> int:
        """Degrees by which the page is turned clockwise, by the edge at which its top is."""
        width, height = self.picture.size
        middles = [(width // 2, 0), (width - 1, height // 2), (width // 2, height - 1), (0, height // 2)]
        return 90 * [self.picture.getpixel(place) for place in middles].index(TOP)

    @property
    def half(self) -> str:
        """ "upper" or "lower", or "" for a whole page."""
        if max(self.picture.size) == HEIGHT:
            return ""
        return "upper" if self.picture.getpixel((self.picture.width // 2, 0)) == TOP else "lower"

    def _corners(self) -> list[Any]:
        width, height = self.picture.size
        return [self.picture.getpixel((x, y)) for x in (0, width - 1) for y in (0, height - 1)]


class VisionServer:
    """Answers `reply(request, times this page was asked about before)`; notes each request."""

    def __init__(self, reply: Callable[[Request, int], Reply], port: int = 0) -> None:
        self.reply = reply
        self.requests: list[Request] = []
        self.most_at_once = 0
        self._at_once = 0
        self._lock = threading.Lock()
        self._started = time.monotonic()
        server = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            wbufsize = -1  # headers and body in one packet: the second of two waits for the first's acknowledgement

            def do_POST(self) -> None:
                server._answer(self)

            def log_message(self, *_: object) -> None:
                pass

        self._http = ThreadingHTTPServer(("127.0.0.1", port), Handler)
        self._http.daemon_threads = True
        self._http.handle_error = lambda *_: None  # type: ignore[method-assign]  # clients that left early
        self.url = f"http://127.0.0.1:{self._http.server_port}/v1"
        threading.Thread(target=self._http.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()

    def _answer(self, handler: BaseHTTPRequestHandler) -> None:
        body = json.loads(handler.rfile.read(int(handler.headers["Content-Length"])))
        assert handler.path == "/v1/chat/completions"
        request = Request(time.monotonic() - self._started, dict(handler.headers), body)
        with self._lock:
            before = sum(r.page == request.page for r in self.requests)
            self.requests.append(request)
            self._at_once += 1
            self.most_at_once = max(self.most_at_once, self._at_once)
        reply = self.reply(request, before)
        time.sleep(reply.delay_s)
        with self._lock:
            self._at_once -= 1
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            _send(handler, reply)

    def pages(self) -> list[int | None]:
        """The pages that were asked about, sorted; without the pictures that are no pages."""
        return sorted(request.page for request in self.requests if request.page is not None)

    def close(self) -> None:
        self._http.shutdown()
        self._http.server_close()


def _send(handler: BaseHTTPRequestHandler, reply: Reply) -> None:
    if reply.resets:
        handler.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        handler.connection.shutdown(socket.SHUT_RD)
        handler.close_connection = True
        return
    handler.send_response(reply.status)
    length = 1 << 30 if reply.drips else len(reply.body)
    for name, value in {"Content-Length": str(length), **reply.headers}.items():
        handler.send_header(name, value)
    handler.end_headers()
    handler.wfile.write(reply.body[: reply.cut_at])
    handler.close_connection = reply.cut_at is not None
    while reply.drips:
        handler.wfile.write(b" ")
        handler.wfile.flush()
        time.sleep(0.02)
