"""Clusters and pairs of duplicates for people to read."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from stages.dedup.duplicates.keys import text_hashes

LARGEST_CLUSTERS = 20
SAMPLE_PAIRS = 20


def evidence_of(
    decided: pa.Table, lost: NDArray[np.int64], won: NDArray[np.int64], excerpts: pa.ChunkedArray
) -> dict[str, Any]:
    """Sizes of clusters, the largest ones, pairs drawn by the hashes of their ids, and the least similar ones.

    What is chosen does not depend on the partitions: the choices of several can be chosen from again.

    Args:
        decided: documents that go.
        lost: the row in ``excerpts`` of each.
        won: the row of its winner.
        excerpts: the beginnings of the texts.
    """

    def pair(i: int) -> dict[str, Any]:
        return {
            "id": decided["id"][i].as_py(),
            "text": excerpts[int(lost[i])].as_py(),
            "winner": decided["winner"][i].as_py(),
            "winner_text": excerpts[int(won[i])].as_py(),
            "similarity": decided["similarity"][i].as_py(),
            "reason": decided["reason"][i].as_py(),
        }

    hashes = text_hashes(decided["id"].combine_chunks())
    drawn = np.argsort(hashes, kind="stable")[:SAMPLE_PAIRS].tolist()
    return {
        **_clusters(decided, lost, won, excerpts),
        "pairs": [{"hash": int(hashes[i]), **pair(i)} for i in drawn],
        "doubtful": [pair(i) for i in _least_similar(decided)],
    }


def _clusters(
    decided: pa.Table, lost: NDArray[np.int64], won: NDArray[np.int64], excerpts: pa.ChunkedArray
) -> dict[str, Any]:
    """How many clusters there are of each size in powers of two, 2, 4 (3 to 4), 8 (5 to 8), and the largest."""
    winners, firsts, counts = np.unique(won, return_index=True, return_counts=True)
    bins, numbers = np.unique(np.ceil(np.log2(counts + 1)).astype(int), return_counts=True)
    clusters = pa.table({"winner": decided["winner"].take(pa.array(firsts)), "lost": counts, "row": winners})
    order = [("lost", "descending"), ("winner", "ascending")]
    largest = []
    for cluster in clusters.take(pc.select_k_unstable(clusters, LARGEST_CLUSTERS, order)).to_pylist():
        among = np.flatnonzero(won == cluster["row"]).tolist()
        example = min(among, key=lambda i: str(decided["id"][i].as_py()))
        largest.append(
            {
                "winner": cluster["winner"],
                "size": cluster["lost"] + 1,
                "text": excerpts[cluster["row"]].as_py(),
                "loser": decided["id"][example].as_py(),
                "loser_text": excerpts[int(lost[example])].as_py(),
            }
        )
    return {
        "sizes": {str(2**b): n for b, n in zip(bins.tolist(), numbers.tolist(), strict=True)},
        "clusters": largest,
    }


def _least_similar(decided: pa.Table) -> list[int]:
    """The near-duplicates of least similarity: here the threshold decides."""
    near = np.flatnonzero(np.asarray(pc.equal(decided["reason"], "near_duplicate")))
    similarity = np.asarray(decided["similarity"])[near]
    if len(near) > SAMPLE_PAIRS:
        near = near[similarity <= np.partition(similarity, SAMPLE_PAIRS)[SAMPLE_PAIRS]]
    return sorted(near.tolist(), key=lambda i: (decided["similarity"][i].as_py(), decided["id"][i].as_py()))[
        :SAMPLE_PAIRS
    ]
