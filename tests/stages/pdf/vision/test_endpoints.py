"""How requests are spread over servers."""

import time

import pytest

from pipeline.errors import MachineError
from stages.pdf.vision import endpoints
from stages.pdf.vision.chat import retry_after_s
from stages.pdf.vision.endpoints import FAILURES_TO_BREAK, Endpoint, Endpoints, RunningServer, pause_s


def servers(count: int, most_at_once: int = 16) -> Endpoints:
    return Endpoints([RunningServer(f"http://{n}/v1/") for n in range(count)], most_at_once, 60)


def test_each_request_goes_to_the_server_with_the_fewest_under_way() -> None:
    spread = servers(3)
    turns = [spread.turn() for _ in range(6)]
    spread.answered(turns[1])
    urls = [turn.endpoint.server.url() for turn in (*turns, spread.turn())]
    assert urls == [f"http://{n}/v1" for n in (0, 1, 2, 0, 1, 2, 1)]


def test_a_server_that_has_just_failed_comes_last() -> None:
    spread = servers(2)
    first = spread.turn()
    spread.failed(first, "status 500")
    assert [spread.turn().endpoint.server.url() for _ in range(2)] == ["http://1/v1", "http://1/v1"]


def test_an_outage_lasts_from_the_first_failure_until_an_answer() -> None:
    spread = Endpoints([RunningServer("http://a/v1")], 16, max_outage_s=0.05)
    spread.failed(spread.turn(), "status 500")
    time.sleep(0.06)
    spread.answered(spread.turn())
    spread.failed(spread.turn(), "status 500")
    turn = spread.turn()
    time.sleep(0.06)
    with pytest.raises(MachineError, match=r"has answered for 0 s \(status 502\)"):
        spread.failed(turn, "status 502")


def test_time_in_which_nobody_asks_is_no_outage(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(endpoints, "LONGEST_PAUSE_S", 0.01)
    spread = Endpoints([RunningServer("http://a/v1")], 16, max_outage_s=0.05)
    spread.failed(spread.turn(), "status 500 for the last picture of a batch")
    time.sleep(0.1)
    spread.failed(spread.turn(), "a reset connection, of the next batch")


def test_a_complaint_halves_the_limit_and_answers_raise_it_again() -> None:
    endpoint = Endpoint(RunningServer("http://a/v1"), 16)
    endpoint.is_busy(asked_at=1.0, now=2.0, wait_s=0)
    assert endpoint.limit == 8
    for _ in range(9):
        endpoint.answered()
    assert 8.9 < endpoint.limit < 9.1
    for _ in range(200):
        endpoint.answered()
    assert endpoint.limit == 16


def test_complaints_about_requests_sent_before_the_first_one_count_once() -> None:
    endpoint = Endpoint(RunningServer("http://a/v1"), 16)
    for asked_at in (1.0, 1.1, 1.2, 1.9):
        endpoint.is_busy(asked_at, now=2.0, wait_s=0)
    assert endpoint.limit == 8
    endpoint.is_busy(asked_at=2.1, now=3.0, wait_s=0)
    assert endpoint.limit == 4


def test_a_server_always_may_get_one_request() -> None:
    endpoint = Endpoint(RunningServer("http://a/v1"), 2)
    for n in range(9):
        endpoint.is_busy(asked_at=n, now=n, wait_s=0)
    assert endpoint.may_take(10)


def test_a_server_that_fails_again_and_again_is_left_alone_then_tried_with_one_request(monkeypatch) -> None:
    monkeypatch.setattr(endpoints, "FIRST_PAUSE_S", 1.0)
    endpoint = Endpoint(RunningServer("http://a/v1"), 16)
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
    endpoint = Endpoint(RunningServer("http://a/v1"), 64)
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


@pytest.mark.parametrize(
    ("value", "seconds"),
    [("0", 0), ("7", 7), ("", 0), ("soon", 0), ("-1", 0), ("²", 0), ("Wed, 21 Oct 2015 07:28:00 GMT", 0)],
)
def test_a_server_says_how_long_to_wait(value: str, seconds: float) -> None:
    assert retry_after_s(value) == seconds


def test_it_may_say_so_by_a_date() -> None:
    assert retry_after_s("Fri, 31 Dec 2999 23:59:59 GMT") > 1e9
