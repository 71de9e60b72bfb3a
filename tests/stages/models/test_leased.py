"""An engine over processes of a service: real hosts over stand-in workers, and processes that die."""

import random
import sys
import threading
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from pipeline.errors import MachineError, ServiceGoneError, StageError
from stages.models import leased
from stages.models.engine import Answer, Request, RequestFailedError
from stages.models.leased import LeasedEngine
from stages.models.vllm.host import Exchanged, VllmHost
from stages.models.vllm.options import VllmOptions
from tests.stages.models.processes import await_that

REPOSITORY = Path(__file__).parents[3]


class Mortal:
    """A process of a service, whose object can die as it would with its machine: calls under way fail, too."""

    def __init__(self, make: Callable[[], Any]) -> None:
        self._make = make
        self.held = make()
        self.deaths = 0
        self.is_down = False

    def call(self, method: str, *arguments: Any) -> Any:
        held = self.held
        if self.is_down:
            raise ServiceGoneError("down")
        try:
            return getattr(held, method)(*arguments)
        finally:
            if held is not self.held or self.is_down:
                raise ServiceGoneError("died meanwhile")

    def die(self) -> None:
        held, self.held = self.held, self._make()
        self.deaths += 1
        getattr(held, "close", lambda: None)()


class Desk:
    """A host that answers at once, in capitals; what holds a word of ``withheld`` it keeps, and "kill" kills it."""

    def __init__(self, room: int = 100, withheld: str = "wait") -> None:
        self.room, self.withheld = room, withheld
        self.record = uuid.uuid4().hex
        self.kept: dict[int, Request] = {}
        self.asked: list[str] = []
        self.most_kept = 0
        self.left: list[str] = []
        self.clients: dict[str, None] = {}  # in the order of their first calls
        self.process: Mortal | None = None
        self._changed = threading.Condition()
        self._finished: list[tuple[int, Answer | RequestFailedError]] = []

    def exchange(self, client: str, requests: list[tuple[int, Request]], wait_s: float) -> Exchanged:
        with self._changed:
            self.clients[client] = None
            for number, request in requests:
                self.asked.append(request.prompt)
                if "kill" in request.prompt and self.process:
                    self.process.die()
                    raise ServiceGoneError("killed")
                if self.withheld in request.prompt:
                    self.kept[number] = request
                elif "refuse" in request.prompt:
                    self._finished.append((number, RequestFailedError("refused", "no")))
                else:
                    self._finished.append((number, Answer(request.prompt.upper(), "stop")))
            self.most_kept = max(self.most_kept, len(self.kept))
            self._changed.wait_for(lambda: self._finished or self.left, min(wait_s, 1.0))
            finished, self._finished = self._finished, []
            return Exchanged(finished, self.room, self.record)

    def release(self) -> None:
        with self._changed:
            self._finished += [(n, Answer(request.prompt.upper(), "stop")) for n, request in self.kept.items()]
            self.kept = {}
            self._changed.notify_all()

    def leave(self, client: str) -> None:
        with self._changed:
            self.left.append(client)
            self._changed.notify_all()


@pytest.fixture
def engines(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., LeasedEngine]]:
    monkeypatch.setattr(leased, "PAUSE_S", 0.05)
    monkeypatch.setattr(leased, "LOOK_S", 0.05)
    made: list[LeasedEngine] = []

    def engine(*processes: Mortal, **limits: Any) -> LeasedEngine:
        made.append(LeasedEngine(processes, **limits))
        return made[-1]

    yield engine
    for each in made:
        each.close()


def mortal_desk(**options: Any) -> Mortal:
    """A desk that a request can kill, with the process that it is in."""
    process: Mortal

    def make() -> Desk:
        desk = Desk(**options)
        desk.process = process if made else None
        made.append(desk)
        return desk

    made: list[Desk] = []
    process = Mortal(make)
    process.held.process = process
    return process


def test_a_request_is_answered_while_another_one_waits(engines) -> None:
    process = Mortal(Desk)
    engine = engines(process)
    with ThreadPoolExecutor(1) as pool:
        slow = pool.submit(engine.ask, Request("wait", 1))
        await_that(lambda: bool(process.held.kept))
        began = time.monotonic()
        assert engine.ask(Request("text", 1)) == Answer("TEXT", "stop")
        assert time.monotonic() - began < 0.5  # not only when the call that waits for answers returns
        process.held.release()
        assert slow.result().text == "WAIT"


