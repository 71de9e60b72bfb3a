"""How well a classifier trained by the stage agrees with human labels, and what scoring and cutoffs cost.

    python -m tests.benchmarks.quality [../shared/data]

Area under the ROC curve on web documents with a human label, beside heuristics that need no training; then documents a
CPU second of scoring against fastText's own predict, and rows a CPU second of the cutoffs. One process, one thread.
"""

import json
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from pathlib import Path

import fasttext
import numpy as np
import pyarrow as pa
from sklearn.metrics import roc_auc_score

from pipeline.artifact import Artifact
from pipeline.stage import Context, documents
from stages.filters.quality.classifier import Classifier
from stages.filters.quality.cutoffs import CutoffsConfig, cutoffs_of
from stages.filters.quality.score import ScoreQuality, ScoreQualityConfig
from stages.filters.quality.training import MODEL_FILE, TrainQuality, TrainQualityConfig
from stages.filters.quality.words import WordsConfig
from tests.stages.in_process import artifact_of

DATA = Path(__file__).resolve().parents[2].parent / "shared" / "data"
LABELS = ("dclm_majority_data", "dclm_agreement_data")
SIDES = {
    "encyclopedia, science": (
        ("wikipedia_en_wikitext2", "science_arxiv_abstracts"),
        ("web_commoncrawl", "web_informal_webtext"),
    ),
    "encyclopedia, science, books": (
        ("wikipedia_en_wikitext2", "science_arxiv_abstracts", "books_gutenberg", "general_brown"),
        ("web_commoncrawl", "web_informal_webtext"),
    ),
    "questions and answers": (("qa_stackexchange",), ("web_commoncrawl", "web_informal_webtext")),
    "questions and answers, encyclopedia, news": (
        ("qa_stackexchange", "wikipedia_en_wikitext2", "news_abc_australia", "general_brown"),
        ("web_commoncrawl", "web_informal_webtext"),
    ),
}
OPTIONS: tuple[dict[str, object], ...] = ({"words": "cased"}, {"words": "whitespace"}, {"words": "punctuation"})
STOP_WORDS = frozenset(("the", "be", "to", "of", "and", "that", "have", "with", "a", "in", "is", "for", "on", "it"))

HEURISTICS: dict[str, Callable[[str], float]] = {
    "words": lambda text: len(text.split()),
    "mean word length": lambda text: float(np.mean([len(word) for word in text.split()] or [0])),
    "share of stop words": lambda text: float(np.mean([w in STOP_WORDS for w in text.lower().split()] or [0])),
    "share of letters": lambda text: sum(map(str.isalpha, text)) / max(1, len(text)),
    "words a line": lambda text: len(text.split()) / max(1, text.count("\n") + 1),
    "share of lines that end a sentence": lambda text: float(
        np.mean([line.rstrip().endswith((".", "!", "?", '"')) for line in text.splitlines() if line.strip()] or [0])
    ),
}


def rows_of(path: Path) -> list[dict[str, str]]:
    """Rows of a zstd JSON Lines file."""
    return [json.loads(line) for line in pa.CompressedInputStream(str(path), "zstd").read().splitlines()]


def artifact(data: Path, folder: Path, name: str, files: Iterable[str]) -> Artifact:
    """An artifact of these domains of ../shared/data/text, one a part."""
    tables = [
        documents(
            {"id": f"{file}:{r['id']}", "source": file, "text": r["text"]}
            for r in rows_of(data / f"text/{file}.jsonl.zst")
        )
        for file in files
    ]
    return artifact_of(folder, name, tables)


def agreement(data: Path) -> None:
    """Print the area under the ROC curve of heuristics and of classifiers on the labelled documents."""
    labelled = {name: rows_of(data / f"quality_labels/{name}.jsonl.zst") for name in LABELS}
    truth = {name: [int(row["label"]) for row in rows] for name, rows in labelled.items()}
    print(f"{'':64}{'':8}" + "".join(f"{name.split('_')[1]:>12}" for name in LABELS))
    print(f"{'documents, of them good':72}" + "".join(f"{f'{len(t)}, {sum(t)}':>12}" for t in truth.values()))
    for name, heuristic in HEURISTICS.items():
        found = [roc_auc_score(truth[n], [heuristic(row["text"]) for row in labelled[n]]) for n in LABELS]
        print(f"{name:72}" + "".join(f"{auc:12.3f}" for auc in found))
    print("fastText, trained on these against web pages (first number: on its own held-out documents)")
    for name, (positive, negative) in SIDES.items():
        for options in OPTIONS:
            with tempfile.TemporaryDirectory() as folder:
                found, own = trained(data, Path(folder), positive, negative, options, labelled, truth)
            said = f"  {name}: {', '.join(map(str, options.values()))}"
            print(f"{said:64}{own:8.3f}" + "".join(f"{auc:12.3f}" for auc in found))


