"""How many requests a server does well with at once, found by trying.

More requests at once make each of them slower; they are welcome as long as the server does more in all. So a limit is
judged by tokens per second in all: requests at once, over the median of their seconds per token, of requests that began
under this limit. The limit first grows by leaps, until it is at its most or gives less than the one before. From then
on it goes by small steps, up or down, as long as they do no harm; a step that does is taken back, and the next one, the
other way, comes later each time. A server that suddenly takes twice its usual time is given less to do.

That latencies tell the limit is the idea of Netflix's concurrency-limits (Gradient2Limit). A language model's seconds
per token alone do not: they grow with each request that shares a batch, from 1 to 256 by a factor of 3 and more.
"""

from __future__ import annotations

from statistics import median

FIRST_LIMIT = 16
LEAP = 4.0
"""Factor by which the limit grows at first: from 16 to 256 in two leaps."""

STEP = 1.1
MIN_GAIN = 0.97
"""Share of the tokens per second at the last sound limit that another limit must give. A step beyond what a server
stands gives less than 0.91 where times grow with the square of the load; where times scatter by a factor of 1.35 (one
standard deviation), the median of 64 scatters by 0.05."""

SLOW = 2.0
"""Times the usual seconds per token from which on the server is overloaded, though the limit is the same."""

BACKOFF = 0.7
USUAL_RISE, USUAL_FALL = 0.2, 0.5
"""Weight of the newest seconds per token in the usual ones. A server that has become slower for good is usual again
after two or three windows: until then the limit falls to a third, and then it grows again."""

FIRST_MIN_ANSWERS, MIN_ANSWERS, MOST_ANSWERS = 8, 32, 256
"""Answers in a window: as many as the limit, since the first to come are the quick ones, within these bounds."""

LONGEST_HOLD = 32
"""Windows until the next step after one that did harm, at most."""

TIMEOUT_SHARE = 0.1
"""Share of the requests that may run into their time limit. One may in any case: it may be to blame itself."""


class Pace:
    """The limit of requests under way at one server. To be used under a lock."""

    def __init__(self, most_at_once: int, first_limit: int = FIRST_LIMIT) -> None:
        self._most_at_once = most_at_once
        self._limit = float(min(most_at_once, first_limit))
        self._is_starting = self._limit < most_at_once
        self._sound: tuple[float, float] | None = None  # limit, tokens per second in all
        self._usual_s: float | None = None  # seconds per token
        self._is_up = True  # the way of the next step
        self._hold = self._holds_left = 0  # windows between steps
        self._limited_at = 0.0
        self._seconds: list[float] = []  # per token, in this window, as are the next two
        self._most_under_way = self._timeouts = 0

    @property
    def at_once(self) -> int:
        """Requests that may be under way."""
        return int(self._limit)

    def answered(self, began: float, now: float, tokens: int, under_way: int) -> None:
        """A request was answered.

        Args:
            began: when it did, by the monotonic clock, as ``now``.
            tokens: of the answer.
            under_way: requests at the server when it began, this one included.
        """
        if began < self._limited_at:  # it began under another limit
            return
        self._seconds.append((now - began) / (tokens + 1))
        self._most_under_way = max(self._most_under_way, min(under_way, self.at_once))
        if len(self._seconds) >= self._window():
            seconds, at_once = median(self._seconds), self._most_under_way
            self._empty_window()
            self._judge(seconds, at_once, now)

    def timed_out(self, began: float, now: float) -> None:
        """A request had no answer within its time limit."""
        if began < self._limited_at:
            return
        self._timeouts += 1
        if self._timeouts > max(1, TIMEOUT_SHARE * (len(self._seconds) + self._timeouts)):
            self._shrink(0.5, now)

    def is_busy(self, began: float, now: float) -> None:
        """The server wants fewer requests. Complaints about requests that were on their way when it complained first
        count once."""
        if began >= self._limited_at:
            self._shrink(0.5, now)

    def _window(self) -> int:
        least = FIRST_MIN_ANSWERS if self._is_starting else MIN_ANSWERS
        return min(max(self.at_once, least), MOST_ANSWERS)

    def _judge(self, seconds: float, at_once: int, now: float) -> None:
        rate = at_once / seconds
        is_step = self._sound is not None and self._sound[0] != self._limit
        is_slow = self._usual_s is not None and seconds > SLOW * self._usual_s
        if is_step and self._sound is not None and rate < MIN_GAIN * self._sound[1]:
            self._is_starting, self._is_up = False, self._limit < self._sound[0]
            self._wait_longer()
            self._set_limit(self._sound[0], now)
            return
        self._note_usual(seconds)
        if is_slow and not is_step:
            self._shrink(BACKOFF, now)
            return
        if self._sound is None or is_step:
            self._sound, self._hold = (self._limit, rate), 0
        else:
            self._sound = (self._limit, self._sound[1] + USUAL_RISE * (rate - self._sound[1]))
        if at_once == self.at_once:  # else the limit was not made use of
            self._step(now)

    def _step(self, now: float) -> None:
        if self._holds_left:
            self._holds_left -= 1
        elif self._is_up:
            self._set_limit(max(self._limit * (LEAP if self._is_starting else STEP), self._limit + 1), now)
            self._is_starting = self._is_starting and self._limit < self._most_at_once
        else:
            self._set_limit(min(self._limit / STEP, self._limit - 1), now)

    def _shrink(self, factor: float, now: float) -> None:
        self._is_starting, self._is_up = False, True
        self._wait_longer()
        self._set_limit(self._limit * factor, now)
        self._sound = None  # what it is good for now is not known
        self._empty_window()

    def _wait_longer(self) -> None:
        self._hold = min(LONGEST_HOLD, max(1, 2 * self._hold))
        self._holds_left = self._hold

    def _note_usual(self, seconds: float) -> None:
        if self._usual_s is None or self._is_starting:
            self._usual_s = seconds
        else:
            weight = USUAL_RISE if seconds > self._usual_s else USUAL_FALL
            self._usual_s += weight * (seconds - self._usual_s)

    def _set_limit(self, limit: float, now: float) -> None:
        limit = min(self._most_at_once, max(1.0, limit))
        if limit != self._limit:
            self._limit, self._limited_at = limit, now

    def _empty_window(self) -> None:
        self._seconds = []
        self._most_under_way = self._timeouts = 0
