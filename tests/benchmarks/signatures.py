"""Signatures for dedup against datatrove's and rensa's: speed, equality with datatrove's, recall against theory.

    python -m tests.benchmarks.signatures [--documents N] [--every K] [--pairs P]

Documents are the English ones of ../shared/data/text, distinct, in an order drawn by a hash of their ids: 25,000 of 17
kinds; longer ones are cut at 20,000 characters. Ours is the whole stage (14 bands of 8 over word 5-grams, content hash,
URL hash, audit), once with its own words and once with datatrove's. datatrove is MinhashDedupSignature's get_shingles
and get_signature, rensa RMinHash(112) over 5-grams joined in Python, of str.split and of a regular expression for
words; both are given every K-th document to save time. CPU seconds of this process; batches of all sides take turns.
"Fresh" is the first time that this process sees the documents, "warm" the second.

Recall is that of P planted pairs for each similarity: texts of 204 random words that begin alike. Exits with 1 if any
signature differs from datatrove's, or recall is off theory by more than 0.01 from similarity 0.8 on.
"""

from __future__ import annotations

import argparse
import random
import re
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import rensa
import xxhash

from pipeline.stage import documents
from stages.dedup.signatures import Signatures, SignaturesConfig
from stages.text.datatrove_signatures import datatrove_signatures
from stages.text.signatures import signed
from tests.real_texts import real_texts
from tests.stages.dedup.documents import similar_pair

DATA = Path(__file__).resolve().parents[2].parent / "shared" / "data"
BATCH = 1000
NGRAM, BANDS, ROWS = 5, 14, 8
WORDS_OF_PAIRS = 204
SIMILARITIES = (0.5, 0.6, 0.7, 0.75, 0.8, 0.85, 0.9, 0.95, 0.99)
WORD = re.compile(r"\w+")
LETTERS = str.maketrans("0123456789", "abcdefghij")  # to datatrove all numbers are one


def corpus(count: int | None) -> list[str]:
    texts = {text.id: text.text for text in real_texts(DATA, english_only=True, max_characters=20_000)}
    return list(dict.fromkeys(texts[id_] for id_ in sorted(texts, key=xxhash.xxh64_intdigest)))[:count]


def rensa_digest(words: Sequence[str]) -> list[int]:
    shingles = [" ".join(words[i : i + NGRAM]) for i in range(max(1, len(words) - NGRAM + 1))]
    minhash = rensa.RMinHash(num_perm=BANDS * ROWS, seed=42)
    minhash.update(shingles)
    return minhash.digest()


def timed(spent: dict[str, float], name: str, work: Callable[[], Any]) -> Any:
    started = time.process_time()
    found = work()
    spent[name] += time.process_time() - started
    return found


def speed(texts: Sequence[str], every: int) -> int:
    """Print rates; gives the number of signatures that differ from datatrove's."""
    from datatrove.pipeline.dedup.minhash import MinhashDedupSignature

    datatrove = MinhashDedupSignature(tempfile.mkdtemp())
    stages = {words: Signatures(SignaturesConfig(words=words)) for words in ("sluice", "datatrove")}
    batches = [
        documents(
            {"id": f"{at + i}", "source": "s", "text": t, "url": f"https://www.a{i}.com/{at}/?p={i}"} for i, t in part
        )
        for at in range(0, len(texts), BATCH)
        for part in [list(enumerate(texts[at : at + BATCH]))]
    ]
    for stage in stages.values():
        stage.process(batches[0].slice(0, 2))  # loads or compiles the kernels
    datatrove.get_signature(datatrove.get_shingles("loads its tokenizer, which is not timed"))
    spent: dict[str, float] = defaultdict(float)
    compared = differing = 0
    for run in ("fresh", "warm"):
        for batch in batches:
            for words, stage in stages.items():
                timed(spent, f"{words} {run}", lambda stage=stage, batch=batch: stage.process(batch))
            if run == "warm":
                continue
            sample = batch["text"].to_pylist()[::every]
            compared += len(sample)
            timed(spent, "rensa split", lambda s=sample: [rensa_digest(text.lower().split()) for text in s])
            timed(spent, "rensa regex", lambda s=sample: [rensa_digest(WORD.findall(text.lower())) for text in s])
            shingles = timed(spent, "datatrove", lambda s=sample: [datatrove.get_shingles(text) for text in s])
            theirs = timed(
                spent, "datatrove", lambda s=shingles: [datatrove.get_signature(x) if len(x) else None for x in s]
            )
            ours, _, offsets = datatrove_signatures(pa.array(sample, pa.large_string()), NGRAM, BANDS * ROWS)
            for i, expected in enumerate(theirs):
                found = ours[i].tolist() if offsets[i + 1] > offsets[i] else None
                differing += found != (expected and [value for band in expected for value in band])
    per_document = {
        name: 1e6 * seconds / (len(texts) if name.endswith(("fresh", "warm")) else compared)
        for name, seconds in spent.items()
    }
    size = sum(len(text.encode()) for text in texts) / len(texts)
    print(f"{len(texts)} documents, {size:.0f} bytes each on average; {compared} of them by the peers too")
    print(f"{'':18}{'us a document':>14}{'to datatrove':>14}{'to rensa (split)':>18}{'to rensa (regex)':>18}")
    for name, us in per_document.items():
        ratios = [per_document[peer] / us for peer in ("datatrove", "rensa split", "rensa regex")]
        print(f"{name:18}{us:14.2f}{ratios[0]:14.1f}{ratios[1]:18.1f}{ratios[2]:18.1f}")
    print(f"signatures that differ from datatrove's: {differing} of {compared}; documents on a slow path: 0")
    return differing


