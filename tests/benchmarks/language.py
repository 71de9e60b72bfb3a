"""Language identification beside datatrove's LanguageFilter: `python -m tests.benchmarks.language`.

Real documents of ../shared/data/text of 1.5 to 6 KB, in mixed order, go through both filters, in turns and one
process, with the same model (lid.176.ftz). Texts are in memory, for ours as Arrow batches, for datatrove as its
documents. Ratios are medians over the rounds of datatrove's CPU seconds beside ours in the same round; the least of
the seconds gives the documents per CPU second.

    fresh   the word cache is empty when the round begins: no document was seen before
    warm    all documents have been seen
    cold    a new process: kernels come from disk, the model is read, then the fresh round

datatrove asks for another build of fastText than this environment has, under the same name. For the ratios to datatrove
with that one, in a process of its own each round:

    pip install --no-deps --target FOLDER fasttext-numpy2-wheel==0.9.2
    python -m tests.benchmarks.language --fasttext FOLDER
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from pipeline.stage import Context, Outcome, documents
from stages.filters.language import Language, LanguageConfig
from stages.text.language import shared_identifier
from tests.real_texts import real_texts

REPOSITORY = Path(__file__).resolve().parents[2]
DATA = REPOSITORY.parent / "shared" / "data"
MIN_BYTES, MAX_BYTES = 1_500, 6_000
BATCH = 500
DEMANDED, GOAL = 10, 25  # times datatrove's documents per second, fresh
PEER, PEER_AS_INSTALLED = "datatrove", "datatrove as it installs itself"

Results = Sequence[tuple[bool, str, float]]  # for each document: whether it is kept, its language and the score


def main() -> None:
    """Time both filters, and print who took how long and whether they agree."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--documents", type=int, help="all if absent")
    parser.add_argument("--fasttext", type=Path, metavar="FOLDER", help="holds the fastText that datatrove asks for")
    parser.add_argument("--alone", choices=("cold", "datatrove"), help=argparse.SUPPRESS)  # in a process of its own
    arguments = parser.parse_args()
    texts = mixed_texts()[: arguments.documents]
    if arguments.alone == "datatrove":
        print(json.dumps(timed_datatrove(texts, arguments.fasttext)))
        return
    batches = [
        documents({"id": str(i), "source": "s", "text": text} for i, text in enumerate(texts[at : at + BATCH], at))
        for at in range(0, len(texts), BATCH)
    ]
    if arguments.alone == "cold":
        print(json.dumps(timed_ours(batches)[0]))
        return
    size = sum(len(text.encode()) for text in texts)
    print(f"{len(texts)} documents, {size / len(texts):.0f} bytes each")
    compare(texts, batches, arguments.rounds, arguments.fasttext and arguments.fasttext.resolve())


def mixed_texts() -> list[str]:
    """Documents of all domains by turns of chance, the same each time."""
    texts = [text.text for text in real_texts(DATA)]
    texts = [text for text in texts if MIN_BYTES <= len(text.encode()) <= MAX_BYTES]
    random.Random(1).shuffle(texts)
    return texts


def compare(texts: list[str], batches: list[pa.Table], rounds: int, fasttext_folder: Path | None) -> None:
    peers = [PEER, PEER_AS_INSTALLED] if fasttext_folder else [PEER]
    seconds: dict[str, list[float]] = {name: [] for name in (*peers, "fresh", "warm", "cold")}
    theirs: dict[str, Results] = {}
    timed_ours(batches[:1])  # compiles
    for _ in range(rounds):
        shared_identifier.cache_clear()
        fresh, _ = timed_ours(batches, prepare=True)
        warm, ours = timed_ours(batches)
        times = {"fresh": fresh, "warm": warm}
        times[PEER], theirs[PEER] = timed_datatrove(texts)
        if fasttext_folder:
            options = ("--fasttext", str(fasttext_folder))
            times[PEER_AS_INSTALLED], theirs[PEER_AS_INSTALLED] = alone("datatrove", len(texts), *options)
        times["cold"] = alone("cold", len(texts))
        for name, value in times.items():
            seconds[name].append(value)
    names = len(PEER_AS_INSTALLED)
    print(" " * names + f"{'documents per CPU s':>21}" + "".join(f"  times {peer}" for peer in peers))
    for name, values in seconds.items():
        row = f"{name:<{names}}{len(texts) / min(values):>21,.0f}"
        for peer in peers:
            ratio = statistics.median(their / our for their, our in zip(seconds[peer], values, strict=True))
            row += f"{ratio:>{len(peer) + 8}.1f}"
        print(row)
    print(f"fresh at least {DEMANDED} times datatrove is demanded, {GOAL} are the goal")
    for peer in peers:
        print(f"{peer}: {agreement(ours, theirs[peer])}")


def alone(what: str, count: int, *options: str) -> Any:
    """What a new process prints of its own timing, its imports and the reading of the texts apart."""
    command = [sys.executable, "-m", "tests.benchmarks.language", "--alone", what, "--documents", str(count), *options]
    return json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE, cwd=REPOSITORY).stdout)


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


def timed_datatrove(texts: list[str], fasttext_folder: Path | None = None) -> tuple[float, Results]:
    """CPU seconds and results; with the fastText of this folder, if one is given."""
    if fasttext_folder:
        sys.path.insert(0, str(fasttext_folder))
    import fasttext
    from datatrove.data import Document
    from datatrove.pipeline.filters import LanguageFilter

    if fasttext_folder and not Path(fasttext.__file__).is_relative_to(fasttext_folder):
        raise SystemExit(f"there is no fastText in {fasttext_folder}: --help tells how to install it there")
    LanguageFilter._requires_dependencies = []  # fasteners, for downloads only
    language_filter = LanguageFilter(languages=["en"])
    language_filter.model._model = fasttext.load_model(str(LanguageConfig().model_path()))
    rows = [Document(text=text, id=str(i)) for i, text in enumerate(texts)]
    started = time.process_time()
    kept = [bool(language_filter.filter(row)) for row in rows]
    seconds = time.process_time() - started
    return seconds, [(k, r.metadata["language"], r.metadata["language_score"]) for k, r in zip(kept, rows, strict=True)]


def agreement(ours: list[Outcome], theirs: Results) -> str:
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
