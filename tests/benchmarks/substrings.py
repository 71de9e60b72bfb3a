"""Speed of finding long repeated substrings, beside a suffix array over the same words.

    pip install --no-deps --target PEER pydivsufsort==0.0.20
    PYTHONPATH=PEER python -m tests.benchmarks.substrings [../shared/data]

All documents of ../shared/data/text, in parts of 2,000. Ours: every phase as its tasks run it, Parquet in and out, with
the cut, kernels compiled before. The peer is the practice of Lee et al. (2022) in one process: a suffix array over the
words of all documents as numbers, by libdivsufsort, longest common prefixes by Kasai's algorithm, and runs of at least
50 words in common; it is given the numbers and writes nothing. CPU seconds, the least of three turns each; both must
cut the same tokens.
"""

import sys
import tempfile
import time
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.artifact import Artifact, document_parts
from pipeline.stage import Context, Result, Task, documents
from stages.dedup.substrings.cutting import CutSubstrings
from stages.dedup.substrings.options import CutConfig, RepeatedSpansConfig
from stages.dedup.substrings.stage import RepeatedSpans
from stages.text.normalized_words import characters, scan, texts_of
from tests.real_texts import RealText, real_texts
from tests.shuffle_runs import documents_artifact, run_shuffle

SHARED_DATA = Path(__file__).resolve().parents[3] / "shared" / "data"
PART_DOCUMENTS = 2000
MIN_TOKENS = 50
ATTEMPTS = 3


class Timed(RepeatedSpans):
    """The stage, its CPU seconds and bytes written by phase."""

    def __init__(self, config: RepeatedSpansConfig) -> None:
        super().__init__(config)
        self.seconds: Counter[str] = Counter()
        self.written: Counter[str] = Counter()

    def work(self, task: Task, out: Path, context: Context) -> Result:
        start = time.process_time()
        result = super().work(task, out, context)
        self.seconds[task.phase] += time.process_time() - start
        self.written[task.phase] += sum(path.stat().st_size for path in out.iterdir())
        return result


def found(artifact: Artifact, folder: Path) -> tuple[Timed, Artifact]:
    stage = Timed(RepeatedSpansConfig(min_tokens=MIN_TOKENS, newest_first=False))
    return stage, run_shuffle(stage, {"documents": [artifact]}, folder)


def cut_seconds(artifact: Artifact, spans: Artifact) -> float:
    seconds = 0.0
    for part, sliced in zip(document_parts([artifact]), spans.parts, strict=False):
        tables = list(pq.ParquetFile(part.path).iter_batches(1024))
        start = time.process_time()
        cut = CutSubstrings(CutConfig())
        cut.setup(Context(seed=1, side={"spans": spans.folder / sliced.folder}))
        for batch in tables:
            cut.process(pa.Table.from_batches([batch]))
        seconds += time.process_time() - start
    return seconds


def numbered_words(texts: list[str]) -> tuple[np.ndarray, np.ndarray]:
    """All words as numbers, a number of its own behind each document; and the document of each."""
    hashes, lengths = [], []
    for text in texts:
        one = texts_of(pa.array([text], pa.large_string()))
        room = 2 * len(one.content) + 2
        words, starts, ends = np.empty(room, np.uint64), np.empty(room, np.int32), np.empty(room, np.int32)
        count = scan(one.content, one.offsets[0], one.offsets[1], *characters(), words, starts, ends)
        hashes.append(words[:count])
        lengths.append(count)
    _, numbers = np.unique(np.concatenate(hashes), return_inverse=True)
    ends = np.cumsum(lengths)
    document = np.repeat(np.arange(len(texts)), np.array(lengths) + 1)
    separators = numbers.max() + 1 + np.arange(len(texts))
    return np.insert(numbers, ends, separators).astype(np.uint32), document


