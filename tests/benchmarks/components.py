"""Speed and memory of finding documents with a key in common and their components, beside other tools.

    python -m tests.benchmarks.components datatrove --documents 1000000
    python -m tests.benchmarks.components group-by --documents 10000000

Input: 14 band keys a document, 40 % of the documents in clusters of 2 to 100,000, whose members share each key with
probability 0.7. ``datatrove``: its stages 2 and 3 (MinhashDedupBuckets, MinhashDedupCluster) on its own sorted files of
the same keys, and the number of documents that each removes. ``group-by``: polars and duckdb group each band by key and
list the links of each document to the least of its key; ours finds the components as well.

Everybody runs in a process of its own on one thread and takes turns. CPU seconds, without imports, compiling, and a
first band or partition, by which a process gets its memory from the system. Ours calls what the tasks of dedup call:
``star_links`` for a partition of records, then rounds of ``step``, with as many partitions as ``task_memory_mb`` asks
for by default. Reading numpy files and passing on links and messages through them is not in our figures, nor reading
numpy files in those of polars and duckdb; datatrove reads and writes its own files record by record, which is. Memory
is the growth of the peak over the interpreter with its imports.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from pipeline.exchange import partitions_for
from stages.dedup.duplicates.components import (
    BYTES_A_LINK,
    Messages,
    by_recipient,
    components,
    links_as_messages,
    no_pointers,
    owners,
    step,
)
from stages.dedup.duplicates.links import star_links

T = TypeVar("T")
BANDS, PARTS, TASK_MEMORY = 14, 100, 1_000_000_000
CLUSTERED, SHARED_KEYS, LARGEST = 0.4, 0.7, 100_000
BYTES_A_RECORD = 40  # records of a partition, a copy by piece, and the links
DATATROVE_FILES = 10
ROW_BITS = np.uint64(32)


def clusters(documents: int) -> NDArray[np.uint64]:
    """For each document the number of its cluster, or one of its own."""
    chance = np.random.default_rng(1)
    clustered = chance.permutation(documents)[: int(CLUSTERED * documents)]
    sizes = np.minimum(chance.zipf(2.05, len(clustered)) + 1, LARGEST)
    cluster = np.arange(documents, dtype=np.uint64)
    cluster[clustered] = documents + np.repeat(np.arange(len(sizes)), sizes)[: len(clustered)]
    return cluster


def band_keys(cluster: NDArray[np.uint64], band: int) -> NDArray[np.uint64]:
    chance = np.random.default_rng((1, band))
    is_shared = chance.random(len(cluster)) < SHARED_KEYS
    key = np.where(is_shared, cluster, np.arange(len(cluster), dtype=np.uint64)) * np.uint64(BANDS) + np.uint64(band)
    for multiplier in (0xBF58476D1CE4E5B9, 0x94D049BB133111EB):
        key = (key ^ key >> np.uint64(30)) * np.uint64(multiplier)
    return key ^ key >> np.uint64(31)


def write_input(documents: int, folder: Path) -> None:
    """The keys of each band, of all documents; and, for ours, the same as records by partition of the keys."""
    cluster = clusters(documents)
    row = np.arange(documents, dtype=np.uint64)
    rows_a_part = np.uint64(-(-documents // PARTS))
    location = row // rows_a_part << ROW_BITS | row % rows_a_part
    np.save(folder / "locations.npy", location)
    partitions = partitions_for(BANDS * documents * BYTES_A_RECORD, TASK_MEMORY)
    for band in range(BANDS):
        key = band_keys(cluster, band)
        np.save(folder / f"band-{band}.npy", key)
        for partition in range(partitions):
            mine = key % np.uint64(partitions) == partition
            np.save(folder / f"keys-{band}-to-{partition}.npy", np.stack([key[mine], location[mine]]))


def write_datatroves_input(folder: Path) -> None:
    """Sorted signatures of 8 hashes, of which the first holds the key: comparing two seldom looks further."""
    dtype = np.dtype([(f"field{i}", "<u8") for i in range(8)] + [("document", "<u4")])
    for band in range(BANDS):
        keys = np.load(folder / f"band-{band}.npy")
        (folder / "signatures" / f"bucket_{band:03d}").mkdir(parents=True)
        for file, of_file in enumerate(np.array_split(keys, DATATROVE_FILES)):
            records = np.zeros(len(of_file), dtype)
            records["field0"], records["field1"] = of_file >> np.uint64(4), of_file & np.uint64(15)
            records["document"] = np.arange(len(of_file))
            records.sort(order=["field0", "field1", "document"])
            (folder / "signatures" / f"bucket_{band:03d}" / f"{file:05d}.minhash.sig").write_bytes(records.tobytes())


Figures = dict[str, float]


def ours(folder: Path) -> Iterator[Figures]:
    """The tasks of dedup one after the other, with their messages in files."""
    figures: Counter[str] = Counter()
    seconds: Counter[str] = Counter()

    def timed(part: str, function: Callable[..., T], *arguments: Any) -> T:
        start = time.process_time()
        result = function(*arguments)
        seconds[part] += time.process_time() - start
        return result

    def records(partition: int) -> list[NDArray[np.uint64]]:
        parts = [np.load(folder / f"keys-{band}-to-{partition}.npy") for band in range(BANDS)]
        return [np.concatenate([part[column] for part in parts]) for column in range(2)]

    def write(name: str, boxes: Sequence[Messages]) -> None:
        for partition, box in enumerate(boxes):
            with (folder / f"{name}-to-{partition}.npy").open("wb") as file:
                for column in (box.kind, box.high, box.low):
                    np.save(file, column)

    def read(partition: int, senders: int) -> Messages:
        columns = []
        for sender in range(senders):
            with (folder / f"from-{sender}-to-{partition}.npy").open("rb") as file:
                columns.append([np.load(file) for _ in range(3)])
        return Messages(*(np.concatenate(parts) for parts in zip(*columns, strict=True)))

    small = np.arange(5000, dtype=np.uint64)
    links = star_links(small // np.uint64(3), small)
    components(links.high, links.low, 3)
    yield {}
    star_links(*records(0))
    yield {}
    of_keys = len(list(folder.glob("keys-0-to-*.npy")))
    found = []
    for partition in range(of_keys):
        links = timed("links", star_links, *records(partition))
        np.save(folder / f"links-{partition}.npy", np.stack([links.high, links.low]))
        found.append(len(links.high))
        del links
    partitions = partitions_for(sum(found) * BYTES_A_LINK, TASK_MEMORY)
    for partition in range(of_keys):
        high, low = np.load(folder / f"links-{partition}.npy")
        to = timed("rounds", owners, high, partitions)
        write(f"from-{partition}", timed("rounds", by_recipient, links_as_messages(high, low), to, partitions))
        del high, low, to
    pointers, senders, is_open = [no_pointers()] * partitions, of_keys, True
    while is_open:
        is_open = False
        for partition in range(partitions):
            messages = read(partition, senders)
            result = timed("rounds", step, partition, partitions, pointers[partition], messages)
            pointers[partition] = result.pointers
            is_open |= result.open > 0
            write(f"next-{partition}", timed("rounds", by_recipient, result.messages, result.to, partitions))
        for path in folder.glob("next-*.npy"):
            path.rename(folder / path.name.replace("next", "from"))
        senders = partitions
        figures["rounds"] += 1
    removed = sum(int(np.sum(p.vertex != p.root)) for p in pointers)
    told = {"links": sum(found), "removed": removed, "partitions of keys": of_keys, "of vertices": partitions}
    yield {**figures, **told, "seconds": seconds.total(), **{f"s in {name}": s for name, s in seconds.items()}}


def polars(folder: Path) -> Iterator[Figures]:
    import polars as pl

    def links(band: int) -> tuple[int, float]:
        columns = {"key": np.load(folder / f"band-{band}.npy"), "location": np.load(folder / "locations.npy")}
        start = time.process_time()
        records = pl.DataFrame(columns)
        least = records.group_by("key").agg(pl.col("location").min().alias("low"), pl.len().alias("records"))
        shared = least.filter(pl.col("records") > 1).select("key", "low")
        found = records.join(shared, on="key").filter(pl.col("location") > pl.col("low")).height
        return found, time.process_time() - start

    yield {}
    links(0)
    yield {}
    found, seconds = np.sum([links(band) for band in range(BANDS)], axis=0)
    yield {"links": found, "seconds": seconds}


def duckdb(folder: Path) -> Iterator[Figures]:
    import duckdb as db

    connection = db.connect(config={"threads": 1})

    def links(band: int) -> tuple[int, float]:
        records = {"key": np.load(folder / f"band-{band}.npy"), "location": np.load(folder / "locations.npy")}
        start = time.process_time()
        connection.register("records", records)
        connection.execute(
            """create or replace table links as
            with least as (select key, min(location) low from records group by key having count(*) > 1)
            select location, low from records join least using (key) where location > low"""
        )
        found = connection.execute("select count(*) from links").fetchall()[0][0]
        return found, time.process_time() - start

    yield {}
    links(0)
    yield {}
    found, seconds = np.sum([links(band) for band in range(BANDS)], axis=0)
    yield {"links": found, "seconds": seconds}


def datatrove(folder: Path) -> Iterator[Figures]:
    from datatrove.pipeline.dedup import MinhashDedupBuckets, MinhashDedupCluster
    from datatrove.utils.logging import logger

    logger.remove()
    yield {}
    yield {}
    start = time.process_time()
    buckets = MinhashDedupBuckets(str(folder / "signatures"), str(folder / "pairs"))
    for rank in range(BANDS):
        buckets.run(rank=rank, world_size=BANDS)
    middle = time.process_time()
    cluster = MinhashDedupCluster(str(folder / "pairs"), str(folder / "removed"))
    cluster.run()
    removed = sum(path.stat().st_size // 4 for path in (folder / "removed").glob("*.remove"))
    end = time.process_time()
    yield {"removed": removed, "seconds": end - start, "s in stage 2": middle - start, "s in stage 3": end - middle}


CONTENDERS = {"ours": ours, "polars": polars, "duckdb": duckdb, "datatrove": datatrove}


def measured(name: str, folder: Path) -> Figures:
    """Run in a process of its own: CPU seconds and bytes of a contender, and what it says of itself."""
    run = CONTENDERS[name](folder)
    next(run)
    before = peak_bytes()
    next(run)
    system = os.times().system
    figures = next(run)
    return {**figures, "s of system": os.times().system - system, "bytes": peak_bytes() - before}


def peak_bytes() -> int:
    """Most memory that this process ever had; unlike getrusage's, without what its parent had."""
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
    return 1024 * int(line.split()[1])


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("against", choices=["datatrove", "group-by", *CONTENDERS])
    parser.add_argument("--documents", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--folder", type=Path, help="of one contender's input")
    options = parser.parse_args()
    if options.folder:
        print(json.dumps(measured(options.against, options.folder)))
        return
    names = ["ours", "datatrove"] if options.against == "datatrove" else ["ours", "polars", "duckdb"]
    one_thread = dict.fromkeys(("POLARS_MAX_THREADS", "OMP_NUM_THREADS", "NUMBA_NUM_THREADS"), "1")
    found: dict[str, list[Figures]] = {name: [] for name in names}
    with tempfile.TemporaryDirectory() as folder:
        write_input(options.documents, Path(folder))
        if "datatrove" in names:
            write_datatroves_input(Path(folder))
        for _ in range(options.rounds):
            for name in names:
                for written in ("pairs", "removed"):
                    shutil.rmtree(Path(folder) / written, ignore_errors=True)
                command = [sys.executable, "-m", "tests.benchmarks.components", name, "--folder", folder]
                run = subprocess.run(
                    command, env={**os.environ, **one_thread}, check=True, stdout=subprocess.PIPE, text=True
                )
                found[name].append(json.loads(run.stdout.splitlines()[-1]))
                print(name, {key: round(value, 2) for key, value in found[name][-1].items()}, flush=True)
    base = float(np.median([figures["seconds"] for figures in found["ours"]]))
    print(f"{options.documents:,} documents, medians of {options.rounds}")
    for name, runs in found.items():
        seconds = float(np.median([figures["seconds"] for figures in runs]))
        size = float(np.median([figures["bytes"] for figures in runs])) / options.documents
        print(
            f"{name:10}{seconds:10.2f} s{options.documents / seconds:14,.0f} documents/s"
            f"{seconds / base:8.1f} times ours{size:8.0f} bytes a document"
        )


if __name__ == "__main__":
    main()
