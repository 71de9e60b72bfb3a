"""Linear algebra on one thread."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def one_blas_thread() -> Iterator[None]:
    """Within, BLAS uses one thread.

    Matrices here have a few hundred rows, so threads cost more than they save (cross-validation of 32 runs
    of 4 metrics on two cores: 1.5 s with two threads, 0.5 s with one), and another number of them rounds
    otherwise.
    """
    import scipy.linalg  # noqa: F401  # brings its own BLAS, which only a loaded library can be told to limit
    from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

    with threadpool_limits(limits=1, user_api="blas"):
        yield