def test_a_refused_request_fails_alone(engines) -> None:
    engine = engines(Mortal(Desk))
    with pytest.raises(RequestFailedError, match="no"):
        engine.ask(Request("refuse", 1))
    assert engine.ask(Request("text", 1)).text == "TEXT"


def test_requests_go_to_the_process_with_the_least_to_do_and_never_more_than_it_wants(engines) -> None:
    small, large = Mortal(lambda: Desk(room=2)), Mortal(lambda: Desk(room=6))
    engine = engines(small, large, first_room=1)
    with ThreadPoolExecutor(20) as pool:
        asked = [pool.submit(engine.ask, Request(f"wait {n}", 1)) for n in range(20)]
        await_that(lambda: (len(small.held.kept), len(large.held.kept)) == (2, 6))
        assert engine.most_at_once == 8
        while not all(one.done() for one in asked):
            small.held.release()
            large.held.release()
            time.sleep(0.01)
    assert Counter(small.held.asked + large.held.asked) == Counter(f"wait {n}" for n in range(20))
    assert (small.held.most_kept, large.held.most_kept) == (2, 6)


def test_a_request_asked_a_second_time_goes_to_another_process(engines) -> None:
    first, second = Mortal(lambda: Desk(room=100)), Mortal(lambda: Desk(room=2))
    engine = engines(first, second, first_room=1)
    request = Request("wait", 1)
    with ThreadPoolExecutor(3) as pool:
        pool.submit(engine.ask, request)
        await_that(lambda: len(first.held.kept) == 1)
        pool.submit(engine.ask, Request("wait, too", 1))
        await_that(lambda: len(second.held.kept) == 1)
        await_that(lambda: engine.most_at_once == 102)  # the second has half of what it wants, the first a hundredth
        pool.submit(engine.ask, request)
        await_that(lambda: len(second.held.kept) == 2)
        assert next(iter(first.held.kept.values())) is list(second.held.kept.values())[1]
        first.held.release()
        second.held.release()


def test_what_a_dead_process_had_goes_to_the_others(engines) -> None:
    dying, other = Mortal(Desk), Mortal(Desk)
    engine = engines(dying, other, first_room=8)
    with ThreadPoolExecutor(8) as pool:
        asked = [pool.submit(engine.ask, Request(f"wait {n}", 1)) for n in range(8)]
        await_that(lambda: len(dying.held.kept) + len(other.held.kept) == 8)
        dying.is_down = True
        dying.held.leave("wake the call that waits")
        await_that(lambda: len(other.held.kept) == 8)
        other.held.release()
        assert sorted(one.result().text for one in asked) == [f"WAIT {n}" for n in range(8)]


def test_the_only_process_is_waited_for(engines) -> None:
    process = Mortal(Desk)
    process.is_down = True
    engine = engines(process)
    with ThreadPoolExecutor(1) as pool:
        asked = pool.submit(engine.ask, Request("text", 1))
        time.sleep(0.3)
        assert not asked.done()
        process.is_down = False
        assert asked.result(10).text == "TEXT"


def test_a_process_that_comes_back_knows_nothing_of_what_it_had(engines) -> None:
    process = Mortal(Desk)
    engine = engines(process)
    with ThreadPoolExecutor(1) as pool:
        asked = pool.submit(engine.ask, Request("wait", 1))
        await_that(lambda: len(process.held.kept) == 1)
        process.is_down = True
        process.held.leave("wake the call that waits")
        time.sleep(0.1)
        process.is_down = False
        await_that(lambda: len(process.held.clients) == 2)  # under a new name: the old lease runs out
        await_that(lambda: process.held.asked == ["wait", "wait"])
        process.held.release()
        assert asked.result(10).text == "WAIT"


def test_processes_that_stay_away_end_the_run_in_time(engines) -> None:
    process = Mortal(Desk)
    process.is_down = True
    with pytest.raises(MachineError, match="no process that holds an engine"):
        engines(process, max_outage_s=0.3).ask(Request("text", 1))


def test_a_process_that_cannot_serve_is_left_out_and_the_last_one_ends_the_run(engines) -> None:
    class Broken(Desk):
        def exchange(self, *_: object) -> Exchanged:
            raise MachineError("no memory")

    engine = engines(Mortal(Broken), Mortal(Desk))
    assert [engine.ask(Request("text", 1)).text for _ in range(4)] == ["TEXT"] * 4
    with pytest.raises(MachineError, match="no memory"):
        engines(Mortal(Broken), Mortal(Broken)).ask(Request("text", 1))


