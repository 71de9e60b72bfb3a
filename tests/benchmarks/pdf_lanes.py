"""CPU time of a page in each lane, and memory, of reading PDFs: ``python -m tests.benchmarks.pdf_lanes``.

Two passes over the files: one with OCR off, as long as which the process holds no models, and one with OCR. CPU seconds
are those of all threads of the process that reads (its schedstat in /proc, in nanoseconds), page by page; what the
parent spends on a page's row comes beside it, what starting the process and loading models costs is told apart.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path

import orjson

from stages.pdf.process import Limits, PdfProcess
from stages.pdf.reading import OcrMode, ReadingOptions, UnreadablePdf

SHARED = Path(__file__).resolve().parents[3] / "shared" / "data" / "pdf"
SECONDS_PER_HOUR = 3600


@dataclass
class Pass:
    """What one pass over the files cost, in CPU seconds."""

    start_s: float = 0.0  # of the process, with its imports
    opening_s: list[float] = field(default_factory=list)  # of each file
    pages_s: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))  # by lane
    parent_s: float = 0.0
    refused: int = 0  # files
    unmeasured: int = 0  # pages after which the process was replaced
    peak_memory_bytes: int = 0

    @property
    def pages(self) -> int:
        return sum(map(len, self.pages_s.values()))


def cpu_seconds(pid: int | None) -> float:
    """CPU time of all threads of a process so far; 0 if there is none."""
    if pid is None:
        return 0.0
    spent_ns = 0
    for thread in Path(f"/proc/{pid}/task").iterdir():
        spent_ns += int((thread / "schedstat").read_text().split()[0])
    return spent_ns / 1e9


def measured(paths: list[Path], ocr: OcrMode, warm_up: Path) -> Pass:
    """Read all files page by page."""
    found = Pass()
    with PdfProcess(ReadingOptions(ocr=ocr), Limits()) as process:
        process.page_count(warm_up)
        found.start_s = cpu_seconds(process.pid)
        for _ in process.pages(warm_up, 0, 1):  # loads models, compiles kernels
            pass
        for path in paths:
            _measure(path, process, found)
        found.peak_memory_bytes = process.peak_memory_bytes
    return found


def _measure(path: Path, process: PdfProcess, found: Pass) -> None:
    """Read a file. The time of a request is not known if another process answered it than the one before."""
    meter = Meter(process)
    parent_before = time.process_time()
    try:
        count = process.page_count(path)
    except UnreadablePdf:
        found.refused += 1
        return
    if (spent_s := meter.spent_s()) is not None:
        found.opening_s.append(spent_s)
    for page in process.pages(path, 0, count):
        _ = (orjson.dumps(page), page.text)  # what goes into its row
        if (spent_s := meter.spent_s()) is not None:
            found.pages_s[page.lane].append(spent_s)
        else:
            found.unmeasured += 1
    found.parent_s += time.process_time() - parent_before - meter.own_s


class Meter:
    """CPU seconds of the process that reads, request by request."""

    def __init__(self, process: PdfProcess) -> None:
        self._process = process
        self._pid, self._before = process.pid, cpu_seconds(process.pid)
        self.own_s = 0.0  # CPU seconds of this process that measuring took

    def spent_s(self) -> float | None:
        """Since the last call; None if the process has been replaced meanwhile."""
        began = time.process_time()
        pid, now = self._process.pid, cpu_seconds(self._process.pid)
        self.own_s += time.process_time() - began
        spent_s = now - self._before if pid == self._pid else None
        self._pid, self._before = pid, now
        return spent_s


def report(ocr: OcrMode, found: Pass) -> None:
    """Print a pass."""
    parent_s = found.parent_s / max(found.pages, 1)
    files = f"{len(found.opening_s)} files, {found.refused} files refused"
    print(f"\nocr: {ocr}: {found.pages} pages of {files}; {found.unmeasured} pages whose time is not known")
    print("| lane | pages | CPU ms a page | median | 90 % | worst | core-hours per million pages |")
    print("|---|---|---|---|---|---|---|")
    for lane, seconds in sorted(found.pages_s.items(), key=lambda lane: -len(lane[1])):
        mean = statistics.mean(seconds)
        cuts = statistics.quantiles(seconds, n=10) if len(seconds) > 1 else seconds * 9
        milliseconds = " | ".join(f"{1000 * s:.1f}" for s in (mean, statistics.median(seconds), cuts[8], max(seconds)))
        hours = (mean + parent_s) * 1e6 / SECONDS_PER_HOUR
        print(f"| {lane} | {len(seconds)} | {milliseconds} | {hours:.1f} |")
    opening = statistics.mean(found.opening_s) if found.opening_s else 0.0
    print(
        f"Besides: {1000 * parent_s:.2f} ms a page in the parent (in the core-hours above), {1000 * opening:.1f} ms to "
        f"open a file, {found.start_s:.2f} s to start the process. Peak memory: {found.peak_memory_bytes >> 20} MiB."
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", nargs="?", type=Path, default=SHARED)
    parser.add_argument("--every", type=int, default=1, help="read every so manieth file")
    parser.add_argument("--ocr", choices=("off", "auto", "always"), action="append", help="passes (default: off, auto)")
    options = parser.parse_args()
    paths = sorted(options.folder.rglob("*.pdf"))[:: options.every]
    warm_up = next(path for path in paths if "_malformed" not in str(path))
    print(f"{len(paths)} files, {sum(path.stat().st_size for path in paths) / 1e6:.1f} MB")
    for ocr in options.ocr or ("off", "auto"):
        report(ocr, measured(paths, ocr, warm_up))


if __name__ == "__main__":
    main()
