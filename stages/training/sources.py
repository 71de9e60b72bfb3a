"""What the training stages need to know of token shards, without torch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

from pipeline.artifact import Artifact, digest_of

Size = Literal[
    "tiny", "nano", "demo", "S", "M", "L", "1M", "3M", "10M", "30M", "100M", "300M", "1B", "3B", "7B"
]  # fmt: skip
"""Named model sizes of proxy_models.model, spelled out so that a recipe is checked without torch."""


def shards_of(inputs: Mapping[str, Sequence[Artifact]]) -> Mapping[str, Any]:
    """Per source, what the token shards hold: {"train": {"tokens": ..., "files": [...]}, "held_out": ...}."""
    sources: Mapping[str, Any] = inputs["tokens"][0].summary["sources"]
    return sources


def train_tokens(sources: Mapping[str, Any]) -> dict[str, int]:
    """Unique training tokens by source."""
    return {name: int(parts["train"]["tokens"]) for name, parts in sources.items()}


def source_fingerprints(sources: Mapping[str, Any]) -> dict[str, str]:
    """By source, a digest of its training tokens as they were made: it changes when the data changes, but not when
    documents are taken down, so that a mix stays that of its shards."""
    return {name: _digest_as_made(parts["train"])[:16] for name, parts in sources.items()}


def _digest_as_made(split: Mapping[str, Any]) -> str:
    as_made: str | None = split.get("digest_as_made")
    return as_made or digest_of([file["sha256"] for file in split["files"]])