def test_a_mistake_of_ours_is_told_to_who_asks(engines) -> None:
    class Wrong(Desk):
        def exchange(self, *_: object) -> Exchanged:
            raise StageError("a mistake")

    with pytest.raises(StageError, match="a mistake"):
        engines(Mortal(Wrong)).ask(Request("text", 1))


def test_a_request_at_which_processes_die_goes_alone_and_is_given_up(engines) -> None:
    process = mortal_desk()
    engine = engines(process)
    with ThreadPoolExecutor(4) as pool:
        deadly = pool.submit(engine.ask, Request("kill", 1))
        others = [pool.submit(engine.ask, Request(f"text {n}", 1)) for n in range(3)]
        assert [one.result(20).text for one in others] == ["TEXT 0", "TEXT 1", "TEXT 2"]
        with pytest.raises(RequestFailedError, match="4 processes died") as caught:
            deadly.result(20)
    assert caught.value.reason == "deadly"
    assert process.deaths == 4


def test_a_suspect_shares_its_process_with_nobody(engines, monkeypatch) -> None:
    monkeypatch.setattr(leased, "DEATHS_OF_A_SUSPECT", 1)
    process = Mortal(Desk)
    engine = engines(process)
    with ThreadPoolExecutor(3) as pool:
        asked = [pool.submit(engine.ask, Request(f"wait {n}", 1)) for n in range(2)]
        await_that(lambda: len(process.held.kept) == 2)
        dead = process.held
        process.held = Desk()
        dead.leave("wake the call that waits")
        await_that(lambda: len(process.held.kept) == 1)
        asked.append(pool.submit(engine.ask, Request("wait 2", 1)))
        time.sleep(0.2)
        assert len(process.held.kept) == 1
        ends = time.monotonic() + 20
        while not all(one.done() for one in asked) and time.monotonic() < ends:
            process.held.release()
            time.sleep(0.01)
        assert process.held.most_kept == 1


def test_closing_gives_up_the_leases_and_tells_who_waits(engines) -> None:
    process = Mortal(Desk)
    engine = engines(process)
    with ThreadPoolExecutor(1) as pool:
        asked = pool.submit(engine.ask, Request("wait", 1))
        await_that(lambda: bool(process.held.kept))
        engine.close()
        with pytest.raises(MachineError, match="closed"):
            asked.result(10)
    assert len(process.held.left) == 1


def test_who_asks_once_all_is_lost_is_told_at_once(engines, monkeypatch) -> None:
    monkeypatch.setattr(leased, "LOOK_S", 60.0)
    engine = engines(Mortal(Desk))
    engine.close()
    began = time.monotonic()
    with pytest.raises(MachineError, match="closed"):
        engine.ask(Request("one", 1))
    assert time.monotonic() - began < 1


def test_every_request_is_answered_exactly_once_while_hosts_and_engines_die(engines, tmp_path, monkeypatch) -> None:
    monkeypatch.syspath_prepend(str(REPOSITORY))
    program = (sys.executable, "-m", "tests.stages.models.vllm.stand_in_worker", str(tmp_path))
    chance = random.Random(0)

    def host() -> VllmHost:
        return VllmHost(VllmOptions("a-model", max_num_seqs=4), program=program, stall_s=5.0)

    processes = [Mortal(host), Mortal(host)]
    engine = engines(*processes, first_room=4)
    try:
        with ThreadPoolExecutor(16) as pool:
            asked = [pool.submit(engine.ask, Request(f"text {n}", chance.randrange(5, 20))) for n in range(120)]
            for process in (processes[0], processes[1], processes[0]):
                done = sum(one.done() for one in asked)
                await_that(lambda done=done: sum(one.done() for one in asked) >= done + 20)
                process.die()
            assert [one.result(60).text for one in asked] == [f"TEXT {n}" for n in range(120)]
    finally:
        for process in processes:
            process.held.close()


def test_what_a_process_lost_between_two_calls_is_asked_for_again(engines) -> None:
    process = Mortal(Desk)
    engine = engines(process)
    with ThreadPoolExecutor(1) as pool:
        asked = pool.submit(engine.ask, Request("wait for it", 1))
        await_that(lambda: len(process.held.kept) == 1)
        with process.held._changed:  # the call that waits comes back empty, and the next meets another desk
            process.held.kept = {}
            process.held.record = "another"
        await_that(lambda: len(process.held.kept) == 1)
        process.held.release()
        assert asked.result(20).text == "WAIT FOR IT"
