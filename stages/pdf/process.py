"""The parent's end of the process that reads PDFs: deadlines, memory, and a new process in place of a broken one."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
import weakref
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from functools import lru_cache
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, ClassVar

import orjson

from pipeline.errors import MachineError
from stages.pdf.page import Page
from stages.pdf.reading import ReadingOptions, UnreadablePdf

START_DEADLINE_S = 300.0  # a busy machine that has just started reads Python's modules from a slow disk

LOOK_S = 0.1
"""Seconds between looks at the memory of a page that is being worked on; most pages of text are done before the
first."""

MAX_DEATHS = 3
"""Pages in a row that may end the process before the rest of their file is given up: what broke them is the file."""

MAX_FAILED_PAGES = 20
"""Pages in a row that may fail in any way before the rest of their file is given up."""

RECYCLE_BYTES = 1200 << 20
"""Resident memory from which the process is replaced between two pages: with OCR it holds 630 to 1,000 MB page after
page, and 1,250 MB once it has read a page of a newspaper. A replacement costs a second or two."""

IDLE_BYTES = 400 << 20
"""Resident memory up to which the process may wait for the next task: without OCR it holds 190 MB."""


@dataclass(frozen=True)
class Limits:
    """How far a file may go."""

    page_deadline_s: float = 120.0
    file_deadline_s: float = 10_800.0  # of the pages asked for together
    max_memory_bytes: int = 3 << 30  # resident


class PdfProcess:
    """A process that reads PDFs, file after file. Every page asked for gets exactly one answer.

    A page that crashes the process, hangs or takes too much memory fails; reading goes on behind it in a new process.
    However broken a file is, its pages are done after ``file_deadline_s + page_deadline_s``, and after
    ``MAX_DEATHS * page_deadline_s`` if every page of it hangs.
    """

    worker: ClassVar[str] = "stages.pdf.worker"  # module that the child runs

    def __init__(self, options: ReadingOptions, limits: Limits) -> None:
        self._options, self._limits = options, limits
        self._child: _Child | None = None
        self._end_child: Callable[[], object] = lambda: None
        self._peak_memory_bytes = 0

    def __enter__(self) -> PdfProcess:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def pid(self) -> int | None:
        """Process id of the child, if one runs."""
        return self._child.process.pid if self._child else None

    @property
    def peak_memory_bytes(self) -> int:
        """Largest resident memory of any child so far; of one that was killed, as last seen."""
        self._note_memory()
        return self._peak_memory_bytes

    def page_count(self, path: Path) -> int:
        """Number of pages of a file, as it says of itself.

        Raises:
            UnreadablePdf: encrypted, unreadable, no_pages, crashed, deadline, memory.
            MachineError: no process could be started.
        """
        count: int = self._answer({"kind": "count", "path": str(path)})["pages"]
        return count

    def pages(self, path: Path, first: int, last: int) -> Iterator[Page]:
        """The pages from ``first`` up to, not including, ``last``: all of them, in order.

        Those that cannot be read are of the lane "failed", for one of these reasons besides the reader's own:
        crashed, deadline, memory, file_deadline (the pages before took too long), given_up (too many failed).

        Raises:
            MachineError: no process could be started.
        """
        deaths = failures = 0  # in a row
        spent_s = 0.0
        for number in range(first, last):
            if deaths == MAX_DEATHS or failures > MAX_FAILED_PAGES:
                yield Page(number, "failed", "given_up")
                continue
            if spent_s > self._limits.file_deadline_s:
                yield Page(number, "failed", "file_deadline")
                continue
            began = time.monotonic()
            try:
                request = {"kind": "page", "path": str(path), "number": number, "last": last}
                page = Page.from_json(self._first_answer(request) if number == first else self._answer(request))
            except UnreadablePdf as error:
                page = Page(number, "failed", error.reason)
            spent_s += time.monotonic() - began
            failures = failures + 1 if page.lane == "failed" else 0
            deaths = 0 if self._child else deaths + 1
            yield page

    def render(self, path: Path, number: int, longest_side_px: int, rotation: int = 0) -> bytes:
        """The picture of a page as PNG.

        Args:
            number: of the page, from 0.
            rotation: degrees (0, 90, 180, 270) by which the page as shown is turned clockwise.

        Raises:
            UnreadablePdf: as ``page_count``.
            MachineError: no process could be started.
        """
        size = {"longest_side_px": longest_side_px, "rotation": rotation}
        return self._ask({"kind": "picture", "path": str(path), "number": number, **size})

    def rest(self) -> None:
        """End the child if it holds much memory; to be called where no work may follow for some time."""
        if self._child and self._child.resident_bytes() > IDLE_BYTES:
            self.stop()

    def stop(self) -> None:
        """End the child; it holds nothing worth keeping."""
        self._note_memory()
        self._child = None
        self._end_child()

    def _first_answer(self, request: dict[str, Any]) -> dict[str, Any]:
        """The first page of a range; without a look at those before it if one of them breaks the reader."""
        try:
            return self._answer(request | {"learns": True})
        except UnreadablePdf:
            if request["number"] == 0:
                raise
            return self._answer(request)

    def _answer(self, request: dict[str, Any]) -> dict[str, Any]:
        answer: dict[str, Any] = orjson.loads(self._ask(request))
        return answer

    def _ask(self, request: dict[str, Any]) -> bytes:
        """What the child says to a request.

        Raises:
            UnreadablePdf: it says that it cannot; or it crashed, hung, or took too much memory, and was ended.
        """
        child = self._ready_child()
        try:
            child.requests.send_bytes(orjson.dumps(request))
            self._watch(child)
            is_refused, answer = child.answer()
        except (EOFError, BrokenPipeError, ConnectionResetError):
            reason, evidence = child.death()
            self.stop()
            raise UnreadablePdf(reason, evidence) from None
        except BaseException:
            self.stop()  # it may be in the middle of this request, and would answer the next one with it
            raise
        if is_refused:
            raise UnreadablePdf(*orjson.loads(answer))
        return answer

    def _watch(self, child: _Child) -> None:
        """Wait until there is an answer, or nobody left to give one."""
        limits = self._limits
        ends = time.monotonic() + limits.page_deadline_s
        while not child.answers.poll(LOOK_S):
            if (size := child.resident_bytes()) > limits.max_memory_bytes:
                self._peak_memory_bytes = max(self._peak_memory_bytes, size)
                raise UnreadablePdf("memory", f"{size >> 20} MiB > {limits.max_memory_bytes >> 20} MiB")
            if time.monotonic() > ends:
                raise UnreadablePdf("deadline", f"more than {limits.page_deadline_s:g} s")

    def _ready_child(self) -> _Child:
        child = self._child
        if child and (child.process.poll() is not None or child.resident_bytes() > RECYCLE_BYTES):
            self.stop()
        if self._child is None:
            self._child = _Child(self.worker, self._options, self._limits)
            self._end_child = weakref.finalize(self, self._child.end)  # at the latest when nobody holds this any more
        return self._child

    def _note_memory(self) -> None:
        if self._child:
            self._peak_memory_bytes = max(self._peak_memory_bytes, self._child.peak_bytes())


@lru_cache(maxsize=1)
def shared_process(options: ReadingOptions, limits: Limits) -> PdfProcess:
    """The one process for all that is read here in this way: models are loaded once for many tasks."""
    return PdfProcess(options, limits)


class _Child:
    """The process and the pipes to it."""

    def __init__(self, module: str, options: ReadingOptions, limits: Limits) -> None:
        """
        Raises:
            MachineError: the process does not start.
        """
        theirs_in, ours_out = os.pipe()
        ours_in, theirs_out = os.pipe()
        settings = {"options": asdict(options), "limits": asdict(limits)}
        self.process = subprocess.Popen(
            [sys.executable, "-m", module, str(theirs_in), str(theirs_out), str(os.getpid())],
            pass_fds=(theirs_in, theirs_out),
            env={
                **os.environ,
                "PYTHONPATH": os.pathsep.join(path or os.getcwd() for path in sys.path),
                "OMP_NUM_THREADS": "1",
            },
            stdin=subprocess.DEVNULL,
        )
        os.close(theirs_in)
        os.close(theirs_out)
        self.requests = Connection(ours_out, readable=False)
        self.answers = Connection(ours_in, writable=False)
        try:
            self.requests.send_bytes(orjson.dumps(settings))
            is_ready = self.answers.poll(START_DEADLINE_S) and self.answers.recv_bytes() == b"ready"
        except (EOFError, OSError):
            is_ready = False
        if not is_ready:
            self.end()
            raise MachineError("the process that reads PDFs did not start; its message is above")

    def answer(self) -> tuple[bool, bytes]:
        """Whether the request is refused, and the answer to it."""
        return self.answers.recv_bytes() == b"refused", self.answers.recv_bytes()

    def death(self) -> tuple[str, str]:
        """Reason and evidence of a death that nobody here has caused."""
        code = self.process.wait()
        if code == -signal.SIGKILL:
            return "memory", "the process that reads PDFs was killed, as the kernel does when memory runs out"
        if code == -signal.SIGALRM:  # this process was suspended and could not end it in time
            return "deadline", "the page took too long"
        how = f"signal {signal.Signals(-code).name}" if code < 0 else f"status {code}"
        return "crashed", f"the process that reads PDFs died with {how}"

    def resident_bytes(self) -> int:
        """0 where the system does not tell: there, pages have no memory limit."""
        try:
            pages = Path(f"/proc/{self.process.pid}/statm").read_bytes().split()[1]
        except OSError:
            return 0
        return int(pages) * os.sysconf("SC_PAGE_SIZE")

    def peak_bytes(self) -> int:
        """Largest resident memory so far; 0 if the process has ended, or where the system does not tell."""
        try:
            status = Path(f"/proc/{self.process.pid}/status").read_text()
        except OSError:
            return 0
        return next((int(line.split()[1]) << 10 for line in status.splitlines() if line.startswith("VmHWM:")), 0)

    def end(self) -> None:
        """Kill the process, if it lives."""
        self.process.kill()
        self.process.wait()
        self.requests.close()
        self.answers.close()
