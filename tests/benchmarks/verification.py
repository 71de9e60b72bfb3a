"""What it costs to verify candidates and to choose winners: `python -m tests.benchmarks.verification`.

Real documents: those of ../shared/data/text, each with a copy in which some words are replaced (2 to 25 %), and the
labelled near-duplicates of ../shared/data/dedup. Candidates are those that share a band key (14 bands of 8 rows, word
5-grams). Prints CPU microseconds of one core, the median of the rounds: hashing the shingles, deciding, and one
comparison, beside Python's sets and datasketch's estimate by signatures of 112 hashes on the same pairs, in turn.

Then the worst case: pages of one template, any two of similarity 0.7, so that each key is shared by very many documents
of which none is another's duplicate.
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

import numpy as np
import pyarrow as pa
import zstandard
from numpy.typing import NDArray

from stages.dedup.duplicates.settle import MAX_WINNERS, NEAR_DUPLICATE, Candidates, Rules, settle
from stages.dedup.duplicates.similarity import jaccard_from
from stages.kernel import kernel
from stages.text.signatures import permutations, shingle_sets, signed
from tests.conftest import REPOSITORY
from tests.real_texts import real_texts
from tests.stages.dedup.test_recall import BANDS, NGRAM, ROWS, THRESHOLD, components

T = TypeVar("T")

MAX_CHARACTERS = 20_000
REPLACED_SHARES = (0.02, 0.04, 0.08, 0.15, 0.25)
PEER_PAIRS = 3_000
TEMPLATE_PAGES = 20_000


def main() -> None:
    """Run all parts and print their tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--data", type=Path, default=REPOSITORY.parent / "shared" / "data")
    arguments = parser.parse_args()
    texts = documents(arguments.data)
    column = pa.array(texts, pa.large_string())
    hashing_s, (shingles, offsets) = timed(lambda: shingle_sets(column, NGRAM), arguments.rounds)
    candidates = signed_candidates(column, shingles, offsets)
    sizes = np.diff(offsets)
    print(f"{len(texts):,} documents, {sum(map(len, texts)) / 1e6:.0f} M characters")
    print(f"shingles a document: mean {sizes.mean():.0f}, median {np.median(sizes):.0f}; 4 bytes each")
    print(f"{'hashing the shingles of a document':<58}{hashing_s / len(texts) * 1e6:8.2f} µs")
    report(candidates, arguments.rounds)
    comparisons(candidates, arguments.rounds)
    print(f"\n{TEMPLATE_PAGES:,} pages of one template, any two of similarity 0.7")
    report(template_pages(), min(arguments.rounds, 3))


def documents(data: Path) -> list[str]:
    rng = random.Random(1)
    texts = []
    for number, text in enumerate(real_texts(data, max_characters=MAX_CHARACTERS)):
        texts += [text.text, with_words_replaced(text.text, REPLACED_SHARES[number % len(REPLACED_SHARES)], rng)]
    for path in sorted((data / "dedup").glob("*.jsonl.zst")):
        with zstandard.open(path, "rt", encoding="utf-8") as lines:
            texts += [row["text"] for row in map(json.loads, lines) if "text" in row]
    return texts


def with_words_replaced(text: str, share: float, rng: random.Random) -> str:
    return " ".join(f"w{rng.randrange(10**9)}" if rng.random() < share else word for word in text.split())


def signed_candidates(column: pa.Array, shingles: NDArray[np.uint32], offsets: NDArray[np.int64]) -> Candidates:
    """All documents, ranked at random."""
    signatures = signed(column, NGRAM, BANDS, ROWS)
    bands = np.where(signatures.has_shingles[:, None], signatures.keys, np.uint64(0))
    return Candidates(
        component=components(bands, signatures.content_hashes),
        rank=np.random.default_rng(1).permutation(len(column)),
        bands=bands,
        content=signatures.content_hashes,
        url=np.zeros(len(column), np.uint64),
        source=np.zeros(len(column), np.int64),
        parent=np.full(len(column), -1),
        is_indexed=np.zeros(len(column), np.bool_),
        shingles=shingles,
        offsets=offsets,
    )


def template_pages() -> Candidates:
    """Sets of 480 shingles of which 395 are common to all, so that J = 395 / 565; bands as MinHash would give them."""
    rng = np.random.default_rng(1)
    own = rng.integers(0, 2**32, (TEMPLATE_PAGES, 85), dtype=np.uint32)
    template = np.broadcast_to(rng.integers(0, 2**32, 395, dtype=np.uint32), (TEMPLATE_PAGES, 395))
    sets = np.sort(np.hstack([own, template]), axis=1)
    a, b = permutations(BANDS * ROWS)
    least = np.stack([(sets * x + y).min(axis=1) for x, y in zip(a, b, strict=True)], axis=1)
    keys = least.reshape(TEMPLATE_PAGES, BANDS, ROWS).astype(np.uint64)
    bands = (keys * rng.integers(1, 2**63, ROWS, dtype=np.uint64) * np.uint64(2) + keys).sum(axis=2, dtype=np.uint64)
    return Candidates(
        component=np.zeros(TEMPLATE_PAGES, np.uint64),
        rank=np.arange(TEMPLATE_PAGES),
        bands=bands,
        content=rng.integers(1, 2**63, (TEMPLATE_PAGES, 2), dtype=np.uint64),
        url=np.zeros(TEMPLATE_PAGES, np.uint64),
        source=np.zeros(TEMPLATE_PAGES, np.int64),
        parent=np.full(TEMPLATE_PAGES, -1),
        is_indexed=np.zeros(TEMPLATE_PAGES, np.bool_),
        shingles=sets.ravel(),
        offsets=np.arange(TEMPLATE_PAGES + 1) * 480,
    )


