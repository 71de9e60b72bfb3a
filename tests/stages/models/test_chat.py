"""The client of chat servers: what it asks, what it asks again, what it gives up on, and what it tells."""

import base64
import threading
import time
from collections import Counter
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor

import pytest

from pipeline.errors import MachineError
from stages.models import chat, connections
from stages.models.chat import ChatEngine, retry_after_s
from stages.models.engine import Answer, Request, RequestFailedError
from tests.chat_server import ENDLESS, MALFORMED, PASSING_FAULTS, WRONG_MODEL, ChatServer, Reply, completion
from tests.chat_server import Request as Received
from tests.stages.models.conftest import EngineOf, Serve


def says(text: str) -> Reply:
    return completion(text)


def request(n: int = 0) -> Request:
    return Request(f"prompt {n}", 100)


def number(received: Received) -> int | None:
    """Number of the request; None for one of the engine's own."""
    words = received.prompt.split()
    return int(words[1]) if words[0] == "prompt" else None


def numbers(server: ChatServer[Received]) -> list[int]:
    return sorted(n for n in map(number, server.requests) if n is not None)


def outcome(engine: ChatEngine, asked: Request) -> str:
    try:
        return engine.ask(asked).text
    except RequestFailedError as error:
        return f"{error.reason}: {error.evidence}"


def outcomes(engine: ChatEngine, asked: Iterable[Request], threads: int = 8) -> list[str]:
    with ThreadPoolExecutor(threads) as pool:
        return list(pool.map(lambda one: outcome(engine, one), asked))


def test_a_request_is_a_chat_completion_with_the_key_of_the_environment(serve: Serve, engine_of, monkeypatch) -> None:
    monkeypatch.setenv("TEST_KEY", "secret\n")  # as files of secrets end
    server = serve(lambda request, before: completion("an answer", prompt_tokens=12, completion_tokens=34))
    engine = engine_of(server.url + "/", api_key_variable="TEST_KEY", extra_body={"top_k": 3})
    assert engine.ask(Request("Repair this: täglich", 100, 0.7, 0.9, 11)) == Answer("an answer", "stop", 12, 34)
    (received,) = server.requests
    assert received.headers["Authorization"] == "Bearer secret"
    assert received.body == {
        "model": "small",
        "messages": [{"role": "user", "content": "Repair this: täglich"}],
        "max_tokens": 100,
        "temperature": 0.7,
        "top_p": 0.9,
        "seed": 11,
        "top_k": 3,
    }


def test_a_picture_is_shown_before_the_prompt(serve: Serve, engine_of) -> None:
    server = serve(lambda request, before: says("a page"))
    engine_of(server.url).ask(Request("Read it.", 10, image_png=b"\x89PNG"))
    (received,) = server.requests
    url = "data:image/png;base64," + base64.b64encode(b"\x89PNG").decode()
    (message,) = received.body["messages"]
    assert message["content"] == [
        {"type": "image_url", "image_url": {"url": url}},
        {"type": "text", "text": "Read it."},
    ]
    assert "seed" not in received.body


@pytest.mark.parametrize("usage", [b"", b', "usage": null', b', "usage": {"prompt_tokens": "many"}', b', "usage": [1]'])
def test_a_server_need_not_count_tokens(serve: Serve, engine_of, usage: bytes) -> None:
    body = b'{"choices": [{"message": {"content": null}, "finish_reason": "content_filter"}]' + usage + b"}"
    assert engine_of(serve(lambda request, before: Reply(body=body)).url).ask(request()) == Answer("", "content_filter")


@pytest.mark.parametrize("fault", PASSING_FAULTS.values(), ids=PASSING_FAULTS)
def test_what_may_pass_is_asked_again(serve: Serve, engine_of, fault: Reply) -> None:
    server = serve(lambda request, before: fault if before < 2 else says("at last"))
    assert engine_of(server.url, timeout_s=0.25).ask(request()).text == "at last"
    assert numbers(server) == [0, 0, 0]


