import re
from collections.abc import Callable, Iterator

import pytest

from stages.models import endpoints
from tests.chat_server import ChatServer, Reply, Request, completion

FENCE = re.compile(r"^={5}[0-9a-f]{16}={5}$", re.MULTILINE)

PAGES = {
    "mill": (
        "In 1891 the mill by the river Weser ground 3,500 sacks of corn for the town of Hameln. Its owner, Karl "
        "Brandt, had bought two turbines from a workshop in Bremen the year before, because the old wooden wheel broke "
        "every winter when ice came down the river. The turbines paid for themselves within four years. When the "
        "railway reached the town in 1897, flour from the mill was sold as far as Hanover, and Brandt employed "
        "twelve people."
    ),
    "lighthouse": (
        "The lighthouse on the island of Neuwerk is one of the oldest buildings on the German coast. It was built "
        "between 1300 and 1310 as a tower against pirates and became a lighthouse in 1814. Its walls are almost three "
        "metres thick at the base. The light was automated in 1979, and since 2014 it has been out of service because "
        "larger ships no longer need it. Visitors climb 138 steps to the platform."
    ),
}
"""Two pages, and what a sound model makes of them."""

REWRITTEN = {
    "mill": (
        "The mill on the Weser supplied the town of Hameln; in 1891 it ground 3,500 sacks of corn. A year earlier its "
        "owner Karl Brandt had purchased two turbines from a Bremen workshop to replace a wooden wheel that ice broke "
        "each winter. Within four years the turbines had paid for themselves. After the railway arrived in 1897, the "
        "mill sold its flour as far away as Hanover, and Brandt had twelve people in his employ."
    ),
    "lighthouse": (
        "Among the oldest buildings of the German coast is the lighthouse on Neuwerk island. Erected from 1300 to 1310 "
        "to guard against pirates, the tower was turned into a lighthouse in 1814. At the base its walls measure "
        "almost three metres. Automation of the light followed in 1979; because larger ships no longer need it, it "
        "has been out of service since 2014. A climb of 138 steps takes visitors to the platform."
    ),
}

QUESTIONS = {
    "mill": (
        "Question: How many sacks of corn did the mill grind in 1891?\nAnswer: It ground 3,500 sacks of corn.\n\n"
        "Question: Why did Karl Brandt buy two turbines?\n"
        "Answer: Because the old wooden wheel broke every winter when ice came down the river.\n\n"
        "Question: When did the railway reach the town?\nAnswer: The railway reached the town in 1897."
    ),
    "lighthouse": (
        "Question: When was the lighthouse on Neuwerk built?\nAnswer: It was built between 1300 and 1310.\n\n"
        "Question: How thick are its walls at the base?\nAnswer: They are almost three metres thick at the base.\n\n"
        "Question: How many steps do visitors climb?\nAnswer: Visitors climb 138 steps to the platform."
    ),
}


class Asked(Request):
    """A request of the rephrasing stage."""

    @property
    def passage(self) -> str:
        """What stands between the two lines that the page cannot know; empty for a request of another kind."""
        fences = list(FENCE.finditer(self.prompt))
        return self.prompt[fences[-2].end() + 1 : fences[-1].start() - 1] if len(fences) > 1 else ""

    @property
    def page(self) -> str:
        """Name of the page that the passage is, or is part of."""
        return next((name for name, text in PAGES.items() if self.passage and self.passage in text), "")

    @property
    def wants(self) -> str:
        """The style, by the words of the prompt."""
        last = self.prompt.rsplit("\n", 1)[1].lower()
        return "questions" if "question" in last else "clean" if "repaired" in last else "encyclopaedic"


def sound_model(request: Asked, before: int) -> Reply:
    """Repairs what is sound already, rewrites and asks as the tests have it, and says yes to anything else."""
    if not request.passage:
        return completion("yes")
    if request.wants == "clean" or not request.page:
        return completion(request.passage)
    return completion((REWRITTEN if request.wants == "encyclopaedic" else QUESTIONS)[request.page])


Model = Callable[[Asked, int], Reply]
Serve = Callable[[Model], ChatServer[Asked]]


@pytest.fixture
def short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(endpoints, "FIRST_PAUSE_S", 0.01)
    monkeypatch.setattr(endpoints, "LOOK_S", 0.01)


@pytest.fixture
def serve(short_waits: None) -> Iterator[Serve]:
    """Start a server that answers by a function of the request and of how often its prompt came before."""
    servers: list[ChatServer[Asked]] = []

    def start(reply: Model) -> ChatServer[Asked]:
        servers.append(ChatServer(reply, request_type=Asked))
        return servers[-1]

    yield start
    for server in servers:
        server.close()
