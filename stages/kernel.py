"""Compilation of inner loops by numba.

A kernel calls only kernels of its own package and of stages/text: what is compiled is kept under a digest of the
sources of both.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any, TypeVar, cast

from numba import config, njit

SHARED = Path(__file__).parent / "text"

F = TypeVar("F", bound=Callable[..., Any])


def kernel(function: F) -> F:
    """Compile a function at its first call, without holding the GIL, and keep the result on disk."""
    set_by_user = config.CACHE_DIR
    package = Path(function.__code__.co_filename).parent
    config.CACHE_DIR = str(_cache_folder(package, set_by_user))  # numba looks at it here, not at the first call
    try:
        return cast(F, njit(cache=True, nogil=True)(function))
    finally:
        config.CACHE_DIR = set_by_user


@cache
def _cache_folder(package: Path, set_by_user: str) -> Path:
    """A folder for what was compiled from the present sources of a package.

    numba compiles anew when a function's own file changes, but does not look at the modules that its constants and
    the kernels it calls come from: it would go on using what it compiled with the old ones.
    """
    digest = hashlib.sha256()
    for path in sorted({*package.glob("*.py"), *SHARED.glob("*.py")}):
        digest.update(path.read_bytes())
    base = Path(set_by_user) if set_by_user else package / "__pycache__"
    if not set_by_user and not os.access(package, os.W_OK):
        base = Path.home() / ".cache" / "sluice"
    return base / f"kernels-{digest.hexdigest()[:16]}"
