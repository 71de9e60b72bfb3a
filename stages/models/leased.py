"""An engine whose work is done by the processes of a service: requests go to the process that has the least to do.

What a process holds for us is a lease: it ends with the process, or with our silence, and the requests go elsewhere.
"""

from __future__ import annotations

import itertools
import threading
import time
import uuid
from collections import deque
from collections.abc import Callable, Sequence

from pipeline.errors import MachineError, ServiceGoneError
from pipeline.stage import ServiceProcess
from stages.models.engine import Answer, Request, RequestFailedError
from stages.models.vllm.host import Exchanged

WAIT_S = 20.0
"""Longest time that a call waits for answers: less than what a host takes for silence."""

FIRST_ROOM = 16

PAUSE_S = 1.0
"""Between two calls of a process that is being started again."""

LOOK_S = 5.0
MAX_OUTAGE_S = 1800.0

DEATHS_OF_A_SUSPECT = 2
"""Processes that died with a request on them, after which it goes alone: until then, others may be the cause."""

MAX_DEATHS = 4
"""Processes that died with a request on them, after which it gets no other; machines end for other reasons too."""


class _Asked:
    """A request and, in time, its answer."""

    def __init__(self, number: int, request: Request) -> None:
        self.number, self.request = number, request
        self.deaths = 0
        self.answer: Answer | RequestFailedError | None = None
        self.is_answered = threading.Event()


class _Lease:
    """What one process has of us."""

    def __init__(self, process: ServiceProcess, room: int) -> None:
        self.process, self.room = process, room
        self.name = self.record = ""
        self.unsent: list[_Asked] = []
        self.held: dict[int, _Asked] = {}  # the unsent too
        self.is_up = True
        self.error: MachineError | None = None  # of a process that cannot serve any more
        self.renew()

    @property
    def has_sent(self) -> bool:
        return len(self.held) > len(self.unsent)

    def has(self, request: Request) -> bool:
        return any(asked.request is request for asked in self.held.values())

    def renew(self) -> None:
        """Begin anew: what the process may still hold under the old name is forgotten there."""
        self.name, self.record = uuid.uuid4().hex, ""
        self.unsent, self.held = [], {}


