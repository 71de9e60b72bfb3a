"""The client of chat servers: what it asks again, what it gives up on, and what it tells."""

import socket
import time

import pytest

from pipeline.errors import MachineError
from stages.rephrase import endpoint
from stages.rephrase.endpoint import Answer, Endpoint, RequestRefusedError
from tests.stages.rephrase.chat_server import Reply, completion

PROMPT = "Repair this.\n\nfence\ntext\nfence"


def ask(url: str, timeout_s: float = 10) -> Answer:
    return Endpoint(url, "NO_SUCH_KEY", timeout_s).chat("small", PROMPT, 100, 0.7)


def test_a_request_is_a_chat_completion_with_the_key_of_the_environment(serve_in_turn, monkeypatch) -> None:
    monkeypatch.setenv("TEST_KEY", "secret")
    server = serve_in_turn(completion("an answer"))
    answer = Endpoint(server.url + "/", "TEST_KEY", 10).chat("small", PROMPT, 100, 0.7)
    assert answer == Answer("an answer", "stop")
    (request,) = server.requests
    assert request.headers["Authorization"] == "Bearer secret"
    assert request.body == {
        "model": "small",
        "messages": [{"role": "user", "content": PROMPT}],
        "max_tokens": 100,
        "temperature": 0.7,
    }


@pytest.mark.parametrize(
    "fault",
    [
        Reply(500, b"CUDA error"),
        Reply(503, b"loading the model"),
        Reply(502, b"<html>bad gateway</html>"),
        Reply(429, b"slow down"),
        Reply(408, b"took too long"),
        Reply(resets=True),
        Reply(200, b"not gzip", {"Content-Encoding": "gzip"}),
    ],
    ids=["500", "503", "502", "429", "408", "reset", "garbled"],
)
def test_what_may_pass_is_asked_again(serve_in_turn, fault: Reply) -> None:
    server = serve_in_turn(fault, fault, completion("at last"))
    assert ask(server.url).text == "at last"
    assert len(server.requests) == 3


def test_the_server_says_how_long_to_wait(serve_in_turn) -> None:
    server = serve_in_turn(Reply(429, headers={"Retry-After": "1"}), completion("an answer"))
    ask(server.url)
    first, second = (request.at_s for request in server.requests)
    assert second - first >= 1


@pytest.mark.parametrize("value", ["Wed, 21 Oct 2026 07:28:00 GMT", "soon", "-1", "²", ""])
def test_another_form_of_how_long_to_wait_is_the_usual_wait(serve_in_turn, value: str) -> None:
    server = serve_in_turn(Reply(429, headers={"Retry-After": value}), completion("an answer"))
    started = time.monotonic()
    assert ask(server.url).text == "an answer"
    assert time.monotonic() - started < 1


def test_no_server_can_ask_for_a_longer_wait_than_the_limit(serve_in_turn, monkeypatch) -> None:
    monkeypatch.setattr(endpoint, "LONGEST_WAIT_S", 0.05)
    server = serve_in_turn(Reply(429, headers={"Retry-After": "86400"}), completion("an answer"))
    assert ask(server.url).text == "an answer"


@pytest.mark.parametrize("status", [400, 413, 422])
def test_a_refusal_of_this_request_is_told_with_the_servers_words(serve_in_turn, status: int) -> None:
    server = serve_in_turn(Reply(status, b"the prompt is longer than the context"))
    with pytest.raises(RequestRefusedError, match=f"status {status}: the prompt is longer"):
        ask(server.url)
    assert len(server.requests) == 1


@pytest.mark.parametrize(("status", "remedy"), [(401, "key"), (403, "key"), (404, "model")])
def test_a_refusal_of_every_request_is_no_matter_of_one_document(serve_in_turn, status: int, remedy: str) -> None:
    server = serve_in_turn(Reply(status, b"not you"))
    with pytest.raises(MachineError, match=rf"{server.url}.*status {status}: not you.*{remedy}"):
        ask(server.url)
    assert len(server.requests) == 1


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"\xff\xfe",
        b"[]",
        b"{}",
        b'"text"',
        b'{"choices": []}',
        b'{"choices": [{"message": null, "finish_reason": "stop"}]}',
        b'{"choices": [{"message": {"content": ["parts"]}, "finish_reason": "stop"}]}',
        b'{"choices": [{"message": {"content": 7}, "finish_reason": "stop"}]}',
        b'{"error": "out of memory"}',
    ],
)
def test_what_is_no_chat_completion_is_refused(serve_in_turn, body: bytes) -> None:
    with pytest.raises(RequestRefusedError, match="not a chat completion"):
        ask(serve_in_turn(Reply(200, body)).url)


def test_an_answer_without_text_is_empty(serve_in_turn) -> None:
    assert ask(serve_in_turn(completion(None, "content_filter")).url) == Answer("", "content_filter")


def test_a_server_that_does_not_listen_is_named_with_the_remedy() -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{probe.getsockname()[1]}/v1"
    with pytest.raises(MachineError, match=rf"the endpoint {url}/chat/completions did not answer in 6 tries.*See that"):
        ask(url)


def test_a_server_that_always_fails_is_given_up_after_the_tries(serve_in_turn) -> None:
    server = serve_in_turn(*[Reply(500)] * endpoint.MAX_TRIES)
    with pytest.raises(MachineError, match=r"did not answer in 6 tries \(status 500\)"):
        ask(server.url)
    assert len(server.requests) == endpoint.MAX_TRIES


def test_a_server_that_hangs_is_asked_again_after_the_time_limit(serve) -> None:
    def reply(request, before: int) -> Reply:
        if not before:
            time.sleep(0.5)
        return completion(f"answer {before}")

    assert ask(serve(reply).url, timeout_s=0.2).text == "answer 1"


def test_waits_grow_and_differ(serve_in_turn, monkeypatch) -> None:
    slept: list[float] = []
    monkeypatch.setattr(endpoint, "FIRST_WAIT_S", 1.0)
    monkeypatch.setattr(endpoint.time, "sleep", slept.append)
    with pytest.raises(MachineError):
        ask(serve_in_turn(*[Reply(500)] * endpoint.MAX_TRIES).url)
    assert slept[0] == 0
    assert all(2**i / 2 <= wait <= 2**i for i, wait in enumerate(slept[1:]))
    assert len(set(slept)) == endpoint.MAX_TRIES
