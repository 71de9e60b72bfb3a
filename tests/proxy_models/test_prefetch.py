"""Reading ahead changes when a value is made, and nothing else."""

import threading
import time
from collections.abc import Iterator

import pytest

from proxy_models.prefetch import Prefetched


def test_values_come_in_their_order() -> None:
    with Prefetched(range(100), ahead=3) as values:
        assert list(values) == list(range(100))
        assert list(values) == []


def test_no_more_are_made_than_it_may_be_ahead() -> None:
    made = []

    def values() -> Iterator[int]:
        for value in range(100):
            made.append(value)
            yield value

    with Prefetched(values(), ahead=3) as ahead:
        assert next(ahead) == 0
        deadline = time.monotonic() + 5
        while len(made) < 4 and time.monotonic() < deadline:
            time.sleep(0.001)
        time.sleep(0.05)
        assert made == [0, 1, 2, 3]


def test_an_error_comes_where_its_value_would_have_come() -> None:
    def values() -> Iterator[int]:
        yield 1
        yield 2
        raise OSError("a shard went away")

    with Prefetched(values(), ahead=5) as ahead:
        assert [next(ahead), next(ahead)] == [1, 2]
        with pytest.raises(OSError, match="a shard went away"):
            next(ahead)
        assert list(ahead) == []


@pytest.mark.parametrize("read", [0, 2, 5])
def test_leaving_the_block_ends_the_thread(read: int) -> None:
    before = threading.active_count()
    with Prefetched(iter(int, 1), ahead=2) as ahead:  # without end
        for _ in range(read):
            next(ahead)
    assert threading.active_count() == before
    assert list(ahead) == []


def test_the_reader_does_not_wait_for_what_is_ready() -> None:
    def values() -> Iterator[int]:
        for value in range(5):
            time.sleep(0.02)
            yield value

    with Prefetched(values(), ahead=5) as ahead:
        time.sleep(0.5)
        assert list(ahead) == [0, 1, 2, 3, 4]
        assert ahead.waited_s < 0.02
    with Prefetched(values(), ahead=5) as ahead:
        assert list(ahead) == [0, 1, 2, 3, 4]
        assert ahead.waited_s > 0.05


def test_zero_ahead_is_refused() -> None:
    with pytest.raises(ValueError, match="cannot be 0 values ahead"):
        Prefetched([], ahead=0)
