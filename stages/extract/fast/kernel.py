"""Compilation of the inner loops by numba."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any, TypeVar, cast

from numba import config, njit

F = TypeVar("F", bound=Callable[..., Any])


def kernel(function: F) -> F:
    """Compile a function at its first call and keep the result on disk."""
    set_by_user = config.CACHE_DIR
    config.CACHE_DIR = str(_cache_folder(set_by_user))  # numba looks at it here, not at the first call
    try:
        return cast(F, njit(cache=True, nogil=True)(function))
    finally:
        config.CACHE_DIR = set_by_user


@cache
def _cache_folder(set_by_user: str) -> Path:
    """A folder for what was compiled from the present sources of this package.

    numba compiles anew when a function's own file changes, but does not look at the modules that its constants come
    from, such as tags.py: it would go on using what it compiled with the old ones.
    """
    package = Path(__file__).parent
    digest = hashlib.sha256()
    for path in sorted(package.glob("*.py")):
        digest.update(path.read_bytes())
    base = Path(set_by_user) if set_by_user else package / "__pycache__"
    if not set_by_user and not os.access(package, os.W_OK):
        base = Path.home() / ".cache" / "sluice"
    return base / f"kernels-{digest.hexdigest()[:16]}"
