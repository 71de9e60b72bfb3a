"""Seconds and memory of the demo: `make bench`, or `python -m tests.benchmarks.demo --size small`.

Prints wall seconds per stage (stages overlap: they do not add up to the total), CPU seconds, and the largest
proportional set size (PSS) of all processes of the demo together, sampled once a second.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

from pipeline.run import Run
from pipeline.usage import family, pss_bytes


def main() -> None:
    """Run the demo in a temporary folder and print what it cost."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", default="full")
    size = parser.parse_args().size
    with tempfile.TemporaryDirectory() as folder:
        corpus_s = timed(["demo", folder, "--size", size, "--build-only"])[0]
        run_s, peak_bytes = timed(["demo", folder, "--size", size])
        run = Run.open(Path(folder) / "run")
        print(f"{'stage':<24}{'wall s':>9}{'CPU s':>9}{'peak MB of a worker':>22}")
        print(f"{'corpus':<24}{corpus_s:>9.1f}")
        for name, artifact in run.artifacts().items():
            cpu = sum(part.cpu_seconds for part in artifact.parts)
            peak = max(part.peak_memory_bytes for part in artifact.parts) >> 20
            print(f"{name:<24}{run.state.seconds[name]:>9.1f}{cpu:>9.1f}{peak:>22,}")
        print(f"{'all':<24}{corpus_s + run_s:>9.1f}")
        print(f"memory of all processes together: at most {peak_bytes / 1e9:.1f} GB; {os.cpu_count()} cores")


def timed(arguments: list[str]) -> tuple[float, int]:
    """Wall seconds of a `sluice` command, and the largest PSS of its process tree in bytes."""
    started = time.monotonic()
    process = subprocess.Popen([sys.executable, "-m", "pipeline.cli", *arguments], stdout=subprocess.DEVNULL)
    peak = 0
    done = threading.Event()

    def watch() -> None:
        nonlocal peak
        while not done.wait(1.0):
            peak = max(peak, sum(map(pss_bytes, family(process.pid))))

    watcher = threading.Thread(target=watch)
    watcher.start()
    status = process.wait()
    seconds = time.monotonic() - started
    done.set()
    watcher.join()
    if status != 0:
        sys.exit(f"sluice {' '.join(arguments)} ended with status {status}")
    return seconds, peak


if __name__ == "__main__":
    main()
