"""vLLM's server as a process of ours, stood in for by a small program that hangs and dies."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

from pipeline.errors import MachineError
from stages.models import vllm_server
from stages.models.chat import ChatEngine
from stages.models.endpoints import Endpoints
from stages.models.engine import Request
from stages.models.vllm_server import VllmServer, vllm_command

REPOSITORY = Path(__file__).parents[3]
STAND_IN = [sys.executable, "-m", "tests.stages.models.stand_in_server", "--model", "small"]


@pytest.fixture
def started(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., VllmServer]]:
    monkeypatch.setattr(vllm_server, "LOOK_S", 0.1)
    servers: list[VllmServer] = []

    def start(**options: float) -> VllmServer:
        def command(port: int) -> list[str]:
            return [*STAND_IN, "--folder", str(tmp_path), "--port", str(port)]

        servers.append(VllmServer(command, **options))
        return servers[-1]

    yield start
    for server in servers:
        server.stop()


def starts(folder: Path) -> int:
    return int((folder / "starts").read_text())


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def await_death(pid: int) -> None:
    ends = time.monotonic() + 10
    while is_alive(pid):
        assert time.monotonic() < ends, f"process {pid} lives"
        time.sleep(0.02)


def test_it_is_started_when_first_needed_and_stays(started, tmp_path: Path) -> None:
    server = started()
    assert server.pid is None
    url = server.url()
    assert httpx.get(url.replace("/v1", "/health")).status_code == 200
    assert server.url() == url
    assert starts(tmp_path) == 1


def test_a_server_that_ends_at_once_is_told_with_its_last_words(started, tmp_path: Path) -> None:
    (tmp_path / "fails").touch()
    with pytest.raises(MachineError, match=r"ended before it was ready.*\n.*a message of the server\n.*status 3"):
        started().url()


def test_a_server_that_never_gets_ready_is_ended(started, tmp_path: Path) -> None:
    (tmp_path / "silent").touch()
    server = started(start_deadline_s=1.0)
    with pytest.raises(MachineError, match=r"not ready after 1 s"):
        server.url()
    assert not is_alive(server.pid)


def test_stopping_it_ends_all_that_it_has_started(started, tmp_path: Path) -> None:
    (tmp_path / "child").touch()
    server = started()
    server.url()
    guard, child = server.pid, int((tmp_path / "child").read_text())
    assert is_alive(child)
    server.stop()
    await_death(guard)
    await_death(child)


def test_it_ends_with_the_process_that_has_started_it(tmp_path: Path) -> None:
    (tmp_path / "child").touch()
    program = (
        "import time; from stages.models import vllm_server; vllm_server.LOOK_S = 0.1\n"
        f"command = [*{STAND_IN!r}, '--folder', {str(tmp_path)!r}, '--port']\n"
        "server = vllm_server.VllmServer(lambda port: [*command, str(port)])\n"
        "server.url(); print(server.pid, flush=True); time.sleep(600)"
    )
    process = subprocess.Popen([sys.executable, "-c", program], cwd=REPOSITORY, stdout=subprocess.PIPE)
    assert process.stdout
    guard, child = int(process.stdout.readline()), int((tmp_path / "child").read_text())
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    process.stdout.close()
    await_death(child)
    await_death(guard)


def test_a_guard_that_would_end_its_starter_too_does_not_begin() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "stages.models.guard", str(os.getpid()), "true"],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
    )
    assert (done.returncode, "leader" in done.stderr) == (1, True)


@pytest.mark.parametrize("fault", ["dies", "hangs"])
def test_a_server_that_dies_or_hangs_is_started_anew_and_no_request_is_lost(started, short_waits, tmp_path, fault):
    (tmp_path / fault).touch()
    body = {"repetition_detection": {"min_count": 32}}
    server = started(stall_s=1.0)
    engine = ChatEngine([server], "small", most_at_once=4, timeout_s=60, max_outage_s=60, extra_body=body)
    with ThreadPoolExecutor(5) as pool:
        answers = list(pool.map(lambda n: engine.ask(Request(f"prompt {n}", 10)), range(5)))
    assert [answer.text for answer in answers] == ["text"] * 5
    assert starts(tmp_path) == 2


def end(server: VllmServer) -> None:
    assert server.pid
    os.killpg(server.pid, signal.SIGKILL)
    time.sleep(0.05)


def test_a_server_that_ends_again_and_again_without_an_answer_is_given_up(started, monkeypatch) -> None:
    monkeypatch.setattr(vllm_server, "MAX_STARTS_IN_VAIN", 2)
    server = started()
    for _ in range(2):
        endpoints = Endpoints([server], "m", 1, 60)
        endpoints.answered(endpoints.turn(), 1)
        server.url()
        end(server)
    server.url()
    end(server)
    with pytest.raises(MachineError, match=r"ended 2 times without an answer"):
        server.url()


def test_vllm_that_is_not_installed_is_told_with_its_remedy() -> None:
    if vllm_server.importlib.util.find_spec("vllm"):
        pytest.skip("vLLM is installed here")
    with pytest.raises(MachineError, match=r"pip install 'sluice\[vllm\]'"):
        vllm_command("m", ())


def test_a_server_that_cannot_start_is_started_once_however_many_wait_for_it(tmp_path: Path) -> None:
    program = f"open({str(tmp_path / 'starts')!r}, 'a').write('s'); raise SystemExit('no memory')"
    server = VllmServer(lambda port: [sys.executable, "-c", program])
    with ThreadPoolExecutor(8) as pool:
        waiting = [pool.submit(server.url) for _ in range(8)]
    assert {type(found.exception()) for found in waiting} == {MachineError}
    assert (tmp_path / "starts").read_text() == "s"
