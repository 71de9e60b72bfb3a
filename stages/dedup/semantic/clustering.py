"""Spherical k-means: clusters of vectors by the cosine to their centroids."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
from numpy.typing import NDArray

from stages.dedup.semantic.kernels import Matrix, add_rows, most_similar, normalize, rounding_error

ITERATIONS = 10
BLOCK_BYTES = 64 << 20  # of the products of vectors and centroids that are held at a time


def nearest(vectors: Matrix, centroids: Matrix) -> NDArray[np.uint32]:
    """The number of the centroid nearest to each vector."""
    found = np.empty(len(vectors), np.uint32)
    for begin, end in _blocks(len(vectors), len(centroids)):
        rows = np.asarray(vectors[begin:end])
        found[begin:end] = most_similar(rows @ centroids.T, rows, centroids, rounding_error(vectors.shape[1]))
    return found


def k_means(sample: Matrix, clusters: int, progress: Callable[[int, int], None]) -> Matrix:
    """Centroids of at most this many clusters.

    They begin as the first rows of the sample, which is to be in an order that has nothing to do with its content. A
    centroid to which no row is nearest any more stays where it is.

    Args:
        sample: (rows, dimensions), in memory or mapped from a file: it is read block by block.
    """
    centroids = np.array(sample[:clusters])
    for iteration in range(ITERATIONS):
        sums = np.zeros(centroids.shape)
        for begin, end in _blocks(len(sample), len(centroids)):
            rows = np.asarray(sample[begin:end])
            add_rows(sums, rows, nearest(rows, centroids))
            progress(iteration * len(sample) + end, ITERATIONS * len(sample))
        means = sums.astype(np.float32)
        filled = normalize(means) > 0
        centroids[filled] = means[filled]
    return centroids


def _blocks(rows: int, centroids: int) -> Iterator[tuple[int, int]]:
    size = max(1, min(4096, BLOCK_BYTES // (4 * max(1, centroids))))
    for begin in range(0, rows, size):
        yield begin, min(begin + size, rows)
