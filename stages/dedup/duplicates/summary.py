"""What dedup tells the report, put together from the summaries of its tasks."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from functools import reduce
from operator import add
from typing import Any

from stages.dedup.duplicates.audit import Audit
from stages.dedup.duplicates.evidence import LARGEST_CLUSTERS, SAMPLE_PAIRS
from stages.dedup.losses import losses

Summaries = Sequence[Mapping[str, Any]]


def summary_of(phases: Mapping[str, Summaries], max_loss: float) -> dict[str, Any]:
    """The facts of a whole dedup, JSON.

    Args:
        phases: the summaries of all tasks, by phase.
        max_loss: share of the documents of a source or language whose loss is an alarm.
    """
    keys, verdicts = phases.get("keys", ()), phases.get("verdicts", ())
    documents = [row for summary in keys for row in summary["documents"]]
    lost = [row for summary in verdicts for row in summary["lost"]]
    reasons = Counter[str]()
    for _, _, reason, count in lost:
        reasons[reason] += count
    audited: Audit = reduce(add, (Audit(*summary["audit"]) for summary in verdicts), Audit())
    sizes = Counter[str]()
    for summary in verdicts:
        sizes.update(summary["sizes"])
    return {
        "documents": sum(row[2] for row in documents),
        "removed": reasons.total(),
        "reasons": dict(sorted(reasons.items())),
        "linked": sum(summary["members"] for summary in phases.get("members", ())),
        "comparisons": sum(summary["comparisons"] for summary in verdicts),
        "capped": sum(summary["capped"] for summary in verdicts),
        "similar_removed": sum(summary["similar"] for summary in verdicts),
        "audit": {
            "pairs": audited.pairs,
            "recall": _rounded(audited.recall),
            "expected_recall": _rounded(audited.expected_recall),
        },
        **losses(
            [(source, language or "", count) for source, language, count in documents],
            [(source, language or "", count) for source, language, _, count in lost],
            max_loss,
        ),
        "sizes": dict(sorted(sizes.items(), key=lambda pair: int(pair[0]))),
        "clusters": sorted(
            (cluster for summary in verdicts for cluster in summary["clusters"]),
            key=lambda cluster: (-cluster["size"], cluster["winner"]),
        )[:LARGEST_CLUSTERS],
        "doubtful": sorted(
            (pair for summary in verdicts for pair in summary["doubtful"]), key=lambda p: (p["similarity"], p["id"])
        )[:SAMPLE_PAIRS],
        "pairs": sorted(
            (pair for summary in verdicts for pair in summary["pairs"]), key=lambda p: (p["hash"], p["id"])
        )[:SAMPLE_PAIRS],
    }


def _rounded(share: float | None) -> float | None:
    """Sums of parts of a number differ in their last digits by the parts."""
    return None if share is None else round(share, 6)


def largest_clusters(facts: Mapping[str, Any]) -> list[str]:
    """The largest clusters in words, for the alarm."""
    return [
        f"{cluster['size']:,} like {cluster['winner']} ({' '.join((cluster['text'] or '').split())[:80]!r})"
        for cluster in facts["clusters"][:3]
    ]
