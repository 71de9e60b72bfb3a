"""A file on a server reads like the same file on this machine, whatever the server does."""

from __future__ import annotations

import bz2
import errno
import gzip
import io
import os
import pickle
import random
import subprocess
import sys
import tarfile
import time
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipeline.errors import MachineError
from pipeline.locations.location import RemoteError, RemoteOptions, reason_of, shown
from pipeline.locations.reading import local_copy, open_file, read_range
from tests.pipeline.locations.conftest import DATA
from tests.servers import Counted, Fault, FaultyServer, faulty_server

REPOSITORY = Path(__file__).resolve().parents[3]
QUICK = RemoteOptions(backoff_s=0.002, timeout_s=10, tries=5)
IMPATIENT = RemoteOptions(backoff_s=0.002, timeout_s=0.25, tries=5)
FOREVER = 10_000


def whole(url: str, options: RemoteOptions = QUICK) -> bytes:
    with open_file(url, options, None) as file:
        return file.read()


faults = st.one_of(
    st.none(),
    st.builds(Fault, st.just("status"), status=st.sampled_from([429, 500, 502, 503, 504])),
    st.builds(Fault, st.just("status"), headers=st.just({"Retry-After": "0"})),
    st.builds(
        Fault,
        st.sampled_from(["reset", "truncate", "chunked_cut", "overlong", "unframed", "wrong_range", "short_range"]),
        after=st.integers(0, 400_000),
    ),
    st.builds(Fault, st.just("stall"), after=st.integers(0, 400_000), seconds=st.just(0.3)),
    st.just(Fault("ignore_range")),
)


@given(
    script=st.lists(faults, max_size=8),
    moves=st.lists(
        st.tuples(st.sampled_from([0, 1, 2]), st.integers(0, 2_000_000), st.integers(0, 700_000)), max_size=6
    ),
)
@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_reads_and_seeks_under_any_faults_give_the_same_bytes(
    server: FaultyServer, script: list[Fault | None], moves: list[tuple[int, int, int]]
) -> None:
    server.faults = list(script)
    local = io.BytesIO(DATA)
    options = IMPATIENT.model_copy(update={"tries": 20})
    with open_file(f"{server.url}/data.bin", options, None) as file:
        for whence, offset, size in moves:
            offset = {0: offset, 1: offset - 1_000_000, 2: -offset}[whence]
            if {0: 0, 1: local.tell(), 2: len(DATA)}[whence] + offset < 0:
                continue
            assert file.seek(offset, whence) == local.seek(offset, whence)
            assert file.read(size) == local.read(size)
        file.seek(0)
        assert file.read() == DATA


@pytest.mark.parametrize("kind", ["truncate", "stall", "chunked_cut"])
def test_a_request_that_breaks_off_keeps_what_it_brought(server: FaultyServer, kind: Any) -> None:
    server.faults = [Fault(kind, after=100_000, seconds=1), Fault(kind, after=50_000, seconds=1)]
    assert whole(f"{server.url}/data.bin", IMPATIENT) == DATA
    assert [r.range[0] for r in server.requests[:3] if r.range] == [0, 100_000, 150_000]


def test_an_answer_that_breaks_off_behind_its_last_byte_is_whole(server: FaultyServer) -> None:
    server.faults = [Fault("chunked_cut", after=262_144)]
    assert whole(f"{server.url}/data.bin", QUICK.model_copy(update={"tries": 1})) == DATA
    assert len(server.requests) == 2


def test_bytes_beyond_the_range_announced_are_not_taken(server: FaultyServer) -> None:
    server.faults = [Fault("overlong", after=1000)] * 3
    assert whole(f"{server.url}/data.bin") == DATA


def test_a_read_that_fails_does_not_move_the_position(server: FaultyServer) -> None:
    server.faults = [None, *[Fault("status", 500)] * QUICK.tries]
    with open_file(f"{server.url}/data.bin", QUICK, None) as file:
        with pytest.raises(RemoteError):
            file.read(1_000_000)
        assert file.tell() == 0
        assert file.read() == DATA


def test_reading_straight_on_takes_few_requests(server: FaultyServer) -> None:
    with open_file(f"{server.url}/data.bin", QUICK, None) as file:
        while file.read(1000):
            pass
    assert [r.range for r in server.requests] == [(0, 262_144), (262_144, 1_310_720), (1_310_720, 1_500_000)]


def test_no_byte_is_asked_for_twice(server: FaultyServer) -> None:
    assert whole(f"{server.url}/data.bin") == DATA
    ranges = [r.range for r in server.requests]
    assert ranges == [(0, 262_144), (262_144, len(DATA))]


