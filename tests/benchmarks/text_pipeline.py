"""Parquet -> language -> filters -> Parquet -> MinHash -> Parquet: Sluice's own tasks against datatrove's executor.

    python -m tests.benchmarks.text_pipeline [--documents N] [--reference N] [--english]

Documents are real ones of ../shared/data/text, distinct, in an order drawn by a hash of their ids; a quarter of them
are Chinese, German, French or Dutch, unless --english leaves these files out. Both sides read and write Parquet in one
process and are timed in CPU seconds of that process: language (keep English, 0.65), Gopher repetition, Gopher quality,
C4 (lines without a terminal mark stay, as FineWeb has it), FineWeb's rules, MinHash signatures (word 5-grams, 14 bands
of 8). Sluice measures every document with every filter, datatrove stops at the first that drops it. "Start" is what a
new process spends on the first 200 documents, loading kernels, tables and models, with "cold" also on compiling the
kernels; "fresh" is its first pass over the documents, none of which it has seen, "warm" the second. The kept ids of
both sides are compared on all documents that datatrove was given.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import xxhash

from pipeline.stage import documents
from tests.real_texts import real_texts

DATA = Path(__file__).resolve().parents[2].parent / "shared" / "data"
PART_DOCUMENTS = 6000


def write_corpus(folder: Path, first: int, last: int, english_only: bool) -> list[Path]:
    """Parquet files of some of the documents, 6,000 each: about a second of work."""
    texts = sorted(real_texts(DATA, english_only=english_only), key=lambda text: xxhash.xxh64_intdigest(text.id))
    rows = [{"id": text.id, "text": text.text, "source": text.set} for text in texts[first:last]]
    paths = []
    folder.mkdir(parents=True)
    for at in range(0, len(rows), PART_DOCUMENTS):
        path = folder / f"{at // PART_DOCUMENTS:03}.parquet"
        pq.write_table(documents(rows[at : at + PART_DOCUMENTS]), path, compression="zstd")
        paths.append(path)
    return paths


def sluice(paths: list[Path], out: Path) -> tuple[set[str], float]:
    """Ids that are kept, and CPU seconds."""
    from pipeline.registry import stage_class
    from pipeline.stage import StageConfig
    from pipeline.task import PartSpec, StepSpec, run_part

    def steps(*chain: tuple[str, dict[str, Any]]) -> tuple[StepSpec, ...]:
        found = []
        for name, options in chain:
            kind = stage_class(name)
            config: StageConfig = kind.config_type.model_validate(options)
            found.append(StepSpec(f"kept.{name}", kind, config, {}))
        return tuple(found)

    filters = steps(
        ("language", {"keep": ["en"]}),
        ("gopher_repetition", {}),
        ("gopher_quality", {}),
        ("c4", {"remove_unpunctuated_lines": False}),
        ("fineweb", {}),
    )
    signatures = steps(("dedup_signatures", {}))
    kept: set[str] = set()
    started = time.process_time()
    for path in paths:
        part = run_part(PartSpec(out, "kept", path.stem, path.stem, filters, seed=1, documents=(path,)))
        file = out / "artifacts/kept" / part.folder / "documents.parquet"
        if file.exists():
            run_part(PartSpec(out, "signed", path.stem, path.stem, signatures, seed=1, documents=(file,)))
    spent = time.process_time() - started
    for path in out.glob("artifacts/kept/data/*/documents.parquet"):
        kept.update(pq.read_table(path, columns=["id"])["id"].to_pylist())
    return kept, spent


def datatrove(paths: list[Path], out: Path) -> tuple[set[str], float]:
    """Ids that are kept, and CPU seconds."""
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    from datatrove.pipeline.dedup import MinhashDedupSignature
    from datatrove.pipeline.dedup.minhash import MinhashConfig
    from datatrove.pipeline.filters import (
        C4QualityFilter,
        FineWebQualityFilter,
        GopherQualityFilter,
        GopherRepetitionFilter,
        LanguageFilter,
    )
    from datatrove.pipeline.readers import ParquetReader
    from datatrove.pipeline.writers import ParquetWriter
    from datatrove.utils.hashing import HashConfig

    LanguageFilter._requires_dependencies = []  # it asks for another build of the same fastText
    language = LanguageFilter(["en"])
    language.model = _local_lid()  # its own would fetch the model
    chain = [
        ParquetReader(str(paths[0].parent), text_key="text", id_key="id"),
        language,
        GopherRepetitionFilter(),
        GopherQualityFilter(),
        C4QualityFilter(filter_no_terminal_punct=False),
        FineWebQualityFilter(),
        ParquetWriter(str(out / "kept")),
    ]
    minhash = MinhashConfig(hash_config=HashConfig(precision=64), num_buckets=14, hashes_per_bucket=8, n_grams=5)
    signing = [ParquetReader(str(out / "kept")), MinhashDedupSignature(str(out / "signatures"), config=minhash)]
    started = time.process_time()
    for steps in (chain, signing):
        documents_: Any = None
        for step in steps:
            documents_ = step(documents_) if callable(step) else step.run(documents_)
        for _ in documents_ or ():
            pass
    spent = time.process_time() - started
    table = pa.concat_tables(pq.read_table(path, columns=["id"]) for path in (out / "kept").rglob("*.parquet"))
    return set(table["id"].to_pylist()), spent


def _local_lid() -> Any:
    """datatrove's language identification with the model that both sides use, from disk."""
    import fasttext
    from datatrove.utils.lid import FT176LID

    from stages.filters.language import LanguageConfig

    class LocalLid(FT176LID):
        @property
        def model(self) -> Any:
            self._model = self._model or fasttext.FastText._FastText(str(LanguageConfig().model_path()))
            return self._model

    return LocalLid(["en"])


