"""Time and memory of the tasks that make token shards: python -m tests.benchmarks.token_shards [--millions 400].

A corpus of made-up documents is shuffled with several limits of memory, every task in a process of its own. Memory is
the peak of the process less what it had taken before its first document.
"""

from __future__ import annotations

import argparse
import pickle
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from pipeline.artifact import Artifact, Part, Phase, file_record
from pipeline.ledger import Ledger
from pipeline.stage import Task, documents
from stages.tokenize.shards import TokenShards, TokenShardsConfig
from tests.shuffle_runs import documents_artifact
from tests.stages.in_process import artifact_of_files

VOCABULARY = 32768
PART_ROWS = 50_000
PART_TOKENS = 33e6  # about
LIMITS_MB = (256, 500, 1000)

TASK = """
import pickle, sys, time
from pipeline.stage import Context
from stages.tokenize.shards import TokenShards
task, config, out = pickle.load(open(sys.argv[1], "rb"))
def peak_mb():
    return next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("VmHWM")) / 1024
before, began = peak_mb(), time.process_time()
result = TokenShards(config).work(task, out, Context(seed=1))
pickle.dump((result.summary, peak_mb() - before, time.process_time() - began), open(sys.argv[2], "wb"))
"""


def part_of_corpus(number: int) -> pa.Table:
    """Documents of log-normal length, as the stage before hands them on."""
    random = np.random.default_rng(number)
    lengths = np.clip(random.lognormal(6.0, 1.0, PART_ROWS).astype(np.int64), 2, 100_000)
    ids = np.minimum(random.pareto(1.0, lengths.sum()) * 20, VOCABULARY - 1).astype("<u2")
    offsets = np.append(0, lengths.cumsum()) * ids.itemsize
    rows = [
        {
            "id": f"web/CC-MAIN-20260101-{number:05d}.warc.gz@{i * 12345}",
            "source": f"s{i % 4}",
            "language": f"l{i % 20}",
        }
        for i in range(PART_ROWS)
    ]
    table = documents(rows).select(["id", "source", "url", "date", "language", "mime", "parent"])
    bodies = pa.Array.from_buffers(pa.large_binary(), PART_ROWS, [None, pa.py_buffer(offsets), pa.py_buffer(ids)])
    table = table.append_column("tokens", bodies).append_column("encode.bytes", pa.array(lengths * 4))
    return table.append_column("encode.words", pa.array(lengths // 2))


def measured(task: Task, config: TokenShardsConfig, out: Path, scratch: Path) -> tuple[Part, float, float]:
    """The part of a task, its memory in MB and its CPU seconds."""
    out.mkdir(parents=True)
    given, found = scratch / "task", scratch / "result"
    given.write_bytes(pickle.dumps((task, config, out)))
    subprocess.run([sys.executable, "-c", TASK, given, found], check=True)
    summary, memory, seconds = pickle.loads(found.read_bytes())
    files = tuple(file_record(out, path) for path in sorted(out.rglob("*")) if path.is_file())
    return Part(out.name, task.name, out.name, files, Ledger(), summary), memory, seconds


def run(inputs: dict[str, list[Artifact]], config: TokenShardsConfig, folder: Path, tokens: float) -> None:
    """Print what each phase takes."""
    stage, phases = TokenShards(config), list[Phase]()
    while tasks := stage.plan(inputs, phases):
        rows: Sequence[Any] = [
            measured(task, config, folder / f"{task.phase}-{i}", folder.parent) for i, task in enumerate(tasks)
        ]
        phases.append(Phase(tasks[0].phase, folder, tuple(part for part, _, _ in rows)))
        memory, seconds = max(memory for _, memory, _ in rows), sum(seconds for _, _, seconds in rows)
        cells = (config.task_memory_mb, tasks[0].phase, len(tasks), f"{memory:.0f}", f"{seconds:.1f}")
        print("|", *(f"{cell} |" for cell in cells), f"{seconds / tokens * 1e9:.0f} |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--millions", type=float, default=400, help="tokens")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        tokenizer = folder / "tokenizer"
        tokenizer.mkdir()
        (tokenizer / "tokenizer.json").write_text("{}")
        parts = max(1, round(arguments.millions * 1e6 / PART_TOKENS))
        corpus = documents_artifact("encoded", [part_of_corpus(i) for i in range(parts)], folder)
        facts = {"vocabulary": VOCABULARY, "eod": 0}
        inputs = {"documents": [corpus], "tokenizer": [artifact_of_files(tokenizer, "t", "tokenizer", facts)]}
        size_bytes = sum(file.size_bytes for part in corpus.parts for file in part.files)
        print(f"about {parts * PART_TOKENS / 1e6:.0f} M tokens in {parts} parts, {size_bytes / 1e6:.0f} MB compressed")
        print("| task_memory_mb | phase | tasks | MB | CPU s | ns a token |\n|---:|---|---:|---:|---:|---:|")
        for limit in LIMITS_MB:
            config = TokenShardsConfig(task_memory_mb=limit, shard_tokens=20_000_000)
            run(inputs, config, folder / str(limit), parts * PART_TOKENS)


if __name__ == "__main__":
    main()