@pytest.mark.parametrize("fault", [Reply(500), Reply(resets=True), MALFORMED, ENDLESS], ids=str)
def test_a_request_that_never_gets_an_answer_is_unavailable_where_others_get_one(serve, engine_of, fault) -> None:
    server = serve(lambda request, before: fault if number(request) == 3 else says("text"))
    found = outcomes(engine_of(server.url, timeout_s=0.2), map(request, range(5)))
    assert Counter(words[:28] for words in found) == {"text": 4, "unavailable: no answer in 4 ": 1}
    assert found[3].startswith("unavailable")
    assert numbers(server).count(3) == chat.MAX_FAILURES


@pytest.mark.parametrize("status", [400, 413, 422])
def test_a_request_that_the_server_refuses_fails_at_once_with_its_words(serve, engine_of, status: int) -> None:
    server = serve(lambda request, before: Reply(status, b"too long") if number(request) == 3 else says("text"))
    found = outcomes(engine_of(server.url), map(request, range(5)))
    assert found == ["text"] * 3 + [f"refused: status {status}: too long", "text"]
    assert numbers(server).count(3) == 1


@pytest.mark.parametrize(("image_png", "remedy"), [(b"", "what kind of model"), (b"\x89PNG", "reads pictures")])
def test_a_server_that_refuses_whatever_it_is_asked_ends_the_run(serve, engine_of, image_png, remedy) -> None:
    server = serve(lambda request, before: Reply(400, b"base models take no chats"))
    with pytest.raises(MachineError, match=rf"small refuses whatever .* status 400: base models .*{remedy}"):
        engine_of(server.url).ask(Request("prompt 0", 10, image_png=image_png))
    assert [bool(received.image_png) for received in server.requests] == [bool(image_png)] * 2


def test_a_first_request_that_is_refused_does_not_end_the_run_if_the_server_answers_others(serve, engine_of) -> None:
    server = serve(lambda request, before: Reply(400, b"too long") if number(request) == 0 else says("yes"))
    engine = engine_of(server.url)
    assert outcome(engine, request(0)) == "refused: status 400: too long"
    assert server.requests[1].body["max_tokens"] == chat.PROBE_TOKENS


@pytest.mark.parametrize(
    ("reply", "remedy"),
    [
        (Reply(401, b"not you"), "the key"),
        (Reply(403, b"not you"), "the key"),
        (Reply(404, b"not here"), r"the option 'model' .*/v1/models"),
        (WRONG_MODEL, r"does not exist.*the option 'model' .*/v1/models"),
        (Reply(400, b'{"error": {"message": "The model `small` does not exist"}}'), r"the option 'model' .*/v1/models"),
        (Reply(400, b'{"error": {"code": "model_not_found"}}'), r"the option 'model' .*/v1/models"),
    ],
    ids=str,
)
def test_a_wrong_key_or_name_ends_the_run_at_once(serve: Serve, engine_of, reply: Reply, remedy: str) -> None:
    server = serve(lambda request, before: reply)
    with pytest.raises(MachineError, match=rf"{server.url}.*status {reply.status} for the model small: .*{remedy}"):
        engine_of(server.url).ask(request())
    assert len(server.requests) == 1


@pytest.mark.parametrize("fault", [Reply(500), Reply(429), Reply(resets=True)], ids=["500", "429", "reset"])
def test_a_server_that_is_down_for_good_ends_the_run_and_says_what_to_do(serve, engine_of, fault: Reply) -> None:
    server = serve(lambda request, before: fault)
    with pytest.raises(MachineError, match=r"no server of the model small has answered for .* the same command again"):
        engine_of(server.url, max_outage_s=0.3).ask(request())


def test_a_server_that_is_not_there_is_waited_for_and_found_again(serve: Serve, engine_of) -> None:
    gone = serve(lambda request, before: says("text"))
    gone.close()
    engine = engine_of(gone.url, max_outage_s=0.3)
    with pytest.raises(MachineError, match=r"no server .*ConnectionRefusedError"):
        engine.ask(request())
    port = int(gone.url.split(":")[2].split("/")[0])
    with ChatServer(lambda request, before: says("text"), port):
        time.sleep(0.6)  # the longest pause that it may have been given by now
        assert engine.ask(request()).text == "text"


