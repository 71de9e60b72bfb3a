"""The compressions that intake reads, and the batches of a source put together."""

import bz2
import gzip
import lzma
from collections.abc import Callable
from typing import Any

from backports import zstd

from pipeline.stage import Context, Outcome, Removal, Source

PACKINGS: dict[str, Callable[[bytes], bytes]] = {
    "plain": bytes,
    "gzip": gzip.compress,
    "zstd": zstd.compress,
    "xz": lambda content: lzma.compress(content, preset=0),
    "bzip2": bz2.compress,
}


def read(stage: Source[Any], source: str = "corpus") -> tuple[list[dict[str, Any]], list[Removal]]:
    """All documents and all removals of a source, whose counts must agree."""
    context = Context(seed=1)
    stage.setup(context)
    outcomes: list[Outcome] = [o for split in stage.splits() for o in stage.read(split, source, context)]
    for outcome in outcomes:
        assert sum(outcome.created.values()) == len(outcome.kept) + len(outcome.removed)
    kept = [row for outcome in outcomes for row in outcome.kept.to_pylist()]
    removed = [removal for outcome in outcomes for removal in outcome.removed]
    ids = [row["id"] for row in kept] + [removal.id for removal in removed]
    assert len(ids) == len(set(ids))
    return kept, removed
