"""A process that reads PDFs and may be killed: PDFium can crash, hang or eat memory on a broken file.

The parent sends requests and receives replies as JSON with a length of four bytes before it. The child sends
each page as it is done, so that the deadline is a page's. Run as
``python -m stages.extract.pdf_worker PARENT_PID``.
"""

from __future__ import annotations

import json
import os
import select
import signal
import struct
import subprocess
import sys
import threading
import time
from dataclasses import asdict
from pathlib import Path
from typing import IO, Any

from pipeline.errors import MachineError
from stages.extract.pdf import Page, PdfLimits, UnreadablePdf, pages_of

START_DEADLINE_S = 120.0
MAX_MEMORY_BYTES = 4 << 30
"""Address space of the child: OCR of a page of 4 million pixels takes 1.7 GB of it, 0.9 GB in memory."""
ORPHAN_CHECK_S = 0.5
_LENGTH = struct.Struct(">I")


class PdfWorker:
    """The parent's end. One process serves many files; after a crash or a missed deadline comes a new one."""

    def __init__(self, limits: PdfLimits, page_deadline_s: float) -> None:
        self._limits = limits
        self._page_deadline_s = page_deadline_s
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> PdfWorker:
        return self

    def __exit__(self, *_: object) -> None:
        self._kill()

    @property
    def pid(self) -> int | None:
        """Process id of the child, if one runs."""
        return self._process.pid if self._process else None

    def pages(self, path: Path) -> list[Page]:
        """All pages of a file.

        Raises:
            UnreadablePdf: the file cannot be read; the reasons of ``pages_of``, and "crashed" and "deadline".
            MachineError: no process could be started.
        """
        pages: list[Page] = []
        try:
            process = self._asked(path)
            while True:
                reply = self._receive(process, self._page_deadline_s)
                if "page" not in reply:
                    break
                pages.append(Page(**reply["page"]))
        except TimeoutError as error:
            self._kill()
            evidence = f"page {len(pages) + 1} took more than {self._page_deadline_s:g} s"
            raise UnreadablePdf("deadline", evidence) from error
        except (EOFError, BrokenPipeError) as error:
            ended = self._kill()
            raise UnreadablePdf("crashed", f"the PDF reader {ended} at page {len(pages) + 1}") from error
        except BaseException:
            self._kill()  # it may be in the middle of this file
            raise
        if "reason" in reply:
            raise UnreadablePdf(reply["reason"], reply["evidence"])
        return pages

    def _asked(self, path: Path) -> subprocess.Popen[bytes]:
        """The process, once it has taken up this file; one that ended since the last file is replaced."""
        if self._process is not None:
            try:
                return self._ask(self._process, path)
            except (EOFError, BrokenPipeError):
                self._kill()  # it ended between two files: this one is not to blame
        return self._ask(self._start(), path)

    def _ask(self, process: subprocess.Popen[bytes], path: Path) -> subprocess.Popen[bytes]:
        _send(process.stdin, {"path": str(path), "limits": asdict(self._limits)})
        self._receive(process, START_DEADLINE_S)
        return process

    def _start(self) -> subprocess.Popen[bytes]:
        root = str(Path(__file__).resolve().parents[2])
        path = os.pathsep.join(filter(None, [root, os.environ.get("PYTHONPATH")]))
        self._process = subprocess.Popen(
            [sys.executable, "-m", "stages.extract.pdf_worker", str(os.getpid())],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1"},
            bufsize=0,
        )
        try:
            self._receive(self._process, START_DEADLINE_S)
        except (TimeoutError, EOFError) as error:
            raise MachineError(
                f"the process that reads PDFs did not start: it {self._kill()}; see its messages above"
            ) from error
        return self._process

    def _receive(self, process: subprocess.Popen[bytes], deadline_s: float) -> dict[str, Any]:
        assert process.stdout is not None
        end = time.monotonic() + deadline_s
        (length,) = _LENGTH.unpack(_read_by(process.stdout.fileno(), _LENGTH.size, end))
        reply: dict[str, Any] = json.loads(_read_by(process.stdout.fileno(), length, end))
        return reply

    def _kill(self) -> str:
        """End the child, if there is one, and say how it ended: by itself, or else killed here."""
        process, self._process = self._process, None
        if process is None:
            return "was not running"
        try:
            process.wait(timeout=1 if _has_closed(process) else 0)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        for pipe in (process.stdin, process.stdout):
            assert pipe is not None
            pipe.close()
        code = process.returncode
        return f"was ended by {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"


def _has_closed(process: subprocess.Popen[bytes]) -> bool:
    assert process.stdout is not None
    poll = select.poll()
    poll.register(process.stdout.fileno(), 0)
    return any(event & select.POLLHUP for _, event in poll.poll(0))


def _read_by(descriptor: int, count: int, end: float) -> bytes:
    """Exactly ``count`` bytes, by the time ``end`` of the monotonic clock.

    Raises:
        TimeoutError, EOFError: the time has come, or the other end is closed.
    """
    poll = select.poll()
    poll.register(descriptor, select.POLLIN)
    content = b""
    while len(content) < count:
        if not poll.poll(max(0.0, end - time.monotonic()) * 1000):
            raise TimeoutError
        read = os.read(descriptor, count - len(content))
        if not read:
            raise EOFError
        content += read
    return content


def _send(pipe: IO[bytes] | None, message: dict[str, Any]) -> None:
    assert pipe is not None
    content = json.dumps(message).encode()
    content = _LENGTH.pack(len(content)) + content
    while content:
        content = content[pipe.write(content) :]


def main() -> None:
    """The child's end: serve requests until the parent closes the pipe or dies."""
    import resource

    threading.Thread(target=_die_with, args=(int(sys.argv[1]),), daemon=True).start()
    resource.setrlimit(resource.RLIMIT_AS, (MAX_MEMORY_BYTES, MAX_MEMORY_BYTES))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    requests = os.fdopen(os.dup(0), "rb")
    replies = os.fdopen(os.dup(1), "wb", buffering=0)
    os.dup2(2, 1)  # what a library prints must not end up among the replies
    _send(replies, {"ready": True})
    while header := requests.read(_LENGTH.size):
        request = json.loads(requests.read(_LENGTH.unpack(header)[0]))
        _send(replies, {"accepted": True})
        try:
            for page in pages_of(Path(request["path"]), PdfLimits(**request["limits"])):
                _send(replies, {"page": asdict(page)})
        except UnreadablePdf as error:
            _send(replies, {"reason": error.reason, "evidence": error.evidence})
        else:
            _send(replies, {"done": True})


def _die_with(parent: int) -> None:
    # a signal at the parent's death would also come at the death of the thread that started us
    while os.getppid() == parent:
        time.sleep(ORPHAN_CHECK_S)
    os._exit(1)


if __name__ == "__main__":
    main()
