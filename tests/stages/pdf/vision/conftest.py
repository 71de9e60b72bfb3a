from collections.abc import Callable, Iterator

import pytest

from stages.models import endpoints
from tests.stages.pdf.vision.vision_server import Reply, Request, VisionServer

Serve = Callable[[Callable[[Request, int], Reply]], VisionServer]


@pytest.fixture(autouse=True)
def short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(endpoints, "FIRST_PAUSE_S", 0.01)
    monkeypatch.setattr(endpoints, "LOOK_S", 0.01)


@pytest.fixture
def serve() -> Iterator[Serve]:
    """Start a server that answers by a function of the request and of how often its page was asked about before."""
    servers: list[VisionServer] = []

    def start(reply: Callable[[Request, int], Reply]) -> VisionServer:
        servers.append(VisionServer(reply))
        return servers[-1]

    yield start
    for server in servers:
        server.close()
