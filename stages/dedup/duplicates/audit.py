"""How many of the truly similar pairs share a band key: an estimate, on pairs that bands had no part in finding.

Two documents of Jaccard similarity J have the same least value under one more permutation, independent of those of the
bands, with probability J. Pairs with an equal value, of documents whose value falls in a sample, are therefore a sample
of all similar pairs in which a pair has chance J; each stands for 1/J pairs (Horvitz and Thompson, 1952).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from stages.dedup.duplicates.settle import Candidates, read_only, shares_band
from stages.dedup.duplicates.similarity import jaccard_from
from stages.kernel import kernel

MAX_DOCUMENTS = 64  # of one value that are compared, the most wanted ones: beyond, boilerplate would cost squares


@dataclass(frozen=True)
class Audit:
    """Sums over sampled pairs at or above the threshold. Those of several tasks can be added."""

    pairs: int = 0
    weight: float = 0.0  # of all of them: an estimate of how many similar pairs there are in the sample's documents
    found: float = 0.0  # weight of those that share a band key
    expected: float = 0.0  # weight of those that would, by theory: each with 1 - (1 - J**rows)**bands

    def __add__(self, other: Audit) -> Audit:
        return Audit(
            self.pairs + other.pairs,
            self.weight + other.weight,
            self.found + other.found,
            self.expected + other.expected,
        )

    @property
    def recall(self) -> float | None:
        """Share of the similar pairs that share a band key; None without any pair."""
        return self.found / self.weight if self.pairs else None

    @property
    def expected_recall(self) -> float | None:
        """The same share by theory, for pairs of these similarities; None without any pair."""
        return self.expected / self.weight if self.pairs else None


def in_sample(values: NDArray[np.uint64], sample_bits: int) -> NDArray[np.bool_]:
    """The documents to audit, one in 2**sample_bits, by the least value of the independent permutation."""
    sampled: NDArray[np.bool_] = values % np.uint64(2**sample_bits) == 0
    return sampled


def audit(values: NDArray[np.uint64], sample: Candidates, threshold: float, rows: int) -> Audit:
    """Compare the sampled documents that have the same value. Copies of one content count once; decisions see nothing.

    Args:
        values: (documents,) least value of each document's shingles under the independent permutation.
        sample: the documents of the sample; components are not looked at, ranks must be distinct.
        threshold: Jaccard similarity, above 0, from which a pair counts.
        rows: hashes in a band.
    """
    order = np.lexsort((sample.rank, values))
    return Audit(*_audit(read_only(sample), values, order, threshold, rows))


@kernel
def _audit(
    sample: Candidates, values: NDArray[np.uint64], order: NDArray[np.int64], threshold: float, rows: int
) -> tuple[int, float, float, float]:
    bands = sample.bands.shape[1]
    group = np.empty(MAX_DOCUMENTS, np.int64)  # documents of the present value, of distinct content
    size = pairs = 0
    weight = found = expected = 0.0
    for i in range(len(order)):
        document = order[i]
        if i > 0 and values[order[i - 1]] != values[document]:
            size = 0
        if size == MAX_DOCUMENTS or _is_copy(sample.content, document, group[:size]):
            continue
        for other in group[:size]:
            if sample.is_indexed[document] and sample.is_indexed[other]:
                continue  # those of such pairs that bands find have gone long ago
            similarity = jaccard_from(_shingles(sample, document), _shingles(sample, other), threshold)
            if similarity >= threshold:
                pairs += 1
                weight += 1.0 / similarity
                expected += (1.0 - (1.0 - similarity**rows) ** bands) / similarity
                if shares_band(sample.bands, document, other):
                    found += 1.0 / similarity
        group[size] = document
        size += 1
    return pairs, weight, found, expected


@kernel
def _is_copy(content: NDArray[np.uint64], document: int, others: NDArray[np.int64]) -> bool:
    for other in others:
        if content[document, 0] == content[other, 0] and content[document, 1] == content[other, 1]:
            return True
    return False


@kernel
def _shingles(sample: Candidates, document: int) -> NDArray[np.uint32]:
    return sample.shingles[sample.offsets[document] : sample.offsets[document + 1]]
