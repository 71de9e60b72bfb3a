"""What each stage removed, with samples."""

from __future__ import annotations

import hashlib
import heapq
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from pipeline.artifact import REMOVED_FILE, Artifact, read_tables
from pipeline.report.charts import share_bar
from pipeline.report.facts import Facts, Step
from pipeline.report.funnel import step_name
from pipeline.report.markup import Markup, element, note, number, percent, plural, section, table

SAMPLES = 8
FAILED_ROWS = 40
EXCERPT_CHARACTERS = 600

Key = tuple[str, str, str]  # step, verdict, reason


@dataclass(frozen=True)
class Sample:
    """A removed document; ``part`` names the files it came from."""

    row: dict[str, Any]
    part: str


def removed_section(facts: Facts) -> Markup:
    """Failed rows first, then each step's reasons by weight."""
    steps = [step for step in facts.steps if step.total.dropped.total() + step.total.failed.total()]
    steps.sort(key=lambda step: step.is_aside)
    samples: dict[Key, list[Sample]] = {}
    for artifact in {step.artifact.name: step.artifact for step in steps}.values():
        samples |= drawn(artifact, facts.seed)
    if not steps:
        return section("removed", "What was removed", element("p", "Nothing was dropped, and nothing failed."))
    return section(
        "removed",
        "What was removed",
        _failures(facts, samples),
        element(
            "p",
            f"Up to {SAMPLES} samples of each reason, drawn by a hash of the document's id and the recipe's seed. ",
            element("code", "sluice explain RUN ID"),
            " tells the whole story of one.",
            class_="small",
        ),
        [_step(step, samples) for step in steps],
    )


def drawn(artifact: Artifact, seed: str) -> dict[Key, list[Sample]]:
    """For each reason, the samples whose hash is smallest: the same ones however the run was split into parts."""
    heaps: dict[Key, list[tuple[int, str, Sample]]] = {}
    for part in artifact.parts:
        if not any(file.path == REMOVED_FILE for file in part.files):
            continue
        for rows in read_tables(artifact.file_of(part, REMOVED_FILE)):
            columns = [rows[name].to_pylist() for name in ("id", "step", "verdict", "reason")]
            for i, (document, label, verdict, reason) in enumerate(zip(*columns, strict=True)):
                heap = heaps.setdefault((label, verdict, reason), [])
                order = -int.from_bytes(hashlib.blake2b(f"{seed}:{document}".encode(), digest_size=8).digest(), "big")
                limit = FAILED_ROWS if verdict == "failed" else SAMPLES
                if len(heap) < limit:
                    heapq.heappush(heap, (order, document, Sample(rows.slice(i, 1).to_pylist()[0], part.name)))
                elif order > heap[0][0]:
                    heapq.heapreplace(heap, (order, document, Sample(rows.slice(i, 1).to_pylist()[0], part.name)))
    return {key: [sample for _, _, sample in sorted(heap, reverse=True)] for key, heap in heaps.items()}


def _failures(facts: Facts, samples: dict[Key, list[Sample]]) -> Markup | None:
    if not facts.failed:
        return None
    shown = [sample for (_, verdict, _), found in samples.items() if verdict == "failed" for sample in found]
    rows = [
        (
            sample.row["reason"],
            sample.row["step"],
            element("code", sample.part),
            element("code", sample.row["id"]),
            sample.row["evidence"],
        )
        for sample in shown
    ]
    rest = facts.failed - len(rows)
    return element(
        "div",
        element("h3", f"{plural(facts.failed, 'record')} failed"),
        element("p", "Bad input or an error, not a decision: look at these first."),
        table("Failed records", ("reason", "step", "file or part", "id", "evidence"), rows),
        element("p", f"and {rest:,} more, in the removed.parquet files of these artifacts") if rest > 0 else None,
        class_="failures",
    )


def _step(step: Step, samples: dict[Key, list[Sample]]) -> Markup:
    whole = step.total.whole()
    lost = step.total.dropped.total() + step.total.failed.total()
    return element(
        "div",
        element("h3", step_name(step)),
        element(
            "p",
            f"{number(lost)} of {number(whole)} documents led to nothing here. They are not lost: they go on without "
            "this step."
            if step.is_aside
            else f"{number(lost)} of {number(whole)} removed ({percent(lost / whole)}).",
        ),
        [
            _reason(step, verdict, reason, count, whole, samples.get((step.label, verdict, reason), []))
            for verdict, reason, count in _reasons(step)
        ],
        class_="removing-step",
    )


def _reasons(step: Step) -> Iterator[tuple[str, str, int]]:
    found = [("failed", reason, n) for reason, n in step.total.failed.items()]
    found += [("dropped", reason, n) for reason, n in step.total.dropped.items()]
    yield from sorted(found, key=lambda r: (-r[2], r[1]))


def _reason(step: Step, verdict: str, reason: str, count: int, whole: int, samples: list[Sample]) -> Markup:
    by_source = ", ".join(
        f"{source} {n:,}"
        for source, counts in sorted(step.sources.items())
        if (n := (counts.failed if verdict == "failed" else counts.dropped)[reason])
    )
    summary = element(
        "summary",
        element("span", element("code", reason), class_="step"),
        share_bar([(reason, count, verdict)], whole, f"{reason}: {number(count)} of {number(whole)}"),
        element("span", number(count), element("small", f" {percent(count / whole)}"), class_="value"),
    )
    if not samples:
        return element("details", summary, note("No rows of this reason were written to removed.parquet."))
    return element(
        "details",
        summary,
        element("p", f"By source: {by_source}.", class_="small"),
        element("div", [_sample(sample) for sample in samples[:SAMPLES]], class_="samples"),
    )


def _sample(sample: Sample) -> Markup:
    row = sample.row
    excerpt = (row["excerpt"] or "")[:EXCERPT_CHARACTERS].strip()
    return element(
        "article",
        element("p", element("code", row["id"]), class_="id"),
        element("p", row["url"], class_="url") if row["url"] else None,
        element("p", row["evidence"], class_="evidence") if row["evidence"] else None,
        element("pre", excerpt, dir="auto") if excerpt else None,
        class_="sample",
    )
