"""trafilatura at more than twice its speed, with the same output: faster stand-ins for its hot functions.

``install()`` replaces functions and expressions inside the imported trafilatura, htmldate and lxml parsers of this
process. What is replaced, and why the result is the same, is said at each stand-in; tests/stages/extract compare each
with the original, and tests/benchmarks/html_extraction.py compares whole pages. Because "the same" is known for the
releases it was compared with only, install() refuses any other.

Not for threads: one page at a time in a process.
"""

from __future__ import annotations

import ctypes
import gc
from importlib.metadata import version

VERIFIED = {"trafilatura": "2.3.1", "htmldate": "1.11.0", "justext": "3.0.2"}
"""Releases whose output was compared."""

VERIFIED_LXML = "6."
"""Of lxml the major version counts: the behaviour that the stand-ins build on is its documented one."""

GC_THRESHOLD = 50_000
"""Objects that may come into being before the garbage collector looks for cycles among them."""

KEPT_BYTES = 64 << 20
"""Free memory that the C library keeps for the next page instead of giving it back to the system after each."""

_M_MXFAST, _M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = 1, -1, -3  # glibc's malloc.h

_installed = False


class UnsupportedVersionError(RuntimeError):
    """The stand-ins were not compared with the installed releases."""


def install() -> None:
    """Make trafilatura faster, for the rest of this process. A second call does nothing.

    Raises:
        UnsupportedVersionError: an installed release differs from the verified one; nothing was changed, and plain
            trafilatura goes on working.
    """
    global _installed
    if _installed:
        return
    wrong = [
        f"{name} {version(name)} (verified: {wanted})" for name, wanted in VERIFIED.items() if version(name) != wanted
    ]
    if not version("lxml").startswith(VERIFIED_LXML):
        wrong.append(f"lxml {version('lxml')} (verified: {VERIFIED_LXML}x)")
    if wrong:
        raise UnsupportedVersionError(f"extraction runs without its faster functions: {', '.join(wrong)}")
    from stages.extract.trafilatura_speed import replacements

    replacements.install()
    # trees hold no reference cycles, but their many elements make the collector look for some all the time: at its
    # usual threshold (700) that takes 8 % of the time, most of it in modules that stay anyway
    gc.collect()
    gc.freeze()
    gc.set_threshold(GC_THRESHOLD)
    _keep_memory()
    _installed = True


def _keep_memory() -> None:
    """Tell glibc that trees come and go; other C libraries stay as they are.

    A tree is a hundred thousand small blocks that are freed at once. To sort them into larger ones each time (fast
    bins), and to give them back to the system and ask for them again, takes 3 to 5 % of the time.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_M_MXFAST, 0)
        mallopt(_M_TRIM_THRESHOLD, KEPT_BYTES)
        mallopt(_M_MMAP_THRESHOLD, KEPT_BYTES // 2)
