"""What dedup does between signatures and texts, for many documents: keys, links, components.

    python -m tests.benchmarks.dedup_metadata [--documents 100000000] [--folder FOLDER] [--workers 2]

The stage's own plan and tasks, each task in one of ``workers`` processes, on made-up signatures: 40 % of the documents
lie in clusters, most of two to some hundreds, one of 100,000, whose members share each band with probability 0.7. A
task's signature files are made before it and deleted behind it, and so are the files of a phase once the next is done:
100 million documents take 30 GB of disk at a time. Making them is not in the figures. Memory is the peak of a task, its
process and imports included.
"""

from __future__ import annotations

import argparse
import shutil
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from pipeline.artifact import DOCUMENTS_FILE, Artifact, File, Part, Phase, file_record
from pipeline.ledger import Ledger
from pipeline.stage import Context, Task
from pipeline.usage import Usage
from stages.dedup.duplicates.options import DuplicatesConfig
from stages.dedup.duplicates.stage import Duplicates
from stages.dedup.signatures import CONTENT_HASH_BYTES

PART = 100_000  # documents
BANDS = 14
CLUSTERED, SHARED = 0.4, 0.7
LARGEST = 100_000
CLUSTER_SIZE = 3  # in the mean
CONFIG = DuplicatesConfig(bands=BANDS, rows=8, task_memory_mb=1000)


def hashed(values: NDArray[np.uint64], salt: int) -> NDArray[np.uint64]:
    """Steele, Lea and Flood's SplitMix64 of each value."""
    z = values + np.uint64(0x9E3779B97F4A7C15 * (salt + 1) & 0xFFFFFFFFFFFFFFFF)
    z = (z ^ z >> np.uint64(30)) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ z >> np.uint64(27)) * np.uint64(0x94D049BB133111EB)
    return z ^ z >> np.uint64(31)


def chance(values: NDArray[np.uint64], salt: int) -> NDArray[np.float64]:
    return hashed(values, salt) / 2.0**64


def write_signatures(path: Path, number: int, documents: int) -> None:
    """The signatures of part ``number`` of so many documents in all."""
    row = np.arange(number * PART, (number + 1) * PART, dtype=np.uint64)
    clusters = int(documents * CLUSTERED / CLUSTER_SIZE)
    cluster = (clusters * chance(row, 100) ** 1.5).astype(np.uint64) + np.uint64(1)
    cluster[chance(row, 101) < LARGEST / documents / CLUSTERED] = 0
    own = row + np.uint64(1 << 40)
    cluster = np.where(chance(row, 102) < CLUSTERED, cluster, own)
    keys = np.stack(
        [hashed(np.where(chance(row, 200 + b) < SHARED, cluster, own), 300 + b) for b in range(BANDS)], axis=1
    )
    hashes = np.stack([hashed(row, 400), hashed(row, 401)], axis=1).tobytes()
    table = pa.table(
        {
            "id": pa.array([f"{number:05d}/{i:05d}" for i in range(PART)]),
            "source": pa.array(["web"]).take(pa.array(np.zeros(PART, np.int32))),
            "language": pa.array(["en"]).take(pa.array(np.zeros(PART, np.int32))),
            "dedup.content_hash": pa.FixedSizeBinaryArray.from_buffers(
                pa.binary(CONTENT_HASH_BYTES), PART, [None, pa.py_buffer(hashes)]
            ),
            "dedup.bands": pa.FixedSizeListArray.from_arrays(pa.array(keys.ravel()), BANDS),
            "dedup.audit": pa.array(hashed(row, 402)),
        }
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table, path, compression="zstd", use_dictionary=["source", "language"])


def unmade(name: str, parts: int, folder: Path) -> Artifact:
    """An artifact of which there are only the records."""
    found = [
        Part(f"{i:032}", str(i), f"data/{i:05}", (File(DOCUMENTS_FILE, 1 << 20, f"{i:064}", PART),), Ledger())
        for i in range(parts)
    ]
    return Artifact(name, "documents", name, folder / name, (), {}, tuple(found))


def work(documents: int, home: Path, task: Task, name: str) -> Part:
    """Do one task."""
    if task.phase == "keys":
        for (number, _), path in zip(task.arguments["parts"], task.files["signatures"], strict=True):
            write_signatures(path, number, documents)
    out = home / "data" / name
    out.mkdir(parents=True)
    usage = Usage()
    result = Duplicates(CONFIG).work(task, out, Context(seed=1))
    seconds, cpu, peak = usage.seconds(), usage.cpu_seconds(), usage.peak_memory_bytes()
    files = tuple(file_record(out, path, sha256="0" * 64) for path in sorted(out.iterdir()))
    if task.phase == "keys":
        for path in task.files["signatures"]:
            shutil.rmtree(path.parent)
    return Part(name, task.name, f"data/{name}", files, Ledger(), result.summary, seconds, cpu, peak)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--documents", type=int, default=100_000_000)
    parser.add_argument("--folder", type=Path, help="where to work; a temporary folder if absent")
    parser.add_argument("--workers", type=int, default=2)
    arguments = parser.parse_args()
    documents = arguments.documents
    with tempfile.TemporaryDirectory(dir=arguments.folder) as temporary, ProcessPoolExecutor(arguments.workers) as pool:
        folder = Path(temporary)
        signatures, originals = (unmade(name, documents // PART, folder) for name in ("signatures", "documents"))
        inputs = {"documents": [signatures, originals]}
        stage, phases, home = Duplicates(CONFIG), list[Phase](), folder / "duplicates"
        headings = ("phase", "tasks", "plan s", "wall s", "CPU s", "µs a document", "peak MB", "MB")
        print("{:<12}{:>7}{:>8}{:>8}{:>8}{:>15}{:>9}{:>9}".format(*headings))
        while True:
            began = time.monotonic()
            tasks = stage.plan(inputs, phases)
            planned = time.monotonic() - began
            if tasks[0].phase == "members":
                break  # which reads texts
            places = [f"{len(phases)}-{i}" for i in range(len(tasks))]
            do = partial(work, documents, home)
            phase = Phase(tasks[0].phase, home, tuple(pool.map(do, tasks, places)))
            tell(phase, planned, time.monotonic() - began, documents)
            for part in phases[-1].parts if phases else ():
                shutil.rmtree(home / part.folder)
            phases.append(phase)
        linked = sum(part.summary["vertices"] for part in phases[-1].parts)
        print(f"{linked:,} of {documents:,} documents are linked")


def tell(phase: Phase, planned: float, wall: float, documents: int) -> None:
    """A line of figures."""
    costs = phase.costs()
    print(
        f"{phase.name:<12}{costs['parts']:>7}{planned:>8.1f}{wall:>8.0f}{costs['cpu_seconds']:>8.0f}"
        f"{costs['cpu_seconds'] / documents * 1e6:>15.2f}{costs['peak_memory_bytes'] >> 20:>9,}"
        f"{costs['size_bytes'] / 1e6:>9,.0f}",
        flush=True,
    )


if __name__ == "__main__":
    main()
