"""Requests that are late are made a second time, few of them, and nothing else changes."""

import threading
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest

from pipeline.errors import MachineError
from stages.models import hedging
from stages.models.engine import Answer, Request, RequestFailedError
from stages.models.hedging import Hedged
from tests.chat_server import HANG, completion
from tests.stages.models.conftest import Serve

HUNG_S = 2.0


class Model:
    """An engine in this process: answers by a function of the prompt and how often it came before."""

    most_at_once = 16

    def __init__(self, answer: Callable[[str, int], str]) -> None:
        self._answer = answer
        self.asked: Counter[str] = Counter()
        self._lock = threading.Lock()

    def ask(self, request: Request) -> Answer:
        with self._lock:
            before = self.asked[request.prompt]
            self.asked[request.prompt] += 1
        return Answer(self._answer(request.prompt, before), "stop")

    def close(self) -> None:
        self.is_closed = True


@pytest.fixture(autouse=True)
def short_looks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hedging, "LOOK_S", 0.01)


def warm(hedged: Hedged, requests: int = 1000) -> None:
    """Let it know how long requests take; with no free place, all second requests are saved up."""
    with ThreadPoolExecutor(hedged.most_at_once) as pool:
        assert all(pool.map(lambda n: hedged.ask(Request(f"warm {n}", 1)), range(requests)))


def late_once(prompt: str, before: int) -> str:
    time.sleep(HUNG_S if prompt == "late" and not before else 0.002)
    return f"answer {before}"


def test_a_late_request_is_made_again_and_the_first_answer_is_taken() -> None:
    model = Model(late_once)
    hedged = Hedged(model)
    warm(hedged)
    started = time.monotonic()
    assert hedged.ask(Request("late", 1)).text == "answer 1"
    assert time.monotonic() - started < HUNG_S / 2


def test_the_first_answer_may_be_that_of_the_first_request() -> None:
    def answer(prompt: str, before: int) -> str:
        time.sleep({("late", 0): 0.5, ("late", 1): HUNG_S}.get((prompt, before), 0.002))
        return f"answer {before}"

    hedged = Hedged(Model(answer))
    warm(hedged)
    assert hedged.ask(Request("late", 1)).text == "answer 0"


def test_before_a_hundred_answers_nothing_is_late() -> None:
    model = Model(late_once)
    hedged = Hedged(model)
    warm(hedged, 90)
    assert hedged.ask(Request("late", 1)).text == "answer 0"
    assert model.asked["late"] == 1


def test_at_most_one_request_in_a_hundred_is_made_twice() -> None:
    def answer(prompt: str, before: int) -> str:
        time.sleep(0.3 if prompt.startswith("late") else 0.001)
        return "text"

    model = Model(answer)
    hedged = Hedged(model)
    warm(hedged)
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda n: hedged.ask(Request(f"late {n}", 1)), range(32)))
    twice = sum(count > 1 for count in model.asked.values())
    assert 5 <= twice <= 10
    assert max(model.asked.values()) == 2


@pytest.mark.parametrize("which", [0, 1])
def test_a_failure_of_one_waits_for_the_other(which: int) -> None:
    def answer(prompt: str, before: int) -> str:
        if prompt == "late":
            time.sleep([0.5, 1.0][before] if which == 0 else [1.0, 0.01][before])
            if before == which:
                raise RequestFailedError("refused", "too long")
        return f"answer {before}"

    hedged = Hedged(Model(answer))
    warm(hedged)
    assert hedged.ask(Request("late", 1)).text == f"answer {1 - which}"


def test_a_failure_of_both_is_that_of_the_first_to_fail() -> None:
    def answer(prompt: str, before: int) -> str:
        if prompt == "late":
            time.sleep([1.0, 0.01][before])
            raise RequestFailedError("refused", f"failure {before}")
        return "text"

    hedged = Hedged(Model(answer))
    warm(hedged)
    with pytest.raises(RequestFailedError, match="failure 1"):
        hedged.ask(Request("late", 1))


def test_a_failure_in_time_is_told_at_once() -> None:
    def answer(prompt: str, before: int) -> str:
        raise RequestFailedError("refused", "too long")

    with pytest.raises(RequestFailedError, match="too long"):
        Hedged(Model(answer)).ask(Request("prompt", 1))


def test_an_engine_that_is_lost_ends_the_request_whichever_says_so() -> None:
    def answer(prompt: str, before: int) -> str:
        if prompt == "late":
            time.sleep(HUNG_S if before == 0 else 0.01)
            raise MachineError("gone")
        return "text"

    hedged = Hedged(Model(answer))
    warm(hedged)
    started = time.monotonic()
    with pytest.raises(MachineError, match="gone"):
        hedged.ask(Request("late", 1))
    assert time.monotonic() - started < HUNG_S / 2


def test_an_engine_that_has_enough_to_do_is_asked_for_nothing_twice() -> None:
    model = Model(late_once)
    hedged = Hedged(model)
    warm(hedged)
    model.most_at_once = 1
    assert hedged.ask(Request("late", 1)).text == "answer 0"
    assert model.asked["late"] == 1


def test_its_threads_end() -> None:
    before = set(threading.enumerate())
    hedged = Hedged(Model(late_once))
    warm(hedged, 20)
    started = set(threading.enumerate()) - before
    assert started
    hedged.close()
    for thread in started:
        thread.join(5)
        assert not thread.is_alive()


def test_a_server_that_hangs_is_left_for_another(serve: Serve, engine_of) -> None:
    hung = serve(lambda request, before: HANG if request.prompt == "late" else completion("text"))
    other = serve(lambda request, before: completion("text of the other"))
    hedged = Hedged(engine_of(hung.url, other.url))
    warm(hedged, 500)
    started = time.monotonic()
    assert hedged.ask(Request("late", 1)).text == "text of the other"
    assert time.monotonic() - started < HANG.delay_s / 2
