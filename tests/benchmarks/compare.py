"""Time and memory of `sluice compare` on two made-up runs of one artifact, of which each has dropped other documents.

python -m tests.benchmarks.compare --records 10000000
"""

import argparse
import multiprocessing
import resource
import tempfile
import time
from collections import Counter
from collections.abc import Set
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.artifact import DOCUMENTS_FILE, REMOVED_FILE, Artifact, Part, file_record
from pipeline.compare.comparison import compare
from pipeline.ledger import Ledger
from pipeline.run import Run, RunState
from pipeline.task import REMOVED_SCHEMA

PART_RECORDS = 100_000
TEXT = "some words of a document " * 20


def made(folder: Path, records: int, kept_digits: Set[int]) -> Run:
    """A run that keeps the records whose number ends in one of these digits."""
    run = Run(folder)
    run.state = RunState(folder.name, status="done", artifacts={"clean": folder.name})
    place = run.artifact_folder("clean")
    parts = [part(place.folder, number, kept_digits) for number in range(records // PART_RECORDS)]
    step = {"label": "clean", "stage": "made_up", "version": 1, "config": {}, "side": {}}
    place.seal(Artifact("clean", "documents", folder.name, place.folder, (step,), {}, tuple(parts)))
    run.save_state()
    return run


def part(artifact: Path, number: int, kept_digits: Set[int]) -> Part:
    folder = artifact / "data" / str(number)
    folder.mkdir(parents=True)
    ids = [f"web/CC-MAIN-2026-43/segment-{number:05d}.warc.gz@{5123 * i}" for i in range(PART_RECORDS)]
    kept = [name for i, name in enumerate(ids) if i % 10 in kept_digits]
    removed = [name for i, name in enumerate(ids) if i % 10 not in kept_digits]
    urls = [f"https://example.org/{name}" for name in kept]
    texts = pa.array([TEXT + name for name in kept], pa.large_string())
    documents = pa.table({"id": kept, "text": texts, "source": ["web"] * len(kept), "url": urls})
    pq.write_table(documents, folder / DOCUMENTS_FILE, compression="zstd")
    rows = [
        (name, "web", "clean", "dropped", f"reason_{i % 7}", "12 < 30", TEXT, "", "{}")
        for i, name in enumerate(removed)
    ]
    pq.write_table(pa.table(list(map(list, zip(*rows, strict=True))), schema=REMOVED_SCHEMA), folder / REMOVED_FILE)
    ledger = Ledger()
    counts = ledger.counts("clean", "web")
    counts.created, counts.kept, counts.dropped = PART_RECORDS, len(kept), Counter(reason=len(removed))
    files = ((DOCUMENTS_FILE, len(kept)), (REMOVED_FILE, len(removed)))
    records = tuple(file_record(folder, folder / name, rows) for name, rows in files)
    return Part(f"{artifact.parent.parent.name}-{number}", f"{number}.warc.gz", f"data/{number}", records, ledger)


def measured(a: Path, b: Path) -> None:
    """In a process of its own, so that its memory is that of the comparison."""
    began, cpu = time.monotonic(), time.process_time()
    (found,) = compare(a, b).memberships
    seconds, cpu_seconds = time.monotonic() - began, time.process_time() - cpu
    peak_bytes = 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    print(
        f"{found.in_both:,} in both, {found.lost.documents:,} lost, {found.gained.documents:,} gained: "
        f"{seconds:.1f} s, {cpu_seconds:.1f} s of CPU, peak {peak_bytes / 1e6:.0f} MB, Sluice's own included"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--records", type=int, default=10_000_000)
    records = parser.parse_args().records
    with tempfile.TemporaryDirectory() as scratch:
        a = made(Path(scratch) / "a", records, {0, 1, 2, 3, 4, 5})
        b = made(Path(scratch) / "b", records, {1, 2, 3, 4, 5, 6, 7})
        process = multiprocessing.get_context("spawn").Process(target=measured, args=(a.folder, b.folder))
        process.start()
        process.join()


if __name__ == "__main__":
    main()