def main() -> None:
    """Print a line for each measurement."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--documents", type=int, default=12_000)
    parser.add_argument("--reference", type=int, default=2_000, help="documents that datatrove is given")
    parser.add_argument("--english", action="store_true")
    parser.add_argument("--once", nargs="+", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.once:
        print(json.dumps(_once(options.once)))
        return
    with tempfile.TemporaryDirectory() as name:
        folder, count = Path(name), options.documents
        few = write_corpus(folder / "few", count, count + 200, options.english)
        paths = write_corpus(folder / "corpus", 0, count, options.english)
        reference = write_corpus(folder / "reference", 0, options.reference, options.english)
        text_bytes = sum(pq.read_table(path, columns=["text"]).nbytes for path in paths)
        print(f"{count} documents, {text_bytes / count:.0f} bytes of text each")
        corpora = [few[0].parent, paths[0].parent, paths[0].parent]
        cold = _in_new_process(corpora[:1], NUMBA_CACHE_DIR=str(folder / "kernels"))[0]
        start, fresh, warm = _in_new_process(corpora)
        datatrove(few, folder / "datatrove-start")
        kept, spent = datatrove(reference, folder / "datatrove")
        ours, _ = sluice(reference, folder / "ours")
        theirs = spent / options.reference
        print(f"datatrove: {1 / theirs:.1f} documents/s ({1e3 * theirs:.1f} ms each) on {options.reference}")
        for label, seconds in (("fresh", fresh), ("warm", warm)):
            print(
                f"{label}: {count / seconds:.0f} documents/s ({1e6 * seconds / count:.0f} us each), "
                f"{theirs * count / seconds:.0f} times datatrove"
            )
        print(f"start: {start:.1f} s, cold {cold:.1f} s")
        print(f"kept: {len(ours)} and {len(kept)} of {options.reference}; different: {sorted(ours ^ kept)}")


def _in_new_process(corpora: list[Path], **environment: str) -> list[float]:
    """CPU seconds for each of the corpora, one after another."""
    command = [sys.executable, "-m", "tests.benchmarks.text_pipeline", "--once", *map(str, corpora)]
    done = subprocess.run(command, env={**os.environ, **environment}, capture_output=True, text=True, check=True)
    seconds: list[float] = json.loads(done.stdout.splitlines()[-1])
    return seconds


def _once(corpora: list[Path]) -> list[float]:
    seconds = []
    for corpus in corpora:
        with tempfile.TemporaryDirectory() as out:
            seconds.append(sluice(sorted(corpus.glob("*.parquet")), Path(out))[1])
    return seconds


if __name__ == "__main__":
    main()
