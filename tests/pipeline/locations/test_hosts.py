"""A run is polite to each server, over all its processes."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from email.utils import formatdate
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.locations.hosts import MAX_BACKOFF_S, SUCCESSES_PER_PERMIT, Host, TransientError, backoff_s
from pipeline.locations.location import RemoteError, RemoteOptions
from pipeline.locations.reading import open_file, read_range
from pipeline.locations.transports import fsspec_faults, host_of
from tests.pipeline.locations.conftest import DATA
from tests.servers import Counted, Fault, FaultyServer, Request

REPOSITORY = Path(__file__).resolve().parents[3]
READER = """
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from pipeline.locations.location import RemoteOptions
from pipeline.locations.reading import read_range
url, shared, connections, ranges, threads = *sys.argv[1:3], *map(int, sys.argv[3:])
options = RemoteOptions(connections=connections, backoff_s=0.02, tries=100)
def one(i):
    found = read_range(url, 8 * i, 8, options, Path(shared))
    assert int.from_bytes(found, "big") == i
with ThreadPoolExecutor(threads) as pool:
    list(pool.map(one, range(ranges)))
"""


def reader(
    server: FaultyServer, shared: Path, connections: int, ranges: int, threads: int = 8
) -> subprocess.Popen[bytes]:
    """A process that reads so many ranges of ``large`` and checks them."""
    server.files["large"] = Counted(1 << 30)
    arguments = [f"{server.url}/large", str(shared), *map(str, (connections, ranges, threads))]
    return subprocess.Popen([sys.executable, "-c", READER, *arguments], cwd=REPOSITORY)


def most_at_a_time(server: FaultyServer, shared: Path, options: RemoteOptions, ranges: int) -> int:
    """The most concurrent requests that the server sees while 24 threads read that many ranges."""
    server.requests.clear()
    with ThreadPoolExecutor(24) as threads:
        list(threads.map(lambda i: read_range(f"{server.url}/data.bin", i, 1, options, shared), range(ranges)))
    return max(request.concurrent for request in server.requests)


def test_all_processes_together_hold_no_more_connections_than_allowed(server: FaultyServer, tmp_path: Path) -> None:
    server.pace_s = 0.02
    for process in [reader(server, tmp_path, connections=4, ranges=40) for _ in range(3)]:
        assert process.wait(60) == 0
    assert len(server.requests) == 120
    assert max(request.concurrent for request in server.requests) == 4


def test_processes_find_what_a_server_can_take(server: FaultyServer, tmp_path: Path) -> None:
    server.pace_s, server.capacity = 0.02, 3
    for process in [reader(server, tmp_path, connections=16, ranges=100) for _ in range(2)]:
        assert process.wait(60) == 0
    answers = [request.status for request in server.requests]
    assert answers.count(206) == 200  # each range came, and once
    assert answers[-100:].count(503) < 25  # without a limit, 16 asking a server that takes 3 at a time: most
    assert server.requests[-1].concurrent <= 6


def test_a_complaint_halves_the_limit_and_good_answers_raise_it_again(server: FaultyServer, tmp_path: Path) -> None:
    options = RemoteOptions(connections=8, backoff_s=0.001)
    server.pace_s = 0.1
    assert most_at_a_time(server, tmp_path, options, 24) == 8
    server.faults = [Fault("status", 429, {"Retry-After": "0"})]
    assert most_at_a_time(server, tmp_path, options, 1) == 1
    assert most_at_a_time(server, tmp_path, options, 6) == 4
    assert most_at_a_time(server, tmp_path, options, SUCCESSES_PER_PERMIT) >= 4
    assert most_at_a_time(server, tmp_path, options, 6 * SUCCESSES_PER_PERMIT) == 8
    assert most_at_a_time(server, tmp_path, options, 24) == 8  # and no further


def test_requests_under_way_together_lower_the_limit_once(tmp_path: Path) -> None:
    host = Host("server", RemoteOptions(connections=8, backoff_s=0.001, tries=2), tmp_path)
    together = threading.Barrier(8)
    refused = threading.local()

    def attempt() -> None:
        if not hasattr(refused, "once"):
            refused.once = together.wait(5)
            raise TransientError("503", overloaded=True)

    with ThreadPoolExecutor(8) as threads:
        list(threads.map(lambda _: host.patiently(lambda: "x", attempt), range(8)))
    assert json.loads((tmp_path / "server" / "state.json").read_bytes())["limit"] == 4


def test_the_limit_never_falls_below_one(server: FaultyServer, tmp_path: Path) -> None:
    server.faults = [Fault("status", 503, {"Retry-After": "0"})] * 6
    options = RemoteOptions(connections=8, backoff_s=0.001)
    assert read_range(f"{server.url}/data.bin", 5, 10, options, tmp_path) == DATA[5:15]


@pytest.mark.parametrize("form", ["seconds", "date"])
def test_retry_after_holds_for_everybody(server: FaultyServer, tmp_path: Path, form: str) -> None:
    until = time.time() + (1 if form == "seconds" else 2)
    server.faults = [
        Fault("status", 503, {"Retry-After": "1" if form == "seconds" else formatdate(until, usegmt=True)})
    ]
    options = RemoteOptions(backoff_s=0.001)
    url = f"{server.url}/data.bin"
    first = threading.Thread(target=read_range, args=(url, 0, 10, options, tmp_path))
    first.start()
    time.sleep(0.2)
    assert read_range(url, 10, 10, RemoteOptions(backoff_s=0.002), tmp_path) == DATA[10:20]
    first.join()
    refused, *others = server.requests
    waits = [request.began - refused.began for request in others]
    assert len(waits) == 2
    assert all(0.9 < wait < 3 for wait in waits)


def test_a_server_may_not_keep_a_run_waiting_for_ever(server: FaultyServer, tmp_path: Path) -> None:
    server.faults = [Fault("status", 503, {"Retry-After": "999999"})]
    with pytest.raises(RemoteError, match="503"):
        read_range(f"{server.url}/data.bin", 0, 10, RemoteOptions(tries=1), tmp_path)
    (state,) = tmp_path.glob("*/state.json")
    assert 590 < json.loads(state.read_bytes())["not_before"] - time.time() <= 600


@given(st.integers(0, 1000), st.floats(0.001, 10))
def test_waits_grow_to_a_minute(attempt: int, first_s: float) -> None:
    waits = [backoff_s(attempt, first_s) for _ in range(60)]
    most = min(MAX_BACKOFF_S, first_s * 2.0 ** (attempt - 1)) if attempt < 40 else MAX_BACKOFF_S
    assert all(0 <= wait <= most for wait in waits)
    assert most / 4 < sum(waits) / 60 < most * 3 / 4  # full jitter: uniform


def test_attempts_back_off(server: FaultyServer, tmp_path: Path) -> None:
    server.faults = [Fault("status", 500)] * 7
    read_range(f"{server.url}/data.bin", 0, 10, RemoteOptions(backoff_s=0.02), tmp_path)
    waits = [later.began - earlier.began for earlier, later in zip(server.requests, server.requests[1:], strict=False)]
    assert len(waits) == 7
    assert all(wait < 0.02 * 2**i + 0.2 for i, wait in enumerate(waits))
    assert sum(waits[4:]) > 0.1  # of at most 0.32 + 0.64 + 1.28; below once in 10,000 runs


def test_a_killed_process_frees_its_permits(server: FaultyServer, tmp_path: Path) -> None:
    server.choose = lambda request: Fault("stall", seconds=60) if len(server.requests) == 1 else None
    killed = reader(server, tmp_path, connections=1, ranges=1)
    while not server.requests:
        time.sleep(0.01)
    found: list[bytes] = []
    options = RemoteOptions(connections=1)
    waiting = threading.Thread(
        target=lambda: found.append(read_range(f"{server.url}/data.bin", 0, 9, options, tmp_path))
    )
    waiting.start()
    time.sleep(0.3)
    assert not found
    killed.kill()
    killed.wait()
    waiting.join(5)
    assert found == [DATA[:9]]


def test_an_open_file_that_nobody_reads_holds_no_permit(server: FaultyServer, tmp_path: Path) -> None:
    options = RemoteOptions(connections=1)
    with open_file(f"{server.url}/data.bin", options, tmp_path) as one:
        with open_file(f"{server.url}/data.bin", options, tmp_path) as two:
            assert two.read() == DATA
        assert one.read() == DATA


def test_one_host_does_not_wait_for_another(server: FaultyServer, tmp_path: Path) -> None:
    hosts = [Host(name, RemoteOptions(connections=1), tmp_path) for name in ("one:80", "two/80")]
    assert hosts[0].patiently(str, lambda: hosts[1].patiently(str, lambda: "both")) == "both"


@pytest.mark.parametrize(
    ("location", "endpoint", "host"),
    [
        ("https://user:password@Host:8443/a/b?c", None, "https-host:8443"),
        ("s3://bucket/a/b", None, "bucket.s3.amazonaws.com"),
        ("s3://bucket/a/b", "http://127.0.0.1:9000", "127.0.0.1:9000"),
        ("gs://bucket/a", None, "gs-bucket"),
    ],
)
def test_each_server_is_a_host(location: str, endpoint: str | None, host: str) -> None:
    assert host_of(location, RemoteOptions(endpoint=endpoint)) == host


def test_requests_of_a_forked_child_do_not_use_its_parents_connections(server: FaultyServer, tmp_path: Path) -> None:
    import multiprocessing

    read_range(f"{server.url}/data.bin", 0, 10, RemoteOptions(), tmp_path)
    context = multiprocessing.get_context("fork")
    child = context.Process(target=read_range, args=(f"{server.url}/data.bin", 0, 10, RemoteOptions(), tmp_path))
    child.start()
    child.join(20)
    assert child.exitcode == 0
    ours, childs = (request.connection for request in server.requests)
    assert ours != childs


def test_requests_are_named(server: FaultyServer, tmp_path: Path) -> None:
    read_range(f"{server.url}/data.bin", 0, 10, RemoteOptions(), tmp_path)
    request: Request = server.requests[0]
    assert request.headers["User-Agent"] == "sluice"


class _StatusError(Exception):
    """As the packages of some stores raise."""

    status_code = 429


@pytest.mark.parametrize(
    ("error", "overloaded"),
    [
        (OSError("429 Too Many Requests"), True),
        (OSError("ServerBusy: try later"), True),
        (_StatusError("no words"), True),
        (OSError("connection reset"), False),
        (ValueError("object 4290 is odd"), False),
    ],
)
def test_other_stores_are_heard_when_they_complain(error: Exception, overloaded: bool) -> None:
    with pytest.raises(TransientError) as raised, fsspec_faults("gs://bucket/a"):
        raise error
    assert raised.value.overloaded == overloaded


def test_what_a_machine_whose_clock_is_ahead_has_noted_is_not_waited_for(server: FaultyServer, tmp_path: Path) -> None:
    host = Host("site", RemoteOptions(connections=8), tmp_path)
    ahead = time.time() + 3600
    (tmp_path / "site").mkdir()
    note = {"limit": 4, "successes": 0, "not_before": ahead + 5, "lowered": ahead}
    (tmp_path / "site/state.json").write_text(json.dumps(note))
    began = time.monotonic()
    answers = iter([TransientError("busy", overloaded=True, retry_after_s=0.2), None])

    def attempt() -> str:
        if answer := next(answers):
            raise answer
        return "read"

    assert host.patiently(lambda: "a file", attempt) == "read"
    assert time.monotonic() - began < 30
    state = json.loads((tmp_path / "site/state.json").read_bytes())
    assert state["limit"] == 2  # its complaint was heard though the other clock says it came before the last
    assert state["not_before"] < time.time() + 60
