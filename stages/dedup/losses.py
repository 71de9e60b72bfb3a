"""What each source and language loses, and the alarm on large losses."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import pyarrow as pa

from pipeline.errors import StageError

LEAST_DOCUMENTS = 100  # of a source or language for its losses to mean anything

Counts = Sequence[tuple[str, str, int]]  # source, language ("" if not known), documents


def count(documents: pa.Table) -> Counter[tuple[str, str]]:
    """Documents by source and language."""
    groups = documents.group_by(["source", "language"]).aggregate([([], "count_all")]).to_pylist()
    return Counter({(group["source"], group["language"] or ""): group["count_all"] for group in groups})


def told(counts: Counter[tuple[str, str]]) -> Counts:
    """Counts as the summary of a task holds them."""
    return [(source, language, number) for (source, language), number in sorted(counts.items())]


def losses(documents: Counts, lost: Counts, max_loss: float) -> dict[str, Any]:
    """What is lost by source and by language, [documents, lost] of each; and the alarms that this sets off."""
    by_source = _grouped([(source, n) for source, _, n in documents], [(source, n) for source, _, n in lost])
    by_language = _grouped([(language, n) for _, language, n in documents], [(language, n) for _, language, n in lost])
    return {"sources": by_source, "languages": by_language, "alarms": alarms(by_source, by_language, max_loss)}


def alarms(
    by_source: Mapping[str, Sequence[int]], by_language: Mapping[str, Sequence[int]], max_loss: float
) -> list[str]:
    """The losses that are larger than was allowed, in words."""
    return [*_alarms("source", by_source, max_loss), *_alarms("language", by_language, max_loss)]


def told_anew(facts: Mapping[str, Any], max_loss: float) -> dict[str, Any]:
    """The facts of an earlier run, with the alarms that another limit sets off."""
    return {**facts, "alarms": alarms(facts["sources"], facts["languages"], max_loss)}


def _grouped(documents: Sequence[tuple[str, int]], lost: Sequence[tuple[str, int]]) -> dict[str, list[int]]:
    found = {name: [0, 0] for name in sorted({name for name, _ in documents})}
    for place, rows in enumerate((documents, lost)):
        for name, number in rows:
            found[name][place] += number
    return found


def _alarms(kind: str, losses: Mapping[str, Sequence[int]], max_loss: float) -> list[str]:
    return [
        f"{kind} {name or '(not known)'} would lose {lost:,} of its {documents:,} documents ({lost / documents:.0%})"
        for name, (documents, lost) in losses.items()
        if documents >= LEAST_DOCUMENTS and lost > max_loss * documents
    ]


def check(facts: Mapping[str, Any], max_loss: float, alarm: Literal["stop", "warn"], largest: Sequence[str]) -> None:
    """Hold the losses to what was allowed.

    Args:
        facts: what ``losses`` gave.
        largest: the largest groups of duplicates, each in words.

    Raises:
        StageError: a source or language loses more, and the alarm is to stop the run.
    """
    if not facts["alarms"] or alarm == "warn":
        return
    raise StageError(
        f"{'; '.join(facts['alarms'])}, more than max_loss {max_loss:g}. The largest groups are: {'; '.join(largest)}. "
        "If they are duplicates indeed, raise max_loss or set alarm: warn; if not, raise the threshold. Nothing was "
        "removed by this run, and what was found out is kept"
    )
