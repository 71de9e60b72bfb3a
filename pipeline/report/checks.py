"""Duplicates and token shards."""

from __future__ import annotations

import hashlib
from collections import Counter
from typing import Any

import pyarrow.parquet as pq

from pipeline.artifact import Artifact
from pipeline.report.charts import share_bar
from pipeline.report.facts import Facts
from pipeline.report.markup import Markup, Node, cards, element, note, number, percent, rounded, section, size, table

DUPLICATES_FILE = "duplicates.parquet"
PAIRS = 8


def duplicates_section(facts: Facts) -> Markup | None:
    """Counts, the sources they lie in, and pairs to judge the threshold by."""
    found = [artifact for artifact in facts.of_kind("duplicates") if "documents" in artifact.summary]
    if not found:
        return None
    return section("duplicates", "Duplicates", [_duplicates(artifact, facts) for artifact in found])


def _duplicates(artifact: Artifact, facts: Facts) -> Node:
    summary = artifact.summary
    duplicates = int(summary["exact_duplicates"]) + int(summary["near_duplicates"])
    rows = [row for path in artifact.file_paths(DUPLICATES_FILE) for row in pq.read_table(path).to_pylist()]
    threshold = artifact.steps[0]["config"].get("threshold")
    share = f" ({percent(duplicates / summary['documents'])})" if summary["documents"] else ""
    facts_shown = [
        ("documents compared", number(summary["documents"])),
        ("exact duplicates", number(summary["exact_duplicates"])),
        ("near-duplicates", number(summary["near_duplicates"])),
        ("candidate pairs", number(summary["candidate_pairs"])),
        ("similarity threshold", "–" if threshold is None else f"{threshold:g}"),
    ]
    if not rows:
        return [cards(facts_shown), element("p", "No document is a duplicate of another.")]
    by_source = Counter((row["source"], row["reason"]) for row in rows)
    affected = [
        (
            source,
            number(by_source[source, "exact_duplicate"]),
            number(by_source[source, "near_duplicate"]),
            share_bar([(source, n, facts.sources.get(source, "s0"))], duplicates, f"{source}: {number(n)}"),
        )
        for source, n in Counter(row["source"] for row in rows).most_common()
    ]
    near = [row for row in rows if row["reason"] == "near_duplicate"]
    doubtful = sorted(near, key=lambda r: (r["similarity"], r["id"]))[:PAIRS]
    drawn = sorted(rows, key=lambda r: hashlib.blake2b(f"{facts.seed}:{r['id']}".encode()).digest())[:PAIRS]
    clusters = [(element("code", winner), number(n)) for winner, n in summary["largest_clusters"][:PAIRS]]
    return [
        cards(facts_shown),
        element("p", f"{number(duplicates)} documents{share} gave way to another."),
        table("Where the duplicates lay", ("source", "#exact", "#near", "~share"), affected),
        table("Largest clusters", ("the document that stays", "#documents in the cluster"), clusters),
        _pairs("Least similar pairs: here the threshold decides", doubtful) if doubtful else None,
        _pairs("Pairs drawn at random", drawn),
    ]


def _pairs(caption: str, rows: list[dict[str, Any]]) -> Markup:
    shown = [
        (element("code", row["id"]), element("code", row["winner"]), row["source"], f"{row['similarity']:.3f}")
        for row in rows
    ]
    return table(caption, ("removed", "because of", "source", "#similarity"), shown)


def tokens_section(facts: Facts) -> Markup | None:
    """Documents, tokens and bytes by source."""
    found = facts.of_kind("tokens")
    if not found:
        return None
    return section("tokens", "Tokens", [_tokens(artifact, facts) for artifact in found])


def _tokens(artifact: Artifact, facts: Facts) -> Node:
    sources = artifact.summary["sources"]
    total = sum(part["tokens"] for parts in sources.values() for part in parts.values())
    size_bytes = sum(part["bytes"] for parts in sources.values() for part in parts.values())
    rows = []
    for source, parts in sources.items():
        tokens = sum(part["tokens"] for part in parts.values())
        source_bytes = sum(part["bytes"] for part in parts.values())
        rows.append(
            (
                source,
                number(sum(part["documents"] for part in parts.values())),
                number(tokens),
                number(parts["train"]["tokens"]),
                f"{number(parts['held_out']['tokens'])} in {number(parts['held_out']['documents'])}",
                size(source_bytes),
                f"{source_bytes / tokens:.2f}" if tokens else "–",
                share_bar([(source, tokens, facts.sources.get(source, "s0"))], total, f"{source}: {number(tokens)}"),
            )
        )
    columns = (
        "source",
        "#documents",
        "#tokens",
        "#to train on",
        "#held out, documents",
        "#text",
        "#bytes/token",
        "~share",
    )
    few = [source for source, parts in sources.items() if parts["held_out"]["documents"] < 5]
    return [
        cards(
            [
                ("tokens", rounded(total)),
                ("vocabulary", number(artifact.summary["vocabulary"])),
                ("text", size(size_bytes)),
                ("bytes per token", f"{size_bytes / total:.2f}" if total else "–"),
            ]
        ),
        note(
            f"Fewer than five documents are held out for {', '.join(few)}: bits per byte there say little about the "
            "source as a whole.",
            kind="warning",
        )
        if few
        else None,
        table("Token shards by source", columns, rows),
    ]
