"""A process that turns wikitext into text, which the operating system stops at a page that takes too long.

On unclosed markup mwparserfromhell tries again and again: 8 kB of ``{{a|b=`` take it a second, four times as much take
sixteen, and no signal handler of Python's runs meanwhile. So the child sets a timer of CPU time around each page whose
signal kills it; the next page gets a new child. Run as ``python -m stages.intake.wikitext_process FILE_DESCRIPTOR``.
"""

from __future__ import annotations

import multiprocessing
import os
import pickle
import resource
import signal
import subprocess
import sys
from multiprocessing.connection import Connection
from pathlib import Path

from stages.intake.wikitext import WikitextOptions, plain_text

MAX_MEMORY_BYTES = 4 << 30
"""Address space of the child; the tree of a page of 2 MB takes about 0.5 GB."""


class UnreadableWikitextError(Exception):
    """A page that gives no text. ``reason``: "deadline", "crashed" or "bad_wikitext"."""

    def __init__(self, reason: str, evidence: str) -> None:
        super().__init__(evidence)
        self.reason = reason


class WikitextProcess:
    """The parent's end.

    Args:
        deadline_s: CPU seconds that a page may take, so that what is read does not depend on how busy a machine is.
    """

    def __init__(self, deadline_s: float) -> None:
        self._deadline_s = deadline_s
        self._child: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> WikitextProcess:
        return self

    def __exit__(self, *_: object) -> None:
        self._end()

    @property
    def pid(self) -> int | None:
        """Process id of the child, if there is one."""
        return self._child.pid if self._child else None

    def text(self, wikitext: str, options: WikitextOptions) -> str:
        """``plain_text(wikitext, options)``.

        Raises:
            UnreadableWikitextError: the page takes too long or too much memory, or the parser fails.
        """
        if self._child is None or self._child.poll() is not None:
            self._start()
        try:
            self._pipe.send_bytes(pickle.dumps((wikitext, options)))
            text, error = pickle.loads(self._pipe.recv_bytes())
        except (EOFError, OSError) as lost:
            status = self._end()
            if status == -signal.SIGPROF:
                evidence = f"more than {self._deadline_s:g} s of CPU time"
                raise UnreadableWikitextError("deadline", evidence) from lost
            raise UnreadableWikitextError("crashed", f"the parser's process ended with status {status}") from lost
        except BaseException:
            self._end()  # it may be in the middle of this page
            raise
        if error is not None:
            raise UnreadableWikitextError("bad_wikitext", error)
        assert isinstance(text, str)
        return text

    def _start(self) -> None:
        self._end()
        self._pipe, childs_end = multiprocessing.Pipe()
        root = str(Path(__file__).resolve().parents[2])
        descriptor = childs_end.fileno()
        self._child = subprocess.Popen(
            [sys.executable, "-m", "stages.intake.wikitext_process", str(descriptor), str(self._deadline_s)],
            pass_fds=(descriptor,),
            env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, [root, os.environ.get("PYTHONPATH")]))},
        )
        childs_end.close()

    def _end(self) -> int | None:
        """Close the pipe, at which the child ends, or kill it in the middle of a page; returns its exit status."""
        child, self._child = self._child, None
        if child is None:
            return None
        self._pipe.close()
        try:
            return child.wait(timeout=1)
        except subprocess.TimeoutExpired:
            child.kill()
            return child.wait()


def main(pipe: Connection, deadline_s: float) -> None:
    """Answer pages until the pipe closes."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent decides when to stop
    signal.signal(signal.SIGPROF, signal.SIG_DFL)  # ends the process
    resource.setrlimit(resource.RLIMIT_AS, (MAX_MEMORY_BYTES, MAX_MEMORY_BYTES))
    plain_text("")  # imports the parser: that time must not count against the first page
    while True:
        try:
            wikitext, options = pickle.loads(pipe.recv_bytes())
        except EOFError:
            return
        answer: tuple[str | None, str | None]
        signal.setitimer(signal.ITIMER_PROF, deadline_s)
        try:
            answer = (plain_text(wikitext, options), None)
        except Exception as error:  # whatever the parser raises is this page's failure, and is reported
            answer = (None, f"{type(error).__name__}: {str(error)[:300]}")
        signal.setitimer(signal.ITIMER_PROF, 0)
        pipe.send_bytes(pickle.dumps(answer))


if __name__ == "__main__":
    main(Connection(int(sys.argv[1])), float(sys.argv[2]))
