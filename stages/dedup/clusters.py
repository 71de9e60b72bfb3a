"""Second step of dedup: which documents are duplicates, and of which one.

This plain version holds the band keys of all documents and the texts of candidates in one process.
"""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import Field

from pipeline.artifact import Artifact
from pipeline.errors import StageError
from pipeline.stage import Context, Global, Result, StageConfig
from stages.dedup.shingles import jaccard, shingles, words

DUPLICATES_FILE = "duplicates.parquet"
ALL_PAIRS_UP_TO = 32  # documents of one band key; larger groups are compared with their first document only
DUPLICATES_SCHEMA = pa.schema(
    [
        ("id", pa.string()),
        ("source", pa.string()),
        ("reason", pa.string()),
        ("winner", pa.string()),
        ("similarity", pa.float64()),
    ]
)


class ClustersConfig(StageConfig):
    """When two documents count as duplicates."""

    threshold: float = Field(0.8, gt=0, le=1)
    """Jaccard similarity of the shingles from which a document is a near-duplicate of its winner."""
    ngram: int = Field(5, ge=1)
    """Words in a shingle, as in the signatures."""


@dataclass(frozen=True)
class Duplicate:
    """A document to remove and the one that stands for it."""

    id: str
    source: str
    reason: str
    winner: str
    similarity: float


class Clusters(Global[ClustersConfig]):
    """Find duplicates: candidates by band keys, checked by their true similarity, one winner a cluster.

    The first input holds the signatures, the others the documents, most wanted first: of two duplicates the one of
    the earlier input wins, then the smaller id. Every removed document has at least ``threshold`` similarity to
    its winner itself, so a chain of weak links cannot swallow distinct documents; and every winner is kept.
    """

    name = "dedup_clusters"
    version = 2
    config_type = ClustersConfig
    produces: ClassVar[str] = "duplicates"

    def run(self, inputs: Mapping[str, Sequence[Artifact]], out: Path, context: Context) -> Result:
        signatures, *originals = inputs["documents"]
        documents = _ranked(signatures, originals)
        exact = list(_exact_duplicates(documents))
        gone = {duplicate.id for duplicate in exact}
        left = [d for d in documents if d.id not in gone]
        pairs = _candidate_pairs([d.bands for d in left])
        texts = _shingles_of({left[i].id for pair in pairs for i in pair}, originals, self.config.ngram)
        near = {d.id: d for d in _near_duplicates(left, pairs, texts, self.config.threshold)}
        found = sorted([*(_standing(d, near) for d in exact), *near.values()], key=lambda d: d.id)
        rows = [pa.array([getattr(d, f.name) for d in found], f.type) for f in DUPLICATES_SCHEMA]
        pq.write_table(pa.table(rows, schema=DUPLICATES_SCHEMA), out / DUPLICATES_FILE, compression="zstd")
        sizes: dict[str, int] = defaultdict(lambda: 1)
        for duplicate in found:
            sizes[duplicate.winner] += 1
        return Result(
            {
                "documents": len(documents),
                "exact_duplicates": sum(d.reason == "exact_duplicate" for d in found),
                "near_duplicates": sum(d.reason == "near_duplicate" for d in found),
                "candidate_pairs": len(pairs),
                "largest_clusters": sorted(sizes.items(), key=lambda item: (-item[1], item[0]))[:20],
            }
        )


@dataclass(frozen=True)
class _Signed:
    id: str
    source: str
    content_hash: str
    bands: Sequence[int]


def _ranked(signatures: Artifact, originals: Sequence[Artifact]) -> list[_Signed]:
    """All documents, the most wanted first.

    Raises:
        StageError: two documents have one id.
    """
    rank: dict[str, int] = {}
    for i, artifact in enumerate(originals):
        for table in artifact.tables(["id"]):
            for document_id in table["id"].to_pylist():
                rank.setdefault(document_id, i)
    found = [
        _Signed(row["id"], row["source"], row["dedup.content_hash"], row["dedup.bands"])
        for table in signatures.tables(["id", "source", "dedup.content_hash", "dedup.bands"])
        for row in table.to_pylist()
    ]
    found.sort(key=lambda d: (rank[d.id], d.id))
    for a, b in itertools.pairwise(found):
        if a.id == b.id:
            raise StageError(f"two documents have the id {a.id}")
    return found


def _exact_duplicates(documents: Iterable[_Signed]) -> Iterator[Duplicate]:
    first: dict[str, str] = {}
    for document in documents:
        winner = first.setdefault(document.content_hash, document.id)
        if winner != document.id:
            yield Duplicate(document.id, document.source, "exact_duplicate", winner, 1.0)


def _standing(duplicate: Duplicate, near: Mapping[str, Duplicate]) -> Duplicate:
    """The exact duplicate of a document that is removed itself goes for the same winner as that one."""
    gone = near.get(duplicate.winner)
    return duplicate if gone is None else replace(gone, id=duplicate.id, source=duplicate.source)


def _candidate_pairs(bands: Sequence[Sequence[int]]) -> list[tuple[int, int]]:
    """Index pairs (smaller first) of documents that share the key of at least one band, sorted."""
    width = max(map(len, bands), default=0)
    pairs: set[tuple[int, int]] = set()
    for band in range(width):
        groups: dict[int, list[int]] = defaultdict(list)
        for i, keys in enumerate(bands):
            if keys:
                groups[keys[band]].append(i)
        for group in groups.values():
            if len(group) <= ALL_PAIRS_UP_TO:
                pairs.update((a, b) for n, a in enumerate(group) for b in group[n + 1 :])
            else:
                pairs.update((group[0], b) for b in group[1:])
    return sorted(pairs)


def _shingles_of(ids: set[str], originals: Sequence[Artifact], ngram: int) -> dict[str, set[bytes]]:
    found = {}
    for artifact in originals:
        for table in artifact.tables(["id", "text"]):
            for document_id, text in zip(table["id"].to_pylist(), table["text"].to_pylist(), strict=True):
                if document_id in ids:
                    found[document_id] = set(shingles(words(text or ""), ngram))
    return found


def _near_duplicates(
    documents: Sequence[_Signed],
    pairs: Sequence[tuple[int, int]],
    texts: Mapping[str, set[bytes]],
    threshold: float,
) -> Iterator[Duplicate]:
    """Within each component of checked pairs, the most wanted document removes those similar to itself; repeat."""
    similar = [(a, b) for a, b in pairs if jaccard(texts[documents[a].id], texts[documents[b].id]) >= threshold]
    for component in _components(len(documents), similar):
        while len(component) > 1:
            winner, *others = component  # documents are ranked, and components list them in that order
            component = []
            for other in others:
                similarity = jaccard(texts[documents[winner].id], texts[documents[other].id])
                if similarity >= threshold:
                    loser = documents[other]
                    yield Duplicate(loser.id, loser.source, "near_duplicate", documents[winner].id, similarity)
                else:
                    component.append(other)


def _components(count: int, pairs: Sequence[tuple[int, int]]) -> list[list[int]]:
    """Connected components of more than one document, each in ascending order."""
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import connected_components

    if not pairs:
        return []
    a, b = np.array(pairs).T
    _, labels = connected_components(coo_matrix((np.ones(len(a)), (a, b)), shape=(count, count)), directed=False)
    return _groups(labels)


def _groups(labels: npt.NDArray[np.int32]) -> list[list[int]]:
    order = np.argsort(labels, kind="stable")
    borders = np.flatnonzero(np.diff(labels[order])) + 1
    return [group.tolist() for group in np.split(order, borders) if len(group) > 1]