def trained(
    data: Path,
    folder: Path,
    positive: Iterable[str],
    negative: Iterable[str],
    options: dict[str, object],
    labelled: dict[str, list[dict[str, str]]],
    truth: dict[str, list[int]],
) -> tuple[list[float], float]:
    """AUC of a new classifier on each set of labels, and on its own held-out documents."""
    inputs = [artifact(data, folder, side, files) for side, files in (("good", positive), ("bad", negative))]
    config = TrainQualityConfig.model_validate({"positive": "good", "negative": "bad", **options})
    result = TrainQuality(config).run({"documents": inputs}, folder, Context(seed=1, work=folder))
    classifier = Classifier(folder / MODEL_FILE)
    found = [
        roc_auc_score(truth[n], classifier.scores([config.words_of(row["text"]) for row in labelled[n]]))
        for n in LABELS
    ]
    return found, result.summary["auc"]


def speed(data: Path) -> None:
    """Print what scoring and cutoffs cost."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        good = artifact(data, folder, "good", ["wikipedia_en_wikitext2", "science_arxiv_abstracts"])
        bad = artifact(data, folder, "bad", ["web_commoncrawl", "web_informal_webtext"])
        config = TrainQualityConfig(positive=("good",), negative=("bad",))
        TrainQuality(config).run({"documents": [good, bad]}, folder, Context(seed=1, work=folder))
        stage = ScoreQuality(ScoreQualityConfig(min_score=0.1))
        stage.setup(Context(seed=1, side={"classifier": folder}))
        model = fasttext.load_model(str(folder / MODEL_FILE))
        texts = [
            row["text"]
            for file in ("web_commoncrawl", "news_reuters21578")
            for row in rows_of(data / f"text/{file}.jsonl.zst")
        ]
        batches = [
            documents({"id": str(i), "source": "s", "text": t} for i, t in enumerate(texts[k : k + 256]))
            for k in range(0, len(texts), 256)
        ]
        lines = [WordsConfig().words_of(text) for text in texts]
        spent = {"stage quality_score": 0.0, "fastText predict on ready lines": 0.0, "words alone": 0.0}
        for _ in range(3):
            for what, work in (
                ("stage quality_score", lambda: [stage.process(batch) for batch in batches]),
                ("fastText predict on ready lines", lambda: [model.predict(line, k=2) for line in lines]),
                ("words alone", lambda: [WordsConfig().words_of(text) for text in texts]),
            ):
                started = time.process_time()
                work()
                spent[what] += time.process_time() - started
        print(f"\n{len(texts):,} documents, {sum(map(len, texts)) / len(texts):,.0f} characters each")
        for what, seconds in spent.items():
            print(f"{what:40}{3 * len(texts) / seconds:10,.0f} documents/s")
        cutoffs_speed(folder)


def cutoffs_speed(folder: Path) -> None:
    """Print rows a CPU second of the cutoffs, of scores as fastText gives them."""
    draw, rows, parts = np.random.default_rng(1), 500_000, 4
    tables = [
        pa.table(
            {
                "source": np.array(["web", "books"])[draw.integers(0, 2, rows)],
                "language": np.array(["en", "de", "fr", "zh"])[draw.integers(0, 4, rows)],
                "quality.score": draw.beta(0.3, 2, rows).astype(np.float32).astype(np.float64),
            }
        )
        for _ in range(parts)
    ]
    scored = artifact_of(folder, "scores", tables)
    started = time.process_time()
    cutoffs_of(lambda: scored.tables(["source", "language", "quality.score"], 65536), CutoffsConfig(top_share=0.1))
    seconds = time.process_time() - started
    print(f"cutoffs of {parts * rows:,} scored rows{'':15}{parts * rows / seconds:10,.0f} rows/s")


if __name__ == "__main__":
    where = Path(sys.argv[1]) if len(sys.argv) > 1 else DATA
    agreement(where)
    speed(where)
