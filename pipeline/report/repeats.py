"""Repeated lines and passages: how many there are, where, and which."""

from __future__ import annotations

from pipeline.artifact import Artifact
from pipeline.report.charts import share_bar
from pipeline.report.markup import Node, cards, element, number, percent, size, table

ROWS_SHOWN = 20  # lines, domains, sources


def repeated_lines(artifact: Artifact) -> Node:
    """Which lines, or paragraphs, too many documents have."""
    summary, unit = artifact.summary, artifact.steps[0]["config"]["unit"]
    lines = [
        (line["text"].strip(), number(line["documents"]), line["domain"] or "all inputs")
        for line in summary["lines"][:ROWS_SHOWN]
    ]
    domains = [
        (domain["domain"], number(domain["documents"]), number(domain["cut"]))
        for domain in summary["domains"][:ROWS_SHOWN]
    ]
    return [
        cards(
            [
                ("documents looked at", number(summary["documents"])),
                (f"{unit}s compared", number(summary["units"])),
                *(
                    [(f"distinct {unit}s that repeat too often", number(summary["repeated_units"]))]
                    if "repeated_units" in summary  # a Bloom filter cannot tell
                    else []
                ),
                ("occurrences to cut", number(summary["to_cut"])),
            ]
        ),
        element(
            "p",
            f"Documents were counted in a Bloom filter of {size(summary['filter_bytes'])}: a {unit} below the limit is "
            f"taken for one above it with a probability of {summary['error_rate']:g} at most.",
        )
        if "error_rate" in summary
        else None,
        table(
            f"The {unit}s that most documents have",
            (unit, "#documents that have it", "counted on"),
            lines,
        )
        if lines
        else None,
        table("Domains of which most is cut", ("domain", "#documents", f"#{unit}s cut"), domains) if domains else None,
    ]


def passages(artifact: Artifact) -> Node:
    """Long passages that occur more than once, by source, and the longest of them."""
    summary = artifact.summary
    tokens, repeated = summary["tokens"], summary["tokens_repeated"]
    sources = [
        (
            source,
            number(counts["documents"]),
            number(counts["documents_repeated"]),
            number(counts["spans"]),
            number(counts["tokens_repeated"]),
            percent(counts["tokens_repeated"] / counts["tokens"]) if counts["tokens"] else "–",
            share_bar(
                [(source, counts["tokens_repeated"], "dropped")],
                counts["tokens"],
                f"{source}: {number(counts['tokens_repeated'])} of {number(counts['tokens'])} tokens",
            ),
        )
        for source, counts in list(summary["sources"].items())[:ROWS_SHOWN]
    ]
    longest = [
        (
            f"{passage['text'].strip()} …",
            number(passage["tokens"]),
            number(passage["times"]),
            element("code", passage["kept"]),
        )
        for passage in summary["largest_passages"]
    ]
    columns = ("source", "#documents", "#with repeats", "#passages", "#tokens in them", "#share", "~share of tokens")
    return [
        cards(
            [
                ("documents", number(summary["documents"])),
                ("with repeated passages", number(summary["documents_repeated"])),
                ("passages", number(summary["spans"])),
                (
                    "tokens in them",
                    f"{number(repeated)} ({percent(repeated / tokens)})" if tokens else number(repeated),
                ),
            ]
        ),
        element(
            "p",
            f"A passage of {artifact.steps[0]['config']['min_tokens']} tokens or more that occurs more than once stays "
            "in the best document that has it. Counted here are its other occurrences.",
        ),
        table("Repeated passages by source", columns, sources) if sources else None,
        table("The longest repeated passages", ("begins", "#tokens", "#times repeated", "stays in"), longest)
        if longest
        else None,
    ]
