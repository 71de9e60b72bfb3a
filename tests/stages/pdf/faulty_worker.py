"""A process as the one that reads PDFs, with plain pages, so that it starts fast, and faults on those that are named.

``SLUICE_TEST_FAULTS='{"2": "segfault", "4": "hang"}'`` breaks pages 2 and 4, "*" every page, "count" the opening,
"picture" all drawing.
"""

import ctypes
import json
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from stages.pdf.page import Block, Line, Page
from stages.pdf.process import PdfProcess
from stages.pdf.worker import PdfReader, serve

VARIABLE = "SLUICE_TEST_FAULTS"


class FaultyProcess(PdfProcess):
    """The parent's end."""

    worker = "tests.stages.pdf.faulty_worker"


class FaultyReader(PdfReader):
    """The child's end."""

    def answer(self, request: dict[str, Any]) -> bytes:
        if request["kind"] in ("count", "picture"):
            commit(faults().get(request["kind"], ""))
        return super().answer(request)

    def pages_of(self, path: Path, first: int, last: int) -> Iterator[Page]:
        for number in range(first, last):
            fault = faults().get(str(number), faults().get("*", ""))
            commit(fault)
            text = "x" * (65 << 20) if fault == "flood" else f"page {number}"
            yield Page(number, "text", blocks=(Block("text", (Line(0, 0, 1, 1, text, 10),)),))


def faults() -> dict[str, str]:
    found: dict[str, str] = json.loads(os.environ[VARIABLE])
    return found


def commit(fault: str) -> None:
    """Break in the way of this name."""
    if fault == "segfault":
        ctypes.string_at(0)
    elif fault == "killed":
        os.kill(os.getpid(), signal.SIGKILL)
    elif fault == "hang":
        ctypes.CDLL(None).pause()
    elif fault == "slow":
        time.sleep(0.3)
    elif fault == "growth":
        held = []
        while True:
            held.append(b"x" * (16 << 20))
            time.sleep(0.01)
    elif fault == "burst":
        np.empty(8 << 30, np.uint8)  # asked for at once, and never touched
    elif fault == "error":
        raise ValueError("a bug")


if __name__ == "__main__":
    serve(FaultyReader)
