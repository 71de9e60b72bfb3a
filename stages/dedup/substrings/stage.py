"""Long repeated substrings: passages that occur more than once are cut everywhere but in their best occurrence.

The aim of Lee et al. 2022 ("Deduplicating training data makes language models better", ExactSubstr) without a suffix
array, which one process has to hold: passages are found by winnowed fingerprints, in phases of tasks whose memory does
not grow with the corpus:

    anchors   per part of the documents   fingerprints of its texts, by hash
    shared    per partition of hashes     places of those that occur more than once, by part
    windows   per part                    hashes of the windows around shared anchors, by the anchor's hash
    repeated  per partition of hashes     runs of windows that have a better occurrence, by part
    slices    per part                    these runs as spans of characters, by document: what the cut is made by
    summary   one                         words by source, largest passages

The result is exact: a window of ``min_tokens`` tokens is repeated if an equal one stands in a better document of
another family, or in its own document before it without overlap; all tokens of repeated windows are cut. A family is a
document and its rephrasings.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

from pipeline.artifact import DOCUMENTS_FILE, Artifact, DocumentPart, Phase, document_parts
from pipeline.exchange import partitions_for
from pipeline.stage import Composite, Context, Expansion, Result, Shuffle, Task
from stages.dedup.substrings import phases as work_of
from stages.dedup.substrings.occurrences import ANCHOR_BYTES, WINDOW_BYTES
from stages.dedup.substrings.options import CutConfig, DedupSubstringsConfig, RepeatedSpansConfig

WORDS_PER_STORED_BYTE = 1.0  # more than any text of ../shared/data has in zstd: Chinese 0.7, English 0.5
TABLE_SHARE = 0.5  # of a task's memory; the rest is for one file's rows and what is written
MAX_SLICE_PARTITIONS = 1024  # how finely what is found is divided on its way back to the parts

_Parts = Sequence[tuple[int, DocumentPart]]  # with the number of their input


class DedupSubstrings(Composite[DedupSubstringsConfig]):
    """Cut passages of at least 50 tokens that occur more than once, everywhere but in their best occurrence."""

    name = "dedup_substrings"
    config_type = DedupSubstringsConfig

    def expand(self, inputs: tuple[str, ...]) -> list[Expansion]:
        options = self.config.model_dump(mode="json")
        found = {name: options[name] for name in RepeatedSpansConfig.model_fields}
        cut = {name: options[name] for name in CutConfig.model_fields}
        return [
            Expansion(".spans", "dedup_repeated_spans", found, inputs),
            Expansion("", "dedup_substrings_cut", cut, inputs, side={"spans": ".spans"}),
        ]


class RepeatedSpans(Shuffle[RepeatedSpansConfig]):
    """Find the passages that occur more than once, and of each all occurrences but the best one.

    A slice has, by document, the spans to cut in characters, with the document that keeps each.
    """

    name = "dedup_repeated_spans"
    read_by_ranges = frozenset(("anchors", "places", "windows", "runs"))
    config_type = RepeatedSpansConfig
    produces: ClassVar[str] = "spans"

    def plan(self, inputs: Mapping[str, Sequence[Artifact]], phases: Sequence[Phase]) -> list[Task]:
        parts = [(i, part) for i, artifact in enumerate(inputs["documents"]) for part in document_parts([artifact])]
        if not parts:
            return [] if phases else [Task("summary", "summary", (), is_kept=True)]
        if not phases:
            return self._anchors(parts, sum(_stored_bytes(artifact) for artifact in inputs["documents"]))
        steps = (self._shared, self._windows, self._repeated, self._slices, self._summary)
        return steps[len(phases) - 1](parts, phases) if len(phases) <= len(steps) else []

    def work(self, task: Task, out: Path, context: Context) -> Result:
        works: Mapping[str, Callable[[RepeatedSpansConfig, Task, Path, Context], dict[str, Any]]] = {
            "anchors": work_of.anchors,
            "shared": work_of.shared,
            "windows": work_of.windows,
            "repeated": work_of.repeated,
            "slices": work_of.slices,
            "summary": work_of.summary,
        }
        return Result(works[task.phase](self.config, task, out, context))

    # The tasks of each phase

    def _anchors(self, parts: _Parts, stored_bytes: int) -> list[Task]:
        anchors = stored_bytes * WORDS_PER_STORED_BYTE / self._words_per_anchor
        arguments = {"partitions": self._partitions(anchors * ANCHOR_BYTES)}
        return [Task("anchors", part.name, (part.digest,), {"documents": (part.path,)}, arguments) for _, part in parts]

    def _shared(self, parts: _Parts, phases: Sequence[Phase]) -> list[Task]:
        files = {"anchors": phases[-1].paths(work_of.ANCHORS_FILE)}
        slices = min(len(parts), MAX_SLICE_PARTITIONS)
        return _per_partition("shared", phases[-1], files, {"slices": slices})

    def _windows(self, parts: _Parts, phases: Sequence[Phase]) -> list[Task]:
        shared = sum(part.summary["shared"] for part in phases[-1].parts)
        partitions = self._partitions(shared * self._words_per_anchor * WINDOW_BYTES)
        return _per_part(
            "windows",
            parts,
            phases[-1],
            {"places": phases[-1].paths(work_of.PLACES_FILE)},
            {"partitions": partitions, "slices": min(len(parts), MAX_SLICE_PARTITIONS)},
        )

    def _repeated(self, parts: _Parts, phases: Sequence[Phase]) -> list[Task]:
        files = {"windows": phases[-1].paths(work_of.WINDOWS_FILE)}
        slices = min(len(parts), MAX_SLICE_PARTITIONS)
        return _per_partition("repeated", phases[-1], files, {"slices": slices})

    def _slices(self, parts: _Parts, phases: Sequence[Phase]) -> list[Task]:
        files = {"runs": phases[-1].paths(work_of.RUNS_FILE)}
        arguments = {"slices": min(len(parts), MAX_SLICE_PARTITIONS)}
        return _per_part("slices", parts, phases[-1], files, arguments, is_kept=True)

    def _summary(self, parts: _Parts, phases: Sequence[Phase]) -> list[Task]:
        counts = [part.summary["sources"] for phase in (phases[0], phases[-1]) for part in phase.parts]
        files = {"passages": phases[-1].paths(work_of.PASSAGES_FILE)}
        arguments = {"sources": work_of.totals(counts)}
        return [Task("summary", "summary", (phases[-1].digest,), files, arguments, is_kept=True)]

    @property
    def _words_per_anchor(self) -> float:
        """On average, in text that does not repeat itself (Schleimer et al. 2003: two in a window's reach and one)."""
        return (self.config.min_tokens - self.config.min_tokens // 2 + 2) / 2

    def _partitions(self, table_bytes: float) -> int:
        return partitions_for(int(table_bytes), int(self.config.task_memory_mb * 1_000_000 * TABLE_SHARE))


def _stored_bytes(artifact: Artifact) -> int:
    return sum(file.size_bytes for part in artifact.parts for file in part.files if file.path == DOCUMENTS_FILE)


def _per_partition(
    phase: str, before: Phase, files: Mapping[str, tuple[Path, ...]], arguments: Mapping[str, Any]
) -> list[Task]:
    partitions = before.parts[0].summary["partitions"]
    return [
        Task(phase, f"partition {p} of {partitions}", (before.digest,), files, {"partition": p, **arguments})
        for p in range(partitions)
    ]


def _per_part(
    phase: str,
    parts: _Parts,
    before: Phase,
    files: Mapping[str, tuple[Path, ...]],
    arguments: Mapping[str, Any],
    is_kept: bool = False,
) -> list[Task]:
    return [
        Task(
            phase,
            part.name,
            (part.digest, before.digest),
            {"documents": (part.path,), **files},
            {"part": i, "priority": priority, **arguments},
            is_kept,
        )
        for i, (priority, part) in enumerate(parts)
    ]
