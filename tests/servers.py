"""Servers on 127.0.0.1 that misbehave as told: one over HTTP with ranges, and an S3 store to put behind it."""

from __future__ import annotations

import http.client
import logging
import re
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Literal, Protocol
from urllib.parse import unquote, urlsplit

import numpy as np

SLOW_DOWN = (
    b"<?xml version='1.0'?><Error><Code>SlowDown</Code><Message>Please reduce your request rate.</Message></Error>"
)
HOP_BY_HOP = frozenset(("connection", "transfer-encoding", "content-length", "date", "server"))
PIECE_BYTES = 1 << 16


class Content(Protocol):
    """What a path serves. ``bytes`` do."""

    def __len__(self) -> int: ...
    def __getitem__(self, part: slice, /) -> bytes: ...


class Counted:
    """A large file that exists nowhere: 8-byte numbers counted up."""

    def __init__(self, size_bytes: int) -> None:
        self.size_bytes = size_bytes

    def __len__(self) -> int:
        return self.size_bytes

    def __getitem__(self, part: slice) -> bytes:
        start, stop, _ = part.indices(self.size_bytes)
        first, last = start // 8, -(-stop // 8)
        return np.arange(first, last, dtype=">u8").tobytes()[start - first * 8 : stop - first * 8]


@dataclass(frozen=True)
class Fault:
    """What the server does to one request.

    ``status``: answers that status. ``reset``: sends ``after`` bytes of the body, then resets the connection.
    ``truncate``: as many, then closes it. ``stall``: as many, then nothing for ``seconds``. ``drip``: pauses
    ``seconds`` after each ``after`` bytes. ``wrong_range``: sends the range ``after`` bytes further on, and says so.
    ``short_range``: sends no more than ``after`` bytes of the range, and says so, which is allowed.
    ``ignore_range``: sends the whole file with 200. ``chunked_cut``: as truncate, in a chunked body.
    ``unframed``: sends ``after`` bytes without saying how many, and closes the connection.
    ``overlong``: sends ``after`` more bytes than the range announces, in a chunked body.
    """

    kind: Literal[
        "status",
        "reset",
        "truncate",
        "stall",
        "drip",
        "wrong_range",
        "short_range",
        "ignore_range",
        "chunked_cut",
        "overlong",
        "unframed",
    ]
    status: int = 503
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""
    after: int = 0
    seconds: float = 60.0


@dataclass
class Request:
    """A request that came. Times in seconds of time.monotonic()."""

    path: str  # with the query
    method: str
    headers: Mapping[str, str]
    began: float
    concurrent: int  # requests under way, this one included
    connection: int  # the client's port
    status: int = 0
    ended: float = 0.0

    @property
    def range(self) -> tuple[int, int | None] | None:
        """First byte and the one behind the last that were asked for."""
        found = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
        return (int(found[1]), int(found[2]) + 1 if found[2] else None) if found else None


