"""vLLM's server as a process of ours: started when first needed, watched, killed as a whole, started again.

A server may hang with its ``/health`` still well (vllm-project/vllm#45414), so what is watched is whether its count of
tokens grows while it has requests.
"""

from __future__ import annotations

import importlib.util
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import weakref
from collections.abc import Callable, Sequence
from contextlib import closing
from http.client import HTTPConnection, HTTPException
from pathlib import Path

from pipeline.errors import MachineError

START_DEADLINE_S = 1800.0
"""Loading a large model from a slow disk and compiling it takes minutes; a small one on a CPU took 170 s."""

STALL_S = 120.0
"""Seconds without a new token, of requests that run, after which a server hangs."""

LOOK_S = 2.0
MAX_STARTS_IN_VAIN = 6
"""Starts without an answer between them after which a server is given up."""

_COUNT = re.compile(r"^(vllm:[a-z_]+)(?:\{[^}]*\})? ([0-9.eE+-]+)$", re.MULTILINE)
_REQUESTS = ("vllm:num_requests_running", "vllm:num_requests_waiting")
_TOKENS = ("vllm:prompt_tokens_total", "vllm:generation_tokens_total")


class VllmServer:
    """A server on a free port of this machine. Safe to use from several threads."""

    def __init__(
        self,
        command: Callable[[int], Sequence[str]],
        start_deadline_s: float = START_DEADLINE_S,
        stall_s: float = STALL_S,
    ) -> None:
        """
        Args:
            command: the program and its arguments, given a port.
            start_deadline_s: time until it must be healthy.
            stall_s: time that its requests may go without a new token.
        """
        self._command, self._start_deadline_s, self._stall_s = command, start_deadline_s, stall_s
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._port = 0
        self._starts_in_vain = 0
        self._start_error: MachineError | None = None
        self._log = tempfile.NamedTemporaryFile(prefix="vllm-", suffix=".log")  # noqa: SIM115 (as long as this lives)

    @property
    def pid(self) -> int | None:
        """Process id, and process group, of the server's guard, if it runs."""
        return self._process.pid if self._process else None

    def url(self) -> str:
        """Base URL of the server, which is started if it does not run.

        Raises:
            MachineError: it does not start, or ends again and again without having answered.
        """
        with self._lock:
            if self._start_error is not None:  # whoever waited for this start does not want another
                raise self._start_error
            if self._process is None or self._process.poll() is not None:
                try:
                    self._start()
                except MachineError as error:
                    self._start_error = error
                    raise
            return f"http://127.0.0.1:{self._port}/v1"

    def has_answered(self) -> None:
        """Count its ends from new."""
        self._starts_in_vain = 0

    def stop(self) -> None:
        """Kill the server and everything it has started."""
        with self._lock:
            if self._process is not None:
                _kill(self._process)
                self._process = None

    def _start(self) -> None:
        if self._starts_in_vain == MAX_STARTS_IN_VAIN:
            raise MachineError(
                f"vLLM's server ended {MAX_STARTS_IN_VAIN} times without an answer. {self._last_words()}"
            )
        self._starts_in_vain += 1
        self._port = _free_port()
        self._log.seek(0)
        self._log.truncate()
        process = subprocess.Popen(
            [sys.executable, "-m", "stages.models.guard", str(os.getpid()), *self._command(self._port)],
            stdin=subprocess.DEVNULL,
            stdout=self._log,
            stderr=self._log,
            start_new_session=True,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(path or os.getcwd() for path in sys.path)},
        )
        self._process = process
        weakref.finalize(self, _kill, process)
        self._await_health(process)
        watch = threading.Thread(target=_watch, args=(process, self._port, self._stall_s), daemon=True)
        watch.start()

    def _await_health(self, process: subprocess.Popen[bytes]) -> None:
        ends = time.monotonic() + self._start_deadline_s
        while True:
            if process.poll() is not None:
                raise MachineError(f"vLLM's server ended before it was ready. {self._last_words()}")
            if _is_healthy(self._port):
                return
            if time.monotonic() > ends:
                _kill(process)
                raise MachineError(
                    f"vLLM's server was not ready after {self._start_deadline_s:g} s. {self._last_words()}"
                )
            time.sleep(min(LOOK_S, self._start_deadline_s / 20))

    def _last_words(self) -> str:
        said = Path(self._log.name).read_bytes()[-2000:].decode("utf-8", "replace").strip()
        return f"The last that it said:\n{said}\nRemedy that (memory of the GPU, name of the model), then run again"


def vllm_command(model: str, arguments: Sequence[str]) -> Callable[[int], list[str]]:
    """How to start vLLM's server for a model, given a port.

    Raises:
        MachineError: vLLM is not installed.
    """
    if importlib.util.find_spec("vllm") is None:
        raise MachineError("engine: vllm needs vLLM on the machines that run it: pip install 'sluice[vllm]'")
    module = [sys.executable, "-m", "vllm.entrypoints.openai.api_server"]
    return lambda port: [*module, "--model", model, "--host", "127.0.0.1", "--port", str(port), *arguments]


def _watch(process: subprocess.Popen[bytes], port: int, stall_s: float) -> None:
    """Kill the server once its requests get no tokens for ``stall_s``; ends with it."""
    last, since = 0.0, time.monotonic()
    while process.poll() is None:
        requests, tokens = _load(port)
        if requests == 0 or tokens != last:
            last, since = tokens, time.monotonic()
        elif time.monotonic() - since > stall_s:
            _kill(process)
        time.sleep(min(LOOK_S, stall_s / 10))


def _load(port: int) -> tuple[float, float]:
    """Requests that the server has, and tokens that it has seen and made; one request, and none, if it does not say:
    that may be the very sign of a hang."""
    try:
        _, text = _get(port, "/metrics")
    except (OSError, HTTPException):
        return 1.0, -1.0
    counts = [(name, float(value)) for name, value in _COUNT.findall(text)]
    return sum(v for name, v in counts if name in _REQUESTS), sum(v for name, v in counts if name in _TOKENS)


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


def _kill(process: subprocess.Popen[bytes]) -> None:
    """End the guard and its whole process group. A guard that has ended has seen to that itself."""
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])
