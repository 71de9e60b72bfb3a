"""What cutting repeated lines costs beside datatrove's, and how far both agree.

    python -m tests.benchmarks.lines

Documents are those of ../shared/data/text, each with a URL of one of 500 made-up domains and some of the lines that
its domain and the whole web have. Ours runs all tasks of dedup_lines from Parquet to texts; datatrove's sentence dedup
(one line a span, its own normalisation) runs its three steps on every tenth document from memory, its Bloom filter
(of 13-grams of words) on every 400th. CPU seconds of one process, in turn.
"""

import contextlib
import io
import random
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pipeline.artifact import Artifact, document_parts, read_tables
from pipeline.stage import Context, documents
from stages.dedup.lines.cut import LinesCut, LinesCutConfig
from stages.dedup.lines.options import LineCountsConfig
from stages.dedup.lines.repeats import LineCounts
from tests.real_texts import real_texts
from tests.shuffle_runs import documents_artifact, run_shuffle

DATA = Path(__file__).resolve().parents[2].parent / "shared" / "data"
ROUNDS = 3
PARTS = 4
DATATROVE_EVERY, BLOOM_EVERY = 10, 400
PLANTED_SHARE = 0.5  # of a domain's or the web's lines, in a document
DEFAULTS: dict[str, Any] = {"min_words": None, "min_share": None}
TWICE = {**DEFAULTS, "per_domain": None, "over_corpus": {"min_documents": 2, "min_characters": 1}}
CONFIGURATIONS = {
    "by domain and over the corpus": DEFAULTS,
    "over the corpus, every line that is there twice": TWICE,
    "the same by the Bloom filter": {**TWICE, "keep_first": False, "counts": "bloom"},
}


def corpus() -> list[dict[str, Any]]:
    """Real texts with planted boilerplate, in random order."""
    rng = random.Random(1)
    everywhere = [planted(rng, 12) for _ in range(20)]
    menus: dict[int, list[str]] = defaultdict(lambda: [planted(rng, rng.randrange(2, 9)) for _ in range(12)])
    rows = []
    for text in real_texts(DATA, max_characters=20_000):
        domain = min(rng.randrange(1, 500), rng.randrange(1, 500))
        lines = [line for line in menus[domain] + everywhere[:4] if rng.random() < PLANTED_SHARE]
        url = f"https://www.site{domain}.example.com/{len(rows)}"
        rows.append(
            {"id": text.id, "source": "web", "url": url, "text": "\n".join([*lines[:6], text.text, *lines[6:]])}
        )
    rng.shuffle(rows)
    return rows


def planted(rng: random.Random, words: int) -> str:
    return " ".join("".join(rng.choices("abcdefghijklmnopqrstuvwxyz", k=rng.randrange(2, 10))) for _ in range(words))


def ours(artifact: Artifact, options: dict[str, Any], folder: Path) -> tuple[int, int]:
    """All tasks, as far as datatrove's steps go (no texts are written); the lines cut, and the bytes passed on."""
    counting = {name: value for name, value in options.items() if name in LineCountsConfig.model_fields}
    repeats = run_shuffle(LineCounts(LineCountsConfig.model_validate(counting)), {"documents": [artifact]}, folder)
    stage = LinesCut(LinesCutConfig.model_validate(options))
    cut = 0
    for part in document_parts([artifact]):
        stage.setup(Context(seed=1, side={"repeats": repeats.folder / repeats.part_named(part.name).folder}))
        for table in read_tables(part.path):
            outcome = stage.process(table)
            cut += sum(noted["lines_cut"] for noted in outcome.noted.values())
    return cut, sum(phase["size_bytes"] for phase in repeats.phases)


def datatrove_lines(rows: list[dict[str, Any]], folder: Path) -> int:
    """The three steps of datatrove's sentence dedup; the lines cut."""
    from datatrove.data import Document
    from datatrove.pipeline.dedup.sentence_dedup import (
        SentDedupConfig,
        SentenceDedupFilter,
        SentenceDedupSignature,
        SentenceFindDedups,
    )

    config = SentDedupConfig(n_sentences=1, split_sentences=False, min_doc_words=0, min_num_sentences=0)
    pages = [Document(text=row["text"], id=row["id"]) for row in rows]
    SentenceDedupSignature(str(folder / "signatures"), config=config).run(pages)
    SentenceFindDedups(str(folder / "signatures"), str(folder / "duplicates"), config=config).run()
    last = SentenceDedupFilter(str(folder / "duplicates"), config=config)
    for _ in last.run(pages):
        pass
    return int(last.stats["removed_sentences"].total)


def datatrove_bloom(rows: list[dict[str, Any]], folder: Path) -> int:
    from datatrove.data import Document
    from datatrove.pipeline.dedup.bloom_filter import BloomFilterConfig, SingleBloomFilter

    step = SingleBloomFilter(str(folder / "bloom"), BloomFilterConfig(m_bytes=1 << 24, expected_elements=10_000_000))
    return sum(1 for _ in step.run([Document(text=row["text"], id=row["id"]) for row in rows]))


def cpu_s(work: Callable[[Path], Any]) -> tuple[float, Any]:
    """CPU seconds, and what the work gives; it gets an empty folder and prints nothing."""
    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stderr(io.StringIO()):
        started = time.process_time()
        result = work(Path(folder))
        return time.process_time() - started, result


def main() -> None:
    from datatrove.utils.logging import logger

    logger.remove()
    rows = corpus()
    size = sum(len(row["text"].encode()) for row in rows)
    print(f"{len(rows):,} documents of {size / len(rows):,.0f} bytes")
    with tempfile.TemporaryDirectory() as folder:
        artifact = documents_artifact("web", [documents(rows[part::PARTS]) for part in range(PARTS)], Path(folder))
        few = rows[::DATATROVE_EVERY], rows[::BLOOM_EVERY]
        work: dict[str, tuple[int, Callable[[Path], Any]]] = {
            name: (len(rows), lambda out, options=options: ours(artifact, options, out))
            for name, options in CONFIGURATIONS.items()
        }
        work["datatrove, sentence dedup of lines"] = (len(few[0]), lambda out: datatrove_lines(few[0], out))
        work["datatrove, Bloom filter of 13-grams"] = (len(few[1]), lambda out: datatrove_bloom(few[1], out))
        sample = documents_artifact("few", [documents(few[0])], Path(folder))
        _, (cut, _) = cpu_s(lambda out: ours(sample, TWICE, out))
        _, theirs = cpu_s(lambda out: datatrove_lines(few[0], out))
        print(f"on {len(few[0]):,} documents we cut {cut:,} lines, datatrove {theirs:,}")
        for _ in range(ROUNDS):
            times = {}
            for name, (count, run) in work.items():
                seconds, result = cpu_s(run)
                times[name] = seconds / count
                passed = (
                    f", {result[0]:,} lines cut, {result[1] / count:,.0f} bytes passed on" if count == len(rows) else ""
                )
                print(f"{1e6 * times[name]:10.1f} us a document  {1 / times[name]:10,.0f} a second  {name}{passed}")
            least = times["datatrove, sentence dedup of lines"]
            print("times datatrove's sentence dedup:", [f"{least / times[name]:.0f}" for name in CONFIGURATIONS])


if __name__ == "__main__":
    main()
