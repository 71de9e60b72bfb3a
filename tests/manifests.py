"""Manifests and commit records as they lie in a run's folder."""

import json
from typing import Any


def parts_of(manifest: str | bytes) -> list[dict[str, Any]]:
    """The part records of a manifest: all lines but the first."""
    return [json.loads(line) for line in manifest.splitlines()[1:]]


def name_of(manifest: str | bytes) -> str:
    """The artifact that a manifest seals."""
    name: str = json.loads(manifest.splitlines()[0])["name"]
    return name
