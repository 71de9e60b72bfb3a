"""Embeddings out of a column of documents, and as a column between the phases."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from pipeline.errors import StageError
from stages.dedup.semantic.kernels import Matrix, normalize


@dataclass(frozen=True)
class Embeddings:
    """The embeddings of a batch of documents."""

    rows: NDArray[np.int64]  # of the batch, ascending: those with a usable embedding
    vectors: Matrix  # of these rows, scaled to length 1
    bad: dict[int, str]  # row -> why its embedding cannot be used


def lists_of_numbers(batch: pa.Table, column: str, where: str) -> pa.Array:
    """A column of embeddings as one array.

    Raises:
        StageError: it holds anything else than lists of numbers; the message names ``where``.
    """
    values = batch.column(column).combine_chunks()
    kind = values.type
    is_list = pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind)
    if not is_list or not (pa.types.is_floating(kind.value_type) or pa.types.is_integer(kind.value_type)):
        raise StageError(f"{where}: the column '{column}' is of type {kind}; embeddings are lists of numbers")
    return values


def dimensions_of(column: pa.Array) -> Counter[int]:
    """How many embeddings there are of each number of dimensions; empty ones are none."""
    lengths = pc.list_value_length(column).drop_null()
    counts = pc.value_counts(lengths.filter(pc.greater(lengths, 0)))
    return Counter({row["values"]: row["counts"] for row in counts.to_pylist()})


def embeddings(column: pa.Array, dimensions: int) -> Embeddings:
    """The embeddings in an array of lists of numbers. Rows that are null are neither usable nor bad."""
    lengths = np.asarray(pc.list_value_length(column).fill_null(-1))
    fitting = np.flatnonzero(lengths == dimensions)
    others = np.flatnonzero((lengths != dimensions) & (lengths >= 0))
    bad = {int(row): f"{lengths[row]} dimensions, not {dimensions}" for row in others}
    vectors = _matrix(column.take(pa.array(fitting)), dimensions)
    norms = normalize(vectors)
    usable = np.isfinite(norms) & (norms > 0)
    for row in np.flatnonzero(~usable):
        bad[int(fitting[row])] = "all zeros" if norms[row] == 0 else "a value that is infinite or not a number"
    return Embeddings(fitting[usable], vectors if usable.all() else vectors[usable], bad)


def _matrix(column: pa.Array, dimensions: int) -> NDArray[np.float32]:
    """A new matrix (rows, dimensions) from lists of this length; nulls in a list become NaN."""
    values = column.flatten().to_numpy(zero_copy_only=False)
    with np.errstate(over="ignore"):  # what 32 bits cannot hold becomes infinite, which is told
        return np.array(values, np.float32).reshape(len(column), dimensions)


def vector_type(dimensions: int) -> pa.DataType:
    """Type of a column of vectors between the phases."""
    return pa.list_(pa.float32(), dimensions)


def column_of(vectors: Matrix) -> pa.Array:
    """A matrix as a column of ``vector_type``."""
    return pa.FixedSizeListArray.from_arrays(pa.array(vectors.ravel(), pa.float32()), vectors.shape[1])


def matrix_of(column: pa.ChunkedArray, dimensions: int) -> Matrix:
    """The matrix in a column of ``vector_type``, or of lists all of this length."""
    pieces = [np.asarray(chunk.flatten()).reshape(len(chunk), dimensions) for chunk in column.chunks]
    return pieces[0] if len(pieces) == 1 else np.concatenate([np.empty((0, dimensions), np.float32), *pieces])


def empty_matrix(rows: int, dimensions: int, memory_bytes: int, folder: Path) -> NDArray[np.float32]:
    """An array to fill: in memory if it fits into this much of it, else mapped from a file.

    Args:
        folder: where that file lies; it has no name, so that it goes with the array.
    """
    if rows * dimensions * 4 <= memory_bytes:
        return np.empty((rows, dimensions), np.float32)
    path = folder / "vectors"
    mapped = np.memmap(path, np.float32, "w+", shape=(rows, dimensions))
    path.unlink()
    return np.asarray(mapped)
