"""Dedup of many documents on this machine: `python -m tests.benchmarks.dedup --documents 10000000`.

Makes documents of 60 words with planted near-duplicates of known similarity, then runs the stage `dedup` over them by
`sluice run` on an embedded Ray: signatures, keys, links, components, verification by the texts, removal. Prints wall
and CPU seconds of each artifact and phase, the largest memory of all processes together, and how many of the planted
near-duplicates went, beside what theory says of the bands. The making of the documents is not dedup's and told apart.

Of every ten documents four are copies of an earlier one of the same part whose last 0 to 12 of 60 words are others:
with 56 shingles of five words, m changed words leave a Jaccard similarity of (56 - m) / (56 + m).
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from pipeline.locations.location import InputFile
from pipeline.run import Run
from pipeline.stage import DOCUMENT_SCHEMA, Context, Outcome, RecipePath, Source, Split, StageConfig
from tests.benchmarks.demo import timed

WORDS, CHANGED = 60, 12  # words of a document; last ones that may be changed in a copy
VOCABULARY, LETTERS = 100_000, 7
PART = 50_000
BATCH = 10_000
COPIES = 0.4
BANDS, ROWS, THRESHOLD = 14, 8, 0.8


class PlantedConfig(StageConfig):
    files: RecipePath
    """Folder of one file a part, which holds its number."""


class Planted(Source[PlantedConfig]):
    """Documents with planted near-duplicates."""

    name = "planted"
    config_type = PlantedConfig

    def splits(self) -> list[Split]:
        paths = sorted(self.config.files.iterdir())
        return [Split((InputFile(path.name, str(path)),)) for path in paths]

    def read(self, split: Split, source: str, context: Context) -> Iterator[Outcome]:
        number = int(Path(split.files[0].location).read_text())
        words = planted_words(number)[0]
        for begin in range(0, PART, BATCH):
            table = documents_of(number, begin, words[begin : begin + BATCH], source)
            yield Outcome(table, created={source: table.num_rows})


def planted_words(number: int) -> tuple[NDArray[np.uint32], NDArray[np.int64], NDArray[np.int64]]:
    """Words of a part's documents, (documents, WORDS); of each the document it is a copy of; words changed (-1: none).

    Originals lie before their copies.
    """
    rng = np.random.default_rng(number)
    words = rng.integers(0, VOCABULARY, (PART, WORDS), dtype=np.uint32)
    is_copy = rng.random(PART) < COPIES
    is_copy[0] = False
    originals = np.flatnonzero(~is_copy)
    before = np.searchsorted(originals, np.arange(PART))
    original = originals[(rng.random(PART) * np.maximum(before, 1)).astype(np.int64)]
    changed = np.where(is_copy, rng.integers(0, CHANGED + 1, PART), -1)
    for i in np.flatnonzero(is_copy).tolist():
        words[i, : WORDS - changed[i]] = words[original[i], : WORDS - changed[i]]
    return words, original, changed


def documents_of(number: int, begin: int, words: NDArray[np.uint32], source: str) -> pa.Table:
    letters = np.random.default_rng(0).integers(97, 123, (VOCABULARY, LETTERS + 1), dtype=np.uint8)
    letters[:, LETTERS] = 32
    content = letters[words].reshape(len(words), -1)
    offsets = np.arange(len(words) + 1, dtype=np.int64) * content.shape[1]
    texts = pa.LargeStringArray.from_buffers(len(words), pa.py_buffer(offsets), pa.py_buffer(content.tobytes()))
    ids = [f"{number:05d}/{begin + i:05d}" for i in range(len(words))]
    columns = {"id": pa.array(ids), "text": texts, "source": pa.array([source] * len(words))}
    nothing = {f.name: pa.nulls(len(words), f.type) for f in DOCUMENT_SCHEMA if f.name not in columns}
    return pa.table({**nothing, **columns}).select(DOCUMENT_SCHEMA.names).cast(DOCUMENT_SCHEMA)


def main() -> None:
    """Run the recipe in a temporary folder and print what it cost."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--documents", type=int, default=1_000_000)
    parser.add_argument("--folder", type=Path, help="where to work; a temporary folder if absent")
    parser.add_argument("--task-memory-mb", type=int, default=1000)
    arguments = parser.parse_args()
    parts = max(1, arguments.documents // PART)
    with tempfile.TemporaryDirectory(dir=arguments.folder) as name:
        folder = Path(name)
        (folder / "parts").mkdir()
        for number in range(parts):
            (folder / "parts" / f"{number:05d}").write_text(str(number))
        docs = {"stage": "tests.benchmarks.dedup:Planted", "files": "parts"}
        artifacts: dict[str, object] = {"docs": docs}
        made_s, _ = run(folder, artifacts)
        artifacts["unique"] = {"stage": "dedup", "from": "docs", "task_memory_mb": arguments.task_memory_mb}
        started = time.monotonic()
        _, peak_bytes = run(folder, artifacts)
        tell(Run.open(folder / "run"), parts, made_s, time.monotonic() - started, peak_bytes)


def run(folder: Path, artifacts: dict[str, object]) -> tuple[float, int]:
    recipe = folder / "recipe.yaml"
    recipe.write_text(json.dumps({"name": "dedup", "artifacts": artifacts}))
    return timed(["run", str(recipe), "--out", str(folder / "run")])


def tell(finished: Run, parts: int, made_s: float, wall_s: float, peak_bytes: int) -> None:
    artifacts = finished.artifacts()
    print(f"{parts * PART:,} documents, made in {made_s:.0f} s; {os.cpu_count()} cores")
    print(f"{'artifact or phase':<24}{'tasks':>7}{'wall s':>9}{'CPU s':>9}{'µs a document':>15}{'peak MB':>9}{'MB':>9}")
    for name in ("unique.signatures", "unique.duplicates", "unique"):
        artifact = artifacts[name]
        cpu = sum(part.cpu_seconds for part in artifact.parts)
        files = sum(file.size_bytes for part in artifact.parts for file in part.files)
        peak = max(part.peak_memory_bytes for part in artifact.parts)
        for phase in artifact.phases:
            row(f"  {phase['phase']}", phase["parts"], None, phase["cpu_seconds"], parts, phase["peak_memory_bytes"],
                phase["size_bytes"])  # fmt: skip
        if artifact.phases:
            cpu = sum(phase["cpu_seconds"] for phase in artifact.phases)
        row(name, len(artifact.parts), finished.state.seconds[name], cpu, parts, peak, files)
    print(f"all: {wall_s:.0f} s wall (start of Ray included), at most {peak_bytes / 1e9:.1f} GB in all processes")
    similar, expected = 0, 0.0
    for number in range(parts):
        changed = planted_words(number)[2]
        found = changed[changed >= 0]
        jaccard = (56 - found) / (56 + found)
        over = jaccard[jaccard >= THRESHOLD]
        similar += len(over)
        expected += float((1 - (1 - over**ROWS) ** BANDS).sum())
    summary = artifacts["unique.duplicates"].summary
    print(
        f"removed {summary['removed']:,}; planted at {THRESHOLD} or more: {similar:,}, of which the bands find "
        f"{expected:,.0f} by theory; recall estimated in the run: {summary['audit']['recall']}"
    )


def row(name: str, tasks: int, wall: float | None, cpu: float, parts: int, peak: int, size: int) -> None:
    wall_told = "" if wall is None else f"{wall:.1f}"
    each = cpu / (parts * PART) * 1e6
    print(f"{name:<24}{tasks:>7}{wall_told:>9}{cpu:>9.1f}{each:>15.2f}{peak >> 20:>9,}{size / 1e6:>9,.0f}")


if __name__ == "__main__":
    sys.exit(main())
