"""The four heuristic filters in FineWeb's order against datatrove's: speed, decisions, reasons and edited texts.

    python -m tests.benchmarks.filters [--documents N] [--every K] [--no-cold]

Documents are the English ones of ../shared/data/text, distinct, in an order drawn by a hash of their ids: 25,000 of 17
kinds, from newswire and forums to statutes and papers; longer ones are cut at 20,000 characters. Both sides run Gopher
repetition, Gopher quality, C4 (lines without an end mark stay, as FineWeb has it) and FineWeb's rules. Ours measures
every document with every filter; datatrove stops at the first that drops it, and is given every K-th document to save
time (--every 1: all). CPU seconds of this process; batches of both sides take turns.

"Cold" is the set-up of the four filters in a new process with nothing compiled, and in one with compiled kernels;
"fresh" the first time that this process sees the documents, "warm" the second. Decision, first reason and text left are
compared on every document that datatrove saw; exits with 1 if any differs.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any

import pyarrow as pa
import xxhash
from datatrove.data import Document

from pipeline.filter import Filter
from pipeline.stage import Context, documents
from stages.text.words import scanned
from tests.real_texts import real_texts
from tests.stages.filters.datatrove_filters import FILTERS, REASONS, datatrove_filter

DATA = Path(__file__).resolve().parents[2].parent / "shared" / "data"
BATCH = 1000
OPTIONS: dict[str, dict[str, Any]] = {"c4": {"remove_unpunctuated_lines": False}}
Ending = tuple[str | None, str]  # "filter: reason", or None and the text that is left

SET_UP = """
import time
from pipeline.stage import Context
from tests.stages.filters.datatrove_filters import FILTERS
started = time.process_time()
for stage in FILTERS:
    stage(stage.config_type()).setup(Context(seed=1))
print(time.process_time() - started)
"""


def corpus(count: int | None) -> list[str]:
    texts = {text.id: text.text for text in real_texts(DATA, english_only=True, max_characters=20_000)}
    return list(dict.fromkeys(texts[id_] for id_ in sorted(texts, key=xxhash.xxh64_intdigest)))[:count]


def made() -> list[Filter[Any]]:
    stages = [stage(stage.config_type.model_validate(OPTIONS.get(stage.name, {}))) for stage in FILTERS]
    for stage in stages:
        stage.setup(Context(seed=1))
    return stages


def ours(stages: list[Filter[Any]], batch: pa.Table, spent: dict[str, float]) -> list[Ending]:
    """Endings of a batch; CPU seconds are added to ``spent`` by filter."""
    started = time.process_time()
    batch, _ = scanned(batch)
    spent["words"] += time.process_time() - started
    reasons: list[str | None] = [None] * batch.num_rows
    for stage in stages:
        started = time.process_time()
        batch = stage.measure(batch)
        for i, verdict in enumerate(stage.verdicts(batch)):
            if verdict and reasons[i] is None:
                reasons[i] = f"{stage.name}: {verdict[1]}"
        spent[stage.name] += time.process_time() - started
    return [(reason, "" if reason else text) for reason, text in zip(reasons, batch["text"].to_pylist(), strict=True)]


def theirs(filters: dict[str, Any], text: str, spent: dict[str, float]) -> Ending:
    document = Document(text=text, id="0")
    for name, filter_ in filters.items():
        started = time.process_time()
        verdict = filter_.filter(document)
        spent[name] += time.process_time() - started
        if verdict is not True:
            return f"{name}: {REASONS.get(verdict[1], verdict[1])}", ""
    return None, document.text


def cold() -> str:
    seconds = []
    with tempfile.TemporaryDirectory() as folder:
        for _ in range(2):
            environment = os.environ | {"NUMBA_CACHE_DIR": folder}
            done = subprocess.run([sys.executable, "-c", SET_UP], env=environment, capture_output=True, check=True)
            seconds.append(float(done.stdout))
    return f"cold: set-up of the four filters takes {seconds[0]:.1f} CPU s, with compiled kernels {seconds[1]:.1f} s"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--documents", type=int, help="so many of them (default: all)")
    parser.add_argument("--every", type=int, default=50, help="datatrove is given every K-th document")
    parser.add_argument("--no-cold", action="store_true", help="leave out the set-up in new processes")
    arguments = parser.parse_args()
    if not arguments.no_cold:
        print(cold())

    texts = corpus(arguments.documents)
    batches = [
        documents({"id": str(i), "source": "s", "text": text} for i, text in enumerate(texts[at : at + BATCH]))
        for at in range(0, len(texts), BATCH)
    ]
    stages = made()
    reference = {stage.name: datatrove_filter(stage, OPTIONS.get(stage.name, {})) for stage in FILTERS}
    theirs(reference, "Loads its tokenizer, which is not timed. " * 20, defaultdict(float))
    spent: dict[str, dict[str, float]] = {name: defaultdict(float) for name in ("fresh", "warm", "datatrove")}
    endings, compared, differing = Counter[str](), 0, []
    for batch in batches:
        fresh = ours(stages, batch, spent["fresh"])
        for i, text in list(enumerate(batch["text"].to_pylist()))[:: arguments.every]:
            compared += 1
            expected = theirs(reference, text, spent["datatrove"])
            if fresh[i] != expected:
                differing.append((text[:60], fresh[i][0], expected[0]))
        endings.update(reason or "kept" for reason, _ in fresh)
    for batch in batches:
        ours(stages, batch, spent["warm"])

    size = sum(len(text.encode()) for text in texts)
    print(f"{len(texts)} documents, {size / len(texts):.0f} bytes each on average; {compared} of them by datatrove too")
    print(f"{'us a document':24}{'fresh':>9}{'warm':>9}{'datatrove':>11}")
    per_document = {name: {k: 1e6 * s / len(texts) for k, s in spent[name].items()} for name in ("fresh", "warm")}
    per_document["datatrove"] = {k: 1e6 * s / compared for k, s in spent["datatrove"].items()}
    for name in ("words", "gopher_repetition", "gopher_quality", "c4", "fineweb"):
        row = "".join(f"{per_document[side].get(name, 0):{9 + 2 * (side == 'datatrove')}.1f}" for side in per_document)
        print(f"{name:24}{row}")
    total = {name: sum(by_filter.values()) for name, by_filter in per_document.items()}
    print(f"{'together':24}{total['fresh']:9.1f}{total['warm']:9.1f}{total['datatrove']:11.1f}")
    print(f"ratio: fresh {total['datatrove'] / total['fresh']:.0f}, warm {total['datatrove'] / total['warm']:.0f}")
    print(", ".join(f"{name} {count}" for name, count in endings.most_common()))
    print(f"different decision, reason or text: {len(differing)} of {compared}")
    for text, found, expected in differing[:10]:
        print(f"  {found} instead of {expected}: {text!r}")
    return 1 if differing else 0


if __name__ == "__main__":
    sys.exit(main())
