"""Parquet -> language -> filters -> Parquet -> MinHash -> Parquet: Sluice's own tasks against datatrove's executor.

    python -m tests.benchmarks.text_pipeline [--documents N] [--reference N]

Documents are real ones of ../shared/data/text, distinct, in an order drawn by a hash of their ids. Both sides read and
write Parquet in one process and are timed in CPU seconds of that process: language (keep English, 0.65), Gopher
repetition, Gopher quality, C4 (lines without a terminal mark stay, as FineWeb has it), FineWeb's rules, MinHash
signatures (word 5-grams, 14 bands of 8). Sluice measures every document with every filter, datatrove stops at the first
that drops it. "Cold" is the first run of a new process without compiled kernels; "fresh" the first run over documents
that the process has not seen, with compiled kernels; "warm" the second.
The kept ids of both sides are compared on all documents that datatrove was given.
"""

import argparse
import json
import os
import shutil
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
PART_DOCUMENTS = 2000


def write_corpus(folder: Path, count: int) -> list[Path]:
    """Parquet files of documents, 2,000 each."""
    rows = [
        {"id": text.id, "text": text.text, "source": text.set}
        for text in sorted(real_texts(DATA), key=lambda t: xxhash.xxh64_intdigest(t.id))[:count]
    ]
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
        part = run_part(PartSpec(out, "kept", path.stem, path.stem, filters, seed=1, documents=path))
        file = out / "artifacts/kept" / part.folder / "documents.parquet"
        if file.exists():
            run_part(PartSpec(out, "signed", path.stem, path.stem, signatures, seed=1, documents=file))
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
    parser.add_argument("--once", nargs=2, metavar=("CORPUS", "RUNS"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.once:
        print(json.dumps(_once(Path(options.once[0]), int(options.once[1]))))
        return
    with tempfile.TemporaryDirectory() as folder:
        corpus = Path(folder) / "corpus"
        paths = write_corpus(corpus, options.documents)
        reference = write_corpus(Path(folder) / "reference", options.reference)
        count = sum(pq.read_metadata(path).num_rows for path in paths)
        text_bytes = sum(pq.read_table(path, columns=["text"]).nbytes for path in paths)
        print(f"{count} documents, {text_bytes / count:.0f} bytes of text each")
        cold = _in_new_process(corpus, 1, NUMBA_CACHE_DIR=str(Path(folder) / "kernels"))[0]
        fresh, warm = _in_new_process(corpus, 2)
        kept, spent = datatrove(reference, Path(folder) / "datatrove")
        datatrove(write_corpus(Path(folder) / "warm-up", 20), Path(folder) / "warm-up-out")
        ours, _ = sluice(reference, Path(folder) / "ours")
        theirs = spent / options.reference
        print(f"datatrove: {1 / theirs:.1f} documents/s ({1e3 * theirs:.1f} ms each) on {options.reference}")
        for name, seconds in (("cold", cold), ("fresh", fresh), ("warm", warm)):
            print(
                f"{name}: {count / seconds:.0f} documents/s ({1e6 * seconds / count:.0f} us), "
                f"{theirs * count / seconds:.0f} times datatrove"
            )
        print(f"kept: {len(ours)} and {len(kept)} of {options.reference}; different: {sorted(ours ^ kept)}")


def _in_new_process(corpus: Path, runs: int, **environment: str) -> list[float]:
    command = [sys.executable, "-m", "tests.benchmarks.text_pipeline", "--once", str(corpus), str(runs)]
    done = subprocess.run(command, env={**os.environ, **environment}, capture_output=True, text=True, check=True)
    seconds: list[float] = json.loads(done.stdout.splitlines()[-1])
    return seconds


def _once(corpus: Path, runs: int) -> list[float]:
    seconds = []
    for _ in range(runs):
        out = Path(tempfile.mkdtemp())
        seconds.append(sluice(sorted(corpus.glob("*.parquet")), out)[1])
        shutil.rmtree(out)
    return seconds


if __name__ == "__main__":
    main()
