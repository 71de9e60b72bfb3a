from collections.abc import Callable, Iterator
from typing import Any

import pytest

from stages.models import endpoints
from stages.models.chat import ChatEngine
from stages.models.endpoints import RunningServer
from tests.chat_server import ChatServer, Reply, Request

Serve = Callable[[Callable[[Request, int], Reply]], ChatServer[Request]]
EngineOf = Callable[..., ChatEngine]


@pytest.fixture
def short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(endpoints, "FIRST_PAUSE_S", 0.01)
    monkeypatch.setattr(endpoints, "LONGEST_PAUSE_S", 0.1)  # many failures in a row are no outage of seconds
    monkeypatch.setattr(endpoints, "LOOK_S", 0.01)


@pytest.fixture
def serve() -> Iterator[Serve]:
    """Start a server that answers by a function of the request and of how often its prompt came before."""
    servers: list[ChatServer[Request]] = []

    def start(reply: Callable[[Request, int], Reply]) -> ChatServer[Request]:
        servers.append(ChatServer(reply))
        return servers[-1]

    yield start
    for server in servers:
        server.close()


@pytest.fixture
def engine_of(short_waits: None) -> Iterator[EngineOf]:
    """An engine behind these URLs, with limits that suit tests."""
    engines: list[ChatEngine] = []

    def made(*urls: str, **options: Any) -> ChatEngine:
        defaults = {"most_at_once": 4, "timeout_s": 5.0, "max_outage_s": 5.0}
        engines.append(ChatEngine([RunningServer(url) for url in urls], "small", **defaults | options))
        return engines[-1]

    yield made
    for engine in engines:
        engine.close()
