"""Semantic near-duplicates: documents whose embeddings, supplied as a column, point the same way.

The practice of SemDeDup (Abbas et al. 2023, arXiv:2303.09540): embeddings are clustered by k-means, and pairs are
looked for within a cluster only. Unlike there, what goes is similar to a document that stays, and which one stays is
decided by its rank, not by its distance from the centroid.

Phases: *sample* takes some embeddings of each part, *centroids* clusters them, *assign* finds the cluster of each
document, *pairs* decides about the documents of each cluster, *slices* sorts decisions by part, *summary* tells.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

from pipeline.artifact import Artifact, DocumentPart, Phase, document_parts
from pipeline.errors import StageError
from pipeline.exchange import partitions_for
from pipeline.stage import Composite, Context, Expansion, Result, Shuffle, Task
from stages.dedup.losses import losses, told_anew
from stages.dedup.semantic import tasks
from stages.dedup.semantic.audit import AUDIT_FILE
from stages.dedup.semantic.options import DedupSemanticConfig

SAMPLE_PER_CLUSTER = 256  # documents; with 64 twice as many duplicates were missed
MIN_SAMPLE = 8192
MAX_OTHER_DIMENSIONS = 0.1  # share of embeddings; beyond, the column holds those of several models
BYTES_BESIDE_VECTOR = 250  # of a document between phases: id, parent, date and numbers
MAX_SLICE_PARTITIONS = 256  # into which decisions are sorted on their way to the parts


class DedupSemantic(Composite[DedupSemanticConfig]):
    """Remove documents that say the same as another one, by embeddings that you supply as a column."""

    name = "dedup_semantic"
    config_type = DedupSemanticConfig

    def expand(self, inputs: tuple[str, ...]) -> list[Expansion]:
        options = self.config.model_dump(mode="json")
        return [
            Expansion(".duplicates", "dedup_semantic_duplicates", options, inputs),
            Expansion("", "dedup_semantic_remove", {}, inputs, side={"duplicates": ".duplicates"}),
        ]


class SemanticDuplicates(Shuffle[DedupSemanticConfig]):
    """Find documents whose embeddings point the same way, within clusters of embeddings.

    Its slices name each document that goes: as a "semantic_duplicate", with the winner and the cosine to it, or for a
    "bad_embedding", with the evidence.
    """

    name = "dedup_semantic_duplicates"
    read_by_ranges = frozenset(("assigned", "found"))
    config_type = DedupSemanticConfig
    produces: ClassVar[str] = "duplicates"

    def __init__(self, config: DedupSemanticConfig) -> None:
        super().__init__(config)
        self.requires = (config.column, *([config.prefer.score] if config.prefer.score else []))

    def plan(self, inputs: Mapping[str, Sequence[Artifact]], phases: Sequence[Phase]) -> list[Task]:
        """See the base class.

        Raises:
            StageError: the embeddings are of several lengths.
        """
        plan = _Plan(self.config, inputs["documents"], phases)
        if not plan.parts:
            facts = {"documents": 0, "sources": {}, "languages": {}, "largest_groups": [], "alarms": []}
            return [] if phases else [Task("summary", "all", (), {"audits": ()}, facts, is_kept=True)]
        steps = (plan.sample, plan.centroids, plan.assign, plan.pairs, plan.slices, plan.summary)
        return steps[len(phases)]() if len(phases) < len(steps) else []

    def check_sealed(self, summary: Mapping[str, Any]) -> None:
        tasks.check_losses(told_anew(summary, self.config.max_loss), self.config)

    def work(self, task: Task, out: Path, context: Context) -> Result:
        return tasks.PHASES[task.phase](task, out, self.config, context)


class _Plan:
    """The tasks of each phase; each needs those before to be done."""

    def __init__(self, config: DedupSemanticConfig, artifacts: Sequence[Artifact], phases: Sequence[Phase]) -> None:
        self._config = config
        self._phases = {phase.name: phase for phase in phases}
        self.parts: list[tuple[int, DocumentPart]] = [  # with the number of the input
            (number, part) for number, artifact in enumerate(artifacts) for part in document_parts([artifact])
        ]
        self._documents = sum(part.rows for _, part in self.parts)
        self._clusters = config.clusters or max(1, round(self._documents**0.5 / 2))
        self._slice_partitions = min(len(self.parts), MAX_SLICE_PARTITIONS)

    def sample(self) -> list[Task]:
        arguments = {
            "max_hash": self._max_hash(max(MIN_SAMPLE, SAMPLE_PER_CLUSTER * self._clusters)),
            "max_audit_hash": self._max_hash(2 * self._config.audit),  # some have no embedding
        }
        return [
            Task("sample", part.name, (part.digest,), {"documents": (part.path,)}, arguments) for _, part in self.parts
        ]

    def _max_hash(self, documents: int) -> int:
        """The hash up to which a document is one of about this many."""
        return min(2**64 - 1, documents * 2**64 // self._documents)

    def centroids(self) -> list[Task]:
        samples = self._phases["sample"]
        arguments = {
            "dimensions": self._dimensions(),
            "clusters": self._clusters,
            "max_hash": samples.parts[0].summary["max_hash"],
        }
        return [Task("centroids", "all", (samples.digest,), {"samples": samples.paths(tasks.SAMPLE_FILE)}, arguments)]

    def assign(self) -> list[Task]:
        centroids, dimensions = self._phases["centroids"], self._dimensions()
        size_bytes = self._documents * (4 * dimensions + BYTES_BESIDE_VECTOR)
        partitions = partitions_for(size_bytes, self._config.task_memory_bytes // 3)
        shared = {
            "centroids": centroids.paths(tasks.CENTROIDS_FILE),
            "queries": centroids.paths(tasks.QUERIES_FILE),
        }
        return [
            Task(
                "assign",
                part.name,
                (part.digest, centroids.digest),
                {"documents": (part.path,), **shared},
                {"part": i, "input": number, "dimensions": dimensions, "partitions": partitions},
            )
            for i, (number, part) in enumerate(self.parts)
        ]

    def pairs(self) -> list[Task]:
        assigned = self._phases["assign"]
        files = {"assigned": assigned.paths(tasks.ASSIGNED_FILE)}
        arguments = {"dimensions": self._dimensions(), "slices": self._slice_partitions}
        return [
            Task("pairs", f"partition {i}", (assigned.digest,), files, {"partition": i, **arguments})
            for i in range(assigned.parts[0].summary["partitions"])
        ]

    def slices(self) -> list[Task]:
        assigned, pairs = self._phases["assign"], self._phases["pairs"]
        bad, found = assigned.paths(tasks.BAD_FILE), pairs.paths(tasks.FOUND_FILE)
        return [
            Task(
                "slices",
                part.name,
                (assigned.parts[i].digest, pairs.digest),
                {"bad": (bad[i],), "found": found},
                {"part": i, "slices": self._slice_partitions},
                is_kept=True,
            )
            for i, (_, part) in enumerate(self.parts)
        ]

    def summary(self) -> list[Task]:
        assigned, pairs = self._phases["assign"].parts, self._phases["pairs"].parts
        documents = [row for part in assigned for row in part.summary["documents"]]
        lost = [row for part in (*assigned, *pairs) for row in part.summary["lost"]]
        groups = [group for part in pairs for group in part.summary["largest_groups"]]
        arguments = {
            "documents": self._documents,
            "without_embedding": sum(part.summary["without_embedding"] for part in assigned),
            "bad_embeddings": sum(part.summary["bad_embeddings"] for part in assigned),
            "semantic_duplicates": sum(part.summary["semantic_duplicates"] for part in pairs),
            "dimensions": self._dimensions(),
            "clusters": self._phases["centroids"].parts[0].summary["clusters"],
            "largest_cluster": max(part.summary["largest_cluster"] for part in pairs),
            "largest_groups": tasks.largest(groups),
            **losses(documents, lost, self._config.max_loss),
        }
        content = (self._phases["assign"].digest, self._phases["pairs"].digest)
        files = {"audits": self._phases["assign"].paths(AUDIT_FILE)}
        return [Task("summary", "all", content, files, arguments, is_kept=True)]

    def _dimensions(self) -> int:
        """Number of dimensions of the embeddings; 1 if there are none.

        Raises:
            StageError: too many have another one.
        """
        counts: Counter[int] = Counter()
        for part in self._phases["sample"].parts:
            counts.update({int(dimensions): count for dimensions, count in part.summary["dimensions"].items()})
        if not counts:
            return 1
        ordered = sorted(counts.items(), key=lambda entry: (-entry[1], entry[0]))
        dimensions, count = ordered[0]
        if count < (1 - MAX_OTHER_DIMENSIONS) * counts.total():
            found = ", ".join(f"{n} have {d} dimensions" for d, n in ordered[:5])
            raise StageError(
                f"the column '{self._config.column}' holds embeddings of several lengths ({found}): only those of one "
                "model can be compared; run dedup_semantic on the documents of each model"
            )
        return dimensions
