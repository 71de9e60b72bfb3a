"""One worker with its engine, as a tree of processes that lives and dies as a whole."""

from __future__ import annotations

import os
import selectors
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import suppress
from typing import IO, Any

from stages.models.vllm.frames import Frames, framed

LOOK_S = 0.5
READ_BYTES = 1 << 20


class EngineProcess:
    """A program that speaks the worker's frames, under a guard that ends with us. Belongs to one thread; only ``wake``
    may be called from others."""

    def __init__(self, program: Sequence[str], arguments: Sequence[str], log: IO[bytes]) -> None:
        """Start ``program SOCKET ARGUMENTS...``; ``log`` takes what it prints."""
        self._folder = tempfile.mkdtemp(prefix="vllm-")  # nobody else may look in, so nobody else can connect
        path = os.path.join(self._folder, "socket")
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._listener.bind(path)
        self._listener.listen(1)
        self._connection: socket.socket | None = None
        self._wake_reader, self._wake_writer = socket.socketpair()
        self._frames = Frames()
        self._unsent = bytearray()
        self._selector = selectors.DefaultSelector()
        for end in (self._listener, self._wake_reader, self._wake_writer):
            end.setblocking(False)
        self._selector.register(self._listener, selectors.EVENT_READ)
        self._selector.register(self._wake_reader, selectors.EVENT_READ)
        guard = [sys.executable, "-m", "stages.models.guard", str(os.getpid())]
        self._process = subprocess.Popen(
            [*guard, *program, path, *arguments],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(path or os.getcwd() for path in sys.path)},
        )
        self.pid = self._process.pid  # of the guard, and of the group of processes
        self.started = time.monotonic()
        self.has_ended = False

    def send(self, message: dict[str, Any]) -> None:
        """Have a message sent as soon as the worker takes it; never waits."""
        self._unsent += framed(message)

    def wake(self) -> None:
        """End a ``received`` that waits; from any thread."""
        with suppress(OSError):  # so many wait for it already that one more changes nothing; or it is closed
            self._wake_writer.send(b"\0")

    def received(self, wait_s: float) -> list[dict[str, Any]]:
        """Send what is to be sent, and wait for messages, for ``wait_s`` at most. Sets ``has_ended`` once no more can
        come."""
        if self._connection is not None:
            wanted = selectors.EVENT_READ | (selectors.EVENT_WRITE if self._unsent else 0)
            self._selector.modify(self._connection, wanted)
        messages: list[dict[str, Any]] = []
        for key, events in self._selector.select(min(wait_s, LOOK_S)):
            if key.fileobj is self._listener:
                self._connect()
            elif key.fileobj is self._wake_reader:
                self._wake_reader.recv(4096)
            else:
                messages += self._exchanged(events)
        # it may end before it connects, and a process of its own may hold the connection open
        self.has_ended |= self._guard_has_ended()
        return messages

    def _guard_has_ended(self) -> bool:
        try:
            return os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None
        except ChildProcessError:  # where ended children are not waited for, as workers of Ray may be told
            return True

    def kill(self) -> None:
        """End the whole tree, and wait until it has ended."""
        # the group's number stays taken until the guard is waited for: it cannot be anybody else's by now
        with suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)
        self._process.wait()
        self._selector.close()
        for end in (self._listener, self._connection, self._wake_reader, self._wake_writer):
            if end is not None:
                end.close()
        shutil.rmtree(self._folder, ignore_errors=True)
        self.has_ended = True

    def _connect(self) -> None:
        self._connection, _ = self._listener.accept()
        self._connection.setblocking(False)
        self._selector.unregister(self._listener)
        self._selector.register(self._connection, selectors.EVENT_READ)

    def _exchanged(self, events: int) -> list[dict[str, Any]]:
        assert self._connection is not None
        try:
            if events & selectors.EVENT_WRITE:
                del self._unsent[: self._connection.send(self._unsent)]
            piece = self._connection.recv(READ_BYTES) if events & selectors.EVENT_READ else None
        except (BrokenPipeError, ConnectionResetError):
            piece = b""
        if piece == b"":
            self.has_ended = True
        return list(self._frames.fed(piece or b""))
