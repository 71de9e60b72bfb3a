"""Compilation of the inner loops by numba."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar, cast

from numba import njit

F = TypeVar("F", bound=Callable[..., Any])


def kernel(function: F) -> F:
    """Compile a function at its first call and keep the result on disk.

    numba compiles anew when the function's own file changes, but does not look at the modules that its constants come
    from: after a change of tags.py or hints.py remove ``__pycache__`` here. A test compares kernels and sources.
    """
    return cast(F, njit(cache=True, nogil=True)(function))