def test_what_brings_bytes_again_and_again_is_not_given_up(server: FaultyServer) -> None:
    server.choose = lambda request: Fault("truncate", after=60_000)
    assert whole(f"{server.url}/data.bin", QUICK.model_copy(update={"tries": 2})) == DATA


@pytest.mark.parametrize(
    "fault",
    [
        Fault("status", 500),
        Fault("status", 503, {"Retry-After": "0"}),
        Fault("reset", after=0),
        Fault("stall", after=0),
        Fault("truncate", after=0),
        Fault("unframed", after=0),
        Fault("wrong_range", after=7),
    ],
    ids=lambda fault: fault.kind,
)
def test_after_the_last_attempt_the_file_is_given_up(server: FaultyServer, fault: Fault) -> None:
    server.faults = [Fault("truncate", after=1000), *[fault] * FOREVER]
    began = time.monotonic()
    with open_file(f"{server.url}/data.bin?signature=secret", IMPATIENT, None) as file:
        assert file.read(1000) == DATA[:1000]
        with pytest.raises(RemoteError) as caught:
            file.read(1)
    assert time.monotonic() - began < 5 * 0.25 + 3
    assert len(server.requests) == 1 + QUICK.tries
    assert caught.value.reason == "unreachable"
    assert f"{server.url}/data.bin at byte 1000: given up after 5 attempts" in str(caught.value)
    assert "secret" not in str(caught.value)


def test_what_arrived_before_a_file_was_given_up_can_be_read(server: FaultyServer) -> None:
    server.choose = lambda request: (
        Fault("truncate", after=700_000) if len(server.requests) <= 2 else Fault("status", 500)
    )
    with open_file(f"{server.url}/data.bin", QUICK, None) as file:
        assert file.read(262_144) == DATA[:262_144]
        assert file.read(700_000) == DATA[262_144:962_144]
        with pytest.raises(RemoteError, match="byte 962144"):
            file.read(1)
        assert file.tell() == 962_144


@pytest.mark.parametrize(
    ("status", "reason"),
    [
        (404, "not_found"),
        (410, "not_found"),
        (401, "forbidden"),
        (403, "forbidden"),
        (400, "unreadable"),
        (204, "unreadable"),
    ],
)
def test_an_answer_that_will_not_change_is_an_error_at_once(server: FaultyServer, status: int, reason: str) -> None:
    server.faults = [Fault("status", status)]
    with pytest.raises(RemoteError) as caught:
        open_file(f"{server.url}/data.bin?signature=secret", QUICK, None)
    assert "secret" not in str(caught.value)
    assert (reason_of(caught.value), len(server.requests)) == (reason, 1)
    assert f"/data.bin: the server answers {status}" in str(caught.value)


@pytest.mark.parametrize("tag", ['"one"', 'W/"one"'])
def test_a_file_that_changes_while_it_is_read_is_an_error(server: FaultyServer, tag: str) -> None:
    server.etags["data.bin"] = '"one"'
    with open_file(f"{server.url}/data.bin", QUICK, None) as file:
        file.read(100)
        server.etags["data.bin"] = tag
        assert file.read(300_000) == DATA[100:300_100]  # a weak tag is the same tag
        server.etags["data.bin"] = '"two"'
        file.seek(10)
        with pytest.raises(RemoteError) as caught:
            file.read(10)
    assert caught.value.reason == "changed"


def test_a_file_that_grows_while_it_is_read_is_an_error(server: FaultyServer) -> None:
    with open_file(f"{server.url}/data.bin", QUICK, None) as file:
        server.files["data.bin"] = DATA + b"more"
        file.seek(1_000_000)
        with pytest.raises(RemoteError, match="changed"):
            file.read(10)


def test_a_server_that_ignores_ranges_is_read_once(server: FaultyServer) -> None:
    server.ranges = False
    with open_file(f"{server.url}/data.bin", QUICK, None) as file:
        assert file.read() == DATA
        file.seek(1234)
        assert file.read(10) == DATA[1234:1244]
        assert file.seek(-10, io.SEEK_END) == len(DATA) - 10
        assert file.read() == DATA[-10:]
    assert len(server.requests) == 1


def test_a_server_that_ignores_ranges_and_breaks_off_is_read_whole(server: FaultyServer) -> None:
    server.ranges = False
    server.choose = lambda request: Fault("truncate", after=400_000 * len(server.requests))
    assert whole(f"{server.url}/data.bin") == DATA
    assert len(server.requests) == 4


def test_a_body_is_taken_as_it_is_stored(server: FaultyServer) -> None:
    server.files["a.gz"] = gzip.compress(DATA)
    server.headers["Content-Encoding"] = "gzip"
    assert gzip.decompress(whole(f"{server.url}/a.gz")) == DATA
    assert server.requests[0].headers["Accept-Encoding"] == "identity"


