"""The process that has vLLM's own server run: the host's requests come over a socket, and go to the server over HTTP.

For requests with pictures: how a model is shown them, its server knows. Run as
``python -m stages.models.vllm.server_worker SERVER_OPTIONS SOCKET OPTIONS``, the first as JSON of ``ServerOptions``. It
ends when the server or the connection does; the guard around it ends what is left. It says "ready" once the server has
answered a small request with a picture: some models load well and die at the first one, others read no pictures.
"""

from __future__ import annotations

import base64
import dataclasses
import importlib.util
import math
import os
import re
import socket
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, field
from http.client import HTTPConnection, HTTPException
from typing import Any, NoReturn

import orjson

from pipeline.errors import MachineError
from stages.models.chat import ChatEngine, probe_picture
from stages.models.endpoints import RunningServer
from stages.models.engine import Request, RequestFailedError
from stages.models.vllm.frames import Frames, framed
from stages.models.vllm.host import VllmHost
from stages.models.vllm.options import VllmOptions

BEAT_S = 1.0
LOOK_S = 2.0
READ_BYTES = 1 << 20
KEY_VARIABLE = "VLLM_API_KEY"  # by which vLLM's server, too, is told its key

_TOKENS = re.compile(r"^vllm:(?:prompt|generation)_tokens_total(?:\{[^}]*\})? ([0-9.eE+-]+)$", re.MULTILINE)


@dataclass(frozen=True)
class ServerOptions:
    """A model, and how vLLM's server runs it."""

    model: str  # folder, or name on the Hugging Face hub
    arguments: Sequence[str] = ()  # of the server, beside the model's name
    max_requests: int = 32  # under way at once
    timeout_s: float = 300.0  # of one request
    extra_body: Mapping[str, Any] = field(default_factory=dict)  # further fields of each request
    program: Sequence[str] = ()  # in place of vLLM's server


def server_host(options: ServerOptions, **limits: float) -> VllmHost:
    """The owner of a server; ``limits`` as ``VllmHost`` has them."""
    program = (sys.executable, "-m", __name__, orjson.dumps(dataclasses.asdict(options)).decode())
    engine = VllmOptions(options.model, max_num_seqs=options.max_requests)
    return VllmHost(engine, program=program, reads_pictures=True, **limits)


class ServerWorker:
    """The requests that a server has."""

    def __init__(self, options: ServerOptions, port: int, connection: socket.socket) -> None:
        at_once = options.max_requests
        self._port, self._connection = port, connection
        self._engine = ChatEngine(
            [RunningServer(f"http://127.0.0.1:{port}/v1")],
            options.model,
            most_at_once=at_once,
            first_limit=at_once,  # vLLM itself takes what it stands
            timeout_s=options.timeout_s,
            max_outage_s=math.inf,  # a server that makes no token is ended by the host
            api_key_variable=KEY_VARIABLE,
            extra_body=options.extra_body,
        )
        self._threads = ThreadPoolExecutor(at_once)
        self._tasks: dict[int, Future[None]] = {}  # of the main thread
        self._sending = threading.Lock()
        self._tokens = 0

    def await_first_answer(self) -> None:
        """
        Raises:
            RequestFailedError, MachineError: the server does not answer a small request.
        """
        while not _is_healthy(self._port):
            time.sleep(LOOK_S / 4)
        self._engine.ask(Request("Say yes.", 2, image_png=probe_picture()))

    def take(self, message: Mapping[str, Any]) -> None:
        """Make or drop the requests of one message of the host's. What the server has already, it ends for nobody."""
        for key, *request in message.get("ask", ()):
            self._tasks[key] = self._threads.submit(self._answer, key, *request)
        for key in message.get("abort", ()):
            self._tasks[key].cancel()
        self._tasks = {key: task for key, task in self._tasks.items() if not task.done()}

    def send(self, message: Mapping[str, Any]) -> None:
        """Tell the host something; from any thread."""
        with self._sending:
            self._connection.sendall(framed(dict(message)))

    def beat(self) -> None:
        """Tell the host how far the server is, for ever: a server that hangs may still say that it is well."""
        while True:
            self._tokens = _tokens(self._port, self._tokens)
            self.send({"tokens": self._tokens})
            time.sleep(BEAT_S)

    def _answer(self, key: int, *asked: Any) -> None:
        try:
            self.send(self._answered(key, *asked))
        except MachineError as error:
            self.send({"given_up": str(error)})
        except BaseException as error:
            _end(f"a request could not be made: {error!r}")

    def _answered(
        self, key: int, prompt: str, max_tokens: int, temperature: float, top_p: float, seed: int | None, png: str = ""
    ) -> dict[str, Any]:
        request = Request(prompt, max_tokens, temperature, top_p, seed, base64.b64decode(png))
        try:
            answer = self._engine.ask(request)
        except RequestFailedError as error:
            return {"failed": [key, error.reason, error.evidence]}
        return {"answer": [key, *dataclasses.astuple(answer)]}


