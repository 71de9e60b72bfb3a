"""What semantic dedup costs and what it misses, on made-up embeddings: topics of Zipf sizes, noise, near copies.

    python -m tests.benchmarks.semantic [documents] [dimensions]

CPU seconds of each phase in one process and one thread; the share of duplicates found, counted against the comparison
of all pairs (one cluster), and the estimate of it that the run itself makes. Peak memory is that of the process in the
worst task, libraries included (about 250 MB).
"""

import sys
import tempfile
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from pipeline.artifact import Artifact
from pipeline.stage import DOCUMENT_SCHEMA, Context, Result, Task
from pipeline.usage import Usage
from stages.dedup.semantic.kernels import normalize
from stages.dedup.semantic.options import DedupSemanticConfig
from stages.dedup.semantic.stage import SemanticDuplicates
from tests.shuffle_runs import documents_artifact, run_shuffle

PARTS = 4
TOPICS_PER_DOCUMENT = 0.02
DUPLICATES = 0.2  # share of documents that are near another one, at a cosine of 0.9 to 1


def embeddings(rng: np.random.Generator, documents: int, dimensions: int) -> NDArray[np.float32]:
    """Vectors around topics of very different sizes (Zipf), two of one topic at a cosine of about 0.7; some are near
    another one."""
    topics = rng.standard_normal((max(1, int(TOPICS_PER_DOCUMENT * documents)), dimensions)).astype(np.float32)
    normalize(topics)
    sizes = 1 / np.arange(1, len(topics) + 1)
    originals = round((1 - DUPLICATES) * documents)
    noise = rng.standard_normal((documents, dimensions)).astype(np.float32)
    normalize(noise)
    vectors = np.sqrt(0.7) * topics[rng.choice(len(topics), documents, p=sizes / sizes.sum())] + np.sqrt(0.3) * noise
    normalize(vectors)
    similarity = rng.uniform(0.9, 1, (documents - originals, 1)).astype(np.float32)
    copied = vectors[rng.integers(originals, size=documents - originals)]
    vectors[originals:] = similarity * copied + np.sqrt(1 - similarity**2) * noise[originals:]
    normalize(vectors)
    return vectors


def artifact(vectors: NDArray[np.float32], folder: Path) -> Artifact:
    """Documents with these embeddings and no text, in several parts."""
    tables = []
    for part, rows in enumerate(np.array_split(vectors, PARTS)):
        columns = {f.name: pa.nulls(len(rows), f.type) for f in DOCUMENT_SCHEMA}
        columns["id"] = pa.array([f"{part}/{row}" for row in range(len(rows))])
        columns["source"] = pa.array(["web"] * len(rows))
        lists = pa.FixedSizeListArray.from_arrays(pa.array(rows.ravel()), rows.shape[1])
        tables.append(pa.table({**columns, "embedding": lists}))
    return documents_artifact("documents", tables, folder)


class Measured(SemanticDuplicates):
    """Semantic dedup that notes the CPU seconds of its phases, and the largest resident memory in a task."""

    def __init__(self, config: DedupSemanticConfig) -> None:
        super().__init__(config)
        self.cpu_seconds: defaultdict[str, float] = defaultdict(float)
        self.peak_memory_bytes = 0

    def work(self, task: Task, out: Path, context: Context) -> Result:
        usage = Usage()
        result = super().work(task, out, context)
        self.cpu_seconds[task.phase] += usage.cpu_seconds()
        self.peak_memory_bytes = max(self.peak_memory_bytes, usage.peak_memory_bytes())
        return result


def run(documents: Artifact, folder: Path, **options: Any) -> tuple[set[str], Measured, dict[str, Any]]:
    """Ids of the documents that go, the stage with its seconds, and the summary."""
    stage = Measured(DedupSemanticConfig(**options))
    found = run_shuffle(stage, {"documents": [documents]}, folder)
    tables = [pq.read_table(path, columns=["id"]) for path in found.file_paths("duplicates.parquet")]
    return set(pa.concat_tables(tables)["id"].to_pylist()), stage, dict(found.summary)


def main() -> None:
    count, dimensions = (int(a) for a in (*sys.argv[1:], *("100000", "384")[len(sys.argv) - 1 :]))
    vectors = embeddings(np.random.default_rng(1), count, dimensions)
    with tempfile.TemporaryDirectory() as name, threadpool_limits(limits=1):
        folder = Path(name)
        run(artifact(vectors[:2000], folder / "warm"), folder / "warm")  # compiles the kernels
        documents = artifact(vectors, folder)
        del vectors
        default = round(count**0.5 / 2)
        removed: dict[int, set[str]] = {}
        for clusters in (default, default * 2, 1):
            removed[clusters], stage, summary = run(documents, folder / f"{clusters}", clusters=clusters)
            total = sum(stage.cpu_seconds.values())
            phases = ", ".join(f"{phase} {seconds:.2f}" for phase, seconds in stage.cpu_seconds.items())
            recall = summary["audit"]["recall"]
            print(
                f"{clusters} clusters (largest {summary['largest_cluster']}): {count / total:,.0f} documents a CPU "
                f"second ({total:.1f} s: {phases}); {len(removed[clusters]):,} removed, recall by the audit "
                f"{recall:.3f} of {summary['audit']['queries_with_similar']} documents; peak "
                f"{stage.peak_memory_bytes / 1e6:,.0f} MB"
            )
        for clusters, gone in removed.items():
            print(f"{clusters} clusters: {len(gone) / len(removed[1]):.4f} of the documents removed with one cluster")


if __name__ == "__main__":
    main()
