"""The parent's end of the process that extracts: deadlines, memory, and a new process in place of a broken one."""

from __future__ import annotations

import os
import pickle
import signal
import subprocess
import sys
import tempfile
import time
from multiprocessing.connection import Connection
from pathlib import Path

from pipeline.errors import StageError
from stages.extract.pages import Extract, ExtractionOptions, Page

START_DEADLINE_S = 300.0  # the fast engine's first start on a machine compiles its kernels: 20 s where it is quiet

LOOK_S = 0.1
"""Seconds between looks at the memory of a page that is being worked on; most pages are done before the first."""

RECYCLE_BYTES = 512 << 20
"""Resident memory from which the process is replaced between two pages. With trafilatura it has 160 MB at the start,
and 340 MB after hundreds of pages, where it stays; more is what one large page left behind."""


class HtmlProcess:
    """A process that extracts pages one by one. Every page gets exactly one answer."""

    def __init__(self, options: ExtractionOptions, deadline_s: float, max_memory_bytes: int) -> None:
        """
        Raises:
            StageError: the process does not start.
        """
        self._options, self._deadline_s, self._max_memory_bytes = options, deadline_s, max_memory_bytes
        self._process = self._started()

    def _started(self) -> subprocess.Popen[bytes]:
        theirs_in, ours_out = os.pipe()
        ours_in, theirs_out = os.pipe()
        self._page_bytes = _file_in_memory()
        shared = (theirs_in, theirs_out, self._page_bytes)
        process = subprocess.Popen(
            [sys.executable, "-m", "stages.extract.html_worker", *map(str, (*shared, os.getpid()))],
            pass_fds=shared,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(path or os.getcwd() for path in sys.path)},
            stdin=subprocess.DEVNULL,
        )
        os.close(theirs_in)
        os.close(theirs_out)
        self._requests = Connection(ours_out, readable=False)
        self._answers = Connection(ours_in, writable=False)
        try:
            self._requests.send_bytes(pickle.dumps((self._options, self._deadline_s)))
            is_ready = self._answers.poll(START_DEADLINE_S) and self._answers.recv_bytes() == b"ready"
        except (EOFError, OSError):
            is_ready = False
        if not is_ready:
            process.kill()
            process.wait()
            raise StageError("extract_html: the process that extracts text did not start; its message is above")
        return process

    @property
    def pid(self) -> int:
        """Process id of the child; another one after each replacement."""
        return self._process.pid

    def extract(self, page: Page) -> Extract:
        """What came of a page: a page over the deadline or the memory limit, or that kills the process, is failed."""
        if self._process.poll() is not None or self._resident_bytes() > RECYCLE_BYTES:
            self.stop()
            self._process = self._started()
        try:
            self._send(page)
            started = time.monotonic()
            while not self._answers.poll(LOOK_S):
                if (size := self._resident_bytes()) > self._max_memory_bytes:
                    self._end()
                    return _failed("memory", f"{size >> 20} MiB > {self._max_memory_bytes >> 20} MiB")
                if time.monotonic() - started > self._deadline_s:
                    self._end()
                    return _failed("deadline", f"more than {self._deadline_s:g} s")
            answer: Extract = pickle.loads(self._answers.recv_bytes())
        except (EOFError, BrokenPipeError, ConnectionResetError):
            return self._death()
        except BaseException:
            self._end()  # it may be in the middle of this page, and would answer the next one with it
            raise
        return answer

    def _send(self, page: Page) -> None:
        size = len(page.html)
        if os.pwrite(self._page_bytes, page.html, 0) != size:
            raise StageError(f"extract_html: a page of {size} bytes was written in part; give the worker more memory")
        self._requests.send_bytes(pickle.dumps((size, page.charset, page.url, page.is_audited)))

    def _death(self) -> Extract:
        code = self._process.wait()
        if code == -signal.SIGKILL:
            return _failed("memory", "the extracting process was killed, as the kernel does when memory runs out")
        if code == -signal.SIGALRM:  # this process was suspended and could not end it in time
            return _failed("deadline", f"more than {self._deadline_s:g} s")
        how = f"signal {signal.Signals(-code).name}" if code < 0 else f"status {code}"
        return _failed("crashed", f"the extracting process died with {how}")

    def _resident_bytes(self) -> int:
        """0 where the system does not tell: there, pages have no memory limit."""
        try:
            pages = Path(f"/proc/{self._process.pid}/statm").read_bytes().split()[1]
        except OSError:
            return 0
        return int(pages) * os.sysconf("SC_PAGE_SIZE")

    def _end(self) -> None:
        self._process.kill()
        self._process.wait()

    def stop(self) -> None:
        """End the process; it holds nothing worth keeping."""
        self._end()
        self._requests.close()
        self._answers.close()
        os.close(self._page_bytes)


def _file_in_memory() -> int:
    """A file without a name, for the bytes of one page: through a pipe they would go in pieces of 64 KiB, with a change
    of process for each."""
    if hasattr(os, "memfd_create"):  # Linux
        return os.memfd_create("page")
    with tempfile.TemporaryFile() as file:
        return os.dup(file.fileno())


def _failed(reason: str, evidence: str) -> Extract:
    return Extract(ending=("failed", reason, evidence))