def server_command(options: ServerOptions, port: int) -> list[str]:
    """How the server is started.

    Raises:
        MachineError: vLLM is not installed.
    """
    if not options.program and importlib.util.find_spec("vllm") is None:
        raise MachineError("engine: vllm needs vLLM on the machines that run it: pip install 'sluice[vllm]'")
    program = options.program or (sys.executable, "-m", "vllm.entrypoints.openai.api_server")
    named = ("--model", options.model, "--served-model-name", options.model)
    return [*program, *named, "--host", "127.0.0.1", "--port", str(port), *options.arguments]


def serve(options: ServerOptions, socket_path: str) -> NoReturn:
    """Answer the host's requests until the connection, or the server, ends."""
    port = _free_port()
    server = subprocess.Popen(server_command(options, port), stdin=subprocess.DEVNULL)
    threading.Thread(target=lambda: _end(f"the server ended with status {server.wait()}"), daemon=True).start()
    connection = socket.socket(socket.AF_UNIX)  # stays open to the end: without it the host lets nobody finish speaking
    connection.connect(socket_path)
    worker = ServerWorker(options, port, connection)
    worker.await_first_answer()
    worker.send({"ready": 0})
    threading.Thread(target=worker.beat, daemon=True).start()
    frames = Frames()
    while piece := connection.recv(READ_BYTES):
        for message in frames.fed(piece):
            worker.take(message)
    _end("the host has gone")


def _tokens(port: int, before: int) -> int:
    """Tokens that the server has read and made; as many as before if it does not say, as one that hangs."""
    try:
        _, text = _get(port, "/metrics")
    except (OSError, HTTPException):
        return before
    return int(sum(map(float, _TOKENS.findall(text))))


def _is_healthy(port: int) -> bool:
    try:
        return _get(port, "/health")[0] == 200
    except (OSError, HTTPException):
        return False


def _get(port: int, path: str) -> tuple[int, str]:
    """Status and content.

    Raises:
        OSError, HTTPException: no answer came within ``LOOK_S``, or none of HTTP.
    """
    with closing(HTTPConnection("127.0.0.1", port, timeout=LOOK_S)) as connection:
        connection.request("GET", path)
        response = connection.getresponse()
        return response.status, response.read().decode("utf-8", "replace")


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])


def _end(why: str) -> NoReturn:
    """End at once, whatever the threads wait for."""
    print(why, file=sys.stderr, flush=True)
    os._exit(1)


def main() -> None:
    for variable in ("VLLM_NO_USAGE_STATS", "DO_NOT_TRACK"):
        os.environ.setdefault(variable, "1")
    options, socket_path, _ = sys.argv[1:]
    try:
        serve(ServerOptions(**orjson.loads(options)), socket_path)
    except (MachineError, RequestFailedError) as error:
        _end(str(error))
    except BaseException:
        _end(traceback.format_exc())


if __name__ == "__main__":
    main()
