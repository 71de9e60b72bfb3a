"""Which documents of one cluster stay."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from stages.dedup.semantic.kernels import Matrix, match, rounding_error

BLOCK = 1024  # documents whose products are held at a time


@dataclass(frozen=True)
class Settled:
    """What became of each document."""

    winners: NDArray[np.int64]  # place of the most wanted kept document that it is similar to; -1 for those that stay
    similarities: NDArray[np.float64]  # to the winner


def settle(
    vectors: Matrix,
    parents: NDArray[np.int64],
    threshold: float,
    progress: Callable[[int], None] = lambda done: None,
) -> Settled:
    """Go through the documents from the most wanted on: one that is similar to a document kept before goes.

    So what goes is similar to one that stays, and what stays is similar to no other that stays, but for its parent or
    what was made from it. A crowd of copies costs little: documents are compared with kept ones only.

    Args:
        vectors: (documents, dimensions), length 1, the most wanted first; in memory or mapped from a file.
        parents: place of the document that each was made from, out of range for none; the two are never duplicates.
        threshold: cosine from which two documents are similar.
        progress: is told how many documents have been decided about.
    """
    count, error = len(vectors), rounding_error(vectors.shape[1])
    winners, similarities = np.full(count, -1, np.int64), np.zeros(count)
    kept, kept_count = np.empty(count, np.int64), 0
    for begin in range(0, count, BLOCK):
        left = np.arange(begin, min(begin + BLOCK, count))
        for first in range(0, kept_count, BLOCK):
            others = kept[first : min(first + BLOCK, kept_count)]
            products = vectors[left] @ vectors[others].T
            match(products, vectors, left, others, parents, threshold, error, winners, similarities)
            left = left[winners[left] < 0]
        rows = vectors[left]
        products = rows @ rows.T
        match(products, vectors, left, left, parents, threshold, error, winners, similarities)
        left = left[winners[left] < 0]
        kept[kept_count : kept_count + len(left)] = left
        kept_count += len(left)
        progress(min(begin + BLOCK, count))
    return Settled(winners, similarities)