def report(candidates: Candidates, rounds: int) -> None:
    """What decisions cost, for each document that is in a component with others."""
    _, counts = np.unique(candidates.component, return_counts=True)
    together = int(counts[counts > 1].sum())
    seconds, decisions = timed(lambda: settle(candidates, Rules(threshold=THRESHOLD)), rounds)
    near = int((decisions.reason == NEAR_DUPLICATE).sum())
    gone = int((decisions.winner >= 0).sum())
    print(
        f"{together:,} documents in components, at most {counts.max():,}; {decisions.comparisons:,} pairs compared\n"
        f"{gone:,} go, {near:,} of them as near-duplicates; "
        f"{decisions.capped:,} entries beyond {MAX_WINNERS} winners a key"
    )
    print(f"{'deciding, a document in a component':<58}{seconds / together * 1e6:8.2f} µs")
    print(f"{'deciding, a comparison':<58}{seconds / max(1, decisions.comparisons) * 1e6:8.2f} µs")


def comparisons(candidates: Candidates, rounds: int) -> None:
    """One comparison, by the kernel and by the peers, of pairs at or above and of pairs below the threshold."""
    from datasketch import MinHash

    pairs = candidate_pairs(candidates)
    sets, offsets = candidates.shingles, candidates.offsets
    likeness = np.array([jaccard_from(*(sets[offsets[i] : offsets[i + 1]] for i in pair), 0.0) for pair in pairs])
    print(f"\n{'a comparison, of candidates':<28}{'pairs':>8}{'kernel':>9}{'Python sets':>13}{'datasketch':>12}  µs")
    for name, chosen in (
        (f"at or above {THRESHOLD}", likeness >= THRESHOLD),
        (f"below {THRESHOLD}", likeness < THRESHOLD),
    ):
        some = np.random.default_rng(2).permutation(pairs[chosen])[:PEER_PAIRS]
        rows = np.unique(some)
        python_sets = {row: frozenset(sets[offsets[row] : offsets[row + 1]].tolist()) for row in rows.tolist()}
        signatures = {}
        for row in rows.tolist():
            signatures[row] = MinHash(num_perm=BANDS * ROWS, scheme="affine32", hashfunc=lambda value: value)
            signatures[row].update_batch(sets[offsets[row] : offsets[row + 1]].tolist())
        numbers = some.tolist()
        contenders: tuple[Callable[[], object], ...] = (
            lambda some=some: similarities(sets, offsets, some, THRESHOLD),
            lambda numbers=numbers, s=python_sets: [len(s[a] & s[b]) / len(s[a] | s[b]) for a, b in numbers],
            lambda numbers=numbers, m=signatures: [m[a].jaccard(m[b]) for a, b in numbers],
        )
        costs = [seconds / len(some) * 1e6 for seconds in in_turn(contenders, rounds)]
        print(f"{name:<28}{len(some):>8,}{costs[0]:>9.2f}{costs[1]:>13.2f}{costs[2]:>12.2f}")


@kernel
def similarities(
    sets: NDArray[np.uint32], offsets: NDArray[np.int64], pairs: NDArray[np.int64], threshold: float
) -> float:
    """Sum over all pairs, so that nothing is left out."""
    total = 0.0
    for i in range(len(pairs)):
        a, b = pairs[i, 0], pairs[i, 1]
        total += jaccard_from(sets[offsets[a] : offsets[a + 1]], sets[offsets[b] : offsets[b + 1]], threshold)
    return total


def candidate_pairs(candidates: Candidates) -> NDArray[np.int64]:
    """Pairs of neighbours, by rank, within each band key."""
    pairs = set()
    for keys in candidates.bands.T:
        order = np.lexsort((candidates.rank, keys))
        same = (keys[order[1:]] == keys[order[:-1]]) & (keys[order[1:]] != 0)
        pairs.update(zip(order[:-1][same].tolist(), order[1:][same].tolist(), strict=True))
    return np.array(sorted(pairs), np.int64)


def timed(job: Callable[[], T], rounds: int) -> tuple[float, T]:
    """CPU seconds (median; a first call, which compiles, is not counted) and the result."""
    result = job()
    seconds = in_turn((job,), rounds)[0]
    return seconds, result


def in_turn(jobs: Sequence[Callable[[], object]], rounds: int) -> list[float]:
    """CPU seconds of each job, the median of rounds in which they take turns."""
    for job in jobs:
        job()
    seconds: list[list[float]] = [[] for _ in jobs]
    for _ in range(rounds):
        for job, spent in zip(jobs, seconds, strict=True):
            begin = time.process_time()
            job()
            spent.append(time.process_time() - begin)
    return [statistics.median(spent) for spent in seconds]


if __name__ == "__main__":
    main()
