"""How requests are spread over servers."""

import time

import pytest

from pipeline.errors import MachineError
from stages.models import endpoints
from stages.models.endpoints import FAILURES_TO_BREAK, Endpoint, Endpoints, RunningServer, pause_s
from stages.models.pace import Pace


def servers(count: int, most_at_once: int = 16) -> Endpoints:
    return Endpoints([RunningServer(f"http://{n}/v1/") for n in range(count)], "m", most_at_once, 60)


def test_each_request_goes_to_the_server_with_the_fewest_under_way() -> None:
    spread = servers(3)
    turns = [spread.turn() for _ in range(6)]
    spread.answered(turns[1], 1)
    urls = [turn.endpoint.server.url() for turn in (*turns, spread.turn())]
    assert urls == [f"http://{n}/v1" for n in (0, 1, 2, 0, 1, 2, 1)]


def test_a_server_that_has_just_failed_comes_last() -> None:
    spread = servers(2)
    first = spread.turn()
    spread.failed(first, "status 500")
    assert [spread.turn().endpoint.server.url() for _ in range(2)] == ["http://1/v1", "http://1/v1"]


def test_a_server_to_avoid_comes_last() -> None:
    spread = servers(2)
    first = spread.turn()
    assert [spread.turn(avoided=first.endpoint).endpoint.server.url() for _ in range(2)] == ["http://1/v1"] * 2


def test_an_outage_lasts_from_the_first_failure_until_an_answer() -> None:
    spread = Endpoints([RunningServer("http://a/v1")], "m", 16, max_outage_s=0.05)
    spread.failed(spread.turn(), "status 500")
    time.sleep(0.06)
    spread.answered(spread.turn(), 1)
    spread.failed(spread.turn(), "status 500")
    turn = spread.turn()
    time.sleep(0.06)
    with pytest.raises(MachineError, match=r"has answered for 0 s \(status 502\)"):
        spread.failed(turn, "status 502")


def test_time_in_which_nobody_asks_is_no_outage(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(endpoints, "LONGEST_PAUSE_S", 0.01)
    spread = Endpoints([RunningServer("http://a/v1")], "m", 16, max_outage_s=0.05)
    spread.failed(spread.turn(), "status 500 for the last picture of a batch")
    time.sleep(0.1)
    spread.failed(spread.turn(), "a reset connection, of the next batch")


def test_a_server_that_fails_again_and_again_is_left_alone_then_tried_with_one_request(monkeypatch) -> None:
    monkeypatch.setattr(endpoints, "FIRST_PAUSE_S", 1.0)
    endpoint = Endpoint(RunningServer("http://a/v1"), Pace(16))
    for _ in range(FAILURES_TO_BREAK - 1):
        endpoint.failed(now=10.0)
    assert endpoint.may_take(10.0)
    endpoint.failed(now=10.0)
    assert not endpoint.may_take(10.4)
    assert endpoint.may_take(11.1)
    endpoint.under_way = 1
    assert not endpoint.may_take(11.1)
    endpoint.answered()
    assert endpoint.may_take(11.1)


def test_requests_that_fail_together_make_one_pause(monkeypatch) -> None:
    monkeypatch.setattr(endpoints, "FIRST_PAUSE_S", 1.0)
    endpoint = Endpoint(RunningServer("http://a/v1"), Pace(64))
    for _ in range(64):
        endpoint.failed(now=10.0)
    assert endpoint.may_take(11.1)
    endpoint.failed(now=11.1)
    assert 11.1 + 1 <= endpoint.paused_until <= 11.1 + 2


def test_pauses_grow_differ_and_have_an_end(monkeypatch) -> None:
    monkeypatch.setattr(endpoints, "FIRST_PAUSE_S", 1.0)
    pauses = [pause_s(tries) for tries in range(40)]
    assert all(2**n / 2 <= pause <= 2**n for n, pause in enumerate(pauses[:6]))
    assert all(30 <= pause <= 60 for pause in pauses[6:])
    assert len(set(pauses)) == 40