class LeasedEngine:
    """An ``Engine`` over processes that hold a ``VllmHost`` each. Safe to use from several threads."""

    def __init__(
        self, processes: Sequence[ServiceProcess], first_room: int = FIRST_ROOM, max_outage_s: float = MAX_OUTAGE_S
    ) -> None:
        """
        Args:
            first_room: requests that a process is given before it has said how many it wants.
            max_outage_s: time without any process after which they count as gone for good.
        """
        self._leases = [_Lease(process, first_room) for process in processes]
        self._max_outage_s = max_outage_s
        self._changed = threading.Condition()  # guards all that follows, and the leases
        self._numbers = itertools.count()
        self._queue: deque[_Asked] = deque()
        self._suspects: deque[_Asked] = deque()  # each waits for a process of its own
        self._reserved: _Lease | None = None  # for a suspect: gets nothing else
        self._none_since: float | None = None  # when the last process went
        self._error: BaseException | None = None
        self._is_closed = False
        for lease in self._leases:
            for work in (self._send, self._receive):
                threading.Thread(target=self._kept, args=(work, lease), name="lease", daemon=True).start()

    @property
    def most_at_once(self) -> int:
        """Requests that are worth having under way at once; changes as others come and go."""
        with self._changed:
            return sum(lease.room for lease in self._leases if lease.error is None)

    def ask(self, request: Request) -> Answer:
        """The model's answer; see ``Engine.ask``."""
        with self._changed:
            self._check()
            asked = _Asked(next(self._numbers), request)
            self._queue.append(asked)
            self._distribute()
        while not asked.is_answered.wait(LOOK_S):
            self._check()
        if isinstance(asked.answer, Answer):
            return asked.answer
        self._check()
        assert asked.answer is not None
        raise asked.answer

    def close(self) -> None:
        """Give up all leases; who waits gets an error."""
        with self._changed:
            self._end(MachineError("the engine has been closed"))
            self._is_closed = True
            names = [
                (lease.process, lease.name)
                for lease in self._leases
                if lease.record and lease.is_up and lease.error is None
            ]
        for process, name in names:
            try:
                process.call("leave", name)
            except (ServiceGoneError, MachineError):
                continue  # it holds nothing any more

    def _check(self) -> None:
        """
        Raises:
            MachineError: no process can be had.
        """
        with self._changed:
            down_s = 0.0 if self._none_since is None else time.monotonic() - self._none_since
            if down_s > self._max_outage_s:
                self._end(
                    MachineError(
                        f"no process that holds an engine has been there for {down_s:.0f} s. See that the cluster has "
                        "the GPUs that they ask for, then give the same command again: answers are kept"
                    )
                )
            if self._error is not None:
                raise self._error

    # -- under the lock

    def _distribute(self) -> None:
        """Give waiting requests to the processes with the least to do; one that is asked a second time while it is
        under way, because it is slow, to another process if there is any."""
        self._place_suspect()
        able = [x for x in self._leases if x.is_up and x.error is None and x is not self._reserved]
        while self._queue:
            free = [lease for lease in able if len(lease.held) < lease.room]
            if not free:
                break
            asked = self._queue.popleft()
            self._place(asked, min(free, key=lambda lease: (lease.has(asked.request), len(lease.held) / lease.room)))
        self._changed.notify_all()

    def _place_suspect(self) -> None:
        """Keep a process free of other requests, and once it is, give it a suspect."""
        if self._reserved is None and self._suspects:
            able = [lease for lease in self._leases if lease.is_up and lease.error is None]
            self._reserved = min(able, key=lambda lease: len(lease.held)) if able else None
        if self._reserved is not None and not self._reserved.held:
            if self._suspects:
                self._place(self._suspects.popleft(), self._reserved)
            else:
                self._reserved = None

    def _place(self, asked: _Asked, lease: _Lease) -> None:
        lease.held[asked.number] = asked
        lease.unsent.append(asked)

    def _deliver(self, lease: _Lease, exchanged: Exchanged) -> None:
        lease.record = lease.record or exchanged.record
        if exchanged.record != lease.record:  # it died and came back, or forgot us, between two calls
            self._take_back(lease)
            return
        lease.is_up, self._none_since = True, None
        lease.room = max(1, exchanged.room)
        for number, answer in exchanged.finished:
            asked = lease.held.pop(number, None)
            if asked is not None:
                asked.answer = answer
                asked.is_answered.set()
        self._distribute()

    def _take_back(self, lease: _Lease) -> None:
        """A process has gone, with what it held for us."""
        unsent = {asked.number for asked in lease.unsent}
        for asked in reversed(lease.held.values()):
            asked.deaths += asked.number not in unsent
            if asked.deaths >= MAX_DEATHS:
                asked.answer = RequestFailedError(
                    "deadly", f"{asked.deaths} processes died while they had this request"
                )
                asked.is_answered.set()
            elif asked.deaths >= DEATHS_OF_A_SUSPECT:
                self._suspects.appendleft(asked)
            else:
                self._queue.appendleft(asked)
        lease.renew()
        if lease is self._reserved:
            self._reserved = None
        if self._none_since is None and not any(x.is_up and x.error is None for x in self._leases):
            self._none_since = time.monotonic()
        self._distribute()

    def _end(self, error: BaseException) -> None:
        """Have all who wait, and who ask later, get an error."""
        self._error = self._error or error
        held = [asked for lease in self._leases for asked in lease.held.values()]
        for asked in [*held, *self._queue, *self._suspects]:
            asked.is_answered.set()
        self._changed.notify_all()

    # -- on two threads for each process: one sends as soon as there is something to send, the other waits for answers

    def _kept(self, work: Callable[[_Lease], None], lease: _Lease) -> None:
        try:
            work(lease)
        except BaseException as error:
            with self._changed:
                self._end(error)

    def _send(self, lease: _Lease) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: lease.unsent or self._has_ended(lease))
                if self._has_ended(lease):
                    return
                name, requests = lease.name, [(asked.number, asked.request) for asked in lease.unsent]
                lease.unsent = []
            self._call(lease, name, requests, 0.0)

    def _receive(self, lease: _Lease) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: lease.has_sent or not lease.is_up or self._has_ended(lease))
                if self._has_ended(lease):
                    return
                name, is_up = lease.name, lease.is_up
            if not is_up:
                time.sleep(PAUSE_S)
            self._call(lease, name, [], WAIT_S if is_up else 0.0)

    def _has_ended(self, lease: _Lease) -> bool:
        return self._is_closed or self._error is not None or lease.error is not None

    def _call(self, lease: _Lease, name: str, requests: Sequence[tuple[int, Request]], wait_s: float) -> None:
        try:
            exchanged = lease.process.call("exchange", name, requests, wait_s)
        except ServiceGoneError:
            with self._changed:
                if name == lease.name:  # else the other thread has seen to it
                    lease.is_up = False
                    self._take_back(lease)
        except MachineError as error:
            with self._changed:
                lease.error = lease.error or error
                self._take_back(lease)
                if all(other.error for other in self._leases):
                    self._end(error)
        else:
            with self._changed:
                if name == lease.name:
                    self._deliver(lease, exchanged)
