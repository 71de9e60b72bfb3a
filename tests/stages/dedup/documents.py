"""Running the steps of dedup on small tables, and documents of a known similarity."""

import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from pipeline.artifact import Artifact
from pipeline.stage import Context, Removal, StageConfig
from stages.dedup.duplicates.stage import Duplicates, DuplicatesConfig
from stages.dedup.remove import RemoveDuplicates
from stages.dedup.signatures import Signatures, SignaturesConfig
from tests.shuffle_runs import run_shuffle
from tests.stages.in_process import artifact_of

Inputs = Sequence[Sequence[pa.Table]]  # artifacts, each of several parts


def found_duplicates(folder: Path, inputs: Inputs, **options: Any) -> Artifact:
    """The slices of duplicates of inputs named most wanted first."""
    folder.mkdir(exist_ok=True)
    config = DuplicatesConfig(**{"max_loss": 1, **options})
    carry = (config.prefer.score,) if config.prefer.score else ()
    shape = {"ngram": config.ngram, "bands": config.bands, "rows": config.rows, "words": config.words}
    signatures = Signatures(SignaturesConfig(**shape, carry=carry))
    signed = [signatures.process(part).kept for parts in inputs for part in parts]
    originals = [artifact_of(folder, f"input-{i}", parts) for i, parts in enumerate(inputs)]
    artifacts = {"documents": [artifact_of(folder, "signatures", signed), *originals]}
    return run_shuffle(Duplicates(config), artifacts, folder, "duplicates")


def deduplicated(folder: Path, inputs: Inputs, **options: Any) -> tuple[list[str], dict[str, Removal], dict[str, Any]]:
    """Ids kept, removals by id, and the summary of the duplicates, of inputs named most wanted first."""
    artifact = found_duplicates(folder, inputs, **options)
    outcomes = []
    for i, parts in enumerate(inputs):
        for j, part in enumerate(parts):
            remove = RemoveDuplicates(StageConfig())
            slice_ = artifact.folder / artifact.part_named(f"input-{i}/{j}").folder
            remove.setup(Context(seed=1, side={"duplicates": slice_}))
            outcomes.append(remove.process(part))
    kept = [i for outcome in outcomes for i in outcome.kept["id"].to_pylist()]
    return kept, {r.id: r for outcome in outcomes for r in outcome.removed}, dict(artifact.summary)


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
