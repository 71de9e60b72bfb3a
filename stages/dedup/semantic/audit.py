"""How many duplicates semantic dedup misses because they lie in different clusters, measured on a sample.

Some documents, the queries, are compared with all documents. That decides nothing: it only says how far the search
within clusters can be trusted.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from stages.dedup.duplicates.settle import parent_rows
from stages.dedup.semantic.clustering import nearest
from stages.dedup.semantic.kernels import Matrix, count_similar, rounding_error
from stages.dedup.semantic.options import DedupSemanticConfig
from stages.dedup.semantic.vectors import column_of, matrix_of

AUDIT_FILE = "audit.parquet"
AUDIT_SCHEMA = pa.schema([("similar", pa.int64()), ("together", pa.int64())])


@dataclass(frozen=True)
class Queries:
    """Documents that are compared with all others."""

    ids: pa.Array
    parents: pa.Array  # ids of the documents that they were made from
    clusters: NDArray[np.uint32]
    vectors: Matrix

    @staticmethod
    def of(keys: pa.Table, vectors: Matrix, centroids: Matrix) -> Queries:
        """The queries with these ids, parents and vectors."""
        ids, parents = (keys[name].combine_chunks() for name in ("id", "parent"))
        return Queries(ids, parents, nearest(vectors, centroids), vectors)

    def write(self, path: Path) -> None:
        columns = {
            "id": self.ids,
            "parent": self.parents,
            "cluster": pa.array(self.clusters),
            "vector": column_of(self.vectors),
        }
        pq.write_table(pa.table(columns), path)

    @staticmethod
    def read(path: Path, dimensions: int) -> Queries:
        table = pq.read_table(path)
        ids, parents = (table[name].combine_chunks() for name in ("id", "parent"))
        return Queries(ids, parents, np.asarray(table["cluster"]), matrix_of(table["vector"], dimensions))


class Audit:
    """Counts, for each query, the documents similar to it, and those of them in its cluster."""

    def __init__(self, queries: Queries, config: DedupSemanticConfig) -> None:
        self._queries, self._config = queries, config
        self._counts = np.zeros((len(queries.ids), 2), np.int64)

    def compare(self, documents: pa.Table, vectors: Matrix, clusters: NDArray[np.uint32]) -> None:
        """Compare documents (id, parent), of whom these are the vectors and clusters, with all queries."""
        queries = self._queries
        ids = documents["id"].combine_chunks()
        selves = parent_rows(queries.ids, ids)  # the query that a document itself is, or -1
        excluded = [selves]
        if not self._config.parents:
            excluded.append(parent_rows(queries.ids, documents["parent"].combine_chunks()))
        own_parents = np.full(len(queries.ids), -1) if self._config.parents else parent_rows(ids, queries.parents)
        count_similar(
            vectors @ queries.vectors.T,
            vectors,
            clusters,
            queries.vectors,
            queries.clusters,
            np.stack(excluded),
            own_parents,
            self._config.threshold,
            rounding_error(vectors.shape[1]),
            self._counts,
        )

    def write(self, path: Path) -> None:
        pq.write_table(pa.table(list(self._counts.T), schema=AUDIT_SCHEMA), path)


def estimates(paths: Sequence[Path]) -> dict[str, Any]:
    """What the audits of all parts say together.

    Returns:
        queries; similar_pairs: of a query and another document; pairs_in_one_cluster; queries_with_similar: those with
        at least one; queries_found: those with one in their own cluster; recall: the share of the latter two, null
        without any.
    """
    counts = np.sum([_counts(path) for path in paths], axis=0) if paths else np.zeros((0, 2), np.int64)
    with_similar, found = (int((column > 0).sum()) for column in counts.T)
    similar, together = counts.sum(axis=0).tolist()
    return {
        "queries": len(counts),
        "similar_pairs": similar,
        "pairs_in_one_cluster": together,
        "queries_with_similar": with_similar,
        "queries_found": found,
        "recall": found / with_similar if with_similar else None,
    }


def _counts(path: Path) -> NDArray[np.int64]:
    table = pq.read_table(path)
    return np.stack([np.asarray(table[name]) for name in AUDIT_SCHEMA.names], axis=1)
