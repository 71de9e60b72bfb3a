"""Running the three steps of dedup on small tables, and documents of a known similarity."""

import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from pipeline.stage import Context, Removal, StageConfig
from stages.dedup.clusters import Clusters, ClustersConfig
from stages.dedup.remove import RemoveDuplicates
from stages.dedup.signatures import Signatures, SignaturesConfig
from tests.stages.in_process import artifact_of

Inputs = Sequence[Sequence[pa.Table]]  # artifacts, each of several parts


def deduplicated(folder: Path, inputs: Inputs, **options: Any) -> tuple[list[str], dict[str, Removal], dict[str, Any]]:
    """Ids kept, removals by id, and the summary of the clusters, of inputs named most wanted first."""
    folder.mkdir(exist_ok=True)
    signatures = Signatures(SignaturesConfig())
    signed = [signatures.process(part).kept for parts in inputs for part in parts]
    originals = [artifact_of(folder, f"input-{i}", parts) for i, parts in enumerate(inputs)]
    out = folder / "clusters"
    out.mkdir()
    result = Clusters(ClustersConfig(**options)).run(
        {"documents": [artifact_of(folder, "signatures", signed), *originals]}, out, Context(seed=1)
    )
    remove = RemoveDuplicates(StageConfig())
    remove.setup(Context(seed=1, side={"duplicates": out}))
    outcomes = [remove.process(part) for parts in inputs for part in parts]
    kept = [i for outcome in outcomes for i in outcome.kept["id"].to_pylist()]
    return kept, {r.id: r for outcome in outcomes for r in outcome.removed}, result.summary


def prose(rng: random.Random, count: int) -> list[str]:
    """Words drawn at random: two such texts have no shingle in common."""
    return [f"w{rng.randrange(10**9)}" for _ in range(count)]


def similar_pair(rng: random.Random, similarity: float, count: int = 204) -> tuple[str, str]:
    """Two texts of `count` words that begin alike, of about this Jaccard similarity of word 5-grams.

    With m = count - 4 shingles each, of which k are common, J = k / (2 m - k), so k = 2 m J / (1 + J).
    """
    common = round(2 * (count - 4) * similarity / (1 + similarity)) + 4
    beginning = prose(rng, common)
    a, b = (beginning + prose(rng, count - common) for _ in range(2))
    return " ".join(a), " ".join(b)
