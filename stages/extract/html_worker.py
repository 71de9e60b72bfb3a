"""The process that extracts text, behind pipes, so that a page that hangs, crashes or eats memory can be stopped.

Run as ``python -m stages.extract.html_worker READ_FD WRITE_FD PAGE_FD PARENT_PID``. A request says how many bytes at
the start of the file PAGE_FD are the page. The process imports neither Arrow nor the pipeline, answers one page at a
time, and ends when its parent does.
"""

from __future__ import annotations

import gc
import os
import pickle
import signal
import sys
from contextlib import suppress
from multiprocessing.connection import Connection
from pathlib import Path

from stages.extract.decoding import decoded
from stages.extract.engines import ENGINES, storable
from stages.extract.language_gate import LanguageGate
from stages.extract.page_facts import add_licence
from stages.extract.pages import Extract, ExtractionOptions, Page

ORPHAN_CHECK_S = 5.0
DEADLINE_GRACE = 2
"""Deadlines after which the process ends itself: its parent, which would have ended it after one, must be gone."""


class HtmlExtractor:
    """Pages in, extracts out; the engine and the models are loaded once."""

    def __init__(self, options: ExtractionOptions) -> None:
        self._engine = ENGINES[options.engine](options)
        self._gate = LanguageGate(options.language_gate) if options.language_gate else None

    def extract(self, page: Page) -> Extract:
        """The main text of a page. Whatever a parser or an engine raises is the page's failure."""
        try:
            return self._extracted(page)
        except MemoryError:
            return Extract(ending=("failed", "memory", "an allocation failed"))
        except Exception as error:
            return Extract(ending=("failed", "extraction_error", f"{type(error).__name__}: {str(error)[:300]}"))

    def _extracted(self, page: Page) -> Extract:
        none = Extract(ending=("dropped", "no_main_text", f"none in {len(page.html)} bytes"))
        html = decoded(page.html, page.charset)
        gated = self._gate.ending(html) if self._gate else None
        if gated and not page.is_audited:
            return Extract(ending=gated)
        tree = self._engine.parsed(html)
        if tree is None:
            return none
        facts = self._engine.facts(tree, page.url)
        add_licence(facts, html)
        text = storable(self._engine.main_text(tree, page.url, facts)).strip()
        for name in facts.__slots__:
            if isinstance(value := getattr(facts, name), str):
                setattr(facts, name, storable(value))
        if gated and self._gate:
            return Extract(text, facts, self._gate.judged(gated, text))
        return Extract(text, facts) if text else Extract(facts=facts, ending=none.ending)


def main() -> None:
    """Answer pages until the parent is gone."""
    read, write, page_file, parent = map(int, sys.argv[1:])
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent decides when to stop
    os.dup2(2, 1)  # nothing that a library prints may end up in the parent's standard output
    with suppress(OSError):  # the kernel short of memory should take this process, which holds one page
        Path("/proc/self/oom_score_adj").write_text("1000")
    requests, answers = Connection(read), Connection(write)
    with suppress(EOFError, BrokenPipeError):
        options, deadline_s = pickle.loads(requests.recv_bytes())
        extractor = HtmlExtractor(options)
        gc.freeze()  # modules and models stay: to walk them again and again took a tenth of the fast engine's time
        answers.send_bytes(b"ready")
        while True:
            while not requests.poll(ORPHAN_CHECK_S):
                if os.getppid() != parent:  # another process may have inherited the pipe's other end
                    return
            size, *declared = pickle.loads(requests.recv_bytes())
            # the kernel's default action ends the process, whatever it is caught in
            signal.setitimer(signal.ITIMER_REAL, DEADLINE_GRACE * deadline_s)
            extract = extractor.extract(Page(os.pread(page_file, size, 0), *declared))
            signal.setitimer(signal.ITIMER_REAL, 0)
            answers.send_bytes(pickle.dumps(extract))


if __name__ == "__main__":
    main()
