"""Language identification beside datatrove's LanguageFilter: `python -m tests.benchmarks.language`.

Real documents of ../shared/data/text of 1.5 to 6 KB, in mixed order, go through both filters, in turns and one
process, with the same model (lid.176.ftz). Texts are in memory, for ours as Arrow batches, for datatrove as its
documents. Ratios are medians over the rounds of datatrove's CPU seconds beside ours in the same round; the least of
the seconds gives the documents per CPU second.

    fresh   the word cache is empty when the round begins: no document was seen before
    warm    all documents have been seen
    cold    a new process: kernels come from disk, the model is read, then the fresh round
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pyarrow as pa

from pipeline.stage import Context, Outcome, documents
from stages.filters.language import Language, LanguageConfig
from stages.text.language import shared_identifier

REPOSITORY = Path(__file__).resolve().parents[2]
TEXTS = REPOSITORY.parent / "shared" / "data" / "text"
MIN_BYTES, MAX_BYTES = 1_500, 6_000
BATCH = 500
DEMANDED, GOAL = 10, 25  # times datatrove's documents per second, fresh


def main() -> None:
    """Time both filters, and print who took how long and whether they agree."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--documents", type=int, default=6_000)
    parser.add_argument("--cold", action="store_true", help=argparse.SUPPRESS)  # in a process of its own
    arguments = parser.parse_args()
    texts = real_texts(arguments.documents)
    batches = [
        documents({"id": str(i), "source": "s", "text": text} for i, text in enumerate(texts[at : at + BATCH], at))
        for at in range(0, len(texts), BATCH)
    ]
    if arguments.cold:
        print(json.dumps(timed_ours(batches)[0]))
        return
    size = sum(len(text.encode()) for text in texts)
    print(f"{len(texts)} documents, {size / len(texts):.0f} bytes each")
    compare(texts, batches, arguments.rounds)


def real_texts(count: int) -> list[str]:
    """Documents of all domains by turns of chance, the same each time."""
    texts = []
    for path in sorted(TEXTS.glob("*.jsonl.zst")):
        with pa.CompressedInputStream(path, "zstd") as stream:
            texts += [json.loads(line)["text"] for line in stream.read().splitlines()]
    texts = [text for text in texts if MIN_BYTES <= len(text.encode()) <= MAX_BYTES]
    random.Random(1).shuffle(texts)
    return texts[:count]


def compare(texts: list[str], batches: list[pa.Table], rounds: int) -> None:
    seconds: dict[str, list[float]] = {"datatrove": [], "fresh": [], "warm": [], "cold": []}
    timed_ours(batches[:1])  # compiles
    for _ in range(rounds):
        shared_identifier.cache_clear()
        fresh, _ = timed_ours(batches, prepare=True)
        warm, ours = timed_ours(batches)
        datatrove, theirs = timed_datatrove(texts)
        for name, value in {"fresh": fresh, "warm": warm, "datatrove": datatrove, "cold": cold(len(texts))}.items():
            seconds[name].append(value)
    print(f"{'':<12}{'documents per CPU s':>20}{'times datatrove':>17}{'at least':>10}{'goal':>6}")
    for name, values in seconds.items():
        ratio = statistics.median(d / s for d, s in zip(seconds["datatrove"], values, strict=True))
        least, goal = (f"{DEMANDED}", f"{GOAL}") if name == "fresh" else ("", "")
        print(f"{name:<12}{len(texts) / min(values):>20,.0f}{ratio:>17.1f}{least:>10}{goal:>6}")
    print(agreement(ours, theirs))


def timed_ours(batches: list[pa.Table], prepare: bool = False) -> tuple[float, list[Outcome]]:
    """CPU seconds and outcomes; with ``prepare`` the model is read before the clock starts."""
    stage = Language(LanguageConfig(keep=("en",)))
    if prepare:
        stage.setup(Context(seed=1))
    started = time.process_time()
    if not prepare:
        stage.setup(Context(seed=1))
    outcomes = [stage.process(batch) for batch in batches]
    return time.process_time() - started, outcomes


def timed_datatrove(texts: list[str]) -> tuple[float, list[tuple[bool, str, float]]]:
    """CPU seconds and, for each document, whether it is kept, its language and the score."""
    import fasttext
    from datatrove.data import Document
    from datatrove.pipeline.filters import LanguageFilter

    LanguageFilter._requires_dependencies = []  # fasteners, for downloads only
    language_filter = LanguageFilter(languages=["en"])
    language_filter.model._model = fasttext.load_model(str(LanguageConfig().model_path()))
    rows = [Document(text=text, id=str(i)) for i, text in enumerate(texts)]
    started = time.process_time()
    kept = [bool(language_filter.filter(row)) for row in rows]
    seconds = time.process_time() - started
    return seconds, [(k, r.metadata["language"], r.metadata["language_score"]) for k, r in zip(kept, rows, strict=True)]


def cold(count: int) -> float:
    """CPU seconds of a new process, its imports and the reading of the texts apart."""
    command = [sys.executable, "-m", "tests.benchmarks.language", "--cold", "--documents", str(count)]
    seconds: float = json.loads(subprocess.run(command, check=True, capture_output=True, cwd=REPOSITORY).stdout)
    return seconds


def agreement(ours: list[Outcome], theirs: list[tuple[bool, str, float]]) -> str:
    found: dict[int, tuple[bool, str, float]] = {}
    for outcome in ours:
        kept: dict[str, list[Any]] = outcome.kept.select(["id", "language", "language.score"]).to_pydict()
        for id_, language, score in zip(*kept.values(), strict=True):
            found[int(id_)] = (True, language, score)
        for removal in outcome.removed:
            language = removal.evidence.split()[0]
            found[int(removal.id)] = (False, language, removal.scores["language.score"])
    pairs = [(found[i], their) for i, their in enumerate(theirs)]
    decisions = sum(our[0] == their[0] for our, their in pairs)
    labels = sum(our[1] == their[1] for our, their in pairs)
    difference = max(abs(our[2] - their[2]) for our, their in pairs)
    return (
        f"equal decisions {decisions} of {len(theirs)}, equal labels {labels} of {len(theirs)}, "
        f"largest difference of scores {difference:.1e}"
    )


if __name__ == "__main__":
    main()
