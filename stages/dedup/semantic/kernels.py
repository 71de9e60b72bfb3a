"""Decisions about cosine similarities, made the same way on every machine.

A product of matrices in 32-bit floats is fast, but how it rounds depends on the BLAS, its threads and the shape of the
blocks, and so would which of two similarities is greater. It therefore only proposes: whatever lies within the rounding
error of a decision is computed again by ``cosine``, in 64 bits and in one order.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from stages.kernel import kernel

Matrix = NDArray[np.float32]  # (rows, dimensions), each row of length 1


def rounding_error(dimensions: int) -> float:
    """How far a product of two rows of length 1, summed up in 32-bit floats in any order, can be from the cosine.

    n * 2**-24 bounds the error of a sum of n products relative to the sum of their absolute values (Higham, Accuracy
    and Stability of Numerical Algorithms, section 3.1), which is at most 1 here; doubled for the rounding of the rows.
    """
    return (dimensions + 8) * 2.0**-23


@kernel
def normalize(rows: NDArray[np.float32]) -> NDArray[np.float64]:
    """Scale each row to length 1, in place.

    Returns:
        The length of each row before, (rows,). A row whose length is 0, infinite or no number has no direction.
    """
    lengths = np.empty(len(rows))
    for i in range(len(rows)):
        total = 0.0
        for j in range(rows.shape[1]):
            value = np.float64(rows[i, j])
            total += value * value
        lengths[i] = math.sqrt(total)
        if lengths[i] > 0.0:
            for j in range(rows.shape[1]):
                rows[i, j] = np.float32(np.float64(rows[i, j]) / lengths[i])
    return lengths


@kernel
def cosine(a: NDArray[np.float32], b: NDArray[np.float32]) -> float:
    """Cosine similarity of two vectors; of a vector and itself exactly 1."""
    aa = bb = ab = 0.0
    for j in range(len(a)):
        x, y = np.float64(a[j]), np.float64(b[j])
        aa += x * x
        bb += y * y
        ab += x * y
    return ab / math.sqrt(aa * bb)


@kernel
def most_similar(products: NDArray[np.float32], rows: Matrix, centroids: Matrix, error: float) -> NDArray[np.uint32]:
    """For each row the number of the centroid of the highest cosine, the least of several.

    Args:
        products: rows @ centroids.T, (rows, centroids).
        error: of a product, at most.
    """
    nearest = np.empty(len(rows), np.uint32)
    for i in range(len(rows)):
        best = int(np.argmax(products[i]))
        least = products[i, best] - 2 * error
        highest = -2.0
        for c in range(len(centroids)):
            if products[i, c] >= least:
                similarity = cosine(rows[i], centroids[c])
                if similarity > highest:
                    best, highest = c, similarity
        nearest[i] = best
    return nearest


@kernel
def match(
    products: NDArray[np.float32],
    vectors: Matrix,
    places: NDArray[np.int64],
    kept: NDArray[np.int64],
    parents: NDArray[np.int64],
    threshold: float,
    error: float,
    winners: NDArray[np.int64],
    similarities: NDArray[np.float64],
) -> None:
    """Make the first kept document whose cosine to a document reaches the threshold that document's winner.

    Args:
        products: vectors[places] @ vectors[kept].T, (places, kept).
        vectors: of all documents, the most wanted first.
        places: of the documents to decide about, ascending.
        kept: places of documents that stay, ascending. Where they are ``places`` themselves, those that lose on the
            way stop counting.
        parents: the place of the document that each was made from, if among these: the two are never duplicates.
        error: of a product, at most.
        winners: place of the winner of each document, -1 for those that stay; written here.
        similarities: to the winner; written here.
    """
    least = threshold - error
    for i in range(len(places)):
        document = places[i]
        for j in range(len(kept)):
            other = kept[j]
            if other >= document:
                break
            if products[i, j] < least or winners[other] >= 0:
                continue
            if parents[document] == other or parents[other] == document:
                continue
            similarity = cosine(vectors[document], vectors[other])
            if similarity >= threshold:
                winners[document], similarities[document] = other, similarity
                break


@kernel
def add_rows(sums: NDArray[np.float64], rows: Matrix, groups: NDArray[np.uint32]) -> None:
    """Add each row to the sum of its group, in place: (groups, dimensions)."""
    for i in range(len(rows)):
        for j in range(rows.shape[1]):
            sums[groups[i], j] += rows[i, j]


@kernel
def count_similar(
    products: NDArray[np.float32],
    vectors: Matrix,
    clusters: NDArray[np.uint32],
    queries: Matrix,
    query_clusters: NDArray[np.uint32],
    excluded: NDArray[np.int64],
    query_parents: NDArray[np.int64],
    threshold: float,
    error: float,
    counts: NDArray[np.int64],
) -> None:
    """Count the vectors similar to each query, and those of them in its cluster.

    Args:
        products: vectors @ queries.T, (vectors, queries).
        excluded: numbers of queries with which a vector is not compared, -1 for none, (any, vectors).
        query_parents: number of the vector with which a query is not compared, -1 for none, (queries,).
        error: of a product, at most.
        counts: similar vectors, and those in the cluster of the query, (queries, 2); added to here.
    """
    for i in range(len(vectors)):
        for q in range(len(queries)):
            if products[i, q] < threshold - error or query_parents[q] == i or (excluded[:, i] == q).any():
                continue
            if cosine(vectors[i], queries[q]) >= threshold:
                counts[q, 0] += 1
                counts[q, 1] += clusters[i] == query_clusters[q]
