"""Polite to each server: how many requests at a time, and when the next one may start.

What is known of a host lies in a folder that all tasks of a run share:

- ``permit-0``, ``permit-1``, ...: a request holds an exclusive flock(2) on one of them while it lasts. The kernel frees
  it when the process dies. NFS and the file systems of clusters pass these locks on to other machines.
- ``state.json``: the present limit, and the time before which nobody may ask; absent as long as the host never
  complained. Written under a lock on ``state.lock`` and put in place by rename.

A host that says it is overloaded (503, 429, SlowDown) has its limit halved, once for all requests that were under way;
each ``SUCCESSES_PER_PERMIT`` good answers give one permit back (additive increase, multiplicative decrease: Chiu and
Jain, 1989). Waits between attempts grow exponentially with full jitter.
"""

from __future__ import annotations

import fcntl
import json
import os
import random
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import TypeVar
from urllib.parse import quote

from pipeline.locations.location import RemoteError, RemoteOptions

MAX_BACKOFF_S = 60.0
MAX_RETRY_AFTER_S = 600.0  # a server that asks for more is asked again after this
SUCCESSES_PER_PERMIT = 10
POLL_S = 0.02
MAX_POLL_S = 0.1

T = TypeVar("T")
_private: tempfile.TemporaryDirectory[str] | None = None
_private_lock = threading.Lock()


class TransientError(Exception):
    """An attempt failed in a way that another one may not."""

    def __init__(self, answer: str, overloaded: bool = False, retry_after_s: float | None = None) -> None:
        super().__init__(answer)
        self.overloaded = overloaded
        self.retry_after_s = retry_after_s
        self.progress = False  # it brought bytes before it failed


@dataclass(frozen=True, slots=True)
class _State:
    """What a host made known. Times are seconds since the epoch."""

    limit: int
    successes: int = 0  # since the limit last changed
    not_before: float = 0.0
    lowered: float = 0.0  # when the limit was last lowered


class Host:
    """One server, as all tasks of a run see it.

    Args:
        name: of the server, e.g. ``data.commoncrawl.org``.
        shared: folder that the tasks share; None keeps to this process and its children.
    """

    def __init__(self, name: str, options: RemoteOptions, shared: Path | None) -> None:
        self.name = name
        self.options = options
        self._folder = (shared or _private_folder()) / quote(name, safe="")

    def patiently(self, what: Callable[[], str], attempt: Callable[[], T]) -> T:
        """The result of ``attempt``, called until it succeeds, each time under a permit.

        Args:
            what: what is asked for and how far it came, for messages.

        Raises:
            RemoteError: ``options.tries`` attempts in a row brought nothing; or what ``attempt`` raises besides
                TransientError.
        """
        fruitless = 0
        while True:
            with self._permit() as began:
                try:
                    result = attempt()
                except TransientError as fault:
                    fruitless = 0 if fault.progress else fruitless + 1
                    wait_s = backoff_s(fruitless, self.options.backoff_s)
                    if fault.overloaded:
                        self._lower(began, wait_s if fault.retry_after_s is None else fault.retry_after_s)
                    if fruitless >= self.options.tries:
                        message = f"{what()}: given up after {fruitless} attempts in a row that brought nothing"
                        raise RemoteError("unreachable", f"{message}; the last: {fault}") from fault
                else:
                    self._raise_again()
                    return result
            time.sleep(wait_s)

    @contextmanager
    def _permit(self) -> Iterator[float]:
        """Hold one of the host's permits; gives the time at which it was obtained."""
        held, wait_s = self._obtained(), POLL_S
        while held is None:
            time.sleep(wait_s * random.uniform(0.5, 1.5))
            wait_s = min(2 * wait_s, MAX_POLL_S)
            held = self._obtained()
        try:
            yield time.time()
        finally:
            fcntl.flock(held, fcntl.LOCK_UN)  # not only closed: a forked child may have inherited it
            os.close(held)

    def _obtained(self) -> int | None:
        """File descriptor of a permit, if one is free and the host may be asked now."""
        self._folder.mkdir(parents=True, exist_ok=True)
        state = self._state()
        wait_s = state.not_before - time.time()
        if 0 < wait_s <= MAX_RETRY_AFTER_S:  # more was written by a machine whose clock is ahead: not waited for
            time.sleep(wait_s)
            return None
        first = random.randrange(state.limit)
        for i in range(state.limit):
            permit = os.open(self._folder / f"permit-{(first + i) % state.limit}", os.O_RDWR | os.O_CREAT, 0o666)
            try:
                fcntl.flock(permit, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return permit
            except BlockingIOError:
                os.close(permit)
        return None

    def _state(self) -> _State:
        try:
            state = _State(**json.loads((self._folder / "state.json").read_bytes()))
        except FileNotFoundError:
            return _State(self.options.connections)
        return replace(state, limit=min(state.limit, self.options.connections))

    def _lower(self, began: float, wait_s: float) -> None:
        def lowered(state: _State) -> _State:
            now = time.time()
            known = state.not_before if state.not_before <= now + MAX_RETRY_AFTER_S else 0.0
            not_before = max(known, now + min(wait_s, MAX_RETRY_AFTER_S))
            if began < state.lowered <= now:  # this request was sent before the others learnt of the limit
                return replace(state, not_before=not_before)
            return _State(max(1, state.limit // 2), 0, not_before, now)

        self._change(lowered)

    def _raise_again(self) -> None:
        def raised(state: _State) -> _State:
            if state.limit == self.options.connections:
                return state
            if state.successes + 1 < SUCCESSES_PER_PERMIT:
                return replace(state, successes=state.successes + 1)
            return replace(state, successes=0, limit=state.limit + 1)

        if self._state().limit < self.options.connections:
            self._change(raised)

    def _change(self, changed: Callable[[_State], _State]) -> None:
        with (self._folder / "state.lock").open("a") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            new = self._folder / "state.new"
            new.write_text(json.dumps(asdict(changed(self._state()))))
            new.replace(self._folder / "state.json")


@lru_cache(256)
def host(name: str, options: RemoteOptions, shared: Path | None) -> Host:
    """The one Host of this name for all who read with these options."""
    return Host(name, options, shared)


def backoff_s(attempt: int, first_s: float) -> float:
    """A wait of up to ``first_s`` * 2 ** (``attempt`` - 1) seconds, at most a minute.

    Full jitter, so that tasks that failed together do not come back together (Brooker, "Exponential Backoff And
    Jitter", AWS Architecture Blog, 2015).
    """
    return random.uniform(0.0, min(MAX_BACKOFF_S, first_s * 2.0 ** min(attempt - 1, 32)))


def _private_folder() -> Path:
    global _private
    with _private_lock:
        if _private is None:
            _private = tempfile.TemporaryDirectory(prefix="sluice-hosts-")
        return Path(_private.name)