def test_a_request_is_not_blamed_for_a_server_that_was_down(serve: Serve, engine_of) -> None:
    # a gateway that answers 502 for the server behind it
    server = serve(lambda request, before: Reply(502) if len(server.requests) <= 9 else says("text"))
    assert engine_of(server.url).ask(request()).text == "text"
    assert numbers(server) == [0, 0, 0]


def test_requests_on_their_way_beside_one_that_brings_the_server_down_are_answered(serve: Serve, engine_of) -> None:
    down_until = 0.0

    def reply(received: Received, before: int) -> Reply:
        nonlocal down_until
        if number(received) == 3:
            time.sleep(0.02)
            down_until = time.monotonic() + 0.05
        else:
            time.sleep(0.04)
        return Reply(resets=True) if time.monotonic() < down_until else says("text")

    found = outcomes(engine_of(serve(reply).url, most_at_once=8), map(request, range(8)))
    assert [n for n, words in enumerate(found) if words != "text"] == [3]


def test_requests_that_may_be_the_cause_are_made_one_after_another(serve: Serve, engine_of) -> None:
    at_once: list[int] = []
    lock = threading.Lock()
    suspects = 0

    def reply(received: Received, before: int) -> Reply:
        nonlocal suspects
        if number(received) is None:
            return says("text")
        if before < chat.FAILURES_OF_A_SUSPECT:
            return Reply(500)
        with lock:
            suspects += 1
            at_once.append(suspects)
        time.sleep(0.02)
        with lock:
            suspects -= 1
        return says("text")

    outcomes(engine_of(serve(reply).url, most_at_once=8), map(request, range(8)))
    assert at_once == [1] * 8


def test_an_answer_of_any_length_is_not_read(serve: Serve, engine_of, monkeypatch) -> None:
    monkeypatch.setattr(connections, "MAX_BODY_BYTES", 10_000)
    server = serve(lambda request, before: says("word " * 3000 if number(request) == 1 else "text"))
    text, failed = outcomes(engine_of(server.url), map(request, range(2)))
    assert (text, failed.endswith("the answer has more than 10000 bytes")) == ("text", True)


def test_more_failures_than_answers_end_the_run_beyond_the_first_hundred(serve: Serve, engine_of) -> None:
    server = serve(lambda request, before: Reply(400, b"too long") if (number(request) or 0) >= 60 else says("text"))
    engine = engine_of(server.url)
    found = outcomes(engine, map(request, range(160)))
    assert found.count("refused: status 400: too long") == 100
    with pytest.raises(MachineError, match=r"small has left 101 requests without an answer and answered 60.*too long"):
        engine.ask(request(160))


def test_a_gone_server_costs_no_request(serve: Serve, engine_of) -> None:
    gone = serve(lambda request, before: says("text"))
    gone.close()
    good = serve(lambda request, before: completion("text", delay_s=0.01))
    assert outcomes(engine_of(gone.url, good.url, most_at_once=2), map(request, range(40))) == ["text"] * 40
    assert len(good.requests) == 40  # none of them to see whether a request is to blame


def test_several_servers_share_the_requests_and_one_that_is_down_gets_few(serve: Serve, engine_of) -> None:
    def slow(received: Received, before: int) -> Reply:
        return completion("text", delay_s=0.02)

    good, other, broken = serve(slow), serve(slow), serve(lambda request, before: Reply(500))
    assert outcomes(engine_of(good.url, other.url, broken.url), map(request, range(60))) == ["text"] * 60
    assert min(len(good.requests), len(other.requests)) >= 20
    assert len(broken.requests) <= 15


def test_a_request_asked_twice_at_once_goes_to_another_server(serve: Serve, engine_of) -> None:
    servers = [serve(lambda request, before: completion("text", delay_s=0.2)) for _ in range(2)]
    asked = request()
    for _ in range(3):
        assert outcomes(engine_of(*(server.url for server in servers)), [asked, asked], threads=2) == ["text"] * 2
    assert [len(server.requests) for server in servers] == [3, 3]


