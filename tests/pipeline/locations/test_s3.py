"""Objects of an S3 store read like files, signed or anonymous, in good times and bad."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.errors import InputError, MachineError
from pipeline.locations.listing import matching_urls
from pipeline.locations.location import RemoteError, RemoteOptions
from pipeline.locations.reading import open_file, read_range
from tests.pipeline.locations.conftest import DATA
from tests.servers import SLOW_DOWN, Fault, FaultyServer, put_objects


def options(endpoint: str, **more: object) -> RemoteOptions:
    values = {"endpoint": endpoint, "backoff_s": 0.002, "timeout_s": 0.25, "tries": 5} | more
    return RemoteOptions.model_validate(values)


def whole(location: str, options: RemoteOptions) -> bytes:
    with open_file(location, options, None) as file:
        return file.read()


def test_a_public_object_is_read_without_a_signature(s3_front: FaultyServer) -> None:
    assert whole("s3://open-bucket/data.bin", options(s3_front.url, anonymous=True)) == DATA
    assert all("Authorization" not in request.headers for request in s3_front.requests)


@pytest.mark.usefixtures("credentials")
def test_a_private_object_is_read_with_one(s3_front: FaultyServer) -> None:
    assert whole("s3://closed-bucket/data.bin", options(s3_front.url)) == DATA
    assert all("AWS4-HMAC-SHA256" in request.headers["Authorization"] for request in s3_front.requests)


@pytest.mark.usefixtures("credentials")
def test_the_endpoint_may_come_from_the_environment(s3: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", s3)
    assert read_range("s3://closed-bucket/data.bin", 7, 9, RemoteOptions(), None) == DATA[7:16]


def test_what_an_anonymous_reader_may_not_see_is_forbidden(s3: str) -> None:
    with pytest.raises(RemoteError) as caught:
        open_file("s3://closed-bucket/data.bin", options(s3, anonymous=True), None)
    assert caught.value.reason == "forbidden"


def test_missing_credentials_stop_the_run_and_say_what_to_do(s3_front: FaultyServer) -> None:
    with pytest.raises(MachineError, match="anonymous: true"):
        open_file("s3://open-bucket/data.bin", options(s3_front.url, connections=3), None)  # a client of its own
    assert s3_front.requests == []


def test_a_missing_object_is_not_found(s3: str) -> None:
    for location in ("s3://open-bucket/nothing", "s3://no-bucket/data.bin"):
        with pytest.raises(RemoteError) as caught:
            open_file(location, options(s3, anonymous=True), None)
        assert caught.value.reason == "not_found"


def test_an_empty_object_is_empty(s3: str) -> None:
    assert whole("s3://open-bucket/empty", options(s3, anonymous=True)) == b""


@pytest.mark.parametrize(
    "fault",
    [
        Fault("status", 503, body=SLOW_DOWN),
        Fault("status", 500),
        Fault("reset", after=100_000),
        Fault("truncate", after=100_000),
        Fault("stall", after=100_000, seconds=0.5),
    ],
    ids=lambda fault: fault.kind,
)
def test_faults_do_not_change_what_is_read(s3_front: FaultyServer, fault: Fault) -> None:
    s3_front.faults = [None, fault, fault, fault]
    assert whole("s3://open-bucket/data.bin", options(s3_front.url, anonymous=True)) == DATA
    if fault.kind == "truncate":  # what came before the break was kept
        starts = [request.range[0] for request in s3_front.requests if request.range]
        assert starts[1] < starts[2] < starts[3] < starts[4]


def test_slow_down_lowers_the_limit(s3_front: FaultyServer, tmp_path: Path) -> None:
    s3_front.faults = [Fault("status", 400, body=SLOW_DOWN)]
    read_range("s3://open-bucket/data.bin", 7, 9, options(s3_front.url, anonymous=True), tmp_path)
    (state,) = tmp_path.glob("*/state.json")
    assert '"limit": 8' in state.read_text()


def test_attempts_are_counted_in_one_place(s3_front: FaultyServer) -> None:
    s3_front.choose = lambda request: Fault("status", 503, body=SLOW_DOWN)
    with pytest.raises(RemoteError, match="SlowDown") as caught:
        open_file("s3://open-bucket/data.bin", options(s3_front.url, anonymous=True), None)
    assert (caught.value.reason, len(s3_front.requests)) == ("unreachable", 5)


@pytest.mark.usefixtures("credentials")
def test_an_object_overwritten_while_it_is_read_is_an_error(s3: str) -> None:
    put_objects(s3, "other-bucket", {"data.bin": DATA})
    with open_file("s3://other-bucket/data.bin", options(s3), None) as file:
        file.read(10)
        put_objects(s3, "other-bucket", {"data.bin": DATA[::-1]})
        with pytest.raises(RemoteError) as caught:
            file.read()
    assert caught.value.reason == "changed"


@pytest.mark.parametrize(
    ("pattern", "names"),
    [
        ("s3://open-bucket/data.bin", ["data.bin"]),
        ("s3://open-bucket/a/", ["a/b/two.gz", "a/one.gz"]),
        ("s3://open-bucket/a", ["a/b/two.gz", "a/one.gz"]),
        ("s3://open-bucket", ["a/b/two.gz", "a/one.gz"]),
        ("s3://open-bucket/a/*", ["a/one.gz"]),
        ("s3://open-bucket/**/t*", ["a/b/two.gz", "a/b/two.txt"]),
        ("s3://open-bucket/a/**/*.gz", ["a/b/two.gz", "a/one.gz"]),
        ("s3://open-bucket/[de]*t?", ["empty"]),
    ],
)
def test_a_pattern_names_objects_with_their_size_and_version(
    s3: str, monkeypatch: pytest.MonkeyPatch, pattern: str, names: list[str]
) -> None:
    monkeypatch.setenv("MOTO_S3_DEFAULT_MAX_KEYS", "2")  # so that a listing takes several pages
    found = matching_urls(pattern, (".gz",), options(s3, anonymous=True))
    assert [file.name for file in found] == [f"s3://open-bucket/{name}" for name in names]
    assert all(file.location == file.name and file.size_bytes is not None and file.version for file in found)


@pytest.mark.parametrize(
    ("pattern", "message"),
    [
        ("s3://open-bucket/nothing", "no file that ends in .gz matches s3://open-bucket/nothing"),
        ("s3://open-bucket/*.zip", r"no file matches s3://open-bucket/\*.zip"),
        ("s3://no-bucket/*", "404 NoSuchBucket"),
        ("s3://closed-bucket/data.bin", "403 Forbidden"),
    ],
)
def test_a_pattern_that_names_nothing_is_an_error(s3: str, pattern: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        matching_urls(pattern, (".gz",), options(s3, anonymous=True))


def test_a_listing_waits_for_a_busy_store(s3_front: FaultyServer) -> None:
    s3_front.faults = [Fault("status", 503, body=SLOW_DOWN), Fault("reset"), Fault("truncate", after=10)]
    assert len(matching_urls("s3://open-bucket/a/", (), options(s3_front.url, anonymous=True))) == 3