class FaultyServer:
    """Serves ``files`` (path without the leading slash -> content), or what ``upstream`` serves.

    ``faults`` are taken one by one by the requests as they come, None is no fault; a function may choose instead.
    Above ``capacity`` concurrent requests it answers 503. ``etags`` and ``headers`` go with each answer of a path.
    """

    def __init__(self, files: Mapping[str, Content] | None = None, upstream: str | None = None) -> None:
        self.files = dict(files or {})
        self.upstream = upstream
        self.faults: list[Fault | None] = []
        self.choose: Callable[[Request], Fault | None] | None = None
        self.redirects: dict[str, str] = {}
        self.etags: dict[str, str] = {}
        self.headers: dict[str, str] = {}
        self.ranges = True  # False: sends whole files, whatever is asked for
        self.capacity = 1 << 30
        self.pace_s = 0.0  # each request takes at least this long
        self.requests: list[Request] = []
        self.stopping = threading.Event()
        self.lock = threading.Lock()
        self._active = 0
        server = self

        class Handler(_Handler):
            faulty = server

        self._server = _Server(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()

    def close(self) -> None:
        self.stopping.set()
        self._server.shutdown()
        self._server.server_close()

    @contextmanager
    def recorded(self, handler: BaseHTTPRequestHandler) -> Iterator[tuple[Request, Fault | None]]:
        """Enter a request into ``requests``, with the fault that it meets."""
        with self.lock:
            self._active += 1
            request = Request(
                handler.path,
                handler.command,
                dict(handler.headers.items()),
                time.monotonic(),
                self._active,
                handler.client_address[1],
            )
            self.requests.append(request)
            if self.choose:
                fault = self.choose(request)
            else:
                fault = self.faults.pop(0) if self.faults else None
            if self._active > self.capacity:
                fault = Fault("status", 503)
        try:
            if self.pace_s:
                self.stopping.wait(self.pace_s)
            yield request, fault
        finally:
            with self.lock:
                self._active -= 1
                request.ended = time.monotonic()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 128

    def handle_error(self, request: object, client_address: object) -> None:
        """Broken connections are this server's trade."""


class _Handler(BaseHTTPRequestHandler):
    faulty: FaultyServer
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = -1

    def log_message(self, format: str, *arguments: object) -> None: ...

    def handle_expect_100(self) -> bool:
        """Let the client send its body at once: without these bytes it waits a second."""
        told = super().handle_expect_100()
        self.wfile.flush()
        return told

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_PUT(self) -> None:
        self.do_GET()

    def do_POST(self) -> None:
        self.do_GET()

    def do_DELETE(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        with self.faulty.recorded(self) as (request, fault):
            if fault and fault.kind == "status":
                self.rfile.read(int(self.headers.get("Content-Length", 0)))  # another request follows on the connection
                self._answer(request, fault.status, fault.headers, fault.body, None)
            elif (path := unquote(urlsplit(self.path).path).lstrip("/")) in self.faulty.redirects:
                self._answer(request, 302, {"Location": self.faulty.redirects[path]}, b"", None)
            elif self.faulty.upstream:
                self._answer(request, *self._forwarded(), fault)
            elif path in self.faulty.files:
                self._serve(request, path, fault)
            else:
                self._answer(request, 404, {}, b"no such file", None)

    def _forwarded(self) -> tuple[int, Mapping[str, str], bytes]:
        assert self.faulty.upstream
        connection = http.client.HTTPConnection(urlsplit(self.faulty.upstream).netloc, timeout=30)
        sent = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        headers = {name: value for name, value in self.headers.items() if name.lower() != "expect"}
        connection.request(self.command, self.path, sent, headers)
        response = connection.getresponse()
        headers = {name: value for name, value in response.getheaders() if name.lower() not in HOP_BY_HOP}
        body = response.read()
        if self.command == "HEAD":
            headers["Content-Length"] = response.headers["Content-Length"]
        connection.close()
        return response.status, headers, body

    def _serve(self, request: Request, path: str, fault: Fault | None) -> None:
        content = self.faulty.files[path]
        etag = self.faulty.etags.get(path)
        headers = dict(self.faulty.headers) | ({"ETag": etag} if etag else {})
        if request.range is None or not self.faulty.ranges or (fault and fault.kind == "ignore_range"):
            self._answer(request, 200, headers, content, fault)
            return
        start, stop = request.range
        stop = len(content) if stop is None else min(stop, len(content))
        if fault and fault.kind == "wrong_range":
            start += fault.after
        if fault and fault.kind == "short_range":
            stop = min(stop, start + max(1, fault.after))
        if start >= stop:
            self._answer(request, 416, {"Content-Range": f"bytes */{len(content)}"}, b"", None)
            return
        headers["Content-Range"] = f"bytes {start}-{stop - 1}/{len(content)}"
        self._answer(request, 206, headers, _Part(content, start, stop), fault)

    def _answer(
        self, request: Request, status: int, headers: Mapping[str, str], body: Content, fault: Fault | None
    ) -> None:
        request.status = status
        kind = fault.kind if fault else None
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        chunked = kind in ("chunked_cut", "overlong")
        if chunked:
            self.send_header("Transfer-Encoding", "chunked")
        elif kind != "unframed" and "Content-Length" not in headers:
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command == "HEAD":
            return
        if fault and kind == "overlong":
            body = body[0 : len(body)] + bytes(fault.after)
        whole = fault is None or kind in ("overlong", "wrong_range", "short_range", "ignore_range", "drip")
        piece_bytes = max(1, fault.after) if fault and kind == "drip" else PIECE_BYTES
        end = len(body) if whole or fault is None else min(len(body), fault.after)
        for start in range(0, end, piece_bytes):
            piece = body[start : min(end, start + piece_bytes)]
            self.wfile.write(b"%x\r\n%b\r\n" % (len(piece), piece) if chunked else piece)
            if fault and kind == "drip":
                self.wfile.flush()
                self.faulty.stopping.wait(fault.seconds)
        if kind == "overlong":
            self.wfile.write(b"0\r\n\r\n")
        if fault and not whole:
            self.wfile.flush()
            self._break_off(fault)

    def _break_off(self, fault: Fault) -> None:
        if fault.kind == "stall":
            self.faulty.stopping.wait(fault.seconds)
        if fault.kind == "reset":
            time.sleep(0.01)  # what was sent should arrive: a reset throws away what waits
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.connection.close()
        self.close_connection = True


@dataclass(frozen=True)
class _Part:
    content: Content
    start: int
    stop: int

    def __len__(self) -> int:
        return self.stop - self.start

    def __getitem__(self, part: slice) -> bytes:
        start, stop, _ = part.indices(len(self))
        return self.content[self.start + start : self.start + stop]


@contextmanager
def faulty_server(files: Mapping[str, Content] | None = None, upstream: str | None = None) -> Iterator[FaultyServer]:
    """A FaultyServer that stops at the end."""
    server = FaultyServer(files, upstream)
    try:
        yield server
    finally:
        server.close()


@contextmanager
def s3_server() -> Iterator[str]:
    """URL of an empty S3 store (moto), in this process."""
    from moto.server import ThreadedMotoServer

    logging.getLogger("werkzeug").setLevel(logging.ERROR)  # it tells every request
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    try:
        host, port = server.get_host_and_port()
        yield f"http://{host}:{port}"
    finally:
        server.stop()


def put_objects(endpoint: str, bucket: str, objects: Mapping[str, bytes], public: bool = False) -> None:
    """Create a bucket with these objects (key -> content), which all the world may read and list if public."""
    import botocore.session
    from botocore.config import Config

    client = botocore.session.get_session().create_client(
        "s3",
        region_name="us-east-1",
        endpoint_url=endpoint,
        aws_access_key_id="test",
        aws_secret_access_key="test",
        config=Config(s3={"addressing_style": "path"}),
    )
    acl = "public-read" if public else "private"
    client.create_bucket(Bucket=bucket, ACL=acl)
    for key, content in objects.items():
        client.put_object(Bucket=bucket, Key=key, Body=content, ACL=acl)