def test_a_password_in_a_url_is_sent_and_not_shown(server: FaultyServer) -> None:
    url = server.url.replace("://", "://user:secret@")
    with open_file(f"{url}/data.bin", QUICK, None) as file:
        assert file.name == f"{server.url}/data.bin"
    assert server.requests[0].headers["Authorization"] == "Basic dXNlcjpzZWNyZXQ="


def test_redirects_are_followed_but_not_for_ever(server: FaultyServer) -> None:
    server.redirects = {"moved": "/data.bin?signature=secret", "loop": "/loop?signature=secret"}
    assert whole(f"{server.url}/moved") == DATA
    server.requests.clear()
    with pytest.raises(RemoteError) as caught:
        open_file(f"{server.url}/loop", QUICK, None)
    assert caught.value.reason == "unreadable"
    assert "secret" not in str(caught.value)
    assert len(server.requests) < 15


def test_an_empty_file_is_empty(server: FaultyServer) -> None:
    server.files["empty"] = b""
    assert whole(f"{server.url}/empty") == b""


def test_bytes_that_drip_are_waited_for(server: FaultyServer) -> None:
    server.files["slow"] = DATA[:50]
    server.faults = [Fault("drip", after=10, seconds=0.1)]
    assert whole(f"{server.url}/slow", QUICK.model_copy(update={"timeout_s": 0.3})) == DATA[:50]
    assert len(server.requests) == 1


def test_jumping_about_in_a_large_file_costs_little(server: FaultyServer) -> None:
    server.files["large"] = Counted(1 << 40)
    with open_file(f"{server.url}/large", QUICK, None) as file:
        file.seek(1 << 39)
        assert int.from_bytes(file.read(8), "big") == 1 << 36
        file.seek(-8, io.SEEK_END)
        assert int.from_bytes(file.read(), "big") == (1 << 37) - 1
    assert sum(stop - start for start, stop in (r.range for r in server.requests) if stop) < 1 << 20


def test_an_unreachable_server_is_an_error() -> None:
    with faulty_server() as gone:
        url = gone.url
    with pytest.raises(RemoteError, match="Connection refused") as caught:
        open_file(f"{url}/data.bin", QUICK, None)
    assert caught.value.reason == "unreachable"


def test_libraries_read_through_it(server: FaultyServer, tmp_path: Path) -> None:
    table = pa.table({"n": list(range(200_000)), "text": [str(random.random()) for _ in range(200_000)]})
    pq.write_table(table, tmp_path / "t.parquet", row_group_size=50_000)
    with zipfile.ZipFile(tmp_path / "t.zip", "w") as archive, tarfile.open(tmp_path / "t.tar.gz", "w:gz") as tar:
        for name in ("one", "two"):
            archive.writestr(name, DATA)
        tar.add(tmp_path / "t.parquet", "inside")
    (tmp_path / "t.bz2").write_bytes(bz2.compress(DATA[:200_000]) * 2)
    (tmp_path / "t.gz").write_bytes(gzip.compress(DATA) * 2)
    server.files = {path.name: path.read_bytes() for path in tmp_path.iterdir()}

    def opened(name: str) -> Any:
        server.faults = [None, Fault("truncate", after=9999), Fault("status", 503), Fault("reset", after=100_000)]
        return open_file(f"{server.url}/{name}", QUICK, None)

    with opened("t.parquet") as file:
        assert pq.read_table(file, columns=["text"], filters=[("n", "<", 70_000)]).num_rows == 70_000
    with opened("t.zip") as file, zipfile.ZipFile(file) as archive:
        assert archive.read("two") == DATA
    with opened("t.tar.gz") as file, tarfile.open(fileobj=file) as tar:
        assert tar.extractfile("inside").read() == (tmp_path / "t.parquet").read_bytes()  # type: ignore[union-attr]
    with opened("t.bz2") as file, bz2.open(file) as plain:
        assert plain.read() == DATA[:200_000] * 2
    with opened("t.gz") as file, gzip.open(file) as plain:
        assert plain.read() == DATA * 2
    with opened("t.gz") as file:
        assert io.BufferedReader(file).readline() == (tmp_path / "t.gz").read_bytes().split(b"\n")[0] + b"\n"


