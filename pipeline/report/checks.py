"""Token shards."""

from __future__ import annotations

from pipeline.artifact import Artifact
from pipeline.report.charts import share_bar
from pipeline.report.facts import Facts
from pipeline.report.markup import Markup, Node, cards, note, number, rounded, section, size, table


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
