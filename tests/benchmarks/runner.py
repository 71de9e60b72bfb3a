"""The runner beside a plain loop, and two workers beside one: python -m tests.benchmarks.runner [--rounds 3].

Real pages (../shared/data) in WARC files of about a second of work become text: by a loop in one process, without
ledger, commits or Ray, and by `sluice run` on a cluster of one CPU, with all its processes. Each is given few and many
files; what the additional files cost is compared, so that the start of processes is in neither figure. CPU seconds, in
turns, medians. Throughput is that of the additional files, by the log of the run, with one CPU and with two; it means
something where two cores are idle, so the load of the machine is told.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

from pipeline.usage import cpu_seconds, family
from tests.crawl_mirror import record
from tests.real_pages import real_pages

DATA = Path(__file__).resolve().parents[2].parent / "shared" / "data"
PAGES = 400  # of a file
FEW, MANY = 6, 36
RECIPE = "name: runner\nartifacts:\n  web: {stage: common_crawl, files: 'FILES'}\n"
RECIPE += "  texts: {from: web, chain: [{extract_html: {engine: fast}}]}\n"
LOOP = """
import sys
import pyarrow.parquet as pq
from pipeline.stage import Context, without_private
from stages.extract.html import ExtractHtml
from stages.intake.common_crawl import CommonCrawl
source = CommonCrawl(CommonCrawl.config_type(files=sys.argv[1]))
extract = ExtractHtml(ExtractHtml.config_type(engine="fast"))
extract.setup(Context(1))
for number, split in enumerate(source.splits()):
    writer = None
    pages = (outcome.kept for outcome in source.read(split, "web", Context(1)))
    for outcome in extract.stream(pages):
        texts = without_private(outcome.kept)
        writer = writer or pq.ParquetWriter(f"{sys.argv[2]}/{number}.parquet", texts.schema, compression="zstd")
        writer.write_table(texts)
    writer.close()
"""
CLUSTER = """
import subprocess, sys
from ray.cluster_utils import Cluster
head = {"num_cpus": int(sys.argv[1]), "object_store_memory": 80 << 20}
cluster = Cluster(initialize_head=True, head_node_args=head)
command = [sys.executable, "-m", "pipeline.cli", "run", *sys.argv[2:], "--address", cluster.address]
code = subprocess.run(command).returncode
cluster.shutdown()
sys.exit(code)
"""


def write_files(folder: Path) -> None:
    """WARC files, each of pages drawn from all."""
    pages, chance = list(real_pages(DATA)), random.Random(1)
    head = b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\n\r\n"
    for number in range(MANY):
        drawn = chance.sample(pages, PAGES)
        records = [
            record("response", f"http://site.org/{number}/{i}", head + page.html, "application/http; msgtype=response")
            for i, page in enumerate(drawn)
        ]
        (folder / f"{number:02}.warc.gz").write_bytes(b"".join(records))
    (folder / "few").mkdir()
    for number in range(FEW):
        (folder / f"few/{number:02}.warc.gz").symlink_to(folder / f"{number:02}.warc.gz")


def cpu_of(command: Sequence[str]) -> float:
    """CPU seconds of a command and all that it starts, the processes that have ended included."""
    spent: dict[int, float] = {}
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as process:
        while process.poll() is None:
            spent |= {pid: max(spent.get(pid, 0.0), cpu_seconds(pid)) for pid in family(process.pid)}
            time.sleep(0.1)
    if process.returncode:
        raise SystemExit(f"exit status {process.returncode}: {' '.join(command)}")
    return sum(spent.values())


def by_loop(files: str) -> float:
    with tempfile.TemporaryDirectory() as out:
        return cpu_of([sys.executable, "-c", LOOP, files, out])


def by_sluice(files: str, cpus: int) -> tuple[float, float]:
    """CPU seconds, and seconds from the third part that was committed to the last."""
    with tempfile.TemporaryDirectory() as out:
        recipe = Path(out) / "recipe.yaml"
        recipe.write_text(RECIPE.replace("FILES", files))
        spent = cpu_of([sys.executable, "-c", CLUSTER, str(cpus), str(recipe), "--out", f"{out}/run"])
        events = map(json.loads, (Path(out) / "run/log.jsonl").read_text().splitlines())
        ended = [datetime.fromisoformat(e["time"]) for e in events if e["event"] == "part_committed"]
    return spent, (ended[-1] - ended[2]).total_seconds()


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        write_files(folder)
        few, many = f"{folder}/few/*.warc.gz", f"{folder}/*.warc.gz"
        loop, runner, one, two = [list[float]() for _ in range(4)]
        by_loop(few)  # kernels are compiled
        for _ in range(arguments.rounds):
            loop.append(by_loop(many) - by_loop(few))
            (cpu_few, _), (cpu_many, seconds) = by_sluice(few, 1), by_sluice(many, 1)
            runner.append(cpu_many - cpu_few)
            one.append((MANY - 3) / seconds)
            two.append((MANY - 3) / by_sluice(many, 2)[1])
            parts = f"{one[-1]:.2f} and {two[-1]:.2f} parts/s"
            print(f"loop {loop[-1]:.1f} s, runner {runner[-1]:.1f} s, {parts}; load {os.getloadavg()[0]:.1f}")
        each, more = statistics.median(loop) / (MANY - FEW), statistics.median(runner) / statistics.median(loop) - 1
        print(f"a part: {each:.2f} s of CPU by the loop; the runner takes {more:+.1%}")
        print(f"two workers: {statistics.median(two) / statistics.median(one):.2f} times the parts a second of one")


if __name__ == "__main__":
    main()
