"""The process that reads PDFs, behind pipes, so that a file that hangs, crashes or eats memory can be stopped.

Run as ``python -m stages.pdf.worker READ_FD WRITE_FD PARENT_PID``. Requests and answers are JSON, so that a file which
takes this process over cannot make its parent run anything. An answer is two messages: "done" or "refused", then the
page or the picture, or the refusal's reason and evidence. The process ends when its parent does.
"""

from __future__ import annotations

import os
import resource
import signal
import sys
import traceback
from collections.abc import Iterator
from contextlib import suppress
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import orjson

from stages.pdf.page import Page
from stages.pdf.pictures import picture_of
from stages.pdf.reading import ReadingOptions, UnreadablePdf, opened, pages_of

ORPHAN_CHECK_S = 5.0
DEADLINE_GRACE = 2
"""Deadlines after which the process ends itself: its parent, which would have ended it after one, must be gone."""

ADDRESS_SPACE_FACTOR = 2
ADDRESS_SPACE_BASE_BYTES = 4 << 30
"""What the process may map besides twice its memory limit: libraries and the pools of their threads. This limit stops
what grows too fast for the parent to see."""

MAX_PAGE_BYTES = 64 << 20
"""A page of more text than this, as JSON, fails. Whole books have 1 MB."""


class PdfReader:
    """Requests in, answers out; a file stays open from one page to the next."""

    def __init__(self, options: ReadingOptions) -> None:
        self._options = options
        self._learns = False
        self._pages: Iterator[Page] = iter(())
        self._next: tuple[str, int, int] | None = None  # path, page and last page that ``_pages`` would go on with

    def answer(self, request: dict[str, Any]) -> bytes:
        """A page, a count of pages (both JSON) or a picture.

        Raises:
            UnreadablePdf: the file, or this page of it, cannot be read.
        """
        kind, path = request["kind"], request["path"]
        if kind == "page":
            self._learns = request.get("learns", False)
            return self._page(path, request["number"], request["last"])
        if kind == "picture":
            return picture_of(Path(path), request["number"], request["longest_side_px"], request["rotation"])
        self._next, self._pages = None, iter(())  # another file may have come to this path
        with opened(Path(path)) as document:
            return orjson.dumps({"pages": len(document)})

    def _page(self, path: str, number: int, last: int) -> bytes:
        if self._next != (path, number, last):
            self._pages = self.pages_of(Path(path), number, last)
        self._next = None  # a generator that raises an error has ended
        page = orjson.dumps(next(self._pages), option=orjson.OPT_SERIALIZE_NUMPY)
        if len(page) > MAX_PAGE_BYTES:
            page = orjson.dumps(Page(number, "failed", "too_much_text"))
        if number + 1 < last:
            self._next = path, number + 1, last
        else:
            self._pages = iter(())  # closes the file
        return page

    def pages_of(self, path: Path, first: int, last: int) -> Iterator[Page]:
        """The pages in order."""
        return pages_of(path, first, last, self._options, learns=self._learns)


def serve(new_reader: type[PdfReader]) -> None:
    """Answer requests until the parent is gone."""
    read, write, parent = map(int, sys.argv[1:])
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent decides when to stop
    os.dup2(2, 1)  # nothing that a library prints may end up in the parent's standard output
    with suppress(OSError):  # the kernel short of memory should take this process, which holds one page
        Path("/proc/self/oom_score_adj").write_text("1000")
    requests, answers = Connection(read), Connection(write)
    with suppress(EOFError, BrokenPipeError):
        settings = orjson.loads(requests.recv_bytes())
        limits = settings["limits"]
        _limit_memory(limits["max_memory_bytes"])
        reader = new_reader(ReadingOptions(**settings["options"]))
        answers.send_bytes(b"ready")
        while True:
            while not requests.poll(ORPHAN_CHECK_S):
                if os.getppid() != parent:  # another process may have inherited the pipe's other end
                    return
            request = orjson.loads(requests.recv_bytes())
            # the kernel's default action ends the process, whatever it is caught in
            signal.setitimer(signal.ITIMER_REAL, DEADLINE_GRACE * limits["page_deadline_s"])
            verdict, answer = _answered(reader, request)
            signal.setitimer(signal.ITIMER_REAL, 0)
            answers.send_bytes(verdict)
            answers.send_bytes(answer)


def _answered(reader: PdfReader, request: dict[str, Any]) -> tuple[bytes, bytes]:
    """Whatever PDFium or an engine raises is the page's failure."""
    try:
        return b"done", reader.answer(request)
    except UnreadablePdf as error:
        refusal = error.reason, error.evidence
    except MemoryError:
        refusal = "memory", "an allocation failed"
    except Exception as error:
        traceback.print_exc()
        refusal = "reading_error", f"{type(error).__name__}: {str(error)[:300]}"
    return b"refused", orjson.dumps(refusal)


def _limit_memory(max_resident_bytes: int) -> None:
    address_space = ADDRESS_SPACE_FACTOR * max_resident_bytes + ADDRESS_SPACE_BASE_BYTES
    resource.setrlimit(resource.RLIMIT_AS, (address_space, address_space))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


if __name__ == "__main__":
    serve(PdfReader)
