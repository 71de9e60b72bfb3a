"""Which requests the engine is given next, and which of them have killed it.

An engine that dies takes with it all requests that are under way. They run again. Those that were under way at two
deaths are suspects: while all others wait, one half of them runs alone, then the other; a half at which the engine
dies is parted again, until a single request, running alone, kills it. That one is deadly; all others get answers.
"""

from __future__ import annotations

import threading
import uuid
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field

from stages.models.engine import Answer, Request, RequestFailedError

DEATHS_OF_A_SUSPECT = 2


@dataclass(eq=False, slots=True)
class Client:
    """Who has left requests."""

    called: float  # when it last did, of the monotonic clock
    record: str = field(default_factory=lambda: uuid.uuid4().hex)  # of this host's knowledge of it
    calls: int = 0  # of its own that wait
    numbers: set[int] = field(default_factory=set)  # of its requests that have no answer yet
    finished: list[tuple[int, Answer | RequestFailedError]] = field(default_factory=list)  # for its next call
    is_gone: bool = False
    changed: threading.Condition = field(default_factory=threading.Condition)  # by which its calls wait

    def finish(self, number: int, answer: Answer | RequestFailedError) -> None:
        """To be called under the lock of ``changed``."""
        self.numbers.discard(number)
        self.finished.append((number, answer))
        self.changed.notify_all()


@dataclass(eq=False, slots=True)
class Held:
    """A request that the host has."""

    key: int  # under which the worker knows it
    client: Client
    number: int  # under which the client knows it
    request: Request
    deaths: int = 0  # of the engine, with this request under way


class Schedule:
    """All requests of a host that have no answer yet. Knows no clock and no processes."""

    def __init__(self, window: int) -> None:
        """
        Args:
            window: requests under way at once.
        """
        self._window = window
        self._waiting: deque[Held] = deque()
        self._under_way: dict[int, Held] = {}
        self._trials: list[list[Held]] = []  # groups of suspects; the last is the next to run alone
        self._on_trial = 0  # suspects that began to run alone; 0: what runs is no trial

    def __len__(self) -> int:
        return len(self._waiting) + len(self._under_way) + sum(map(len, self._trials))

    @property
    def under_way(self) -> int:
        return len(self._under_way)

    def add(self, requests: Iterable[Held]) -> None:
        self._waiting.extend(requests)

    def admitted(self) -> list[Held]:
        """Requests that the engine is to be given now; they are under way from here on."""
        if not self._under_way:
            self._on_trial = 0
        if self._trials and not self._under_way:
            admitted = self._trials.pop()
            self._on_trial = len(admitted)
        elif self._trials or self._on_trial:
            admitted = []
        else:
            room = max(0, self._window - len(self._under_way))
            admitted = [self._waiting.popleft() for _ in range(min(room, len(self._waiting)))]
        self._under_way |= {held.key: held for held in admitted}
        return admitted

    def ended(self, key: int) -> Held | None:
        """The request under way that has got its answer; None if it is forgotten."""
        return self._under_way.pop(key, None)

    def died(self) -> Held | None:
        """The engine has died: have run again what was under way. Returns a request that is found to be deadly."""
        victims = list(self._under_way.values())
        self._under_way.clear()
        for held in victims:
            held.deaths += 1
        if self._on_trial == 1 and victims:
            return victims[0]
        suspects = victims if self._on_trial else [held for held in victims if held.deaths >= DEATHS_OF_A_SUSPECT]
        self._waiting.extendleft(held for held in reversed(victims) if held not in suspects)
        middle = (len(suspects) + 1) // 2
        self._trials += [half for half in (suspects[middle:], suspects[:middle]) if half]
        return None

    def forgotten(self) -> list[int]:
        """Let go of the requests of clients that are gone; returns the keys of those that were under way."""
        self._waiting = deque(held for held in self._waiting if not held.client.is_gone)
        trials = [[held for held in group if not held.client.is_gone] for group in self._trials]
        self._trials = [group for group in trials if group]
        gone = [key for key, held in self._under_way.items() if held.client.is_gone]
        for key in gone:
            del self._under_way[key]
        return gone
