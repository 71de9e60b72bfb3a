"""trafilatura at more than twice its speed, with the same output: faster stand-ins for its hot functions.

``install()`` replaces functions and expressions inside the imported trafilatura, htmldate and lxml parsers of this
process. What is replaced, and why the result is the same, is said at each stand-in; tests/stages/extract compare each
with the original, and tests/benchmarks/html_extraction.py compares whole pages. Because "the same" is known for the
releases it was compared with only, install() refuses any other.

Not for threads: one page at a time in a process.
"""

from __future__ import annotations

import gc
from importlib.metadata import version

VERIFIED = {"trafilatura": "2.3.1", "htmldate": "1.11.0", "justext": "3.0.2"}
"""Releases whose output was compared."""

VERIFIED_LXML = "6."
"""Of lxml the major version counts: the behaviour that the stand-ins build on is its documented one."""

GC_THRESHOLD = 50_000
"""Objects that may come into being before the garbage collector looks for cycles among them."""

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
    _installed = True
