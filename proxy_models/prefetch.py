"""Reads ahead: the next batch is made while the one before it is trained on."""

import queue
import threading
import time
from collections.abc import Iterable, Iterator
from types import TracebackType
from typing import Generic, TypeVar

T = TypeVar("T")


class Prefetched(Generic[T]):
    """What `values` gives, in its order, read by one thread that is at most `ahead` values before the reader.

        with Prefetched(loader.batches()) as batches:
            for batch in batches: ...

    An error in `values` is raised where its value would have come. To leave the block ends the thread: it finishes the
    value that it is at. waited_s: how long the reader has waited for values, in all.
    """

    def __init__(self, values: Iterable[T], ahead: int = 2) -> None:
        if ahead < 1:
            raise ValueError(f"cannot be {ahead} values ahead")
        self.waited_s = 0.0
        self._ready: queue.SimpleQueue[tuple[T] | None] = queue.SimpleQueue()
        self._error: BaseException | None = None
        self._places = threading.Semaphore(ahead)
        self._is_closed = False
        self._is_at_end = False
        # A daemon, so that a process which ends by an error elsewhere does not wait for it.
        self._thread = threading.Thread(target=self._read, args=(values,), name="prefetch", daemon=True)
        self._thread.start()

    def __enter__(self) -> "Prefetched[T]":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __iter__(self) -> Iterator[T]:
        return self

    def __next__(self) -> T:
        if self._is_at_end or self._is_closed:
            raise StopIteration
        began = time.perf_counter()
        value = self._ready.get()
        self.waited_s += time.perf_counter() - began
        if value is None:
            self._is_at_end = True
            if self._error is not None:
                raise self._error
            raise StopIteration
        self._places.release()
        return value[0]

    def close(self) -> None:
        """End the thread and wait for it. What it has read ahead is dropped."""
        self._is_closed = True
        self._places.release()
        self._thread.join()

    def _read(self, values: Iterable[T]) -> None:
        try:
            iterator = iter(values)
            while True:
                self._places.acquire()
                if self._is_closed:
                    return
                try:
                    value = next(iterator)
                except StopIteration:
                    return
                self._ready.put((value,))
        except BaseException as error:  # raised again in the reader's thread
            self._error = error
        finally:
            self._ready.put(None)