def test_concurrency_is_bounded_and_used(serve: Serve, engine_of) -> None:
    server = serve(lambda request, before: completion("text", delay_s=0.02))
    outcomes(engine_of(server.url, most_at_once=6), map(request, range(40)), threads=12)
    assert server.most_at_once == 6


def test_hundreds_of_requests_are_under_way_at_once(serve: Serve, engine_of) -> None:
    server = serve(lambda request, before: completion("text", delay_s=0.6))
    engine = engine_of(server.url, most_at_once=300, first_limit=300)
    assert outcomes(engine, map(request, range(300)), threads=300) == ["text"] * 300
    assert server.most_at_once == 300


def test_a_server_that_does_well_gets_more_requests_and_one_that_does_not_keeps_fewer(serve: Serve, engine_of) -> None:
    """The server's time explodes beyond 24 requests at once."""

    def reply(received: Received, before: int) -> Reply:
        at_once.append(server.at_once)
        return completion("word " * 20, delay_s=0.1 if server.at_once <= 24 else 1.0)

    at_once: list[int] = []
    server = serve(reply)
    outcomes(engine_of(server.url, most_at_once=64), map(request, range(500)), threads=64)
    assert max(at_once) > 24  # it was tried
    assert 8 <= sum(at_once[-200:]) / 200 <= 28


@pytest.mark.slow
def test_requests_that_run_out_of_time_together_mean_fewer_at_once(serve: Serve, engine_of) -> None:
    def reply(received: Received, before: int) -> Reply:
        at_once.append(server.at_once)
        return completion("text", delay_s=0.05 if server.at_once <= 8 else 1.0)

    at_once: list[int] = []
    server = serve(reply)
    outcomes(engine_of(server.url, most_at_once=32, first_limit=32, timeout_s=0.5), map(request, range(150)), 32)
    assert sum(at_once[-50:]) / 50 <= 16


def test_a_server_that_says_when_is_left_alone_until_then(serve: Serve, engine_of) -> None:
    def reply(received: Received, before: int) -> Reply:
        return Reply(429, headers={"Retry-After": "1"}) if len(server.requests) == 1 else says("text")

    server = serve(reply)
    engine_of(server.url).ask(request())
    first, second = (received.at_s for received in server.requests)
    assert second - first >= 1


def test_the_password_of_a_server_is_sent_and_not_told(serve: Serve, engine_of) -> None:
    server = serve(lambda request, before: Reply(403, b"not you"))
    with pytest.raises(MachineError) as raised:
        engine_of(server.url.replace("http://", "http://user:s3cret@")).ask(request())
    assert "s3cret" not in str(raised.value)
    assert "status 403" in str(raised.value)
    assert server.requests[0].headers["Authorization"] == "Basic " + base64.b64encode(b"user:s3cret").decode()


@pytest.mark.parametrize("url", ["http://", "http://a:b/v1", "http://[::1/v1", "http://a b/v1", "ftp://a/v1"])
def test_what_is_no_url_is_told(engine_of, url: str) -> None:
    with pytest.raises(MachineError, match="not the URL of a server"):
        engine_of(url).ask(request())


@pytest.mark.parametrize(
    ("value", "seconds"),
    [("0", 0), ("7", 7), ("", 0), ("soon", 0), ("-1", 0), ("²", 0), ("Wed, 21 Oct 2015 07:28:00 GMT", 0)],
)
def test_a_server_says_how_long_to_wait(value: str, seconds: float) -> None:
    assert retry_after_s(value) == seconds


def test_it_may_say_so_by_a_date() -> None:
    assert retry_after_s("Fri, 31 Dec 2999 23:59:59 GMT") > 1e9


def test_each_server_may_have_as_many_requests(engine_of: EngineOf) -> None:
    assert engine_of("http://a/v1", "http://b/v1", most_at_once=5).most_at_once == 10


def test_a_key_with_a_line_break_is_refused_and_never_shown(engine_of, monkeypatch) -> None:
    monkeypatch.setenv("TEST_KEY", "secret-1\nsecret-2")
    with pytest.raises(MachineError, match="TEST_KEY") as error:
        engine_of("http://127.0.0.1:9/v1", api_key_variable="TEST_KEY")
    assert "secret" not in str(error.value)
