"""Requests that take longer than nearly all others, asked a second time: a hung server then costs little.

The tail of a batch is as long as its slowest request, and some are slow for no reason of their own. The rule is that of
Dean and Barroso, "The Tail at Scale" (2013): ask again what is older than the 99th percentile of recent times, so that
one request in a hundred is made twice, and take the first answer. Only places that are free are used for that: as long
as the engine has enough to do, a late request holds up nobody.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait

from pipeline.errors import MachineError
from stages.models.engine import Answer, Engine, Request, RequestFailedError

LATE = 0.99
"""Share of the recent requests that took less time than one that is late."""

MIN_ANSWERS, MOST_ANSWERS = 100, 1000
"""Recent answers whose times are looked at; with fewer, none is late."""

ENOUGH = 0.95
"""Share of the engine's places from which on none is free: some always are for a moment, between two requests."""

MEASURE_EVERY = 50  # answers
LOOK_S = 0.5
"""Seconds after which a request that may not be asked again yet is looked at again."""


class Hedged:
    """An engine that is asked a second time about what is late. Safe to use from several threads."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        # each request runs in a thread of its own, so that who waits for it can leave; the other half is for late ones
        self._threads = ThreadPoolExecutor(2 * engine.most_at_once, "hedged")
        self._lock = threading.Lock()
        self._times: deque[float] = deque(maxlen=MOST_ANSWERS)
        self._answers = self._requests = self._seconds = self._under_way = 0
        self._late_s: float | None = None

    @property
    def most_at_once(self) -> int:
        """Requests that are worth having under way at once."""
        return self._engine.most_at_once

    def ask(self, request: Request) -> Answer:
        """The first of one or two answers to a request.

        Raises:
            RequestFailedError: there is none to be had for this request.
            MachineError: either says that there is none to be had for any.
        """
        began = time.monotonic()
        with self._lock:
            self._requests += 1
        first = self._submitted(request)
        while not _is_done_within(first, self._patience_s(time.monotonic() - began)):
            if second := self._second(request, time.monotonic() - began):
                answer = _first_answer(first, second)
                break
        else:
            answer = first.result()
        self._note(time.monotonic() - began)
        return answer

    def close(self) -> None:
        """Close the engine and end the threads."""
        self._engine.close()
        self._threads.shutdown(wait=False, cancel_futures=True)

    def _patience_s(self, age_s: float) -> float:
        late_s = self._late_s
        return LOOK_S if late_s is None or late_s <= age_s else late_s - age_s

    def _second(self, request: Request, age_s: float) -> Future[Answer] | None:
        """The request made a second time, if it is late, there is a place for it, and few have been."""
        with self._lock:
            if self._late_s is None or age_s < self._late_s or self._under_way >= ENOUGH * self.most_at_once:
                return None
            if self._seconds + 1 > (1 - LATE) * self._requests:
                return None
            self._seconds += 1
        return self._submitted(request)

    def _submitted(self, request: Request) -> Future[Answer]:
        with self._lock:
            self._under_way += 1
        task = self._threads.submit(self._engine.ask, request)
        task.add_done_callback(self._ended)
        return task

    def _ended(self, task: Future[Answer]) -> None:
        with self._lock:
            self._under_way -= 1

    def _note(self, took_s: float) -> None:
        with self._lock:
            self._times.append(took_s)
            self._answers += 1
            if len(self._times) >= MIN_ANSWERS and self._answers % MEASURE_EVERY == 0:
                self._late_s = sorted(self._times)[int(LATE * len(self._times))]


def _is_done_within(request: Future[Answer], seconds: float) -> bool:
    try:
        request.exception(seconds)
    except TimeoutError:
        return False
    return True


def _first_answer(*requests: Future[Answer]) -> Answer:
    """
    Raises:
        RequestFailedError: of the first that failed, if all did.
        MachineError: of any that ended without an answer before another had one.
    """
    failure: RequestFailedError | None = None
    pending = set(requests)
    while pending:
        done, pending = wait(pending, return_when=FIRST_COMPLETED)
        for request in done:
            error = request.exception()
            if error is None:
                return request.result()
            if not isinstance(error, RequestFailedError):
                raise error
            failure = failure or error
    raise failure or MachineError("no request was made")
