"""vLLM's server for the owner of an engine, stood in for by a small program that speaks HTTP, hangs and dies."""

import io
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec
from pathlib import Path

import pytest
from PIL import Image

from pipeline.errors import MachineError
from pipeline.services import LocalProcess
from stages.models.engine import Request, RequestFailedError
from stages.models.leased import LeasedEngine
from stages.models.vllm import host as host_module
from stages.models.vllm.host import VllmHost
from stages.models.vllm.server_worker import ServerOptions, server_command, server_host
from tests.stages.models.processes import await_that, is_alive, starts

REPOSITORY = Path(__file__).parents[4]
Engines = Callable[..., LeasedEngine]


def png(width: int, height: int) -> bytes:
    content = io.BytesIO()
    Image.new("L", (width, height)).save(content, "PNG")
    return content.getvalue()


def stand_in(folder: Path) -> tuple[str, ...]:
    return (sys.executable, "-m", "tests.stages.models.vllm.stand_in_server", "--folder", str(folder))


@pytest.fixture
def hosts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., VllmHost]]:
    monkeypatch.setattr(host_module, "START_PAUSE_S", 0.05)
    monkeypatch.syspath_prepend(str(REPOSITORY))
    made: list[VllmHost] = []

    def host(extra_body: dict[str, object] | None = None, **limits: float) -> VllmHost:
        options = ServerOptions("small", max_requests=4, extra_body=extra_body or {}, program=stand_in(tmp_path))
        made.append(server_host(options, **limits))
        return made[-1]

    yield host
    for each in made:
        each.close()


@pytest.fixture
def engines(hosts: Callable[..., VllmHost]) -> Iterator[Engines]:
    made: list[LeasedEngine] = []

    def engine(**options: object) -> LeasedEngine:
        made.append(LeasedEngine([LocalProcess(lambda: hosts(**options))], first_room=7))
        return made[-1]

    yield engine
    for each in made:
        each.close()


def picture(n: int) -> Request:
    return Request(f"page {n}", 10, image_png=png(10 + n, 20))


def said(n: int) -> str:
    return f"PAGE {n} ({10 + n}, 20) None"


def all_texts(engine: LeasedEngine, count: int) -> list[str]:
    with ThreadPoolExecutor(count) as pool:
        return [answer.text for answer in pool.map(engine.ask, map(picture, range(count)))]


def test_the_server_is_started_when_first_needed_and_answers_about_pictures(engines: Engines, tmp_path: Path) -> None:
    engine = engines(extra_body={"top_k": 3})
    assert not (tmp_path / "starts").exists()
    assert engine.ask(picture(1)).text == "PAGE 1 (11, 20) 3"
    assert len(all_texts(engine, 20)) == 20
    assert starts(tmp_path) == 1


@pytest.mark.parametrize("fault", ["dies", "hangs"])
def test_a_server_that_dies_or_hangs_is_started_anew_and_no_request_is_lost(engines: Engines, tmp_path, fault) -> None:
    (tmp_path / fault).touch()
    assert all_texts(engines(stall_s=2.5), 12) == [said(n) for n in range(12)]
    assert starts(tmp_path) == 2


def test_what_may_pass_is_asked_again_of_the_same_server(engines: Engines, tmp_path: Path) -> None:
    (tmp_path / "stumbles").touch()
    assert all_texts(engines(), 8) == [said(n) for n in range(8)]
    assert starts(tmp_path) == 1


def test_a_request_that_the_server_refuses_is_told_with_its_words(engines: Engines, tmp_path: Path) -> None:
    engine = engines()
    engine.ask(picture(1))
    (tmp_path / "strict").touch()
    with pytest.raises(RequestFailedError, match=r"status 400: .*not this one"):
        engine.ask(picture(2))


def test_a_server_that_refuses_more_than_it_answers_ends_the_run(engines: Engines, tmp_path: Path) -> None:
    (tmp_path / "strict").touch()
    engine = engines()
    with ThreadPoolExecutor(4) as pool:
        asked = [pool.submit(engine.ask, picture(1)) for _ in range(110)]
    errors = [found.exception() for found in asked]
    ends = {str(e) for e in errors if isinstance(e, MachineError)}
    # 101 to 104: four are asked at once, and whichever of them is told first ends the run
    assert any(re.search(r"has left 10[1-4] requests without an answer", end) for end in ends), ends
    assert starts(tmp_path) == 1


@pytest.mark.parametrize(
    ("fault", "limits", "message"),
    [
        ("fails", {}, r"ended before it was ready.*\n.*a message of the server\n(?:.*\n)*.*status 3"),
        ("silent", {"start_deadline_s": 1.5}, r"was not ready after 1.5 s"),
        ("blind", {}, r"ended before it was ready(?:.*\n)*.*refuses whatever it is asked.*reads no pictures"),
    ],
)
def test_a_server_that_does_not_get_ready_is_told_with_its_last_words(engines, tmp_path, fault, limits, message):
    (tmp_path / fault).touch()
    with pytest.raises(MachineError, match=message):
        engines(**limits).ask(picture(1))
    assert starts(tmp_path) == 1


def test_closing_the_host_ends_all_that_the_server_has_started(hosts: Callable[..., VllmHost], tmp_path: Path) -> None:
    (tmp_path / "child").touch()
    host = hosts()
    engine = LeasedEngine([LocalProcess(lambda: host)])
    engine.ask(picture(1))
    engine.close()
    child = int((tmp_path / "child").read_text())
    assert is_alive(child)
    host.close()
    await_that(lambda: not is_alive(child))


def test_a_guard_that_would_end_its_starter_too_does_not_begin() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "stages.models.guard", str(os.getpid()), "true"],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
    )
    assert (done.returncode, "leader" in done.stderr) == (1, True)


def test_vllm_that_is_not_installed_is_told_with_its_remedy() -> None:
    if find_spec("vllm"):
        pytest.skip("vLLM is installed here")
    with pytest.raises(MachineError, match=r"pip install 'sluice\[vllm\]'"):
        server_command(ServerOptions("m"), 1)
