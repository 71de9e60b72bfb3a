"""Speed and recall of decontamination, beside datatrove's filter on the same documents in the same run.

    python -m tests.benchmarks.decontamination [../shared/data]

Real documents of every corpus, one in ten of them with a real evaluation text planted in it: as it is, and once more
with other case, punctuation and whitespace. Speed: megabytes of text per CPU second of one core, the two in turn on
each batch, kernels compiled before and datatrove's tokenizer warmed up. Both indexes hold the same texts; datatrove
drops a document for one 12-gram in common, its default, and so does ours in the second row.
"""

import json
import random
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import zstandard

from pipeline.stage import Context, documents
from stages.decontaminate.evaluation import EvaluationText, evaluation_files, evaluation_texts
from stages.decontaminate.stage import Decontaminate, DecontaminateConfig
from stages.dedup.shingles import words

SHARED_DATA = Path(__file__).resolve().parents[3] / "shared" / "data"
DOCUMENT_BYTES = 250_000  # of each corpus
MAX_DOCUMENT_CHARACTERS = 50_000
PLANTED_EVERY = 10
BATCH_ROWS = 256
MIN_PLANTED_WORDS = 13
GAPS = (" ", "  ", "\n", ", ", "! ", " — ", "\t")
CASES: tuple[Callable[[str], str], ...] = (str.upper, str.lower, str.title, str)


def real_documents(folder: Path) -> list[str]:
    found = []
    for path in sorted(folder.glob("*.jsonl.zst")):
        size = 0
        with zstandard.open(path, "rt", encoding="utf-8") as lines:
            for line in lines:
                text = json.loads(line)["text"][:MAX_DOCUMENT_CHARACTERS]
                found.append(text)
                size += len(text.encode())
                if size >= DOCUMENT_BYTES:
                    break
    return found


def disguised(text: str, chance: random.Random) -> str:
    return "".join(chance.choice(CASES)(word) + chance.choice(GAPS) for word in text.split())


def datatroves_filter(texts: Sequence[EvaluationText], folder: Path):  # type: ignore[no-untyped-def]
    """datatrove's filter with an index of the same texts; its own indexer wants lighteval."""
    from datatrove.pipeline.decont import NGramsDecontFilter
    from datatrove.utils.text import ngrams, simplify_text

    made = NGramsDecontFilter(str(folder))
    hashes: dict[str, set[int]] = {}
    for text in texts:
        tokens = made.tokenizer.word_tokenize(simplify_text(text.text, made.config.norm_config))
        found = map(made.hash_func, map(" ".join, ngrams(tokens, made.config.n_grams)))
        hashes.setdefault(text.task, set()).update(found)
    for task, its_hashes in hashes.items():
        array = np.array(list(its_hashes), made.config.hash_config.np_descr)
        (folder / f"{task}.index.hashes").write_bytes(array.tobytes())
    made.load_index_hashes()
    return made


def main() -> None:
    from datatrove.data import Document

    data = Path(sys.argv[1]) if len(sys.argv) > 1 else SHARED_DATA
    chance = random.Random(1)
    corpus = real_documents(data / "text")
    start = time.process_time()
    texts = list(evaluation_texts(evaluation_files([data / "eval_tasks"]), (), 8))
    print(f"read {len(texts):,} evaluation texts: {time.process_time() - start:.2f} s")
    long = [t for t in texts if sum(not word.isdigit() for word in words(t.text)) >= MIN_PLANTED_WORDS]
    plain = {i: chance.choice(long).text for i in range(0, len(corpus), PLANTED_EVERY)}
    other = {i + PLANTED_EVERY // 2: disguised(chance.choice(long).text, chance) for i in plain}
    rows = [f"{t}\n\n{p}\n\n" if (p := plain.get(i) or other.get(i)) else t for i, t in enumerate(corpus)]
    sizes = [len(row.encode()) for row in rows]
    print(f"{len(rows):,} documents, {sum(sizes) / 1e6:.1f} MB, {len(plain) + len(other)} with a planted row")

    ours = {}
    for name, options in {"8-grams, 13 words or 70 %": {}, "12 words": {"ngram": 12, "match_words": 12}}.items():
        config = DecontaminateConfig(files=(data / "eval_tasks",), **options)
        stage = Decontaminate(config)
        stage.setup(Context(seed=1))
        stage.measure(documents([{"id": "0", "source": "s", "text": "warm"}]))
        start = time.process_time()
        index = config.index()
        print(f"ours ({name}): index of {len(index.hashes):,} n-grams, {index.size_bytes / 1e6:.0f} MB, "
              f"{time.process_time() - start:.2f} s with reading")  # fmt: skip
        ours[name] = stage
    with tempfile.TemporaryDirectory() as folder:
        start = time.process_time()
        theirs = datatroves_filter(texts, Path(folder))
        print(f"datatrove: index built in {time.process_time() - start:.2f} s")

    seconds: Counter[str] = Counter()
    dropped: dict[str, set[int]] = {name: set() for name in (*ours, "datatrove")}
    for first in range(0, len(rows), BATCH_ROWS):
        batch = documents(
            [{"id": str(i), "source": "s", "text": rows[i]} for i in range(first, min(first + BATCH_ROWS, len(rows)))]
        )
        for name, stage in ours.items():
            start = time.process_time()
            outcome = stage.process(batch)
            seconds[name] += time.process_time() - start
            dropped[name].update(int(removed.id) for removed in outcome.removed)
        trove = [Document(row["text"], row["id"]) for row in batch.to_pylist()]
        start = time.process_time()
        verdicts = [theirs.filter(document) for document in trove]
        seconds["datatrove"] += time.process_time() - start
        dropped["datatrove"].update(int(d.id) for d, v in zip(trove, verdicts, strict=True) if v is not True)

    untouched = len(rows) - len(plain) - len(other)
    print(f"\n{'':28}{'MB/s':>8}{'ratio':>8}{'recall':>9}{'disguised':>11}{'of ' + str(untouched) + ' untouched':>20}")
    for name, found in dropped.items():
        rate = sum(sizes) / 1e6 / seconds[name]
        print(
            f"{name:28}{rate:8.2f}{seconds['datatrove'] / seconds[name]:8.0f}"
            f"{len(found & plain.keys()) / len(plain):9.3f}{len(found & other.keys()) / len(other):11.3f}"
            f"{len(found - plain.keys() - other.keys()):20}"
        )
    for name in ours:
        for i in sorted(dropped["datatrove"] - dropped[name])[:5]:
            print(f"datatrove alone ({name}): document {i}, {'planted' if i in plain or i in other else 'untouched'}")


if __name__ == "__main__":
    main()
