"""The long descriptions of the installed distributions, one JSON line each."""

import importlib.metadata
import json
import sysconfig
from pathlib import Path
from typing import Any

import pyarrow as pa

from stages.demo_corpus.python_pages import stable_order

_MIN_CHARACTERS = 200
_PROJECT = "sluice"  # its own description changes with every commit, and is no text of the machine


def installed_distributions() -> dict[str, importlib.metadata.Distribution]:
    """The distributions of this environment's site-packages by name, without Sluice.

    Not all of ``sys.path``: Ray, once imported, puts libraries of its own there.
    """
    found: dict[str, importlib.metadata.Distribution] = {}
    for distribution in importlib.metadata.distributions(path=[sysconfig.get_path("purelib")]):
        name = distribution.metadata["Name"]
        if name and name != _PROJECT:
            found.setdefault(name, distribution)
    return dict(sorted(found.items()))


def write_readmes(path: Path, limit: int | None, seed: int) -> int:
    """Writes zstd-compressed JSON lines with id, title, text, url and licence; returns their number."""
    path.parent.mkdir(parents=True)
    rows = [_row(name, found.version, found.metadata) for name, found in installed_distributions().items()]
    rows = [row for row in rows if len(row["text"] or "") >= _MIN_CHARACTERS]
    rows.sort(key=lambda row: stable_order(seed, str(row["id"])))
    lines = [json.dumps(row, ensure_ascii=False) + "\n" for row in rows[:limit]]
    with pa.CompressedOutputStream(str(path), "zstd") as output:
        output.write("".join(lines).encode())
    return len(lines)


def _row(name: str, version: str, metadata: importlib.metadata.PackageMetadata) -> dict[str, Any]:
    stated: dict[str, Any] = metadata.json  # PEP 566: lower-case keys, and the body as `description`
    return {
        "id": f"{name.lower()}-{version}",
        "title": f"{name} {version}",
        "text": stated.get("description"),
        "url": stated.get("home_page") or _home_page(stated.get("project_url", [])),
        "licence": _licence(stated, stated.get("classifier", [])),
    }


def _home_page(project_urls: list[str]) -> str | None:
    stated = {label.strip().lower(): url.strip() for label, _, url in (entry.partition(",") for entry in project_urls)}
    return next((stated[label] for label in ("homepage", "home", "repository", "source") if label in stated), None)


def _licence(metadata: dict[str, Any], classifiers: list[str]) -> str | None:
    """As the author states it: the SPDX expression, else the licence's name, else the classifier."""
    stated: str = metadata.get("license_expression") or metadata.get("license", "")
    if stated and "\n" not in stated.strip():  # some put the whole licence text here
        return stated.strip()
    named = [entry.rpartition(" :: ")[2] for entry in classifiers if entry.startswith("License ::")]
    return named[0] if named else None
