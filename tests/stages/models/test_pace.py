"""How many requests a server gets at once, by how it does: a server stood in for by a function of its load."""

import heapq
import random
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stages.models.pace import FIRST_LIMIT, Pace

TOKENS = 200


def run(pace: Pace, seconds: Callable[[int], float], answers: int, timeout_s: float = 1e9, now: float = 1.0) -> float:
    """Keep as many requests under way as the pace allows; their time is a function of their number when they begin.

    Returns:
        the limit's mean over the last half.
    """
    under_way: list[tuple[float, float, int]] = []
    limits = []
    for _ in range(answers):
        while len(under_way) < pace.at_once:
            took = seconds(len(under_way) + 1)
            heapq.heappush(under_way, (now + min(took, timeout_s), now, len(under_way) + 1))
        now, began, at_once = heapq.heappop(under_way)
        if now - began >= timeout_s:
            pace.timed_out(began, now)
        else:
            pace.answered(began, now, TOKENS, at_once)
        limits.append(pace.at_once)
    return sum(limits[answers // 2 :]) / (answers - answers // 2)


def noisy(seconds: Callable[[int], float], spread: float, seed: int = 1) -> Callable[[int], float]:
    generator = random.Random(seed)
    return lambda at_once: seconds(at_once) * generator.lognormvariate(0, spread)


def batching(at_once: int) -> float:
    """A GPU's batch: 256 requests take 4 times as long as one."""
    return 1 + 3 * at_once / 256


def exploding(at_once: int) -> float:
    return 1.0 if at_once <= 40 else 10.0


def degrading(at_once: int) -> float:
    return max(1.0, (at_once / 40) ** 2)


def test_a_server_is_tried_with_few_requests_first() -> None:
    assert Pace(256).at_once == FIRST_LIMIT
    assert Pace(4).at_once == 4
    assert Pace(256, first_limit=256).at_once == 256


@pytest.mark.parametrize("spread", [0.0, 0.5])
def test_a_server_that_batches_gets_all_in_three_rounds(spread: float) -> None:
    pace = Pace(256)
    run(pace, noisy(batching, spread), 16 + 64 + 256)
    assert pace.at_once == 256


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("first_limit", [16, 256])
def test_noise_takes_little_from_a_server_that_batches(first_limit: int, seed: int) -> None:
    assert run(Pace(256, first_limit), noisy(batching, 0.8, seed), 20_000) > 0.85 * 256


@pytest.mark.parametrize("spread", [0.0, 0.3])
@pytest.mark.parametrize("slow", [exploding, degrading])
def test_a_server_that_does_less_beyond_some_load_is_kept_near_it(slow: Callable[[int], float], spread: float) -> None:
    assert 24 <= run(Pace(256), noisy(slow, spread), 20_000) <= 56


def test_a_server_that_becomes_slower_gets_less_and_then_more_again() -> None:
    pace = Pace(64)
    run(pace, lambda at_once: 1.0, 1000)
    assert pace.at_once == 64
    limits = [run(pace, lambda at_once: 5.0, 100, now=1000.0 + 1e6 * n) for n in range(60)]
    assert min(limits) < 45
    assert limits[-1] > 55


def test_timeouts_of_many_requests_shrink_the_limit_and_of_one_they_do_not() -> None:
    pace = Pace(64, first_limit=64)
    pace.timed_out(1.0, 2.0)
    assert pace.at_once == 64
    pace.timed_out(1.0, 2.0)
    assert pace.at_once == 32
    assert run(Pace(256, 256), exploding, 5000, timeout_s=5.0) <= 56


def test_a_complaint_halves_the_limit_and_answers_raise_it_again() -> None:
    pace = Pace(16)
    pace.is_busy(began=1.0, now=2.0)
    assert pace.at_once == 8
    run(pace, lambda at_once: 1.0, 400, now=3.0)
    assert pace.at_once == 16


def test_complaints_about_requests_sent_before_the_first_one_count_once() -> None:
    pace = Pace(16)
    for began in (1.0, 1.1, 1.2, 1.9):
        pace.is_busy(began, now=2.0)
    assert pace.at_once == 8
    pace.is_busy(began=2.1, now=3.0)
    assert pace.at_once == 4


def test_a_limit_that_is_not_used_does_not_grow() -> None:
    pace = Pace(256)
    for n in range(1000):
        pace.answered(n, n + 1, TOKENS, under_way=3)
    assert pace.at_once == FIRST_LIMIT


@settings(deadline=None, max_examples=50)
@given(st.lists(st.tuples(st.sampled_from(["answered", "timed_out", "is_busy"]), st.floats(0.001, 1e3)), max_size=400))
def test_the_limit_stays_between_one_and_the_most(events: list[tuple[str, float]]) -> None:
    pace, now = Pace(32), 0.0
    for kind, took_s in events:
        now += took_s
        arguments = (TOKENS, pace.at_once) if kind == "answered" else ()
        getattr(pace, kind)(now - took_s, now, *arguments)
        assert 1 <= pace.at_once <= 32
