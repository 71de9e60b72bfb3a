"""Servers of one model: which of them the next request goes to, and which of them are down.

Each server has a limit of requests under way (``stages.models.pace``). A server that fails ``FAILURES_TO_BREAK`` times
in a row gets no requests for a while, then a single one to see whether it is back.
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass

from pipeline.errors import MachineError
from stages.models.pace import FIRST_LIMIT, Pace

FAILURES_TO_BREAK = 5
FIRST_PAUSE_S = 1.0
LONGEST_PAUSE_S = 60.0
LOOK_S = 1.0
"""Seconds after which a waiting request looks again, or earlier if a pause ends: by the clock, and nobody tells it."""


@dataclass(frozen=True, slots=True)
class RunningServer:
    """A server, whoever runs it."""

    base_url: str  # such as http://localhost:8000/v1

    def url(self) -> str:
        return self.base_url.rstrip("/")


class Endpoint:
    """What is known of one server. ``Endpoints`` holds the lock under which it changes."""

    def __init__(self, server: RunningServer, pace: Pace) -> None:
        self.server, self.pace = server, pace
        self.under_way = 0
        self.failures = 0  # in a row
        self.pauses = 0  # in a row
        self.paused_until = 0.0

    @property
    def at_once(self) -> int:
        """Requests that may be under way at once."""
        return 1 if self.failures >= FAILURES_TO_BREAK else self.pace.at_once

    def may_take(self, now: float) -> bool:
        """Whether it may get one more request."""
        return now >= self.paused_until and self.under_way < self.at_once

    def answered(self) -> None:
        """It has answered, whatever the answer is."""
        self.failures = self.pauses = 0

    def failed(self, now: float) -> None:
        """It did not answer: after several times it is left alone for a while, longer each time. What fails meanwhile
        was under way before, and says nothing new."""
        self.failures += 1
        if self.failures >= FAILURES_TO_BREAK and now >= self.paused_until:
            self.paused_until = now + pause_s(self.pauses)
            self.pauses += 1

    def pause(self, now: float, wait_s: float) -> None:
        """It wants no requests for so many seconds."""
        self.paused_until = max(self.paused_until, now + wait_s)


def pause_s(tries: int) -> float:
    """Seconds to wait after so many tries in vain: growing, and different each time, so that waiters do not meet."""
    return float(min(LONGEST_PAUSE_S, FIRST_PAUSE_S * 2 ** min(tries, 30)) * random.uniform(0.5, 1.0))


@dataclass(frozen=True, slots=True)
class Turn:
    """A request's leave to go to a server."""

    endpoint: Endpoint
    began: float  # of the monotonic clock
    under_way: int  # requests at its server, this one included


class Endpoints:
    """All servers of a model. Safe to use from several threads."""

    def __init__(
        self,
        servers: Sequence[RunningServer],
        model: str,
        most_at_once: int,
        max_outage_s: float,
        first_limit: int = FIRST_LIMIT,
    ) -> None:
        """
        Args:
            model: its name, for messages.
            most_at_once: requests under way at once, per server.
            max_outage_s: seconds without any answer after which all servers count as down for good.
            first_limit: requests under way at once, per server, before anything is known of it.
        """
        self._most_at_once = most_at_once * len(servers)
        self._endpoints = [Endpoint(server, Pace(most_at_once, first_limit)) for server in servers]
        self._model, self._max_outage_s = model, max_outage_s
        self._changed = threading.Condition()
        self._down_since: float | None = None
        self._wanted_at = 0.0  # when somebody last asked or waited for a server
        self._problem = ""
        self._is_closed = False

    def close(self) -> None:
        """Have all who wait for a server, and who ask for one later, get an error."""
        with self._changed:
            self._is_closed = True
            self._changed.notify_all()

    @property
    def most_at_once(self) -> int:
        """Requests that may be under way at once in all."""
        return self._most_at_once

    def turn(self, avoided: Endpoint | None = None) -> Turn:
        """Wait for a server that may take a request, and take the least busy one, if possible another one than
        ``avoided``. Ends by ``answered``, ``declined``, ``failed``, ``is_busy`` or ``given_up``.

        Raises:
            MachineError: no server has answered for ``max_outage_s``, or these are closed.
        """
        with self._changed:
            while True:
                if self._is_closed:
                    raise MachineError("the engine has been closed")
                now = time.monotonic()
                # the time that nobody wants a server, between two batches, is no part of an outage
                if now - self._wanted_at > 2 * LONGEST_PAUSE_S and not any(e.under_way for e in self._endpoints):
                    self._down_since = None
                self._wanted_at = now
                free = [endpoint for endpoint in self._endpoints if endpoint.may_take(now)]
                if free:
                    endpoint = min(free, key=lambda e: (e is avoided, e.failures > 0, e.under_way))
                    endpoint.under_way += 1
                    return Turn(endpoint, now, endpoint.under_way)
                self._check_outage(now)
                ends = [e.paused_until for e in self._endpoints if e.paused_until > now]
                self._changed.wait(min([LOOK_S, *(end - now for end in ends)]))

    def answered(self, turn: Turn, tokens: int) -> None:
        """There is an answer of so many tokens."""
        with self._changed:
            turn.endpoint.pace.answered(turn.began, time.monotonic(), tokens, turn.under_way)
            turn.endpoint.answered()
            self._end(turn)
            self._down_since = None

    def declined(self, turn: Turn) -> None:
        """The server has answered that it will not do this."""
        with self._changed:
            turn.endpoint.answered()
            self._end(turn)
            self._down_since = None

    def failed(self, turn: Turn, problem: str, timed_out: bool = False) -> None:
        """
        Raises:
            MachineError: no server has answered for ``max_outage_s``.
        """
        with self._changed:
            self._end(turn)
            now = time.monotonic()
            if timed_out:
                turn.endpoint.pace.timed_out(turn.began, now)
            turn.endpoint.failed(now)
            self._note(now, problem)

    def is_busy(self, turn: Turn, wait_s: float, problem: str) -> None:
        """The server wants fewer requests, and none for ``wait_s`` seconds.

        Raises:
            MachineError: no server has answered for ``max_outage_s``.
        """
        with self._changed:
            self._end(turn)
            now = time.monotonic()
            turn.endpoint.pace.is_busy(turn.began, now)
            turn.endpoint.pause(now, wait_s)
            self._note(now, problem)

    def given_up(self, turn: Turn) -> None:
        """The request was not made, or its answer says nothing about the server."""
        with self._changed:
            self._end(turn)

    def _end(self, turn: Turn) -> None:
        turn.endpoint.under_way -= 1
        self._wanted_at = time.monotonic()
        self._changed.notify(max(1, turn.endpoint.at_once - turn.endpoint.under_way))

    def _note(self, now: float, problem: str) -> None:
        self._problem = problem
        if self._down_since is None:
            self._down_since = now
        self._check_outage(now)

    def _check_outage(self, now: float) -> None:
        if self._down_since is not None and now - self._down_since > self._max_outage_s:
            raise MachineError(
                f"no server of the model {self._model} has answered for {now - self._down_since:.0f} s "
                f"({self._problem}). See that it is up, then give the same command again: what is answered is not "
                "asked for again"
            )