def bands_met(keys: np.ndarray) -> float:
    """Share of pairs (rows 2i and 2i + 1) that have a band in common."""
    return float((keys[::2] == keys[1::2]).any(axis=1).mean())


def rensa_bands(texts: Sequence[str]) -> np.ndarray:
    digests = np.array([rensa_digest(text.split()) for text in texts], np.uint32)
    rows = np.ascontiguousarray(digests.reshape(-1, ROWS)).view(f"V{4 * ROWS}")
    return np.unique(rows, return_inverse=True)[1].reshape(len(texts), BANDS)


def recall(pairs: int) -> float:
    """Print recall beside theory; gives the largest error from similarity 0.8 on."""
    rng = random.Random(5)
    worst = 0.0
    print(f"recall of {pairs} planted pairs each")
    print(
        f"{'similarity':>10}{'theory':>9}{'sluice':>9}{'datatrove':>11}{'rensa':>9}{'audit':>9}"
        f"{'error':>8}{'2 s.e.':>8}"
    )
    for similarity in SIMILARITIES:
        texts = [
            text.translate(LETTERS) for _ in range(pairs) for text in similar_pair(rng, similarity, WORDS_OF_PAIRS)
        ]
        shingles = WORDS_OF_PAIRS - NGRAM + 1
        common = round(2 * shingles * similarity / (1 + similarity))
        true = common / (2 * shingles - common)
        theory = 1 - (1 - true**ROWS) ** BANDS
        column = pa.array(texts, pa.large_string())
        own = signed(column, NGRAM, BANDS, ROWS)
        found = {
            "sluice": bands_met(own.keys),
            "datatrove": bands_met(signed(column, NGRAM, BANDS, ROWS, "datatrove").keys),
            "rensa": bands_met(rensa_bands(texts[:4000])),
            "audit": float((own.audits[::2] == own.audits[1::2]).mean()),
        }
        error = 2 * (theory * (1 - theory) / pairs) ** 0.5
        print(
            f"{true:10.4f}{theory:9.4f}{found['sluice']:9.4f}{found['datatrove']:11.4f}{found['rensa']:9.4f}"
            f"{found['audit']:9.4f}{found['sluice'] - theory:8.4f}{error:8.4f}"
        )
        if similarity >= 0.8:
            worst = max(worst, abs(found["sluice"] - theory))
    return worst


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--documents", type=int, help="so many of them (default: all)")
    parser.add_argument("--every", type=int, default=10, help="the peers are given every K-th document")
    parser.add_argument("--pairs", type=int, default=12_000, help="planted pairs of each similarity")
    arguments = parser.parse_args()
    differing = speed(corpus(arguments.documents), arguments.every)
    return int(differing > 0 or recall(arguments.pairs) > 0.01)


if __name__ == "__main__":
    raise SystemExit(main())