def test_memory_does_not_grow_with_the_file(server: FaultyServer) -> None:
    server.files["large"] = Counted(300_000_000)
    script = f"""
import tracemalloc
from pipeline.locations.location import RemoteOptions
from pipeline.locations.reading import open_file
with open_file("{server.url}/large", RemoteOptions(), None) as file:
    file.read(1 << 20)
    tracemalloc.start()
    size = 1 << 20
    while chunk := file.read(1 << 20):
        size += len(chunk)
print(size, tracemalloc.get_traced_memory()[1])
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, cwd=REPOSITORY)
    size, peak_bytes = map(int, done.stdout.split())
    assert size == 300_000_000
    assert peak_bytes < 24 << 20  # one window of 16 MiB, with room to grow in, and what is read from it


def test_any_url_that_fsspec_knows_can_be_read() -> None:
    fsspec.filesystem("memory").pipe("/folder/data.bin", DATA)
    with open_file("memory://folder/data.bin", QUICK, None) as file:
        file.seek(-1000, io.SEEK_END)
        assert file.read() == DATA[-1000:]
        file.seek(0)
        assert file.read() == DATA
    with pytest.raises(RemoteError) as caught:
        open_file("memory://folder/nothing", QUICK, None)
    assert caught.value.reason == "not_found"


def test_a_copy_goes_when_it_is_no_longer_needed(server: FaultyServer, tmp_path: Path) -> None:
    with local_copy(f"{server.url}/data.bin?x=.y/z", QUICK, tmp_path) as path:
        assert path.read_bytes() == DATA
        assert path.suffix == ".bin"
    assert not path.exists()
    with local_copy(str(tmp_path), QUICK, None) as path:
        assert path == tmp_path


def test_ranges_come_exactly_and_over_few_connections(server: FaultyServer, tmp_path: Path) -> None:
    (tmp_path / "data.bin").write_bytes(DATA)
    starts = range(0, 1_000_000, 5000)
    for location in (f"{server.url}/data.bin", str(tmp_path / "data.bin")):
        with ThreadPoolExecutor(8) as threads:
            found = list(threads.map(lambda start, at=location: read_range(at, start, 777, QUICK, tmp_path), starts))
        assert found == [DATA[start : start + 777] for start in starts]
    assert len({r.connection for r in server.requests}) <= 8
    assert sorted(r.range for r in server.requests if r.range) == [(start, start + 777) for start in starts]


def test_a_range_beyond_the_end_is_an_error(server: FaultyServer, tmp_path: Path) -> None:
    (tmp_path / "data.bin").write_bytes(DATA)
    for location in (f"{server.url}/data.bin", str(tmp_path / "data.bin")):
        for start in (len(DATA) - 10, len(DATA), len(DATA) + 10):
            with pytest.raises(RemoteError, match="the file ends before byte"):
                read_range(location, start, 20, QUICK, None)


def test_a_range_never_costs_the_whole_file(server: FaultyServer) -> None:
    server.files["large"] = Counted(1 << 40)
    server.ranges = False
    with pytest.raises(RemoteError, match="whole file where a range is asked for"):
        read_range(f"{server.url}/large", 1 << 39, 20, QUICK, None)


def test_errors_cross_processes_whole() -> None:
    error = pickle.loads(pickle.dumps(RemoteError("not_found", "s3://a/b: gone")))
    assert (error.reason, str(error)) == ("not_found", "s3://a/b: gone")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("https://user:password@host:8/x.gz?signature=abc#part", "https://host:8/x.gz"),
        ("https://token@host/x@y", "https://host/x@y"),
        ("ftp://user:password@host/x", "ftp://host/x"),
        ("abfs://container@account.dfs/x", "abfs://container@account.dfs/x"),
        ("s3://bucket/a?/**/b*.gz", "s3://bucket/a?/**/b*.gz"),
        ("zip://a.txt::https://u:p@host/x.zip?sig=1", "zip://a.txt::https://host/x.zip"),
        ("cannot read 'https://host/x?sig=1' nor ftp://a:b@c/d", "cannot read 'https://host/x' nor ftp://c/d"),
    ],
)
def test_secrets_of_urls_are_not_shown(text: str, expected: str) -> None:
    assert shown(text) == expected


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EMFILE, errno.EROFS])
def test_a_fault_of_the_machine_is_no_fault_of_the_file(number):
    """Were it a reason for the ledger, the part would be committed without the file."""
    with pytest.raises(MachineError, match=r"a\.warc: .*give the same command again"):
        reason_of(OSError(number, os.strerror(number), "a.warc"))


def test_what_arrived_before_a_file_is_given_up_comes_before_the_failure(server):
    server.choose = lambda request: Fault("status", 500) if request.range[0] else None
    with open_file(f"{server.url}/data.bin", QUICK, None) as file:
        arrived = file.read1(1 << 20)
        assert arrived == DATA[: len(arrived)]
        assert 0 < len(arrived) < len(DATA)
        with pytest.raises(RemoteError):
            file.read1(1)
