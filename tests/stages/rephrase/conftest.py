import itertools
from collections.abc import Callable, Iterator

import pytest

from stages.rephrase import endpoint
from tests.stages.rephrase.chat_server import ChatServer, Reply, Request


@pytest.fixture(autouse=True)
def short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(endpoint, "FIRST_WAIT_S", 0.002)


@pytest.fixture
def serve() -> Iterator[Callable[[Callable[[Request, int], Reply]], ChatServer]]:
    """Start a server that answers by a function of the request and of how often its passage came before."""
    servers: list[ChatServer] = []

    def start(reply: Callable[[Request, int], Reply]) -> ChatServer:
        servers.append(ChatServer(reply))
        return servers[-1]

    yield start
    for server in servers:
        server.close()


@pytest.fixture
def serve_in_turn(serve) -> Callable[..., ChatServer]:
    """Start a server that gives these replies one after another, whatever it is asked."""

    def start(*replies: Reply) -> ChatServer:
        remaining = itertools.chain(replies)
        return serve(lambda request, before: next(remaining))

    return start