def by_suffix_array(numbers: np.ndarray, document: np.ndarray) -> np.ndarray:
    """Which words are cut: of equal windows, all but those of the first document that overlap the first."""
    import pydivsufsort

    order = pydivsufsort.divsufsort(numbers)
    common = pydivsufsort.kasai(numbers, order)  # of each suffix with the next one
    is_new = np.concatenate([[True], common[:-1] < MIN_TOKENS])
    begins = np.flatnonzero(is_new)
    best = np.minimum.reduceat(order, begins)[np.cumsum(is_new) - 1]
    repeated = (document[order] != document[best]) | (order >= best + MIN_TOKENS)
    places = np.sort(order[repeated])
    edges = np.zeros(len(numbers) + 1, np.int64)
    np.add.at(edges, places, 1)
    np.add.at(edges, places + MIN_TOKENS, -1)
    return np.cumsum(edges[:-1]) > 0


def cut_by_document(spans: Artifact) -> dict[str, int]:
    slices = (row for path in spans.file_paths("spans.parquet") for row in pq.read_table(path).to_pylist())
    return {row["id"]: sum(span["tokens"] for span in row["spans"]) for row in slices}


def told(by_set: Mapping[str, Mapping[str, Any]], summary: Mapping[str, Any]) -> None:
    print(f"\n{'':34}{'documents':>10}{'with cuts':>10}{'tokens':>12}{'cut':>9}")
    for name, counts in {**by_set, "all": summary}.items():
        share = counts["tokens_repeated"] / max(1, counts["tokens"])
        print(f"{name:34}{counts['documents']:10,}{counts['documents_repeated']:10,}{counts['tokens']:12,}{share:9.2%}")


def main() -> None:
    data = Path(sys.argv[1]) if len(sys.argv) > 1 else SHARED_DATA
    rows: list[RealText] = list(real_texts(data))
    size = sum(len(row.text.encode()) for row in rows)
    # dates in the order of the documents: the first occurrence in the suffix array's text is then the best
    tables = [
        documents(
            [
                {"id": row.id, "text": row.text, "source": row.set, "date": f"{first + i:014}"}
                for i, row in enumerate(rows[first : first + PART_DOCUMENTS], 1)
            ]
        )
        for first in range(0, len(rows), PART_DOCUMENTS)
    ]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        artifact = documents_artifact("documents", tables, folder)
        warm = documents_artifact("warm", [tables[0].slice(0, 200)] * 2, folder)
        cut_seconds(warm, found(warm, folder / "warm")[1])
        numbers, document = numbered_words([row.text for row in rows])
        best: dict[str, float] = {}
        theirs = float("inf")
        for attempt in range(ATTEMPTS):
            stage, spans = found(artifact, folder / str(attempt))
            seconds = {**stage.seconds, "cut": cut_seconds(artifact, spans)}
            best = {phase: min(best.get(phase, spent), spent) for phase, spent in seconds.items()}
            start = time.process_time()
            covered = by_suffix_array(numbers, document)
            theirs = min(theirs, time.process_time() - start)
        ours = sum(best.values())
        print(f"{len(rows):,} documents, {size / 1e6:.1f} MB, {len(numbers) - len(rows):,} tokens")
        print(f"\nours: {ours:.2f} s, {len(rows) / ours:,.0f} documents/s, {size / 1e6 / ours:.0f} MB/s")
        for phase, spent in best.items():
            print(f"  {phase:10}{spent:7.2f} s{stage.written[phase] / 1e6:9.2f} MB written")
        print(f"suffix array: {theirs:.2f} s, {len(rows) / theirs:,.0f} documents/s; ratio {theirs / ours:.1f}")
        expected = np.bincount(document[covered], minlength=len(rows))
        both = cut_by_document(spans)
        differ = sum(both.get(row.id, 0) != count for row, count in zip(rows, expected.tolist(), strict=True))
        print(f"documents of which they cut different numbers of tokens: {differ}")
        told(spans.summary["sources"], spans.summary)
        for passage in spans.summary["largest_passages"][:5]:
            print(
                f"{passage['tokens']} tokens in {passage['kept']}, again {passage['times']}x: {passage['text'][:60]!r}"
            )


if __name__ == "__main__":
    main()
