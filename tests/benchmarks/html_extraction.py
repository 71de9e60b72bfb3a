"""Speed of extraction with and without stages/extract/trafilatura_speed, and whether the output is the same.

    python -m tests.benchmarks.html_extraction [--modes default precision] [--every N] [--data ../shared/data]

Two processes extract each page one after the other, plain trafilatura and ours, taking turns at who is first; their
CPU seconds are compared page by page. Every page is taken twice: as published, and cut in the middle, as crawlers cut
what is too long for them. Exits with 1 if any text, title, date or other field differs.
"""

from __future__ import annotations

import argparse
import hashlib
import logging
import multiprocessing
import statistics
import sys
import time
from collections.abc import Iterator
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from tests.real_pages import real_pages

REPOSITORY = Path(__file__).resolve().parents[2]
FORMATTED = {"include_formatting": True, "include_links": True}
MODES: dict[str, dict[str, Any]] = {
    "default": {},
    "precision": {"favor_precision": True},
    "recall": {"favor_recall": True},
    "fast": {"fast": True},
    "default, no metadata": {"with_metadata": False},
    "precision, no metadata": {"favor_precision": True, "with_metadata": False},
    "precision, formatted": {"favor_precision": True, **FORMATTED},
    "recall, formatted, images": {"favor_recall": True, "include_images": True, **FORMATTED},
    "default, no tables": {"include_tables": False},
}
WARM_UP_PAGES = 20


def fields(html: str, url: str | None, options: dict[str, Any]) -> dict[str, Any] | str | None:
    """Everything that trafilatura returns for a page: the fields of its document, or the error it raised."""
    from lxml.etree import iselement, tostring
    from trafilatura import bare_extraction

    named = {"include_comments": False, "deduplicate": False, "with_metadata": True, **options}
    try:
        document = bare_extraction(html, url=url, **named)
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    if document is None:
        return None
    values = {name: getattr(document, name) for name in document.__slots__}
    return {name: tostring(value, encoding="unicode") if iselement(value) else value for name, value in values.items()}


def _serve(pipe: Connection, ours: bool) -> None:
    """Answer (html, url, options) with (CPU seconds, digest of the fields)."""
    from htmldate.extractors import external_date_parser

    logging.disable(logging.CRITICAL)
    if ours:
        from stages.extract.trafilatura_speed import install

        install()
    external_date_parser("12 of nomonth 2020", "%Y")  # dateparser reads 200 languages once: no cost of any page
    while (request := pipe.recv()) is not None:
        start = time.process_time()
        found = fields(*request)
        seconds = time.process_time() - start
        pipe.send((seconds, hashlib.sha256(repr(found).encode("utf-8", "replace")).hexdigest()))


def _pages(data: Path, every: int) -> Iterator[tuple[str, str, str | None]]:
    from stages.extract.decoding import decoded

    for page in list(real_pages(data))[::every]:
        html = decoded(page.html, None)
        yield f"{page.set}/{page.name}", html, page.url
        yield f"{page.set}/{page.name}, first half", html[: len(html) // 2], page.url


def main() -> int:
    """Print a line a mode; 1 if anything differs."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=REPOSITORY.parent / "shared" / "data")
    parser.add_argument("--modes", nargs="+", choices=MODES, default=list(MODES))
    parser.add_argument("--every", type=int, default=1, help="take every N-th page only")
    arguments = parser.parse_args()
    context = multiprocessing.get_context("spawn")
    pipes, processes = [], []
    for ours in (False, True):
        pipe, theirs = context.Pipe()
        processes.append(context.Process(target=_serve, args=(theirs, ours), daemon=True))
        processes[-1].start()
        pipes.append(pipe)
    pages = list(_pages(arguments.data, arguments.every))
    different = 0
    print(f"{'mode':28s}{'pages':>6s}{'plain':>10s}{'ours':>10s}{'ratio':>8s}{'median':>8s}{'differ':>8s}")
    for mode in arguments.modes:
        seconds: tuple[list[float], list[float]] = ([], [])
        wrong = []
        for number, (name, html, url) in enumerate(pages[:WARM_UP_PAGES] + pages):
            digests = {}
            for turn in (number % 2, 1 - number % 2):
                pipes[turn].send((html, url, MODES[mode]))
                spent, digests[turn] = pipes[turn].recv()
                if number >= WARM_UP_PAGES:
                    seconds[turn].append(spent)
            if digests[0] != digests[1]:
                wrong.append(name)
        plain, fast = sum(seconds[0]), sum(seconds[1])
        median = statistics.median(a / b for a, b in zip(*seconds, strict=True))
        rates = f"{len(pages) / plain:8.1f}/s{len(pages) / fast:8.1f}/s"
        print(f"{mode:28s}{len(pages):6d}{rates}{plain / fast:7.2f}x{median:7.2f}x{len(wrong):8d}", flush=True)
        for name in wrong[:10]:
            print(f"    differs: {name}")
        different += len(wrong)
    for pipe in pipes:
        pipe.send(None)
    return 1 if different else 0


if __name__ == "__main__":
    sys.exit(main())
